//! A small MQTT client of our own, for tests: it does what it is told, can send anything, and answers like a good
//! client only where a test lets it.

pub mod packet;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use self::packet::{Connect, Filter, Packet, Properties, Publish, Version, kind};

/// How long a broker may take for an answer that must come.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How long nothing must come before it counts as nothing.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What the broker says to a CONNECT.
#[derive(Debug, Clone)]
pub struct Connack {
    pub session_present: bool,
    pub code: u8,
    pub properties: Properties,
}

/// One connection, and what came over it.
#[derive(Debug)]
pub struct Client {
    version: Version,
    stream: TcpStream,
    buffer: Vec<u8>,
    last_id: u16,
    /// `QoS` 2 messages that the broker has not released yet.
    pub held: HashMap<u16, Publish>,
    acks: HashMap<u16, u8>,
    /// What the broker's `PUBREC`s said, where it was no failure.
    pub recs: HashMap<u16, u8>,
    subacks: HashMap<u16, Vec<u8>>,
    unsubacks: HashMap<u16, Vec<u8>>,
    pings: usize,
    /// What arrived, in its order; a `QoS` 2 message when it is released.
    pub messages: Vec<Publish>,
    /// The reason code of a DISCONNECT from the broker.
    pub disconnect: Option<u8>,
    pub closed: bool,
    /// Takes and acknowledges no message.
    pub paused: bool,
    /// How many came meanwhile.
    pub ignored: usize,
}

