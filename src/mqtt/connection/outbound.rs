//! From a session's queue onto its connection: what is written, under which alias, and what cannot be.

use std::time::Instant;

use bytes::BytesMut;

use super::{Connection, OutboundTopic, WRITE_AHEAD};
use crate::mqtt::{
    codec::{
        encode::{self, AckKind, Outgoing},
        packet::{ProtocolVersion, Reason},
    },
    session::queue::{Delivery, OutboundPublish, OutboundState},
};

/// Takes messages from the queue as long as the window is open and the client reads.
pub fn fill(connection: &mut Connection) {
    let now = Instant::now();
    let mut undeliverable = 0;
    // What is to be written counts, too; without room for it, one message at a time.
    let has_room = connection.ahead.resize(connection.out.len() as u64).is_ok();
    let most = if has_room { WRITE_AHEAD } else { 1 };
    while connection.out.len() < most {
        let Some(outbound) = connection.session.queue.take(connection.window, now, &mut undeliverable) else { break };
        if write(connection, &outbound, now) {
            connection.broker.metrics.delivered.one();
        } else {
            undeliverable += 1;
            connection.session.queue.finish(outbound.id);
        }
    }
    connection.broker.metrics.undeliverable.add(undeliverable);
}

fn write(connection: &mut Connection, outbound: &OutboundPublish, now: Instant) -> bool {
    let OutboundPublish { id, delivery } = outbound;
    let OutboundTopic { topic, alias, is_new } = connection.aliases.outbound(&delivery.message.topic);
    let outgoing = Outgoing { topic, alias, ..outgoing(delivery, *id, now) };
    let written = encode::publish(&mut connection.out, connection.version, &outgoing, connection.longest);
    if let (true, true, Some(alias)) = (written, is_new, alias) {
        connection.aliases.to_client.insert(delivery.message.topic.clone(), alias);
    }
    written
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

/// What an earlier connection sent and the client did not acknowledge goes out again, in its order (4.4).
pub fn send_again(connection: &mut Connection) {
    let Connection { session, out, version, longest, .. } = connection;
    let unsent: Vec<u16> = session
        .queue
        .unacknowledged()
        .filter_map(|(id, state, delivery)| (!retransmit(out, *version, *longest, id, state, delivery)).then_some(id))
        .collect();
    for id in unsent {
        connection.broker.metrics.undeliverable.one();
        connection.session.queue.finish(id);
    }
}

/// Writes what was sent on an earlier connection: the PUBLISH with DUP, or the PUBREL. Says whether it was written.
fn retransmit(
    out: &mut BytesMut,
    version: ProtocolVersion,
    longest: usize,
    id: u16,
    state: OutboundState,
    delivery: &Delivery,
) -> bool {
    match state {
        OutboundState::Released => {
            encode::ack(out, version, AckKind::Released, id, Reason::Success, None);
            true
        }
        OutboundState::Published => {
            let again = Outgoing { dup: true, ..outgoing(delivery, id, Instant::now()) };
            encode::publish(out, version, &again, longest)
        }
    }
}
