//! The channels between workers, and what goes through them: submissions to the recorder, requests to the lock desk,
//! and the news that the recorder and the front have for everybody.
//!
//! Must not know who sends and who receives. Every channel is bounded; each bound says what happens when it is full.

pub mod alerts;
pub mod counters;
pub mod intake;
pub mod presence;
pub mod revocations;

use std::{fmt, net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, oneshot};
use tracing::{Span, field::Empty};
use uuid::Uuid;

use self::counters::{Disposition, InFlight};
use crate::domain::{
    camera::CameraId,
    detection::Detection,
    event::{Event, EventId, EventType, Occurrence},
    lock::{Action, LockStatus},
};

/// By which way something came in: for accounting, the log and the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    Mqtt,
    Http,
    /// The hub itself.
    Internal,
}

impl Channel {
    /// Its name in the log, the audit and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Http => "http",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How something came in, and the span that all log lines of its way stand in.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub channel: Channel,
    pub at: Instant,
    /// Has `camera.id` and `detection.id`, and `event.id` after the commit. Off unless the log shows debug lines, and
    /// costs next to nothing then.
    pub span: Span,
}

impl Arrival {
    /// Now, by this channel.
    #[must_use]
    pub fn now(channel: Channel, item: &Item) -> Self {
        let span = match item {
            Item::Detection(detection) => {
                let id = detection.detection_id.map(tracing::field::display);
                let camera = detection.camera_id;
                tracing::debug_span!("detection", %channel, camera.id = %camera, detection.id = id, event.id = Empty)
            }
            Item::Malformed(Malformed { topic, source, .. }) => {
                tracing::debug_span!("malformed", %channel, topic, source)
            }
            Item::Occurrence(_) => tracing::debug_span!("occurrence", %channel, event.id = Empty),
        };
        Self { channel, at: Instant::now(), span }
    }
}

/// Something for the recorder to store, and where to say what became of it.
#[derive(Debug)]
pub struct Submission {
    pub arrival: Arrival,
    pub item: Item,
    /// Answered after the commit, never before.
    pub reply: Reply,
}

impl Submission {
    /// A submission that is not counted, and where its answer will come.
    fn new(channel: Channel, item: Item) -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, answer) = oneshot::channel();
        let reply = Reply { sender, in_flight: None };
        (Self { arrival: Arrival::now(channel, &item), item, reply }, answer)
    }
}

/// Where the answer to a submission goes; the counters hear of it first.
#[derive(Debug)]
pub struct Reply {
    sender: oneshot::Sender<Outcome>,
    /// Of a detection that counts.
    in_flight: Option<InFlight>,
}

impl Reply {
    /// Counts what became of it and tells its sender.
    ///
    /// # Errors
    /// When nobody waits for the answer any more, which is no fault.
    pub fn send(self, outcome: Outcome) -> Result<(), Outcome> {
        if let Some(in_flight) = self.in_flight {
            in_flight.settle(match outcome {
                Outcome::Stored(_) => Disposition::Stored,
                Outcome::Duplicate(_) => Disposition::Duplicate,
                Outcome::Ignored => Disposition::Ignored,
                Outcome::Rejected(_) | Outcome::UnknownCamera => Disposition::Rejected,
            });
        }
        self.sender.send(outcome)
    }
}

/// What the recorder can be given.
#[derive(Debug)]
pub enum Item {
    Detection(Detection),
    /// What should have been a detection and is not; kept for a person to read.
    Malformed(Malformed),
    Occurrence(Occurrence),
}

/// A message that cannot be taken as a detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub topic: String,
    pub payload: Bytes,
    /// What is wrong with it, in words that tell its sender what to do.
    pub reason: String,
    /// Who sent it: `user:ID` or `device:NAME`.
    pub source: String,
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub enum Outcome {
    Stored(Arc<StoredEvent>),
    /// Stored before under the same detection id.
    Duplicate(Arc<StoredEvent>),
    /// It shows no person: a sign of life, no event.
    Ignored,
    /// Kept in `rejected_messages`, with this reason.
    Rejected(String),
    /// Its camera does not exist. Over HTTP nothing is kept; over MQTT the message is in `rejected_messages`.
    UnknownCamera,
}

