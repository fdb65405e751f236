//! `LOCK_ON_DETECTION`: a person before an open door closes it. Nothing here can open one.

use std::time::Duration;

use tokio::{sync::broadcast, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{LockDesk, state::LockState};
use crate::{
    domain::{
        event::{Event, EventType},
        lock::{Action, LockStatus},
    },
    events::{Announcer, Channel, Requester},
};

/// Who asks, as the audit has it.
const NAME: &str = "rule:close-on-detection";
/// The least time between two tries, so that a door that does not close fills no table.
const PAUSE: Duration = Duration::from_secs(2);

/// Whether this event closes the door.
#[must_use]
pub fn closes(event: &Event, threshold: f64, state: &LockState) -> bool {
    let person = matches!(event.event_type, EventType::PersonDetected | EventType::MultiplePersons);
    let sure = event.confidence.is_some_and(|confidence| confidence >= threshold);
    person && sure && state.status.online && state.status.status == LockStatus::Open
}

/// Closes the door when somebody is seen, until `stop`.
pub(super) async fn run(
    desk: LockDesk,
    announcer: Announcer,
    threshold: f64,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut events = announcer.listen();
    let mut rest_until = Instant::now();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = stop.cancelled() => return Ok(()),
        };
        let stored = match event {
            Ok(stored) => stored,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "the lock's rule was behind and did not look at some events");
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        if Instant::now() < rest_until || !closes(&stored.event, threshold, &desk.state()) {
            continue;
        }
        let requester = Requester { name: NAME.to_owned(), channel: Channel::Internal, address: None };
        match desk.command(requester, Action::Close).await {
            Ok(_) => tracing::info!(event.id = %stored.event.id, "a person was seen, the door was closed"),
            Err(failure) => {
                tracing::warn!(event.id = %stored.event.id, "a person was seen, the door was not closed: {failure}");
                rest_until = Instant::now() + PAUSE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::domain::event::{Details, EventId};

    fn event(event_type: EventType, confidence: Option<f64>) -> Event {
        Event {
            id: EventId(1),
            camera: None,
            event_type,
            person_count: 1,
            confidence,
            snapshot_path: None,
            description: None,
            is_resolved: false,
            resolved_at: None,
            detection_id: None,
            detected_at: None,
            created_at: DateTime::UNIX_EPOCH,
            details: Details::default(),
        }
    }

    #[test]
    fn only_a_person_seen_surely_before_an_open_door_closes_it() {
        let mut open = LockState::unknown(17, Utc::now());
        (open.status.status, open.status.online) = (LockStatus::Open, true);
        for kind in EventType::ALL {
            let person = matches!(kind, EventType::PersonDetected | EventType::MultiplePersons);
            assert_eq!(closes(&event(kind, Some(0.5)), 0.5, &open), person, "{kind}");
        }
        let person = |confidence| event(EventType::PersonDetected, confidence);
        assert!(!closes(&person(Some(0.49)), 0.5, &open));
        assert!(!closes(&person(None), 0.0, &open));
        assert!(!closes(&person(Some(f64::NAN)), 0.5, &open));
        open.status.online = false;
        assert!(!closes(&person(Some(1.0)), 0.5, &open));
        (open.status.status, open.status.online) = (LockStatus::Closed, true);
        assert!(!closes(&person(Some(1.0)), 0.5, &open));
    }
}
