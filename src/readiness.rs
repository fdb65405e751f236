//! The hub's parts as `/readyz` shows them, and as alerts tell of them: how each is asked.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{condition::Condition, event::Kind},
    events::{
        alerts::Alerts,
        intake::{Intake, Queue},
    },
    health::{self, Finding, Health, Probe, Words},
    lifecycle::Lifecycle,
    lock_desk::LockDesk,
    mqtt::{Front, RouterHeartbeat},
    store::Database,
};

/// How long the broker may take for a sign of life, which an idle one gives in a millisecond.
const SLOW: Duration = Duration::from_secs(3);
/// How often the disk is asked for its room.
const MEASURE: Duration = Duration::from_secs(1);
/// How long the disk may take to answer: one that hangs is as good as none.
const STUCK: Duration = Duration::from_secs(10);

const DATABASE: Words = Words {
    down: (Kind::DatabaseLost, "The database is lost"),
    degraded: (Kind::DatabaseLost, "The database is not well"),
    up: (Kind::DatabaseReturned, "The database has returned"),
};
const BROKER: Words = Words {
    down: (Kind::BrokerLost, "The MQTT broker is lost"),
    degraded: (Kind::BrokerLost, "The MQTT broker is not well"),
    up: (Kind::BrokerReturned, "The MQTT broker has returned"),
};
const RECORDER: Words = Words {
    down: (Kind::RecorderStalled, "Detections cannot be stored, they wait"),
    degraded: (Kind::RecorderStalled, "Detections are stored slowly"),
    up: (Kind::RecorderReturned, "Detections are stored again"),
};
const DISK: Words = Words {
    down: (Kind::DiskFull, "The disk is full"),
    degraded: (Kind::DiskLow, "The disk is nearly full"),
    up: (Kind::DiskReturned, "The disk has room again"),
};

/// The parts that are asked.
pub struct Probed {
    pub database: Database,
    pub front: Front,
    pub lock: LockDesk,
    pub alerts: Alerts,
    pub recorder: Intake,
    /// Why detections wait, while they do.
    pub stalled: watch::Receiver<Option<String>>,
    /// `DATA_DIR`.
    pub folder: PathBuf,
}

/// Watches over the parts from now on.
#[must_use]
pub fn watch(probed: Probed, hub: &Lifecycle) -> Health {
    let Probed { database, front, lock, alerts, recorder: intake, stalled, folder } = probed;
    let (measured, room) = watch::channel(None);
    let recorder = recorder(database.clone(), intake.queue(), stalled);
    let health = Health::new(alerts.clone())
        .with(health::DATABASE, Some(DATABASE), Box::new(move |_| of_database(&database)))
        .with("broker", Some(BROKER), Box::new(move |_| of_broker(front.heartbeat(), Instant::now())))
        .with("recorder", Some(RECORDER), recorder)
        // The lock desk tells of its worker by itself.
        .with("lock worker", None, Box::new(move |_| of_lock(&lock)))
        .with("disk", Some(DISK), {
            let folder = folder.clone();
            Box::new(move |before| of_disk(room.borrow().as_ref(), &folder, before, Instant::now()))
        });
    hub.keep("the disk's room", measure(folder, measured, hub.soft.clone()));
    hub.keep("health", health.clone().run(hub.soft.clone()));
    hub.keep("alerts", alerts.deliver(intake, hub.soft.clone()));
    health
}

fn of_database(database: &Database) -> Finding {
    let availability = database.availability();
    let availability = availability.borrow();
    if !availability.is_here {
        return Finding::new(Condition::Down, availability.why.clone().unwrap_or_default());
    }
    let pool = database.pool();
    Finding::new(Condition::Up, format!("{} connections, {} of them idle", pool.size(), pool.num_idle()))
}

/// The process ends when the router takes longer still.
fn of_broker(heartbeat: RouterHeartbeat, now: Instant) -> Finding {
    match heartbeat.asked.map(|asked| now.saturating_duration_since(asked)) {
        Some(waited) if waited > SLOW => {
            Finding::new(Condition::Down, format!("its router has not answered for {} s", waited.as_secs()))
        }
        _ => Finding::new(
            Condition::Up,
            format!("its router answered in {:.1} ms", heartbeat.took.as_secs_f64() * 1000.0),
        ),
    }
}

