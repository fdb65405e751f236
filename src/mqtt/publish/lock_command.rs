//! lock/command as clients send it: what is wrong with it goes nowhere but into the audit, the rest to the lock desk,
//! which gives the command under its own name.
//!
//! Must not know the lock's state or limits: those are the desk's and the lock agent's.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    auth::rights::Rights,
    domain::{
        bolt::{AHEAD, LIFETIME},
        lock::Action,
        topic::Topic,
    },
    events::{Channel, LockAsk, LockDone, LockFailure, LockRequest, Requester},
    mqtt::{
        codec::packet::Reason,
        link::QoS,
        log_throttle::LogThrottle,
        metrics::FrontMetrics,
        session::publication::{Publication, PublishDecision, PublishOutcome, Publisher},
    },
    telemetry::log,
    wire::{time, validation::without_bom},
};

/// How long an acknowledgement waits for the lock desk.
const PATIENCE: Duration = Duration::from_secs(3);

/// The part of lock/command that a sender decides; who it is comes from its session, unknown keys are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    action: Action,
    command_id: Option<Uuid>,
    #[serde(default, deserialize_with = "time::deserialize_option")]
    issued_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time::deserialize_option")]
    expires_at: Option<DateTime<Utc>>,
}

/// The way to the lock desk for commands that come by MQTT, and all that it may touch.
#[derive(Debug)]
pub struct LockCommandIntake {
    pub rights: Rights,
    /// To the lock desk.
    pub requests: mpsc::Sender<LockRequest>,
    /// Whether lock/command from other machines may come without TLS.
    pub plain_lock: bool,
    pub metrics: Arc<FrontMetrics>,
    /// How often refusals are logged.
    pub refusals: Arc<LogThrottle>,
}

impl LockCommandIntake {
    /// Decides on a message to lock/command; settled when the lock desk answers, or after a while.
    #[must_use]
    pub fn submit(self: &Arc<Self>, publisher: &Publisher, publication: &Publication) -> PublishDecision {
        let right = self.rights.publish(&publisher.who, &Topic::LockCommand.to_string());
        let arrived = std::time::Instant::now();
        let ask = if right.allowed {
            read(self, publisher, publication, Utc::now())
        } else {
            Err(format!("not authorized: {}", right.rule))
        };
        let (ask, expires_at) = ask.unwrap_or_else(|reason| {
            self.metrics.refused_lock_commands.one();
            let address = publisher.origin.address();
            if let Some(held_back) = self.refusals.may_log(&publisher.who, address) {
                tracing::warn!(who = %publisher.who, %address, held_back, "refused a lock command: {reason}");
            }
            (LockAsk::Refused { what: excerpt(&publication.message.payload), reason }, None)
        });
        let intake = self.clone();
        let address = publisher.origin.address().known();
        let requester = Requester { name: publisher.who.to_string(), channel: Channel::Mqtt, address };
        let (reply, answer) = oneshot::channel();
        let request = LockRequest { requester, ask, arrived, expires_at, reply };
        PublishDecision::Deferred(Box::pin(async move { await_desk(&intake, request, answer).await }))
    }
}

