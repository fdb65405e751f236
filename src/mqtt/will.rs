//! A will: the message that a client leaves for the case that its connection ends without its word.

use std::{sync::Arc, time::Duration};

use super::{
    decode,
    front::Core,
    message::Message,
    packet,
    publish::{self, Offered, Sender},
    queue::{Budget, Reserved},
};

/// A client's will.
#[derive(Debug)]
pub struct Will {
    message: Message,
    /// In seconds, after its publication.
    expiry: Option<u32>,
    /// How long after the connection's end it is published, unless the session goes on or ends before.
    pub delay: Duration,
    sender: Sender,
    /// Its part of what may wait in all queues together.
    _reserved: Reserved,
}

impl Will {
    /// None if there is no room for it in the budget.
    #[must_use]
    pub fn new(will: packet::Will, sender: Sender, budget: &Budget) -> Option<Self> {
        let message = Message {
            topic: will.topic.into(),
            payload: decode::compact(&will.payload),
            qos: will.qos,
            retain: will.retain,
            properties: will.properties,
            expires_at: None,
            origin: sender.number,
            place: 0,
        };
        let reserved = budget.reserve(message.cost())?;
        let delay = Duration::from_secs(will.delay.into());
        Some(Self { message, expiry: will.expiry, delay, sender, _reserved: reserved })
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
    pub async fn publish(self, core: &Arc<Core>) {
        let expires_at = publish::expires_at(self.expiry);
        let message = Message { expires_at, ..self.message };
        publish::publish(core, &self.sender, Offered { message, dup: false, is_will: true }).await;
    }
}
