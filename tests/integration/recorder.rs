//! The recorder against a real Postgres: what is answered is committed, and what is sent twice is stored once.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::Utc;
use portcullis::{
    domain::{
        camera::CameraId,
        detection::Detection,
        event::{Details, EventType, Kind, Occurrence},
    },
    events::{Announcer, Channel, Item, Malformed, Outcome, StoredEvent, intake::Intake},
    recorder::Recorder,
    store::{
        Database,
        recording::{self, Cameras, NewEvent, Row},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{lock_desk::eventually_async, server};

struct Bench {
    database: Database,
    recorder: Intake,
    announcer: Announcer,
    stalled: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<anyhow::Result<()>>,
    camera: CameraId,
}

async fn bench() -> Bench {
    let database = server::database().await;
    let camera = sqlx::query_scalar::<_, i32>("INSERT INTO cameras (name) VALUES ('Front door') RETURNING id");
    let camera = CameraId(camera.fetch_one(&database).await.expect("a camera"));
    let (announcer, stop) = (Announcer::default(), CancellationToken::new());
    let (stalled, is_stalled) = watch::channel(None);
    let (recorder, queue) = Intake::new();
    let worker = Recorder::new(&database, announcer.clone(), stalled);
    let worker = tokio::spawn(worker.run(queue, stop.clone(), CancellationToken::new()));
    Bench { database, recorder, announcer, stalled: is_stalled, stop, worker, camera }
}

fn detection(camera_id: CameraId, person_count: u32) -> Detection {
    Detection {
        camera_id,
        person_count,
        confidence: Some(0.5),
        snapshot_path: None,
        description: None,
        detection_id: Some(Uuid::new_v4()),
        detected_at: None,
    }
}

impl Bench {
    async fn record(&self, item: Item) -> Outcome {
        self.recorder.try_submit(Channel::Internal, item).await.expect("an answer")
    }

    async fn count(&self, table: &'static str) -> i64 {
        let query = sqlx::query_scalar(match table {
            "events" => "SELECT count(*) FROM events",
            "event_keys" => "SELECT count(*) FROM event_keys",
            _ => "SELECT count(*) FROM rejected_messages",
        });
        query.fetch_one(&self.database).await.expect("a count")
    }
}

fn stored(outcome: Outcome) -> Arc<StoredEvent> {
    match outcome {
        Outcome::Stored(event) => event,
        other => panic!("not stored: {other:?}"),
    }
}

#[tokio::test]
async fn a_detection_is_stored_classified_and_announced() {
    let bench = bench().await;
    let mut news = bench.announcer.listen();
    let event = stored(bench.record(Item::Detection(detection(bench.camera, 2))).await);
    assert_eq!(event.event.event_type, EventType::MultiplePersons);
    assert_eq!(event.event.camera.as_ref().map(|camera| camera.name.as_str()), Some("Front door"));
    assert_eq!(news.recv().await.unwrap().event.id, event.event.id);
    assert!(matches!(bench.record(Item::Detection(detection(bench.camera, 0))).await, Outcome::Ignored));
    assert!(matches!(bench.record(Item::Detection(detection(CameraId(999), 1))).await, Outcome::UnknownCamera));
    assert_eq!(bench.count("events").await, 1);
}

#[tokio::test]
async fn the_same_detection_is_stored_once_also_within_one_group() {
    let bench = bench().await;
    let detection = detection(bench.camera, 1);
    let records = (0..50).map(|_| bench.record(Item::Detection(detection.clone())));
    let outcomes = futures_util::future::join_all(records).await;
    let new = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stored(_))).count();
    let before = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Duplicate(_))).count();
    assert_eq!((new, before), (1, 49));
    assert_eq!(bench.count("events").await, 1);
}

/// As the recorder makes it of a detection with this key.
fn new_event(camera: Option<CameraId>, key: Uuid) -> NewEvent {
    NewEvent {
        camera_id: camera,
        event_type: EventType::PersonDetected,
        person_count: 1,
        confidence: None,
        snapshot_path: None,
        description: None,
        is_resolved: false,
        detection_id: Some(key),
        detected_at: None,
        details: Details::default(),
        key,
    }
}