/// A committed event, with its JSON made once for however many hear of it.
#[derive(Debug)]
pub struct StoredEvent {
    pub event: Event,
    /// The contract's event object.
    pub json: Box<RawValue>,
    /// Of the submission that it answers.
    pub arrival: Arrival,
}

/// A sign of life of a camera: a detection that came in, with or without persons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    pub camera: CameraId,
    pub person_count: u32,
}

/// How many notices a slow listener may be behind. When it is further behind it loses the oldest ones, and is told how
/// many; no row is lost, and dashboards replay by id.
const BEHIND: usize = 8192;

/// The newest detection of a person, and when it was announced, by the time that only passes: whatever the clock says, it
/// tells how long ago that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSeen {
    pub event: EventId,
    pub camera: Option<CameraId>,
    pub at: Instant,
}

/// Tells everybody of committed events, and of signs of life.
#[derive(Debug, Clone)]
pub struct Announcer {
    events: broadcast::Sender<Arc<StoredEvent>>,
    sightings: broadcast::Sender<Sighting>,
    last_seen: Arc<Mutex<Option<LastSeen>>>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self {
            events: broadcast::channel(BEHIND).0,
            sightings: broadcast::channel(BEHIND).0,
            last_seen: Arc::default(),
        }
    }
}

impl Announcer {
    /// Tells of an event that is committed. That nobody listens is no fault.
    pub fn announce(&self, event: Arc<StoredEvent>) {
        let Event { id, ref camera, event_type, .. } = event.event;
        if matches!(event_type, EventType::PersonDetected | EventType::MultiplePersons) {
            let camera = camera.as_ref().map(|camera| camera.id);
            *self.last_seen.lock() = Some(LastSeen { event: id, camera, at: Instant::now() });
        }
        let _ = self.events.send(event);
    }

    /// The newest detection of a person that this process has stored.
    #[must_use]
    pub fn last_seen(&self) -> Option<LastSeen> {
        *self.last_seen.lock()
    }

    /// Tells of a sign of life.
    pub fn sighted(&self, sighting: Sighting) {
        let _ = self.sightings.send(sighting);
    }

    /// Hears of committed events from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<StoredEvent>> {
        self.events.subscribe()
    }

    /// Hears of signs of life from now on.
    #[must_use]
    pub fn listen_to_sightings(&self) -> broadcast::Receiver<Sighting> {
        self.sightings.subscribe()
    }
}

/// Who asks something of the lock, as the audit keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// `user:ID` or `device:NAME`.
    pub name: String,
    pub channel: Channel,
    pub address: Option<IpAddr>,
}

/// A request to the lock desk, and where to say what became of it.
#[derive(Debug)]
pub struct LockRequest {
    pub requester: Requester,
    pub ask: LockAsk,
    /// When it came in: one that has waited is not given any more.
    pub arrived: Instant,
    /// The sender's own end of the command, if it gave one. The desk's own end is never later.
    pub expires_at: Option<DateTime<Utc>>,
    pub reply: oneshot::Sender<Result<LockDone, LockFailure>>,
}

/// What is asked of the lock desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockAsk {
    Command {
        action: Action,
        /// The sender's own id for the command, or none: then the desk makes one.
        command_id: Option<Uuid>,
    },
    /// Opens the door and holds it open until then, which only an ADMIN may.
    Hold { until: DateTime<Utc>, reason: String },
    /// Something on `lock/command` that the front refused. It goes nowhere, but into the audit.
    Refused { what: String, reason: String },
}

/// A command that the lock worker has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockDone {
    pub previous: LockStatus,
    pub current: LockStatus,
    /// The relay's GPIO line.
    pub pin: u32,
    pub message: String,
}

/// Why a command to the lock came to nothing, or is not known to have come to something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockFailure {
    #[error("No lock worker is connected")]
    NoWorker,
    /// The worker's own words.
    #[error("{0}")]
    Refused(String),
    /// The sender has asked too often; it may ask again after `wait`.
    #[error("{words}")]
    TooOften { words: String, wait: std::time::Duration },
    #[error("The lock worker did not confirm in time; ask for the lock's status")]
    NoConfirmation,
    #[error("The command could not be recorded, so it was not given")]
    NotRecorded,
    /// It waited for its turn for too long, or would have.
    #[error("The command would have come too late, so it was not given")]
    TooLate,
    /// More commands wait than there is room for.
    #[error("Too many commands wait for the lock, so this one was not given; try again in a second")]
    Full,
}
