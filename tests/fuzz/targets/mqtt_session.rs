//! A connection from its first byte to its last: CONNECT, or what stands in its place, up to DISCONNECT, as it comes by TCP
//! and, cut into messages, by WebSocket. The front must neither panic nor hang, whatever comes.
//!
//! The first byte of an input chooses: bit 0, whether a good CONNECT goes before the rest (bit 1: of MQTT 5.0); the other
//! bits, into how many bytes the rest is cut.

#![no_main]

use std::{sync::OnceLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use portcullis::{
    auth::{
        identity::{DeviceIdentity, Identity},
        origin::Origin,
        rights::Rights,
    },
    domain::device::{DeviceId, DeviceRole},
    events::{LockRequest, Outcome, alerts::Alerts, intake::Intake, presence::Presence},
    lifecycle::Lifecycle,
    mqtt::{Front, Hooks, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
    sync::mpsc,
};

/// How long a connection may take to end once its client has said all that it will. Generous: it tells a hang.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// All topics are open, so that the input reaches what lies behind the rights.
const SETTINGS: &str = "[[rights]]\nwho = 'sensor'\naction = 'publish'\nfilter = '#'\nallow = true\n\
    [[rights]]\nwho = 'sensor'\naction = 'subscribe'\nfilter = '#'\nallow = true\n";

/// A CONNECT of the client `fuzz`, keep-alive 60 s, starting anew.
const CONNECT_3: &[u8] = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04fuzz";
const CONNECT_5: &[u8] = b"\x10\x11\0\x04MQTT\x05\x02\0\x3c\0\0\x04fuzz";

/// The front, where everybody is a sensor and every detection shows no person.
fn bench() -> &'static (Runtime, Front) {
    static BENCH: OnceLock<(Runtime, Front)> = OnceLock::new();
    BENCH.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let inside = runtime.enter();
        let (to_recorder, mut submissions) = Intake::with_room(1000);
        let (to_desk, mut commands) = mpsc::channel::<LockRequest>(100);
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    Some(submission) = submissions.recv() => {
                        let _ = submission.reply.send(Outcome::Ignored);
                    }
                    // Dropped, which refuses it.
                    Some(_) = commands.recv() => {}
                }
            }
        });
        let somebody = Identity::Device(DeviceIdentity {
            id: DeviceId(1),
            name: "fuzz".parse().expect("a name"),
            role: DeviceRole::Sensor,
            camera_id: None,
        });
        let hooks = Hooks {
            authenticate: std::sync::Arc::new(move |_| {
                let somebody = somebody.clone();
                Box::pin(async move { Ok(somebody) })
            }),
            recorder: to_recorder,
            lock: to_desk,
            presence: Presence::default(),
            alerts: Alerts::default(),
        };
        let settings: Settings = toml::from_str(SETTINGS).expect("settings");
        let rights = Rights::new(settings.rights.clone());
        let front = Front::start(settings, rights, hooks, &Lifecycle::default()).expect("a front");
        drop(inside);
        (runtime, front)
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let (runtime, front) = bench();
    let before: &[u8] = match choice & 3 {
        1 => CONNECT_3,
        3 => CONNECT_5,
        _ => &[],
    };
    let bytes = [before, rest].concat();
    let piece = usize::from(choice >> 2) * 8 + 1;
    let ended = runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let serving = front.serve_stream(server, Origin::direct([127, 0, 0, 1].into(), false));
        let talking = async move {
            for message in bytes.chunks(piece) {
                if client.write_all(message).await.is_err() {
                    break;
                }
            }
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        };
        tokio::time::timeout(HANGS_AFTER, async { tokio::join!(serving, talking) }).await
    });
    assert!(ended.is_ok(), "a connection hangs");
});
