\set ON_ERROR_STOP on
\timing
SET client_min_messages = warning;
\echo loading; DROP TABLE this_is_only_said;
CREATE TABLE public.country (code text, name text);
COPY public.country (code, name) FROM stdin;
DE	Germany; DROP TABLE customer
FR	'France
\.
\copy public.country from 'more.csv' with (format csv)
\copy (select * from country) to 'out.csv'
SELECT 'one' \g
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  -- \connect is only text here; so is this: DROP TABLE x
  NEW.updated_at := now();
  RETURN NEW;
END
$body$;
\ir parts/more.sql
\connect other
\! rm -rf data
SELECT format('DROP TABLE %I', relname) FROM pg_class \gexec
\set wanted customer
DROP TABLE :wanted;
