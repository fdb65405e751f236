//! Certificates for tests, made anew each time.

use std::{path::PathBuf, sync::Arc};

use portcullis::mqtt::tls;
use tokio_rustls::{TlsConnector, rustls};

/// A CA, and certificates of it, as PEM files.
pub struct Certificates {
    folder: tempfile::TempDir,
    ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        Self::of("An authority")
    }

    /// Of an authority of this name.
    pub fn of(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).expect("params");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertifiedIssuer::self_signed(params, key).expect("a CA");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("written");
        Self { folder, ca }
    }

    /// A file of the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes NAME.pem and NAME.key, for these names and addresses.
    fn issue(&self, name: &str, names: &[&str]) -> (rustls::pki_types::CertificateDer<'static>, rcgen::KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("params");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "A house");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.ca).expect("signed");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
        (certificate.der().clone(), key)
    }

    /// A server by the name of localhost.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        self.server_for(&["localhost"])
    }

    /// A server with a certificate for these names and addresses.
    pub fn server_for(&self, names: &[&str]) -> Arc<rustls::ServerConfig> {
        self.issue("hub", names);
        tls::server_config(&self.path("hub.pem"), &self.path("hub.key"), Some(&self.path("ca.pem")))
            .expect("a configuration")
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
                let (certificate, key) = self.issue(name, &["localhost"]);
                let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}
