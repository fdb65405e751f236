//! 100,000 mutated packets against the front: no panic anywhere in the process, no connection that neither answers nor
//! ends, nothing left over, and other clients are served meanwhile and afterwards.
//!
//! It runs in a process of its own, since the tests beside it make rumqttd panic on purpose. The seed is printed;
//! `MQTT_FUZZ_SEED` runs the same packets again, `MQTT_FUZZ_PACKETS` another number of them.

use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    mqtt_broker::Broker,
    mqtt_client::{
        Client,
        packet::{
            self, Connect, Filter, Packet, Properties, Publish, Value, Version, kind,
            property::{
                CONTENT_TYPE, CORRELATION_DATA, MAXIMUM_PACKET_SIZE, MESSAGE_EXPIRY, PAYLOAD_FORMAT, RECEIVE_MAXIMUM,
                RESPONSE_TOPIC, SESSION_EXPIRY, SUBSCRIPTION_ID, TOPIC_ALIAS, WILL_DELAY,
            },
        },
    },
    mqtt_hub,
};

const PACKETS: u64 = 100_000;

/// Connections at once.
const AT_ONCE: u64 = 16;

/// How long the front may take to answer a ping or to close, on a machine that is busy with all other tests.
const STUCK_AFTER: Duration = Duration::from_secs(20);

const IS_CHILD: &str = "MQTT_FUZZ_IS_CHILD";

fn number_from_environment(name: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    env::var(name).ok().map_or_else(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn mutated_packets_neither_crash_nor_block() {
    let seed = number_from_environment("MQTT_FUZZ_SEED", rand::random);
    println!("seed {seed}");
    if env::var_os(IS_CHILD).is_some() {
        return fuzz(seed);
    }
    let output = Command::new(env::current_exe().expect("a test binary"))
        .args(["--exact", "mqtt_fuzz::mutated_packets_neither_crash_nor_block", "--nocapture"])
        .env(IS_CHILD, "1")
        .env("MQTT_FUZZ_SEED", seed.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {}\n{errors}", output.status);
}

fn fuzz(seed: u64) {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, says) = (panics.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Relaxed);
        says(panic);
    }));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(mutate_all(seed));
    drop(runtime);
    assert_eq!(panics.load(Relaxed), 0, "panics, seed {seed}");
}

