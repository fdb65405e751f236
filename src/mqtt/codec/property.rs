//! MQTT 5.0's properties: which packet may carry which, once or often, and their values.
//!
//! Must not know what a property does.

use bytes::Bytes;

use super::{
    packet::Fault,
    reader::{Read, Reader},
};

pub const PAYLOAD_FORMAT: u8 = 1;
pub const MESSAGE_EXPIRY: u8 = 2;
pub const CONTENT_TYPE: u8 = 3;
pub const RESPONSE_TOPIC: u8 = 8;
pub const CORRELATION_DATA: u8 = 9;
pub const SUBSCRIPTION_ID: u8 = 11;
pub const SESSION_EXPIRY: u8 = 17;
pub const ASSIGNED_CLIENT_ID: u8 = 18;
pub const SERVER_KEEP_ALIVE: u8 = 19;
pub const AUTHENTICATION_METHOD: u8 = 21;
pub const AUTHENTICATION_DATA: u8 = 22;
pub const REQUEST_PROBLEM_INFORMATION: u8 = 23;
pub const WILL_DELAY: u8 = 24;
pub const REQUEST_RESPONSE_INFORMATION: u8 = 25;
pub const SERVER_REFERENCE: u8 = 28;
pub const REASON_STRING: u8 = 31;
pub const RECEIVE_MAXIMUM: u8 = 33;
pub const TOPIC_ALIAS_MAXIMUM: u8 = 34;
pub const TOPIC_ALIAS: u8 = 35;
pub const USER_PROPERTY: u8 = 38;
pub const MAXIMUM_PACKET_SIZE: u8 = 39;

/// A packet that carries properties, among those that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyOwner {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Ack,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

impl PropertyOwner {
    fn may_carry(self, id: u8) -> bool {
        let allowed: &[u8] = match self {
            Self::Connect => &[
                SESSION_EXPIRY,
                AUTHENTICATION_METHOD,
                AUTHENTICATION_DATA,
                REQUEST_PROBLEM_INFORMATION,
                REQUEST_RESPONSE_INFORMATION,
                RECEIVE_MAXIMUM,
                TOPIC_ALIAS_MAXIMUM,
                USER_PROPERTY,
                MAXIMUM_PACKET_SIZE,
            ],
            Self::Will => &[
                PAYLOAD_FORMAT,
                MESSAGE_EXPIRY,
                CONTENT_TYPE,
                RESPONSE_TOPIC,
                CORRELATION_DATA,
                WILL_DELAY,
                USER_PROPERTY,
            ],
            // A client's PUBLISH carries no subscription identifier (3.3.2.3.8).
            Self::Publish => &[
                PAYLOAD_FORMAT,
                MESSAGE_EXPIRY,
                CONTENT_TYPE,
                RESPONSE_TOPIC,
                CORRELATION_DATA,
                TOPIC_ALIAS,
                USER_PROPERTY,
            ],
            Self::Ack => &[REASON_STRING, USER_PROPERTY],
            Self::Subscribe => &[SUBSCRIPTION_ID, USER_PROPERTY],
            Self::Unsubscribe => &[USER_PROPERTY],
            Self::Disconnect => &[SESSION_EXPIRY, SERVER_REFERENCE, REASON_STRING, USER_PROPERTY],
        };
        allowed.contains(&id)
    }
}

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    /// A variable byte integer.
    Number(u32),
    /// Looked at and not needed: a text, bytes, or a pair of texts.
    Other,
}

/// Reads the block of properties that the packet has here.
///
/// # Errors
/// Those of [`read`].
pub(super) fn read_from(reader: &mut Reader, owner: PropertyOwner) -> Read<Vec<(u8, Value)>> {
    read(reader.block()?, owner)
}

/// Reads all properties of a packet.
///
/// # Errors
/// For one that is unknown, malformed, not this packet's, or there twice.
pub fn read(block: Bytes, owner: PropertyOwner) -> Read<Vec<(u8, Value)>> {
    let (mut reader, mut seen, mut found) = (Reader(block), 0_u64, Vec::new());
    while !reader.0.is_empty() {
        let id = reader.byte()?;
        let value = value(&mut reader, id)?;
        if !owner.may_carry(id) {
            return Err(Fault::protocol("a property that this packet does not have"));
        }
        if id != USER_PROPERTY && seen & (1 << id) != 0 {
            return Err(Fault::protocol("a property that is there twice"));
        }
        seen |= 1 << id;
        if value != Value::Other {
            found.push((id, value));
        } else if id == AUTHENTICATION_METHOD {
            found.push((id, Value::Other));
        }
    }
    Ok(found)
}

fn value(reader: &mut Reader, id: u8) -> Read<Value> {
    Ok(match id {
        PAYLOAD_FORMAT => match reader.byte()? {
            byte @ (0 | 1) => Value::Byte(byte),
            _ => return Err(Fault::protocol("a payload format that is neither 0 nor 1")),
        },
        REQUEST_PROBLEM_INFORMATION | REQUEST_RESPONSE_INFORMATION => Value::Byte(reader.byte()?),
        SERVER_KEEP_ALIVE | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => Value::Two(reader.two()?),
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET_SIZE => Value::Four(reader.four()?),
        SUBSCRIPTION_ID => Value::Number(reader.number()?),
        RESPONSE_TOPIC => {
            if reader.text()?.contains(['+', '#']) {
                return Err(Fault::protocol("a response topic with a wildcard"));
            }
            Value::Other
        }
        CONTENT_TYPE | ASSIGNED_CLIENT_ID | AUTHENTICATION_METHOD | SERVER_REFERENCE | REASON_STRING => {
            reader.text()?;
            Value::Other
        }
        CORRELATION_DATA | AUTHENTICATION_DATA => {
            reader.binary()?;
            Value::Other
        }
        USER_PROPERTY => {
            reader.text()?;
            reader.text()?;
            Value::Other
        }
        _ => return Err(Fault::malformed("a property that MQTT does not know")),
    })
}

/// The properties that go on to subscribers unchanged and in their order (3.3.2.3), out of a block already read once.
///
/// # Errors
/// None that [`read`] has not already found.
pub fn for_subscribers(block: Bytes) -> Read<Bytes> {
    let whole = block.clone();
    let mut reader = Reader(block);
    let mut kept = Vec::new();
    while !reader.0.is_empty() {
        let start = whole.len() - reader.0.len();
        let id = reader.byte()?;
        value(&mut reader, id)?;
        let end = whole.len() - reader.0.len();
        if [PAYLOAD_FORMAT, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER_PROPERTY].contains(&id) {
            kept.extend_from_slice(&whole[start..end]);
        }
    }
    Ok(Bytes::from(kept))
}
