//! The `Authorization` header of a client: basic, ready-made, or fetched by OAuth 2.0. Files are read
//! again whenever they change.

use base64::Engine as _;
use config::{HttpClientConfig, HttpClientConfig as Config};
use http::HeaderValue;
use model::Secret;

use crate::oauth2::OAuth2;
use crate::secret::SecretSource;

#[derive(Debug)]
pub(crate) enum Auth {
    None,
    Basic { user: Option<SecretSource>, password: Option<SecretSource> },
    Ready { kind: String, credentials: Option<SecretSource> },
    OAuth2(Box<OAuth2>),
}

impl Auth {
    pub(crate) fn new(config: &Config, user_agent: &str) -> Result<Self, String> {
        let source = |what: &str, inline: &Secret, file: &str, reference: &str| {
            SecretSource::new(inline, file, reference).map_err(|e| format!("unable to use {what}: {e}"))
        };
        if let Some(basic) = &config.basic_auth {
            let user = Secret::new(basic.username.clone());
            return Ok(Auth::Basic {
                user: source("username", &user, &basic.username_file, &basic.username_ref)?,
                password: source("password", &basic.password, &basic.password_file, &basic.password_ref)?,
            });
        }
        if let Some(auth) = &config.authorization {
            let kind = if auth.kind.is_empty() { "Bearer" } else { auth.kind.as_str() };
            let credentials =
                source("credentials", &auth.credentials, &auth.credentials_file, &auth.credentials_ref)?;
            return Ok(Auth::Ready { kind: kind.to_string(), credentials });
        }
        if let Some(oauth2) = &config.oauth2 {
            return Ok(Auth::OAuth2(Box::new(OAuth2::new(oauth2, user_agent)?)));
        }
        bearer(config)
    }

    /// The header's value for the next request; `None` where there is no authentication.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let read = |what: &str, source: &Option<SecretSource>| match source {
            Some(s) => s.read().map(Some).map_err(|e| format!("unable to read {what}: {e}")),
            None => Ok(None),
        };
        let text = match self {
            Auth::None => return Ok(None),
            Auth::Basic { user, password } => {
                let user = read("basic auth username", user)?.unwrap_or_default();
                let password = read("basic auth password", password)?.unwrap_or_default();
                let plain = format!("{user}:{password}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
            }
            Auth::Ready { kind, credentials } => {
                let credentials = read("authorization credentials", credentials)?.unwrap_or_default();
                format!("{kind} {credentials}")
            }
            Auth::OAuth2(oauth2) => oauth2.header().await?,
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "net/http: invalid header field value for \"Authorization\"".to_string())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The deprecated spellings, for configurations that were not made by the loader (which moves them).
fn bearer(config: &HttpClientConfig) -> Result<Auth, String> {
    match SecretSource::new(&config.bearer_token, &config.bearer_token_file, "")? {
        Some(source) => Ok(Auth::Ready { kind: "Bearer".to_string(), credentials: Some(source) }),
        None => Ok(Auth::None),
    }
}
