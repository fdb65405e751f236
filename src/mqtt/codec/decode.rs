//! A client's packets, from bytes to values, each byte judged: what comes out obeys the standard's rules on a packet
//! by itself.
//!
//! rumqttd's own codec is not used: it panics on packets that a server sends, on properties for a 3.1.1 client, and it
//! takes what the standard forbids. Must not know sockets or sessions.

use bytes::Bytes;

use super::{
    frame::{Frame, Kind},
    packet::{
        Ack, Connect, Disconnect, Fault, Packet, ProtocolVersion, Publish, Reason, RetainHandling, Subscribe,
        SubscriptionRequest, Unsubscribe, Will,
    },
    property::{self, PropertyOwner, Value},
    reader::{Read, Reader},
};
use crate::mqtt::link::QoS;

/// The longest user name, in bytes: longer than any that the hub gives, and short enough to be remembered by whoever
/// counts failed attempts.
const USERNAME: usize = 256;

/// What came instead of a CONNECT that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub enum NoConnect {
    /// It asks for a version that the front does not speak.
    Version,
    /// The CONNECT of a version the front speaks, with something wrong in it.
    Faulty(ProtocolVersion, Fault),
    /// Nothing that could be answered.
    Nonsense(Fault),
}

/// Reads the body of a CONNECT.
///
/// # Errors
/// What came instead.
pub fn connect(body: Bytes) -> Result<Connect, NoConnect> {
    let mut reader = Reader(body);
    let name = reader.binary().map_err(NoConnect::Nonsense)?;
    if &name[..] == b"MQIsdp" {
        return Err(NoConnect::Version);
    }
    if &name[..] != b"MQTT" {
        return Err(NoConnect::Nonsense(Fault::protocol("a CONNECT of another protocol")));
    }
    let version = match reader.byte().map_err(NoConnect::Nonsense)? {
        4 => ProtocolVersion::V311,
        5 => ProtocolVersion::V5,
        _ => return Err(NoConnect::Version),
    };
    connect_of(version, reader).map_err(|fault| NoConnect::Faulty(version, fault))
}

fn connect_of(version: ProtocolVersion, mut reader: Reader) -> Read<Connect> {
    let flags = reader.byte()?;
    if flags & 1 != 0 {
        return Err(Fault::malformed("the reserved flag in a CONNECT"));
    }
    let clean = flags & 0x02 != 0;
    let mut connect = Connect {
        version,
        clean,
        keep_alive: reader.two()?,
        client_id: String::new(),
        will: None,
        username: None,
        password: None,
        session_expiry: if version == ProtocolVersion::V311 && !clean { u32::MAX } else { 0 },
        receive_maximum: u16::MAX,
        maximum_packet: u32::MAX,
        topic_alias_maximum: 0,
        wants_enhanced_authentication: false,
        wants_problem_information: true,
    };
    if version == ProtocolVersion::V5 {
        connect_properties(&mut reader, &mut connect)?;
    }
    connect.client_id = reader.text()?;
    connect.will = will(version, flags, &mut reader)?;
    if flags & 0x80 != 0 {
        let username = reader.text()?;
        if username.len() > USERNAME {
            return Err(Fault { reason: Reason::BadUserNameOrPassword, why: "a user name longer than 256 bytes" });
        }
        connect.username = Some(username);
    }
    if flags & 0x40 != 0 {
        if version == ProtocolVersion::V311 && connect.username.is_none() {
            return Err(Fault::malformed("a password without a user name"));
        }
        connect.password = Some(reader.binary()?);
    }
    reader.end()?;
    Ok(connect)
}

