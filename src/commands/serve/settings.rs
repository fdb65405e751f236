//! The settings of each part, read from the command line's, the broker's file and the data folder: all that can be wrong
//! with them is known before any part starts.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio_rustls::rustls::ServerConfig;

use crate::{
    auth::{origin::Proxies, rights::Rights, secret, token::Keys},
    bridge,
    commands::data::Data,
    config::{self, ServeOptions, secrets},
    domain::pool::Bounds,
    lock_desk::{self, DeskSettings},
    mqtt,
};

/// The part of the HTTP connections, one in so many, that people of common standing leave to others.
const RESERVE: u64 = 8;

/// What the parts are set to.
pub struct Settings {
    pub broker: mqtt::Settings,
    pub rights: Rights,
    pub tokens: Keys,
    pub tls: Option<Arc<ServerConfig>>,
    pub desk: DeskSettings,
    pub bridge: bridge::Settings,
}

impl Settings {
    /// # Errors
    /// What is wrong, and in which variable or file.
    pub fn read(options: &ServeOptions, data: &Data) -> anyhow::Result<Self> {
        let broker = mqtt::Settings::read(&options.mqtt.broker_config)?;
        let rights = Rights::new(broker.rights.clone());
        Ok(Self {
            tokens: token_keys(options, data)?,
            tls: tls(options)?,
            desk: desk(options),
            bridge: bridge(options, rights.clone())?,
            broker,
            rights,
        })
    }
}

fn token_keys(options: &ServeOptions, data: &Data) -> anyhow::Result<Keys> {
    let accounts = &options.accounts;
    let given = secrets::given("JWT_SECRET", accounts.jwt_secret.as_deref(), accounts.jwt_secret_file.as_ref())?;
    let file = data.folder.join("jwt-secret");
    let cure = "remove it, and the hub makes a new one; everybody has to sign in again";
    let (key, fault) = match given {
        Some(key) => (key, "JWT_SECRET is not taken".to_owned()),
        None => (secrets::kept(&file, cure, secret::generate)?, format!("{} is cut short: {cure}", file.display())),
    };
    Keys::new(key.as_bytes(), accounts.jwt_expiration).context(fault)
}

fn tls(options: &ServeOptions) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let (Some(cert), Some(key)) = (&options.mqtt.mqtt_tls_cert, &options.mqtt.mqtt_tls_key) else { return Ok(None) };
    mqtt::tls::server_config(cert, key, options.mqtt.mqtt_tls_client_ca.as_deref()).map(Some)
}

fn desk(options: &ServeOptions) -> DeskSettings {
    DeskSettings {
        pin: options.gpio.gpio_relay_pin,
        on_detection: match options.hub.lock_on_detection {
            config::OnDetection::Off => lock_desk::OnDetection::Off,
            config::OnDetection::Close => lock_desk::OnDetection::Close,
        },
        threshold: options.hub.person_detection_threshold,
        hold_open: options.open.lock_hold_open,
    }
}

fn connections(options: &ServeOptions) -> bridge::ConnectionLimits {
    let http = &options.http;
    let seconds = Duration::from_secs;
    bridge::ConnectionLimits {
        places: Bounds {
            in_all: http.http_connections.into(),
            each: http.http_connections_per_address.into(),
            reserve: u64::from(http.http_connections) / RESERVE,
        },
        times: bridge::Times {
            header: seconds(http.http_header_seconds),
            body: seconds(http.http_body_seconds),
            idle: seconds(http.http_idle_seconds),
        },
    }
}

fn bridge(options: &ServeOptions, rights: Rights) -> anyhow::Result<bridge::Settings> {
    Ok(bridge::Settings {
        origins: options.http.cors_origin.clone(),
        trusted_proxies: Proxies::read(&options.http.trusted_proxies).context("TRUSTED_PROXIES")?,
        hosts: bridge::Hosts::new(&options.http.host_names),
        registration: match options.accounts.registration {
            config::Registration::Closed => bridge::Registration::Closed,
            config::Registration::Open => bridge::Registration::Open,
        },
        heartbeat: bridge::Heartbeat::default(),
        connections: connections(options),
        time_zone: options.hub.timezone,
        rights,
        version: env!("CARGO_PKG_VERSION"),
        metrics_elsewhere: options.http.metrics_addr.is_some(),
    })
}
