-- Retention: a month of events goes as a whole.

CREATE FUNCTION end_of_month(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';

-- Drops the events of the month of `at` and says how many they were. Alerts that nobody has resolved stay, elsewhere, and
-- stay counted; whoever asks for events finds them as before.
--
-- The recorder waits only for the last part, which takes milliseconds; and where the locks for that are not to be had
-- soon, all of it fails and leaves everything as it was.
CREATE FUNCTION drop_event_month(at timestamptz) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
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
    -- Two that make or drop a month take turns.
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
        DELETE FROM event_buckets WHERE camera_id = ANY (array_append(places, 0)) AND start >= begins AND start < ends;
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
