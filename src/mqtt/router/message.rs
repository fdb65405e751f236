//! A message between its acceptance and its delivery, and the form in which rumqttd's router carries it.
//!
//! For the router everything is one payload, so that its log's bound on payloads is one on all that a message takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::{
    auth::holder::Holder,
    domain::{pool::Standing, topic::Topic},
    mqtt::link::QoS,
};

/// Which session a message came from, so that one that wants none of its own can be spared. 0 is nobody's.
pub type SessionNumber = u64;

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: Arc<str>,
    pub payload: Bytes,
    pub qos: QoS,
    /// Published as the topic's retained message.
    pub retain: bool,
    /// As in [`crate::mqtt::codec::packet::Publish::properties`].
    pub properties: Bytes,
    /// When nobody wants it any more.
    pub expires_at: Option<Instant>,
    pub origin: SessionNumber,
    /// Its number in the order in which the router was given messages; 0 until then.
    pub sequence: u64,
    /// On whose account it is retained; none's until then, and none's that came out of the router.
    pub owner: Option<(Holder, Standing)>,
}

impl Message {
    /// A message of the hub or one of its workers.
    #[must_use]
    pub fn plain(message: crate::mqtt::link::Message, origin: SessionNumber) -> Self {
        Self {
            topic: message.topic.into(),
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            properties: Bytes::new(),
            expires_at: None,
            origin,
            sequence: 0,
            owner: None,
        }
    }

    /// What it costs to keep, in bytes, roughly.
    #[must_use]
    pub fn cost(&self) -> usize {
        const OVERHEAD: usize = 160;
        OVERHEAD + self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// What is left of its life in seconds, rounded up; none if it has no end.
    #[must_use]
    pub fn seconds_left(&self, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_duration_since(now);
        Some(u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// Whether it is a command to the lock, which is for now or not at all.
    #[must_use]
    pub fn is_lock_command(&self) -> bool {
        Topic::parse(&self.topic) == Some(Topic::LockCommand)
    }

    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// A copy of a small slice, so that a short payload does not keep a whole read buffer in memory.
#[must_use]
pub fn compact(bytes: &Bytes) -> Bytes {
    const SMALL: usize = 16 * 1024;
    if bytes.len() > SMALL { bytes.clone() } else { BytesMut::from(&bytes[..]).freeze() }
}

const QOS: u8 = 0b0011;
const RETAIN: u8 = 0b0100;
const EXPIRES: u8 = 0b1000;
/// Flags, origin, sequence, expiry, and the lengths of topic and properties.
const HEAD: usize = 1 + 8 + 8 + 8 + 4 + 4;

/// How long a message is when it is packed, in bytes.
#[must_use]
pub fn packed_len(message: &Message) -> usize {
    HEAD + message.topic.len() + message.properties.len() + message.payload.len()
}

/// Packs a message. `epoch` is where the expiry counts from; the same for [`unpack`].
pub fn pack(message: &Message, epoch: Instant, packed: &mut BytesMut) {
    let mut flags = message.qos as u8;
    if message.retain {
        flags |= RETAIN;
    }
    if message.expires_at.is_some() {
        flags |= EXPIRES;
    }
    packed.put_u8(flags);
    packed.put_u64(message.origin);
    packed.put_u64(message.sequence);
    let life = message.expires_at.map_or(0, |end| end.saturating_duration_since(epoch).as_millis());
    packed.put_u64(u64::try_from(life).unwrap_or(u64::MAX));
    for part in [message.topic.as_bytes(), &message.properties] {
        // No packet is longer than 256 MiB.
        packed.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
        packed.extend_from_slice(part);
    }
    packed.extend_from_slice(&message.payload);
}

/// Puts a message together again; none if it did not come from [`pack`].
#[must_use]
pub fn unpack(mut packed: Bytes, epoch: Instant) -> Option<Message> {
    let flags = packed.try_get_u8().ok()?;
    let origin = packed.try_get_u64().ok()?;
    let sequence = packed.try_get_u64().ok()?;
    let life = packed.try_get_u64().ok()?;
    let mut part = || {
        let length = packed.try_get_u32().ok()? as usize;
        (length <= packed.len()).then(|| packed.split_to(length))
    };
    let (topic, properties) = (part()?, part()?);
    let qos = match flags & QOS {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let expires_at = if flags & EXPIRES == 0 { None } else { epoch.checked_add(Duration::from_millis(life)) };
    Some(Message {
        topic: std::str::from_utf8(&topic).ok()?.into(),
        payload: packed,
        qos,
        retain: flags & RETAIN != 0,
        properties,
        expires_at,
        origin,
        sequence,
        owner: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_router() {
        let epoch = Instant::now();
        let message = Message {
            topic: "é/b".into(),
            payload: Bytes::from_static(b"p"),
            qos: QoS::ExactlyOnce,
            retain: true,
            properties: Bytes::from_static(b"props"),
            expires_at: Some(epoch + Duration::from_secs(7)),
            origin: 3,
            sequence: 9,
            owner: None,
        };
        let mut packed = BytesMut::new();
        pack(&message, epoch, &mut packed);
        assert_eq!(packed.len(), packed_len(&message));
        let packed = packed.freeze();
        assert_eq!(unpack(packed.clone(), epoch), Some(message));
        for length in 0..HEAD + 9 {
            assert_eq!(unpack(packed.slice(..length), epoch), None, "cut after {length}");
        }
    }
}
