//! What a client's packets do, and how its messages are acknowledged: in the order of their arrival.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{Connection, End, Goodbye, outbound};
use crate::{
    domain::topic,
    mqtt::{
        codec::{
            encode::{self, AckKind},
            packet::{Ack, Disconnect, Fault, Level, Packet, Publish, Reason, Subscribe},
        },
        link::QoS,
        publish::{self, Answer, Offered, Settled, Verdict},
        router::message::{Message, compact},
        session::{Decided, Phase},
        subscribe::{self, Broken},
    },
};

/// What each message takes longer while a subscriber that reads falls behind. Still 1,000 messages a second of each
/// client, so that nobody can do harm by reading slowly; detections and commands to the lock are never slowed.
const SLOWER: Duration = Duration::from_millis(1);

/// What an alias stands for whose topic is too long; never a topic itself.
const TOO_LONG: &str = "\0";

/// Does what the packet says, and writes to the client what waits for it.
///
/// # Errors
/// How the connection ends, if it does.
pub async fn handle(connection: &mut Connection, packet: Packet) -> Result<(), End> {
    act(connection, packet).await?;
    outbound::fill(connection);
    Ok(())
}

/// Does what the packet says.
///
/// # Errors
/// How the connection ends, if it does.
pub async fn act(connection: &mut Connection, packet: Packet) -> Result<(), End> {
    match packet {
        Packet::Publish(packet) => publish(connection, packet).await?,
        Packet::PubRec(ack) => pubrec(connection, ack),
        Packet::PubAck(ack) | Packet::PubComp(ack) => drop(connection.session.queue.finish(ack.id)),
        Packet::PubRel(ack) => pubrel(connection, ack),
        Packet::Subscribe(packet) => subscribe(connection, &packet).await?,
        Packet::Unsubscribe(packet) => {
            let codes = subscribe::unsubscribe(&connection.core, &mut connection.session, &packet.filters);
            encode::unsuback(&mut connection.out, connection.level, packet.id, &codes);
        }
        Packet::PingReq => encode::pong(&mut connection.out),
        Packet::Disconnect(packet) => return Err(disconnect(connection, packet)),
    }
    Ok(())
}

async fn publish(connection: &mut Connection, packet: Publish) -> Result<(), End> {
    connection.core.gauges.received.one();
    let named = resolve(connection, &packet).map_err(|fault| connection.fault(fault))?;
    let (id, twice) = (packet.id, packet.qos == QoS::ExactlyOnce);
    if packet.qos != QoS::AtMostOnce {
        if twice && let Some(phase) = connection.session.received.get_mut(&id) {
            let can_answer = phase_after_repeat(phase, connection.session.connections);
            return sent_again(connection, id, can_answer).await;
        }
        connection.unacknowledged += 1;
        let most = usize::from(connection.core.settings.limits.inflight);
        if connection.level == Level::V5 && connection.unacknowledged > most {
            let why = "more unacknowledged messages than the receive maximum";
            return Err(connection.fault(Fault { reason: Reason::ReceiveMaximumExceeded, why }));
        }
    }
    if twice {
        remember(connection, id)?;
    }
    let number = connection.session.connections;
    let decided = move |settled| Decided { id, twice, connection: number, settled };
    let verdict = judge(connection, named, packet);
    if matches!(verdict, Verdict::Now(_)) && connection.core.pressure.load(Relaxed) > 0 {
        tokio::time::sleep(SLOWER).await;
    }
    match verdict {
        Verdict::Now(settled) if connection.session.pending.is_empty() => settle(connection, decided(settled)).await,
        Verdict::Now(settled) => {
            connection.session.pending.push_back(Box::pin(std::future::ready(decided(settled))));
            Ok(())
        }
        Verdict::Later(future) => {
            connection.session.pending.push_back(Box::pin(async move { decided(future.await) }));
            Ok(())
        }
    }
}

