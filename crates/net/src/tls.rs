//! TLS of the client side: roots, client certificates, versions, and verification as Go does it.
//!
//! One leniency over webpki: a certificate that is itself among the configured CA certificates is
//! accepted, within its validity and for its names, even where it is marked as a CA. Self-signed
//! certificates made by one `openssl req -x509` are like that, and upstream's own guide hands them out
//! as `ca_file`.

use std::sync::{Arc, OnceLock};

use config::{TlsConfig, TlsVersion};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::secret::SecretSource;

/// The one place that names the cryptography in use.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS material of a client and where to read it again.
#[derive(Debug)]
pub(crate) struct ClientTls {
    ca: Option<SecretSource>,
    cert: Option<SecretSource>,
    key: Option<SecretSource>,
    settings: TlsConfig,
    http2: bool,
}

/// Texts that a [`ClientConfig`] was made from; equal material gives an equal client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Material {
    ca: Option<Arc<str>>,
    cert: Option<Arc<str>>,
    key: Option<Arc<str>>,
}

impl ClientTls {
    pub(crate) fn new(settings: &TlsConfig, http2: bool) -> Result<Self, String> {
        let source = |what: &str, inline: &model::Secret, file: &str, reference: &str| {
            SecretSource::new(inline, file, reference).map_err(|e| format!("unable to use {what}: {e}"))
        };
        let text = |s: &str| model::Secret::new(s);
        Ok(ClientTls {
            ca: source("CA cert", &text(&settings.ca), &settings.ca_file, &settings.ca_ref)?,
            cert: source("client cert", &text(&settings.cert), &settings.cert_file, &settings.cert_ref)?,
            key: source("client key", &settings.key, &settings.key_file, &settings.key_ref)?,
            settings: settings.clone(),
            http2,
        })
    }

    /// Whether anything can change while the client lives.
    pub(crate) fn is_reloadable(&self) -> bool {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().any(SecretSource::is_file)
    }

    pub(crate) fn read(&self) -> Result<Material, String> {
        let read = |what: &str, source: &Option<SecretSource>| {
            let read = |s: &SecretSource| s.read().map_err(|e| format!("unable to read {what}: {e}"));
            source.as_ref().map(read).transpose()
        };
        Ok(Material {
            ca: read("CA cert", &self.ca)?,
            cert: read("client cert", &self.cert)?,
            key: read("client key", &self.key)?,
        })
    }

    /// The rustls configuration of some material.
    pub(crate) fn build(&self, material: &Material) -> Result<ClientConfig, String> {
        let provider = provider();
        let versions = versions(self.settings.min_version, self.settings.max_version)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|e| format!("tls_config: {e}"))?;
        let verifier: Arc<dyn ServerCertVerifier> = match &material.ca {
            // A CA that cannot be read is an error even where nothing is verified, as upstream.
            Some(pem) => {
                let roots = certificates(pem.as_bytes());
                if roots.is_empty() {
                    let what = self.ca.as_ref().map(SecretSource::description).unwrap_or_default();
                    return Err(format!("unable to use specified CA cert {what}"));
                }
                Arc::new(OwnRoots::new(roots, Arc::clone(&provider))?)
            }
            None => Arc::new(SystemRoots { provider: Arc::clone(&provider), made: OnceLock::new() }),
        };
        let verifier = match self.settings.insecure_skip_verify {
            true => Arc::new(NoVerification { provider }) as Arc<dyn ServerCertVerifier>,
            false => verifier,
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match (&material.cert, &material.key) {
            (Some(cert), Some(key)) => {
                let bad = |e: String| {
                    let of = |s: &Option<SecretSource>| s.as_ref().map(SecretSource::description);
                    let (cert, key) = (of(&self.cert).unwrap_or_default(), of(&self.key).unwrap_or_default());
                    format!("unable to use specified client cert ({cert}) & key ({key}): {e}")
                };
                let chain = certificates(cert.as_bytes());
                let key = private_key(key.as_bytes()).map_err(bad)?;
                builder.with_client_auth_cert(chain, key).map_err(|e| bad(e.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match self.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(config)
    }

    /// Name to verify and to send, where the configuration gives one.
    pub(crate) fn server_name(&self) -> Result<Option<ServerName<'static>>, String> {
        let name = &self.settings.server_name;
        if name.is_empty() {
            return Ok(None);
        }
        let parsed = ServerName::try_from(name.clone());
        parsed.map(Some).map_err(|_| format!("tls_config.server_name {name:?} is no DNS name or IP address"))
    }
}

/// All certificates of a PEM text; other blocks are passed over.
pub(crate) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// The first private key of a PEM text.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input".to_string()
    })
}

/// rustls speaks TLS 1.2 and 1.3; a lower bound below that is met, an upper bound below cannot be.
pub(crate) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    if let (Some(min), Some(max)) = (min, max)
        && max < min
    {
        return Err("tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified".to_string());
    }
    let mut versions = Vec::new();
    if min.is_none_or(|v| v <= TlsVersion::Tls13) && max.is_none_or(|v| v >= TlsVersion::Tls13) {
        versions.push(&rustls::version::TLS13);
    }
    if min.is_none_or(|v| v <= TlsVersion::Tls12) && max.is_none_or(|v| v >= TlsVersion::Tls12) {
        versions.push(&rustls::version::TLS12);
    }
    if versions.is_empty() {
        return Err("max_version: TLS 1.0 and 1.1 are not supported, the lowest is TLS12".to_string());
    }
    Ok(versions)
}

/// Verification against certificates of the configuration.
#[derive(Debug)]
pub(crate) struct OwnRoots {
    roots: Vec<CertificateDer<'static>>,
    /// `None` where no root is usable as a trust anchor; then only a certificate that is itself
    /// configured passes.
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl OwnRoots {
    fn new(roots: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let chain = if store.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
            Some(built.build().map_err(|e| format!("unable to use specified CA cert: {e}"))?)
        };
        Ok(OwnRoots { roots, chain, provider })
    }
}

impl ServerCertVerifier for OwnRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
            check_validity(end_entity, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chain {
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Not before, not after, of an X.509 certificate. webpki checks them only while it builds a chain.
pub(crate) fn check_validity(cert: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (not_before, not_after) = crate::der::validity(cert.as_ref()).ok_or_else(bad)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < not_before {
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    } else if now > not_after {
        Err(Error::InvalidCertificate(CertificateError::Expired))
    } else {
        Ok(())
    }
}

/// Verification against the system's roots, which are loaded at the first handshake: most clients never
/// need them, and an image without roots must not stop those.
#[derive(Debug)]
struct SystemRoots {
    provider: Arc<CryptoProvider>,
    made: OnceLock<Result<rustls_platform_verifier::Verifier, Error>>,
}

impl SystemRoots {
    fn verifier(&self) -> Result<&rustls_platform_verifier::Verifier, Error> {
        let make = || rustls_platform_verifier::Verifier::new(Arc::clone(&self.provider));
        self.made.get_or_init(make).as_ref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for SystemRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `insecure_skip_verify`.
#[derive(Debug)]
struct NoVerification {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    // The signature would prove only that the peer holds the key of a certificate that nobody looked at,
    // while webpki cannot read some certificates (X.509 v1) that Go accepts here.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