/// What the acknowledgement says once the lock desk has answered, or after a while.
async fn await_desk(
    intake: &LockCommandIntake,
    request: LockRequest,
    answer: oneshot::Receiver<Result<LockDone, LockFailure>>,
) -> PublishOutcome {
    let refusal = match &request.ask {
        LockAsk::Refused { reason, .. } => Some(reason.clone()),
        LockAsk::Command { .. } | LockAsk::Hold { .. } => None,
    };
    let asked = async {
        intake.requests.send(request).await.ok()?;
        answer.await.ok()
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    if let Some(reason) = refusal {
        return PublishOutcome::refused(Reason::NotAuthorized, reason);
    }
    match answered {
        Ok(Some(Ok(_))) => PublishOutcome::done(None),
        Ok(Some(Err(failure))) => PublishOutcome::refused(Reason::NotAuthorized, failure.to_string()),
        Ok(None) => PublishOutcome::refused(Reason::ImplementationSpecific, "the lock desk is gone"),
        Err(_) => PublishOutcome::refused(Reason::UnspecifiedError, "the lock desk did not answer in time"),
    }
}

/// What a message asks of the lock and until when, or why it is refused.
fn read(
    intake: &LockCommandIntake,
    publisher: &Publisher,
    publication: &Publication,
    now: DateTime<Utc>,
) -> Result<(LockAsk, Option<DateTime<Utc>>), String> {
    let message = &publication.message;
    if publication.is_will {
        return Err("a will on lock/command".to_owned());
    }
    if message.retain {
        return Err("a retained lock command".to_owned());
    }
    if publication.dup {
        return Err("a lock command sent again (DUP)".to_owned());
    }
    if !publisher.origin.is_private() && !intake.plain_lock {
        return Err("a lock command without TLS from another machine".to_owned());
    }
    let payload = without_bom(&message.payload);
    if let Some(action) = bare_word(payload) {
        return match message.qos {
            QoS::AtMostOnce => Ok((LockAsk::Command { action, command_id: None }, None)),
            _ => Err("a bare word above QoS 0".to_owned()),
        };
    }
    // An array of the fields in their order is a body to serde.
    if payload.trim_ascii_start().first() == Some(&b'[') {
        return Err("no lock command: it must be an object".to_owned());
    }
    let body: Body = serde_json::from_slice(payload)
        .map_err(|error| format!("no lock command: {}", log::excerpt(&error.to_string())))?;
    fresh(&body, message.qos, now)?;
    Ok((LockAsk::Command { action: body.action, command_id: body.command_id }, body.expires_at))
}

/// Whether the command was meant for now. The desk gives it times of its own, of which the end is never after the
/// sender's.
fn fresh(body: &Body, qos: QoS, now: DateTime<Utc>) -> Result<(), String> {
    let (begin, end) = match (body.issued_at, body.expires_at) {
        (Some(begin), Some(end)) => (begin, end),
        // Sent again by nobody, kept by nobody: as fresh as a bare word.
        (None, None) if qos == QoS::AtMostOnce => return Ok(()),
        // A client library may have kept it for who knows how long.
        _ => return Err("above QoS 0 a lock command needs issuedAt and expiresAt".to_owned()),
    };
    let lifetime = end.signed_duration_since(begin);
    if lifetime <= TimeDelta::zero() || lifetime > LIFETIME {
        return Err("a lock command expires after it was issued, and within 10 seconds".to_owned());
    }
    if end <= now {
        return Err("the command has expired".to_owned());
    }
    if begin.signed_duration_since(now) > AHEAD {
        return Err("the command was issued in the future; is the sender's clock right?".to_owned());
    }
    Ok(())
}

/// What simple devices send instead of JSON.
fn bare_word(payload: &[u8]) -> Option<Action> {
    match payload {
        b"OPEN" => Some(Action::Open),
        b"CLOSE" => Some(Action::Close),
        b"TOGGLE" => Some(Action::Toggle),
        _ => None,
    }
}

/// The payload's beginning, for the audit.
fn excerpt(payload: &[u8]) -> String {
    const LONGEST: usize = 256;
    String::from_utf8_lossy(&payload[..payload.len().min(LONGEST)]).replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_a_client_may_have_kept_says_when_it_was_meant() {
        let now = Utc::now();
        let at = |ms: i64| Some(now + TimeDelta::milliseconds(ms));
        let is_fresh = |issued_at, expires_at, qos| {
            fresh(&Body { action: Action::Open, command_id: None, issued_at, expires_at }, qos, now).is_ok()
        };
        assert!(is_fresh(None, None, QoS::AtMostOnce));
        for (begin, end) in [(None, None), (None, at(2500)), (at(0), None)] {
            assert!(!is_fresh(begin, end, QoS::AtLeastOnce), "{begin:?} {end:?}");
        }
        for (begin, end, good) in [
            (0, 2500, true),
            (-9_000, 1, true),
            (2000, 4000, true),
            (0, 10_000, true),
            (0, 10_001, false),
            (0, 60_000, false),
            (-9_000, 0, false),
            (2001, 4000, false),
            (100, 100, false),
            (200, 100, false),
        ] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                assert_eq!(is_fresh(at(begin), at(end), qos), good, "{begin} {end}");
            }
        }
        for end in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            assert!(!is_fresh(Some(end), at(1), QoS::AtLeastOnce));
            assert!(!is_fresh(at(0), Some(end), QoS::AtLeastOnce));
        }
    }
}
