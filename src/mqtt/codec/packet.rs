//! MQTT's control packets as values: what a client may send, and the reason codes that answer it.
//!
//! Must not know sockets or sessions. Only packets that a client sends are here; what the front sends is written
//! straight into a buffer by `encode`.

use bytes::Bytes;

use crate::mqtt::link::QoS;

/// The protocol's version, as its CONNECT names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// A reason code of MQTT 5.0, section 2.4. Where 3.1.1 has a code of its own the encoder puts it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    Success = 0x00,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecific = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
}

/// What is wrong with a client's bytes: how to say it in MQTT 5.0, and in words for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    pub reason: Reason,
    pub why: &'static str,
}

impl Fault {
    #[must_use]
    pub fn malformed(why: &'static str) -> Self {
        Self { reason: Reason::MalformedPacket, why }
    }

    #[must_use]
    pub fn protocol(why: &'static str) -> Self {
        Self { reason: Reason::ProtocolError, why }
    }
}

/// A packet that a client may send after its CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    PingReq,
    Disconnect(Disconnect),
}

/// CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    pub version: ProtocolVersion,
    /// Clean Session of 3.1.1, Clean Start of 5.0.
    pub clean: bool,
    /// In seconds; 0 is none.
    pub keep_alive: u16,
    pub client_id: String,
    pub will: Option<Will>,
    pub username: Option<String>,
    pub password: Option<Bytes>,
    /// In seconds; `u32::MAX` is for ever.
    pub session_expiry: u32,
    /// How many PUBLISHes above QoS 0 the client takes unacknowledged.
    pub receive_maximum: u16,
    /// The longest packet the client takes, in bytes.
    pub maximum_packet: u32,
    /// How many topic aliases the client takes.
    pub topic_alias_maximum: u16,
    /// Whether the client asked for enhanced authentication, which the front does not offer.
    pub wants_enhanced_authentication: bool,
    /// Whether reason strings may be sent in other packets than CONNACK and DISCONNECT.
    pub wants_problem_information: bool,
}

/// The will in a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// In seconds, after the connection's end.
    pub delay: u32,
    /// In seconds, after its publication.
    pub expiry: Option<u32>,
    /// As in [`Publish::properties`].
    pub properties: Bytes,
}

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Empty where a topic alias stands for it.
    pub topic: String,
    /// 0 at QoS 0.
    pub id: u16,
    pub alias: Option<u16>,
    /// In seconds.
    pub expiry: Option<u32>,
    /// The properties that go on to subscribers unchanged, as they stood in the packet: payload format, content type,
    /// response topic, correlation data and user properties.
    pub properties: Bytes,
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub id: u16,
    /// Whether its reason code says that something went wrong.
    pub failed: bool,
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub id: u16,
    pub subscription_id: Option<u32>,
    pub filters: Vec<SubscriptionRequest>,
}

/// One filter of a SUBSCRIBE, with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRequest {
    pub filter: String,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// When a SUBSCRIBE brings retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    Always,
    IfNew,
    Never,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    pub id: u16,
    pub filters: Vec<String>,
}

/// DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// Whether the will is to be published all the same.
    pub with_will: bool,
    /// A new session expiry, in seconds.
    pub session_expiry: Option<u32>,
}
