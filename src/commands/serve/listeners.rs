//! The hub's open ports, taken before anything else, so that a port in use is known at once.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;

use crate::{
    bridge::{self, Bridge},
    config::ServeOptions,
    lifecycle::Lifecycle,
    mqtt::Front,
    telemetry::metrics::Metrics,
};

/// What the hub listens on.
pub struct Listeners {
    pub http: TcpListener,
    pub mqtt: TcpListener,
    pub mqtt_tls: Option<TcpListener>,
    pub metrics: Option<TcpListener>,
}

/// Their addresses.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub http: SocketAddr,
    pub mqtt: SocketAddr,
    pub mqtt_tls: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
}

impl Listeners {
    /// # Errors
    /// When a port is taken; the text says which variable chooses another.
    pub async fn bind(options: &ServeOptions) -> anyhow::Result<Self> {
        let http = &options.http.address;
        let mqtt_host = options.mqtt.mqtt_host.unwrap_or(http.host);
        let mqtt_tls = match options.mqtt.mqtt_tls_port {
            Some(port) => {
                let host = options.mqtt.mqtt_tls_host.unwrap_or(mqtt_host);
                Some(listen("MQTT_TLS_PORT", SocketAddr::new(host, port)).await?)
            }
            None => None,
        };
        let metrics = match options.http.metrics_addr {
            Some(address) => Some(listen("METRICS_ADDR", address).await?),
            None => None,
        };
        Ok(Self {
            http: listen("PORT", SocketAddr::new(http.host, http.port)).await?,
            mqtt: listen("MQTT_PORT", SocketAddr::new(mqtt_host, options.mqtt.mqtt_port)).await?,
            mqtt_tls,
            metrics,
        })
    }
}

impl Listeners {
    /// # Errors
    /// When a listener does not know its own.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            http: self.http.local_addr()?,
            mqtt: self.mqtt.local_addr()?,
            mqtt_tls: self.mqtt_tls.as_ref().map(TcpListener::local_addr).transpose()?,
            metrics: self.metrics.as_ref().map(TcpListener::local_addr).transpose()?,
        })
    }

    /// Lets clients in, until the hub stops.
    pub fn serve(
        self,
        bridge: &Bridge,
        front: &Front,
        metrics: Metrics,
        tls: Option<Arc<ServerConfig>>,
        hub: &Lifecycle,
    ) {
        let (router, connections) = (bridge.router.clone(), bridge.connections.clone());
        hub.keep("HTTP", bridge::serve(self.http, router, connections.clone(), hub.soft.clone()));
        if let Some(listener) = self.metrics {
            let alone = bridge::metrics_alone(metrics, bridge.settings.clone());
            hub.keep("metrics", bridge::serve(listener, alone, connections, hub.soft.clone()));
        }
        hub.keep("MQTT", front.clone().serve(self.mqtt, None, hub.soft.clone()));
        if let Some(listener) = self.mqtt_tls {
            hub.keep("MQTT over TLS", front.clone().serve(listener, tls, hub.soft.clone()));
        }
    }
}

async fn listen(variable: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}: free the port, or choose another with {variable}"))
}
