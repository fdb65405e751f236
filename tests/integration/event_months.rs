//! The events table by months against a real Postgres: the upgrade of what an older hub has stored, pages over many
//! months, and events whose month has no partition.

use chrono::{DateTime, Months, Utc};
use portcullis::{
    domain::{
        camera::CameraId,
        event::{EventId, EventType},
    },
    store::{self, Address, Database, events::Filter, months},
};

use crate::server;

/// Runs the migrations up to and with this version.
async fn migrate_to(database: &Database, version: i64) {
    let mut migrator = sqlx::migrate::Migrator::new(std::path::Path::new("migrations")).await.expect("migrations");
    migrator.migrations.to_mut().retain(|migration| migration.version <= version);
    migrator.run(&database.pool()).await.expect("an older schema");
}

async fn run(database: &Database, statement: &'static str) {
    sqlx::raw_sql(statement).execute(database).await.expect(statement);
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn ids(events: &[portcullis::domain::event::Event]) -> Vec<i64> {
    events.iter().map(|event| event.id.0).collect()
}

/// An event every `hours` hours from a time on: five kinds and two cameras in turn, every third resolved.
async fn fill(database: &Database, from: DateTime<Utc>, count: i32, hours: i32) {
    sqlx::query(
        "INSERT INTO events (camera_id, event_type, person_count, is_resolved, created_at)
         SELECT 1 + n % 2, (enum_range(NULL::event_type))[1 + n % 5], 1, n % 3 = 0, $1 + make_interval(hours => n * $3)
         FROM generate_series(0, $2 - 1) AS n ORDER BY n",
    )
    .bind(from)
    .bind(count)
    .bind(hours)
    .execute(database)
    .await
    .expect("events");
}

async fn cameras(database: &Database) {
    run(database, "INSERT INTO cameras (name) VALUES ('Front door'), ('Yard')").await;
}

/// An empty database with a partition for each of the months of 2025.
async fn year() -> Database {
    let database = server::database().await;
    cameras(&database).await;
    let mut connection = database.acquire().await.expect("a connection");
    for month in 0..12 {
        let start = at("2025-01-01T00:00:00Z").checked_add_months(Months::new(month)).expect("a month");
        assert!(months::make(&mut connection, start).await.expect("a month"));
    }
    drop(connection);
    database
}

#[tokio::test]
async fn what_the_first_schema_held_is_carried_over() {
    let database = Address::parse(&server::create().await).expect("an address").open(5);
    migrate_to(&database, 20_261_122_000_001).await;
    cameras(&database).await;
    fill(&database, at("2026-01-15T00:00:00Z"), 500, 12).await;
    run(
        &database,
        "UPDATE events SET detection_id = gen_random_uuid(), confidence = 0.5, description = 'one person' WHERE id > 10;
         DELETE FROM events WHERE id IN (7, 500)",
    )
    .await;
    let read = "SELECT md5(string_agg(row(id, camera_id, event_type, person_count, confidence, snapshot_path, description,
                       is_resolved, resolved_at, detection_id, detected_at, created_at)::text, ',' ORDER BY id)) FROM events";
    let before: String = sqlx::query_scalar(read).fetch_one(&database).await.expect("a fingerprint");
    store::migrate(&database).await.expect("an upgrade");
    let after: String = sqlx::query_scalar(read).fetch_one(&database).await.expect("a fingerprint");
    assert_eq!(before, after);
    let (elsewhere, partitions): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM events_elsewhere), (SELECT count(*) FROM event_months WHERE has_partition)",
    )
    .fetch_one(&database)
    .await
    .expect("counts");
    assert_eq!((elsewhere, partitions), (0, 9));
    let keys: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM event_keys JOIN events ON event_id = id AND key = detection_id AND event_keys.camera_id = events.camera_id
             AND event_keys.created_at = events.created_at",
    )
    .fetch_one(&database)
    .await
    .expect("a count");
    assert_eq!(keys, 489, "every detection id is known");
    assert_eq!(store::totals::all(&database, Utc::now(), at("2100-01-01T00:00:00Z")).await.expect("totals").total, 498);
    let page = store::events::list(&database, &Filter::default(), 500, 0).await.expect("a page");
    assert_eq!(ids(&page), (1..500).rev().filter(|id| *id != 7).collect::<Vec<_>>());
    // An id that was given away and deleted again is not given anew.
    let next: i64 = sqlx::query_scalar(
        "INSERT INTO events (event_type, person_count, created_at) VALUES ('SYSTEM_ALERT', 0, now()) RETURNING id",
    )
    .fetch_one(&database)
    .await
    .expect("an event");
    assert_eq!(next, 501);
}

