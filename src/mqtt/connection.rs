//! A client's connection: what it keeps about itself apart from its session, and how it can end.
//!
//! From its handshake over its loop to what goes on without it. Must not know listeners, nor what may be published or
//! subscribed to.

pub mod admission;
pub mod broker;
pub mod credentials;
mod detached;
pub mod handshake;
mod inbound;
mod keep_alive;
mod last_reading;
mod outbound;
mod serve;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use chrono::Utc;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::Instant,
};

use self::broker::Broker;
use super::{
    codec::{
        encode,
        packet::{Connect, Fault, ProtocolVersion},
    },
    session::{
        Session,
        agent_slot::SlotGuard,
        publication::Publisher,
        registry::{SessionControl, SessionLease},
    },
};
use crate::{
    auth::holder::Holder,
    domain::pool::{Account, Share},
    events::presence::Attendance,
};

/// How much may wait to be written before no more messages are taken from the queue, in bytes.
pub const WRITE_AHEAD: usize = 32 * 1024;
/// How soon a client whose long packet has to wait for room is looked at again.
pub const ROOM: Duration = Duration::from_millis(50);

/// What a connection runs over: TCP, TLS, or a WebSocket's bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + 'static> Stream for S {}

/// A client's DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientDisconnect {
    /// Whether it asked for its will all the same, which else is void.
    pub with_will: bool,
}

/// How a connection ended.
#[derive(Debug)]
pub enum DisconnectCause {
    /// The client said so.
    Clean(ClientDisconnect),
    /// Without a word: the socket failed, or the client was slow.
    Lost(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The client broke the protocol; what it sent behind that counts no more.
    Faulty(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The client said nothing for longer than its keep-alive.
    Silent(&'static str),
    /// A newer connection of the same client takes the session over; what the client said on this one before, if it
    /// did.
    TakenOver { control: SessionControl, disconnect: Option<ClientDisconnect> },
    /// The rights of the session's owner have ended, and the session with them.
    Revoked(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The session is to end with the connection.
    Ended(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The hub stops.
    Stopping,
}

/// What a connection keeps about itself, apart from its session.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own, none excludes another")]
pub struct Connection {
    pub broker: Arc<Broker>,
    pub session: Box<Session>,
    pub lease: SessionLease,
    pub publisher: Publisher,
    pub version: ProtocolVersion,
    pub out: BytesMut,
    /// What `out` takes of what all may have waiting.
    pub ahead: Share<Holder>,
    /// How many messages above QoS 0 may be on the way to the client.
    pub window: usize,
    /// The longest packet that the client takes.
    pub longest: usize,
    pub wants_problem_information: bool,
    pub aliases: Aliases,
    /// PUBLISHes above QoS 0 that have no acknowledgement yet.
    pub unacknowledged: usize,
    /// Its long packets that have begun to arrive.
    pub arriving: Account<Holder>,
    keep_alive: Duration,
    /// When the identity ends, and the session with it.
    deadline: Option<Instant>,
    heard: Instant,
    /// Whether the client is read now.
    reads: bool,
    /// Whether it is not because of other clients' long packets.
    waits_for_room: bool,
    /// Since when the client has taken nothing of what is to be written, if there is something.
    stalled_since: Option<Instant>,
    /// Whether publishers slow down for this client.
    pressing: bool,
    /// Whether written bytes may still be in the stream's own buffer.
    unflushed: bool,
}

/// The topic aliases of a connection, in both directions.
#[derive(Debug, Default)]
pub struct Aliases {
    pub from_client: HashMap<u16, String>,
    pub to_client: HashMap<Arc<str>, u16>,
    pub to_client_most: u16,
}

/// How a PUBLISH to the client names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundTopic<'a> {
    /// Empty where the alias stands for it.
    pub topic: &'a str,
    pub alias: Option<u16>,
    /// Whether the client has yet to learn the alias.
    pub is_new: bool,
}

impl Aliases {
    /// How the next PUBLISH to the client names this topic.
    #[must_use]
    pub fn outbound<'a>(&self, topic: &'a str) -> OutboundTopic<'a> {
        if self.to_client_most == 0 {
            return OutboundTopic { topic, alias: None, is_new: false };
        }
        match self.to_client.get(topic) {
            Some(alias) => OutboundTopic { topic: "", alias: Some(*alias), is_new: false },
            None if self.to_client.len() < usize::from(self.to_client_most) => {
                OutboundTopic { topic, alias: u16::try_from(self.to_client.len() + 1).ok(), is_new: true }
            }
            None => OutboundTopic { topic, alias: None, is_new: false },
        }
    }
}

/// What has to end with the connection.
#[derive(Debug, Default)]
pub struct Guards {
    pub presence: Option<Attendance>,
    pub agent_slot: Option<SlotGuard>,
}

impl Connection {
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        session: Box<Session>,
        lease: SessionLease,
        publisher: Publisher,
        connect: &Connect,
    ) -> Self {
        let limits = &broker.limits;
        let now = Instant::now();
        let keep_alive = keep_alive::allowed_silence(connect, limits);
        let deadline = publisher.who.remaining(Utc::now()).map(|left| now + left);
        let (holder, standing) = (*publisher.bytes.holder(), publisher.bytes.standing());
        let to_client_most = connect.topic_alias_maximum.min(limits.topic_aliases);
        Self {
            window: usize::from(connect.receive_maximum.min(limits.inflight)),
            longest: connect.maximum_packet as usize,
            version: connect.version,
            wants_problem_information: connect.wants_problem_information,
            aliases: Aliases { to_client_most, ..Aliases::default() },
            out: BytesMut::new(),
            ahead: publisher.bytes.hold(0),
            unacknowledged: 0,
            arriving: broker.arriving.account(holder, standing),
            keep_alive,
            deadline,
            heard: now,
            reads: true,
            waits_for_room: false,
            stalled_since: None,
            pressing: false,
            unflushed: false,
            broker,
            session,
            lease,
            publisher,
        }
    }

    /// Whether the client is read: not while as many of its messages as it may send at once wait for their outcome, not
    /// while detections of all clients fill their memory and one of them is its own, and not while it does not read its
    /// answers. A 5.0 client keeps to the number by itself, and its pings are heard.
    pub fn may_read(&self) -> bool {
        let most = usize::from(self.broker.limits.inflight) + usize::from(self.version == ProtocolVersion::V5);
        let pending = self.session.pending.len();
        pending < most
            && self.out.len() < 2 * WRITE_AHEAD
            && (pending == 0 || self.publisher.uncommitted.has_room_for(1))
    }

    /// The client broke the protocol: it is told, as far as its version allows, and the connection ends.
    pub fn fault(&mut self, fault: Fault) -> DisconnectCause {
        self.broker.metrics.protocol_errors.one();
        encode::disconnect(&mut self.out, self.version, fault.reason, fault.why);
        DisconnectCause::Faulty(fault.why)
    }
}

/// Writes what the stream takes at once; with nothing to write, has the stream write what it still keeps. May be
/// cancelled at any time.
pub async fn write_some<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(bytes).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}