fn connect_properties(reader: &mut Reader, connect: &mut Connect) -> Read<()> {
    for (id, value) in property::read_from(reader, PropertyOwner::Connect)? {
        match (id, value) {
            (property::SESSION_EXPIRY, Value::Four(seconds)) => connect.session_expiry = seconds,
            (property::RECEIVE_MAXIMUM, Value::Two(0)) => return Err(Fault::protocol("a receive maximum of 0")),
            (property::RECEIVE_MAXIMUM, Value::Two(maximum)) => connect.receive_maximum = maximum,
            (property::MAXIMUM_PACKET_SIZE, Value::Four(0)) => {
                return Err(Fault::protocol("a maximum packet size of 0"));
            }
            (property::MAXIMUM_PACKET_SIZE, Value::Four(maximum)) => connect.maximum_packet = maximum,
            (property::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum)) => connect.topic_alias_maximum = maximum,
            (property::REQUEST_PROBLEM_INFORMATION, Value::Byte(wanted)) => {
                connect.wants_problem_information = flag(wanted)?;
            }
            (property::REQUEST_RESPONSE_INFORMATION, Value::Byte(wanted)) => drop(flag(wanted)?),
            (property::AUTHENTICATION_METHOD, _) => connect.wants_enhanced_authentication = true,
            _ => {}
        }
    }
    Ok(())
}

fn will(version: ProtocolVersion, flags: u8, reader: &mut Reader) -> Read<Option<Will>> {
    if flags & 0x04 == 0 {
        return if flags & 0x38 == 0 { Ok(None) } else { Err(Fault::malformed("flags of a will without a will")) };
    }
    let qos = qos((flags >> 3) & 3)?;
    let (mut delay, mut expiry, mut properties) = (0, None, Bytes::new());
    if version == ProtocolVersion::V5 {
        let block = reader.block()?;
        for (id, value) in property::read(block.clone(), PropertyOwner::Will)? {
            match (id, value) {
                (property::WILL_DELAY, Value::Four(seconds)) => delay = seconds,
                (property::MESSAGE_EXPIRY, Value::Four(seconds)) => expiry = Some(seconds),
                _ => {}
            }
        }
        properties = property::for_subscribers(block)?;
    }
    let topic = reader.text()?;
    let payload = reader.binary()?;
    Ok(Some(Will { topic, payload, qos, retain: flags & 0x20 != 0, delay, expiry, properties }))
}

/// Reads a packet that comes after the CONNECT.
///
/// # Errors
/// What is wrong with it.
pub fn packet(version: ProtocolVersion, frame: Frame) -> Read<Packet> {
    let Frame { kind, flags, body } = frame;
    let mut reader = Reader(body);
    let packet = match kind {
        Kind::Connect => return Err(Fault::protocol("a second CONNECT")),
        Kind::Auth => return Err(Fault::protocol("an AUTH that nobody asked for")),
        Kind::Publish => return publish(version, flags, reader).map(Packet::Publish),
        Kind::PubAck => Packet::PubAck(ack(version, &mut reader)?),
        Kind::PubRec => Packet::PubRec(ack(version, &mut reader)?),
        Kind::PubRel => Packet::PubRel(ack(version, &mut reader)?),
        Kind::PubComp => Packet::PubComp(ack(version, &mut reader)?),
        Kind::Subscribe => Packet::Subscribe(subscribe(version, &mut reader)?),
        Kind::Unsubscribe => Packet::Unsubscribe(unsubscribe(version, &mut reader)?),
        Kind::PingReq => Packet::PingReq,
        Kind::Disconnect => Packet::Disconnect(disconnect(version, &mut reader)?),
    };
    reader.end()?;
    Ok(packet)
}

fn publish(version: ProtocolVersion, flags: u8, mut reader: Reader) -> Read<Publish> {
    let qos = qos((flags >> 1) & 3)?;
    let dup = flags & 8 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(Fault::malformed("DUP at QoS 0"));
    }
    let topic = reader.text()?;
    let id = if qos == QoS::AtMostOnce { 0 } else { reader.id()? };
    let (mut alias, mut expiry, mut properties) = (None, None, Bytes::new());
    if version == ProtocolVersion::V5 {
        let block = reader.block()?;
        for (id, value) in property::read(block.clone(), PropertyOwner::Publish)? {
            match (id, value) {
                (property::TOPIC_ALIAS, Value::Two(number)) => alias = Some(number),
                (property::MESSAGE_EXPIRY, Value::Four(seconds)) => expiry = Some(seconds),
                _ => {}
            }
        }
        properties = property::for_subscribers(block)?;
    }
    Ok(Publish { dup, qos, retain: flags & 1 != 0, topic, id, alias, expiry, properties, payload: reader.0 })
}