/// What a filter should answer, by the simplest query there is.
async fn expected(database: &Database, filter: &Filter, limit: i64, offset: i64) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT id FROM events WHERE ($1 IS NULL OR camera_id = $1) AND ($2 IS NULL OR event_type::text = $2)
             AND ($3 IS NULL OR is_resolved = $3) AND ($4 IS NULL OR created_at >= $4) AND ($5 IS NULL OR created_at <= $5)
             AND ($6 IS NULL OR id < $6) ORDER BY id DESC LIMIT $7 OFFSET $8",
    )
    .bind(filter.camera_id.map(|id| id.0))
    .bind(filter.event_type.map(EventType::as_str))
    .bind(filter.is_resolved)
    .bind(filter.from)
    .bind(filter.to)
    .bind(filter.before.map(|id| id.0))
    .bind(limit)
    .bind(offset)
    .fetch_all(database)
    .await
    .expect("ids")
}

#[tokio::test]
async fn pages_go_over_months_by_every_filter() {
    let database = year().await;
    fill(&database, at("2025-01-01T00:00:00Z"), 1000, 8).await;
    let cameras = [None, Some(CameraId(1)), Some(CameraId(9))];
    let kinds = [None, Some(EventType::DoorOpened)];
    let resolved = [None, Some(true), Some(false)];
    let times = [
        (None, None),
        (Some(at("2025-03-01T00:00:00Z")), Some(at("2025-03-31T16:00:00Z"))),
        (Some(at("2025-02-14T03:00:00Z")), Some(at("2025-06-14T03:00:00Z"))),
        (Some(at("2025-07-04T08:00:00Z")), Some(at("2025-07-04T08:00:00Z"))),
        (Some(at("2026-07-04T08:00:00Z")), None),
        (None, Some(at("2025-01-02T00:00:00Z"))),
    ];
    let befores = [None, Some(EventId(500)), Some(EventId(1)), Some(EventId(i64::MAX))];
    let mut asked = 0;
    for camera_id in cameras {
        for event_type in kinds {
            for is_resolved in resolved {
                for (from, to) in times {
                    for before in befores {
                        let filter =
                            Filter { camera_id, event_type, is_resolved, from, to, before, ..Filter::default() };
                        let (limit, offset) = ([5, 200][asked % 2], [0, 0, 7, 150][asked % 4]);
                        let page = store::events::list(&database, &filter, limit, offset).await.expect("a page");
                        assert_eq!(ids(&page), expected(&database, &filter, limit, offset).await, "{filter:?}");
                        asked += 1;
                    }
                }
            }
        }
    }
}

