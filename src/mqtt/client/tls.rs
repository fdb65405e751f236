//! TLS to the hub: which certificates are trusted, and by whose cryptography (ring's, said outright, so that nothing
//! depends on what else is linked).

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Where the system keeps the authorities it trusts: Debian's place, Fedora's, Alpine's.
const SYSTEM: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Trusts the authorities of the file, or the system's.
pub(super) fn configuration(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let file = match ca {
        Some(file) => file,
        None => SYSTEM
            .iter()
            .map(Path::new)
            .find(|file| file.exists())
            .context("the system trusts no certificate authority; name one with MQTT_CA")?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(file).with_context(|| format!("{} can't be read", file.display()))?
    {
        let certificate = certificate.with_context(|| format!("{} is no PEM file", file.display()))?;
        match (roots.add(certificate), ca) {
            (Ok(()), _) => {}
            (Err(error), Some(_)) => {
                return Err(error).with_context(|| format!("{} holds what is no authority", file.display()));
            }
            // One bad apple among the system's hundred and forty.
            (Err(error), None) => tracing::debug!("one of the system's authorities is not used: {error}"),
        }
    }
    ensure!(!roots.is_empty(), "{} holds no certificate", file.display());
    let configuration = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(configuration)
}
