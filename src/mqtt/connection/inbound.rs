//! What a client's packets do, and how its messages are acknowledged: in the order of their arrival.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};

use super::{ClientDisconnect, Connection, DisconnectCause, outbound};
use crate::{
    domain::topic,
    mqtt::{
        codec::{
            encode::{self, AckKind},
            packet::{Ack, Disconnect, Fault, Packet, ProtocolVersion, Publish, Reason, Subscribe},
        },
        link::QoS,
        router::message::{Message, compact},
        session::{
            CompletedPublish, InboundQos2,
            publication::{AckResult, Publication, PublishDecision, PublishOutcome, expires_at},
        },
        subscribe::SubscribeError,
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
pub async fn handle(connection: &mut Connection, packet: Packet) -> Result<(), DisconnectCause> {
    act(connection, packet).await?;
    outbound::fill(connection);
    Ok(())
}

/// Does what the packet says.
///
/// # Errors
/// How the connection ends, if it does.
pub async fn act(connection: &mut Connection, packet: Packet) -> Result<(), DisconnectCause> {
    match packet {
        Packet::Publish(packet) => handle_publish(connection, packet).await?,
        Packet::PubRec(ack) => pubrec(connection, ack),
        Packet::PubAck(ack) | Packet::PubComp(ack) => drop(connection.session.queue.finish(ack.id)),
        Packet::PubRel(ack) => pubrel(connection, ack),
        Packet::Subscribe(packet) => handle_subscribe(connection, &packet).await?,
        Packet::Unsubscribe(packet) => {
            let codes = connection.broker.subscribing.unsubscribe(&mut connection.session, &packet.filters);
            encode::unsuback(&mut connection.out, connection.version, packet.id, &codes);
        }
        Packet::PingReq => encode::pong(&mut connection.out),
        Packet::Disconnect(packet) => return Err(handle_disconnect(connection, packet)),
    }
    Ok(())
}

async fn handle_publish(connection: &mut Connection, packet: Publish) -> Result<(), DisconnectCause> {
    connection.broker.metrics.received.one();
    let target = resolve_topic(connection, &packet).map_err(|fault| connection.fault(fault))?;
    let (id, is_qos2) = (packet.id, packet.qos == QoS::ExactlyOnce);
    if packet.qos != QoS::AtMostOnce {
        if is_qos2 && let Some(state) = connection.session.received.get_mut(&id) {
            let can_answer = can_answer_repeat(state, connection.session.connections);
            return acknowledge_again(connection, id, can_answer).await;
        }
        connection.unacknowledged += 1;
        let most = usize::from(connection.broker.limits.inflight);
        if connection.version == ProtocolVersion::V5 && connection.unacknowledged > most {
            let why = "more unacknowledged messages than the receive maximum";
            return Err(connection.fault(Fault { reason: Reason::ReceiveMaximumExceeded, why }));
        }
    }
    if is_qos2 {
        remember(connection, id)?;
    }
    let number = connection.session.connections;
    let completed = move |outcome| CompletedPublish { id, is_qos2, connection: number, outcome };
    let decision = decide(connection, target, packet);
    if matches!(decision, PublishDecision::Immediate(_)) && connection.broker.pressure.load(Relaxed) > 0 {
        tokio::time::sleep(SLOWER).await;
    }
    match decision {
        PublishDecision::Immediate(outcome) if connection.session.pending.is_empty() => {
            complete(connection, completed(outcome)).await
        }
        PublishDecision::Immediate(outcome) => {
            connection.session.pending.push_back(Box::pin(std::future::ready(completed(outcome))));
            Ok(())
        }
        PublishDecision::Deferred(future) => {
            connection.session.pending.push_back(Box::pin(async move { completed(future.await) }));
            Ok(())
        }
    }
}

/// Remembers a QoS 2 message by its identifier until its PUBREL. A 3.1.1 client that never sends one may have 65,535 of
/// them, so they count towards what all may have waiting.
fn remember(connection: &mut Connection, id: u16) -> Result<(), DisconnectCause> {
    const EACH: usize = 40;
    const STEP: usize = 64;
    let answer_on = connection.session.connections;
    let session = &mut connection.session;
    session.received.insert(id, InboundQos2::Open { answer_on });
    let count = session.received.len();
    if count.is_multiple_of(STEP) && session.received_share.resize((count * EACH) as u64).is_err() {
        let why = "no room for more messages at QoS 2 without their PUBREL";
        return Err(connection.fault(Fault { reason: Reason::QuotaExceeded, why }));
    }
    Ok(())
}

fn decide(connection: &Connection, target: Target, packet: Publish) -> PublishDecision {
    let Target::Topic(topic) = target else {
        let why = "a topic longer than topic_bytes";
        connection.broker.publishing.count_refusal(&connection.publisher, "", why);
        return PublishDecision::Immediate(PublishOutcome::refused(Reason::TopicNameInvalid, why));
    };
    let message = Message {
        topic,
        payload: compact(&packet.payload),
        qos: packet.qos,
        retain: packet.retain,
        properties: packet.properties,
        expires_at: expires_at(packet.expiry),
        origin: connection.session.number,
        sequence: 0,
        owner: None,
    };
    let publication = Publication { message, dup: packet.dup, is_will: false };
    connection.broker.publishing.decide(&connection.publisher, publication)
}

/// What a PUBLISH is for.
enum Target {
    Topic(Arc<str>),
    /// A topic as MQTT has them, and longer than the front takes.
    TooLong,
}

/// The topic that a PUBLISH is for, by its alias if it has one.
fn resolve_topic(connection: &mut Connection, packet: &Publish) -> Result<Target, Fault> {
    let most = connection.broker.limits.topic_bytes;
    let mut name = packet.topic.as_str();
    if let Some(alias) = packet.alias {
        if alias == 0 || alias > connection.broker.limits.topic_aliases {
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
        return Ok(Target::TooLong);
    }
    if !topic::valid_topic(name) {
        return Err(Fault { reason: Reason::TopicNameInvalid, why: "a PUBLISH to something that is no topic" });
    }
    Ok(if name.len() > most { Target::TooLong } else { Target::Topic(name.into()) })
}

/// Marks a QoS 2 message that came again; says whether it can be acknowledged now.
fn can_answer_repeat(state: &mut InboundQos2, connection: u64) -> bool {
    if let InboundQos2::Open { answer_on } = state {
        *answer_on = connection;
        return false;
    }
    true
}

/// A QoS 2 message that came again is not published again, only acknowledged: after all that came before.
async fn acknowledge_again(connection: &mut Connection, id: u16, can_answer: bool) -> Result<(), DisconnectCause> {
    if !can_answer {
        return Ok(());
    }
    connection.unacknowledged += 1;
    let number = connection.session.connections;
    let completed = CompletedPublish { id, is_qos2: true, connection: number, outcome: PublishOutcome::done(None) };
    if connection.session.pending.is_empty() {
        return complete(connection, completed).await;
    }
    connection.session.pending.push_back(Box::pin(std::future::ready(completed)));
    Ok(())
}

/// Routes a message whose outcome is known, and acknowledges it.
///
/// # Errors
/// How the connection ends, if it does.
pub async fn complete(connection: &mut Connection, completed: CompletedPublish) -> Result<(), DisconnectCause> {
    let CompletedPublish { id, is_qos2, connection: came_on, outcome } = completed;
    let publishing = &connection.broker.publishing;
    let is_unheard = id != 0 && connection.version == ProtocolVersion::V5 && publishing.has_no_subscribers(&outcome);
    let ack = publishing.route(outcome).await.map_err(|_| DisconnectCause::Stopping)?;
    if id == 0 {
        return Ok(());
    }
    let now_on = connection.session.connections;
    let mut heard = came_on == now_on;
    let failed = matches!(ack, AckResult::Refused(..)) && connection.version == ProtocolVersion::V5;
    if is_qos2 {
        let state = connection.session.received.get(&id).copied();
        heard |= state == Some(InboundQos2::Open { answer_on: now_on });
        if failed || ack == AckResult::Unknown {
            // PUBREC with a failure ends the exchange: no PUBREL follows (4.3.3).
            connection.session.received.remove(&id);
        } else if state.is_some() {
            connection.session.received.insert(id, InboundQos2::Received);
        }
    }
    if !heard {
        return Ok(());
    }
    let (reason, why) = match &ack {
        AckResult::Unknown => {
            return Err(DisconnectCause::Lost("the recorder is gone; the client may send its messages again"));
        }
        AckResult::Done if is_unheard => (Reason::NoMatchingSubscribers, None),
        AckResult::Done => (Reason::Success, None),
        AckResult::Refused(reason, why) => (*reason, Some(why.as_str())),
    };
    let why = why.filter(|_| connection.wants_problem_information);
    let kind = if is_qos2 { AckKind::Received } else { AckKind::Accepted };
    encode::ack(&mut connection.out, connection.version, kind, id, reason, why);
    if !is_qos2 || failed {
        connection.unacknowledged = connection.unacknowledged.saturating_sub(1);
    }
    Ok(())
}

fn pubrec(connection: &mut Connection, ack: Ack) {
    if ack.failed {
        connection.session.queue.finish(ack.id);
        return;
    }
    let known = connection.session.queue.release(ack.id);
    let reason = if known || connection.version == ProtocolVersion::V311 {
        Reason::Success
    } else {
        Reason::PacketIdentifierNotFound
    };
    encode::ack(&mut connection.out, connection.version, AckKind::Released, ack.id, reason, None);
}

fn pubrel(connection: &mut Connection, ack: Ack) {
    let known = connection.session.received.remove(&ack.id).is_some();
    if known {
        connection.unacknowledged = connection.unacknowledged.saturating_sub(1);
    }
    let reason = if known || connection.version == ProtocolVersion::V311 {
        Reason::Success
    } else {
        Reason::PacketIdentifierNotFound
    };
    encode::ack(&mut connection.out, connection.version, AckKind::Completed, ack.id, reason, None);
}

async fn handle_subscribe(connection: &mut Connection, packet: &Subscribe) -> Result<(), DisconnectCause> {
    let subscribed = match connection.broker.subscribing.subscribe(&mut connection.session, packet).await {
        Ok(answer) => answer,
        Err(SubscribeError::Fault(fault)) => return Err(connection.fault(fault)),
        Err(SubscribeError::Dead(_)) => return Err(DisconnectCause::Stopping),
    };
    // Before what it brings, which is written from the queue.
    encode::suback(&mut connection.out, connection.version, packet.id, &subscribed.codes);
    connection.broker.metrics.dropped.add(subscribed.dropped);
    Ok(())
}

/// The client says that it goes, and perhaps how long its session is to live.
pub fn handle_disconnect(connection: &mut Connection, packet: Disconnect) -> DisconnectCause {
    if let Some(seconds) = packet.session_expiry {
        if connection.session.expiry.is_zero() && seconds > 0 {
            return connection.fault(Fault::protocol("a session expiry in DISCONNECT after none in CONNECT"));
        }
        let most = connection.broker.limits.session_seconds;
        connection.session.expiry = Duration::from_secs(seconds.min(most).into());
    }
    DisconnectCause::Clean(ClientDisconnect { with_will: packet.with_will })
}

/// Acknowledges all whose outcome is known by now, so that their acknowledgements are written at once: a commit
/// completes many.
///
/// # Errors
/// How the connection ends, if it does.
pub async fn complete_all(connection: &mut Connection) -> Result<(), DisconnectCause> {
    while !connection.session.pending.is_empty()
        && let Some(Some(completed)) = connection.session.pending.next().now_or_never()
    {
        complete(connection, completed).await?;
    }
    Ok(())
}
