//! Pages of events among a million over 24 months: how much the database looks at for each, by its own account of the plan
//! (EXPLAIN), whatever time that takes here.

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use portcullis::{
    domain::{
        camera::CameraId,
        event::{EventId, EventType, Kind},
    },
    store::{
        self, Database,
        events::Filter,
        months::{Among, Order, Runs, Window},
    },
};
use serde_json::Value;

use crate::server;

const EVENTS: i64 = 1_000_000;
const PAGE: i64 = 50;
/// Blocks of 8 KiB. All events lie in 14,000; a page is 50 rows in as many places at worst, and each of 25
/// months is entered by at most three levels of an index.
const BLOCKS: i64 = 1_500;

/// A million events over 24 months of cameras 1 to 7, of which camera 3 has never seen several persons; one event in a
/// thousand is a door's, one in ten thousand an alert. Camera 8 has seen twenty persons.
async fn million(now: DateTime<Utc>) -> Database {
    let database = server::database().await;
    for statement in [
        "INSERT INTO cameras (name) SELECT 'Camera ' || n FROM generate_series(1, 8) AS n",
        "SELECT make_event_month($2 - n * interval '1 month') FROM generate_series(0, 24) AS n WHERE $1 > 0",
        "ALTER TABLE events DISABLE TRIGGER USER",
        "INSERT INTO events (camera_id, event_type, person_count, snapshot_path, is_resolved, detection_id, created_at)
         SELECT CASE WHEN n % 50000 = 7 THEN 8 WHEN kind IN ('PERSON_DETECTED', 'MULTIPLE_PERSONS') THEN 1 + n % 7 END, kind,
                1 + n % 2, '/snapshots/camera-1/' || n || '.jpg', kind IN ('DOOR_OPENED', 'DOOR_CLOSED'), gen_random_uuid(),
                date_trunc('milliseconds', $2 - interval '24 months' + n * (interval '24 months' / $1))
         FROM generate_series(1, $1) AS n,
              LATERAL (SELECT (CASE WHEN n % 10000 = 0 THEN 'SYSTEM_ALERT' WHEN n % 1000 = 500 THEN 'DOOR_OPENED'
                                    WHEN n % 1000 = 501 THEN 'DOOR_CLOSED' WHEN n % 4 = 0 AND n % 7 <> 2 THEN 'MULTIPLE_PERSONS'
                                    ELSE 'PERSON_DETECTED' END)::event_type AS kind) AS drawn",
        "ALTER TABLE events ENABLE TRIGGER USER",
        "UPDATE event_months SET first_id = firsts.id
         FROM (SELECT month_of(created_at) AS month, min(id) AS id FROM events GROUP BY 1) AS firsts WHERE start = month",
        "SELECT note_event_runs(0, 9223372036854775806)",
        "VACUUM ANALYZE events",
    ] {
        let mut query = sqlx::query(statement);
        if statement.contains("$1") {
            query = query.bind(EVENTS).bind(now);
        }
        // Past the time that a question of the hub may take: this is many of them.
        query.execute(&database.pool()).await.expect(statement);
    }
    database
}

/// The text of the query that answers a page, from what the build keeps of it.
fn page() -> String {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.sqlx")).expect("queries");
    let queries = files.map(|file| {
        let text = fs::read_to_string(file.expect("a file").path()).expect("a query");
        serde_json::from_str::<Value>(&text).expect("JSON")["query"].as_str().expect("a query").to_owned()
    });
    let mut pages: Vec<_> =
        queries.filter(|query| query.contains("ORDER BY events.id DESC LIMIT $9 OFFSET $10")).collect();
    assert_eq!(pages.len(), 1, "the query of `store::events::page`");
    pages.remove(0)
}

