//! OAuth 2.0: client credentials (RFC 6749 4.4) and JWT bearer (RFC 7523) grants. A token is kept until
//! shortly before it expires, and fetched by one request however many wait for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use config::{HttpClientConfig, OAuth2Config};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use rustls::SignatureScheme;

use crate::client::{ClientOptions, HttpClient};
use crate::secret::SecretSource;
use crate::tls::private_key;

/// A token endpoint's answer; real ones are below 10 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A token is not used within this time before its end, as in Go's `oauth2`.
const EXPIRY_DELTA: Duration = Duration::from_secs(10);
/// Life of a JWT assertion, as in Go's `oauth2/jwt`.
const ASSERTION_LIFE: Duration = Duration::from_secs(3600);
/// The fetch itself; the scrape that waits for it has its own, usually shorter, bound.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

#[derive(Debug)]
struct Token {
    header: String,
    until: Option<Instant>,
    /// Secret it was fetched with; another secret needs another token.
    secret: Arc<str>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// Whether the endpoint wants id and secret in the form (true) or in a header; `None`: not known yet.
    in_form: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct OAuth2 {
    config: OAuth2Config,
    secret: Option<SecretSource>,
    client: HttpClient,
    state: tokio::sync::Mutex<State>,
}

impl OAuth2 {
    pub(crate) fn new(config: &OAuth2Config, user_agent: &str) -> Result<Self, String> {
        let jwt = config.grant_type == JWT_BEARER;
        let secret = if jwt {
            SecretSource::new(
                &config.client_certificate_key,
                &config.client_certificate_key_file,
                &config.client_certificate_key_ref,
            )
            .map_err(|e| format!("unable to use client certificate: {e}"))?
        } else {
            SecretSource::new(&config.client_secret, &config.client_secret_file, &config.client_secret_ref)
                .map_err(|e| format!("unable to use client secret: {e}"))?
        };
        let http = HttpClientConfig {
            tls_config: config.tls_config.clone(),
            proxy: config.proxy.clone(),
            ..HttpClientConfig::default()
        };
        let options = ClientOptions { user_agent: user_agent.to_string(), ..ClientOptions::default() };
        let client = HttpClient::new(&http, options).map_err(|e| e.to_string())?;
        Ok(OAuth2 { config: config.clone(), secret, client, state: tokio::sync::Mutex::default() })
    }

    /// `Bearer …` for the next request. Boxed, as a request may need a token, whose request needs a
    /// client: the type would contain itself.
    pub(crate) fn header(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(self.current())
    }

    async fn current(&self) -> Result<String, String> {
        let Some(source) = &self.secret else { return Err("oauth2 client secret is required".to_string()) };
        let secret = source.read().map_err(|e| format!("unable to read oauth2 client secret: {e}"))?;
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && token.secret == secret
            && token.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(token.header.clone());
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch(&mut state, &secret)).await;
        let token = fetched.map_err(|_| "oauth2: cannot fetch token: timeout".to_string())??;
        let header = token.header.clone();
        state.token = Some(token);
        Ok(header)
    }

    async fn fetch(&self, state: &mut State, secret: &Arc<str>) -> Result<Token, String> {
        let mut form: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in &self.config.endpoint_params {
            form.insert(name, value.clone());
        }
        if self.config.grant_type == JWT_BEARER {
            form.insert("grant_type", JWT_BEARER.to_string());
            form.insert("assertion", self.assertion(secret)?);
            return self.post(&form, None, secret).await;
        }
        form.entry("grant_type").or_insert_with(|| "client_credentials".to_string());
        if !self.config.scopes.is_empty() {
            form.insert("scope", self.config.scopes.join(" "));
        }
        // Endpoints differ in where they want the credentials, and do not say so: Go's library tries the
        // header first and remembers what worked.
        let mut last = Err(String::new());
        for in_form in state.in_form.map_or(vec![false, true], |known| vec![known]) {
            last = if in_form {
                let mut form = form.clone();
                form.insert("client_id", self.config.client_id.clone());
                form.insert("client_secret", secret.to_string());
                self.post(&form, None, secret).await
            } else {
                let encoded =
                    |s: &str| url::form_urlencoded::byte_serialize(s.as_bytes()).collect::<String>();
                let plain = format!("{}:{}", encoded(&self.config.client_id), encoded(secret));
                self.post(&form, Some(format!("Basic {}", STANDARD.encode(plain))), secret).await
            };
            if last.is_ok() {
                state.in_form = Some(in_form);
                break;
            }
        }
        last
    }

