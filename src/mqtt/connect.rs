//! From a client's first bytes to its CONNACK: who it is, whether it may come, and which session it gets.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    afterlife::Afterlife,
    connection::{Connection, Guards, ROOM, Stream},
    decode::{self, NoConnect},
    delivery,
    encode::{self, Offer},
    frame::Kind,
    front::{Core, Credentials, Refusal},
    guest::Guest,
    input::Input,
    lock,
    packet::{self, Connect, Fault, Level, Reason},
    publish::{Offered, Sender, Settled, Verdict},
    queue::Room,
    session::Session,
    sessions::{Key, Order, Owner, Seat},
    will::Will,
    worker,
};
use crate::{
    auth::{holder::Holder, identity::Identity},
    domain::{
        pool::{Account, Standing},
        topic::{self, Topic},
    },
};

/// The longest CONNECT, in bytes: room for a will of 64 KiB, and little for who has not yet said who they are.
const CONNECT: usize = 72 * 1024;
/// The longest client id and user name, in bytes.
const NAME: usize = 256;
/// How long an older connection may take to hand its session over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub address: IpAddr,
    pub secure: bool,
    /// The name in the client's certificate, if it has shown one.
    pub certificate_name: Option<String>,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub Reason, pub &'static str);

/// Serves one client from its first byte to its last, if its CONNECT is whole by the deadline.
pub async fn serve<S: Stream + Unpin>(
    core: Arc<Core>,
    mut stream: S,
    origin: Origin,
    mut guest: Guest,
    deadline: Instant,
) {
    let mut input = Input::new(&[]);
    let longest = core.settings.limits.packet_bytes.min(CONNECT);
    let arriving = core.pools.arriving.account(Holder::at(origin.address), Standing::Common);
    let first = first_packet(&mut stream, &mut input, longest, &arriving);
    let must_go = guest.must_go();
    let first = tokio::select! {
        first = timeout_at(deadline, first) => first,
        () = must_go => return,
        () = core.lifecycle.soft.cancelled() => return,
    };
    let Ok(Some(first)) = first else { return };
    if !guest.speaks() {
        return;
    }
    let connect = match first {
        Ok(connect) => connect,
        Err(no_connect) => return answer_no_connect(&core, stream, &no_connect).await,
    };
    let level = connect.level;
    // Without the room that the CONNECT took, which may have been much.
    let input = input.behind_connect();
    match admit(&core, &origin, &mut guest, connect).await {
        Err(Denied::TurnedAway) => {}
        Err(Denied::Refused(Refused(reason, why))) => {
            core.gauges.refused_connects.one();
            if let Some(held_back) = core.may_log(&Identity::Anonymous, origin.address) {
                tracing::warn!(address = %origin.address, held_back, "refused a CONNECT: {why}");
            }
            let mut out = BytesMut::new();
            encode::refuse(&mut out, level, reason, why);
            farewell(&core, stream, &out).await;
        }
        Ok(Admitted { mut connection, will, guards }) => {
            let end = connection.run(stream, input).await;
            drop(guards);
            let Connection { core, session, seat, sender, .. } = connection;
            let afterlife = Afterlife { core: core.clone(), session, seat, sender, will };
            core.lifecycle.track(afterlife.begin(end));
        }
    }
}