#[tokio::test]
async fn a_group_that_is_not_all_new_is_left_to_the_statement_that_looks() {
    let bench = bench().await;
    let mut connection = bench.database.acquire().await.expect("a connection");
    let [first, second, third] = [(); 3].map(|()| Uuid::new_v4());
    let (camera, mut cameras) = (Some(bench.camera), Cameras::default());
    let group = [new_event(camera, first), new_event(None, first), new_event(camera, second)];
    let of_no_month = recording::insert_new(&mut connection, &group, Utc::now(), &mut cameras).await;
    assert_eq!((of_no_month.expect("an answer"), bench.count("events").await), (None, 0), "no month is noted yet");
    recording::insert(&mut connection, &[new_event(None, Uuid::new_v4())], Utc::now()).await.expect("a first event");
    let rows = recording::insert_new(&mut connection, &group, Utc::now(), &mut cameras).await.expect("an answer");
    let rows = rows.expect("all stored");
    let ids: Vec<_> = rows.iter().map(|row| if let Row::Stored(event) = row { Some(event.id) } else { None }).collect();
    assert!(ids.is_sorted() && ids.iter().all(Option::is_some), "{rows:?}");
    let labels = rows.iter().map(|row| match row {
        Row::Stored(event) => event.camera.as_ref().map(|camera| camera.name.as_str()),
        _ => None,
    });
    assert_eq!(labels.collect::<Vec<_>>(), [Some("Front door"), None, Some("Front door")]);

    let unknown = Some(CameraId(bench.camera.0 + 1));
    for not_all_new in [
        [new_event(camera, third), new_event(camera, second)],
        [new_event(camera, third), new_event(unknown, third)],
        [new_event(camera, third), new_event(camera, third)],
    ] {
        let left = recording::insert_new(&mut connection, &not_all_new, Utc::now(), &mut cameras).await;
        let left = left.expect("an answer");
        assert_eq!((left, bench.count("events").await, bench.count("event_keys").await), (None, 4, 4));
    }
    let mixed = [new_event(camera, second), new_event(unknown, third), new_event(camera, third)];
    let rows = recording::insert(&mut connection, &mixed, Utc::now()).await.expect("an answer");
    assert!(matches!(&rows[..], [Row::Duplicate, Row::UnknownCamera, Row::Stored(_)]), "{rows:?}");
}

/// The sums as they are kept, and as they would be counted.
async fn sums(bench: &Bench) -> [Vec<(i32, i64, i64)>; 2] {
    let places = "SELECT unnest(ARRAY[0, camera_id]) AS place, event_type, is_resolved FROM events";
    let kept = "SELECT camera_id, total, unresolved FROM event_totals WHERE total <> 0 UNION ALL
                SELECT camera_id, sum(count)::bigint, -1 FROM event_buckets GROUP BY camera_id, event_type ORDER BY 1, 2, 3";
    let counted = format!(
        "SELECT place, count(*), count(*) FILTER (WHERE NOT is_resolved)
         FROM ({places}) AS all_events WHERE place IS NOT NULL GROUP BY place UNION ALL
         SELECT place, count(*), -1 FROM ({places}) AS all_events
         WHERE place IS NOT NULL GROUP BY place, event_type ORDER BY 1, 2, 3"
    );
    let kept = sqlx::query_as(kept).fetch_all(&bench.database).await.expect("sums");
    let counted = sqlx::query_as(sqlx::AssertSqlSafe(counted)).fetch_all(&bench.database).await.expect("counts");
    [kept, counted]
}

