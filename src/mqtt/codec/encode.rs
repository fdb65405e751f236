//! What the front sends: written straight into a connection's buffer.
//!
//! Must not know sockets or sessions.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{
    packet::{ProtocolVersion, Reason},
    property,
};
use crate::mqtt::link::QoS;

/// What a CONNACK of MQTT 5.0 says besides its code.
#[derive(Debug, Clone, Default)]
pub struct ConnackProperties {
    /// Said only where it differs from what the client asked for, in seconds.
    pub session_expiry: Option<u32>,
    pub receive_maximum: u16,
    pub maximum_packet: u32,
    pub topic_alias_maximum: u16,
    pub assigned_client_id: Option<String>,
    /// Said only where it differs from what the client asked for, in seconds.
    pub keep_alive: Option<u16>,
}

/// A PUBLISH to a subscriber.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub payload: &'a Bytes,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    /// 0 at QoS 0.
    pub id: u16,
    /// As in [`super::packet::Publish::properties`].
    pub properties: &'a Bytes,
    /// What is left of its life, in seconds.
    pub expiry: Option<u32>,
    pub alias: Option<u16>,
    pub subscription_ids: &'a [u32],
}

/// CONNACK for a session that stands.
pub fn accept(out: &mut BytesMut, version: ProtocolVersion, session_present: bool, offer: &ConnackProperties) {
    let mut properties = BytesMut::new();
    if version == ProtocolVersion::V5 {
        if let Some(seconds) = offer.session_expiry {
            properties.put_u8(property::SESSION_EXPIRY);
            properties.put_u32(seconds);
        }
        properties.put_u8(property::RECEIVE_MAXIMUM);
        properties.put_u16(offer.receive_maximum);
        properties.put_u8(property::MAXIMUM_PACKET_SIZE);
        properties.put_u32(offer.maximum_packet);
        properties.put_u8(property::TOPIC_ALIAS_MAXIMUM);
        properties.put_u16(offer.topic_alias_maximum);
        if let Some(id) = &offer.assigned_client_id {
            properties.put_u8(property::ASSIGNED_CLIENT_ID);
            text(&mut properties, id);
        }
        if let Some(seconds) = offer.keep_alive {
            properties.put_u8(property::SERVER_KEEP_ALIVE);
            properties.put_u16(seconds);
        }
    }
    connack(out, version, session_present, 0, &properties);
}

/// CONNACK that refuses. MQTT 3.1.1 knows five codes only.
pub fn refuse(out: &mut BytesMut, version: ProtocolVersion, reason: Reason, why: &str) {
    let code = match (version, reason) {
        (ProtocolVersion::V5, reason) => reason as u8,
        (ProtocolVersion::V311, Reason::UnsupportedProtocolVersion) => 1,
        (ProtocolVersion::V311, Reason::ClientIdentifierNotValid) => 2,
        (ProtocolVersion::V311, Reason::BadUserNameOrPassword | Reason::NotAuthorized) => 5,
        (ProtocolVersion::V311, _) => 3,
    };
    let mut properties = BytesMut::new();
    reason_string(&mut properties, Some(why));
    connack(out, version, false, code, &properties);
}

/// CONNACK of MQTT 3.1.1 for a user name or password that is malformed; one that is wrong gets [`refuse`]'s.
pub fn malformed_login(out: &mut BytesMut) {
    connack(out, ProtocolVersion::V311, false, 4, &[]);
}

fn connack(out: &mut BytesMut, version: ProtocolVersion, session_present: bool, code: u8, properties: &[u8]) {
    let properties = (version == ProtocolVersion::V5).then_some(properties);
    out.put_u8(0x20);
    number(out, 2 + properties.map_or(0, block_length));
    out.put_u8(u8::from(session_present));
    out.put_u8(code);
    if let Some(properties) = properties {
        block(out, properties);
    }
}

/// Which acknowledgement to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// PUBACK.
    Accepted,
    /// PUBREC.
    Received,
    /// PUBREL.
    Released,
    /// PUBCOMP.
    Completed,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; for 3.1.1, which has no codes, the code is left out.
pub fn ack(out: &mut BytesMut, version: ProtocolVersion, kind: AckKind, id: u16, reason: Reason, why: Option<&str>) {
    out.put_u8(match kind {
        AckKind::Accepted => 0x40,
        AckKind::Received => 0x50,
        AckKind::Released => 0x62,
        AckKind::Completed => 0x70,
    });
    if version == ProtocolVersion::V311 || (reason == Reason::Success && why.is_none()) {
        out.put_u8(2);
        out.put_u16(id);
        return;
    }
    let mut properties = BytesMut::new();
    reason_string(&mut properties, why);
    number(out, 3 + block_length(&properties));
    out.put_u16(id);
    out.put_u8(reason as u8);
    block(out, &properties);
}

