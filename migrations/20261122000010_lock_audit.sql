-- Who asked what of the lock, and what became of it. Rows are only ever added, each chained to the one before by an
-- HMAC whose key is not in this database. Names and ids are copied in: no row here depends on any other table.
CREATE TABLE lock_audit (
    -- From 1, without gaps.
    number        bigint PRIMARY KEY CHECK (number > 0),
    -- attempt: committed before the command leaves. outcome: what became of an attempt. refusal: what the hub itself
    -- refused, so that nothing left; many of one sender within a minute share a row.
    kind          text NOT NULL CHECK (kind IN ('attempt', 'outcome', 'refusal')),
    -- The number of the attempt that an outcome belongs to.
    attempt       bigint CHECK ((attempt IS NOT NULL) = (kind = 'outcome')),
    command_id    uuid,
    action        text NOT NULL,
    -- What else was asked: until when to hold the door open, and why.
    detail        text,
    requested_by  text NOT NULL,
    channel       text NOT NULL,
    address       text,
    -- Attempt, refusal: when it was asked. Outcome: when it was known.
    at            timestamptz NOT NULL,
    outcome       text CHECK ((outcome IS NULL) = (kind = 'attempt')),
    message       text,
    -- From the request's arrival to its answer.
    duration_ms   double precision,
    -- How many requests the row stands for.
    times         bigint NOT NULL DEFAULT 1 CHECK (times > 0),
    -- The newest detection of the 30 s before, and its camera.
    event_id      bigint,
    camera_id     integer,
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash          bytea NOT NULL CHECK (octet_length(hash) = 32)
);
-- An attempt has one outcome.
CREATE UNIQUE INDEX lock_audit_outcome ON lock_audit (attempt) WHERE attempt IS NOT NULL;

CREATE FUNCTION lock_audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'lock_audit only grows: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER lock_audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON lock_audit
    FOR EACH STATEMENT EXECUTE FUNCTION lock_audit_only_grows();
-- Also for a session that calls itself a replica, where ordinary triggers rest.
ALTER TABLE lock_audit ENABLE ALWAYS TRIGGER lock_audit_only_grows;
