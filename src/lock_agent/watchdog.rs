//! The service manager's watchdog: it restarts a lock worker whose loop no longer turns.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The socket on which systemd listens to a `Type=notify` service.
#[derive(Debug)]
pub struct Watchdog(UnixDatagram);

impl Watchdog {
    /// The one that `NOTIFY_SOCKET` names, if this process is such a service.
    ///
    /// # Errors
    /// When there is one that can't be reached.
    pub fn from_environment() -> std::io::Result<Option<Self>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // The loop must not wait for a service manager that does not read.
        socket.set_nonblocking(true)?;
        Ok(Some(Self(socket)))
    }

    pub(super) fn ready(&self) {
        self.say("READY=1");
    }

    pub(super) fn feed(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, what: &str) {
        if let Err(error) = self.0.send(what.as_bytes()) {
            tracing::debug!("the service manager did not hear {what}: {error}");
        }
    }
}
