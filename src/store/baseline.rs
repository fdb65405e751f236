//! What the hub's throughput is held against: PostgreSQL's own fastest way in, `COPY`, of the same rows into a table with
//! the same columns and indexes. And how the server is set, so that a measurement says what it promises.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::{Error, recording::NewEvent};

/// How many bytes of rows are sent at once.
const CHUNK: usize = 64 * 1024;
/// The time that PostgreSQL counts from: 2000-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// Makes an empty table beside `events`, with all its columns, checks and indexes, and with the unique key of detection
/// ids, wherever the schema keeps that.
///
/// # Errors
/// When the database is away, or the table is there already.
pub async fn create(db: &mut PgConnection) -> Result<(), Error> {
    sqlx::raw_sql("CREATE TABLE baseline (LIKE events INCLUDING ALL)").execute(&mut *db).await?;
    let key = "SELECT EXISTS (SELECT FROM pg_indexes
                              WHERE tablename = 'baseline' AND indexdef LIKE '%UNIQUE%detection_id%')";
    if !sqlx::query_scalar::<_, bool>(key).fetch_one(&mut *db).await? {
        let missing = "CREATE UNIQUE INDEX ON baseline (camera_id, detection_id) WHERE detection_id IS NOT NULL";
        sqlx::raw_sql(missing).execute(db).await?;
    }
    Ok(())
}

/// Copies rows into it in one commit, in the binary format, as long as `rows` has some. Says how many.
///
/// # Errors
/// When the database is away or refuses a row.
pub async fn copy(db: &mut PgConnection, rows: impl Iterator<Item = NewEvent>) -> Result<u64, Error> {
    copy_into("baseline", db, rows).await
}

/// Copies rows into any table that has the columns.
///
/// # Errors
/// When the database is away or refuses a row.
pub async fn copy_into(table: &str, db: &mut PgConnection, rows: impl Iterator<Item = NewEvent>) -> Result<u64, Error> {
    let statement = format!(
        "COPY {table} (camera_id, event_type, person_count, confidence, snapshot_path, description, is_resolved,
                       detection_id, detected_at, created_at) FROM STDIN (FORMAT binary)"
    );
    let mut copy = db.copy_in_raw(&statement).await?;
    let mut chunk = Vec::with_capacity(CHUNK + 4096);
    // The signature, no flags, no extension.
    chunk.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for row in rows {
        write(&mut chunk, &row);
        if chunk.len() >= CHUNK {
            copy.send(&chunk[..]).await?;
            chunk.clear();
        }
    }
    // The end: a row of -1 columns.
    chunk.extend_from_slice(&(-1_i16).to_be_bytes());
    copy.send(chunk).await?;
    copy.finish().await
}

fn write(out: &mut Vec<u8>, row: &NewEvent) {
    const COLUMNS: i16 = 10;
    out.extend_from_slice(&COLUMNS.to_be_bytes());
    field(out, row.camera_id.map(|id| id.0.to_be_bytes()));
    field(out, Some(row.event_type.as_str()));
    field(out, Some(i32::try_from(row.person_count).unwrap_or(i32::MAX).to_be_bytes()));
    field(out, row.confidence.map(f64::to_be_bytes));
    field(out, row.snapshot_path.as_ref());
    field(out, row.description.as_ref());
    field(out, Some([u8::from(row.is_resolved)]));
    field(out, row.detection_id.map(uuid::Uuid::into_bytes));
    field(out, row.detected_at.map(timestamp));
    field(out, Some(timestamp(Utc::now())));
}

fn field(out: &mut Vec<u8>, value: Option<impl AsRef<[u8]>>) {
    match value {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(value) => {
            let bytes = value.as_ref();
            out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// Microseconds since PostgreSQL's epoch.
fn timestamp(time: DateTime<Utc>) -> [u8; 8] {
    (time.timestamp_micros() - POSTGRES_EPOCH * 1_000_000).to_be_bytes()
}

/// Writes everything out, so that what one measurement left to do is not done during the next.
///
/// # Errors
/// When the database is away, or this is no superuser.
pub async fn checkpoint(db: impl PgExecutor<'_>) -> Result<(), Error> {
    sqlx::raw_sql("CHECKPOINT").execute(db).await.map(|_| ())
}

/// The server's version and the settings on which it depends what a commit promises and costs, with the values they
/// have; and how many of the schema's tables are unlogged.
///
/// # Errors
/// When the database is away.
pub async fn promises(db: impl PgExecutor<'_>) -> Result<Vec<(String, String)>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT name AS "name!", current_setting(name) AS "setting!" FROM pg_settings
        WHERE name = ANY (ARRAY['server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method',
                                'data_checksums', 'shared_buffers'])
        UNION ALL
        SELECT 'unlogged tables', count(*)::text FROM pg_class
        WHERE relpersistence = 'u' AND relnamespace = 'public'::regnamespace
        "#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.setting)).collect())
}

/// How many detections the hub has stored.
///
/// # Errors
/// When the database is away.
pub async fn stored(db: impl PgExecutor<'_>) -> Result<u64, Error> {
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM events WHERE detection_id IS NOT NULL"#);
    Ok(u64::try_from(count.fetch_one(db).await?).unwrap_or(0))
}