#[tokio::test]
async fn whoever_stores_an_event_it_is_counted_once() {
    let bench = bench().await;
    let mut connection = bench.database.acquire().await.expect("a connection");
    let mut cameras = Cameras::default();
    let opened = |key| NewEvent { event_type: EventType::DoorOpened, is_resolved: true, ..new_event(None, key) };
    for _ in 0..3 {
        let group = [new_event(Some(bench.camera), Uuid::new_v4()), opened(Uuid::new_v4())];
        recording::insert(&mut connection, &group, Utc::now()).await.expect("an answer");
        let group = [new_event(Some(bench.camera), Uuid::new_v4()), opened(Uuid::new_v4()), opened(Uuid::new_v4())];
        let new = recording::insert_new(&mut connection, &group, Utc::now(), &mut cameras).await.expect("an answer");
        assert!(new.is_some(), "all stored");
        let plain = "INSERT INTO events (camera_id, event_type, person_count, created_at)
                     VALUES ($1, 'PERSON_DETECTED', 1, now())";
        sqlx::query(plain).bind(bench.camera.0).execute(&mut *connection).await.expect("a row");
    }
    let [kept, counted] = sums(&bench).await;
    assert_eq!((&kept, bench.count("events").await), (&counted, 18));
}

#[tokio::test]
async fn a_camera_is_known_as_it_is_now() {
    let bench = bench().await;
    let label = async |camera| {
        let outcome = bench.record(Item::Detection(detection(camera, 1))).await;
        let Outcome::Stored(event) = outcome else { return Err(outcome) };
        Ok(event.event.camera.clone().map(|camera| (camera.name, camera.location)).expect("a camera"))
    };
    let named = |name: &str, location: Option<&str>| (name.to_owned(), location.map(str::to_owned));
    for _ in 0..2 {
        assert_eq!(label(bench.camera).await.expect("stored"), named("Front door", None));
    }
    let change = async |sql: &'static str| sqlx::query(sql).execute(&bench.database).await.expect("a change");
    change("UPDATE cameras SET name = 'Back door', location = 'Yard'").await;
    assert_eq!(label(bench.camera).await.expect("stored"), named("Back door", Some("Yard")));
    let other: i32 = sqlx::query_scalar("INSERT INTO cameras (name) VALUES ('Roof') RETURNING id")
        .fetch_one(&bench.database)
        .await
        .expect("a camera");
    let removed: i32 = sqlx::query_scalar("INSERT INTO cameras (name) VALUES ('Cellar') RETURNING id")
        .fetch_one(&bench.database)
        .await
        .expect("a camera");
    assert_eq!(label(CameraId(other)).await.expect("stored"), named("Roof", None));
    change("DELETE FROM cameras WHERE name = 'Cellar'").await;
    assert!(matches!(label(CameraId(removed)).await, Err(Outcome::UnknownCamera)));
    assert_eq!(label(CameraId(other)).await.expect("stored"), named("Roof", None));
}

#[tokio::test]
async fn a_camera_does_not_go_while_its_event_is_being_stored() {
    let bench = bench().await;
    let alert = Occurrence::alert(Kind::DiskLow, "the first of its month".to_owned(), Utc::now());
    bench.record(Item::Occurrence(alert)).await;
    let (mut storing, mut removing) = (begin(&bench).await, begin(&bench).await);
    let (group, mut cameras) = ([new_event(Some(bench.camera), Uuid::new_v4())], Cameras::default());
    let new = recording::insert_new(&mut storing, &group, Utc::now(), &mut cameras).await.expect("an answer");
    assert!(new.is_some(), "stored, not committed");
    let remove = sqlx::query("DELETE FROM cameras").execute(&mut *removing);
    let (removed, ()) = tokio::join!(remove, async {
        waits(&bench, "DELETE FROM cameras").await;
        storing.commit().await.expect("a commit");
    });
    assert!(removed.is_err_and(|error| portcullis::store::is_about_a_reference(&error)), "it has an event");
}

