//! What a person sees once the hub is ready: where things are, the first password, and what to try next.

use std::{io::Write as _, path::PathBuf};

use super::listeners::Addresses;
use crate::{
    config::LockAgent,
    database_opener::{FirstAdmin, has_password_file, password_file},
};

/// Where things are.
pub struct Welcome {
    pub addresses: Addresses,
    pub lock_agent: LockAgent,
    pub folder: PathBuf,
}

impl Welcome {
    /// Prints it, on standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self, admin: Option<&FirstAdmin>) -> std::io::Result<()> {
        let Self { addresses, folder, .. } = self;
        let (http, mqtt) = (addresses.http.port(), addresses.mqtt.port());
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nPortcullis {} is ready.", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  Dashboard           http://localhost:{http}/")?;
        writeln!(out, "  HTTP and Socket.io  http://localhost:{http}")?;
        writeln!(out, "  API documentation   http://localhost:{http}/docs")?;
        writeln!(out, "  MQTT                localhost:{mqtt}, and ws://localhost:{http}/mqtt")?;
        if let Some(tls) = addresses.mqtt_tls {
            writeln!(out, "  MQTT over TLS       localhost:{}", tls.port())?;
        }
        if let Some(metrics) = addresses.metrics {
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