/// How many blocks the database reads for a window, and how many rows it finds; with the filter's arguments in the order
/// in which `store::events::page` gives them.
async fn explain(database: &Database, page: &str, filter: &Filter, window: Window, limit: i64) -> (i64, i64) {
    let query = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {page}");
    let plan: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .bind(filter.camera_id.map(|id| id.0))
        .bind(filter.event_type().map(EventType::as_str))
        .bind(filter.is_resolved)
        .bind(window.from)
        .bind(window.to)
        .bind(filter.from.filter(|from| *from > window.earliest))
        .bind(filter.to.filter(|to| *to < window.latest))
        .bind(filter.before.map_or(window.end, |before| before.min(window.end)).0)
        .bind(limit)
        .bind(0_i64)
        .bind(filter.event_type().is_none_or(|kind| kind == EventType::PersonDetected))
        .bind(window.first.0)
        .bind(true)
        .bind(filter.kind.map(Kind::as_str))
        .bind(filter.subject_camera.map(|id| id.0))
        .fetch_one(database)
        .await
        .expect("a plan");
    let plan = &plan[0]["Plan"];
    let number = |name: &str| plan[name].as_i64().expect(name);
    (number("Shared Hit Blocks") + number("Shared Read Blocks"), number("Actual Rows"))
}

#[tokio::test]
async fn a_page_of_whatever_filter_is_read_without_going_through_the_table() {
    let now = Utc::now();
    let (database, query) = (million(now).await, page());
    let none = Filter::default();
    let kind = |kind| Filter { event_type: Some(kind), ..none };
    let camera = |id| Filter { camera_id: Some(CameraId(id)), ..none };
    let ago = |days| Some(now - TimeDelta::days(days));
    let several = Some(EventType::MultiplePersons);
    let filters = [
        ("all", none, PAGE),
        ("alerts", kind(EventType::SystemAlert), PAGE),
        ("alerts of a kind that there is none of", Filter { kind: Some(Kind::DoorForced), ..none }, 0),
        ("alerts about a camera", Filter { subject_camera: Some(CameraId(3)), ..none }, 0),
        ("doors", kind(EventType::DoorOpened), PAGE),
        ("unresolved doors", Filter { is_resolved: Some(false), ..kind(EventType::DoorOpened) }, 0),
        ("resolved", Filter { is_resolved: Some(true), ..none }, PAGE),
        ("a camera", camera(3), PAGE),
        ("a camera with few", camera(8), 20),
        ("no camera", camera(999), 0),
        ("several persons at a camera", Filter { event_type: several, ..camera(1) }, PAGE),
        ("never several persons at this one", Filter { event_type: several, ..camera(3) }, 0),
        ("alerts of a camera", Filter { event_type: Some(EventType::SystemAlert), ..camera(3) }, 0),
        ("resolved of a camera", Filter { is_resolved: Some(true), ..camera(1) }, 0),
        ("a day long ago", Filter { from: ago(500), to: ago(499), ..none }, PAGE),
        ("until long ago", Filter { to: ago(500), ..none }, PAGE),
        ("all but some days", Filter { from: ago(725), to: ago(3), ..none }, PAGE),
        ("alerts of all but some days", Filter { from: ago(725), to: ago(3), ..kind(EventType::SystemAlert) }, PAGE),
        ("this and that", Filter { from: ago(725), to: ago(3), event_type: several, ..camera(3) }, 0),
        ("before", Filter { before: Some(EventId(EVENTS / 2)), ..none }, PAGE),
        ("a camera before", Filter { before: Some(EventId(EVENTS / 2)), ..camera(3) }, PAGE),
    ];
    for (name, filter, expected) in filters {
        let among = Among { from: filter.from, to: filter.to, before: filter.before, after: None };
        let (mut blocks, mut rows) = (0, 0);
        for window in Runs::read(&database).await.expect("runs").windows(&among, Order::NewestFirst) {
            if rows < PAGE {
                let (read, found) = explain(&database, &query, &filter, window, PAGE - rows).await;
                (blocks, rows) = (blocks + read, rows + found);
            }
        }
        assert_eq!(rows, expected, "{name}");
        assert!(blocks < BLOCKS, "{name}: {blocks} blocks");
    }
    // The measure is worth something: going through the table takes many times as many.
    let all: i64 = sqlx::query_scalar(
        "SELECT sum(pg_relation_size(inhrelid) / 8192)::bigint FROM pg_inherits WHERE inhparent = 'events'::regclass",
    )
    .fetch_one(&database)
    .await
    .expect("a size");
    assert!(all > 8 * BLOCKS, "{all} blocks in all");
}

