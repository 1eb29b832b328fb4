//! The listener: users, headers, limits, reload, shutdown.

use std::sync::Arc;
use std::time::Duration;

use config::{BasicAuth, HttpClientConfig, WebConfig};
use model::Secret;
use net::{ServeOptions, WebConfigSource};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tls::{serve, serve_with};
use crate::{client, get, text};

fn as_user(user: &str, password: &str) -> HttpClientConfig {
    let basic =
        BasicAuth { username: user.to_string(), password: Secret::new(password), ..BasicAuth::default() };
    HttpClientConfig { basic_auth: Some(basic), ..HttpClientConfig::default() }
}

#[tokio::test]
async fn users_and_headers() {
    let mut web = WebConfig::default();
    web.basic_auth_users.insert("alice".to_string(), Secret::new(bcrypt::hash("pw", 4).unwrap()));
    web.http_server_config.headers.insert("X-Frame-Options".to_string(), "deny".to_string());
    let server = serve(web).await;
    let url = format!("http://{}/", server.address);
    let response = client(&HttpClientConfig::default()).send(get(&url)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Basic");
    assert_eq!(response.headers()["x-frame-options"], "deny");
    assert_eq!(text(response).await, "Unauthorized\n");
    let response = client(&as_user("alice", "pw")).send(get(&url)).await.unwrap();
    assert_eq!(text(response).await, "hello");
    let response = client(&as_user("alice", "wrong")).send(get(&url)).await.unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn the_web_config_is_taken_when_it_changes_and_kept_when_it_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    std::fs::write(&path, "deny").unwrap();
    let load = |path: &std::path::Path| {
        let value = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        if value.contains("bad") {
            return Err("bad file".to_string());
        }
        let mut web = WebConfig::default();
        web.http_server_config.headers.insert("X-Frame-Options".to_string(), value.trim().to_string());
        Ok(web)
    };
    let source = WebConfigSource { path: path.clone(), load: Arc::new(load) };
    let server = serve_with(ServeOptions { web_config: Some(source), ..ServeOptions::default() }).await;
    let client = client(&HttpClientConfig::default());
    for (contents, expected) in
        [("deny", "deny"), ("sameorigin", "sameorigin"), ("bad", "sameorigin"), ("deny", "deny")]
    {
        std::fs::write(&path, contents).unwrap();
        let response = client.send(get(&format!("http://{}/", server.address))).await.unwrap();
        assert_eq!(response.headers()["x-frame-options"], expected, "{contents}");
    }
    std::fs::remove_file(&path).unwrap();
    let response = client.send(get(&format!("http://{}/", server.address))).await.unwrap();
    assert_eq!(response.headers()["x-frame-options"], "deny");
}

#[tokio::test]
async fn connections_above_the_limit_wait() {
    let server = serve_with(ServeOptions { max_connections: 1, ..ServeOptions::default() }).await;
    let first = TcpStream::connect(&server.address).await.unwrap();
    let mut second = TcpStream::connect(&server.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    let waiting = tokio::time::timeout(Duration::from_millis(200), second.read(&mut byte)).await;
    assert!(waiting.is_err(), "the first connection holds the only slot");
    drop(first);
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let options = ServeOptions { read_timeout: Duration::from_millis(200), ..ServeOptions::default() };
    let server = serve_with(options).await;
    for begun in ["GET / HT", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "{begun:?} was never cut off");
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
}

#[tokio::test]
async fn shutdown_finishes_what_was_begun() {
    let listeners = net::bind(&["127.0.0.1:0".to_string(), "127.0.0.1:0".to_string()]).unwrap();
    let addresses: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    let server = net::Server::new(listeners, ServeOptions::default()).unwrap();
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "slow"
    };
    let router = axum::Router::new().route("/slow", axum::routing::get(slow));
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(server.run(router, stop.clone()));
    let client = client(&HttpClientConfig::default());
    let begun: Vec<_> = addresses
        .iter()
        .map(|a| {
            let (client, url) = (client.clone(), format!("http://{a}/slow"));
            tokio::spawn(async move { text(client.send(get(&url)).await.unwrap()).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    for request in begun {
        assert_eq!(request.await.unwrap(), "slow");
    }
    tokio::time::timeout(Duration::from_secs(2), running).await.unwrap().unwrap();
    assert!(TcpStream::connect(&addresses[0]).await.is_err());
}

#[tokio::test]
async fn addresses_and_their_errors() {
    let taken = net::bind(&["127.0.0.1:0".to_string()]).unwrap();
    let address = taken[0].local_addr().unwrap().to_string();
    let error = net::bind(std::slice::from_ref(&address)).unwrap_err().to_string();
    assert_eq!(error, format!("listen tcp {address}: bind: address already in use"));
    assert!(net::bind(&["9090".to_string()]).unwrap_err().to_string().contains("missing port in address"));
    assert!(net::bind(&["x:99999".to_string()]).is_err());
    assert_eq!(net::bind(&[":0".to_string()]).unwrap().len(), 1);
    assert_eq!(net::bind(&["localhost:0".to_string()]).unwrap().len(), 1);
}
