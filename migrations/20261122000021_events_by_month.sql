-- The events, a partition for each month (UTC) of `created_at`, so that a month can be dropped as a whole and no index
-- grows without end.
--
-- What every reader may rely on: ids rise with `created_at` (one recorder writes them, one commit at a time). So the ids
-- of a month lie together, and `event_months` says from which one on.

LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
DROP TRIGGER events_added ON events;
DROP TRIGGER events_removed ON events;
DROP TRIGGER events_counted_anew ON events;
DROP TRIGGER events_truncated ON events;
ALTER TABLE events RENAME TO events_before;
ALTER SEQUENCE events_id_seq RENAME TO events_before_id_seq;
ALTER INDEX events_pkey RENAME TO events_before_pkey;
DROP INDEX events_detection_key, events_camera, events_unresolved, events_created;

CREATE SEQUENCE events_id_seq AS bigint;
CREATE TABLE events (
    id            bigint NOT NULL DEFAULT nextval('events_id_seq'),
    -- NULL where no camera is concerned (door, system). No foreign key, whose check of every row would cost a quarter of
    -- the throughput: the recorder's statement locks the cameras of its group, and `keep_cameras_with_events` refuses.
    camera_id     integer,
    event_type    event_type NOT NULL,
    person_count  integer NOT NULL CHECK (person_count >= 0),
    confidence    double precision CHECK (confidence BETWEEN 0 AND 1),
    snapshot_path text,
    description   text,
    is_resolved   boolean NOT NULL DEFAULT false,
    resolved_at   timestamptz,
    -- The sender's own id of the detection, if it gave one.
    detection_id  uuid,
    detected_at   timestamptz,
    created_at    timestamptz NOT NULL,
    -- Finds where a time lies among the ids.
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);
ALTER SEQUENCE events_id_seq OWNED BY events.id;

-- Each page is ordered by id and narrowed by one of these.
CREATE INDEX events_id ON events (id);
CREATE INDEX events_camera ON events (camera_id, id);
CREATE INDEX events_kind ON events (event_type, id);
CREATE INDEX events_resolved ON events (id) WHERE is_resolved;
CREATE INDEX events_unresolved ON events (id) WHERE NOT is_resolved;

-- Takes what has no month: alerts that outlive theirs, and whatever comes when a month could not be made. Nothing is lost
-- because a partition is missing.
CREATE TABLE events_elsewhere PARTITION OF events DEFAULT;

-- The months that have a partition, and those that have events, wherever these lie.
CREATE TABLE event_months (
    start         timestamptz PRIMARY KEY,
    -- Whether a partition was made for it.
    has_partition boolean NOT NULL,
    -- The lowest id of its events; NULL while there was none.
    first_id      bigint
);

CREATE FUNCTION month_of(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';

CREATE FUNCTION event_month_name(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'events_' || to_char(at AT TIME ZONE 'UTC', 'YYYY_MM');

-- Makes the partition of the month that `at` lies in, with what of it lies elsewhere so far. True if it was not there.
-- Where it cannot have its locks soon, it fails, and the events go elsewhere until the next try.
CREATE FUNCTION make_event_month(at timestamptz) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    begins constant timestamptz := month_of(at);
    ends   constant timestamptz := month_of(begins + interval '32 days');
    name   constant text := event_month_name(at);
BEGIN
    IF EXISTS (SELECT FROM event_months WHERE start = begins AND has_partition) THEN
        RETURN false;
    END IF;
    -- Two that make a month take turns.
    PERFORM pg_advisory_xact_lock(hashtextextended('events by month', 0));
    IF EXISTS (SELECT FROM event_months WHERE start = begins AND has_partition) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    -- Past the triggers of `events`, as no event comes or goes.
    LOCK TABLE events_elsewhere IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM events_elsewhere WHERE created_at >= $1 AND created_at < $2 RETURNING *)
         INSERT INTO %I SELECT * FROM moved', name)
        USING begins, ends;
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, begins, ends);
    INSERT INTO event_months (start, has_partition) VALUES (begins, true)
        ON CONFLICT (start) DO UPDATE SET has_partition = true;
    RETURN true;
END $$;

-- Each detection that was stored, by the id under which it would come again: the sender's, or, where it gave none, one
-- that the recorder gave it. Not partitioned, because it must know a detection that comes again a month later.
CREATE TABLE event_keys (
    -- 0 where no camera is concerned.
    camera_id  integer NOT NULL,
    key        uuid NOT NULL,
    event_id   bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (camera_id, key)
);