fn recorder(database: Database, queue: Queue, stalled: watch::Receiver<Option<String>>) -> Probe {
    Box::new(move |_| {
        let waiting = format!("{} of {} places in its queue are taken", queue.taken(), queue.places());
        match &*stalled.borrow() {
            // That the database is away is told of the database.
            Some(why) => {
                Finding { excused: !database.is_here(), ..Finding::new(Condition::Down, format!("{why}; {waiting}")) }
            }
            None => Finding::new(Condition::Up, waiting),
        }
    })
}

fn of_lock(lock: &LockDesk) -> Finding {
    let status = lock.state().status;
    let reason = status.reason.filter(|reason| !reason.is_empty()).map(|reason| format!(": {reason}"));
    let relay = if status.simulated { "simulated relay" } else { "relay" };
    let detail = format!("{relay} on line {}, {}{}", status.pin, status.status, reason.unwrap_or_default());
    Finding::new(if status.online { Condition::Up } else { Condition::Down }, detail)
}

/// Free and all bytes, or why they are not known; and when that was asked.
type Room = (Instant, Result<(u64, u64), String>);

fn of_disk(room: Option<&Room>, folder: &Path, before: Condition, now: Instant) -> Finding {
    let folder = folder.display();
    match room {
        Some((at, _)) if now.saturating_duration_since(*at) > STUCK => {
            Finding::new(Condition::Down, format!("{folder} does not answer"))
        }
        Some((_, Ok((free, all)))) => {
            let detail = format!("{} of {} free in {folder}", size(*free), size(*all));
            Finding::new(Condition::of_disk(*free, before), detail)
        }
        Some((_, Err(error))) => Finding::new(Condition::Down, format!("{folder}: {error}")),
        None => Finding::new(before, "not measured yet"),
    }
}

/// Measures until `stop`, on a thread that may block: a disk that hangs must not hold up the hub.
async fn measure(
    folder: PathBuf,
    measured: watch::Sender<Option<Room>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let measuring = async {
        loop {
            let folder = folder.clone();
            let room = tokio::task::spawn_blocking(move || room(&folder)).await?;
            measured.send_replace(Some((Instant::now(), room.map_err(|error| error.to_string()))));
            tokio::time::sleep(MEASURE).await;
        }
    };
    stop.run_until_cancelled(measuring).await.unwrap_or(Ok(()))
}

/// Free and all bytes of the file system that the folder is on.
///
/// # Errors
/// When it does not say.
pub fn room(folder: &Path) -> io::Result<(u64, u64)> {
    let system = rustix::fs::statvfs(folder)?;
    let size = system.f_frsize;
    Ok((system.f_bavail.saturating_mul(size), system.f_blocks.saturating_mul(size)))
}

/// As people read it.
#[must_use]
pub fn size(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    match bytes / MEBIBYTE {
        few @ ..10_240 => format!("{few} MiB"),
        many => format!("{} GiB", many / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_owes_its_answer_is_down() {
        let now = Instant::now();
        let heartbeat = RouterHeartbeat { answered: now, took: Duration::from_micros(700), asked: Some(now) };
        let after = |seconds| of_broker(heartbeat, now + Duration::from_secs(seconds));
        assert_eq!(after(3), Finding::new(Condition::Up, "its router answered in 0.7 ms"));
        assert_eq!(after(4), Finding::new(Condition::Down, "its router has not answered for 4 s"));
        assert_eq!(of_broker(RouterHeartbeat { asked: None, ..heartbeat }, now + STUCK).condition, Condition::Up);
    }

    #[test]
    fn a_disk_is_as_full_as_it_says_and_down_when_it_says_nothing() {
        let (then, now) = (Instant::now(), Instant::now() + STUCK * 2);
        let asked = |room: Option<&Room>| of_disk(room, Path::new("/data"), Condition::Down, now);
        let found = asked(Some(&(now, Ok((512 << 20, 20 << 30)))));
        assert_eq!(found, Finding::new(Condition::Degraded, "512 MiB of 20 GiB free in /data"));
        assert_eq!(asked(Some(&(then, Ok((1 << 40, 1 << 40))))).condition, Condition::Down);
        assert_eq!(asked(Some(&(now, Err("it is gone".to_owned())))).detail, "/data: it is gone");
        assert_eq!(asked(None).condition, Condition::Down);
    }
}