/// All pages by these filters are what the simplest query says.
async fn pages_are_right(database: &Database, when: &str) {
    let times = [None, Some("2025-03-01T00:00:00Z"), Some("2025-03-10T12:00:00Z"), Some("2025-04-01T01:00:00Z")]
        .map(|time| time.map(at));
    for from in times {
        for to in times {
            for (before, camera_id) in [(None, None), (Some(EventId(70)), None), (None, Some(CameraId(2)))] {
                for (limit, offset) in [(500, 0), (7, 0), (7, 5)] {
                    let filter = Filter { from, to, before, camera_id, ..Filter::default() };
                    let page = store::events::list(database, &filter, limit, offset).await.expect("a page");
                    assert_eq!(ids(&page), expected(database, &filter, limit, offset).await, "{when}: {filter:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn pages_are_right_whatever_the_clock_did_and_whoever_wrote() {
    let database = year().await;
    // Forward, back within the month, a year ahead (which has no partition), back over months, and on.
    for (from, count, hours) in [
        ("2025-03-01T00:00:00Z", 40, 8),
        ("2025-03-09T00:00:00Z", 20, 2),
        ("2026-03-09T00:00:00Z", 10, 24),
        ("2025-02-27T00:00:00Z", 30, 6),
        ("2025-03-31T00:00:00Z", 20, 6),
    ] {
        fill(&database, at(from), count, hours).await;
        pages_are_right(&database, from).await;
    }
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM event_runs").fetch_one(&database).await.expect("a count");
    assert!((6..20).contains(&runs), "{runs}");
    // By those who change, take and put in what they like.
    for statement in [
        "UPDATE events SET created_at = created_at - interval '40 days' WHERE id IN (15, 16, 60, 120)",
        "DELETE FROM events WHERE id IN (1, 41, 42, 61, 71, 101)",
        "INSERT INTO events (id, camera_id, event_type, person_count, created_at)
         VALUES (41, 1, 'PERSON_DETECTED', 1, '2025-09-01Z'), (101, 2, 'PERSON_DETECTED', 1, '2025-03-10Z')",
        "UPDATE events SET is_resolved = true WHERE id % 7 = 0",
        "UPDATE events SET created_at = '2025-03-10T12:00:00Z' WHERE id BETWEEN 30 AND 90",
    ] {
        run(&database, statement).await;
        pages_are_right(&database, statement).await;
    }
    let seen = store::events::since(&database, EventId(0), 500).await.expect("a replay");
    assert!(seen.is_sorted_by_key(|event| event.id) && seen.len() == 116, "{}", seen.len());
    run(&database, "TRUNCATE events").await;
    fill(&database, at("2025-05-01T00:00:00Z"), 20, 24).await;
    pages_are_right(&database, "after all was taken").await;
}

#[tokio::test]
async fn a_replay_goes_over_months_and_skips_nothing() {
    let database = year().await;
    fill(&database, at("2025-01-01T00:00:00Z"), 300, 24).await;
    let (mut seen, mut last) = (Vec::new(), EventId(0));
    loop {
        let page = store::events::since(&database, last, 40).await.expect("a page");
        let Some(newest) = page.last() else { break };
        last = newest.id;
        seen.extend(ids(&page));
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_event_is_found_resolved_and_deleted_in_its_month() {
    let database = year().await;
    fill(&database, at("2025-01-01T00:00:00Z"), 300, 24).await;
    for id in [1, 31, 32, 300].map(EventId) {
        let event = store::events::by_id(&database, id).await.expect("an answer").expect("an event");
        assert_eq!(event.id, id);
        let resolved = store::events::resolve(&database, id, at("2026-01-01T00:00:00Z")).await.expect("an answer");
        assert!(resolved.as_ref().is_some_and(|event| event.is_resolved));
        assert_eq!(store::events::by_id(&database, id).await.expect("an answer"), resolved);
        assert_eq!(store::events::delete(&database, id).await.expect("an answer"), resolved);
        assert_eq!(store::events::delete(&database, id).await.expect("an answer"), None);
    }
    for id in [0, 301, i64::MAX, i64::MIN].map(EventId) {
        assert_eq!(store::events::by_id(&database, id).await.expect("an answer"), None);
    }
}

#[tokio::test]
async fn what_has_no_month_is_found_and_moves_into_it_later() {
    let database = server::database().await;
    cameras(&database).await;
    fill(&database, at("2025-01-20T00:00:00Z"), 60, 24).await;
    let pages = async || {
        let page = store::events::list(&database, &Filter::default(), 100, 0).await.expect("a page");
        assert_eq!(ids(&page), (1..=60).rev().collect::<Vec<_>>());
        assert!(store::events::by_id(&database, EventId(30)).await.expect("an answer").is_some());
        let filter = Filter { to: Some(at("2025-02-10T00:00:00Z")), before: Some(EventId(20)), ..Filter::default() };
        let page = store::events::list(&database, &filter, 3, 0).await.expect("a page");
        assert_eq!(ids(&page), [19, 18, 17]);
        store::totals::all(&database, at("2025-02-01T00:00:00Z"), at("2025-03-05T00:00:00Z")).await.expect("totals")
    };
    let before = pages().await;
    let mut connection = database.acquire().await.expect("a connection");
    assert!(months::make(&mut connection, at("2025-02-28T23:59:59Z")).await.expect("a month"));
    assert!(!months::make(&mut connection, at("2025-02-01T00:00:00Z")).await.expect("a month"));
    let elsewhere: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events_elsewhere").fetch_one(&database).await.expect("a count");
    assert_eq!(elsewhere, 60 - 28);
    assert_eq!(pages().await, before);
}
