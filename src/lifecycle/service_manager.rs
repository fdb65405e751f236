//! The service manager that started this process, if one did: told when the service is ready and when it stops, and that
//! it lives, by systemd's protocol (`sd_notify(3)`). One that does not live is killed and started anew.

use std::{
    env,
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// The socket on which systemd listens to a `Type=notify` service.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    /// How long the service may be silent, where silence kills it.
    patience: Option<Duration>,
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET` names, if this process is such a service.
    ///
    /// # Errors
    /// When there is one that can't be reached.
    pub fn from_environment() -> std::io::Result<Option<Self>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        // The watchdog may be another process's, whose environment this one was given.
        let ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let patience = env::var("WATCHDOG_USEC").ok().filter(|_| ours).and_then(|text| text.parse().ok());
        Self::at(&name, patience.map(Duration::from_micros)).map(Some)
    }

    fn at(name: &OsString, patience: Option<Duration>) -> std::io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // Nobody may wait for a service manager that does not read.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, patience: patience.filter(|time| !time.is_zero()) })
    }

    /// The service has started: what depends on it may start, and the watchdog begins to watch.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The service lives.
    pub fn feed(&self) {
        self.say("WATCHDOG=1");
    }

    /// The service has begun to stop, by itself or because it was told to.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that the service lives, three times as often as it has to, for as long as the runtime gives this its turn.
    ///
    /// # Errors
    /// None; the type is that of a task that must live.
    pub async fn keep_fed(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(patience) = self.patience else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut turns = tokio::time::interval(patience / 3);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            self.feed();
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        if let Err(error) = self.socket.send(what.as_bytes()) {
            tracing::debug!("the service manager did not hear {what}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What systemd would hear, at a real socket.
    struct Ear(UnixDatagram);

    impl Ear {
        fn new(path: &Path) -> Self {
            let socket = UnixDatagram::bind(path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Self(socket)
        }

        fn hear(&self) -> String {
            let mut buffer = [0; 64];
            let length = self.0.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }
    }

    #[test]
    fn it_hears_what_is_said_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = Ear::new(&path);
        let manager = ServiceManager::at(&path.into_os_string(), None).unwrap();
        manager.ready();
        manager.feed();
        manager.stopping();
        assert_eq!([ear.hear(), ear.hear(), ear.hear()], ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[tokio::test]
    async fn it_is_told_of_life_again_and_again_until_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = Ear::new(&path);
        let manager = ServiceManager::at(&path.into_os_string(), Some(Duration::from_millis(30))).unwrap();
        let stop = CancellationToken::new();
        let fed = tokio::spawn({
            let stop = stop.clone();
            async move { manager.keep_fed(stop).await }
        });
        let heard = tokio::task::spawn_blocking(move || [ear.hear(), ear.hear(), ear.hear()]).await.unwrap();
        assert_eq!(heard, ["WATCHDOG=1"; 3]);
        stop.cancel();
        fed.await.unwrap().unwrap();
    }

    #[test]
    fn a_name_in_the_abstract_namespace_is_understood() {
        let name = format!("portcullis-test-{}", std::process::id());
        let ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        ServiceManager::at(&format!("@{name}").into(), None).unwrap().ready();
        let mut buffer = [0; 64];
        let length = ear.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn one_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ServiceManager::at(&folder.path().join("nobody").into_os_string(), None).is_err());
    }
}
