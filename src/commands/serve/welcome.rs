//! What a person sees once the hub is ready: where things are, the first password, and what to try next.

use std::io::Write as _;

use super::{
    Listeners,
    first_start::{FirstAdmin, has_password_file, password_file},
};
use crate::{
    commands::data::Data,
    config::{LockAgent, ServeOptions},
};

/// Prints it, on standard output.
pub fn print(
    options: &ServeOptions,
    listeners: &Listeners,
    data: &Data,
    admin: Option<&FirstAdmin>,
) -> std::io::Result<()> {
    let http = listeners.http.local_addr()?.port();
    let mqtt = listeners.mqtt.local_addr()?.port();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nPortcullis {} is ready.", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  HTTP and Socket.io  http://localhost:{http}")?;
    writeln!(out, "  API documentation   http://localhost:{http}/docs")?;
    writeln!(out, "  MQTT                localhost:{mqtt}, and ws://localhost:{http}/mqtt")?;
    if let Some(tls) = &listeners.mqtt_tls {
        writeln!(out, "  MQTT over TLS       localhost:{}", tls.local_addr()?.port())?;
    }
    if let Some(metrics) = &listeners.metrics {
        writeln!(out, "  Metrics             http://{}/metrics", metrics.local_addr()?)?;
    }
    let worker = match options.hub.lock_agent {
        LockAgent::Embedded => "in this process",
        LockAgent::Remote => "on another machine: portcullis lock-agent",
    };
    writeln!(out, "  Lock worker         {worker}")?;
    writeln!(out, "  Data                {}", data.folder.display())?;
    match admin {
        Some(FirstAdmin { password: Some(password) }) => {
            writeln!(out, "\n  Sign in as admin with the password {password}")?;
            writeln!(out, "  It is shown this once; it is also in {}.", password_file(data).display())?;
        }
        _ if has_password_file(data) => {
            writeln!(out, "\n  The first password of admin is in {}.", password_file(data).display())?;
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
