-- What the names in tests/data/effects mean when the oracle runs them. `public` holds what most rows expect; the schemas
-- stage_* come before it on search_path when a row wants `t.a` to be of another type, or nothing of that name to exist.
CREATE SCHEMA s; CREATE SCHEMA auth; CREATE SCHEMA empty;
CREATE ROLE u; CREATE ROLE x SUPERUSER; CREATE ROLE r; CREATE ROLE g;
CREATE TYPE public.ty AS (a int, b text);
CREATE TYPE public."Role" AS ENUM ('USER', 'ADMIN', 'x');
CREATE DOMAIN public.citext AS text;
CREATE DOMAIN public.dom AS int;

CREATE TABLE u (id int PRIMARY KEY, a int, b int, c int, t_id int, x int, name text, active boolean DEFAULT true);
CREATE TABLE s (id int PRIMARY KEY, a int, b int, c int, t_id int, x int, name text);
CREATE TABLE a (id int, x int, y int, a int); CREATE TABLE b (id int, y int, x int); CREATE TABLE c (id int, z int, a int);
CREATE TABLE d (id int, w int, a int);
CREATE TABLE "A" (a int); CREATE TABLE "a""b" (a int);
CREATE TABLE aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg (a int);
CREATE TABLE archive (id int, a int, b int, c int, name text);
CREATE TABLE auth.users (id int, a int, count int);
CREATE TABLE s.t (id int, a int); CREATE TABLE s.a (a int); CREATE TABLE s.b (a int);
CREATE TABLE t (
    id int PRIMARY KEY, a int, b int, c int, d int, x int, name text, active boolean, deleted_at timestamptz, created_at timestamptz,
    index int, sort int, latitude int, delete int, tags int[], arr int[], data jsonb, email text, status text, n numeric, f float8,
    flag boolean, ts timestamptz, u_id int, parent_id int, y int, z int
);
INSERT INTO t (id, a, b, c, x, name, active, tags, data, email, status)
    SELECT i, i, i, i, i, 'name ' || i, true, ARRAY[i], '{"a": 1}', i || '@example.com', 'x' FROM generate_series(1, 5) i;
INSERT INTO u SELECT i, i, i, i, i, i, 'x' FROM generate_series(1, 3) i;
INSERT INTO s SELECT i, i, i, i, i, i, 'x' FROM generate_series(1, 3) i;
INSERT INTO auth.users VALUES (1, 1, 1);
CREATE VIEW v AS SELECT 1 AS a;
CREATE SEQUENCE seq;
CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;
CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO archive VALUES (1); RETURN 1; END $$;
CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO archive VALUES (1); RETURN 1; END $$;
CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO archive VALUES (1); END $$;

-- What rows about names with a schema of their own mean.
CREATE SCHEMA app; CREATE SCHEMA "App";
CREATE TABLE app.u (id int PRIMARY KEY, a int); INSERT INTO app.u SELECT i, i FROM generate_series(1, 5) i;
CREATE TABLE app.parent (a int); CREATE TABLE app.pg_class (a int); CREATE TABLE app.pg_settings (name text, setting text); CREATE TABLE app.pg_group (groname text);
INSERT INTO app.pg_settings VALUES ('work_mem', '4MB');
CREATE SEQUENCE app.s; CREATE SEQUENCE "App"."S"; CREATE DOMAIN app.d AS text;

-- `t.a` is of another type.
CREATE SCHEMA stage_boolean;
CREATE TABLE stage_boolean.t AS SELECT id, true AS a, true AS b, true AS c FROM t;
DELETE FROM stage_boolean.t WHERE id > 1;
CREATE SCHEMA stage_one;
CREATE TABLE stage_one.t AS SELECT id, a, b, c FROM t WHERE id = 1;
CREATE SCHEMA stage_text;
CREATE TABLE stage_text.t AS SELECT id, 'a'::text AS a, 'b'::text AS b FROM t WHERE id = 1;
CREATE SCHEMA stage_json;
CREATE TABLE stage_json.t AS SELECT id, '{"a": 1}'::jsonb AS a, '{}'::jsonb AS b FROM t WHERE id = 1;
CREATE SCHEMA stage_xml;
CREATE TABLE stage_xml.t AS SELECT id, '<a/>'::xml AS a FROM t WHERE id = 1;
CREATE SCHEMA stage_array;
CREATE TABLE stage_array.t AS SELECT id, ARRAY[1] AS a FROM t WHERE id = 1;
CREATE SCHEMA stage_composite;
CREATE TABLE stage_composite.t AS SELECT id, ROW(1, 'x')::ty AS a FROM t WHERE id = 1;
CREATE SCHEMA stage_narrow;
CREATE TABLE stage_narrow.t (id int);
INSERT INTO stage_narrow.t VALUES (1);
CREATE SCHEMA stage_pair;
CREATE TABLE stage_pair.t (a int);
INSERT INTO stage_pair.t VALUES (1);
CREATE TABLE stage_pair.s (a int, x int);
CREATE SCHEMA stage_view;
CREATE VIEW stage_view.t AS SELECT 1 AS a;
CREATE SCHEMA stage_matview;
CREATE MATERIALIZED VIEW stage_matview.t AS SELECT 1 AS a;
CREATE UNIQUE INDEX ON stage_matview.t (a);
CREATE SCHEMA stage_sequence;
CREATE SEQUENCE stage_sequence.t;
CREATE SCHEMA stage_index;
CREATE TABLE stage_index.base (a int);
CREATE INDEX t ON stage_index.base (a);
CREATE INDEX i ON t (a);
CREATE SCHEMA stage_false;
CREATE TABLE stage_false.t AS SELECT id, false AS a, false AS b, false AS c FROM t WHERE id = 1;

