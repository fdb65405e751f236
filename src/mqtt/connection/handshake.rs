//! From a client's first bytes to its CONNACK: who it is, whether it may come, and which session it gets.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use chrono::Utc;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Connection, Guards, ROOM, Stream,
    admission::ConnectionPermit,
    broker::Broker,
    credentials::{Authenticate, Credentials, Refusal},
    detached::DetachedSession,
    keep_alive,
};
use crate::{
    auth::{
        holder::Holder,
        identity::Identity,
        origin::{Address, Origin},
        rights::Rights,
    },
    domain::{
        event,
        pool::{Account, Standing},
        topic::{self, Topic},
    },
    events::{
        alerts::{Alerts, Subject},
        presence::Presence,
    },
    mqtt::{
        codec::{
            decode::{self, NoConnect},
            encode::{self, ConnackProperties},
            frame::Kind,
            packet::{self, Connect, Fault, ProtocolVersion, Reason},
            read_buffer::ReadBuffer,
        },
        log_throttle::LogThrottle,
        pools::Pools,
        publish::will::Will,
        session::{
            Session,
            agent_slot::{LockAgentSlot, SlotGuard, SlotOwner, is_lock_agent},
            publication::{Publication, PublishDecision, PublishOutcome, Publisher},
            queue::QueueRoom,
            registry::{SessionControl, SessionKey, SessionLease, SessionOwner, SessionRegistry},
        },
    },
};

/// The longest CONNECT, in bytes: room for a will of 64 KiB, and little for who has not yet said who they are.
const CONNECT: usize = 72 * 1024;
/// The longest client id, in bytes.
const CLIENT_ID: usize = 256;
/// How long an older connection may take to hand its session over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Who has come, as far as the connection says it.
#[derive(Debug)]
pub struct Visitor {
    pub origin: Origin,
    /// The name in the client's certificate, if it has shown one.
    pub certificate_name: Option<String>,
    pub permit: ConnectionPermit,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub Reason, pub &'static str);

/// All that a client may meet from its first byte to its CONNACK, and what it has after that.
pub struct Handshake {
    /// What its connection may touch.
    pub broker: Arc<Broker>,
    pub authenticate: Authenticate,
    pub rights: Rights,
    pub sessions: Arc<SessionRegistry>,
    pub agent_slot: LockAgentSlot,
    pub presence: Presence,
    pub pools: Pools,
    /// Whether lock-agent sessions from other machines may come without TLS.
    pub plain_lock: bool,
    /// How often refusals are logged.
    pub refusals: Arc<LogThrottle>,
    pub alerts: Alerts,
    /// How often somebody's attempts become an alert.
    pub alert_throttle: LogThrottle,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Serves one client from its first byte to its last, if its CONNECT is whole by the deadline.
    pub async fn serve<S: Stream + Unpin>(self: Arc<Self>, mut stream: S, visitor: Visitor, deadline: Instant) {
        let mut input = ReadBuffer::new(&[]);
        let longest = self.broker.limits.packet_bytes.min(CONNECT);
        let arriving = self.broker.arriving.account(Holder::at(visitor.origin.address()), Standing::Common);
        let first = first_packet(&mut stream, &mut input, longest, &arriving);
        let first = tokio::select! {
            first = timeout_at(deadline, first) => first,
            () = visitor.permit.sent_away() => return,
            () = self.broker.lifecycle.soft.cancelled() => return,
        };
        let Ok(Some(first)) = first else { return };
        visitor.permit.has_spoken();
        // Until here a client costs little more than its socket.
        Box::pin(answer(self, stream, input, visitor, first)).await;
    }

