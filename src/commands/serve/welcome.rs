//! What a person sees once the hub is ready: where things are, the first password, and what to try next.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::net::TcpListener;

use super::{
    Listeners,
    first_start::{FirstAdmin, has_password_file, password_file},
};
use crate::config::{LockAgent, ServeOptions};

/// Where things are.
pub struct Welcome {
    http: u16,
    mqtt: u16,
    mqtt_tls: Option<u16>,
    metrics: Option<SocketAddr>,
    lock_agent: LockAgent,
    folder: PathBuf,
}

impl Welcome {
    /// # Errors
    /// When a listener has no address.
    pub fn new(options: &ServeOptions, listeners: &Listeners, folder: &Path) -> std::io::Result<Self> {
        let mqtt_tls = listeners.mqtt_tls.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Self {
            http: listeners.http.local_addr()?.port(),
            mqtt: listeners.mqtt.local_addr()?.port(),
            mqtt_tls: mqtt_tls.map(|address| address.port()),
            metrics: listeners.metrics.as_ref().map(TcpListener::local_addr).transpose()?,
            lock_agent: options.hub.lock_agent,
            folder: folder.to_owned(),
        })
    }

    /// Prints it, on standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self, admin: Option<&FirstAdmin>) -> std::io::Result<()> {
        let Self { http, mqtt, folder, .. } = self;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nPortcullis {} is ready.", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  HTTP and Socket.io  http://localhost:{http}")?;
        writeln!(out, "  API documentation   http://localhost:{http}/docs")?;
        writeln!(out, "  MQTT                localhost:{mqtt}, and ws://localhost:{http}/mqtt")?;
        if let Some(tls) = self.mqtt_tls {
            writeln!(out, "  MQTT over TLS       localhost:{tls}")?;
        }
        if let Some(metrics) = self.metrics {
            writeln!(out, "  Metrics             http://{metrics}/metrics")?;
        }
        let worker = match self.lock_agent {
            LockAgent::Embedded => "in this process",
            LockAgent::Remote => "on another machine: portcullis lock-agent",
        };
        writeln!(out, "  Lock worker         {worker}")?;
        writeln!(out, "  Data                {}", folder.display())?;
        match admin {
            Some(FirstAdmin { password: Some(password) }) => {
                writeln!(out, "\n  Sign in as admin with the password {password}")?;
                writeln!(out, "  It is shown this once; it is also in {}.", password_file(folder).display())?;
            }
            _ if has_password_file(folder) => {
                writeln!(out, "\n  The first password of admin is in {}.", password_file(folder).display())?;
            }
            _ => {}
        }
        let password = admin.and_then(|admin| admin.password.as_deref()).unwrap_or("YOUR PASSWORD");
        writeln!(out, "\n  To try next, in another terminal:")?;
        writeln!(
            out,
            "  curl -s http://localhost:{http}/auth/login -H 'Content-Type: application/json' \\\n    \
             -d '{{\"username\":\"admin\",\"password\":\"{password}\"}}'\n"
        )?;
        out.flush()
    }
}
