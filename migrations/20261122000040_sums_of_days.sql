-- Sums of whole days, so that a year is read from some hundred rows and not from tens of thousands.
--
-- What is counted now is counted in `event_buckets`, as before. When a day is over, its rows there become one row here for
-- each camera and type. Both tables together say how many events there are: whoever changes an event of a packed day adds
-- to `event_buckets` anew, a count below zero if need be, and that is packed, too.
CREATE TABLE event_days (
    -- 0 for all events together, as in `event_totals`.
    camera_id  integer NOT NULL,
    -- In UTC.
    day        date NOT NULL,
    event_type event_type NOT NULL,
    -- For each quarter of an hour: every time zone's days and hours begin at one.
    counts     integer[] NOT NULL CHECK (cardinality(counts) = 96),
    PRIMARY KEY (camera_id, day, event_type)
);

-- Packs a camera's sums of the days before `until`, in UTC, and says how many rows they were.
CREATE FUNCTION pack_event_buckets(place integer, until date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    packed bigint;
BEGIN
    -- Not while a month is dropped.
    PERFORM pg_advisory_xact_lock(hashtextextended('events by month', 0));
    -- The rows are locked in the order in which the triggers lock them.
    WITH old AS MATERIALIZED (
        SELECT start, event_type FROM event_buckets
        WHERE camera_id = place AND start < until::timestamp AT TIME ZONE 'UTC' ORDER BY start, event_type FOR UPDATE
    ), moved AS (
        DELETE FROM event_buckets AS gone USING old
        WHERE gone.camera_id = place AND gone.start = old.start AND gone.event_type = old.event_type
        RETURNING (gone.start AT TIME ZONE 'UTC')::date AS day, gone.event_type, gone.count,
                  (extract(epoch FROM gone.start)::bigint % 86400) / 900 AS quarter
    ), added AS (
        INSERT INTO event_days AS kept (camera_id, day, event_type, counts)
        SELECT place, day, event_type, array_agg(coalesce(count, 0)::integer ORDER BY quarter)
        FROM (SELECT DISTINCT day, event_type FROM moved) AS days
        CROSS JOIN generate_series(0, 95) AS quarter
        LEFT JOIN moved USING (day, event_type, quarter) GROUP BY day, event_type
        ON CONFLICT (camera_id, day, event_type) DO UPDATE SET counts = ARRAY(
            SELECT here + more
            FROM unnest(kept.counts, excluded.counts) WITH ORDINALITY AS counts (here, more, quarter) ORDER BY quarter)
    )
    SELECT count(*) INTO packed FROM moved;
    RETURN packed;
END $$;

CREATE OR REPLACE FUNCTION count_no_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM event_buckets;
    DELETE FROM event_days;
    DELETE FROM event_keys;
    UPDATE event_totals SET total = 0, unresolved = 0;
    DELETE FROM event_months WHERE NOT has_partition;
    UPDATE event_months SET first_id = NULL;
    RETURN NULL;
END $$;

-- As before; and the sums of its days go, too. Those of every camera: what is left of the month is counted anew.
CREATE OR REPLACE FUNCTION drop_event_month(at timestamptz) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
DECLARE
    begins    constant timestamptz := month_of(at);
    ends      constant timestamptz := end_of_month(at);
    name      constant text := event_month_name(at);
    dropped   bigint := 0;
    places    integer[];
    totals    bigint[];
    open      bigint[];
    low       bigint;
BEGIN
    -- Two that make, drop or pack a month take turns.
    PERFORM pg_advisory_xact_lock(hashtextextended('events by month', 0));
    IF EXISTS (SELECT FROM event_months WHERE start = begins AND has_partition) THEN
        -- Who resolves or deletes an event of this month waits. The recorder does not: it writes to another one.
        EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', name);
        EXECUTE format(
            'SELECT array_agg(place), array_agg(total), array_agg(open)
             FROM (SELECT place, sum(total) AS total, sum(open) AS open
                   FROM (SELECT camera_id, count(*) AS total, count(*) FILTER (WHERE NOT is_resolved) AS open FROM %I
                         WHERE event_type <> ''SYSTEM_ALERT'' OR is_resolved GROUP BY camera_id) AS sums
                   CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
                   WHERE place IS NOT NULL GROUP BY place ORDER BY place) AS sums', name)
            INTO places, totals, open;
        DELETE FROM event_buckets
            WHERE camera_id IN (SELECT camera_id FROM event_totals) AND start >= begins AND start < ends;
        DELETE FROM event_days
            WHERE camera_id IN (SELECT camera_id FROM event_totals)
                AND day >= (begins AT TIME ZONE 'UTC')::date AND day < (ends AT TIME ZONE 'UTC')::date;
        EXECUTE format(
            'INSERT INTO event_buckets (camera_id, start, event_type, count)
             SELECT place, quarter_of(created_at), event_type, count(*)
             FROM %I CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
             WHERE event_type = ''SYSTEM_ALERT'' AND NOT is_resolved AND place IS NOT NULL GROUP BY 1, 2, 3
             ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = excluded.count', name);
        -- From here on everybody waits.
        EXECUTE format('ALTER TABLE events DETACH PARTITION %I', name);
        EXECUTE format(
            'INSERT INTO events_elsewhere SELECT * FROM %I WHERE event_type = ''SYSTEM_ALERT'' AND NOT is_resolved', name);
        EXECUTE format('DROP TABLE %I', name);
        UPDATE event_totals SET total = event_totals.total - gone.total, unresolved = unresolved - gone.open
            FROM unnest(places, totals, open) AS gone (place, total, open) WHERE camera_id = place;
        UPDATE event_months SET has_partition = false WHERE start = begins;
        SELECT coalesce(sum(gone.total), 0) INTO dropped FROM unnest(places, totals) AS gone (place, total) WHERE place = 0;
    ELSE
        DELETE FROM events
        WHERE created_at >= begins AND created_at < ends AND (event_type <> 'SYSTEM_ALERT' OR is_resolved);
        GET DIAGNOSTICS dropped = ROW_COUNT;
    END IF;
    SELECT min(id) INTO low FROM events WHERE created_at >= begins AND created_at < ends;
    IF low IS NULL THEN
        DELETE FROM event_months WHERE start = begins;
    ELSE
        UPDATE event_months SET first_id = low WHERE start = begins;
    END IF;
    RETURN dropped;
END $$;