-- What has been stored so far.
SELECT make_event_month(month)
FROM (SELECT DISTINCT month_of(created_at) AS month FROM events_before) AS months ORDER BY month;
INSERT INTO events (id, camera_id, event_type, person_count, confidence, snapshot_path, description, is_resolved,
                    resolved_at, detection_id, detected_at, created_at)
    SELECT id, camera_id, event_type, person_count, confidence, snapshot_path, description, is_resolved,
           resolved_at, detection_id, detected_at, created_at
    FROM events_before ORDER BY id;
UPDATE event_months SET first_id = firsts.id
    FROM (SELECT month_of(created_at) AS month, min(id) AS id FROM events GROUP BY 1) AS firsts WHERE start = month;
INSERT INTO event_keys (camera_id, key, event_id, created_at)
    SELECT coalesce(camera_id, 0), detection_id, id, created_at FROM events WHERE detection_id IS NOT NULL
    ON CONFLICT DO NOTHING;
-- As far as the old sequence had come, which may be further than the newest event.
SELECT setval('events_id_seq', last_value, is_called) FROM events_before_id_seq;
DROP TABLE events_before;

-- Under which a rejected message is kept once, also when its commit was not heard of and it is sent again.
ALTER TABLE rejected_messages ADD COLUMN key uuid UNIQUE;

-- As before, but each pass over what was added makes few rows of many before it does anything else with them.
CREATE OR REPLACE FUNCTION count_added_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_totals AS kept (camera_id, total, unresolved)
    SELECT place, sum(total), sum(unresolved)
    FROM (SELECT camera_id, count(*) AS total, count(*) FILTER (WHERE NOT is_resolved) AS unresolved
          FROM added GROUP BY camera_id) AS sums
    CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY place ORDER BY place
    ON CONFLICT (camera_id) DO UPDATE
        SET total = kept.total + excluded.total, unresolved = kept.unresolved + excluded.unresolved;
    INSERT INTO event_buckets AS kept (camera_id, start, event_type, count)
    SELECT place, quarter_of(created_at), event_type, sum(total)
    FROM (SELECT camera_id, created_at, event_type, count(*) AS total FROM added GROUP BY 1, 2, 3) AS sums
    CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = kept.count + excluded.count;
    RETURN NULL;
END $$;

CREATE FUNCTION note_event_months() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_months AS kept (start, has_partition, first_id)
    SELECT month, false, id
    FROM (SELECT month_of(created_at) AS month, min(id) AS id
          FROM (SELECT created_at, min(id) AS id FROM added GROUP BY created_at) AS times GROUP BY 1) AS firsts
    -- Almost always all of this is known, and nothing is written or locked.
    WHERE NOT EXISTS (SELECT FROM event_months WHERE start = month AND first_id <= id)
    ON CONFLICT (start) DO UPDATE SET first_id = least(kept.first_id, excluded.first_id);
    RETURN NULL;
END $$;

-- A detection whose event was deleted may be reported anew.
CREATE FUNCTION forget_keys_of_removed_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM event_keys USING removed
    WHERE event_keys.camera_id = coalesce(removed.camera_id, 0) AND key = removed.detection_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION count_no_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM event_buckets;
    DELETE FROM event_keys;
    UPDATE event_totals SET total = 0, unresolved = 0;
    DELETE FROM event_months WHERE NOT has_partition;
    UPDATE event_months SET first_id = NULL;
    RETURN NULL;
END $$;

CREATE TRIGGER events_added AFTER INSERT ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_added_events();
CREATE TRIGGER events_added_months AFTER INSERT ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_event_months();
CREATE TRIGGER events_removed AFTER DELETE ON events
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_removed_events();
CREATE TRIGGER events_removed_keys AFTER DELETE ON events
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION forget_keys_of_removed_events();
CREATE TRIGGER events_counted_anew AFTER UPDATE ON events
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_changed_events();
CREATE TRIGGER events_changed_months AFTER UPDATE ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_event_months();
CREATE TRIGGER events_truncated AFTER TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION count_no_events();

-- A camera with events stays. The row is locked by now: a group that is being stored with it has either committed, and
-- is seen here, or finds the camera gone.
CREATE FUNCTION keep_cameras_with_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM events WHERE camera_id = OLD.id) THEN
        RAISE foreign_key_violation
            USING MESSAGE = format('camera %s has events', OLD.id), TABLE = 'events', CONSTRAINT = 'events_camera_id';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER cameras_with_events BEFORE DELETE OR UPDATE OF id ON cameras
    FOR EACH ROW EXECUTE FUNCTION keep_cameras_with_events();