/// Remembers a QoS 2 message by its identifier until its PUBREL. A 3.1.1 client that never sends one may have 65,535 of them,
/// so they count towards what all may have waiting.
fn remember(connection: &mut Connection, id: u16) -> Result<(), End> {
    const EACH: usize = 40;
    const STEP: usize = 64;
    let answer_on = connection.session.connections;
    let session = &mut connection.session;
    session.received.insert(id, Phase::Open { answer_on });
    let count = session.received.len();
    if count.is_multiple_of(STEP) && session.received_share.resize((count * EACH) as u64).is_err() {
        let why = "no room for more messages at QoS 2 without their PUBREL";
        return Err(connection.fault(Fault { reason: Reason::QuotaExceeded, why }));
    }
    Ok(())
}

fn judge(connection: &Connection, named: Named, packet: Publish) -> Verdict {
    let Named::Topic(topic) = named else {
        let why = "a topic longer than topic_bytes";
        connection.core.refused_publish(&connection.sender, "", why);
        return Verdict::Now(Settled::refused(Reason::TopicNameInvalid, why));
    };
    let message = Message {
        topic,
        payload: compact(&packet.payload),
        qos: packet.qos,
        retain: packet.retain,
        properties: packet.properties,
        expires_at: publish::expires_at(packet.expiry),
        origin: connection.session.number,
        place: 0,
        owner: None,
    };
    let offered = Offered { message, dup: packet.dup, is_will: false };
    publish::judge(&connection.core, &connection.sender, offered)
}

/// What a PUBLISH is for.
enum Named {
    Topic(Arc<str>),
    /// A topic as MQTT has them, and longer than the front takes.
    TooLong,
}

/// The topic that a PUBLISH is for, by its alias if it has one.
fn resolve(connection: &mut Connection, packet: &Publish) -> Result<Named, Fault> {
    let most = connection.core.settings.limits.topic_bytes;
    let mut name = packet.topic.as_str();
    if let Some(alias) = packet.alias {
        if alias == 0 || alias > connection.core.settings.limits.topic_aliases {
            let why = "a topic alias above the topic alias maximum";
            return Err(Fault { reason: Reason::TopicAliasInvalid, why });
        }
        if name.is_empty() {
            let known = connection.aliases.from_client.get(&alias);
            name = known.ok_or(Fault::protocol("a topic alias that was never given a topic"))?;
        } else {
            // Of one that is too long no more is kept than shows that it is.
            let kept = if name.len() > most { TOO_LONG } else { name };
            connection.aliases.from_client.insert(alias, kept.to_owned());
        }
    }
    if name == TOO_LONG {
        return Ok(Named::TooLong);
    }
    if !topic::valid_topic(name) {
        return Err(Fault { reason: Reason::TopicNameInvalid, why: "a PUBLISH to something that is no topic" });
    }
    Ok(if name.len() > most { Named::TooLong } else { Named::Topic(name.into()) })
}

/// Marks a QoS 2 message that came again; says whether it can be acknowledged now.
fn phase_after_repeat(phase: &mut Phase, connection: u64) -> bool {
    if let Phase::Open { answer_on } = phase {
        *answer_on = connection;
        return false;
    }
    true
}

/// A QoS 2 message that came again is not published again, only acknowledged: after all that came before.
async fn sent_again(connection: &mut Connection, id: u16, can_answer: bool) -> Result<(), End> {
    if !can_answer {
        return Ok(());
    }
    connection.unacknowledged += 1;
    let number = connection.session.connections;
    let decided = Decided { id, twice: true, connection: number, settled: Settled::done(None) };
    if connection.session.pending.is_empty() {
        return settle(connection, decided).await;
    }
    connection.session.pending.push_back(Box::pin(std::future::ready(decided)));
    Ok(())
}