async fn mutate_all(seed: u64) {
    let broker = Broker::start().await;
    let address = broker.address;
    probe(address, 0).await;
    let sockets = open_sockets();
    let packets = number_from_environment("MQTT_FUZZ_PACKETS", || PACKETS);
    let (start, connections) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        let connections = connections.clone();
        workers.spawn(async move {
            // Each worker has its own sequence, so that the seed says all, whoever is faster.
            let mut random = Random(seed ^ (worker + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut left = packets / AT_ONCE + u64::from(worker < packets % AT_ONCE);
            while left > 0 {
                left -= connection(address, &mut random, left).await;
                if connections.fetch_add(1, Relaxed) % 2_000 == 0 {
                    probe(address, worker).await;
                }
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(failure) = ended {
            panic!("{failure}\n{}", broker.counters());
        }
    }
    probe(address, 0).await;
    let (connections, took) = (connections.load(Relaxed), start.elapsed());
    println!("{packets} mutated packets over {connections} connections in {took:.1?}");
    println!("{}", broker.counters());
    nothing_is_left_over(sockets).await;
}

/// A client that does all right is served.
async fn probe(address: SocketAddr, number: u64) {
    for version in [Version::V311, Version::V5] {
        let name = format!("probe/{number}");
        let (mut client, _) = Client::connect(address, &Broker::login(version, &format!("probe-{number}"))).await;
        client.subscribe_to(&name, 1).await;
        client.publish(Publish::new(&name, "well", 1)).await;
        client.until_messages(1).await;
        client.disconnect().await;
    }
}

fn open_sockets() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The front lets go of every connection that has ended.
async fn nothing_is_left_over(before: usize) {
    let until = Instant::now() + STUCK_AFTER;
    while open_sockets() > before + 2 {
        assert!(Instant::now() < until, "{} open files, {before} at first", open_sockets());
        sleep(Duration::from_millis(50)).await;
    }
}

/// One connection: mutated packets until one of them ends it, or it has had enough. Answers how many the front has
/// surely looked at: after each it answered a ping or closed.
async fn connection(address: SocketAddr, random: &mut Random, most: u64) -> u64 {
    let version = random.one_of(&[Version::V311, Version::V5]);
    let mut client = Client::open(address, version).await;
    if random.below(4) == 0 {
        let mut bytes = connect(version, random);
        mutate(&mut bytes, random);
        client.send(&bytes).await;
        client.hang_up_and_wait(STUCK_AFTER).await;
        return 1;
    }
    client.send(&connect(version, random)).await;
    let mut sent = 0;
    while sent < most.min(50) {
        let mut bytes = any_packet(version, random);
        mutate(&mut bytes, random);
        sent += 1;
        // A packet that does not end where it says would take the ping for a part of itself.
        if !is_whole(&bytes) {
            client.send(&bytes).await;
            break;
        }
        client.send(&bytes).await;
        client.send(&packet::pingreq()).await;
        if !answers_ping(&mut client).await {
            break;
        }
    }
    client.hang_up_and_wait(STUCK_AFTER).await;
    sent
}

/// Whether a PINGRESP comes; the alternative is that the connection ends. What comes before it is acknowledged by
/// nobody, so that inflight windows fill, too.
async fn answers_ping(client: &mut Client) -> bool {
    loop {
        match client.receive(STUCK_AFTER).await {
            Some(Packet::Pingresp) => return true,
            Some(_) => {}
            None => {
                assert!(client.closed, "a connection is stuck: no PINGRESP and no end");
                return false;
            }
        }
    }
}

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).expect("fits")).expect("fits")
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn byte(&mut self) -> u8 {
        let byte = self.next().to_le_bytes()[0];
        self.one_of(&[byte, byte, 0, 1, 0x7F, 0x80, 0xFF])
    }

    /// Mostly short, sometimes longer than what a byte or the front's buffers hold.
    fn payload(&mut self) -> Vec<u8> {
        let length = self.one_of(&[0, 1, 5, 20, 127, 128, 300, 5_000]);
        (0..length).map(|_| self.byte()).collect()
    }
}

fn topic(random: &mut Random) -> &'static str {
    random.one_of(&[
        "fuzz/a",
        "fuzz/b",
        "fuzz",
        "/",
        "fuzz//a",
        "éa",
        "$SYS/a",
        "camera/1/detections",
        "camera/2/status",
        "camera/2/occupancy",
        "lock/command",
        "lock/status",
        "hub/status",
        "test/nosubscribe",
    ])
}

fn filter(random: &mut Random) -> Filter {
    let text = random.one_of(&["fuzz/#", "fuzz/+", "#", "+", "+/+", "$share/g/fuzz/a", "$share/h/#", "lock/#", "éa"]);
    Filter {
        no_local: random.below(3) == 0,
        retain_as_published: random.below(3) == 0,
        retain_handling: random.one_of(&[0, 1, 2]),
        ..Filter::new(text, random.one_of(&[0, 1, 2]))
    }
}

fn properties(random: &mut Random) -> Properties {
    let mut properties = Properties::default();
    for _ in 0..random.below(4) {
        let number = u16::from(random.byte());
        let (id, value) = match random.below(9) {
            0 => (PAYLOAD_FORMAT, Value::Byte(1)),
            1 => (MESSAGE_EXPIRY, Value::Four(u32::from(number))),
            2 => (CONTENT_TYPE, Value::Text("text".to_owned())),
            3 => (RESPONSE_TOPIC, Value::Text("fuzz/a".to_owned())),
            4 => (CORRELATION_DATA, Value::Binary(vec![1, 2, 3])),
            5 => (SUBSCRIPTION_ID, Value::Varint(u32::from(number) * 1_000)),
            6 => (TOPIC_ALIAS, Value::Two(number)),
            7 => (SESSION_EXPIRY, Value::Four(u32::from(number))),
            _ => {
                properties = properties.user("a", "2");
                continue;
            }
        };
        properties = properties.with(id, value);
    }
    properties
}

