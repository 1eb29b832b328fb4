//! TLS between our client and our listener.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get as route;
use config::{HttpClientConfig, TlsConfig, TlsVersion, WebConfig, WebTlsConfig};
use model::Secret;
use net::{ServeOptions, Server, WebConfigSource};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;

use crate::{client, get, text};

pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ca { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }
    /// Certificate and key for names.
    pub(crate) fn issue(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A listener with this TLS on a free port; stops when dropped.
pub(crate) struct Running {
    pub(crate) address: String,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn serve(web: WebConfig) -> Running {
    serve_with(ServeOptions { web_config: Some(fixed(web)), ..ServeOptions::default() }).await
}

fn fixed(web: WebConfig) -> WebConfigSource {
    WebConfigSource { path: "/dev/null".into(), load: Arc::new(move |_| Ok(web.clone())) }
}

pub(crate) async fn serve_with(options: ServeOptions) -> Running {
    let listeners = net::bind(&["127.0.0.1:0".to_string()]).unwrap();
    let address = listeners[0].local_addr().unwrap().to_string();
    let server = Server::new(listeners, options).unwrap();
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "slow"
    };
    let router = Router::new()
        .route("/", route(|| async { "hello" }))
        .route("/slow", route(slow))
        .route("/echo", axum::routing::post(|body: String| async { body }));
    let stop = CancellationToken::new();
    tokio::spawn(server.run(router, stop.clone()));
    Running { address, stop }
}

fn web(cert: &str, key: &str) -> WebConfig {
    let tls = WebTlsConfig { cert: cert.to_string(), key: Secret::new(key), ..WebTlsConfig::default() };
    WebConfig { tls_server_config: tls, ..WebConfig::default() }
}

fn with_tls(tls_config: TlsConfig) -> HttpClientConfig {
    HttpClientConfig { tls_config, ..HttpClientConfig::default() }
}

async fn fetch(config: &HttpClientConfig, address: &str) -> Result<String, String> {
    match client(config).send(get(&format!("https://{address}/"))).await {
        Ok(response) => Ok(text(response).await),
        Err(e) => Err(e.to_string().split_once(": ").unwrap().1.to_string()),
    }
}

#[tokio::test]
async fn verification_and_its_words() {
    let ca = Ca::new();
    let (cert, key) = ca.issue(&["127.0.0.1", "server.example"]);
    let server = serve(web(&cert, &key)).await;
    let trusted = TlsConfig { ca: ca.pem(), ..TlsConfig::default() };
    assert_eq!(fetch(&with_tls(trusted.clone()), &server.address).await.unwrap(), "hello");
    let named = TlsConfig { server_name: "server.example".to_string(), ..trusted.clone() };
    assert_eq!(fetch(&with_tls(named), &server.address).await.unwrap(), "hello");
    let wrong = TlsConfig { server_name: "other.example".to_string(), ..trusted.clone() };
    let error = fetch(&with_tls(wrong), &server.address).await.unwrap_err();
    assert!(
        error.starts_with("tls: failed to verify certificate: x509: certificate is valid for "),
        "{error}"
    );
    assert!(error.ends_with("server.example, not other.example"), "{error}");
    let stranger = TlsConfig { ca: Ca::new().pem(), ..TlsConfig::default() };
    let error = fetch(&with_tls(stranger), &server.address).await.unwrap_err();
    assert_eq!(error, "tls: failed to verify certificate: x509: certificate signed by unknown authority");
    let blind = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(fetch(&with_tls(blind), &server.address).await.unwrap(), "hello");
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let pinned = TlsConfig { min_version: Some(version), max_version: Some(version), ..trusted.clone() };
        assert_eq!(fetch(&with_tls(pinned), &server.address).await.unwrap(), "hello");
    }
    let old = TlsConfig { max_version: Some(TlsVersion::Tls11), ..trusted };
    assert!(net::HttpClient::new(&with_tls(old), net::ClientOptions::default()).is_err());
    let plain = client(&HttpClientConfig::default());
    let response = plain.send(get(&format!("http://{}/", server.address))).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(text(response).await, "Client sent an HTTP request to an HTTPS server.\n");
}

#[tokio::test]
async fn a_self_signed_ca_certificate_as_ca_file() {
    // As `openssl req -x509 -newkey` makes it, and as upstream's guide uses it.
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let server = serve(web(&cert.pem(), &key.serialize_pem())).await;
    let trusted = TlsConfig { ca: cert.pem(), ..TlsConfig::default() };
    assert_eq!(fetch(&with_tls(trusted.clone()), &server.address).await.unwrap(), "hello");
    let wrong = TlsConfig { server_name: "other.example".to_string(), ..trusted };
    let error = fetch(&with_tls(wrong), &server.address).await.unwrap_err();
    assert!(error.contains("x509: certificate is"), "{error}");
    params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    let server = serve(web(&cert.pem(), &key.serialize_pem())).await;
    let trusted = TlsConfig { ca: cert.pem(), ..TlsConfig::default() };
    let error = fetch(&with_tls(trusted), &server.address).await.unwrap_err();
    assert!(error.contains("certificate has expired"), "{error}");
}