impl Client {
    /// A connection without a CONNECT.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.expect("in time").expect("accepted");
        stream.set_nodelay(true).expect("a socket");
        Self {
            version,
            stream,
            buffer: Vec::new(),
            last_id: 0,
            held: HashMap::new(),
            acks: HashMap::new(),
            recs: HashMap::new(),
            subacks: HashMap::new(),
            unsubacks: HashMap::new(),
            pings: 0,
            messages: Vec::new(),
            disconnect: None,
            closed: false,
            paused: false,
            ignored: 0,
        }
    }

    /// Connects and is accepted.
    pub async fn connect(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let (client, connack) = Self::try_connect(address, connect).await;
        let connack = connack.expect("a CONNACK");
        assert_eq!(connack.code, 0, "{connack:?}");
        (client, connack)
    }

    /// Connects; `None` where the broker closes without a CONNACK.
    pub async fn try_connect(address: SocketAddr, connect: &Connect) -> (Self, Option<Connack>) {
        let version = if connect.level == 5 { Version::V5 } else { Version::V311 };
        let mut client = Self::open(address, version).await;
        client.send(&connect.bytes()).await;
        let connack = match client.receive(PATIENCE).await {
            Some(Packet::Connack { session_present, code, properties }) => {
                Some(Connack { session_present, code, properties })
            }
            None if client.closed => None,
            other => panic!("no CONNACK but {other:?}"),
        };
        (client, connack)
    }

    /// Sends bytes as they are. A broker that has closed already is no fault of the sender.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the broker reads");
        if sent.is_err() {
            self.closed = true;
        }
    }

    /// The next packet as it comes, or `None` when there is none in this time, or the connection is closed.
    pub async fn receive(&mut self, patience: Duration) -> Option<Packet> {
        let until = Instant::now() + patience;
        loop {
            if let Some(packet) = packet::take(self.version, &mut self.buffer) {
                return Some(packet);
            }
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return None,
                Ok(Ok(0) | Err(_)) => {
                    self.closed = true;
                    return None;
                }
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Takes one packet and answers it, if one comes in this time.
    async fn pump(&mut self, patience: Duration) -> bool {
        let Some(packet) = self.receive(patience).await else { return false };
        match packet {
            Packet::Publish(_) if self.paused => self.ignored += 1,
            Packet::Publish(publish) => self.arrived(publish).await,
            Packet::Ack { kind: kind::PUBREC, id, code, .. } if code < 0x80 => {
                self.recs.insert(id, code);
                self.send(&packet::ack(kind::PUBREL, id)).await;
            }
            Packet::Ack { kind: kind::PUBREL, id, .. } => {
                self.messages.extend(self.held.remove(&id));
                self.send(&packet::ack(kind::PUBCOMP, id)).await;
            }
            Packet::Ack { id, code, .. } => {
                self.acks.insert(id, code);
            }
            Packet::Suback { id, codes, .. } => {
                self.subacks.insert(id, codes);
            }
            Packet::Unsuback { id, codes } => {
                self.unsubacks.insert(id, codes);
            }
            Packet::Pingresp => self.pings += 1,
            Packet::Disconnect { code, .. } => self.disconnect = Some(code),
            Packet::Connack { .. } => panic!("a second CONNACK"),
        }
        true
    }

    async fn arrived(&mut self, publish: Publish) {
        let id = publish.id;
        match publish.qos {
            0 => self.messages.push(publish),
            1 => {
                self.messages.push(publish);
                self.send(&packet::ack(kind::PUBACK, id)).await;
            }
            _ => {
                self.held.insert(id, publish);
                self.send(&packet::ack(kind::PUBREC, id)).await;
            }
        }
    }

    /// Takes packets until this holds; panics when it does not in time, or can't because the connection is closed.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(self) {
            let left = until.saturating_duration_since(Instant::now());
            let came = self.pump(left).await;
            assert!(came || holds(self), "{what}: not in {PATIENCE:?}, closed: {}, {self:?}", self.closed);
        }
    }

    /// Takes packets until so many messages have come.
    pub async fn until_messages(&mut self, count: usize) {
        self.until(&format!("{count} messages"), |client| client.messages.len() >= count).await;
    }

    /// Takes packets until the broker ends the connection; its DISCONNECT's reason, if it sent one.
    pub async fn until_closed(&mut self) -> Option<u8> {
        self.until("closed", |client| client.closed).await;
        self.disconnect
    }

    /// Takes whatever comes in this time: only so can be shown that something does not come.
    pub async fn listen(&mut self, time: Duration) {
        self.listen_for(usize::MAX, time).await;
    }

    /// Takes whatever comes until there are so many messages, or this time is over.
    pub async fn listen_for(&mut self, count: usize, time: Duration) {
        let until = Instant::now() + time;
        while !self.closed && self.messages.len() < count && Instant::now() < until {
            self.pump(until.saturating_duration_since(Instant::now())).await;
        }
    }

    pub fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Subscribes and waits for the answer, one code for each filter.
    pub async fn subscribe(&mut self, filters: &[Filter], properties: &Properties) -> Vec<u8> {
        let id = self.next_id();
        self.send(&packet::subscribe(self.version, id, filters, properties)).await;
        self.until("a SUBACK", |client| client.subacks.contains_key(&id)).await;
        self.subacks.remove(&id).expect("looked")
    }

    /// Subscribes to one filter, and gets it at this `QoS`.
    pub async fn subscribe_to(&mut self, filter: &str, qos: u8) {
        let codes = self.subscribe(&[Filter::new(filter, qos)], &Properties::default()).await;
        assert_eq!(codes, [qos], "{filter}");
    }

    pub async fn unsubscribe(&mut self, filter: &str) -> Vec<u8> {
        let id = self.next_id();
        self.send(&packet::unsubscribe(self.version, id, &[filter])).await;
        self.until("an UNSUBACK", |client| client.unsubacks.contains_key(&id)).await;
        self.unsubacks.remove(&id).expect("looked")
    }

    /// Publishes without waiting for anything.
    pub async fn send_publish(&mut self, mut publish: Publish) -> u16 {
        if publish.qos > 0 {
            publish.id = self.next_id();
        }
        self.send(&publish.bytes(self.version)).await;
        publish.id
    }

    /// Publishes and waits until the broker has taken the message: the reason code, 0 at `QoS` 0.
    pub async fn publish(&mut self, publish: Publish) -> u8 {
        let id = self.send_publish(publish).await;
        if id == 0 {
            return 0;
        }
        self.until("an acknowledgement", |client| client.acks.contains_key(&id)).await;
        self.acks.remove(&id).expect("looked")
    }

    pub async fn ping(&mut self) {
        let before = self.pings;
        self.send(&packet::pingreq()).await;
        self.until("a PINGRESP", |client| client.pings > before).await;
    }

    /// Leaves as the protocol wants it, and waits for the broker to close.
    pub async fn disconnect(self) {
        self.disconnect_with(&Properties::default()).await;
    }

    pub async fn disconnect_with(mut self, properties: &Properties) {
        self.send(&packet::disconnect(self.version, properties)).await;
        self.paused = true;
        self.until_closed().await;
    }

    /// Closes without a word.
    pub fn terminate(self) {
        drop(self);
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket");
        drop(self);
    }

    /// Says that nothing more will be sent; the broker has to close, too, whatever it still says.
    pub async fn hang_up_and_wait(mut self, patience: Duration) {
        let _ = self.stream.shutdown().await;
        let drained = timeout(patience, async {
            let mut piece = [0; 4 * 1024];
            while !self.closed {
                self.closed = self.stream.read(&mut piece).await.unwrap_or(0) == 0;
            }
        });
        assert!(drained.await.is_ok(), "a connection is stuck: not closed in {patience:?}");
        self.reset();
    }

    /// Forgets what came.
    pub fn clear(&mut self) {
        self.messages.clear();
    }
}