#[tokio::test]
async fn a_page_by_times_is_right_and_cheap_where_the_clock_was_set_back() {
    let database = server::database().await;
    // One month and the one of the clock that was ahead: by 400 days for some events, and later back by three days for
    // others.
    for statement in [
        "INSERT INTO cameras (name) SELECT 'Camera ' || n FROM generate_series(1, 8) AS n",
        "SELECT make_event_month('2026-11-01Z'), make_event_month('2027-12-01Z')",
        "ALTER TABLE events DISABLE TRIGGER USER",
        "INSERT INTO events (camera_id, event_type, person_count, created_at)
         SELECT 1 + n % 7, 'PERSON_DETECTED', 1,
                timestamptz '2026-11-01Z' + n * interval '8.64 s'
                + CASE WHEN n BETWEEN 100001 AND 105000 THEN interval '400 days'
                       WHEN n BETWEEN 200001 AND 202000 THEN interval '-3 days' ELSE interval '0' END
         FROM generate_series(1, 250000) AS n",
        "ALTER TABLE events ENABLE TRIGGER USER",
        "SELECT note_event_runs(0, 9223372036854775806)",
        "VACUUM ANALYZE events",
    ] {
        sqlx::query(statement).execute(&database.pool()).await.expect(statement);
    }
    let query = page();
    let at = |text: &str| Some(text.parse::<DateTime<Utc>>().expect("a time"));
    for (from, to) in [
        (at("2026-11-05T00:00:00Z"), at("2026-11-05T01:00:00Z")),
        (at("2026-11-18T00:00:00Z"), at("2026-11-18T06:00:00Z")),
        (at("2026-11-02T00:00:00Z"), at("2026-11-17T00:30:00Z")),
        (at("2026-11-02T00:00:00Z"), at("2026-11-25T00:00:00Z")),
        (at("2027-12-16T00:00:00Z"), None),
        (None, at("2026-11-12T00:00:00Z")),
        (at("2026-11-20T23:59:00Z"), at("2026-11-21T00:10:00Z")),
    ] {
        let filter = Filter { from, to, ..Filter::default() };
        let among = Among { from, to, before: None, after: None };
        let (mut blocks, mut rows) = (0, 0);
        for window in Runs::read(&database).await.expect("runs").windows(&among, Order::NewestFirst) {
            if rows < PAGE {
                let (read, found) = explain(&database, &query, &filter, window, PAGE - rows).await;
                (blocks, rows) = (blocks + read, rows + found);
            }
        }
        let listed = store::events::list(&database, &filter, PAGE, 0).await.expect("a page");
        let expected: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM events WHERE ($1 IS NULL OR created_at >= $1) AND ($2 IS NULL OR created_at <= $2)
             ORDER BY id DESC LIMIT $3",
        )
        .bind(from)
        .bind(to)
        .bind(PAGE)
        .fetch_all(&database)
        .await
        .expect("ids");
        assert!(!expected.is_empty(), "{from:?} {to:?}");
        assert_eq!(listed.iter().map(|event| event.id.0).collect::<Vec<_>>(), expected, "{from:?} {to:?}");
        assert!(blocks < 400, "{from:?} {to:?}: {blocks} blocks");
    }
}

#[tokio::test]
async fn a_month_that_has_no_statistics_yet_is_not_sorted_for_a_page() {
    let database = server::database().await;
    for statement in [
        "INSERT INTO cameras (name) VALUES ('Door')",
        "SELECT make_event_month(now())",
        "DO $$ BEGIN
            EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = off)', event_month_name(now()));
         END $$",
        "INSERT INTO events (camera_id, event_type, person_count, created_at)
         SELECT 1, 'PERSON_DETECTED', 1, now() FROM generate_series(1, 50000)",
    ] {
        sqlx::query(statement).execute(&database).await.expect(statement);
    }
    let (query, none) = (page(), Filter::default());
    let window = Runs::read(&database).await.expect("runs").windows(&Among::default(), Order::NewestFirst)[0];
    for filter in [none, Filter { camera_id: Some(CameraId(1)), ..none }, Filter { is_resolved: Some(false), ..none }] {
        let (blocks, rows) = explain(&database, &query, &filter, window, PAGE).await;
        assert_eq!(rows, PAGE, "{filter:?}");
        assert!(blocks < 200, "{filter:?}: {blocks} blocks");
    }
}