-- What rows alter or drop.
CREATE SCHEMA extensions; CREATE DOMAIN extensions.citext AS text;
CREATE PUBLICATION p;
CREATE TEXT SEARCH CONFIGURATION c (PARSER = "default");
CREATE SCHEMA stage_rich;
CREATE FUNCTION stage_rich.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION stage_rich.t(int) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION stage_rich.f(int) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE stage_rich.u (id int PRIMARY KEY, a int);
CREATE TABLE stage_rich.t (a int GENERATED ALWAYS AS IDENTITY, b int, c int, CONSTRAINT c CHECK (b > 0));
CREATE INDEX i ON stage_rich.t (b);
ALTER TABLE stage_rich.t CLUSTER ON i;
CREATE TRIGGER tr AFTER INSERT ON stage_rich.t FOR EACH STATEMENT EXECUTE FUNCTION stage_rich.f();
CREATE TRIGGER a AFTER INSERT ON stage_rich.t FOR EACH STATEMENT EXECUTE FUNCTION stage_rich.f();
CREATE RULE r AS ON DELETE TO stage_rich.t DO INSTEAD NOTHING;
CREATE POLICY p ON stage_rich.t;
CREATE STATISTICS stage_rich.s ON a, b FROM stage_rich.t;
CREATE DOMAIN stage_rich.d AS int CONSTRAINT c CHECK (VALUE > 0);
CREATE TYPE stage_rich.ty AS ENUM ('a', 'b');
CREATE OPERATOR FAMILY stage_rich.f USING btree;
CREATE TEXT SEARCH DICTIONARY stage_rich.d (TEMPLATE = simple);
CREATE SCHEMA stage_keys;
CREATE TABLE stage_keys.u (a int UNIQUE, b int);
CREATE TABLE stage_keys.t (a int NOT NULL, b int, CONSTRAINT c FOREIGN KEY (a) REFERENCES stage_keys.u (a), CONSTRAINT a CHECK (b > 0));
CREATE UNIQUE INDEX i ON stage_keys.t (a);
CREATE DOMAIN stage_keys.t_domain AS int;
CREATE SCHEMA stage_generated;
CREATE TABLE stage_generated.t (b int, a int GENERATED ALWAYS AS (b + 1) STORED);
CREATE SCHEMA stage_partitioned;
CREATE TABLE stage_partitioned.t (a int) PARTITION BY RANGE (a);
CREATE TABLE stage_partitioned.u PARTITION OF stage_partitioned.t FOR VALUES FROM (1) TO (2);
CREATE TABLE stage_partitioned.b (x int);
CREATE SCHEMA stage_detached;
CREATE TABLE stage_detached.t (a int) PARTITION BY RANGE (a);
CREATE TABLE stage_detached.u (a int);
CREATE SCHEMA stage_inherited;
CREATE TABLE stage_inherited.u (a int);
CREATE TABLE stage_inherited.t () INHERITS (stage_inherited.u);
CREATE SCHEMA stage_flat;
CREATE TABLE stage_flat.t (a boolean, b int);
CREATE TABLE stage_flat.u (a boolean, b int);
CREATE TABLE stage_flat.s (a boolean, x int);
CREATE TABLE stage_flat.old (x int);
CREATE FUNCTION stage_flat.f(boolean) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
CREATE SCHEMA stage_types;
CREATE TYPE stage_types.t AS ENUM ('a', 'b');
CREATE TYPE stage_types.ty AS (a int);
CREATE DOMAIN stage_types.d AS int;
CREATE SCHEMA stage_domain;
CREATE DOMAIN stage_domain.t AS int NOT NULL CONSTRAINT c CHECK (VALUE > 0);
CREATE SCHEMA stage_composite_type;
CREATE TYPE stage_composite_type.t AS (a int, b int);
