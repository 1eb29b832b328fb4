//! HTTP clients by their settings: a client with its TLS configuration and its room for idle connections is
//! some ten kilobytes, and of thousands of jobs most say the same about theirs.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use config::HttpClientConfig;
use net::{ClientError, ClientOptions, HttpClient};
use parking_lot::Mutex;

/// Clients by a hash of their settings.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<HashMap<u64, Vec<(HttpClientConfig, HttpClient)>>>);

impl Clients {
    /// The client of these settings. `options` must be the same at each call.
    ///
    /// # Errors
    /// As [`HttpClient::new`], also for a client that is there: its files are looked at again.
    pub(crate) fn get(
        &self,
        config: &HttpClientConfig,
        options: impl FnOnce() -> ClientOptions,
    ) -> Result<HttpClient, ClientError> {
        let mut clients = self.0.lock();
        let same = clients.entry(hash(config)).or_default();
        if let Some((_, client)) = same.iter().find(|(settings, _)| settings == config) {
            client.check()?;
            return Ok(client.clone());
        }
        let client = HttpClient::new(config, options())?;
        same.push((config.clone(), client.clone()));
        Ok(client)
    }

    /// Drops clients that no job has any more.
    pub(crate) fn forget_unused(&self) {
        let mut clients = self.0.lock();
        clients.values_mut().for_each(|same| same.retain(|(_, client)| client.is_shared()));
        clients.retain(|_, same| !same.is_empty());
    }
}

/// What usually tells two settings apart; the rest is compared.
fn hash(config: &HttpClientConfig) -> u64 {
    let mut h = DefaultHasher::new();
    if let Some(auth) = &config.basic_auth {
        (&auth.username, &auth.username_file, auth.password.expose(), &auth.password_file).hash(&mut h);
    }
    if let Some(auth) = &config.authorization {
        (&auth.kind, auth.credentials.expose(), &auth.credentials_file).hash(&mut h);
    }
    if let Some(oauth2) = &config.oauth2 {
        (&oauth2.client_id, oauth2.client_secret.expose(), &oauth2.scopes, &oauth2.token_url).hash(&mut h);
    }
    let tls = &config.tls_config;
    (&tls.ca, &tls.cert, &tls.ca_file, &tls.cert_file, &tls.key_file, &tls.server_name).hash(&mut h);
    for (name, values) in config.http_headers.iter().flatten() {
        (name, &values.values, &values.files).hash(&mut h);
        values.secrets.iter().for_each(|secret| secret.expose().hash(&mut h));
    }
    h.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBbTCCAROgAwIBAgIUXQxN8x/KM+xSNWFA1CyVoqTwe7EwCgYIKoZIzj0EAwIw\n\
DDEKMAgGA1UEAwwBdDAeFw0yNjExMjIyMTE5MzZaFw0zNjExMTkyMTE5MzZaMAwx\n\
CjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ09QuizBL5Snsd\n\
p0HWrXoi60BHkJg0k+5qxerdY/m0sd0OF2OAF7jMWWMPK+kKU5ScospGuLnRPk6z\n\
U2Yzi2c6o1MwUTAdBgNVHQ4EFgQUHtlrtHZ8/7cNOP+rs2rsRJdBCwMwHwYDVR0j\n\
BBgwFoAUHtlrtHZ8/7cNOP+rs2rsRJdBCwMwDwYDVR0TAQH/BAUwAwEB/zAKBggq\n\
hkjOPQQDAgNIADBFAiEAjY8Hw8bBKwDVnwBEyOJHyBS9sXPdlWZacfUtX+M/t8QC\n\
ID2Ws98izzVxSvdFQ7jfHy/jb/i++Vvug+ArMJOfxESe\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn equal_settings_share_a_client() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let (clients, mut with_ca) = (Clients::default(), HttpClientConfig::default());
        with_ca.tls_config.ca_file = ca.display().to_string();
        let get = |config: &HttpClientConfig| clients.get(config, ClientOptions::default);
        assert!(get(&with_ca).is_err(), "there is no such file");
        std::fs::write(&ca, CA).unwrap();
        let plain = get(&HttpClientConfig::default()).unwrap();
        let other =
            get(&HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() }).unwrap();
        let secured = get(&with_ca).unwrap();
        assert!(plain.is_same(&get(&HttpClientConfig::default()).unwrap()));
        assert!(!plain.is_same(&other) && !plain.is_same(&secured));
        std::fs::remove_file(&ca).unwrap();
        assert!(get(&with_ca).is_err(), "a file that is gone refuses a configuration as before");
        drop((other, secured));
        clients.forget_unused();
        assert_eq!(clients.0.lock().values().flatten().count(), 1);
    }
}
