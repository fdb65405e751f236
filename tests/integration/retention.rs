//! Retention against a real Postgres: whole months go, unresolved alerts stay, sums and ids stay true, and the recorder
//! goes on meanwhile.

use chrono::{DateTime, TimeDelta, Utc};
use portcullis::{
    domain::{
        camera::CameraId,
        event::{EventId, EventType},
    },
    retention::{self, Plan},
    store::{self, Database, events::Filter, months},
};

use crate::server;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

async fn run(database: &Database, statement: &'static str) {
    sqlx::raw_sql(statement).execute(database).await.expect(statement);
}

async fn number(database: &Database, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.expect(query)
}

/// Three months of events of two cameras, a fifth of them alerts of no camera, half of these unresolved; all with keys.
async fn three_months() -> Database {
    let database = server::database().await;
    run(&database, "INSERT INTO cameras (name) VALUES ('Front door'), ('Yard')").await;
    let mut connection = database.acquire().await.expect("a connection");
    for month in ["2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z"] {
        months::make(&mut connection, at(month)).await.expect("a month");
    }
    drop(connection);
    run(
        &database,
        "INSERT INTO events (camera_id, event_type, person_count, is_resolved, detection_id, created_at)
         SELECT CASE WHEN n % 5 > 0 THEN 1 + n % 2 END,
                (CASE WHEN n % 5 > 0 THEN 'PERSON_DETECTED' ELSE 'SYSTEM_ALERT' END)::event_type, 1, n % 10 = 0,
                CASE WHEN n % 5 > 0 THEN gen_random_uuid() END, timestamptz '2025-01-01Z' + n * interval '1 hour'
         FROM generate_series(0, 89 * 24) AS n ORDER BY n;
         INSERT INTO event_keys SELECT coalesce(camera_id, 0), coalesce(detection_id, gen_random_uuid()), id, created_at
         FROM events;
         INSERT INTO rejected_messages (topic, payload, reason, source, received_at)
         SELECT 't', '', 'r', 's', timestamptz '2025-01-01Z' + n * interval '1 day' FROM generate_series(0, 89) AS n",
    )
    .await;
    database
}

/// Every kept sum is what a count of the rows says.
async fn sums_are_true(database: &Database) {
    let wrong = "SELECT count(*) FROM (
            (SELECT camera_id, total, unresolved FROM event_totals WHERE total <> 0
             EXCEPT SELECT place, count(*), count(*) FILTER (WHERE NOT is_resolved)
                    FROM events CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place WHERE place IS NOT NULL GROUP BY place)
            UNION ALL
            (SELECT place, count(*), count(*) FILTER (WHERE NOT is_resolved)
             FROM events CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place WHERE place IS NOT NULL GROUP BY place
             EXCEPT SELECT camera_id, total, unresolved FROM event_totals)
        ) AS totals";
    assert_eq!(number(database, wrong).await, 0, "totals");
    let wrong = "SELECT count(*) FROM (
            SELECT place, quarter_of(created_at) AS start, event_type, count(*) AS rows FROM events
            CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place WHERE place IS NOT NULL GROUP BY 1, 2, 3
        ) AS counted FULL JOIN (
            SELECT camera_id, start, event_type, sum(count) AS count FROM (
                SELECT * FROM event_buckets
                UNION ALL SELECT camera_id, day::timestamp AT TIME ZONE 'UTC' + (place - 1) * interval '15 minutes',
                                 event_type, count
                          FROM event_days CROSS JOIN unnest(counts) WITH ORDINALITY AS quarters (count, place)
            ) AS sums GROUP BY 1, 2, 3 HAVING sum(count) <> 0
        ) AS kept
            ON place = camera_id AND counted.start = kept.start AND counted.event_type = kept.event_type
        WHERE rows IS DISTINCT FROM count";
    assert_eq!(number(database, wrong).await, 0, "quarters of an hour");
}