#[tokio::test]
async fn no_event_is_stored_of_a_camera_that_goes_meanwhile() {
    let bench = bench().await;
    for _ in 0..2 {
        let alert = Occurrence::alert(Kind::DiskLow, "so that the cameras are known".to_owned(), Utc::now());
        bench.record(Item::Occurrence(alert)).await;
    }
    let mut removing = begin(&bench).await;
    sqlx::query("DELETE FROM cameras").execute(&mut *removing).await.expect("it has no events");
    let storing = bench.record(Item::Detection(detection(bench.camera, 1)));
    let (outcome, ()) = tokio::join!(storing, async {
        waits(&bench, "WITH input").await;
        removing.commit().await.expect("a commit");
    });
    assert!(matches!(outcome, Outcome::UnknownCamera), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_that_ended_while_it_idled_is_replaced_and_nobody_waits() {
    let bench = bench().await;
    bench.record(Item::Detection(detection(bench.camera, 1))).await;
    let (stored, mut stalled) = (Instant::now(), bench.stalled.clone());
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
               WHERE datname = current_database() AND strpos(query, 'events_id_seq') > 0 AND pid <> pg_backend_pid()";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(&bench.database).await.expect("an answer");
    assert_eq!(ended, 1, "the recorder's");
    stalled.mark_unchanged();
    // Long enough that it has to prove that it is alive.
    eventually_async("it has idled", async || stored.elapsed() > Duration::from_millis(600)).await;
    let outcome = bench.record(Item::Detection(detection(bench.camera, 1))).await;
    assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
    assert!(!stalled.has_changed().expect("a recorder"), "no try failed");
}

async fn begin(bench: &Bench) -> sqlx::Transaction<'static, sqlx::Postgres> {
    bench.database.begin().await.expect("a transaction")
}

/// Waits until a statement with these words waits for a lock.
async fn waits(bench: &Bench, words: &str) {
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                       AND datname = current_database() AND strpos(query, $1) > 0 AND pid <> pg_backend_pid())";
    let is_waiting =
        async || sqlx::query_scalar(waiting).bind(words).fetch_one(&bench.database).await.expect("an answer");
    eventually_async(words, is_waiting).await;
}

#[tokio::test]
async fn ids_and_times_rise_together_in_the_order_of_arrival() {
    let bench = bench().await;
    let mut news = bench.announcer.listen();
    let records = (0..2000).map(|_| bench.record(Item::Detection(detection(bench.camera, 1))));
    let outcomes = futures_util::future::join_all(records).await;
    let mut last = None;
    for outcome in outcomes {
        let event = stored(outcome).event.clone();
        let now = (event.id, event.created_at);
        assert!(last.is_none_or(|(id, at)| id < now.0 && at <= now.1), "{last:?} before {now:?}");
        assert_eq!(news.recv().await.unwrap().event.id, event.id, "announced in order");
        last = Some(now);
    }
}

#[tokio::test]
async fn one_bad_row_does_not_sink_its_group() {
    let bench = bench().await;
    // Postgres stores no NUL; that it comes this far would be a fault of whoever decodes.
    let bad = Detection { description: Some("a\0b".to_owned()), ..detection(bench.camera, 1) };
    let items = [detection(bench.camera, 1), bad, detection(bench.camera, 1)];
    let outcomes = futures_util::future::join_all(items.map(|item| bench.record(Item::Detection(item)))).await;
    assert!(matches!(outcomes[..], [Outcome::Stored(_), Outcome::Rejected(_), Outcome::Stored(_)]), "{outcomes:?}");
    assert_eq!(bench.count("events").await, 2);
}

#[tokio::test]
async fn a_rejected_message_is_kept_and_cut() {
    let bench = bench().await;
    let malformed = Malformed {
        topic: "camera/1/detections".to_owned(),
        payload: Bytes::from(vec![0; 5000]),
        reason: "no\0JSON".to_owned(),
        source: "device:front-door".to_owned(),
    };
    assert!(matches!(bench.record(Item::Malformed(malformed)).await, Outcome::Rejected(_)));
    let kept: (i32, String) = sqlx::query_as("SELECT length(payload), reason FROM rejected_messages")
        .fetch_one(&bench.database)
        .await
        .unwrap();
    assert_eq!(kept, (4096, "no\u{fffd}JSON".to_owned()));
    assert_eq!(bench.count("rejected_messages").await, 1);
}

