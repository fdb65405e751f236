-- A device that is new takes no right from anybody, and may have a session before the hub hears of it: that one must not
-- end as if the device had been changed.
CREATE OR REPLACE FUNCTION tell_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('portcullis_change', TG_TABLE_NAME
        || CASE WHEN TG_OP = 'INSERT' AND TG_TABLE_NAME = 'devices' THEN '_added' ELSE '' END
        || ':' || coalesce(NEW.id, OLD.id));
    RETURN NULL;
END $$;