#[tokio::test]
async fn whole_months_go_and_unresolved_alerts_stay() {
    let database = three_months().await;
    retention::pack(&database, at("2025-02-10T00:00:00Z")).await.expect("packed sums");
    sums_are_true(&database).await;
    let limit = at("2025-03-10T00:00:00Z");
    let plan = Plan::make(&database, limit).await.expect("a plan");
    let told: Vec<_> = plan.months.iter().map(|month| (month.start, month.events, month.alerts)).collect();
    // Of 744 and 672 hours, every tenth is an alert that nobody has resolved.
    assert_eq!(told, [(at("2025-01-01T00:00:00Z"), 670, 74), (at("2025-02-01T00:00:00Z"), 604, 68)]);
    assert_eq!(plan.messages, 68);
    assert_eq!(number(&database, "SELECT count(*) FROM events").await, 89 * 24 + 1, "a plan drops nothing");
    let alerts = Filter { event_type: Some(EventType::SystemAlert), is_resolved: Some(false), ..Filter::default() };
    let before = store::events::list(&database, &alerts, 500, 0).await.expect("a page");

    retention::prune(&database, limit).await.expect("a prune");
    sums_are_true(&database).await;
    assert_eq!(number(&database, "SELECT count(*) FROM events").await, 89 * 24 + 1 - 670 - 604);
    assert_eq!(number(&database, "SELECT count(*) FROM events_elsewhere").await, 74 + 68);
    assert_eq!(number(&database, "SELECT count(*) FROM event_keys WHERE created_at < '2025-03-01Z'").await, 0);
    assert_eq!(number(&database, "SELECT count(*) FROM event_keys").await, 28 * 24 + 24 * 2 + 1);
    assert_eq!(number(&database, "SELECT count(*) FROM rejected_messages").await, 22);
    assert_eq!(store::events::list(&database, &alerts, 500, 0).await.expect("a page"), before);

    // The oldest alert is still found by its id, and can be resolved; then it goes, too.
    let oldest = before.last().expect("an alert").id;
    assert_eq!(oldest, EventId(6));
    assert_eq!(store::events::by_id(&database, EventId(1)).await.expect("an answer"), None, "it was resolved");
    let resolved = store::events::resolve(&database, oldest, Utc::now()).await.expect("an answer");
    assert!(resolved.is_some_and(|event| event.is_resolved));
    retention::prune(&database, limit).await.expect("a prune");
    assert_eq!(store::events::by_id(&database, oldest).await.expect("an answer"), None);
    sums_are_true(&database).await;
    let nothing = Plan { months: Vec::new(), messages: 0 };
    assert_eq!(Plan::make(&database, limit).await.expect("a plan"), nothing);
    // The newer month is whole.
    let page =
        store::events::list(&database, &Filter { camera_id: Some(CameraId(2)), ..Filter::default() }, 500, 0).await;
    assert!(page.expect("a page").iter().all(|event| event.created_at >= at("2025-03-01T00:00:00Z")));
}

#[tokio::test]
async fn the_sums_of_days_that_are_over_are_packed_and_stay_true() {
    let database = three_months().await;
    let total =
        store::totals::all(&database, at("2025-01-31T23:45:00Z"), at("2025-02-20T00:15:00Z")).await.expect("totals");
    let now = at("2025-03-02T12:00:00Z");
    // 24 hours of 59 days, each counted for all, and four in five for a camera.
    assert_eq!(retention::pack(&database, now).await.expect("packed sums"), 1416 + 1416 * 4 / 5);
    assert_eq!(retention::pack(&database, now).await.expect("packed sums"), 0);
    assert_eq!(number(&database, "SELECT count(*) FROM event_buckets WHERE start < '2025-03-01Z'").await, 0);
    assert_eq!(number(&database, "SELECT count(DISTINCT day) FROM event_days").await, 59);
    sums_are_true(&database).await;
    assert_eq!(
        store::totals::all(&database, at("2025-01-31T23:45:00Z"), at("2025-02-20T00:15:00Z")).await.expect("totals"),
        total
    );
    // Whoever changes an event of such a day changes its sums.
    store::events::delete(&database, EventId(2)).await.expect("an answer").expect("an event");
    run(
        &database,
        "DELETE FROM events WHERE id BETWEEN 100 AND 200;
         UPDATE events SET event_type = 'MULTIPLE_PERSONS', created_at = created_at + interval '1 day'
         WHERE id BETWEEN 300 AND 320;
         INSERT INTO events (camera_id, event_type, person_count, created_at) VALUES (1, 'DOOR_OPENED', 1, '2025-01-07Z')",
    )
    .await;
    sums_are_true(&database).await;
    let january = at("2025-01-01T00:00:00Z");
    let quarters = async || store::totals::quarters(&database, None, january, now).await.expect("sums");
    let sum = async || quarters().await.iter().flat_map(|run| run.counts.clone()).map(i64::from).sum::<i64>();
    let (before, runs) = (sum().await, quarters().await.len());
    assert!(retention::pack(&database, now).await.expect("packed sums") > 100);
    sums_are_true(&database).await;
    assert_eq!(sum().await, before);
    assert!(quarters().await.len() < runs);
    run(&database, "TRUNCATE events").await;
    sums_are_true(&database).await;
    assert_eq!(sum().await, 0);
}