#[tokio::test]
async fn the_hubs_own_events_bear_no_camera() {
    let bench = bench().await;
    let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
    let occurrence = |event_type| Item::Occurrence(Occurrence::new(event_type, "the door".to_owned(), at));
    let opened = stored(bench.record(occurrence(EventType::DoorOpened)).await);
    assert!(opened.event.camera.is_none() && opened.event.is_resolved && opened.event.resolved_at.is_some());
    let alert = stored(bench.record(occurrence(EventType::SystemAlert)).await);
    assert!(!alert.event.is_resolved);
    assert_eq!([opened.event.detected_at, alert.event.detected_at], [Some(at); 2], "when it happened, not when stored");
}

#[tokio::test]
async fn an_alarm_that_is_told_twice_is_stored_and_announced_once() {
    let bench = bench().await;
    let mut news = bench.announcer.listen();
    let key = Some(uuid::Uuid::from_u128(7));
    let alarm = Occurrence { key, ..Occurrence::alert(Kind::DoorForced, "DOOR_FORCED".to_owned(), chrono::Utc::now()) };
    let first = stored(bench.record(Item::Occurrence(alarm.clone())).await);
    assert_eq!(news.recv().await.expect("news").event.id, first.event.id);
    let again = bench.record(Item::Occurrence(alarm)).await;
    assert!(matches!(again, Outcome::Duplicate(event) if event.event.id == first.event.id));
    assert!(news.is_empty());
    assert_eq!(bench.count("events").await, 1);
}

#[tokio::test]
async fn while_the_table_is_locked_detections_wait_and_none_is_lost() {
    let mut bench = bench().await;
    let mut blocker = bench.database.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *blocker).await.unwrap();
    let recorder = bench.recorder.clone();
    let item = Item::Detection(detection(bench.camera, 1));
    let waiting = tokio::spawn(async move { recorder.try_submit(Channel::Internal, item).await });
    assert!(!waiting.is_finished());
    blocker.rollback().await.unwrap();
    stored(waiting.await.unwrap().expect("an answer"));
    assert_eq!(*bench.stalled.borrow_and_update(), None);
}

#[tokio::test]
async fn what_waits_at_the_stop_is_still_stored() {
    let bench = bench().await;
    let records: Vec<_> = (0..100)
        .map(|_| {
            let (recorder, item) = (bench.recorder.clone(), Item::Detection(detection(bench.camera, 1)));
            tokio::spawn(async move { recorder.try_submit(Channel::Internal, item).await })
        })
        .collect();
    let first = stored(bench.record(Item::Detection(detection(bench.camera, 1))).await);
    bench.stop.cancel();
    let answers = futures_util::future::join_all(records).await;
    let acknowledged = answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(Outcome::Stored(_))))).count();
    bench.worker.await.unwrap().expect("a clean end");
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&bench.database).await.unwrap();
    assert_eq!(stored, i64::try_from(acknowledged).unwrap() + 1, "acknowledged after {}", first.event.id);
}

