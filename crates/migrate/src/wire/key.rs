//! The key of a migration: 256 random bits in a file that the operator brings to the other side. Whoever has it may
//! read the source's data folder through the agent, and nobody else.
//!
//! Each side's Ed25519 key is derived from it (HKDF, RFC 5869), so each side knows both public keys before they meet:
//! TLS sends them bare (RFC 7250) and a name, an authority or an expiry have no place. Rejected: the key as a TLS
//! pre-shared key, which the library does not offer; a password after the handshake, which a stranger in between
//! could carry on.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use ring::hkdf;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use crate::error::MigrateError;

/// What the one line of a key file begins with.
const PREFIX: &str = "godwit-migration-key-1:";
const KEY_BYTES: usize = 32;
/// Prefix, 64 digits, and some room for line ends.
const FILE_BYTES_MAX: u64 = 256;
/// An Ed25519 key in PKCS #8 (RFC 8410) is this and the 32 bytes of its seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The key of one migration. Is never printed.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Key {
    /// Reads a key file.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, MigrateError> {
        let bad = |why: String| MigrateError::Key { path: path.to_path_buf(), why };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|e| bad(e.to_string()))?;
        let digits = text.trim().strip_prefix(PREFIX);
        digits.and_then(from_hex).map(Key).ok_or_else(|| bad(format!("it is not one line `{PREFIX}...`")))
    }

    /// Reads a key file, or makes one that only its owner can read.
    ///
    /// # Errors
    /// As [`Key::read`]; it cannot be made.
    pub fn read_or_make(path: &Path) -> Result<(Self, bool), MigrateError> {
        let bad = |why: String| MigrateError::Key { path: path.to_path_buf(), why };
        if path.try_exists().map_err(|e| bad(e.to_string()))? {
            return Ok((Key::read(path)?, false));
        }
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| bad("the system has no random numbers".into()))?;
        let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        // Made whole under another name first: a kill in between leaves no half key.
        let scratch = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let _ = std::fs::remove_file(&scratch);
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
            writeln!(file, "{PREFIX}{digits}")?;
            file.sync_all()?;
            std::fs::rename(&scratch, path)
        };
        write().map_err(|e| bad(e.to_string()))?;
        Ok((Key(bytes), true))
    }

    /// TLS of an agent.
    ///
    /// # Errors
    /// None that a sound library could make.
    pub(super) fn agent(&self) -> Result<Arc<ServerConfig>, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (own, other) = (self.signer(Side::Agent)?, self.signer(Side::Destination)?);
        let peer = Peer::new(&*other, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(peer))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(bare(own)?)));
        // Connections are few and stay: tickets to resume them with are never used.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// TLS of a destination.
    ///
    /// # Errors
    /// None that a sound library could make.
    pub(super) fn destination(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (own, other) = (self.signer(Side::Destination)?, self.signer(Side::Agent)?);
        let peer = Peer::new(&*other, &provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(peer))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(bare(own)?)));
        Ok(Arc::new(config))
    }

    fn signer(&self, side: Side) -> Result<Arc<dyn SigningKey>, Error> {
        let none = |_| Error::General("the key of the migration cannot be derived from".into());
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"godwit migration 1");
        let mut pkcs8 = [0; PKCS8_PREFIX.len() + KEY_BYTES];
        let (head, seed) = pkcs8.split_at_mut(PKCS8_PREFIX.len());
        head.copy_from_slice(&PKCS8_PREFIX);
        let derived = salt.extract(&self.0);
        derived.expand(&[side.name()], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(seed)).map_err(none)?;
        rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..]))
    }
}

fn from_hex(digits: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    if digits.len() != 2 * KEY_BYTES || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[derive(Clone, Copy)]
enum Side {
    Agent,
    Destination,
}

impl Side {
    fn name(self) -> &'static [u8] {
        match self {
            Side::Agent => b"agent",
            Side::Destination => b"destination",
        }
    }
}

fn public(key: &dyn SigningKey) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let public = key.public_key().ok_or_else(|| Error::General("the key has no public part".into()))?;
    Ok(public.into_owned())
}

/// A key as TLS sends it without a certificate around.
fn bare(key: Arc<dyn SigningKey>) -> Result<Arc<CertifiedKey>, Error> {
    let public = CertificateDer::from(public(&*key)?.to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![public], key)))
}

/// The other side: one public key and no other.
#[derive(Debug)]
struct Peer {
    public: SubjectPublicKeyInfoDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Peer {
    fn new(key: &dyn SigningKey, provider: &CryptoProvider) -> Result<Self, Error> {
        Ok(Peer { public: public(key)?, algorithms: provider.signature_verification_algorithms })
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        match shown.as_ref() == self.public.as_ref() {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn signed(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken here".into())
}

impl ServerCertVerifier for Peer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Peer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_read_again_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.key");
        assert!(Key::read(&path).is_err());
        let (made, new) = Key::read_or_make(&path).unwrap();
        let (read, again) = Key::read_or_make(&path).unwrap();
        assert!(new && !again && made.0 == read.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{made:?}"), "<secret>");
        for text in ["", PREFIX, "godwit-migration-key-1:00", &format!("{PREFIX}{}", "é".repeat(32))] {
            std::fs::write(&path, text).unwrap();
            assert!(Key::read(&path).is_err(), "{text}");
        }
    }
}
