//! TLS to the hub: which certificates are trusted, and by whose cryptography (ring's, said outright, so that nothing
//! depends on what else is linked).

use std::{error::Error, io, path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, RootCertStore,
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

/// What was wrong with the hub's certificate, and what to do; none if it was something else.
pub(super) fn words(error: &(dyn Error + 'static)) -> Option<String> {
    let rustls::Error::InvalidCertificate(why) = rustls_error(error)? else { return None };
    Some(match why {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let names: Vec<_> = presented.iter().map(|name| plain(name)).collect();
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            format!(
                "the hub's certificate is not for {expected}, which MQTT_URL names, but for {names}; use one of its names in \
                 MQTT_URL, or give the hub a certificate for {expected}"
            )
        }
        // The second where the authority was made anew under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the hub's certificate is of no authority that this machine trusts; name its authority's file with MQTT_CA"
                .to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("the hub's certificate is not valid now, or this machine's clock is wrong: {why}")
        }
        other => format!("the hub's certificate is not accepted: {other}"),
    })
}

/// The error of rustls at the bottom of another: an `io::Error` hides what it holds from `source`.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        current = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

/// A certificate's name as it stands there: rustls gives `DnsName("hub.example")`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}
