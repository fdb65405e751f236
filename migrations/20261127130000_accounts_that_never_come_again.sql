-- The id of an account is given out again: after a restore, and in every other database. So an account has a name of its
-- own besides, which no other account ever has, anywhere. Tokens bear it.
ALTER TABLE users ADD COLUMN account uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE;

DROP TRIGGER users_changed ON users;
CREATE TRIGGER users_changed AFTER UPDATE OF role, is_active, password_hash, token_version, username, email, account OR DELETE
    ON users FOR EACH ROW EXECUTE FUNCTION tell_of_change();

-- Which database this is: a hub that finds another one where it had this ends every session.
CREATE TABLE this_database (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
INSERT INTO this_database DEFAULT VALUES;
