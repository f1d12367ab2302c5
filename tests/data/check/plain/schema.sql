-- Everything below is allowed for migrations.
CREATE TABLE note (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text);
CREATE INDEX ON note (body);
ALTER TABLE note ADD CONSTRAINT body_is_short CHECK (length(body) < 1000);
COMMENT ON TABLE note IS 'öffentlich';
INSERT INTO note (body) VALUES ('It''s; fine'), ($$ DROP TABLE note; $$);
