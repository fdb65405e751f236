//! A will: the message that a client leaves for the case that its connection ends without its word.

use std::{sync::Arc, time::Duration};

use super::{Offered, Sender};
use crate::{
    auth::holder::Holder,
    domain::pool::Share,
    mqtt::{
        codec::packet,
        front::Core,
        publish,
        router::message::{Message, compact},
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
    sender: Sender,
    /// What it takes of what all may have waiting.
    _share: Share<Holder>,
}

impl Will {
    /// None if its sender has no room for it.
    #[must_use]
    pub fn new(will: packet::Will, sender: Sender) -> Option<Self> {
        let message = Message {
            topic: will.topic.into(),
            payload: compact(&will.payload),
            qos: will.qos,
            retain: will.retain,
            properties: compact(&will.properties),
            expires_at: None,
            origin: sender.number,
            place: 0,
            owner: None,
        };
        let share = sender.bytes.take(message.cost() as u64).ok()?;
        let delay = Duration::from_secs(will.delay.into());
        Some(Self { message, expiry: will.expiry, delay, sender, _share: share })
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
