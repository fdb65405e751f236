//! What is wrong with the files that settings name: secrets, certificates, broker.toml; and with values that only their
//! parts can read.

use std::path::{Path, PathBuf};

use crate::{
    auth::origin::Proxies,
    config::{Fault, catalogue::FILE, effective::Effective, rules, secrets},
    mqtt,
};

/// All of it, for the commands that run for years; for the others nothing, which meet their files at once.
#[must_use]
pub fn faults(settings: &Effective) -> Vec<Fault> {
    if !rules::COMMANDS.contains(&settings.command()) {
        return Vec::new();
    }
    let mut faults = secret_files(settings);
    faults.extend(proxies(settings));
    faults.extend(broker(settings));
    faults.extend(certificates(settings));
    faults
}

fn secret_files(settings: &Effective) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (setting, _) in settings.settings.iter().filter(|(setting, _)| setting.secret) {
        let name = format!("{}{FILE}", setting.name);
        let Some(file) = settings.get(&name).map(PathBuf::from) else { continue };
        match secrets::given(&setting.name, None, Some(&file)) {
            Ok(Some(secret)) => {
                let refusal = setting.refusal(&secret);
                faults
                    .extend(refusal.map(|reason| {
                        Fault::new(&name, format!("what {} has is not taken: {reason}", file.display()))
                    }));
            }
            Ok(None) => {}
            Err(error) => faults.push(Fault::new(&name, format!("{error:#}"))),
        }
    }
    faults
}

fn proxies(settings: &Effective) -> Vec<Fault> {
    let proxies = settings.get("TRUSTED_PROXIES").into_iter().flat_map(|list| list.split(','));
    let wrong = proxies.filter_map(|proxy| Proxies::read([proxy]).err());
    wrong.map(|error| Fault::new("TRUSTED_PROXIES", error.to_string())).collect()
}

fn broker(settings: &Effective) -> Vec<Fault> {
    let Some(file) = settings.get("BROKER_CONFIG") else { return Vec::new() };
    if settings.is_chosen("BROKER_CONFIG") && !Path::new(file).exists() {
        return vec![Fault::new("BROKER_CONFIG", format!("there is no file {file}"))];
    }
    mqtt::Settings::faults(Path::new(file)).into_iter().map(|text| Fault::new(file, text)).collect()
}

fn certificates(settings: &Effective) -> Vec<Fault> {
    let path = |name: &str| settings.get(name).map(Path::new);
    let mut faults = Vec::new();
    if let Some((cert, key)) = path("MQTT_TLS_CERT").zip(path("MQTT_TLS_KEY"))
        && let Err(error) = mqtt::tls::server_config(cert, key, path("MQTT_TLS_CLIENT_CA"))
    {
        faults.push(Fault::new(
            "MQTT_TLS_CERT",
            format!("the certificate, its key, or MQTT_TLS_CLIENT_CA cannot be used: {error:#}"),
        ));
    }
    if let Some(file) = path("MQTT_CA")
        && let Err(error) = std::fs::File::open(file)
    {
        faults.push(Fault::new("MQTT_CA", format!("{}: {error}", file.display())));
    }
    faults
}
