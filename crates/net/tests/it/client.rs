//! Credentials, headers, redirects, proxies, errors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use config::{Authorization, BasicAuth, HeaderValues, HttpClientConfig, OAuth2Config};
use model::Secret;
use net::{ClientOptions, HttpClient};
use testkit::{Answer, FakeTarget, Hostile};

use crate::{client, get, text};

#[tokio::test]
async fn credentials_come_from_files_as_they_are_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let target = FakeTarget::start(|_| Answer::text("ok")).await.unwrap();
    let auth = Authorization {
        kind: "Bearer".to_string(),
        credentials_file: path.display().to_string(),
        ..Authorization::default()
    };
    let client = client(&HttpClientConfig { authorization: Some(auth), ..HttpClientConfig::default() });
    for token in ["first", "second", "third"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        client.send(get(&target.url("/"))).await.unwrap();
        let request = target.last_request().unwrap();
        assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
        assert_eq!(request.header("user-agent"), Some("Prometheus/3.15.0"));
    }
    std::fs::remove_file(&path).unwrap();
    let error = client.send(get(&target.url("/"))).await.unwrap_err().to_string();
    assert!(error.contains("unable to read authorization credentials: unable to read file"), "{error}");
    assert!(error.starts_with(&format!("Get {:?}: ", target.url("/"))), "{error}");
}

#[tokio::test]
async fn basic_auth_and_extra_headers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    std::fs::write(&path, "from file\n").unwrap();
    let target = FakeTarget::start(|_| Answer::text("ok")).await.unwrap();
    let basic =
        BasicAuth { username: "user".to_string(), password: Secret::new("pa:ss"), ..BasicAuth::default() };
    let values = HeaderValues {
        values: vec!["a".to_string()],
        secrets: vec![Secret::new("b")],
        files: vec![path.display().to_string()],
    };
    let config = HttpClientConfig {
        basic_auth: Some(basic),
        http_headers: Some(BTreeMap::from([("X-Tenant".to_string(), values)])),
        ..HttpClientConfig::default()
    };
    client(&config).send(get(&target.url("/"))).await.unwrap();
    let request = target.last_request().unwrap();
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwYTpzcw=="));
    let tenants: Vec<_> = request
        .headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case("x-tenant"))
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(tenants, ["a", "b", "from file"]);
}

#[tokio::test]
async fn connections_are_reused_and_a_closed_one_is_no_error() {
    let target = FakeTarget::start(|_| Answer::text("ok")).await.unwrap();
    let client = client(&HttpClientConfig::default());
    for _ in 0..3 {
        assert_eq!(text(client.send(get(&target.url("/"))).await.unwrap()).await, "ok");
    }
    assert!(target.requests().iter().all(|r| r.connection == 0), "one connection for all");

    // A server that closes after each answer without saying so.
    let answers = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answers);
    let target = FakeTarget::start(move |_| match counter.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Answer::text("ok"),
        _ => Answer::Hangup,
    })
    .await
    .unwrap();
    for _ in 0..4 {
        assert_eq!(text(client.send(get(&target.url("/"))).await.unwrap()).await, "ok");
    }
}

#[tokio::test]
async fn redirects_keep_credentials_at_home() {
    let other = FakeTarget::start(|_| Answer::text("other")).await.unwrap();
    // The same machine under another name is another host.
    let elsewhere = other.url("/there").replace("127.0.0.1", "localhost");
    let target = FakeTarget::start(move |r| match r.target.as_str() {
        "/away" => Answer::redirect(302, &elsewhere),
        "/near" => Answer::redirect(307, "/here?x=1"),
        "/loop" => Answer::Hostile(Hostile::RedirectLoop),
        "/nowhere" => Answer::redirect(302, "ftp://x/"),
        _ => Answer::text("same"),
    })
    .await
    .unwrap();
    let basic = BasicAuth { username: "u".to_string(), ..BasicAuth::default() };
    let cookie = HeaderValues { values: vec!["c".to_string()], ..HeaderValues::default() };
    let plain = HeaderValues { values: vec!["p".to_string()], ..HeaderValues::default() };
    let config = HttpClientConfig {
        basic_auth: Some(basic),
        http_headers: Some(BTreeMap::from([("Cookie".to_string(), cookie), ("X-Plain".to_string(), plain)])),
        ..HttpClientConfig::default()
    };
    let following = client(&config);
    assert_eq!(text(following.send(get(&target.url("/near"))).await.unwrap()).await, "same");
    let request = target.last_request().unwrap();
    assert_eq!((request.target.as_str(), request.header("authorization").is_some()), ("/here?x=1", true));

    assert_eq!(text(following.send(get(&target.url("/away"))).await.unwrap()).await, "other");
    let request = other.last_request().unwrap();
    assert_eq!((request.header("authorization"), request.header("cookie")), (None, None));
    assert_eq!(request.header("x-plain"), Some("p"));

    let error = following.send(get(&target.url("/loop"))).await.unwrap_err().to_string();
    assert!(error.ends_with("stopped after 10 redirects"), "{error}");
    let error = following.send(get(&target.url("/nowhere"))).await.unwrap_err().to_string();
    assert!(error.contains("failed to parse Location header"), "{error}");

    let staying = client(&HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() });
    assert_eq!(staying.send(get(&target.url("/away"))).await.unwrap().status(), 302);
}

