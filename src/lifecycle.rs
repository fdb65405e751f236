//! How the process starts to stop, and who is still at work: signals, a soft and a hard stop, and tracked tasks.
//!
//! The soft stop asks: take nothing new, finish what was begun. The hard stop, a while later or at a second signal,
//! ends what is left. Must not know what the tasks do.

mod backoff;
pub mod service_manager;

use std::{
    future::Future,
    io::{self, IsTerminal as _},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::backoff::Backoff;
use crate::said;

/// How long the soft stop may take before the hard one: less than the 10 s that `docker stop` grants.
const GRACE: Duration = Duration::from_secs(8);

/// The two stops and every task that has to end before the process does.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Take nothing new, finish what was begun.
    pub soft: CancellationToken,
    /// End now.
    pub hard: CancellationToken,
    tasks: TaskTracker,
    /// Why the first task died.
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Lifecycle {
    /// A lifecycle within this one: it stops when this one does, and can be stopped before it.
    #[must_use]
    pub fn inner(&self) -> Self {
        Self {
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
            tasks: TaskTracker::new(),
            failure: self.failure.clone(),
        }
    }

    /// Runs a task that must live as long as the hub: its end before the soft stop, by whatever cause, stops the hub.
    pub fn keep<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (soft, dying_stops_the_hub) = (self.soft.clone(), self.soft.clone().drop_guard());
        let lifecycle = self.clone();
        self.tasks.spawn(async move {
            let ended = task.await;
            match ended {
                Err(error) => {
                    tracing::error!(task = name, "a task failed, the hub stops: {}", said::all(&error));
                    lifecycle.failed(error);
                }
                Ok(()) if !soft.is_cancelled() => tracing::error!(task = name, "a task ended early, the hub stops"),
                Ok(()) => tracing::debug!(task = name, "ended"),
            }
            drop(dying_stops_the_hub);
        });
    }

    /// Notes why the hub stops; the first cause counts.
    pub fn failed(&self, error: anyhow::Error) {
        self.failure.lock().get_or_insert(error);
    }

    /// Why the hub stops by itself, if a task said so.
    #[must_use]
    pub fn failure(&self) -> Option<anyhow::Error> {
        self.failure.lock().take()
    }

    /// Runs a task that may end when it is done, such as one client's session.
    pub fn track<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Stops in two steps: softly at first, hard after a while or when `hurry` is done.
    pub async fn stop(&self, hurry: impl Future<Output = ()>) {
        self.soft.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return,
            () = tokio::time::sleep(GRACE) => tracing::warn!("tasks did not end in {GRACE:?}, ending them"),
            () = hurry => {}
        }
        self.hard.cancel();
        if tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "left behind");
        }
    }
}

/// The signals that ask a process to end, and the one that asks it to look at its settings again.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// At a terminal, whose end it tells.
    hangup: Option<Signal>,
    again: Option<Signal>,
}

/// SIGHUP of a process that has no terminal: somebody asks it to look at its settings again.
#[derive(Debug)]
pub struct Again(Option<Signal>);

impl Again {
    /// Waits for it; forever at a terminal.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Signals {
    /// Listens from now on, so that a signal during the start is not missed.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn listen() -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let (hangup, again) = if is_at_a_terminal() { (Some(hangup), None) } else { (None, Some(hangup)) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup,
            again,
        })
    }

    /// SIGHUP where it does not tell of a terminal's end; to be taken once.
    pub fn again(&mut self) -> Again {
        Again(self.again.take())
    }

    /// Waits for one: SIGINT (Ctrl-C), SIGTERM, or what a terminal sends when it goes (SIGHUP) or is told to (SIGQUIT).
    /// Each would end the process at once otherwise, and leave the door as it is.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping (once more to stop at once)"),
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            () = hangup => tracing::info!("SIGHUP, the terminal is gone: stopping"),
            _ = self.quit.recv() => tracing::info!("SIGQUIT: stopping"),
        }
    }
}

/// Whether a terminal is the input or an output. Under a service manager, in a container and behind `nohup` none is.
fn is_at_a_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
