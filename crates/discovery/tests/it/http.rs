//! HTTP discovery against a server of this process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{HttpSdConfig, SdConfigs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Running, labels};

#[derive(Clone)]
struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

/// Answers every request with the answer in force, one request a connection; keeps the last request.
struct Server {
    url: String,
    answer: Arc<Mutex<Answer>>,
    request: Arc<Mutex<String>>,
}

impl Server {
    async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sd?x=1", listener.local_addr().unwrap());
        let first = Answer {
            status: "200 OK",
            content_type: "application/json; charset=utf-8",
            body: "[]".to_string(),
        };
        let (answer, request) = (Arc::new(Mutex::new(first)), Arc::new(Mutex::new(String::new())));
        let (to_give, to_keep) = (Arc::clone(&answer), Arc::clone(&request));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                let mut buffer = [0; 4096];
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    let n = socket.read(&mut buffer).await.unwrap_or(0);
                    if n == 0 {
                        break;
                    }
                    head.extend_from_slice(&buffer[..n]);
                }
                *to_keep.lock().unwrap() = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let Answer { status, content_type, body } = to_give.lock().unwrap().clone();
                let text = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = socket.write_all(text.as_bytes()).await;
            }
        });
        Server { url, answer, request }
    }

    fn set(&self, status: &'static str, content_type: &'static str, body: &str) {
        *self.answer.lock().unwrap() = Answer { status, content_type, body: body.to_string() };
    }

    fn configs(&self) -> SdConfigs {
        let refresh_interval = Duration::from_millis(200);
        let one = HttpSdConfig { url: self.url.clone(), refresh_interval, ..HttpSdConfig::default() };
        SdConfigs { http_sd_configs: vec![one], ..SdConfigs::default() }
    }
}

async fn until_failures(running: &Running, more_than: f64) -> f64 {
    for _ in 0..200 {
        let now = running.figure("prometheus_sd_http_failures_total", &[]).unwrap();
        if now > more_than {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no more than {more_than} failures");
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_an_endpoint() {
    let server = Server::start().await;
    server.set(
        "200 OK",
        "application/json",
        r#"[{"targets":["a:1"],"labels":{"x":"y"}},{"targets":["b:1"]}]"#,
    );
    let mut running = Running::new();
    running.apply(&[("job", server.configs())]).await;
    let sets = running.until_addresses("job", &["a:1", "b:1"]).await;
    let found = labels(&sets, "job", "a:1");
    assert_eq!((found["__meta_url"].as_str(), found["x"].as_str()), (server.url.as_str(), "y"));
    assert_eq!(sets["job"][1].source, format!("{}:1", server.url));
    let request = server.request.lock().unwrap().clone();
    for line in [
        "get /sd?x=1 http/1.1",
        "accept: application/json",
        "user-agent: test-agent",
        "x-prometheus-refresh-interval-seconds: 0.2",
    ] {
        assert!(request.contains(line), "{line}: {request}");
    }

    // What is not an answer changes nothing.
    let mut failures = 0.0;
    for (status, content_type, body) in [
        ("500 Internal Server Error", "application/json", "[]"),
        ("204 No Content", "application/json", ""),
        ("200 OK", "text/html", "[]"),
        ("200 OK", "application/json", "[{\"targets\":[\"c:1\"]"),
        ("200 OK", "application/json", "[null]"),
        ("200 OK", "application/json", "[{\"target\":[]}]"),
    ] {
        server.set(status, content_type, body);
        // Twice, as a request may have been under way with the answer before.
        failures = until_failures(&running, failures).await;
        failures = until_failures(&running, failures).await;
    }
    running.nothing_for(Duration::from_millis(300)).await;
    assert!(
        running
            .figure("prometheus_sd_refresh_failures_total", &[("mechanism", "http"), ("config", "job")])
            .unwrap()
            >= 6.0
    );

    server.set("200 OK", "application/json", r#"[{"targets":["c:1"]}]"#);
    running.until_addresses("job", &["c:1"]).await;
    server.set("200 OK", "application/json", "[]");
    running.until_addresses("job", &[]).await;
}
