//! The events table, measured against a PostgreSQL of its own with its default, safe settings:
//!
//! - `cargo bench --bench store -- pages`: each kind of page with ten thousand events of one month and with ten million
//!   over 24 months (`PORTCULLIS_BENCH_EVENTS`), side by side; and the sums.
//! - `cargo bench --bench store -- groups`: one group of detections in one commit, for several sizes of groups: by the two
//!   statements of the recorder, the one for what is all new and the one that looks at each event (`UNNEST`), and by the
//!   latter from a staging table that a binary `COPY` fills.
//!
//! `--profile dev` saves a build for release and changes little: most of it is PostgreSQL's time.

#![expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^52")]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use chrono::{DateTime, Months, TimeDelta, Utc};
use portcullis::{
    domain::{
        camera::CameraId,
        event::{Details, EventId, EventType},
    },
    store::{
        self, Connection, Database, baseline,
        events::Filter,
        months,
        private::Private,
        recording::{self, Cameras, NewEvent},
    },
};
use uuid::Uuid;

const CAMERAS: i32 = 8;
const MONTHS: u32 = 24;
/// How often each page is asked for in each database, in turns.
const ROUNDS: usize = 200;

#[tokio::main]
async fn main() {
    let what: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| what.is_empty() || what.iter().any(|given| given == name);
    let folder = Path::new("/tmp").join(format!("portcullis-bench-store-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).expect("a folder that postgres may pass");
    let private = Private::start(&folder).await.expect("a PostgreSQL");
    if wanted("groups") {
        groups(&database(&private, "groups").await).await;
    }
    if wanted("pages") {
        pages(&private).await;
    }
    private.stop().await.expect("an end");
    fs::remove_dir_all(&folder).expect("an end");
}

/// A database of its own with the schema and some cameras.
async fn database(private: &Private, name: &str) -> Database {
    let maintenance = private.address().open(1);
    store::create_database(&maintenance, name).await.expect("a database");
    let mut url = url::Url::parse(&private.url()).expect("a URL");
    url.set_path(name);
    let database = store::Address::parse(url.as_str()).expect("an address").open(4);
    store::migrate(&database).await.expect("a schema");
    sqlx::query("INSERT INTO cameras (name) SELECT 'Camera ' || n FROM generate_series(1, $1) AS n")
        .bind(CAMERAS)
        .execute(&database)
        .await
        .expect("cameras");
    database
}

// ── Pages ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Events evenly over the months before now: most of them of one person and unresolved, one in a thousand a door's, one
/// in ten thousand an alert.
async fn fill(database: &Database, events: i64, over: u32) {
    let now = Utc::now();
    let mut connection = database.acquire().await.expect("a connection");
    for month in (0..over).rev() {
        let to = now.checked_sub_months(Months::new(month)).expect("a time");
        let from = now.checked_sub_months(Months::new(month + 1)).expect("a time");
        for at in [from, to] {
            months::make(&mut connection, at).await.expect("a month");
        }
        let count = events / i64::from(over);
        sqlx::query(
            "INSERT INTO events (camera_id, event_type, person_count, confidence, snapshot_path, is_resolved, resolved_at,
                                 detection_id, detected_at, created_at)
             SELECT CASE WHEN kind IN ('PERSON_DETECTED', 'MULTIPLE_PERSONS') THEN 1 + n % $4 END, kind, 1 + n % 2, 0.92,
                    '/snapshots/camera-1/' || n || '.jpg', kind IN ('DOOR_OPENED', 'DOOR_CLOSED'), NULL,
                    gen_random_uuid(), at, at
             FROM generate_series(1, $1) AS n,
                  LATERAL (SELECT (CASE WHEN n % 10000 = 0 THEN 'SYSTEM_ALERT' WHEN n % 1000 = 500 THEN 'DOOR_OPENED'
                                        WHEN n % 1000 = 501 THEN 'DOOR_CLOSED' WHEN n % 4 = 0 THEN 'MULTIPLE_PERSONS'
                                        ELSE 'PERSON_DETECTED' END)::event_type AS kind,
                                  date_trunc('milliseconds', $2 + n * (($3 - $2) / $1)) AS at) AS drawn",
        )
        .bind(count)
        .bind(from)
        .bind(to)
        .bind(CAMERAS)
        .execute(&mut *connection)
        .await
        .expect("events");
    }
    store::totals::pack(database, now.date_naive()).await.expect("packed sums");
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut *connection).await.expect("a vacuum");
    baseline::checkpoint(&mut *connection).await.expect("a checkpoint");
}