#[tokio::test]
async fn a_month_that_somebody_reads_is_left_and_nobody_waits_long() {
    let database = three_months().await;
    let mut reader = database.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM events WHERE created_at < '2025-02-01Z'").execute(&mut *reader).await.expect("a query");
    let busy = store::retention::drop_month(&database, at("2025-01-01T00:00:00Z")).await;
    assert!(busy.as_ref().is_err_and(store::is_busy), "{busy:?}");
    assert_eq!(number(&database, "SELECT count(*) FROM events").await, 89 * 24 + 1);
    sums_are_true(&database).await;
    reader.rollback().await.expect("an end");
    assert_eq!(store::retention::drop_month(&database, at("2025-01-01T00:00:00Z")).await.expect("a drop"), 670);
    sums_are_true(&database).await;
}

#[tokio::test]
async fn what_was_stored_by_a_clock_in_doubt_stays_until_that_is_old() {
    let database = three_months().await;
    // The last day of February was written when the clock was wrong, and so were some messages; that ended in March.
    let sound = store::clock::Newest { event: 59 * 24 - 24, message: 80 };
    store::clock::doubt(&database, at("2025-02-28T00:00:00Z"), sound).await.expect("a doubt");
    let kept = store::clock::read(&database).await.expect("what is kept");
    assert_eq!((kept.doubted, kept.sound), (Some(at("2025-02-28T00:00:00Z")), sound));
    // A doubt that is there goes on as it began.
    store::clock::doubt(&database, at("2025-03-02T00:00:00Z"), kept.newest).await.expect("a doubt");
    assert_eq!(store::clock::read(&database).await.expect("what is kept").sound, sound);
    store::clock::believe(&database, at("2025-04-15T00:00:00Z"), sound).await.expect("an end");
    assert_eq!(store::clock::read(&database).await.expect("what is kept").doubted, None);

    let months = async |limit| {
        let plan = Plan::make(&database, at(limit)).await.expect("a plan");
        (plan.months.iter().map(|month| month.start.format("%m").to_string()).collect::<String>(), plan.messages)
    };
    assert_eq!(months("2025-04-14T00:00:00Z").await, ("01".to_owned(), 80));
    retention::prune(&database, at("2025-04-14T00:00:00Z")).await.expect("a prune");
    let young = "SELECT count(*) FROM event_keys WHERE event_id > 59 * 24 - 24";
    assert_eq!(number(&database, young).await, 31 * 24 + 1, "a detection that comes again is known");
    assert_eq!(number(&database, "SELECT count(*) FROM rejected_messages").await, 10);
    sums_are_true(&database).await;
    // As old as that.
    assert_eq!(months("2025-04-15T00:00:00Z").await, ("0203".to_owned(), 10));
    retention::prune(&database, at("2025-04-15T00:00:00Z")).await.expect("a prune");
    assert_eq!(number(&database, young).await, 0);
    sums_are_true(&database).await;
}

#[tokio::test]
async fn a_note_does_not_undo_what_a_person_has_said() {
    let database = server::database().await;
    let (first, second, said) = (at("2026-11-27T12:00:00Z"), at("2026-11-27T12:10:00Z"), at("2028-11-27T12:00:00Z"));
    assert!(store::clock::note(&database, None, first, None).await.expect("a note"));
    assert!(!store::clock::note(&database, None, second, None).await.expect("no note"), "somebody else has noted");
    assert!(store::clock::note(&database, Some(first), second, None).await.expect("a note"));
    store::clock::confirm(&database, said).await.expect("a word");
    assert!(!store::clock::note(&database, Some(second), second, None).await.expect("no note"));
    assert_eq!(store::clock::noted(&database).await.expect("a note"), Some(said));
}

#[tokio::test]
async fn months_are_made_ahead_once() {
    let database = server::database().await;
    let now = at("2026-11-30T23:59:59Z");
    for _ in 0..2 {
        retention::make_ahead(&database, now).await.expect("months");
        assert_eq!(number(&database, "SELECT count(*) FROM event_months WHERE has_partition").await, 4);
    }
    retention::make_ahead(&database, now + TimeDelta::days(1)).await.expect("months");
    let newest = "SELECT extract(month FROM max(start) AT TIME ZONE 'UTC')::bigint FROM event_months";
    assert_eq!(number(&database, newest).await, 3);
}