#[tokio::test]
async fn client_certificates_by_every_policy() {
    let (ca, strangers) = (Ca::new(), Ca::new());
    let (cert, key) = ca.issue(&["127.0.0.1"]);
    let (known_cert, known_key) = ca.issue(&["client.example"]);
    let (other_cert, other_key) = strangers.issue(&["client.example"]);
    let shown = |cert: &str, key: &str| {
        with_tls(TlsConfig {
            ca: ca.pem(),
            cert: cert.to_string(),
            key: Secret::new(key),
            ..TlsConfig::default()
        })
    };
    let none = with_tls(TlsConfig { ca: ca.pem(), ..TlsConfig::default() });
    let (known, other) = (shown(&known_cert, &known_key), shown(&other_cert, &other_key));
    for (policy, with_ca, passes) in [
        ("NoClientCert", false, [true, true, true]),
        ("RequestClientCert", false, [true, true, true]),
        ("RequireAnyClientCert", false, [false, true, true]),
        ("VerifyClientCertIfGiven", true, [true, true, false]),
        ("RequireAndVerifyClientCert", true, [false, true, false]),
    ] {
        let mut settings = web(&cert, &key);
        settings.tls_server_config.client_auth_type = policy.to_string();
        if with_ca {
            settings.tls_server_config.client_ca = ca.pem();
        }
        let server = serve(settings).await;
        for (config, pass) in [&none, &known, &other].into_iter().zip(passes) {
            let result = fetch(config, &server.address).await;
            assert_eq!(result.is_ok(), pass, "{policy}: {result:?}");
        }
    }
    let mut settings = web(&cert, &key);
    settings.tls_server_config.client_auth_type = "RequireAndVerifyClientCert".to_string();
    settings.tls_server_config.client_ca = ca.pem();
    settings.tls_server_config.client_allowed_sans = Some(vec!["client.example".to_string()]);
    assert!(fetch(&known, &serve(settings.clone()).await.address).await.is_ok());
    settings.tls_server_config.client_allowed_sans = Some(vec!["admin.example".to_string()]);
    assert!(fetch(&known, &serve(settings).await.address).await.is_err());
}

#[tokio::test]
async fn files_that_change_are_taken_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (first, second) = (Ca::new(), Ca::new());
    let write = |ca: &Ca| {
        let (cert, key) = ca.issue(&["127.0.0.1"]);
        std::fs::write(path("cert"), cert).unwrap();
        std::fs::write(path("key"), key).unwrap();
    };
    write(&first);
    std::fs::write(path("ca"), first.pem()).unwrap();
    let tls = WebTlsConfig { cert_file: path("cert"), key_file: path("key"), ..WebTlsConfig::default() };
    let server = serve(WebConfig { tls_server_config: tls, ..WebConfig::default() }).await;
    let config = with_tls(TlsConfig { ca_file: path("ca"), ..TlsConfig::default() });
    let client = client(&config);
    let url = format!("https://{}/", server.address);
    assert_eq!(text(client.send(get(&url)).await.unwrap()).await, "hello");

    // Another CA on the client's side alone: kept connections do not count, and the server is a stranger.
    std::fs::write(path("ca"), second.pem()).unwrap();
    let error = client.send(get(&url)).await.unwrap_err().to_string();
    assert!(error.contains("certificate signed by unknown authority"), "{error}");
    write(&second);
    assert_eq!(text(client.send(get(&url)).await.unwrap()).await, "hello");

    // A half-written key: the listener goes on with what it has.
    std::fs::write(path("key"), "half").unwrap();
    assert_eq!(fetch(&config, &server.address).await.unwrap(), "hello");
    std::fs::remove_file(path("ca")).unwrap();
    let error = client.send(get(&url)).await.unwrap_err().to_string();
    assert!(error.contains("unable to read CA cert"), "{error}");
}

#[tokio::test]
async fn tls_settings_that_cannot_work_are_refused_at_once() {
    let ca = Ca::new();
    let (cert, key) = ca.issue(&["x"]);
    let (_, other_key) = ca.issue(&["x"]);
    let new = |tls: TlsConfig| {
        net::HttpClient::new(&with_tls(tls), net::ClientOptions::default()).err().map(|e| e.to_string())
    };
    let bad_ca = new(TlsConfig { ca: "nonsense".to_string(), ..TlsConfig::default() });
    assert_eq!(bad_ca.unwrap(), "unable to use specified CA cert inline");
    let no_file = new(TlsConfig { ca_file: "/nonexistent".to_string(), ..TlsConfig::default() });
    assert!(no_file.unwrap().starts_with("unable to read CA cert: "));
    let mismatch = new(TlsConfig { cert: cert.clone(), key: Secret::new(other_key), ..TlsConfig::default() });
    assert!(mismatch.unwrap().starts_with("unable to use specified client cert"));
    for (change, text) in [
        (
            (|t: &mut WebTlsConfig| t.key = Secret::default()) as fn(&mut WebTlsConfig),
            "missing one of key or key_file",
        ),
        (|t| t.cert = "x".to_string(), "failed to load X509KeyPair"),
        (|t| t.client_auth_type = "Sometimes".to_string(), "invalid ClientAuth: Sometimes"),
        (|t| t.client_ca = "x".to_string(), "client CA's have been configured without a Client Auth Policy"),
    ] {
        let mut settings = web(&cert, &key);
        change(&mut settings.tls_server_config);
        let listeners = net::bind(&["127.0.0.1:0".to_string()]).unwrap();
        let options = ServeOptions { web_config: Some(fixed(settings)), ..ServeOptions::default() };
        let error = Server::new(listeners, options).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
}