/// Reads until the first packet is whole; none if the client leaves before, or sends no CONNECT.
async fn first_packet<S: Stream + Unpin>(
    stream: &mut S,
    input: &mut Input,
    longest: usize,
    arriving: &Account<Holder>,
) -> Option<Result<Connect, NoConnect>> {
    loop {
        match input.next(longest) {
            Ok(Some(frame)) if frame.kind == Kind::Connect => return Some(decode::connect(frame.body)),
            Ok(None) if input.rest().first().is_none_or(|first| *first == 0x10) => {}
            Ok(_) => return None,
            Err(fault) => return Some(Err(NoConnect::Nonsense(fault))),
        }
        if !input.prepare(longest, arriving) {
            sleep(ROOM).await;
        } else if input.read(stream).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer_no_connect<S: Stream + Unpin>(core: &Core, stream: S, no_connect: &NoConnect) {
    core.gauges.protocol_errors.one();
    let mut out = BytesMut::new();
    match no_connect {
        // Code 1 as 3.1.1 writes it, which every version's clients read.
        NoConnect::Version => encode::refuse(&mut out, Level::V311, Reason::UnsupportedProtocolVersion, ""),
        NoConnect::Faulty(Level::V5, Fault { reason, why }) => encode::refuse(&mut out, Level::V5, *reason, why),
        NoConnect::Faulty(Level::V311, _) | NoConnect::Nonsense(_) => return,
    }
    farewell(core, stream, &out).await;
}

/// Writes the last bytes, and gives the client a moment to read them.
async fn farewell<S: Stream + Unpin>(core: &Core, mut stream: S, out: &[u8]) {
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
        () = core.lifecycle.soft.cancelled() => {}
    }
}

/// A client that may come.
struct Admitted {
    connection: Connection,
    will: Option<Will>,
    guards: Guards,
}

/// Why a client may not come.
enum Denied {
    Refused(Refused),
    /// There is no room for its connection; it is told nothing.
    TurnedAway,
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

async fn admit(core: &Arc<Core>, origin: &Origin, guest: &mut Guest, mut connect: Connect) -> Result<Admitted, Denied> {
    let assigned = name(&mut connect)?;
    let endings = core.sessions.endings();
    let mut who = authenticate(core, origin, &connect).await?;
    guest.is(&who, origin.address).map_err(|_| Denied::TurnedAway)?;
    let key = Key { owner: Owner::from(&who), client_id: connect.client_id.clone() };
    let mut guards = Guards::default();
    let sender = Sender::new(core, who.clone(), origin.address, origin.secure);
    let will = connect.will.take().map(|will| admit_will(core, &sender, will)).transpose()?;
    // The last that can refuse, so that a refused CONNECT does not free the place of the worker that has it.
    if lock::is_worker(&who) {
        guards.worker = Some(admit_worker(core, origin, &who, &key)?);
    }
    let claimed = core.sessions.claim(key, who.clone(), origin.address);
    let (seat, previous) = claimed.map_err(|_| Refused(Reason::QuotaExceeded, "too many sessions"))?;
    if core.sessions.endings() != endings {
        // Somebody's sessions were ended meanwhile, perhaps this one's: ask again, now that an end would find it.
        who = authenticate(core, origin, &connect).await?;
        if Owner::from(&who) != seat.key.owner {
            return Err(Refused(Reason::NotAuthorized, "the identity changed while it connected").into());
        }
    }
    if let Identity::Device(device) = &who {
        guards.attendance = Some(core.hooks.presence.arrive(device.id, device.role, device.camera_id));
    }
    let (session, present) = session(core, &connect, who, &sender, previous).await;
    Ok(Admitted { connection: greet(core, &connect, assigned, session, present, seat, &sender), will, guards })
}

/// Makes the session the connection's, and writes the CONNACK.
fn greet(
    core: &Arc<Core>,
    connect: &Connect,
    assigned: Option<String>,
    mut session: Box<Session>,
    present: bool,
    seat: Seat,
    sender: &Sender,
) -> Connection {
    let limits = &core.settings.limits;
    let granted = connect.session_expiry.min(limits.session_seconds);
    session.expiry = Duration::from_secs(granted.into());
    session.connections += 1;
    let sender = Sender {
        who: session.who.clone(),
        number: session.number,
        abandoned: session.abandoned.clone(),
        ..sender.clone()
    };
    let offer = Offer {
        session_expiry: (granted != connect.session_expiry).then_some(granted),
        receive_maximum: limits.inflight,
        maximum_packet: u32::try_from(limits.packet_bytes).unwrap_or(u32::MAX),
        topic_alias_maximum: limits.topic_aliases,
        assigned_client_id: assigned,
        keep_alive: delivery::server_keep_alive(connect, limits),
    };
    let mut connection = Connection::new(core.clone(), session, seat, sender, connect);
    encode::accept(&mut connection.out, connect.level, present, &offer);
    connection
}

/// Gives a client without an id one, where its version allows that.
fn name(connect: &mut Connect) -> Result<Option<String>, Refused> {
    if connect.wants_enhanced_authentication {
        return Err(Refused(Reason::BadAuthenticationMethod, "no enhanced authentication here"));
    }
    if connect.username.as_ref().is_some_and(|name| name.len() > NAME) {
        // Nobody has such a name; and it would be kept, to count its failures.
        return Err(Refused(Reason::BadUserNameOrPassword, "a user name longer than 256 bytes"));
    }
    if connect.client_id.len() > NAME {
        return Err(Refused(Reason::ClientIdentifierNotValid, "a client id longer than 256 bytes"));
    }
    if !connect.client_id.is_empty() {
        return Ok(None);
    }
    if connect.level == Level::V311 && !connect.clean {
        return Err(Refused(Reason::ClientIdentifierNotValid, "a lasting session needs a client id"));
    }
    connect.client_id = format!("auto-{:032x}", rand::random::<u128>());
    Ok(Some(connect.client_id.clone()))
}

async fn authenticate(core: &Core, origin: &Origin, connect: &Connect) -> Result<Identity, Refused> {
    let password = match &connect.password {
        None => None,
        Some(bytes) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Some(text),
            Err(_) => return Err(Refused(Reason::BadUserNameOrPassword, "a password that is not UTF-8")),
        },
    };
    let nameless = connect.username.is_none() && password.is_none() && origin.certificate_name.is_none();
    let credentials = Credentials {
        client_id: connect.client_id.clone(),
        username: connect.username.clone(),
        password,
        address: origin.address,
        secure: origin.secure,
        certificate_name: origin.certificate_name.clone(),
    };
    let answer = timeout(core.settings.limits.connect_time(), (core.hooks.authenticate)(credentials)).await;
    match answer.unwrap_or(Err(Refusal::Unavailable)) {
        Ok(Identity::Hub) => Err(Refused(Reason::NotAuthorized, "no credential leads to the hub itself")),
        Ok(Identity::Anonymous) if !core.rights.admits_anonymous() => {
            Err(Refused(Reason::NotAuthorized, "nobody without a name is let in"))
        }
        Ok(who) => Ok(who),
        Err(Refusal::BadCredentials) if nameless && core.rights.admits_anonymous() => Ok(Identity::Anonymous),
        Err(Refusal::BadCredentials) => Err(Refused(Reason::BadUserNameOrPassword, "wrong user name or password")),
        Err(Refusal::NotAuthorized) => Err(Refused(Reason::NotAuthorized, "not authorized")),
        Err(Refusal::Unavailable) => Err(Refused(Reason::ServerUnavailable, "cannot tell who it is at the moment")),
        Err(Refusal::TooMany) => Err(Refused(Reason::ConnectionRateExceeded, "too many attempts")),
    }
}

/// A lock worker of another machine: by TLS, and alone.
fn admit_worker(core: &Arc<Core>, origin: &Origin, who: &Identity, key: &Key) -> Result<worker::Held, Refused> {
    let is_near = origin.address.to_canonical().is_loopback();
    if !origin.secure && !is_near && !core.settings.plain_lock {
        return Err(Refused(Reason::NotAuthorized, "a lock worker of another machine needs TLS (plain_lock)"));
    }
    core.worker.take(worker::Holder::Remote(key.clone())).ok_or_else(|| {
        core.alarm(who, origin.address, format!("a second lock worker was refused: {who} from {}", origin.address));
        Refused(Reason::NotAuthorized, "there is another lock worker")
    })
}

fn admit_will(core: &Arc<Core>, sender: &Sender, will: packet::Will) -> Result<Will, Refused> {
    let will = Will::new(will, sender.clone());
    let will =
        will.ok_or(Refused(Reason::QuotaExceeded, "no room for a will in queue_bytes_in_all or _per_identity"))?;
    let name = will.topic();
    if !topic::valid_topic(name) || name.len() > core.settings.limits.topic_bytes {
        return Err(Refused(Reason::TopicNameInvalid, "a will for something that is no topic"));
    }
    if Topic::parse(name) == Some(Topic::LockCommand) {
        let offered = Offered { message: will.message().clone(), dup: false, is_will: true };
        if let Verdict::Later(audit) = lock::judge(core, sender, &offered) {
            core.lifecycle.track(async move { drop::<Settled>(audit.await) });
        }
        return Err(Refused(Reason::NotAuthorized, "a will on lock/command"));
    }
    if !core.rights.may_publish(&sender.who, name) {
        core.refused_publish(sender, name, "as a will");
        return Err(Refused(Reason::NotAuthorized, "no right to publish the will"));
    }
    Ok(will)
}

/// The client's session: its old one, taken over from whoever owns it now, or a new one.
async fn session(
    core: &Core,
    connect: &Connect,
    who: Identity,
    sender: &Sender,
    previous: Option<tokio::sync::mpsc::Sender<Order>>,
) -> (Box<Session>, bool) {
    if let Some(orders) = previous {
        let (reply, answer) = oneshot::channel();
        // A full channel holds the order to end, so there is nothing to take over.
        let _ = orders.try_send(Order::HandOver { clean: connect.clean, reply });
        if let Ok(Ok(Some(mut session))) = timeout(HAND_OVER, answer).await {
            session.who = who;
            return (session, true);
        }
    }
    let room = Room::new(&core.settings.limits);
    (Box::new(Session::new(sender.number, who, sender.address, room, sender.bytes.clone())), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_can_have_are_refused_before_anything_is_kept() {
        let named = |username: &str, client_id: &str| {
            let text =
                |text: &str| [&u16::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat();
            let body = [text("MQTT"), vec![4, 0x82, 0, 60], text(client_id), text(username)].concat();
            name(&mut decode::connect(body.into()).expect("a CONNECT")).map(|_| ()).map_err(|Refused(reason, _)| reason)
        };
        assert_eq!(named(&"n".repeat(NAME), &"c".repeat(NAME)), Ok(()));
        assert_eq!(named(&"n".repeat(NAME + 1), "c"), Err(Reason::BadUserNameOrPassword));
        assert_eq!(named(&"n".repeat(60_000), "c"), Err(Reason::BadUserNameOrPassword));
        assert_eq!(named("n", &"c".repeat(NAME + 1)), Err(Reason::ClientIdentifierNotValid));
    }
}