/// What a page is asked for by; `share` places it among the events, 0 for the oldest.
fn filters(newest: i64, from: DateTime<Utc>) -> Vec<(&'static str, Filter)> {
    let now = Utc::now();
    let none = Filter::default();
    let before = |share: i64| Some(EventId(newest * share / 10));
    let ago = |share: i32| Some(now - (now - from) * share / 10);
    let kind = |kind| Filter { event_type: Some(kind), ..none };
    let camera = Filter { camera_id: Some(CameraId(3)), ..none };
    vec![
        ("limit=50", none),
        ("before, newer third", Filter { before: before(7), ..none }),
        ("before, oldest tenth", Filter { before: before(1), ..none }),
        ("to, in the middle", Filter { to: ago(5), ..none }),
        ("from and to, a thousandth", Filter { from: ago(5), to: ago(5).map(|at| at + (now - from) / 1000), ..none }),
        ("cameraId", camera),
        ("cameraId, before", Filter { before: before(5), ..camera }),
        ("cameraId, to", Filter { to: ago(5), ..camera }),
        ("eventType, common", kind(EventType::PersonDetected)),
        ("eventType, one in 1,000", kind(EventType::DoorOpened)),
        ("eventType, one in 10,000", kind(EventType::SystemAlert)),
        ("isResolved=false", Filter { is_resolved: Some(false), ..none }),
        ("isResolved=true, one in 500", Filter { is_resolved: Some(true), ..none }),
        ("isResolved=true, before", Filter { is_resolved: Some(true), before: before(5), ..none }),
        ("no event at all", Filter { camera_id: Some(CameraId(999)), ..none }),
    ]
}

async fn pages(private: &Private) {
    let events = env::var("PORTCULLIS_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let (few, many) = (database(private, "few").await, database(private, "many").await);
    fill(&few, 10_000, 1).await;
    let began = Instant::now();
    fill(&many, events, MONTHS).await;
    println!("{events} events over {MONTHS} months, made in {:.0?}", began.elapsed());
    println!("\n{:<28} {:>10} {:>12} {:>7}   (median of {ROUNDS}, ms)", "GET /api/events", "10,000", events, "times");
    let now = Utc::now();
    let long_ago = |months| now.checked_sub_months(Months::new(months)).expect("a time");
    let newest = (newest(&few).await, newest(&many).await);
    let asked = filters(newest.0, long_ago(1)).into_iter().zip(filters(newest.1, long_ago(MONTHS)));
    for ((name, small), (_, large)) in asked {
        let ask = async |database: &Database, filter: &Filter| {
            store::events::list(database, filter, 50, 0).await.expect("a page");
        };
        compare(name, async || ask(&few, &small).await, async || ask(&many, &large).await).await;
    }
    for (name, share) in [("/:id, newest", 10), ("/:id, in the middle", 5), ("/:id, oldest tenth", 1)] {
        let ask = async |database: &Database, newest: i64| {
            store::events::by_id(database, EventId(newest * share / 10)).await.expect("an answer").expect("an event");
        };
        compare(name, async || ask(&few, newest.0).await, async || ask(&many, newest.1).await).await;
    }
    let ask = async |database: &Database, newest: i64| {
        store::events::since(database, EventId(newest / 2), 500).await.expect("a page");
    };
    compare("replay of 500", async || ask(&few, newest.0).await, async || ask(&many, newest.1).await).await;
    let ask = async |database: &Database| {
        store::events::newest_of_each_camera(database, 5).await.expect("a page");
    };
    compare("/api/cameras", async || ask(&few).await, async || ask(&many).await).await;
    let ask = async |database: &Database| {
        store::totals::all(database, now - TimeDelta::days(1), now).await.expect("totals");
    };
    compare("/stats", async || ask(&few).await, async || ask(&many).await).await;
    let ask = async |database: &Database, camera| {
        store::totals::quarters(database, camera, now - TimeDelta::days(365), now).await.expect("sums");
    };
    compare("/analytics, a year", async || ask(&few, None).await, async || ask(&many, None).await).await;
    let camera = Some(CameraId(3));
    compare("the same of one camera", async || ask(&few, camera).await, async || ask(&many, camera).await).await;
    for database in [few, many] {
        database.close().await;
    }
}

async fn newest(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT max(id) FROM events").fetch_one(database).await.expect("an id")
}

/// Asks both in turns, so that what else the machine does falls on both.
async fn compare(name: &str, few: impl AsyncFn(), many: impl AsyncFn()) {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        small.push(timed(&few).await);
        large.push(timed(&many).await);
    }
    let (small, large) = (median(small), median(large));
    println!("{name:<28} {small:>10.2} {large:>12.2} {:>7.2}", large / small);
}