fn ack(version: ProtocolVersion, reader: &mut Reader) -> Read<Ack> {
    let id = reader.id()?;
    let mut failed = false;
    if version == ProtocolVersion::V5 && !reader.0.is_empty() {
        failed = reader.byte()? >= 0x80;
        if !reader.0.is_empty() {
            property::read_from(reader, PropertyOwner::Ack)?;
        }
    }
    Ok(Ack { id, failed })
}

fn subscribe(version: ProtocolVersion, reader: &mut Reader) -> Read<Subscribe> {
    let id = reader.id()?;
    let mut subscription_id = None;
    if version == ProtocolVersion::V5 {
        for (_, value) in property::read_from(reader, PropertyOwner::Subscribe)? {
            match value {
                Value::Number(0) => return Err(Fault::protocol("a subscription identifier of 0")),
                Value::Number(number) => subscription_id = Some(number),
                _ => {}
            }
        }
    }
    let mut filters = Vec::new();
    while !reader.0.is_empty() {
        let (filter, options) = (reader.text()?, reader.byte()?);
        filters.push(wanted(version, filter, options)?);
    }
    if filters.is_empty() {
        return Err(Fault::protocol("a SUBSCRIBE without a filter"));
    }
    Ok(Subscribe { id, subscription_id, filters })
}

fn wanted(version: ProtocolVersion, filter: String, options: u8) -> Read<SubscriptionRequest> {
    let reserved = if version == ProtocolVersion::V5 { 0xC0 } else { 0xFC };
    if options & reserved != 0 {
        return Err(Fault::malformed("reserved options in a SUBSCRIBE"));
    }
    let retain_handling = match (options >> 4) & 3 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(Fault::protocol("a retain handling of 3")),
    };
    let (no_local, retain_as_published) = (options & 4 != 0, options & 8 != 0);
    Ok(SubscriptionRequest { filter, qos: qos(options & 3)?, no_local, retain_as_published, retain_handling })
}

fn unsubscribe(version: ProtocolVersion, reader: &mut Reader) -> Read<Unsubscribe> {
    let id = reader.id()?;
    if version == ProtocolVersion::V5 {
        property::read_from(reader, PropertyOwner::Unsubscribe)?;
    }
    let mut filters = Vec::new();
    while !reader.0.is_empty() {
        filters.push(reader.text()?);
    }
    if filters.is_empty() {
        return Err(Fault::protocol("an UNSUBSCRIBE without a filter"));
    }
    Ok(Unsubscribe { id, filters })
}

fn disconnect(version: ProtocolVersion, reader: &mut Reader) -> Read<Disconnect> {
    let (mut with_will, mut session_expiry) = (false, None);
    if version == ProtocolVersion::V5 && !reader.0.is_empty() {
        // 0x04 asks for the will; any failure says that this is no orderly end, so the will goes out as well.
        with_will = reader.byte()? != 0;
        if !reader.0.is_empty() {
            for (id, value) in property::read_from(reader, PropertyOwner::Disconnect)? {
                if let (property::SESSION_EXPIRY, Value::Four(seconds)) = (id, value) {
                    session_expiry = Some(seconds);
                }
            }
        }
    }
    Ok(Disconnect { with_will, session_expiry })
}

fn qos(number: u8) -> Read<QoS> {
    match number {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(Fault::malformed("a QoS of 3")),
    }
}

fn flag(byte: u8) -> Read<bool> {
    if byte > 1 { Err(Fault::protocol("a flag that is neither 0 nor 1")) } else { Ok(byte == 1) }
}
