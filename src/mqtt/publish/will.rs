//! A will: the message that a client leaves for the case that its connection ends without its word.

use std::time::Duration;

use super::Publishing;
use crate::{
    auth::holder::Holder,
    domain::pool::Share,
    mqtt::{
        codec::packet,
        router::message::{Message, compact},
        session::publication::{Publication, Publisher, expires_at},
    },
};

/// A client's will.
#[derive(Debug)]
pub struct Will {
    message: Message,
    /// In seconds, after its publication.
    expiry: Option<u32>,
    /// How long after the connection's end it is published, unless the session goes on or ends before.
    pub delay: Duration,
    publisher: Publisher,
    /// What it takes of what all may have waiting.
    _share: Share<Holder>,
}

impl Will {
    /// None if its publisher has no room for it.
    #[must_use]
    pub fn new(will: packet::Will, publisher: Publisher) -> Option<Self> {
        let message = Message {
            topic: will.topic.into(),
            payload: compact(&will.payload),
            qos: will.qos,
            retain: will.retain,
            properties: compact(&will.properties),
            expires_at: None,
            origin: publisher.number,
            sequence: 0,
            owner: None,
        };
        let share = publisher.bytes.take(message.cost() as u64).ok()?;
        let delay = Duration::from_secs(will.delay.into());
        Some(Self { message, expiry: will.expiry, delay, publisher, _share: share })
    }

    #[must_use]
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Publishes it, as if the client had done so itself.
    pub async fn publish(self, publishing: &Publishing) {
        let expires_at = expires_at(self.expiry);
        let message = Message { expires_at, ..self.message };
        publishing.publish(&self.publisher, Publication { message, dup: false, is_will: true }).await;
    }
}