async fn timed(ask: &impl AsyncFn()) -> Duration {
    let began = Instant::now();
    ask().await;
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

// ── Groups ─────────────────────────────────────────────────────────────────────────────────────────────────────────

fn detections(count: usize) -> Vec<NewEvent> {
    let detection = |number: usize| {
        let id = Uuid::new_v4();
        NewEvent {
            camera_id: Some(CameraId(1 + i32::try_from(number).unwrap_or(0) % CAMERAS)),
            event_type: EventType::PersonDetected,
            person_count: 1,
            confidence: Some(0.92),
            snapshot_path: Some(format!("/snapshots/camera-1/{number:010}.jpg")),
            description: None,
            is_resolved: false,
            detection_id: Some(id),
            detected_at: Some(Utc::now()),
            details: Details::default(),
            key: id,
        }
    };
    (0..count).map(detection).collect()
}

async fn groups(database: &Database) {
    months::make(&mut database.acquire().await.expect("a connection"), Utc::now()).await.expect("a month");
    let mut recorder = recording::connection(database);
    let all = recorder.within(Duration::from_hours(1), async |connection| {
        ways(connection).await;
        Ok(())
    });
    all.await.expect("an end");
    database.close().await;
}

async fn ways(connection: &mut Connection) {
    let mut cameras = Cameras::default();
    // The first of its month, which the statement for what is all new leaves to the other.
    recording::insert(connection, &detections(1), Utc::now()).await.expect("a commit");
    sqlx::raw_sql(
        "CREATE TEMPORARY TABLE staging (camera_id integer, event_type event_type, person_count integer,
             confidence double precision, snapshot_path text, description text, is_resolved boolean, detection_id uuid,
             detected_at timestamptz, created_at timestamptz) ON COMMIT DELETE ROWS",
    )
    .execute(&mut *connection)
    .await
    .expect("a staging table");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await.expect("a process");
    for (name, setting) in baseline::promises(&mut *connection).await.expect("settings") {
        print!("{name}={setting} ");
    }
    println!(
        "\n\n{:>6} {:<8} {:>10} {:>10} {:>22}",
        "group", "way", "rows/s", "ms/group", "µs of the server's CPU/row"
    );
    for size in [1, 10, 100, 300, 1000, 3000] {
        let rounds = (60_000 / size).clamp(20, 1000);
        let (mut spent, mut cpu) = ([Duration::ZERO; 3], [Duration::ZERO; 3]);
        // In turns, so that what else the machine does falls on all.
        for way in (0..rounds).flat_map(|_| 0..3) {
            let group = detections(size);
            let (began, worked) = (Instant::now(), processor_time(pid));
            match way {
                0 => {
                    let rows = recording::insert_new(connection, &group, Utc::now(), &mut cameras).await;
                    assert!(rows.expect("a commit").is_some(), "all of it is new");
                }
                1 => drop(recording::insert(connection, &group, Utc::now()).await.expect("a commit")),
                _ => stage(connection, &group).await,
            }
            spent[way] += began.elapsed();
            cpu[way] += processor_time(pid).saturating_sub(worked);
        }
        let rows = (rounds * size) as f64;
        for (way, (spent, cpu)) in ["all new", "UNNEST", "COPY"].iter().zip(spent.iter().zip(cpu)) {
            println!(
                "{size:>6} {way:<8} {:>10.0} {:>10.2} {:>22.1}",
                rows / spent.as_secs_f64(),
                spent.as_secs_f64() * 1e3 / rounds as f64,
                cpu.as_secs_f64() * 1e6 / rows,
            );
        }
    }
}

/// The same as the recorder's statement, from a staging table that was filled by a binary COPY.
async fn stage(connection: &mut Connection, rows: &[NewEvent]) {
    let mut transaction = sqlx::Connection::begin(connection).await.expect("a transaction");
    baseline::copy_into("staging", &mut transaction, rows.iter().cloned()).await.expect("a copy");
    let stored = sqlx::query(
        "WITH input AS MATERIALIZED (
             SELECT nextval('events_id_seq') AS id, staging.* FROM staging
         ), known AS MATERIALIZED (
             SELECT id, name, location FROM cameras WHERE id IN (SELECT camera_id FROM input)
         ), keyed AS (
             INSERT INTO event_keys (camera_id, key, event_id, created_at)
             SELECT coalesce(camera_id, 0), detection_id, id, $1 FROM input
             WHERE camera_id IS NULL OR camera_id IN (SELECT id FROM known)
             ON CONFLICT DO NOTHING RETURNING event_id
         ), stored AS (
             INSERT INTO events (id, camera_id, event_type, person_count, confidence, snapshot_path, description,
                                 is_resolved, resolved_at, detection_id, detected_at, created_at)
             SELECT id, camera_id, event_type, person_count, confidence, snapshot_path, description, is_resolved,
                    CASE WHEN is_resolved THEN $1 END, detection_id, detected_at, $1
             FROM input WHERE (id IN (SELECT event_id FROM keyed)) IS TRUE
         )
         SELECT input.id, known.name, known.location, input.id IN (SELECT event_id FROM keyed)
         FROM input LEFT JOIN known ON known.id = camera_id",
    )
    .bind(Utc::now())
    .fetch_all(&mut *transaction)
    .await
    .expect("rows");
    assert_eq!(stored.len(), rows.len());
    transaction.commit().await.expect("a commit");
}

/// What a process has used of the processor so far.
fn processor_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("a process");
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok()).expect("a time");
    Duration::from_nanos(nanoseconds)
}
