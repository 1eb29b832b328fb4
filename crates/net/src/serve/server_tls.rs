//! TLS of the listener: certificates that are read again when their files change, client certificates by
//! `client_auth_type`, versions, cipher suites and curves by Go's names.

use std::sync::Arc;

use config::{ClientAuth, WebTlsConfig};
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::secret::SecretSource;
use crate::tls::{certificates, check_validity, private_key, provider, versions};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Material {
    cert: Arc<str>,
    key: Arc<str>,
    client_ca: Option<Arc<str>>,
}

/// TLS settings of the listener with what was last made of them.
#[derive(Debug)]
pub(super) struct ServerTls {
    settings: WebTlsConfig,
    http2: bool,
    cert: SecretSource,
    key: SecretSource,
    client_ca: Option<SecretSource>,
    made: Mutex<(Material, Arc<ServerConfig>)>,
    /// Last failure told, so that each is told once.
    told: Mutex<String>,
}

impl ServerTls {
    /// `None` where TLS is off. Reads all files once.
    pub(super) fn new(settings: &WebTlsConfig, http2: bool) -> Result<Option<Self>, String> {
        if !settings.is_enabled() {
            return Ok(None);
        }
        let text = |s: &str| model::Secret::new(s);
        let cert = SecretSource::new(&text(&settings.cert), &settings.cert_file, "")?
            .ok_or("missing one of cert or cert_file")?;
        let key = SecretSource::new(&settings.key, &settings.key_file, "")?
            .ok_or("missing one of key or key_file")?;
        let client_ca = SecretSource::new(&text(&settings.client_ca), &settings.client_ca_file, "")?;
        let auth = settings
            .client_auth()
            .ok_or_else(|| format!("invalid ClientAuth: {}", settings.client_auth_type))?;
        if client_ca.is_some() && auth == ClientAuth::None {
            return Err("client CA's have been configured without a Client Auth Policy".to_string());
        }
        let material = read(&cert, &key, &client_ca)?;
        let config = Arc::new(build(settings, http2, &material)?);
        Ok(Some(ServerTls {
            settings: settings.clone(),
            http2,
            cert,
            key,
            client_ca,
            made: Mutex::new((material, config)),
            told: Mutex::default(),
        }))
    }

    /// The configuration for the next handshake. Files that cannot be read or used leave the one before in
    /// force.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let (old, config) = self.made.lock().clone();
        let fresh = read(&self.cert, &self.key, &self.client_ca).and_then(|material| {
            if material == old {
                return Ok(None);
            }
            let made = Arc::new(build(&self.settings, self.http2, &material)?);
            Ok(Some((material, made)))
        });
        match fresh {
            Ok(None) => {
                self.told.lock().clear();
                config
            }
            Ok(Some((material, made))) => {
                tracing::info!("TLS certificate of the listener reloaded");
                *self.made.lock() = (material, Arc::clone(&made));
                made
            }
            Err(err) => {
                let mut told = self.told.lock();
                if *told != err {
                    tracing::error!(
                        err,
                        "new TLS files of the listener cannot be used; the ones before stay in force"
                    );
                    *told = err;
                }
                config
            }
        }
    }
}

fn read(cert: &SecretSource, key: &SecretSource, ca: &Option<SecretSource>) -> Result<Material, String> {
    let fail = |what: &str| {
        let what = what.to_string();
        move |e: String| format!("failed to read {what}: {e}")
    };
    Ok(Material {
        cert: cert.read().map_err(fail("cert_file"))?,
        key: key.read().map_err(fail("key_file"))?,
        client_ca: ca.as_ref().map(SecretSource::read).transpose().map_err(fail("client_ca_file"))?,
    })
}

fn build(settings: &WebTlsConfig, http2: bool, material: &Material) -> Result<ServerConfig, String> {
    let provider = Arc::new(restricted(settings)?);
    let versions = versions(settings.min_version, settings.max_version)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| format!("tls_server_config: {e}"))?;
    let auth = settings.client_auth().unwrap_or(ClientAuth::RequireAndVerify);
    let builder = match auth {
        ClientAuth::None => builder.with_no_client_auth(),
        _ => {
            let verifier = Clients::new(settings, auth, material, provider)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let chain = certificates(material.cert.as_bytes());
    let fail = |e: String| format!("failed to load X509KeyPair: {e}");
    if chain.is_empty() {
        return Err(fail("tls: failed to find any PEM data in certificate input".to_string()));
    }
    let key = private_key(material.key.as_bytes()).map_err(fail)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|e| fail(e.to_string()))?;
    config.alpn_protocols = match http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// Cipher suites below TLS 1.3 and curves as configured. Names that Go knows and rustls does not (CBC
/// suites, P-521) are passed over as long as something is left; TLS 1.3 suites are not configurable, as
/// in Go.
fn restricted(settings: &WebTlsConfig) -> Result<CryptoProvider, String> {
    let mut provider = (*provider()).clone();
    if !settings.cipher_suites.is_empty() {
        let wanted = |name: &str| settings.cipher_suites.iter().any(|s| s == name);
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            suite.tls13().is_some() || wanted(&name)
        });
    }
    if !settings.curve_preferences.is_empty() {
        let all = std::mem::take(&mut provider.kx_groups);
        for name in &settings.curve_preferences {
            let group = match name.as_str() {
                "X25519" => rustls::NamedGroup::X25519,
                "CurveP256" => rustls::NamedGroup::secp256r1,
                "CurveP384" => rustls::NamedGroup::secp384r1,
                _ => continue,
            };
            provider.kx_groups.extend(all.iter().filter(|g| g.name() == group));
        }
        if provider.kx_groups.is_empty() {
            return Err("curve_preferences: none of CurveP256, CurveP384, X25519 is left".to_string());
        }
    }
    Ok(provider)
}

/// Verification of client certificates, with the leniency of the client side: a certificate that is itself
/// in the client CA file is accepted within its validity.
#[derive(Debug)]
struct Clients {
    auth: ClientAuth,
    roots: Vec<CertificateDer<'static>>,
    chain: Option<Arc<dyn ClientCertVerifier>>,
    allowed_sans: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    fn new(
        settings: &WebTlsConfig,
        auth: ClientAuth,
        material: &Material,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = material.client_ca.as_ref().map(|pem| certificates(pem.as_bytes())).unwrap_or_default();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let chain = if store.is_empty() {
            None
        } else {
            let built =
                WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build();
            Some(built.map_err(|e| format!("client_ca: {e}"))?)
        };
        Ok(Clients { auth, roots, chain, allowed_sans: settings.client_allowed_sans.clone(), provider })
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |c| c.root_hint_subjects())
    }
    fn client_auth_mandatory(&self) -> bool {
        matches!(self.auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if matches!(self.auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify) {
            if self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
                check_validity(end_entity, now)?;
            } else {
                let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
                self.chain.as_ref().ok_or(unknown)?.verify_client_cert(end_entity, intermediates, now)?;
            }
        }
        if let Some(allowed) = &self.allowed_sans {
            let names = crate::der::alternative_names(end_entity.as_ref()).unwrap_or_default();
            if !names.iter().any(|name| allowed.contains(name)) {
                return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
