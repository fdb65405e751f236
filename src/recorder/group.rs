//! A group of submissions: what of it goes into which table, and who is told what afterwards.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    domain::{
        detection::{Detection, classify},
        event::{Event, EventId},
    },
    events::{Announcer, Arrival, Channel, Item, Malformed, Outcome, Sighting, StoredEvent, Submission},
    store::{
        self, Connection,
        recording::{self, Cameras, NewEvent, Rejected, Row},
    },
    telemetry::metrics::Metrics,
    wire,
};

/// How much of a rejected payload is kept, in bytes.
const KEPT_PAYLOAD: usize = 4096;

/// A group of submissions, sorted by what has to be done with them.
pub struct Group {
    /// Each with the key under which it is stored once, however often its commit is tried.
    submissions: Vec<(Submission, Uuid)>,
    /// The events to store, and which submission each belongs to.
    events: Vec<NewEvent>,
    places: Vec<usize>,
}

/// What became of a submission, in the order of the group.
#[derive(Debug, Clone)]
pub enum Answer {
    New(Event),
    Duplicate(Event),
    Ignored,
    Kept(String),
    UnknownCamera,
}

impl Answer {
    /// The id of the event, if it is new.
    pub fn new_id(&self) -> Option<EventId> {
        match self {
            Self::New(event) => Some(event.id),
            _ => None,
        }
    }

    /// Whether the database had to look for it, or for its camera.
    pub fn was_looked_for(&self) -> bool {
        matches!(self, Self::Duplicate(_) | Self::UnknownCamera)
    }
}

impl Group {
    pub fn new(submissions: impl Iterator<Item = Submission>) -> Self {
        let keyed = |submission: Submission| {
            let key = key(&submission.item);
            (submission, key)
        };
        Self::keyed(submissions.map(keyed).collect())
    }

    fn keyed(submissions: Vec<(Submission, Uuid)>) -> Self {
        let (mut events, mut places) = (Vec::new(), Vec::new());
        for (place, (submission, key)) in submissions.iter().enumerate() {
            if let Some(event) = to_event(&submission.item, *key) {
                events.push(event);
                places.push(place);
            }
        }
        Self { submissions, events, places }
    }

    pub fn len(&self) -> usize {
        self.submissions.len()
    }

    /// Each submission as a group of its own.
    pub fn split(self) -> impl Iterator<Item = Self> {
        self.submissions.into_iter().map(|submission| Self::keyed(vec![submission]))
    }

    /// Commits the group and says what became of each submission. Events above `newest` that are there already were
    /// stored by an earlier try of this group, whose commit was not heard of. With the known `cameras` it is tried first as a
    /// group that is all new, which is cheaper where it is true.
    pub async fn store(
        &self,
        connection: &mut Connection,
        at: DateTime<Utc>,
        newest: Option<EventId>,
        cameras: Option<&mut Cameras>,
    ) -> Result<Vec<Answer>, store::Error> {
        let rejected: Vec<_> =
            self.submissions.iter().filter_map(|(submission, key)| to_rejected(&submission.item, *key)).collect();
        let rows = match (self.events.is_empty(), rejected.is_empty()) {
            (true, true) => Vec::new(),
            (false, true) => {
                let new = match cameras {
                    Some(cameras) => recording::insert_new(connection, &self.events, at, cameras).await?,
                    None => None,
                };
                match new {
                    Some(rows) => rows,
                    None => recording::insert(connection, &self.events, at).await?,
                }
            }
            (_, false) => recording::insert_and_reject(connection, &self.events, &rejected, at).await?,
        };
        let duplicates = rows.iter().zip(&self.events).filter(|(row, _)| matches!(row, Row::Duplicate));
        let keys: Vec<_> = duplicates.map(|(_, event)| (event.camera_id, event.key)).collect();
        let before = if keys.is_empty() { HashMap::new() } else { recording::by_keys(connection, &keys).await? };
        let mut answers: Vec<_> =
            self.submissions.iter().map(|(submission, _)| without_event(&submission.item)).collect();
        let mut new = HashSet::new();
        for ((place, row), event) in self.places.iter().zip(rows).zip(&self.events) {
            answers[*place] = match row {
                Row::Stored(event) => {
                    new.insert(event.id);
                    Answer::New(event)
                }
                Row::UnknownCamera => Answer::UnknownCamera,
                Row::Duplicate => match before.get(&(event.camera_id, event.key)).cloned() {
                    Some(event) if newest < Some(event.id) && new.insert(event.id) => Answer::New(event),
                    Some(event) => Answer::Duplicate(event),
                    None => Answer::Kept("deleted again".to_owned()),
                },
            };
        }
        Ok(answers)
    }

