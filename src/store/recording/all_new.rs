//! The statement for a group that is all new and of cameras that are known, as nearly every group is: it looks nothing up
//! for each event, and keeps the sums itself.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Columns, Error, NewEvent, Row, stored_event};
use crate::domain::{
    camera::{CameraId, CameraLabel},
    event::{Details, EventId, EventType},
};

/// The cameras as the recorder knows them, without a look at their table for each group. Each change of a camera raises
/// `cameras_version`, and a statement stores nothing by a version that is not current: so what is known is never old.
#[derive(Debug, Default)]
pub struct Cameras {
    /// None while nothing is known.
    version: Option<i64>,
    labels: HashMap<CameraId, CameraLabel>,
}

impl Cameras {
    /// Whether the cameras of all these events are there; read anew if one is not known.
    ///
    /// # Errors
    /// When the database is away.
    async fn know(&mut self, db: &mut PgConnection, events: &[NewEvent]) -> Result<bool, Error> {
        if self.version.is_none() || !self.have(events) {
            *self = Self::read(db).await?;
        }
        Ok(self.version.is_some() && self.have(events))
    }

    fn have(&self, events: &[NewEvent]) -> bool {
        events.iter().filter_map(|event| event.camera_id).all(|id| self.labels.contains_key(&id))
    }

    async fn read(db: &mut PgConnection) -> Result<Self, Error> {
        let rows = sqlx::query!(
            r#"SELECT version, id AS "id?", name AS "name?", location
               FROM cameras_version LEFT JOIN cameras ON true"#
        );
        let rows = rows.fetch_all(db).await?;
        let version = rows.first().map(|row| row.version);
        let labels = rows.into_iter().filter_map(|row| {
            let id = CameraId(row.id?);
            Some((id, CameraLabel { id, name: row.name?, location: row.location }))
        });
        Ok(Self { version, labels: labels.collect() })
    }

    /// Nothing is known any more.
    fn forget(&mut self) {
        *self = Self::default();
    }

    fn label(&self, event: &NewEvent) -> Option<CameraLabel> {
        self.labels.get(&event.camera_id?).cloned()
    }
}

/// What a group adds to `event_totals` and `event_buckets`, as their trigger would count it: for each camera, and for 0,
/// which is all events together. In the order of the keys, in which every writer locks these rows.
#[derive(Default)]
struct Sums {
    /// How many, and how many of them are unresolved.
    totals: BTreeMap<i32, (i64, i64)>,
    /// How many of a type.
    kinds: BTreeMap<(i32, EventType), i64>,
}

impl Sums {
    fn of(events: &[NewEvent]) -> Self {
        let mut sums = Self::default();
        for event in events {
            for place in [Some(0), event.camera_id.map(|id| id.0)].into_iter().flatten() {
                let (total, unresolved) = sums.totals.entry(place).or_default();
                *total += 1;
                *unresolved += i64::from(!event.is_resolved);
                *sums.kinds.entry((place, event.event_type)).or_default() += 1;
            }
        }
        sums
    }

    fn columns(self) -> SumColumns {
        let (totals, unresolved) = self.totals.values().copied().unzip();
        let (kind_places, kinds) = self.kinds.keys().map(|(place, kind)| (*place, kind.as_str())).unzip();
        let (places, counts) = (self.totals.into_keys().collect(), self.kinds.into_values().collect());
        SumColumns { places, totals, unresolved, kind_places, kinds, counts }
    }
}

/// The same side by side, as `UNNEST` takes it.
struct SumColumns {
    places: Vec<i32>,
    totals: Vec<i64>,
    unresolved: Vec<i64>,
    kind_places: Vec<i32>,
    kinds: Vec<&'static str>,
    counts: Vec<i64>,
}

/// Stores a group of events in one statement, in the group's order, if all of it is new and the cameras are as they are
/// known; at less than the price of [`super::insert`], which looks at each event. None if something is not, or if an event
/// has details, as only the hub's own have: then nothing is stored.
///
/// # Errors
/// When the database is away or refuses a row; then nothing of the group is stored.
pub async fn insert_new(
    db: &mut PgConnection,
    events: &[NewEvent],
    at: DateTime<Utc>,
    cameras: &mut Cameras,
) -> Result<Option<Vec<Row>>, Error> {
    let plain = Details::default();
    if events.iter().any(|event| event.details != plain) || !cameras.know(db, events).await? {
        return Ok(None);
    }
    let stored = store(db, &Columns::of(events), &Sums::of(events).columns(), at, cameras.version).await;
    let ids = match stored {
        Err(Error::Database(error)) if error.constraint() == Some("event_keys_pkey") => return Ok(None),
        ids => ids?,
    };
    let Some(mut ids) = ids.filter(|ids| ids.len() == events.len()) else {
        cameras.forget();
        return Ok(None);
    };
    // They are drawn, rising, in the order of the group.
    ids.sort_unstable();
    let rows = ids.into_iter().zip(events);
    Ok(Some(rows.map(|(id, new)| Row::Stored(stored_event(EventId(id), new, cameras.label(new), at))).collect()))
}

