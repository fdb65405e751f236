//! From a session's queue onto its connection: what is written, under which alias, and what cannot be.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use chrono::Utc;

use super::{Aliases, Connection, WRITE_AHEAD};
use crate::{
    auth::identity::Identity,
    mqtt::{
        codec::{
            encode::{self, AckKind, Outgoing},
            packet::{Connect, Level, Reason},
        },
        session::queue::{Delivery, Sending, Stage},
        settings::Limits,
    },
};

/// Takes messages from the queue as long as the window is open and the client reads.
pub fn fill(connection: &mut Connection) {
    let now = Instant::now();
    let mut undeliverable = 0;
    // What is to be written counts, too; without room for it, one message at a time.
    let has_room = connection.ahead.resize(connection.out.len() as u64).is_ok();
    let most = if has_room { WRITE_AHEAD } else { 1 };
    while connection.out.len() < most {
        let Some(sending) = connection.session.queue.take(connection.window, now, &mut undeliverable) else { break };
        if write(connection, &sending, now) {
            connection.core.gauges.delivered.one();
        } else {
            undeliverable += 1;
            connection.session.queue.finish(sending.id);
        }
    }
    connection.core.gauges.undeliverable.add(undeliverable);
}

fn write(connection: &mut Connection, sending: &Sending, now: Instant) -> bool {
    let Sending { id, delivery } = sending;
    let (topic, alias, is_new) = alias(&connection.aliases, &delivery.message.topic);
    let outgoing = Outgoing { topic, alias, ..outgoing(delivery, *id, now) };
    let written = encode::publish(&mut connection.out, connection.level, &outgoing, connection.longest);
    if let (true, true, Some(alias)) = (written, is_new, alias) {
        connection.aliases.to_client.insert(delivery.message.topic.clone(), alias);
    }
    written
}

/// The topic to write, its alias, and whether the client has yet to learn it.
fn alias<'a>(aliases: &Aliases, topic: &'a str) -> (&'a str, Option<u16>, bool) {
    if aliases.to_client_most == 0 {
        return (topic, None, false);
    }
    match aliases.to_client.get(topic) {
        Some(alias) => ("", Some(*alias), false),
        None if aliases.to_client.len() < usize::from(aliases.to_client_most) => {
            (topic, u16::try_from(aliases.to_client.len() + 1).ok(), true)
        }
        None => (topic, None, false),
    }
}

fn outgoing(delivery: &Delivery, id: u16, now: Instant) -> Outgoing<'_> {
    let message = &delivery.message;
    Outgoing {
        topic: &message.topic,
        payload: &message.payload,
        qos: message.qos,
        retain: message.retain,
        dup: false,
        id,
        properties: &message.properties,
        expiry: message.seconds_left(now),
        alias: None,
        subscription_ids: &delivery.subscription_ids,
    }
}

/// Writes what was sent on an earlier connection: the PUBLISH with DUP, or the PUBREL. Says whether it was written.
pub fn write_again(
    out: &mut BytesMut,
    level: Level,
    longest: usize,
    id: u16,
    stage: Stage,
    delivery: &Delivery,
) -> bool {
    match stage {
        Stage::Released => {
            encode::ack(out, level, AckKind::Released, id, Reason::Success, None);
            true
        }
        Stage::Published => {
            let again = Outgoing { dup: true, ..outgoing(delivery, id, Instant::now()) };
            encode::publish(out, level, &again, longest)
        }
    }
}

/// How long the client may be silent: one and a half times its keep-alive. A 5.0 client's keep-alive is capped, and it
/// is told; a 3.1.1 client that asked for none has none.
#[must_use]
pub fn keep_alive(connect: &Connect, limits: &Limits) -> Duration {
    let seconds = server_keep_alive(connect, limits).unwrap_or(connect.keep_alive);
    Duration::from_millis(u64::from(seconds) * 1500)
}

/// The keep-alive that a 5.0 client has to use in place of its own.
#[must_use]
pub fn server_keep_alive(connect: &Connect, limits: &Limits) -> Option<u16> {
    let most = limits.keep_alive_seconds;
    let too_long = connect.keep_alive == 0 || connect.keep_alive > most;
    (connect.level == Level::V5 && too_long).then_some(most)
}

/// How long the identity is still good for, if it ends at all.
#[must_use]
pub fn end_of(who: &Identity) -> Option<Duration> {
    match who {
        Identity::User(user) => Some((user.expires_at - Utc::now()).to_std().unwrap_or(Duration::ZERO)),
        _ => None,
    }
}
