//! A commit whose answer is lost: the recorder tries again, and everything is stored, answered and announced once.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use portcullis::{
    domain::{camera::CameraId, detection::Detection, event::Occurrence},
    events::{Announcer, Channel, Item, Malformed, Outcome, intake::Intake},
    recorder::Recorder,
    store::{self, Address},
};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::server;

/// A statement with these words is carried out, and the connection is cut before its answer.
const MARK: &str = "cut the line";
/// The end of an answer when no transaction is open: `ReadyForQuery`, idle.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// A line to the server that is cut once after each of so many commits.
async fn line(url: &str, cuts: Arc<AtomicU32>) -> Address {
    let server: PgConnectOptions = url.parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut through = url::Url::parse(url).expect("a URL");
    through.set_query(None);
    through.set_host(Some("127.0.0.1")).expect("a host");
    through.set_port(Some(listener.local_addr().expect("bound").port())).expect("a port");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, cuts) = (server.clone(), cuts.clone());
            tokio::spawn(async move {
                if let Some(folder) = server.get_socket() {
                    let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                    carry(client, UnixStream::connect(path).await.expect("a server"), &cuts).await;
                } else {
                    let address = (server.get_host().to_owned(), server.get_port());
                    carry(client, TcpStream::connect(address).await.expect("a server"), &cuts).await;
                }
            });
        }
    });
    Address::parse(through.as_str()).expect("an address")
}

async fn carry(mut client: TcpStream, mut server: impl AsyncRead + AsyncWrite + Unpin, cuts: &AtomicU32) {
    let (mut asked, mut told) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut cutting = false;
    loop {
        tokio::select! {
            Ok(count) = client.read(&mut asked) => {
                let marked = asked[..count].windows(MARK.len()).any(|part| part == MARK.as_bytes());
                cutting |= marked && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                if count == 0 || server.write_all(&asked[..count]).await.is_err() {
                    return;
                }
            }
            Ok(count) = server.read(&mut told) => {
                // The transaction has ended by now, whether or not it was one statement.
                if cutting && told[..count].ends_with(READY) {
                    return;
                }
                if count == 0 || client.write_all(&told[..count]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_stores_nothing_twice() {
    let url = server::create().await;
    let database = Address::parse(&url).expect("an address").open(5);
    store::migrate(&database).await.expect("a schema");
    let camera = sqlx::query_scalar::<_, i32>("INSERT INTO cameras (name) VALUES ('Front door') RETURNING id");
    let camera = CameraId(camera.fetch_one(&database).await.expect("a camera"));
    let cuts = Arc::new(AtomicU32::new(0));
    let line = line(&url, cuts.clone()).await.open(2);
    let (announcer, stop) = (Announcer::default(), CancellationToken::new());
    let mut news = announcer.listen();
    let (recorder, queue) = Intake::new();
    let worker = Recorder::new(&line, announcer, watch::channel(None).0);
    let worker = tokio::spawn(worker.run(queue, stop.clone(), CancellationToken::new()));
    let detection = |description: &str| {
        Item::Detection(Detection {
            camera_id: camera,
            person_count: 1,
            confidence: None,
            snapshot_path: None,
            description: Some(description.to_owned()),
            detection_id: None,
            detected_at: None,
        })
    };
    let malformed = Malformed {
        topic: "camera/1/detections".to_owned(),
        payload: bytes::Bytes::from_static(b"{"),
        reason: MARK.to_owned(),
        source: "device:front-door".to_owned(),
    };
    let alert = Occurrence::alert(MARK.to_owned(), chrono::Utc::now());
    let cases: [Vec<Item>; 4] = [
        vec![detection("before")],
        vec![detection(MARK), detection("beside"), detection("beside")],
        vec![Item::Occurrence(alert)],
        vec![detection("with a rejected one"), Item::Malformed(malformed)],
    ];
    let mut new = 0;
    for (case, items) in cases.into_iter().enumerate() {
        cuts.store(if case == 0 { 0 } else { 2 }, Ordering::SeqCst);
        let records = items.into_iter().map(|item| recorder.try_submit(Channel::Internal, item));
        for outcome in futures_util::future::join_all(records).await {
            match outcome.expect("an answer") {
                Outcome::Stored(event) => {
                    new += 1;
                    assert_eq!(news.recv().await.expect("news").event.id, event.event.id, "announced once, in order");
                }
                Outcome::Rejected(_) => {}
                other => panic!("in case {case}: {other:?}"),
            }
        }
        assert!(news.is_empty());
    }
    assert_eq!(cuts.load(Ordering::SeqCst), 0, "every line was cut");
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM events), (SELECT total FROM event_totals WHERE camera_id = 0),
                (SELECT count(*) FROM rejected_messages)",
    )
    .fetch_one(&database)
    .await
    .expect("counts");
    assert_eq!(counts, (new, new, 1));
    stop.cancel();
    worker.await.expect("an end").expect("a clean end");
}