fn publish(random: &mut Random) -> Publish {
    Publish {
        dup: random.below(8) == 0,
        qos: random.one_of(&[0, 1, 2]),
        retain: random.below(4) == 0,
        topic: topic(random).to_owned(),
        id: u16::from(random.byte()) + 1,
        properties: if random.below(2) == 0 { Properties::default() } else { properties(random) },
        payload: random.payload(),
    }
}

/// A CONNECT that would be accepted.
fn connect(version: Version, random: &mut Random) -> Vec<u8> {
    let name = format!("fuzz-{}", random.below(200));
    let login = mqtt_hub::login(version, random.one_of(&["tester", "engine", "panel"]), &name);
    let mut connect = Connect { clean: random.below(2) == 0, keep_alive: 60, ..login };
    if random.below(2) == 0 {
        let delay = Properties::default().with(WILL_DELAY, Value::Four(u32::from(random.byte())));
        connect.will = Some(Publish::new("fuzz/will", "gone", random.one_of(&[0, 1, 2])).properties(delay));
    }
    if random.below(2) == 0 {
        connect.properties = Properties::default()
            .with(SESSION_EXPIRY, Value::Four(u32::from(random.byte())))
            .with(RECEIVE_MAXIMUM, Value::Two(u16::from(random.byte()) + 1))
            .with(MAXIMUM_PACKET_SIZE, Value::Four(u32::from(random.byte()) + 64));
    }
    connect.bytes()
}

/// Any packet that a client may send, well formed.
fn any_packet(version: Version, random: &mut Random) -> Vec<u8> {
    let id = u16::from(random.byte()) + 1;
    match random.below(13) {
        0 => connect(version, random),
        1..=4 => publish(random).bytes(version),
        5 => packet::ack(random.one_of(&[kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP]), id),
        6 => packet::ack(kind::PUBREL, id),
        7..=9 => {
            let filters: Vec<_> = (0..=random.below(3)).map(|_| filter(random)).collect();
            packet::subscribe(version, id, &filters, &properties(random))
        }
        10 => packet::unsubscribe(version, id, &["fuzz/#", "nothing"][..=random.below(2)]),
        11 => packet::disconnect(version, &properties(random)),
        // AUTH, and types that only a broker sends.
        _ => packet::frame(random.one_of(&[0xF0, 0x20, 0x90, 0xB0, 0xD0]), &[0, 1, 0, 0][..random.below(5)]),
    }
}

/// Changes a packet in one place, or in some; mostly the length is then set right, so that what is behind it is read.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.one_of(&[1, 1, 1, 2, 3]) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 | 3 if !bytes.is_empty() => bytes[at] = random.byte(),
            4 => bytes.insert(at, random.byte()),
            5 if !bytes.is_empty() => drop(bytes.remove(at)),
            6 => bytes.truncate(at),
            _ => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(random.below(12)).copied().collect();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    if random.below(8) > 0 && !bytes.is_empty() {
        let lengths = bytes[1..].iter().take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let body = bytes.get(1 + lengths..).unwrap_or_default().to_vec();
        *bytes = packet::frame(bytes[0], &body);
    }
}

/// Whether the bytes are exactly as long as their length says.
fn is_whole(bytes: &[u8]) -> bool {
    let (mut length, mut shift) = (0, 0);
    for (index, byte) in bytes.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes.len() == 1 + index + length;
        }
    }
    false
}
