-- Counts of events that are kept as the events are written, by whoever writes them, so that no answer has to count
-- millions of rows.

-- For each camera, and with camera_id 0 for all events together, those without a camera included.
CREATE TABLE event_totals (
    camera_id  integer PRIMARY KEY,
    total      bigint NOT NULL,
    unresolved bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO event_totals VALUES (0, 0, 0);

-- For each quarter of an hour: every time zone's days and hours begin at one. camera_id as above.
CREATE TABLE event_buckets (
    camera_id  integer NOT NULL,
    start      timestamptz NOT NULL,
    event_type event_type NOT NULL,
    count      bigint NOT NULL,
    PRIMARY KEY (camera_id, start, event_type)
) WITH (fillfactor = 80);

CREATE FUNCTION quarter_of(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_bin('15 minutes', at, timestamptz '2000-01-01 00:00:00Z');

-- Each statement adds its sums once, in one order, so that two transactions never wait for each other crosswise.
CREATE FUNCTION count_added_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_totals AS kept (camera_id, total, unresolved)
    SELECT place, count(*), count(*) FILTER (WHERE NOT is_resolved)
    FROM added CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY place ORDER BY place
    ON CONFLICT (camera_id) DO UPDATE
        SET total = kept.total + excluded.total, unresolved = kept.unresolved + excluded.unresolved;
    INSERT INTO event_buckets AS kept (camera_id, start, event_type, count)
    SELECT place, quarter_of(created_at), event_type, count(*)
    FROM added CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = kept.count + excluded.count;
    RETURN NULL;
END $$;

CREATE FUNCTION count_removed_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_totals AS kept (camera_id, total, unresolved)
    SELECT place, -count(*), -count(*) FILTER (WHERE NOT is_resolved)
    FROM removed CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY place ORDER BY place
    ON CONFLICT (camera_id) DO UPDATE
        SET total = kept.total + excluded.total, unresolved = kept.unresolved + excluded.unresolved;
    INSERT INTO event_buckets AS kept (camera_id, start, event_type, count)
    SELECT place, quarter_of(created_at), event_type, -count(*)
    FROM removed CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = kept.count + excluded.count;
    RETURN NULL;
END $$;

CREATE FUNCTION count_changed_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_totals AS kept (camera_id, total, unresolved)
    SELECT place, sum(one), coalesce(sum(one) FILTER (WHERE NOT is_resolved), 0)
    FROM (SELECT camera_id, is_resolved, 1 AS one FROM added
          UNION ALL SELECT camera_id, is_resolved, -1 FROM removed) AS changed
    CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY place
    HAVING sum(one) <> 0 OR coalesce(sum(one) FILTER (WHERE NOT is_resolved), 0) <> 0 ORDER BY place
    ON CONFLICT (camera_id) DO UPDATE
        SET total = kept.total + excluded.total, unresolved = kept.unresolved + excluded.unresolved;
    INSERT INTO event_buckets AS kept (camera_id, start, event_type, count)
    SELECT place, quarter_of(created_at), event_type, sum(one)
    FROM (SELECT camera_id, created_at, event_type, 1 AS one FROM added
          UNION ALL SELECT camera_id, created_at, event_type, -1 FROM removed) AS changed
    CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY 1, 2, 3 HAVING sum(one) <> 0 ORDER BY 1, 2, 3
    ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = kept.count + excluded.count;
    RETURN NULL;
END $$;

CREATE FUNCTION count_no_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM event_buckets;
    UPDATE event_totals SET total = 0, unresolved = 0;
    RETURN NULL;
END $$;

-- Nobody writes between the count of what is there and the first trigger.
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
CREATE TRIGGER events_added AFTER INSERT ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_added_events();
CREATE TRIGGER events_removed AFTER DELETE ON events
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_removed_events();
CREATE TRIGGER events_counted_anew AFTER UPDATE ON events
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_changed_events();
CREATE TRIGGER events_truncated AFTER TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION count_no_events();

INSERT INTO event_totals AS kept (camera_id, total, unresolved)
    SELECT place, count(*), count(*) FILTER (WHERE NOT is_resolved)
    FROM events CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY place
    ON CONFLICT (camera_id) DO UPDATE SET total = excluded.total, unresolved = excluded.unresolved;
INSERT INTO event_buckets (camera_id, start, event_type, count)
    SELECT place, quarter_of(created_at), event_type, count(*)
    FROM events CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place
    WHERE place IS NOT NULL GROUP BY 1, 2, 3;

-- A name belongs to a user or to a device, never to both: the broker tells them apart by nothing else.
CREATE FUNCTION keep_names_apart() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted text := CASE TG_TABLE_NAME WHEN 'users' THEN to_jsonb(NEW) ->> 'username' ELSE to_jsonb(NEW) ->> 'name' END;
BEGIN
    -- Two that take one name at the same moment take turns.
    PERFORM pg_advisory_xact_lock(hashtextextended('name:' || wanted, 0));
    IF (TG_TABLE_NAME = 'users' AND EXISTS (SELECT FROM devices WHERE name = wanted))
        OR (TG_TABLE_NAME = 'devices' AND EXISTS (SELECT FROM users WHERE username = wanted)) THEN
        RAISE unique_violation USING MESSAGE = 'the name ' || wanted || ' is taken', CONSTRAINT = 'names_apart';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER users_name_apart BEFORE INSERT OR UPDATE OF username ON users
    FOR EACH ROW EXECUTE FUNCTION keep_names_apart();
CREATE TRIGGER devices_name_apart BEFORE INSERT OR UPDATE OF name ON devices
    FOR EACH ROW EXECUTE FUNCTION keep_names_apart();