/// SUBACK or UNSUBACK.
fn codes(out: &mut BytesMut, first: u8, version: ProtocolVersion, id: u16, codes: &[u8]) {
    out.put_u8(first);
    number(out, 2 + usize::from(version == ProtocolVersion::V5) + codes.len());
    out.put_u16(id);
    if version == ProtocolVersion::V5 {
        out.put_u8(0);
    }
    out.extend_from_slice(codes);
}

/// SUBACK, one code for each filter: the granted QoS or why not. MQTT 3.1.1 knows one failure only.
pub fn suback(out: &mut BytesMut, version: ProtocolVersion, id: u16, granted: &[Result<QoS, Reason>]) {
    let list: Vec<u8> = granted
        .iter()
        .map(|one| match (one, version) {
            (Ok(qos), _) => *qos as u8,
            (Err(reason), ProtocolVersion::V5) => *reason as u8,
            (Err(_), ProtocolVersion::V311) => 0x80,
        })
        .collect();
    codes(out, 0x90, version, id, &list);
}

/// UNSUBACK; MQTT 3.1.1 has no codes in it.
pub fn unsuback(out: &mut BytesMut, version: ProtocolVersion, id: u16, reasons: &[Reason]) {
    let list: Vec<u8> =
        if version == ProtocolVersion::V5 { reasons.iter().map(|reason| *reason as u8).collect() } else { vec![] };
    codes(out, 0xB0, version, id, &list);
}

/// PINGRESP.
pub fn pong(out: &mut BytesMut) {
    out.extend_from_slice(&[0xD0, 0]);
}

/// DISCONNECT; a 3.1.1 server has none, so nothing is written then.
pub fn disconnect(out: &mut BytesMut, version: ProtocolVersion, reason: Reason, why: &str) {
    if version == ProtocolVersion::V311 {
        return;
    }
    let mut properties = BytesMut::new();
    reason_string(&mut properties, Some(why));
    out.put_u8(0xE0);
    number(out, 1 + block_length(&properties));
    out.put_u8(reason as u8);
    block(out, &properties);
}

/// PUBLISH. Says whether it was written: not if it is longer than `longest`, the client's limit.
pub fn publish(out: &mut BytesMut, version: ProtocolVersion, message: &Outgoing, longest: usize) -> bool {
    let mut own = BytesMut::new();
    let mut properties_length = 0;
    if version == ProtocolVersion::V5 {
        if let Some(seconds) = message.expiry {
            own.put_u8(property::MESSAGE_EXPIRY);
            own.put_u32(seconds);
        }
        if let Some(alias) = message.alias {
            own.put_u8(property::TOPIC_ALIAS);
            own.put_u16(alias);
        }
        for id in message.subscription_ids {
            own.put_u8(property::SUBSCRIPTION_ID);
            number(&mut own, *id as usize);
        }
        properties_length = own.len() + message.properties.len();
    }
    let above_zero = message.qos != QoS::AtMostOnce;
    let mut length = 2 + message.topic.len() + message.payload.len() + if above_zero { 2 } else { 0 };
    if version == ProtocolVersion::V5 {
        length += number_length(properties_length) + properties_length;
    }
    if 1 + number_length(length) + length > longest {
        return false;
    }
    out.reserve(5 + length);
    let flags = (u8::from(message.dup) << 3) | ((message.qos as u8) << 1) | u8::from(message.retain);
    out.put_u8(0x30 | flags);
    number(out, length);
    text(out, message.topic);
    if above_zero {
        out.put_u16(message.id);
    }
    if version == ProtocolVersion::V5 {
        number(out, properties_length);
        out.extend_from_slice(&own);
        out.extend_from_slice(message.properties);
    }
    out.extend_from_slice(message.payload);
    true
}

/// A reason string, cut so that it fits in any packet that a client takes.
fn reason_string(properties: &mut BytesMut, why: Option<&str>) {
    const LONGEST: usize = 256;
    let Some(why) = why.filter(|why| !why.is_empty()) else { return };
    let end = (0..=why.len().min(LONGEST)).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
    properties.put_u8(property::REASON_STRING);
    text(properties, &why[..end].replace('\0', " "));
}

fn block(out: &mut BytesMut, properties: &[u8]) {
    number(out, properties.len());
    out.extend_from_slice(properties);
}

fn block_length(properties: &[u8]) -> usize {
    number_length(properties.len()) + properties.len()
}

/// A text with its length before it. No text that the front writes comes near 64 KiB: topics and client ids came in
/// with the same field.
fn text(out: &mut BytesMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(&text.as_bytes()[..text.len().min(usize::from(u16::MAX))]);
}

/// A number of one to four bytes.
fn number(out: &mut BytesMut, mut number: usize) {
    loop {
        let low = u8::try_from(number % 128).unwrap_or(0);
        number /= 128;
        out.put_u8(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

fn number_length(number: usize) -> usize {
    match number {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}
