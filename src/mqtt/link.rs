//! A way to speak MQTT that looks the same from both sides of a wire: in the hub's process, straight to the front, or
//! from another machine by rumqttc. Workers hold a [`Link`] and do not know which.

use bytes::Bytes;
use tokio::sync::mpsc;

/// How many messages may wait in a link in each direction. When it is full the sender waits: nothing is dropped here.
pub const WAITING: usize = 256;

/// MQTT's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

/// A message to publish, or one that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    /// Published: keep it for later subscribers. Delivered: it was kept, so it is not news.
    pub retain: bool,
}

/// What a link tells its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The session stands and every subscription is granted; told anew after each reconnect.
    Connected,
    /// The session is gone, for this reason. The link goes on trying by itself.
    Disconnected(String),
    Message(Message),
}

/// A worker's end: what it publishes and what it hears. Dropped after the soft stop it ends the session cleanly; before
/// that its worker has died, and the session's will goes out.
#[derive(Debug)]
pub struct Link {
    pub outgoing: mpsc::Sender<Message>,
    pub incoming: mpsc::Receiver<Incoming>,
}

/// The other end, for whoever carries the messages.
#[derive(Debug)]
pub struct LinkPeer {
    pub outgoing: mpsc::Receiver<Message>,
    pub incoming: mpsc::Sender<Incoming>,
}

/// A link and the end that carries it.
#[must_use]
pub fn pair() -> (Link, LinkPeer) {
    let (to_peer, from_worker) = mpsc::channel(WAITING);
    let (to_worker, from_peer) = mpsc::channel(WAITING);
    (Link { outgoing: to_peer, incoming: from_peer }, LinkPeer { outgoing: from_worker, incoming: to_worker })
}