#[tokio::test]
async fn errors_are_gos() {
    let client = client(&HttpClientConfig::default());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, reason) in [
        (format!("http://{free}/m"), format!("dial tcp {free}: connect: connection refused")),
        (
            "http://no-such-host.invalid/m".to_string(),
            "dial tcp: lookup no-such-host.invalid: no such host".to_string(),
        ),
    ] {
        let error = client.send(get(&url)).await.unwrap_err().to_string();
        assert_eq!(error, format!("Get {url:?}: {reason}"));
    }
    let target = FakeTarget::start(|_| Answer::Hangup).await.unwrap();
    let error = client.send(get(&target.url("/"))).await.unwrap_err().to_string();
    assert_eq!(error, format!("Get {:?}: EOF", target.url("/")));
    let plain = crate::tls::serve(config::WebConfig::default()).await;
    let https = format!("https://{}/", plain.address);
    let error = client.send(get(&https)).await.unwrap_err().to_string();
    assert_eq!(error, format!("Get {https:?}: http: server gave HTTP response to HTTPS client"));
}

#[tokio::test]
async fn a_unix_socket_instead_of_the_host() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(String::from_utf8_lossy(&buffer[..n]).contains("Host: anything:9\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").await.unwrap();
    });
    let options = ClientOptions { unix_socket: Some(path), ..ClientOptions::default() };
    let client = HttpClient::new(&HttpClientConfig::default(), options).unwrap();
    assert_eq!(text(client.send(get("http://anything:9/x")).await.unwrap()).await, "unix");
}

fn proxied(url: &str, no_proxy: &str) -> HttpClientConfig {
    let yaml = format!(
        "scrape_configs:\n- job_name: x\n  proxy_url: {url}\n  no_proxy: '{no_proxy}'\n  proxy_connect_header:\n    X-Via: [secret]\n"
    );
    config::Config::parse(&yaml, &config::LoadOptions::default()).unwrap().scrape_configs[0].http.clone()
}

#[tokio::test]
async fn plain_requests_go_through_a_proxy_in_absolute_form() {
    let proxy = FakeTarget::start(|_| Answer::text("proxied")).await.unwrap();
    let url = proxy.url("").replace("http://", "http://user:pw@");
    let client = client(&proxied(&url, "exempt.invalid"));
    assert_eq!(text(client.send(get("http://far.invalid:9100/metrics?a=b")).await.unwrap()).await, "proxied");
    let request = proxy.last_request().unwrap();
    assert_eq!(request.target, "http://far.invalid:9100/metrics?a=b");
    assert_eq!(request.header("host"), Some("far.invalid:9100"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwdw=="));
    let error = client.send(get("http://exempt.invalid/")).await.unwrap_err().to_string();
    assert!(error.contains("no such host"), "{error}");
}

#[tokio::test]
async fn a_refused_tunnel_says_why() {
    let proxy = FakeTarget::start(|_| Answer::text("").status(503)).await.unwrap();
    let client = client(&proxied(&proxy.url(""), ""));
    let error = client.send(get("https://far.invalid/")).await.unwrap_err().to_string();
    assert_eq!(error, "Get \"https://far.invalid/\": Service Unavailable");
    let request = proxy.last_request().unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", "far.invalid:443"));
    assert_eq!(request.header("x-via"), Some("secret"));
}

#[tokio::test]
async fn oauth2_fetches_one_token_and_keeps_it() {
    let endpoint = FakeTarget::start(|r| {
        // Credentials in the form only, as some endpoints want them.
        if !String::from_utf8_lossy(&r.body).contains("client_secret=s%26cret") {
            return Answer::page("application/json", r#"{"error":"invalid_client"}"#).status(401);
        }
        Answer::page("application/json", r#"{"access_token":"tok","token_type":"bearer","expires_in":3600}"#)
    })
    .await
    .unwrap();
    let target = FakeTarget::start(|_| Answer::text("ok")).await.unwrap();
    let oauth2 = OAuth2Config {
        client_id: "id".to_string(),
        client_secret: Secret::new("s&cret"),
        scopes: vec!["a".to_string(), "b".to_string()],
        token_url: endpoint.url("/token"),
        endpoint_params: BTreeMap::from([("resource".to_string(), "r".to_string())]),
        ..OAuth2Config::default()
    };
    let client = client(&HttpClientConfig { oauth2: Some(oauth2), ..HttpClientConfig::default() });
    let (a, b) = (client.send(get(&target.url("/"))), client.send(get(&target.url("/"))));
    let (a, b) = tokio::join!(a, b);
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(target.last_request().unwrap().header("authorization"), Some("Bearer tok"));
    let asked = endpoint.requests();
    assert_eq!(asked.len(), 2, "header first, then form, then never again");
    assert_eq!(asked[0].header("authorization"), Some("Basic aWQ6cyUyNmNyZXQ="));
    let form = String::from_utf8(asked[1].body.clone()).unwrap();
    assert_eq!(
        form,
        "client_id=id&client_secret=s%26cret&grant_type=client_credentials&resource=r&scope=a+b"
    );
}
