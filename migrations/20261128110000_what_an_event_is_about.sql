-- What the hub knows of an event of its own, for programs; until now its description alone said so. A detection has none
-- of it. That a camera is the subject of an alert keeps it from nothing: it may be deleted, and its id comes never again.
ALTER TABLE events
    ADD COLUMN kind              text,
    ADD COLUMN subject_camera_id integer,
    ADD COLUMN requested_by      text,
    ADD COLUMN command_id        uuid;
