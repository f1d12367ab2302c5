-- What the database of tests/catalog.rs holds.
CREATE EXTENSION pgcrypto;
CREATE SCHEMA auth;
CREATE SCHEMA app;
CREATE SCHEMA elsewhere;
CREATE TABLE auth.users (id int PRIMARY KEY, email text);
CREATE TABLE public.orders (id int PRIMARY KEY, owner int, total numeric);
CREATE TABLE public.log (line text);
CREATE SEQUENCE public.numbers;

-- Functions that do what their labels say.
CREATE FUNCTION app.twice(x int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT x * 2 $$;
CREATE FUNCTION app.twice(x numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT x * 2 $$;
CREATE FUNCTION app.total(who int) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT sum(total) FROM public.orders WHERE owner = who $$;
CREATE FUNCTION app.label(x int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN 'order ' || x; END $$;
CREATE FUNCTION app.deep(x int) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT app.total(app.twice(x)) $$;
CREATE FUNCTION app.modern(x int) RETURNS int LANGUAGE sql STABLE RETURN x + 1;
CREATE FUNCTION app.modern_block(x int) RETURNS int LANGUAGE sql STABLE BEGIN ATOMIC SELECT x + app.twice(1); END;
CREATE FUNCTION app.fixed_path() RETURNS int LANGUAGE sql STABLE SET search_path = '' AS $$ SELECT 1 $$;
CREATE FUNCTION app.rows_of() RETURNS TABLE (id int, total numeric) LANGUAGE sql STABLE AS $$ SELECT id, total FROM public.orders $$;
CREATE FUNCTION app.emails() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT email FROM auth.users $$;
CREATE AGGREGATE app.add_up(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');

-- Functions that do not, or that nobody can tell of.
CREATE FUNCTION app.unlabelled(x int) RETURNS int LANGUAGE sql AS $$ SELECT x $$;
CREATE FUNCTION app.liar(x int) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN nextval('public.numbers'); END $$;
CREATE FUNCTION app.indirect(x int) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT app.liar(x) $$;
CREATE FUNCTION app.dynamic(x text) RETURNS int LANGUAGE plpgsql STABLE AS $$ DECLARE r int; BEGIN EXECUTE x INTO r; RETURN r; END $$;
CREATE FUNCTION app.writer() RETURNS void LANGUAGE plpgsql STABLE AS $$ BEGIN INSERT INTO public.log VALUES ('x'); END $$;
CREATE FUNCTION app.killer() RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT pg_catalog.pg_terminate_backend(0) $$;
CREATE FUNCTION app.setter() RETURNS text LANGUAGE sql STABLE AS $$ SELECT set_config('search_path', 'elsewhere', false) $$;
CREATE FUNCTION app.definer() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER AS $$ SELECT 1 $$;
CREATE FUNCTION app.clause() RETURNS int LANGUAGE sql STABLE SET session_replication_role = 'replica' AS $$ SELECT 1 $$;
CREATE FUNCTION app.defaulted(x bigint DEFAULT nextval('public.numbers')) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT x $$;
CREATE FUNCTION app.myself(x int) RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN app.myself(x); END $$;
CREATE FUNCTION app.mixed(x int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT x $$;
CREATE FUNCTION app.mixed(x text) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION app.reads_secret() RETURNS text LANGUAGE sql AS $$ SELECT email FROM auth.users LIMIT 1 $$;
CREATE FUNCTION app.bad_step(a int, b int) RETURNS int LANGUAGE sql AS $$ DELETE FROM public.log; SELECT 1 $$;
CREATE AGGREGATE app.bad_sum(int) (SFUNC = app.bad_step, STYPE = int, INITCOND = '0');
CREATE AGGREGATE app.smuggled_sum(int) (SFUNC = app.bad_step, STYPE = int, INITCOND = '0');
ALTER EXTENSION pgcrypto ADD AGGREGATE app.smuggled_sum(int);
CREATE FUNCTION app.smuggled() RETURNS int LANGUAGE sql IMMUTABLE AS $$ DELETE FROM public.log; SELECT 1 $$;
ALTER EXTENSION pgcrypto ADD FUNCTION app.smuggled();
CREATE FUNCTION pg_temp.passing() RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$;

-- Names of built-ins.
CREATE FUNCTION public.lower(x orders) RETURNS text LANGUAGE sql AS $$ DELETE FROM public.log; SELECT 'x' $$;
CREATE FUNCTION elsewhere.upper(x int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN DELETE FROM public.log; RETURN 'x'; END $$;
CREATE FUNCTION elsewhere.initcap(x int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x' $$;

-- What is called without being written as a call.
CREATE FUNCTION public.wipe(o orders) RETURNS int LANGUAGE sql AS $$ DELETE FROM public.log; SELECT 1 $$;
CREATE FUNCTION public.net(o orders) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT o.total $$;
CREATE FUNCTION public.of_number(x int) RETURNS int LANGUAGE sql AS $$ DELETE FROM public.log; SELECT 1 $$;
CREATE FUNCTION app.differ(a int, b int) RETURNS boolean LANGUAGE sql AS $$ DELETE FROM public.log; SELECT true $$;
CREATE OPERATOR public.<!> (LEFTARG = int, RIGHTARG = int, FUNCTION = app.differ);
CREATE FUNCTION app.plainly(a int, b int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT a = b $$;
CREATE OPERATOR public.<=!> (LEFTARG = int, RIGHTARG = int, FUNCTION = app.plainly);
CREATE FUNCTION app.checked(x text) RETURNS boolean LANGUAGE sql AS $$ DELETE FROM public.log; SELECT true $$;
CREATE DOMAIN public.checked_text AS text CHECK (app.checked(VALUE));
CREATE DOMAIN public.short_text AS text CHECK (length(VALUE) < 10);
CREATE TYPE public.colour AS ENUM ('red');
CREATE FUNCTION app.to_colour(x int) RETURNS public.colour LANGUAGE sql AS $$ DELETE FROM public.log; SELECT 'red'::public.colour $$;
CREATE CAST (int AS public.colour) WITH FUNCTION app.to_colour(int);

-- Views.
CREATE VIEW public.people AS SELECT id, email FROM auth.users;
CREATE VIEW public.people_again AS SELECT * FROM public.people;
CREATE VIEW public.counting AS SELECT id, app.liar(id) FROM public.orders;
CREATE VIEW public.doubling AS SELECT id, app.twice(id) FROM public.orders;
CREATE VIEW public.wiping AS SELECT o.wipe FROM public.orders o;
CREATE VIEW elsewhere.hidden AS SELECT app.liar(1);
CREATE MATERIALIZED VIEW public.kept AS SELECT id, app.liar(id) FROM auth.users;

-- What runs programs by being read.
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE public.running (line text) SERVER files OPTIONS (program 'true');
CREATE FOREIGN TABLE public.reading (line text) SERVER files OPTIONS (filename '/dev/null');
CREATE VIEW public.over_running AS SELECT line FROM public.running;
CREATE FUNCTION app.through_running() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT line FROM public.over_running $$;
