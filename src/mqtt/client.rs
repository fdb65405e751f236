//! Carries a worker's link to a hub on another machine, by rumqttc.
//!
//! Each connection is a client of its own, so that nothing of a lost one, neither message nor acknowledgement, turns up
//! in the next. What waits in the link while there is no connection is sent by the next one.

mod tls;

use std::{collections::VecDeque, future::Future, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing,
    Packet, Publish, SubscribeFilter, SubscribeReasonCode, Transport,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::link::{self, Incoming, Link, LinkPeer, Message, QoS, WAITING};
use crate::{domain::topic::Topic, lifecycle::Backoff, wire::lock::Status};

/// How long the connection may be silent before it is tried, and how long again before it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long name, socket, TLS and CONNACK may take together, in seconds.
const CONNECT_SECONDS: u64 = 10;
/// How long all that and the subscriptions may take.
const ESTABLISH: Duration = Duration::from_secs(20);
/// The longest message that is read. Longer ones end the connection; who may send here sends far shorter ones.
const LONGEST: usize = 256 * 1024;
/// After the stop, how long the worker may take to say its last words, and these to leave.
const FAREWELL: Duration = Duration::from_secs(3);
/// After DISCONNECT, how long the hub may take to close the connection.
const CLOSE: Duration = Duration::from_secs(1);

/// Pauses between tries. A lock that can't be worked is noticed at once, so the longest is short.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A connection that lived this long was a good one; a shorter one may be refused again and again.
const STABLE: Duration = Duration::from_secs(30);

/// Where the hub is and who this is.
pub struct RemoteSettings {
    /// `mqtt://host[:1883]` or `mqtts://host[:8883]`.
    pub url: Url,
    pub username: String,
    pub password: String,
    /// The certificate authority to trust, as PEM; without it the system's.
    pub ca: Option<PathBuf>,
    pub client_id: String,
    pub will: Option<Message>,
    /// What to subscribe to, at least once.
    pub filters: Vec<String>,
}

/// A link to the hub at `settings.url`, and the driver that carries it. The driver ends when the link is dropped, or a
/// while after `stop` when it is not; it fails never for want of a hub, but tries again.
///
/// # Errors
/// When the address is not one, or the certificates can't be read.
pub fn connect(
    settings: RemoteSettings,
    stop: CancellationToken,
) -> anyhow::Result<(Link, impl Future<Output = anyhow::Result<()>> + Send + 'static)> {
    let options = options(&settings)?;
    let (link, peer) = link::pair();
    Ok((link, drive(options, settings.filters, peer, stop)))
}

fn options(settings: &RemoteSettings) -> anyhow::Result<MqttOptions> {
    let url = &settings.url;
    let host = host(url).with_context(|| format!("{url} names no host"))?;
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "MQTT_URL holds credentials; use MQTT_USERNAME and \
        MQTT_PASSWORD"
    );
    let (port, transport) = match url.scheme() {
        "mqtt" => (1883, Transport::tcp()),
        "mqtts" => (8883, Transport::tls_with_config(tls::configuration(settings.ca.as_deref())?.into())),
        other => bail!("MQTT_URL must begin with mqtt:// or mqtts://, not {other}://"),
    };
    let mut options = MqttOptions::new(&settings.client_id, host, url.port().unwrap_or(port));
    options
        .set_transport(transport)
        .set_credentials(&settings.username, &settings.password)
        .set_clean_session(true)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_max_packet_size(LONGEST, LONGEST);
    if let Some(will) = &settings.will {
        options.set_last_will(LastWill::new(&will.topic, will.payload.to_vec(), qos(will.qos), will.retain));
    }
    Ok(options)
}

/// The hub's name or address as a certificate has it: an IPv6 address without its brackets, a name without the dot that
/// says that it is whole.
fn host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Ipv6(address) => address.to_string(),
        Host::Ipv4(address) => address.to_string(),
        Host::Domain(name) => name.strip_suffix('.').unwrap_or(name).to_owned(),
    })
}

/// How a connection ended.
enum Ended {
    /// Somebody else ended it, or it never stood.
    Lost(String),
    /// The worker is done, and has been heard to the end.
    Done,
    /// The worker is gone and has not said so.
    Broken,
}

async fn drive(
    options: MqttOptions,
    filters: Vec<String>,
    mut peer: LinkPeer,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (host, port) = options.broker_address();
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    let too_late = async {
        stop.cancelled().await;
        sleep(FAREWELL).await;
    };
    tokio::pin!(too_late);
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = session(&options, &filters, &mut peer) => ended,
            () = &mut too_late => return Ok(()),
        };
        let Ended::Lost(why) = ended else { return Ok(()) };
        if begun.elapsed() >= STABLE {
            backoff.reset();
        }
        let pause = backoff.jittered();
        tracing::warn!(host, port, "no connection to the hub: {why}; next try in {pause:.1?}");
        if peer.incoming.send(Incoming::Disconnected(why)).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = peer.incoming.closed() => return Ok(()),
            () = &mut too_late => return Ok(()),
        }
    }
}

