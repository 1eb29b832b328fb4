//! Readiness, life cycle, prefix, compression, limits, cancellation, metrics, the page, federation.

use std::io::Read;

use storage::{Appendable, SeriesRef};
use web::Readiness;

use crate::parts::{START_MS, get, request, send, server};

#[tokio::test]
async fn not_ready_and_stopping() {
    let s = server(|_| {});
    for (to, stopping) in [(Readiness::NotReady, "false"), (Readiness::Stopping, "true")] {
        s.state.set_readiness(to);
        for path in ["/-/ready", "/api/v1/query?query=1", "/federate", "/api/v1/status/config"] {
            let (parts, body) = send(&s.router, request("GET", path, &[], Vec::new())).await;
            assert_eq!(
                (parts.status.as_u16(), body.as_slice()),
                (503, &b"Service Unavailable"[..]),
                "{path}"
            );
            assert_eq!(parts.headers["x-prometheus-stopping"], stopping);
        }
        for path in ["/-/healthy", "/metrics", "/api/v1/status/walreplay", "/api/v1/notifications", "/query"]
        {
            assert_eq!(get(&s.router, path).await.0, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn reload_and_quit() {
    let mut s = server(|o| o.enable_lifecycle = true);
    let router = s.router.clone();
    let asked =
        tokio::spawn(async move { send(&router, request("POST", "/-/reload", &[], Vec::new())).await });
    s.reloads.recv().await.unwrap().send(Err("bad file".into())).unwrap();
    let (parts, body) = asked.await.unwrap();
    assert_eq!((parts.status.as_u16(), body.as_slice()), (500, &b"failed to reload config: bad file\n"[..]));
    let router = s.router.clone();
    let asked =
        tokio::spawn(async move { send(&router, request("PUT", "/-/reload", &[], Vec::new())).await });
    s.reloads.recv().await.unwrap().send(Ok(())).unwrap();
    let (parts, body) = asked.await.unwrap();
    assert_eq!((parts.status.as_u16(), body.len()), (200, 0));
    let quit = |_| async { send(&s.router, request("POST", "/-/quit", &[], Vec::new())).await.1 };
    assert_eq!(quit(()).await, b"Requesting termination... Goodbye!");
    assert!(s.quit.is_cancelled());
    assert_eq!(quit(()).await, b"Termination already in progress.");
}

#[tokio::test]
async fn under_a_prefix() {
    let s = server(|o| {
        o.route_prefix = "/pre".into();
        o.external_path = "/out".into();
    });
    let location = async |path: &str| {
        let (parts, _) = send(&s.router, request("GET", path, &[], Vec::new())).await;
        (parts.status.as_u16(), parts.headers.get("location").map(|v| v.to_str().unwrap().to_string()))
    };
    assert_eq!(location("/").await, (302, Some("/pre".into())));
    assert_eq!(location("/pre").await, (301, Some("/pre/".into())));
    assert_eq!(location("/pre/").await, (302, Some("/out/query".into())));
    assert_eq!(location("/pre/graph?a=b").await, (302, Some("/out/query?a=b".into())));
    assert_eq!(location("/pre/alerts/").await, (301, Some("/pre/alerts".into())));
    for path in ["/query", "/api/v1/query", "/-/healthy", "/prefix/query"] {
        assert_eq!(get(&s.router, path).await, (404, "404 page not found\n".into()), "{path}");
    }
    for path in
        ["/pre/query", "/pre/api/v1/status/buildinfo", "/pre/-/healthy", "/pre/assets/app.js", "/pre/metrics"]
    {
        assert_eq!(get(&s.router, path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn compressed_as_asked() {
    let s = server(|_| {});
    let ask = async |path: &str, accept: &str| {
        let (parts, body) =
            send(&s.router, request("GET", path, &[("accept-encoding", accept)], Vec::new())).await;
        let encoding = parts.headers.get("content-encoding").map(|v| v.to_str().unwrap().to_string());
        assert_eq!(parts.headers["content-length"], body.len().to_string());
        let mut text = String::new();
        match encoding.as_deref() {
            Some("gzip") => {
                assert!(flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap() > 0)
            }
            Some("deflate") => {
                assert!(flate2::read::ZlibDecoder::new(&body[..]).read_to_string(&mut text).unwrap() > 0)
            }
            _ => text = String::from_utf8(body).unwrap(),
        }
        (encoding, text)
    };
    let plain = ask("/api/v1/labels", "").await.1;
    assert_eq!(ask("/api/v1/labels", "br, gzip").await, (Some("gzip".into()), plain.clone()));
    assert_eq!(ask("/api/v1/labels", "deflate,gzip").await, (Some("deflate".into()), plain.clone()));
    assert_eq!(ask("/api/v1/labels", "gzip;q=0.5").await, (None, plain));
    assert_eq!(ask("/metrics", "zstd, gzip;q=0.5").await.0.as_deref(), Some("gzip"));
}

#[tokio::test]
async fn a_form_that_is_too_long() {
    let s = server(|_| {});
    let body = format!("query=up&x={}", "y".repeat(11 << 20)).into_bytes();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (parts, _) = send(&s.router, request("POST", "/api/v1/query", &form, body)).await;
    assert_eq!(parts.status.as_u16(), 413);
}

#[tokio::test]
async fn requests_are_counted() {
    let s = server(|_| {});
    for path in ["/api/v1/labels", "/api/v1/label/job/values", "/api/v1/query?query=x%7B", "/nope"] {
        get(&s.router, path).await;
    }
    let (_, text) = get(&s.router, "/metrics").await;
    for line in [
        "prometheus_http_requests_total{handler=\"/api/v1/labels\",code=\"200\"} 1",
        "prometheus_http_requests_total{handler=\"/api/v1/label/:name/values\",code=\"200\"} 1",
        "prometheus_http_requests_total{handler=\"/api/v1/query\",code=\"400\"} 1",
        "prometheus_http_requests_total{handler=\"/-/ready\",code=\"200\"} 0",
        "prometheus_ready 1",
    ] {
        let wanted: Vec<&str> = line.split(['{', ',', '}']).collect();
        assert!(text.lines().any(|l| wanted.iter().all(|w| l.contains(w))), "{line}\n{text}");
    }
    assert!(
        text.contains(
            "prometheus_http_request_duration_seconds_bucket{handler=\"/api/v1/labels\",le=\"0.1\"}"
        )
    );
    assert!(text.contains("prometheus_http_response_size_bytes_count{handler=\"/api/v1/labels\"} 1"));
    assert!(s.registry.gather().len() > 5);
}

#[tokio::test]
async fn the_page_is_whole() {
    let s = server(|o| o.page_title = "<My> \"T\"".into());
    for path in [
        "/query",
        "/targets",
        "/status",
        "/config",
        "/flags",
        "/tsdb-status",
        "/rules",
        "/alerts",
        "/service-discovery",
    ] {
        let (parts, body) = send(&s.router, request("GET", path, &[], Vec::new())).await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(parts.headers["content-type"], "text/html; charset=utf-8");
        assert!(parts.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert!(text.contains("<title>&lt;My&gt; &quot;T&quot;</title>"), "{path}");
        for asset in ["assets/app.js", "assets/app.css", "favicon.svg"] {
            assert!(text.contains(asset));
            assert_eq!(get(&s.router, &format!("/{asset}")).await.0, 200);
        }
    }
    assert_eq!(get(&s.router, "/assets/../Cargo.toml").await.0, 307);
    assert_eq!(get(&s.router, "/assets/x").await.0, 404);
}

#[tokio::test]
async fn federation() {
    let s = server(|_| {});
    let mut app = s.store.appender();
    let gone = model::Labels::from_pairs([("__name__", "gone"), ("job", "x")]);
    app.append(SeriesRef::NONE, &gone, 0, START_MS + 290_000, 1.0).unwrap();
    app.append(SeriesRef::NONE, &gone, 0, START_MS + 295_000, model::stale_nan()).unwrap();
    let old = model::Labels::from_pairs([("__name__", "old")]);
    app.append(SeriesRef::NONE, &old, 0, START_MS - 1, 1.0).unwrap();
    app.commit().unwrap();
    let (parts, body) = send(
        &s.router,
        request(
            "GET",
            "/federate?match[]=%7Bjob=%22x%22%7D&match[]=%7B__name__=~%22up|old|requests_total%22%7D",
            &[],
            Vec::new(),
        ),
    )
    .await;
    assert_eq!(
        parts.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    let text = String::from_utf8(body).unwrap();
    let t = START_MS + 300_000;
    let want = format!(
        "# TYPE custom histogram\n\
         custom_bucket{{cluster=\"c1\",instance=\"\",job=\"x\",le=\"1\"}} 21 {t}\n\
         custom_bucket{{cluster=\"c1\",instance=\"\",job=\"x\",le=\"2.5\"}} 63 {t}\n\
         custom_bucket{{cluster=\"c1\",instance=\"\",job=\"x\",le=\"+Inf\"}} 126 {t}\n\
         custom_sum{{cluster=\"c1\",instance=\"\",job=\"x\"}} 262.5 {t}\n\
         custom_count{{cluster=\"c1\",instance=\"\",job=\"x\"}} 126 {t}\n\
         # TYPE requests_total untyped\n\
         requests_total{{cluster=\"c1\",code=\"200\",instance=\"a:1\"}} 600 {t}\n\
         requests_total{{cluster=\"c1\",code=\"500\",instance=\"a:1\"}} 6 {t}\n\
         # TYPE up untyped\n\
         up{{cluster=\"c1\",instance=\"a:1\",job=\"x\"}} 1 {t}\n\
         up{{cluster=\"c1\",instance=\"b:2\",job=\"x\"}} 0 {t}\n\
         up{{cluster=\"c1\",instance=\"c:3\",job=\"y\"}} 0 {t}\n"
    );
    assert_eq!(text, want);
    // In protobuf the native histogram is there too.
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let (parts, body) =
        send(&s.router, request("GET", "/federate?match[]=native", &[("accept", accept)], Vec::new())).await;
    assert!(parts.headers["content-type"].to_str().unwrap().starts_with("application/vnd.google.protobuf"));
    assert!(body.windows(6).any(|w| w == b"native"));
    assert_eq!(get(&s.router, "/federate?match[]=native").await.1, "");
}

#[tokio::test]
async fn an_agent_has_no_queries() {
    let s = server(|o| o.agent = true);
    let want = r#"{"status":"error","errorType":"execution","error":"unavailable with Prometheus Agent"}"#;
    assert_eq!(get(&s.router, "/api/v1/query?query=1").await, (422, want.into()));
    assert_eq!(get(&s.router, "/api/v1/targets").await.0, 200);
}

#[tokio::test]
async fn buildinfo_has_no_features() {
    let s = server(|_| {});
    let (_, text) = get(&s.router, "/api/v1/status/buildinfo").await;
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((v["data"]["version"].as_str(), v["data"].get("features")), (Some("3.15.0"), None));
    assert_eq!(v["data"]["serverVersion"], "0.1.0");
    assert_eq!(
        get(&s.router, "/api/v1/features").await.1,
        r#"{"status":"success","data":{"promql_operators":{"<=":true}}}"#
    );
}