    /// Announces what is new and tells each sender. Who no longer listens misses nothing that is not stored. Now and then
    /// it lets the next commit go on.
    pub async fn answer(self, answers: Vec<Answer>, announcer: &Announcer, metrics: &Metrics) {
        const AT_ONCE: usize = 50;
        for (place, ((submission, _), answer)) in self.submissions.into_iter().zip(answers).enumerate() {
            if place % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            if let (Item::Detection(detection), false) = (&submission.item, matches!(answer, Answer::UnknownCamera)) {
                let Detection { camera_id: camera, person_count, .. } = *detection;
                announcer.sighted(Sighting { camera, person_count });
            }
            let Submission { arrival, reply, .. } = submission;
            let outcome = match answer {
                Answer::Ignored => Outcome::Ignored,
                Answer::Kept(reason) => Outcome::Rejected(reason),
                Answer::UnknownCamera => Outcome::UnknownCamera,
                Answer::Duplicate(event) => encoded(event, arrival).map_or_else(Outcome::Rejected, Outcome::Duplicate),
                Answer::New(event) => {
                    metrics.stored(event.event_type.as_str());
                    encoded(event, arrival).map_or_else(Outcome::Rejected, |event| {
                        announce(&event, announcer, metrics);
                        Outcome::Stored(event)
                    })
                }
            };
            let _ = reply.send(outcome);
        }
    }

    /// Tells each sender that it was refused.
    pub fn refuse(self, reason: &str) {
        for (submission, _) in self.submissions {
            let outcome = Outcome::Rejected(reason.to_owned());
            let _ = submission.reply.send(outcome);
        }
    }
}

fn announce(event: &Arc<StoredEvent>, announcer: &Announcer, metrics: &Metrics) {
    let Arrival { channel, at, span } = &event.arrival;
    span.record("event.id", tracing::field::display(event.event.id));
    tracing::debug!(parent: span, "stored");
    if *channel != Channel::Internal {
        metrics.acknowledged(channel.as_str(), at.elapsed());
    }
    announcer.announce(event.clone());
}

fn encoded(event: Event, arrival: Arrival) -> Result<Arc<StoredEvent>, String> {
    match wire::event::encode(&event) {
        Ok(json) => Ok(Arc::new(StoredEvent { event, json, arrival })),
        Err(error) => Err(format!("stored, but not to be shown: {error}")),
    }
}

/// The sender's own id of a detection, an alarm's own, or one of the hub's: rising with time, so that their index grows at its end.
fn key(item: &Item) -> Uuid {
    match item {
        Item::Detection(detection) => detection.detection_id.unwrap_or_else(Uuid::now_v7),
        Item::Occurrence(occurrence) => occurrence.key.unwrap_or_else(Uuid::now_v7),
        Item::Malformed(_) => Uuid::now_v7(),
    }
}

fn to_event(item: &Item, key: Uuid) -> Option<NewEvent> {
    match item {
        Item::Malformed(_) => None,
        Item::Detection(detection) => classify(detection.person_count).map(|event_type| NewEvent {
            camera_id: Some(detection.camera_id),
            event_type,
            person_count: detection.person_count,
            confidence: detection.confidence,
            snapshot_path: detection.snapshot_path.clone(),
            description: detection.description.clone(),
            is_resolved: false,
            detection_id: detection.detection_id,
            detected_at: detection.detected_at,
            key,
        }),
        Item::Occurrence(occurrence) => Some(NewEvent {
            camera_id: None,
            event_type: occurrence.event_type,
            person_count: 0,
            confidence: None,
            snapshot_path: None,
            description: Some(occurrence.description.clone()),
            is_resolved: occurrence.is_resolved(),
            detection_id: None,
            detected_at: Some(wire::time::millis(occurrence.at)),
            key,
        }),
    }
}

fn to_rejected(item: &Item, key: Uuid) -> Option<Rejected<'_>> {
    let Item::Malformed(Malformed { topic, payload, reason, source }) = item else { return None };
    Some(Rejected { topic, payload: &payload[..payload.len().min(KEPT_PAYLOAD)], reason, source, key })
}

/// What is said of an item for which no event was to be stored.
fn without_event(item: &Item) -> Answer {
    match item {
        Item::Malformed(malformed) => Answer::Kept(malformed.reason.clone()),
        Item::Detection(_) | Item::Occurrence(_) => Answer::Ignored,
    }
}

/// Whether an error is a row's fault and would come again, so that waiting is of no use: SQLSTATE classes 21, 22 and 23
/// (cardinality, data exception, integrity constraint).
pub fn is_about_data(error: &store::Error) -> bool {
    let store::Error::Database(error) = error else { return matches!(error, store::Error::Encode(_)) };
    error.code().is_some_and(|code| ["21", "22", "23"].iter().any(|class| code.starts_with(class)))
}