/// Acknowledges a message whose fate is settled, and routes it.
///
/// # Errors
/// How the connection ends, if it does.
pub async fn settle(connection: &mut Connection, decided: Decided) -> Result<(), End> {
    let Decided { id, twice, connection: came_on, settled } = decided;
    let is_unheard = id != 0 && connection.level == Level::V5 && is_unheard(connection, &settled);
    if let Some(message) = settled.route {
        connection.core.router.publish(message).await.map_err(|_| End::Stopping)?;
    }
    if id == 0 {
        return Ok(());
    }
    let now_on = connection.session.connections;
    let mut heard = came_on == now_on;
    let failed = matches!(settled.answer, Answer::Refused(..)) && connection.level == Level::V5;
    if twice {
        let phase = connection.session.received.get(&id).copied();
        heard |= phase == Some(Phase::Open { answer_on: now_on });
        if failed || settled.answer == Answer::Unknown {
            // PUBREC with a failure ends the exchange: no PUBREL follows (4.3.3).
            connection.session.received.remove(&id);
        } else if phase.is_some() {
            connection.session.received.insert(id, Phase::Received);
        }
    }
    if !heard {
        return Ok(());
    }
    let (reason, why) = match &settled.answer {
        Answer::Unknown => return Err(End::Lost("the recorder is gone; the client may send its messages again")),
        Answer::Done if is_unheard => (Reason::NoMatchingSubscribers, None),
        Answer::Done => (Reason::Success, None),
        Answer::Refused(reason, why) => (*reason, Some(why.as_str())),
    };
    let why = why.filter(|_| connection.wants_problem_information);
    let kind = if twice { AckKind::Received } else { AckKind::Accepted };
    encode::ack(&mut connection.out, connection.level, kind, id, reason, why);
    if !twice || failed {
        connection.unacknowledged = connection.unacknowledged.saturating_sub(1);
    }
    Ok(())
}

/// Whether nobody subscribes to the message, not even somebody who is away. Never for the hub's own topics: the hub itself
/// hears them.
fn is_unheard(connection: &Connection, settled: &Settled) -> bool {
    settled
        .route
        .as_ref()
        .is_some_and(|message| !topic::is_reserved(&message.topic) && !connection.core.hearers.has(&message.topic))
}

fn pubrec(connection: &mut Connection, ack: Ack) {
    if ack.failed {
        connection.session.queue.finish(ack.id);
        return;
    }
    let known = connection.session.queue.release(ack.id);
    let reason =
        if known || connection.level == Level::V311 { Reason::Success } else { Reason::PacketIdentifierNotFound };
    encode::ack(&mut connection.out, connection.level, AckKind::Released, ack.id, reason, None);
}

fn pubrel(connection: &mut Connection, ack: Ack) {
    let known = connection.session.received.remove(&ack.id).is_some();
    if known {
        connection.unacknowledged = connection.unacknowledged.saturating_sub(1);
    }
    let reason =
        if known || connection.level == Level::V311 { Reason::Success } else { Reason::PacketIdentifierNotFound };
    encode::ack(&mut connection.out, connection.level, AckKind::Completed, ack.id, reason, None);
}

async fn subscribe(connection: &mut Connection, packet: &Subscribe) -> Result<(), End> {
    let subscribed = match subscribe::subscribe(&connection.core, &mut connection.session, packet).await {
        Ok(answer) => answer,
        Err(Broken::Fault(fault)) => return Err(connection.fault(fault)),
        Err(Broken::Dead(_)) => return Err(End::Stopping),
    };
    // Before what it brings, which is written from the queue.
    encode::suback(&mut connection.out, connection.level, packet.id, &subscribed.codes);
    connection.core.gauges.dropped.add(subscribed.dropped);
    Ok(())
}

/// The client says that it goes, and perhaps how long its session is to live.
pub fn disconnect(connection: &mut Connection, packet: Disconnect) -> End {
    if let Some(seconds) = packet.session_expiry {
        if connection.session.expiry.is_zero() && seconds > 0 {
            return connection.fault(Fault::protocol("a session expiry in DISCONNECT after none in CONNECT"));
        }
        let most = connection.core.settings.limits.session_seconds;
        connection.session.expiry = Duration::from_secs(seconds.min(most).into());
    }
    End::Clean(Goodbye { with_will: packet.with_will })
}