    async fn post(
        &self,
        form: &BTreeMap<&str, String>,
        authorization: Option<String>,
        secret: &Arc<str>,
    ) -> Result<Token, String> {
        let fail = |e: String| format!("oauth2: cannot fetch token: {e}");
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.config.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Bytes::from(body)).map_err(|e| fail(e.to_string()))?;
        let response = self.client.send(request).await.map_err(|e| fail(e.to_string()))?;
        let status = response.status();
        let is_json =
            response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_none_or(|t| {
                !t.starts_with("application/x-www-form-urlencoded") && !t.starts_with("text/plain")
            });
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| fail(e.to_string()))?.to_bytes();
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(fail(format!("{status}\nResponse: {text}")));
        }
        let answer = Answer::read(&body, is_json).map_err(fail)?;
        if answer.token.is_empty() {
            return Err("oauth2: server response missing access_token".to_string());
        }
        let kind = match answer.kind.to_ascii_lowercase().as_str() {
            "" | "bearer" => "Bearer".to_string(),
            "mac" => "MAC".to_string(),
            "basic" => "Basic".to_string(),
            _ => answer.kind,
        };
        let until = (answer.expires_in > 0)
            .then(|| Instant::now() + Duration::from_secs(answer.expires_in).saturating_sub(EXPIRY_DELTA));
        Ok(Token { header: format!("{kind} {}", answer.token), until, secret: Arc::clone(secret) })
    }

    fn assertion(&self, key_pem: &str) -> Result<String, String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let c = &self.config;
        let or = |value: &str, default: &str| if value.is_empty() { default } else { value }.to_string();
        let (algorithm, scheme) = match c.signature_algorithm.as_str() {
            "RS384" => ("RS384", SignatureScheme::RSA_PKCS1_SHA384),
            "RS512" => ("RS512", SignatureScheme::RSA_PKCS1_SHA512),
            _ => ("RS256", SignatureScheme::RSA_PKCS1_SHA256),
        };
        let mut head = serde_json::json!({ "alg": algorithm, "typ": "JWT" });
        if !c.client_certificate_key_id.is_empty() {
            head["kid"] = c.client_certificate_key_id.clone().into();
        }
        let mut claims = serde_json::Map::new();
        claims.extend(c.claims.clone());
        claims.insert("iss".to_string(), or(&c.iss, &c.client_id).into());
        claims.insert("sub".to_string(), c.client_id.clone().into());
        claims.insert("aud".to_string(), or(&c.audience, &c.token_url).into());
        claims.insert("iat".to_string(), now.as_secs().into());
        claims.insert("exp".to_string(), (now + ASSERTION_LIFE).as_secs().into());
        claims.insert("jti".to_string(), format!("{:x}", now.as_nanos()).into());
        if !c.scopes.is_empty() {
            claims.insert("scope".to_string(), c.scopes.join(" ").into());
        }
        let encode = |v: String| URL_SAFE_NO_PAD.encode(v);
        let signed =
            format!("{}.{}", encode(head.to_string()), encode(serde_json::Value::from(claims).to_string()));
        let fail = |e: String| format!("oauth2: client_certificate_key: {e}");
        let key = private_key(key_pem.as_bytes()).map_err(fail)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|e| fail(e.to_string()))?;
        let signer = key.choose_scheme(&[scheme]).ok_or_else(|| fail("an RSA key is needed".to_string()))?;
        let signature = signer.sign(signed.as_bytes()).map_err(|e| fail(e.to_string()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    token: String,
    kind: String,
    expires_in: u64,
}

impl Answer {
    fn read(body: &[u8], is_json: bool) -> Result<Self, String> {
        let mut answer = Answer::default();
        if is_json {
            let value: serde_json::Value =
                serde_json::from_slice(body).map_err(|e| format!("cannot parse json: {e}"))?;
            let text = |name: &str| value.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_string();
            if value.get("error").is_some() {
                return Err(format!("{:?} {:?}", text("error"), text("error_description")));
            }
            answer.token = text("access_token");
            answer.kind = text("token_type");
            // Some servers send the number as a string.
            let expires = value.get("expires_in");
            let number = expires.and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
            answer.expires_in = number.unwrap_or(0.0).max(0.0) as u64;
        } else {
            for (name, value) in url::form_urlencoded::parse(body) {
                match &*name {
                    "access_token" => answer.token = value.into_owned(),
                    "token_type" => answer.kind = value.into_owned(),
                    "expires_in" => answer.expires_in = value.parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let json = br#"{"access_token":"t","token_type":"bearer","expires_in":"3600"}"#;
        let want = Answer { token: "t".into(), kind: "bearer".into(), expires_in: 3600 };
        assert_eq!(Answer::read(json, true), Ok(want));
        let form = b"access_token=t%20x&expires_in=60";
        let want = Answer { token: "t x".into(), kind: String::new(), expires_in: 60 };
        assert_eq!(Answer::read(form, false), Ok(want));
        assert!(Answer::read(br#"{"error":"invalid_client"}"#, true).is_err());
        assert!(Answer::read(b"<html>", true).is_err());
    }
}
