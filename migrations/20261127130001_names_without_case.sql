-- Names that read alike are one name. What is compared is made by the hub (domain::name::key), which knows Unicode, and
-- is brought up to date at each start; names that were there before this rule stay, though they may read alike.
ALTER TABLE users ADD COLUMN name_key text;
CREATE INDEX users_name_folded ON users (name_key);
-- A device's name is ASCII.
CREATE INDEX devices_name_folded ON devices (lower(name COLLATE "C"));

CREATE OR REPLACE FUNCTION keep_names_apart() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_user boolean := TG_TABLE_NAME = 'users';
    fields jsonb := to_jsonb(NEW);
    own integer := (fields ->> 'id')::integer;
    wanted text := fields ->> CASE WHEN is_user THEN 'username' ELSE 'name' END;
    key text := coalesce(fields ->> 'name_key', lower(wanted COLLATE "C"));
BEGIN
    -- Two that take one name at the same moment take turns.
    PERFORM pg_advisory_xact_lock(hashtextextended('name:' || key, 0));
    IF EXISTS (SELECT FROM users WHERE (name_key = key OR username = wanted) AND NOT (is_user AND id = own))
        OR EXISTS (SELECT FROM devices WHERE lower(name COLLATE "C") = key AND (is_user OR id <> own)) THEN
        RAISE unique_violation USING MESSAGE = 'the name ' || wanted || ' is taken', CONSTRAINT = 'names_apart';
    END IF;
    RETURN NEW;
END $$;
