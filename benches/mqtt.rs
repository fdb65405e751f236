//! The front's throughput, latency and memory, and Mosquitto's in the same run where it is installed:
//! `cargo bench --bench mqtt`.
//!
//! Raw sockets on both sides, so that no client library is the bottleneck. `MQTT_BENCH_MESSAGES`, `MQTT_BENCH_IDLE`.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use portcullis::{
    auth::{
        identity::{DeviceIdentity, Identity},
        rights::Rights,
    },
    domain::device::{DeviceId, DeviceRole},
    events::{alerts::Alerts, intake::Intake, presence::Presence},
    lifecycle::Lifecycle,
    mqtt::{Front, Hooks, Settings},
};
use tokio::sync::mpsc;

const TOPIC: &str = "bench/topic";
const PUBLISHERS: usize = 8;
const IN_FLIGHT: usize = 100;
const PAYLOAD: usize = 200;

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let (messages, idle) = (number("MQTT_BENCH_MESSAGES", 400_000), number("MQTT_BENCH_IDLE", 5_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (address, _lifecycle) = runtime.block_on(front());
    measure("front", address, messages);
    let before = resident();
    let began = Instant::now();
    let sockets: Vec<TcpStream> = (0..idle).map(|index| connect(address, &format!("idle{index}"), 0)).collect();
    let took = began.elapsed();
    let each = resident().saturating_sub(before) * 1024 / idle.max(1);
    println!("front: {idle} idle connections in {took:.1?}, {each} bytes each");
    drop(sockets);
    if let Some((mut mosquitto, address)) = mosquitto() {
        measure("mosquitto", address, messages);
        let _ = mosquitto.kill();
        let _ = mosquitto.wait();
    }
}

async fn front() -> (SocketAddr, Lifecycle) {
    let lifecycle = Lifecycle::default();
    let rights = ["publish", "subscribe"].map(|action| {
        let entry = format!("who = 'sensor'\naction = '{action}'\nfilter = 'bench/#'\nallow = true");
        toml::from_str(&entry).expect("an entry")
    });
    let who = || DeviceIdentity {
        id: DeviceId(1),
        name: "bench".parse().expect("a name"),
        role: DeviceRole::Sensor,
        camera_id: None,
    };
    let hooks = Hooks {
        authenticate: Arc::new(move |_| Box::pin(async move { Ok(Identity::Device(who())) })),
        recorder: Intake::with_room(1).0,
        lock: mpsc::channel(1).0,
        presence: Presence::default(),
        alerts: Alerts::default(),
    };
    let front = Front::start(Settings::default(), Rights::new(rights.into()), hooks, &lifecycle).expect("a front");
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    lifecycle.keep("mqtt", front.serve(listener, None, lifecycle.soft.clone()));
    (address, lifecycle)
}

fn mosquitto() -> Option<(Child, SocketAddr)> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let settings = env::temp_dir().join(format!("mqtt-bench-{}.conf", std::process::id()));
    let port = address.port();
    let text =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n");
    std::fs::write(&settings, text).expect("written");
    let mut command = Command::new("/usr/sbin/mosquitto");
    let started = command.arg("-c").arg(&settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(child) = started else {
        println!("mosquitto: not installed");
        return None;
    };
    let until = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "mosquitto does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let _ = std::fs::remove_file(settings);
    Some((child, address))
}

/// Connects with MQTT 3.1.1 and waits for the CONNACK.
fn connect(address: SocketAddr, client_id: &str, keep_alive: u16) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("a socket");
    let length = u8::try_from(12 + client_id.len()).expect("a short id");
    let mut packet = vec![0x10, length, 0, 4, b'M', b'Q', b'T', b'T', 4, 2];
    packet.extend(keep_alive.to_be_bytes());
    packet.extend([0, length - 12]);
    packet.extend(client_id.as_bytes());
    stream.write_all(&packet).expect("written");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("a CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

fn subscriber(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address, "subscriber", 0);
    let length = u8::try_from(5 + TOPIC.len()).expect("a short topic");
    let mut packet = vec![0x82, length, 0, 1, 0, length - 5];
    packet.extend(TOPIC.as_bytes());
    packet.push(1);
    stream.write_all(&packet).expect("written");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("a SUBACK");
    assert_eq!(answer, [0x90, 3, 0, 1, 1]);
    stream
}

/// A PUBLISH at QoS 1; the time since `epoch` stands in front of its payload.
fn publish(id: u16, epoch: Instant) -> Vec<u8> {
    let length = 4 + TOPIC.len() + PAYLOAD;
    let mut packet =
        vec![0x32, u8::try_from(length % 128).expect("7 bits") | 0x80, u8::try_from(length / 128).expect("7 bits")];
    packet.extend([0, u8::try_from(TOPIC.len()).expect("a short topic")]);
    packet.extend(TOPIC.as_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(u64::try_from(epoch.elapsed().as_nanos()).expect("a short run").to_be_bytes());
    packet.resize(3 + length, b'x');
    packet
}

/// Takes `count` messages, acknowledges them, and gives each one's latency.
fn receive(mut stream: TcpStream, count: usize, epoch: Instant) -> Vec<Duration> {
    let size = 3 + 4 + TOPIC.len() + PAYLOAD;
    let (mut buffer, mut latencies, mut piece) = (Vec::new(), Vec::with_capacity(count), vec![0; 64 * 1024]);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    while latencies.len() < count {
        let Ok(read @ 1..) = stream.read(&mut piece) else { break };
        buffer.extend_from_slice(&piece[..read]);
        let (mut start, mut acks) = (0, Vec::new());
        while buffer.len() - start >= size {
            let packet = &buffer[start..start + size];
            let body = 5 + TOPIC.len();
            acks.extend([0x40, 2, packet[body], packet[body + 1]]);
            let sent = packet[body + 2..body + 10].try_into().map(u64::from_be_bytes).expect("eight bytes");
            latencies.push(epoch.elapsed().saturating_sub(Duration::from_nanos(sent)));
            start += size;
        }
        buffer.drain(..start);
        stream.write_all(&acks).expect("written");
    }
    latencies
}

/// Publishes with at most `IN_FLIGHT` unacknowledged, and no faster than one message in `pace`.
fn send(mut stream: TcpStream, count: usize, pace: Duration, epoch: Instant) {
    let (mut sent, mut acked, mut piece, mut rest) = (0, 0, [0; 4096], 0);
    let began = Instant::now();
    while acked < count {
        let mut batch = Vec::new();
        while sent < count && sent - acked < IN_FLIGHT && (pace.is_zero() || batch.is_empty()) {
            batch.extend(publish(u16::try_from(sent % 60_000).expect("16 bits") + 1, epoch));
            sent += 1;
        }
        stream.write_all(&batch).expect("written");
        rest += stream.read(&mut piece).expect("acknowledgements");
        acked += rest / 4;
        rest %= 4;
        let due = began + pace * u32::try_from(sent).expect("a short run");
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn measure(name: &str, address: SocketAddr, messages: usize) {
    let epoch = Instant::now();
    let run = |publishers: usize, each: usize, pace: Duration| {
        let (reader, began) = (subscriber(address), Instant::now());
        let receiver = thread::spawn(move || receive(reader, publishers * each, epoch));
        let senders: Vec<_> = (0..publishers)
            .map(|index| {
                let stream = connect(address, &format!("publisher{index}"), 0);
                thread::spawn(move || send(stream, each, pace, epoch))
            })
            .collect();
        for sender in senders {
            sender.join().expect("a publisher");
        }
        (receiver.join().expect("the subscriber"), began.elapsed())
    };
    let (received, took) = run(PUBLISHERS, messages / PUBLISHERS, Duration::ZERO);
    let rate = received.len() as u128 * 1000 / took.as_millis().max(1);
    println!("{name}: {} of {messages} messages at QoS 1 in {took:.1?}: {rate}/s", received.len());
    let (mut latencies, _) = run(1, 4_000, Duration::from_micros(500));
    latencies.sort_unstable();
    let at = |percent: usize| latencies[latencies.len() * percent / 100];
    println!("{name}: latency at 2,000/s: p50 {:.0?}, p99 {:.0?}", at(50), at(99));
}

/// This process's memory, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
