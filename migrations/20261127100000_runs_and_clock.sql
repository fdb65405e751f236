-- Events are ordered by id, and `created_at` is what the clock said. A clock that is set back makes the one contradict the
-- other. So it is noted where that happens: a run is a stretch of ids whose times rise and lie in one month (UTC). A hub
-- whose clock is never set back has one run for each month.
CREATE TABLE event_runs (
    -- No event with a lower id is of this run; those from here to the next run's are.
    first_id bigint PRIMARY KEY,
    -- No event of the run was made before this, and none after the end of its month.
    first_at timestamptz NOT NULL,
    -- When the newest event before the run was made: no event of the run before is later. NULL where there was none.
    ended_at timestamptz
);

-- Notes the runs of the events from one id to another, from what is in the table.
CREATE FUNCTION note_event_runs(low bigint, high bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    earlier constant bigint := coalesce((SELECT id FROM events WHERE id < low ORDER BY id DESC LIMIT 1), low - 1);
    later   constant bigint := coalesce((SELECT id FROM events WHERE id > high ORDER BY id LIMIT 1), high);
BEGIN
    DELETE FROM event_runs WHERE first_id > earlier AND first_id <= later;
    INSERT INTO event_runs (first_id, first_at, ended_at)
    SELECT id, created_at, before
    FROM (SELECT id, created_at, lag(created_at) OVER (ORDER BY id) AS before
          FROM events WHERE id BETWEEN earlier AND later) AS pairs
    WHERE id > earlier AND (before IS NULL OR created_at < before OR month_of(created_at) <> month_of(before))
    ON CONFLICT (first_id) DO UPDATE SET first_at = excluded.first_at, ended_at = excluded.ended_at;
    UPDATE event_runs AS next
        SET ended_at = (SELECT created_at FROM events WHERE id < next.first_id ORDER BY id DESC LIMIT 1)
        WHERE first_id = (SELECT min(first_id) FROM event_runs WHERE first_id > later);
END $$;

SELECT note_event_runs(0, 9223372036854775806);

-- The recorder notes its runs itself, before it stores, and says so on its connection (`portcullis.keeps_runs`). For whoever
-- else writes, these do. What comes after is the recorder's again: it goes on from its own newest time.
CREATE FUNCTION note_runs_of_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    low    bigint;
    high   bigint;
    before timestamptz;
BEGIN
    SELECT min(id), max(id) INTO low, high FROM added;
    IF low IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM note_event_runs(low, high);
    SELECT created_at INTO before FROM events WHERE id < low ORDER BY id DESC LIMIT 1;
    IF before IS NOT NULL AND NOT EXISTS (SELECT FROM events WHERE id > high) THEN
        INSERT INTO event_runs (first_id, first_at, ended_at)
            SELECT high + 1, before, (SELECT created_at FROM events WHERE id = high) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_added_runs AFTER INSERT ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    WHEN (current_setting('portcullis.keeps_runs', true) IS DISTINCT FROM 'yes')
    EXECUTE FUNCTION note_runs_of_added();

-- Whoever changes when events were made.
CREATE FUNCTION note_runs_of_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    low  bigint;
    high bigint;
BEGIN
    SELECT min(id), max(id) INTO low, high
    FROM (SELECT id, created_at FROM added EXCEPT SELECT id, created_at FROM removed) AS changed;
    IF low IS NOT NULL THEN
        PERFORM note_event_runs(low, high);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_changed_runs AFTER UPDATE ON events
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_runs_of_changed();

CREATE OR REPLACE FUNCTION count_no_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest timestamptz;
BEGIN
    DELETE FROM event_buckets;
    DELETE FROM event_days;
    DELETE FROM event_keys;
    UPDATE event_totals SET total = 0, unresolved = 0;
    DELETE FROM event_months WHERE NOT has_partition;
    UPDATE event_months SET first_id = NULL;
    -- The recorder goes on with the run that it is in.
    SELECT first_at INTO newest FROM event_runs ORDER BY first_id DESC LIMIT 1;
    DELETE FROM event_runs;
    INSERT INTO event_runs SELECT 0, newest WHERE newest IS NOT NULL;
    RETURN NULL;
END $$;

-- Runs of months that have nothing any more are not asked for. Not the newest: the recorder may be about to fill it.
CREATE FUNCTION forget_event_runs(begins timestamptz) RETURNS void LANGUAGE sql AS $$
    DELETE FROM event_runs
    WHERE month_of(first_at) = begins AND first_id < (SELECT max(first_id) FROM event_runs)
        AND NOT EXISTS (SELECT FROM events WHERE created_at >= begins AND created_at < end_of_month(begins))
$$;

-- What the hub knows of the time that has passed, whatever the machine's clock says.
CREATE TABLE clock_state (
    -- One row.
    the_row      boolean PRIMARY KEY DEFAULT true CHECK (the_row),
    -- It is at least this late: what the clock said while it was believed, and from then on what was measured beside it.
    -- NULL where nobody has looked yet.
    supported    timestamptz,
    -- What the clock said when that was noted; by which of the machine's starts, and how long it had run, in seconds.
    said         timestamptz,
    boot         text,
    uptime       double precision,
    -- When the clock was found to be in doubt, as far as was known; NULL while it is believed.
    doubted      timestamptz,
    -- The newest event and the newest rejected message before anything was stored by a clock that may have been wrong.
    sound_event  bigint NOT NULL DEFAULT 0,
    sound_message bigint NOT NULL DEFAULT 0
);
INSERT INTO clock_state DEFAULT VALUES;

-- What was stored while the clock was in doubt, or before it was set by much. It is at most as old as that, whatever its own
-- times say, and is not dropped before that is old.
CREATE TABLE clock_doubts (
    until         timestamptz NOT NULL,
    after_event   bigint NOT NULL,
    last_event    bigint NOT NULL,
    after_message bigint NOT NULL,
    last_message  bigint NOT NULL
);