/// The statement. The ids of what it stored; none where the cameras are of another version, or the month has no event yet.
async fn store(
    db: &mut PgConnection,
    columns: &Columns<'_>,
    sums: &SumColumns,
    at: DateTime<Utc>,
    version: Option<i64>,
) -> Result<Option<Vec<i64>>, Error> {
    // An `UNNEST` for each column goes through all of them in step, and makes no table of each beforehand as one for all
    // would. The first event of a month is left to the other statement, whose trigger notes the month's lowest id.
    sqlx::query_scalar!(
        r#"
        WITH input AS MATERIALIZED (
            SELECT nextval('events_id_seq') AS id, sent.*
            FROM (SELECT UNNEST($1::int4[]) AS camera_id, UNNEST($2::text[]) AS event_type,
                         UNNEST($3::int4[]) AS person_count, UNNEST($4::float8[]) AS confidence,
                         UNNEST($5::text[]) AS snapshot_path, UNNEST($6::text[]) AS description,
                         UNNEST($7::bool[]) AS is_resolved, UNNEST($8::uuid[]) AS detection_id,
                         UNNEST($9::timestamptz[]) AS detected_at, UNNEST($10::uuid[]) AS key) AS sent
            WHERE (SELECT version FROM cameras_version) = $12
                AND EXISTS (SELECT FROM event_months WHERE start = month_of($11) AND first_id IS NOT NULL)
                AND set_config('portcullis.counts_itself', 'yes', true) = 'yes'
        ), keyed AS (
            INSERT INTO event_keys (camera_id, key, event_id, created_at)
            SELECT coalesce(camera_id, 0), key, id, $11 FROM input
        ), stored AS (
            INSERT INTO events (id, camera_id, event_type, person_count, confidence, snapshot_path, description,
                                is_resolved, resolved_at, detection_id, detected_at, created_at)
            SELECT id, camera_id, event_type::event_type, person_count, confidence, snapshot_path, description,
                   is_resolved, CASE WHEN is_resolved THEN $11::timestamptz END, detection_id, detected_at, $11
            FROM input
        ), totals AS (
            INSERT INTO event_totals AS kept (camera_id, total, unresolved)
            SELECT UNNEST($13::int4[]), UNNEST($14::int8[]), UNNEST($15::int8[]) WHERE EXISTS (SELECT FROM input)
            ON CONFLICT (camera_id) DO UPDATE
                SET total = kept.total + excluded.total, unresolved = kept.unresolved + excluded.unresolved
            RETURNING camera_id
        ), buckets AS (
            INSERT INTO event_buckets AS kept (camera_id, start, event_type, count)
            SELECT UNNEST($16::int4[]), quarter_of($11), UNNEST($17::text[])::event_type, UNNEST($18::int8[])
            -- After the totals, as in every trigger: so two transactions never wait for each other crosswise.
            WHERE (SELECT count(*) FROM totals) > 0
            ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = kept.count + excluded.count
        )
        SELECT array_agg(id) FROM input
        "#,
        &columns.camera_id as &[Option<i32>],
        &columns.event_type as &[&str],
        &columns.person_count,
        &columns.confidence as &[Option<f64>],
        &columns.snapshot_path as &[Option<&str>],
        &columns.description as &[Option<&str>],
        &columns.is_resolved,
        &columns.detection_id as &[Option<Uuid>],
        &columns.detected_at as &[Option<DateTime<Utc>>],
        &columns.key,
        at,
        version,
        &sums.places,
        &sums.totals,
        &sums.unresolved,
        &sums.kind_places,
        &sums.kinds as &[&str],
        &sums.counts,
    )
    .fetch_one(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_each_camera_and_of_all() {
        let event = |camera: Option<i32>, event_type, is_resolved| NewEvent {
            camera_id: camera.map(CameraId),
            event_type,
            person_count: 1,
            confidence: None,
            snapshot_path: None,
            description: None,
            is_resolved,
            detection_id: None,
            detected_at: None,
            details: Details::default(),
            key: Uuid::nil(),
        };
        let sums = Sums::of(&[
            event(Some(2), EventType::PersonDetected, false),
            event(Some(1), EventType::PersonDetected, false),
            event(Some(2), EventType::MultiplePersons, false),
            event(None, EventType::DoorOpened, true),
        ]);
        assert_eq!(sums.totals.into_iter().collect::<Vec<_>>(), [(0, (4, 3)), (1, (1, 1)), (2, (2, 2))]);
        let expected = [
            ((0, EventType::PersonDetected), 2),
            ((0, EventType::MultiplePersons), 1),
            ((0, EventType::DoorOpened), 1),
            ((1, EventType::PersonDetected), 1),
            ((2, EventType::PersonDetected), 1),
            ((2, EventType::MultiplePersons), 1),
        ];
        assert_eq!(sums.kinds.into_iter().collect::<Vec<_>>(), expected);
    }
}