/// One connection, from its beginning to its end. Reading and writing go on beside each other: publishing waits for
/// room in the client's queue, which only reading makes.
async fn session(options: &MqttOptions, filters: &[String], peer: &mut LinkPeer) -> Ended {
    let (client, mut events) = AsyncClient::new(options.clone(), WAITING);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_SECONDS);
    events.set_network_options(network);
    let (stands, mut standing) = watch::channel(false);
    let LinkPeer { outgoing, incoming } = peer;
    let mut reader = Reader { client: client.clone(), filters, incoming, stands, acknowledgements: VecDeque::new() };
    let reading = async {
        if let Err(why) = reader.establish(&mut events).await {
            return Ended::Lost(why);
        }
        reader.read(&mut events).await
    };
    let writing = async {
        // Its sender lives as long as reading does.
        let _ = standing.wait_for(|stands| *stands).await;
        let mut farewell = false;
        while let Some(message) = outgoing.recv().await {
            farewell = is_farewell(&message);
            let Message { topic, payload, qos: wanted, retain } = message;
            if let Err(error) = client.publish_bytes(topic, qos(wanted), retain, payload).await {
                return Ended::Lost(error.to_string());
            }
        }
        if !farewell {
            // The worker died without a word, so the hub publishes its will.
            return Ended::Broken;
        }
        match client.disconnect().await {
            // Reading sees it leave, and ends.
            Ok(()) => std::future::pending().await,
            Err(error) => Ended::Lost(error.to_string()),
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// Whether this says in the worker's own words what its will would say.
fn is_farewell(message: &Message) -> bool {
    message.topic == Topic::LockStatus.to_string()
        && serde_json::from_slice::<Status>(&message.payload).is_ok_and(|status| !status.online)
}

/// What comes from the hub.
struct Reader<'a> {
    client: AsyncClient,
    filters: &'a [String],
    incoming: &'a mpsc::Sender<Incoming>,
    stands: watch::Sender<bool>,
    /// Of what the worker has, in order. They wait for room in the client's queue, which reading makes: bounded by what
    /// the hub sends unacknowledged.
    acknowledgements: VecDeque<Publish>,
}

impl Reader<'_> {
    /// Until every subscription is granted, or the worker has lost interest.
    async fn establish(&mut self, events: &mut EventLoop) -> Result<(), String> {
        let granted = async {
            while !*self.stands.borrow() {
                let event = events.poll().await;
                self.take(event).await?;
            }
            Ok(())
        };
        match timeout(ESTABLISH, granted).await {
            Ok(granted) => granted,
            Err(_) => Err(format!("not connected and subscribed within {ESTABLISH:?}")),
        }
    }

    /// What comes, until the connection ends.
    async fn read(&mut self, events: &mut EventLoop) -> Ended {
        loop {
            while let Some(publish) = self.acknowledgements.front() {
                if self.client.try_ack(publish).is_err() {
                    break;
                }
                self.acknowledgements.pop_front();
            }
            let event = events.poll().await;
            if matches!(event, Ok(Event::Outgoing(Outgoing::Disconnect))) {
                // Closed by the hub, everything before has arrived; closed from here, it might not.
                let closed = async { while events.poll().await.is_ok() {} };
                if timeout(CLOSE, closed).await.is_err() {
                    tracing::debug!("the hub did not close the connection");
                }
                return Ended::Done;
            }
            if let Err(why) = self.take(event).await {
                return Ended::Lost(why);
            }
        }
    }

    async fn take(&mut self, event: Result<Event, ConnectionError>) -> Result<(), String> {
        match event.map_err(|error| words(&error))? {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters =
                    self.filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), qos(QoS::AtLeastOnce)));
                self.client.try_subscribe_many(filters).map_err(|error| error.to_string())?;
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let refused = answer.return_codes.iter().position(|code| *code == SubscribeReasonCode::Failure);
                if let Some(filter) = refused.and_then(|index| self.filters.get(index)) {
                    return Err(format!("the hub refuses the subscription to {filter}; is this device a lock-agent?"));
                }
                // To the worker first, so that nothing is published before it knows.
                self.deliver(Incoming::Connected).await;
                self.stands.send_replace(true);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let message = Message {
                    topic: publish.topic.clone(),
                    payload: publish.payload.clone(),
                    qos: match publish.qos {
                        rumqttc::QoS::AtMostOnce => QoS::AtMostOnce,
                        rumqttc::QoS::AtLeastOnce => QoS::AtLeastOnce,
                        rumqttc::QoS::ExactlyOnce => QoS::ExactlyOnce,
                    },
                    retain: publish.retain,
                };
                self.deliver(Incoming::Message(message)).await;
                self.acknowledgements.push_back(publish);
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits while the worker is busy. A worker that is gone hears nothing, and is no fault: what it said still leaves.
    async fn deliver(&self, incoming: Incoming) {
        if self.incoming.send(incoming).await.is_err() {
            tracing::trace!("nobody reads this link any more");
        }
    }
}

/// What went wrong, in words that say what to do where something can be done.
fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword) => {
            "the hub does not know this username and password (portcullis device add NAME --role lock-agent)".to_owned()
        }
        ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized) => {
            "the hub does not take this lock worker: no lock-agent, without TLS, or there is one already".to_owned()
        }
        other => tls::words(other).unwrap_or_else(|| other.to_string()),
    }
}

fn qos(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests;