/// A million rows, or as many as `PORTCULLIS_ROWS` says, every twentieth of them sent twice: each is stored once, in the
/// order of arrival, and the sums say what a count would.
#[tokio::test]
async fn a_million_rows_are_stored_once_and_in_order() {
    let rows: u32 = std::env::var("PORTCULLIS_ROWS").map_or(1_000_000, |rows| rows.parse().expect("a number"));
    let bench = bench().await;
    let mut answers = VecDeque::new();
    let (mut stored, mut duplicates) = (0, 0);
    let mut count = |outcome| match outcome {
        Ok(Outcome::Stored(_)) => stored += 1,
        Ok(Outcome::Duplicate(_)) => duplicates += 1,
        other => panic!("neither stored nor known: {other:?}"),
    };
    for number in 1..=rows {
        let detection = Detection { detected_at: Some(chrono::Utc::now()), ..detection(bench.camera, number) };
        for _ in 0..=u32::from(number % 20 == 0) {
            let submitted = bench.recorder.submit(Channel::Internal, Item::Detection(detection.clone()));
            answers.push_back(submitted.placed().await.expect("a recorder"));
        }
        while answers.len() > 5000 {
            count(answers.pop_front().expect("an answer").await);
        }
    }
    for answer in answers {
        count(answer.await);
    }
    assert_eq!((stored, duplicates), (rows, rows / 20));
    // Sent with their place in the count of persons.
    let (count, first, last, back): (i64, i32, i32, i64) = sqlx::query_as(
        "SELECT count(*), min(person_count), max(person_count), count(*) FILTER (WHERE back) FROM (
             SELECT person_count, person_count <= lag(person_count) OVER upward OR created_at < lag(created_at) OVER upward
                 AS back FROM events WINDOW upward AS (ORDER BY id)) AS rows",
    )
    .fetch_one(&bench.database)
    .await
    .expect("counts");
    assert_eq!((count, first, i64::from(last), back), (i64::from(rows), 1, i64::from(rows), 0));
    let sums: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT total, unresolved FROM event_totals
         UNION ALL SELECT sum(count)::bigint, sum(count)::bigint FROM event_buckets GROUP BY camera_id",
    )
    .fetch_all(&bench.database)
    .await
    .expect("sums");
    assert_eq!(sums, [(i64::from(rows), i64::from(rows)); 4], "of all and of the camera");
}

#[tokio::test]
async fn what_an_alert_and_a_movement_are_about_is_stored_and_found_beside_detections() {
    use portcullis::store::events::{self, Filter};
    let bench = bench().await;
    let about = |kind, camera| Details { kind: Some(kind), subject_camera: camera, ..Details::default() };
    let alert = |details: Details| {
        let kind = details.kind.expect("a kind");
        Item::Occurrence(Occurrence { details, ..Occurrence::alert(kind, "words".to_owned(), Utc::now()) })
    };
    let moved =
        Details { requested_by: Some("user:1".to_owned()), command_id: Some(Uuid::now_v7()), ..Details::default() };
    let lost = about(Kind::CameraLost, Some(bench.camera));
    // Of a camera that is not there (any more): it keeps none.
    let other = about(Kind::CameraLost, Some(CameraId(999)));
    let opened = Occurrence {
        details: moved.clone(),
        ..Occurrence::new(EventType::DoorOpened, "opened".to_owned(), Utc::now())
    };
    let items = [
        Item::Detection(detection(bench.camera, 1)),
        alert(lost.clone()),
        alert(other.clone()),
        Item::Occurrence(opened),
        alert(about(Kind::DiskLow, None)),
        Item::Detection(detection(bench.camera, 1)),
    ];
    // At once, so that they share commits.
    let outcomes = futures_util::future::join_all(items.into_iter().map(|item| bench.record(item))).await;
    let expected = [Details::default(), lost, other, moved, about(Kind::DiskLow, None), Details::default()];
    for (outcome, details) in outcomes.into_iter().zip(expected) {
        let announced = stored(outcome);
        assert_eq!(announced.event.details, details);
        let read = events::by_id(&bench.database, announced.event.id).await.expect("a database").expect("an event");
        assert_eq!(read, announced.event);
    }
    let count = async |filter: Filter| events::list(&bench.database, &filter, 50, 0).await.expect("a page").len();
    let none = Filter::default();
    assert_eq!(count(Filter { kind: Some(Kind::CameraLost), ..none }).await, 2);
    assert_eq!(count(Filter { kind: Some(Kind::CameraLost), subject_camera: Some(bench.camera), ..none }).await, 1);
    assert_eq!(count(Filter { subject_camera: Some(CameraId(999)), ..none }).await, 1);
    assert_eq!(count(Filter { kind: Some(Kind::DiskLow), event_type: Some(EventType::DoorOpened), ..none }).await, 0);
    assert_eq!(count(Filter { kind: Some(Kind::DoorForced), ..none }).await, 0);
    assert_eq!(count(none).await, 6);
    let by_whom = events::newest_opener(&bench.database).await.expect("a database");
    assert_eq!(by_whom.as_deref(), Some("user:1"));
}
