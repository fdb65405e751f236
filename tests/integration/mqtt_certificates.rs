//! Certificates for tests, made anew each time.

use std::sync::Arc;

use portcullis::mqtt::tls;
use tokio_rustls::{TlsConnector, rustls};

/// A CA, and certificates of it, as PEM files.
pub struct Certificates {
    folder: tempfile::TempDir,
    ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).expect("params");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertifiedIssuer::self_signed(params, key).expect("a CA");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("written");
        Self { folder, ca }
    }

    /// Writes NAME.pem and NAME.key.
    pub fn issue(&self, name: &str) -> (rustls::pki_types::CertificateDer<'static>, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "A house");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.ca).expect("signed");
        std::fs::write(self.folder.path().join(format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(self.folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("written");
        (certificate.der().clone(), key)
    }

    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        self.issue("hub");
        let path = |name: &str| self.folder.path().join(name);
        tls::server_config(&path("hub.pem"), &path("hub.key"), Some(&path("ca.pem"))).expect("a configuration")
    }

    pub fn client(&self, name: Option<&str>) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).expect("a CA");
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.issue(name);
                let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}
