-- What a commit costs whatever it holds, made less. Of a detection that comes alone that is nearly all.

-- The recorder knows the cameras by heart, as they were at this version. One row tells its statement whether they still
-- are so; to find each camera and to lock it against being deleted cost more, and wrote to its row each time.
CREATE TABLE cameras_version (
    version bigint NOT NULL
);
CREATE UNIQUE INDEX cameras_version_one ON cameras_version ((true));
INSERT INTO cameras_version VALUES (1);

CREATE FUNCTION count_cameras_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE cameras_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER cameras_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cameras
    FOR EACH STATEMENT EXECUTE FUNCTION count_cameras_version();

-- A camera with events stays. Whoever stores events has its lock on `events` before it looks whether the camera is there
-- (PostgreSQL takes a statement's snapshot after its locks). So a group that is being stored has either committed when this
-- lock is granted, and is seen here, or finds the camera gone.
CREATE OR REPLACE FUNCTION keep_cameras_with_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE ONLY events IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM events WHERE camera_id = OLD.id) THEN
        RAISE foreign_key_violation
            USING MESSAGE = format('camera %s has events', OLD.id), TABLE = 'events', CONSTRAINT = 'events_camera_id';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

-- The recorder's statement for what is all new keeps the sums itself: it knows what it adds, and need not be counted. It
-- says so for its own transaction. Whoever else writes is counted as before.
DROP TRIGGER events_added ON events;
CREATE TRIGGER events_added AFTER INSERT ON events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    WHEN (current_setting('portcullis.counts_itself', true) IS DISTINCT FROM 'yes')
    EXECUTE FUNCTION count_added_events();
