//! What is dropped because it is old: whole months of events, the keys they were known by, and rejected messages.

use chrono::{DateTime, Utc};

use super::{Database, Error};

/// How much of the keys is looked through in one statement, in pages of 8 KiB: a fraction of a second.
const BITE: i64 = 2048;
/// How many rejected messages are deleted in one statement.
const MESSAGES: i64 = 1000;

/// A month that has ended before some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldMonth {
    pub start: DateTime<Utc>,
    /// When the next one begins.
    pub end: DateTime<Utc>,
    /// How many of its events would be dropped.
    pub events: i64,
    /// How many alerts would stay, because nobody has resolved them.
    pub alerts: i64,
}

/// The months that ended at this time or earlier and have something to drop, the oldest first. A month is left where
/// something in it was stored by a clock that was in doubt later than that, and so is younger than it says.
///
/// # Errors
/// When the database is away.
pub async fn old_months(db: &Database, before: DateTime<Utc>) -> Result<Vec<OldMonth>, Error> {
    let months = sqlx::query!(
        r#"
        SELECT start, end_of_month(start) AS "end!", has_partition, alerts AS "alerts!",
               (SELECT coalesce(sum(count), 0)::bigint FROM event_buckets
                WHERE camera_id = 0 AND event_buckets.start >= event_months.start
                      AND event_buckets.start < end_of_month(event_months.start))
               + (SELECT coalesce(sum(count), 0)::bigint FROM event_days CROSS JOIN unnest(counts) AS count
                  WHERE camera_id = 0 AND day >= (event_months.start AT TIME ZONE 'UTC')::date
                        AND day < (end_of_month(event_months.start) AT TIME ZONE 'UTC')::date) AS "events!"
        FROM event_months CROSS JOIN LATERAL (
            SELECT count(*) AS alerts FROM events
            WHERE event_type = 'SYSTEM_ALERT' AND NOT is_resolved
                  AND created_at >= event_months.start AND created_at < end_of_month(event_months.start)
        ) AS counted
        WHERE end_of_month(start) <= $1
            AND NOT EXISTS (
                SELECT FROM clock_doubts JOIN events ON id > after_event AND id <= last_event
                WHERE until > $1 AND created_at >= event_months.start AND created_at < end_of_month(event_months.start))
        ORDER BY start
        "#,
        before,
    );
    let months = months.fetch_all(db).await?.into_iter();
    let worth = months.filter(|month| month.has_partition || month.events > month.alerts);
    let old = worth.map(|month| OldMonth {
        start: month.start,
        end: month.end,
        events: month.events - month.alerts,
        alerts: month.alerts,
    });
    Ok(old.collect())
}

/// Drops a month's events, but for alerts that nobody has resolved, and says how many they were.
///
/// # Errors
/// When the database is away, or others are at work on the table (see [`super::is_busy`]): then nothing is dropped, and
/// nobody has waited longer than a quarter of a second.
pub async fn drop_month(db: &Database, month: DateTime<Utc>) -> Result<i64, Error> {
    let dropped = sqlx::query_scalar!(r#"SELECT drop_event_month($1) AS "dropped!""#, month).fetch_one(db).await?;
    // No more than a little work for those who read pages; what fails is done with the next month.
    sqlx::query!("SELECT forget_event_runs($1)", month).execute(db).await?;
    Ok(dropped)
}

/// Forgets by which ids the detections before this time were known, in small bites, and says how many they were. Not of
/// those that were stored by a clock that was in doubt after `limit`.
///
/// # Errors
/// When the database is away; what was forgotten stays forgotten.
pub async fn forget_keys(db: &Database, before: DateTime<Utc>, limit: DateTime<Utc>) -> Result<u64, Error> {
    let pages = sqlx::query_scalar!(
        r#"SELECT pg_relation_size('event_keys') / current_setting('block_size')::bigint AS "pages!""#
    );
    let (pages, mut forgotten) = (pages.fetch_one(db).await?, 0);
    for page in (0..=pages).step_by(usize::try_from(BITE).unwrap_or(1)) {
        let done = sqlx::query!(
            "DELETE FROM event_keys WHERE ctid >= format('(%s,0)', $1::bigint)::tid
                 AND ctid < format('(%s,0)', $2::bigint)::tid AND created_at < $3
                 AND NOT EXISTS (SELECT FROM clock_doubts
                                 WHERE until > $4 AND event_id > after_event AND event_id <= last_event)",
            page,
            page + BITE,
            before,
            limit,
        );
        forgotten += done.execute(db).await?.rows_affected();
    }
    Ok(forgotten)
}

/// How many messages were rejected before this time.
///
/// # Errors
/// When the database is away.
pub async fn old_messages(db: &Database, before: DateTime<Utc>) -> Result<i64, Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM rejected_messages
           WHERE received_at < $1 AND NOT EXISTS (SELECT FROM clock_doubts
                                                  WHERE until > $1 AND id > after_message AND id <= last_message)"#,
        before,
    )
    .fetch_one(db)
    .await
}

/// Deletes the messages that were rejected before this time, some at a time, and says how many they were.
///
/// # Errors
/// When the database is away.
pub async fn delete_messages(db: &Database, before: DateTime<Utc>) -> Result<u64, Error> {
    let mut deleted = 0;
    loop {
        let done = sqlx::query!(
            "DELETE FROM rejected_messages WHERE id IN
                 (SELECT id FROM rejected_messages
                  WHERE received_at < $1 AND NOT EXISTS (
                      SELECT FROM clock_doubts WHERE until > $1 AND id > after_message AND id <= last_message)
                  ORDER BY id LIMIT $2)",
            before,
            MESSAGES,
        );
        let done = done.execute(db).await?.rows_affected();
        deleted += done;
        if done == 0 {
            return Ok(deleted);
        }
    }
}