    /// Has an alert about somebody stored, at a limited rate, for somebody to look at.
    fn alert(&self, who: &Identity, address: Address, description: String) {
        // Whoever claims to be the lock agent is no more than anybody here.
        if self.alert_throttle.pass(Holder::of(who, address), Standing::Common, std::time::Instant::now()).is_some() {
            self.alerts.raise(Subject::Intruder, event::Kind::LockAgentRefused, description, Utc::now());
        } else {
            tracing::warn!("{description}");
        }
    }
}

/// Goes on with whoever has sent a whole packet.
async fn answer<S: Stream + Unpin>(
    handshake: Arc<Handshake>,
    stream: S,
    input: ReadBuffer,
    visitor: Visitor,
    first: Result<Connect, NoConnect>,
) {
    let connect = match first {
        Ok(connect) => connect,
        Err(no_connect) => return answer_no_connect(&handshake, stream, &no_connect).await,
    };
    let version = connect.version;
    // Without the room that the CONNECT took, which may have been much.
    let input = input.behind_connect();
    match admit(&handshake, &visitor, connect).await {
        Err(Refused(reason, why)) => {
            handshake.broker.metrics.refused_connects.one();
            let address = visitor.origin.address();
            if let Some(held_back) = handshake.refusals.may_log(&Identity::Anonymous, address) {
                tracing::warn!(%address, held_back, "refused a CONNECT: {why}");
            }
            let mut out = BytesMut::new();
            encode::refuse(&mut out, version, reason, why);
            farewell(&handshake, stream, &out).await;
        }
        Ok(Admitted { mut connection, will, guards }) => {
            let end = connection.run(stream, input).await;
            drop(guards);
            let Connection { broker, session, lease, publisher, .. } = connection;
            let detached = DetachedSession { broker: broker.clone(), session, lease, publisher, will };
            broker.lifecycle.track(detached.begin(end));
        }
    }
}

/// Reads until the first packet is whole; none if the client leaves before, or sends no CONNECT. A long one waits while
/// others' long ones have all the room.
async fn first_packet<S: Stream + Unpin>(
    stream: &mut S,
    input: &mut ReadBuffer,
    longest: usize,
    arriving: &Account<Holder>,
) -> Option<Result<Connect, NoConnect>> {
    loop {
        match input.next(longest) {
            Ok(Some(frame)) if frame.kind == Kind::Connect => return Some(decode::connect(frame.body)),
            Ok(None) if input.rest().first().is_none_or(|first| *first == 0x10) => {}
            Ok(_) => return None,
            Err(fault) if fault.reason == Reason::PacketTooLarge && begins_as_v5(input.rest()) => {
                return Some(Err(NoConnect::Faulty(ProtocolVersion::V5, fault)));
            }
            Err(fault) => return Some(Err(NoConnect::Nonsense(fault))),
        }
        if !input.prepare(longest, arriving) {
            sleep(ROOM).await;
        } else if input.read(stream).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether this is the beginning of a CONNECT of MQTT 5.0, behind a header of two to five bytes.
fn begins_as_v5(input: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"\0\x04MQTT\x05";
    (2..=5).any(|at| input.get(at..).is_some_and(|rest| rest.starts_with(BEGINNING)))
}

async fn answer_no_connect<S: Stream + Unpin>(handshake: &Handshake, stream: S, no_connect: &NoConnect) {
    handshake.broker.metrics.protocol_errors.one();
    let mut out = BytesMut::new();
    match no_connect {
        // Code 1 as 3.1.1 writes it, which every version's clients read.
        NoConnect::Version => encode::refuse(&mut out, ProtocolVersion::V311, Reason::UnsupportedProtocolVersion, ""),
        NoConnect::Faulty(ProtocolVersion::V5, Fault { reason, why }) => {
            encode::refuse(&mut out, ProtocolVersion::V5, *reason, why);
        }
        NoConnect::Faulty(ProtocolVersion::V311, Fault { reason: Reason::BadUserNameOrPassword, .. }) => {
            encode::malformed_login(&mut out);
        }
        NoConnect::Faulty(ProtocolVersion::V311, _) | NoConnect::Nonsense(_) => return,
    }
    farewell(handshake, stream, &out).await;
}

/// Writes the last bytes, and gives the client a moment to read them.
async fn farewell<S: Stream + Unpin>(handshake: &Handshake, mut stream: S, out: &[u8]) {
    const MOMENT: Duration = Duration::from_secs(1);
    let last_words = async {
        stream.write_all(out).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        std::io::Result::Ok(())
    };
    tokio::select! {
        _ = timeout(MOMENT, last_words) => {}
        () = handshake.broker.lifecycle.soft.cancelled() => {}
    }
}

/// A client that may come.
struct Admitted {
    connection: Connection,
    will: Option<Will>,
    guards: Guards,
}

async fn admit(handshake: &Handshake, visitor: &Visitor, mut connect: Connect) -> Result<Admitted, Refused> {
    let assigned = name(&mut connect)?;
    let endings = handshake.sessions.endings();
    let mut who = authenticate(handshake, visitor, &connect).await?;
    visitor.permit.known(who.standing()).map_err(|_| Refused(Reason::QuotaExceeded, "too many connections"))?;
    let key = SessionKey { owner: SessionOwner::from(&who), client_id: connect.client_id.clone() };
    let mut guards = Guards::default();
    let publisher = Publisher::new(who.clone(), visitor.origin, handshake.sessions.new_number(), &handshake.pools);
    let will = connect.will.take().map(|will| admit_will(handshake, &publisher, will)).transpose()?;
    // The last that can refuse, so that a refused CONNECT does not free the slot of the lock agent that has it.
    if is_lock_agent(&who) {
        guards.agent_slot = Some(admit_lock_agent(handshake, visitor.origin, &who, &key)?);
    }
    let claimed = handshake.sessions.claim(key, who.clone(), visitor.origin.address());
    let (lease, previous) = claimed.map_err(|_| Refused(Reason::QuotaExceeded, "too many sessions"))?;
    if handshake.sessions.endings() != endings {
        // Somebody's sessions were ended meanwhile, perhaps this one's: ask again, now that an end would find it.
        who = authenticate(handshake, visitor, &connect).await?;
        if SessionOwner::from(&who) != lease.key.owner {
            return Err(Refused(Reason::NotAuthorized, "the identity changed while it connected"));
        }
    }
    if let Identity::Device(device) = &who {
        guards.presence = Some(handshake.presence.arrive(device.id, device.role, device.camera_id));
    }
    let (session, present) = session(handshake, &connect, who, &publisher, previous).await;
    Ok(Admitted { connection: greet(handshake, &connect, assigned, session, present, lease, &publisher), will, guards })
}

/// Makes the session the connection's, and writes the CONNACK.
fn greet(
    handshake: &Handshake,
    connect: &Connect,
    assigned: Option<String>,
    mut session: Box<Session>,
    present: bool,
    lease: SessionLease,
    publisher: &Publisher,
) -> Connection {
    let limits = &handshake.broker.limits;
    let granted = connect.session_expiry.min(limits.session_seconds);
    session.expiry = Duration::from_secs(granted.into());
    session.connections += 1;
    let publisher = Publisher {
        who: session.who.clone(),
        number: session.number,
        abandoned: session.abandoned.clone(),
        ..publisher.clone()
    };
    let offer = ConnackProperties {
        session_expiry: (granted != connect.session_expiry).then_some(granted),
        receive_maximum: limits.inflight,
        maximum_packet: u32::try_from(limits.packet_bytes).unwrap_or(u32::MAX),
        topic_alias_maximum: limits.topic_aliases,
        assigned_client_id: assigned,
        keep_alive: keep_alive::server_keep_alive(connect, limits),
    };
    let mut connection = Connection::new(handshake.broker.clone(), session, lease, publisher, connect);
    encode::accept(&mut connection.out, connect.version, present, &offer);
    connection
}

/// Gives a client without an id one, where its version allows that.
fn name(connect: &mut Connect) -> Result<Option<String>, Refused> {
    if connect.wants_enhanced_authentication {
        return Err(Refused(Reason::BadAuthenticationMethod, "no enhanced authentication here"));
    }
    if connect.client_id.len() > CLIENT_ID {
        return Err(Refused(Reason::ClientIdentifierNotValid, "a client id longer than 256 bytes"));
    }
    if !connect.client_id.is_empty() {
        return Ok(None);
    }
    if connect.version == ProtocolVersion::V311 && !connect.clean {
        return Err(Refused(Reason::ClientIdentifierNotValid, "a lasting session needs a client id"));
    }
    connect.client_id = format!("auto-{:032x}", rand::random::<u128>());
    Ok(Some(connect.client_id.clone()))
}

async fn authenticate(handshake: &Handshake, visitor: &Visitor, connect: &Connect) -> Result<Identity, Refused> {
    let password = match &connect.password {
        None => None,
        Some(bytes) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Some(text),
            Err(_) => return Err(Refused(Reason::BadUserNameOrPassword, "a password that is not UTF-8")),
        },
    };
    let nameless = connect.username.is_none() && password.is_none() && visitor.certificate_name.is_none();
    let credentials = Credentials {
        client_id: connect.client_id.clone(),
        username: connect.username.clone(),
        password,
        address: visitor.origin.address(),
        certificate_name: visitor.certificate_name.clone(),
    };
    let answer = timeout(handshake.broker.limits.connect_time(), (handshake.authenticate)(credentials)).await;
    match answer.unwrap_or(Err(Refusal::Unavailable)) {
        Ok(Identity::Hub) => Err(Refused(Reason::NotAuthorized, "no credential leads to the hub itself")),
        Ok(Identity::Anonymous) if !handshake.rights.admits_anonymous() => {
            Err(Refused(Reason::NotAuthorized, "nobody without a name is let in"))
        }
        Ok(who) => Ok(who),
        Err(Refusal::BadCredentials) if nameless && handshake.rights.admits_anonymous() => Ok(Identity::Anonymous),
        Err(Refusal::BadCredentials) => Err(Refused(Reason::BadUserNameOrPassword, "wrong user name or password")),
        Err(Refusal::NotAuthorized) => Err(Refused(Reason::NotAuthorized, "not authorized")),
        Err(Refusal::Unavailable) => Err(Refused(Reason::ServerUnavailable, "cannot tell who it is at the moment")),
        Err(Refusal::TooMany) => Err(Refused(Reason::ConnectionRateExceeded, "too many attempts")),
    }
}

/// A lock agent of another machine: by TLS, and alone.
fn admit_lock_agent(
    handshake: &Handshake,
    origin: Origin,
    who: &Identity,
    key: &SessionKey,
) -> Result<SlotGuard, Refused> {
    if !origin.is_private() && !handshake.plain_lock {
        return Err(Refused(Reason::NotAuthorized, "a lock worker of another machine needs TLS (plain_lock)"));
    }
    handshake.agent_slot.take(SlotOwner::Remote(key.clone())).ok_or_else(|| {
        let address = origin.address();
        handshake.alert(who, address, format!("a second lock worker was refused: {who} from {address}"));
        Refused(Reason::NotAuthorized, "there is another lock worker")
    })
}

fn admit_will(handshake: &Handshake, publisher: &Publisher, will: packet::Will) -> Result<Will, Refused> {
    let will = Will::new(will, publisher.clone());
    let will =
        will.ok_or(Refused(Reason::QuotaExceeded, "no room for a will in queue_bytes_in_all or _per_identity"))?;
    let name = will.topic();
    if !topic::valid_topic(name) || name.len() > handshake.broker.limits.topic_bytes {
        return Err(Refused(Reason::TopicNameInvalid, "a will for something that is no topic"));
    }
    if Topic::parse(name) == Some(Topic::LockCommand) {
        let publication = Publication { message: will.message().clone(), dup: false, is_will: true };
        if let PublishDecision::Deferred(audit) = handshake.broker.publishing.decide(publisher, publication) {
            handshake.broker.lifecycle.track(async move { drop::<PublishOutcome>(audit.await) });
        }
        return Err(Refused(Reason::NotAuthorized, "a will on lock/command"));
    }
    if !handshake.rights.may_publish(&publisher.who, name) {
        handshake.broker.publishing.count_refusal(publisher, name, "as a will");
        return Err(Refused(Reason::NotAuthorized, "no right to publish the will"));
    }
    Ok(will)
}

/// The client's session: its old one, taken over from whoever owns it now, or a new one.
async fn session(
    handshake: &Handshake,
    connect: &Connect,
    who: Identity,
    publisher: &Publisher,
    previous: Option<tokio::sync::mpsc::Sender<SessionControl>>,
) -> (Box<Session>, bool) {
    if let Some(control) = previous {
        let (reply, answer) = oneshot::channel();
        // A full channel holds the order to end, so there is nothing to take over.
        let _ = control.try_send(SessionControl::HandOver { clean: connect.clean, reply });
        if let Ok(Ok(Some(mut session))) = timeout(HAND_OVER, answer).await {
            session.who = who;
            return (session, true);
        }
    }
    let room = QueueRoom::new(&handshake.broker.limits);
    (Box::new(Session::new(publisher.number, who, publisher.origin.address(), room, publisher.bytes.clone())), false)
}
