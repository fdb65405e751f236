//! lock/command as clients send it: what is wrong with it goes nowhere but into the audit, the rest to the lock desk,
//! which gives the command under its own name.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    front::Core,
    link::QoS,
    packet::Reason,
    publish::{Offered, Sender, Settled, Verdict},
};
use crate::{
    auth::identity::Identity,
    domain::{lock::Action, topic::Topic},
    events::{Channel, LockAsk, LockRequest, Requester},
};

/// How long an acknowledgement waits for the lock desk.
const PATIENCE: Duration = Duration::from_secs(3);
/// How far a sender's clock may be ahead.
const AHEAD: TimeDelta = TimeDelta::seconds(2);

/// The part of lock/command that a sender decides; who it is comes from its session, unknown keys are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    action: Action,
    command_id: Option<Uuid>,
    issued_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

/// Decides on a message to lock/command; settled when the lock desk answers, or after a while.
pub fn judge(core: &Arc<Core>, sender: &Sender, offered: Offered) -> Verdict {
    let right = core.rights.publish(&sender.who, &Topic::LockCommand.to_string());
    let ask = if right.allowed {
        read(core, sender, &offered, Utc::now())
    } else {
        Err(format!("not authorized: {}", right.rule))
    };
    let ask = ask.unwrap_or_else(|reason| {
        core.gauges.refused_lock_commands.one();
        if let Some(held_back) = core.refusals.pass(std::time::Instant::now()) {
            tracing::warn!(who = %sender.who, address = %sender.address, held_back, "refused a lock command: {reason}");
        }
        LockAsk::Refused { what: excerpt(&offered.message.payload), reason }
    });
    let core = core.clone();
    let requester = Requester { name: sender.who.to_string(), channel: Channel::Mqtt, address: Some(sender.address) };
    Verdict::Later(Box::pin(async move { settle(&core, requester, ask).await }))
}

async fn settle(core: &Core, requester: Requester, ask: LockAsk) -> Settled {
    let refusal = match &ask {
        LockAsk::Refused { reason, .. } => Some(reason.clone()),
        LockAsk::Command { .. } => None,
    };
    let (reply, answer) = oneshot::channel();
    let request = LockRequest { requester, ask, reply };
    let asked = async {
        core.hooks.lock.send(request).await.ok()?;
        answer.await.ok()
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    if let Some(reason) = refusal {
        return Settled::refused(Reason::NotAuthorized, reason);
    }
    match answered {
        Ok(Some(Ok(_))) => Settled::done(None),
        Ok(Some(Err(failure))) => Settled::refused(Reason::NotAuthorized, failure.to_string()),
        Ok(None) => Settled::refused(Reason::ImplementationSpecific, "the lock desk is gone"),
        Err(_) => Settled::refused(Reason::UnspecifiedError, "the lock desk did not answer in time"),
    }
}

/// What a message asks of the lock, or why it is refused.
fn read(core: &Core, sender: &Sender, offered: &Offered, now: DateTime<Utc>) -> Result<LockAsk, String> {
    let message = &offered.message;
    if offered.is_will {
        return Err("a will on lock/command".to_owned());
    }
    if message.retain {
        return Err("a retained lock command".to_owned());
    }
    if offered.dup {
        return Err("a lock command sent again (DUP)".to_owned());
    }
    if !sender.secure && !sender.address.to_canonical().is_loopback() && !core.settings.plain_lock {
        return Err("a lock command without TLS from another machine".to_owned());
    }
    if let Some(action) = bare_word(&message.payload) {
        return match message.qos {
            QoS::AtMostOnce => Ok(LockAsk::Command { action, command_id: None }),
            _ => Err("a bare word above QoS 0".to_owned()),
        };
    }
    let body: Body = serde_json::from_slice(&message.payload).map_err(|error| format!("no lock command: {error}"))?;
    if body.expires_at.is_some_and(|end| end <= now) {
        return Err("the command has expired".to_owned());
    }
    if body.issued_at.is_some_and(|begin| begin - now > AHEAD) {
        return Err("the command was issued in the future; is the sender's clock right?".to_owned());
    }
    Ok(LockAsk::Command { action: body.action, command_id: body.command_id })
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

/// Whether a session of this identity is a lock worker's that must have the place for itself.
#[must_use]
pub fn is_worker(who: &Identity) -> bool {
    matches!(who, Identity::Device(device) if device.role == crate::domain::device::DeviceRole::LockAgent)
}
