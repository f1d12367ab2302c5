-- What the attacks aim at. Everything that may run must leave all of it as it is.
create table victim (id int primary key, note text);
insert into victim select n, 'row ' || n from generate_series(1, 5) n;
create table other (id int primary key references victim, at timestamptz default now());
create sequence counter;
select nextval('counter');
create index victim_note on victim (note);
create materialized view shadow as select * from victim;
create type mood as enum ('fair');
create function wipe() returns int language plpgsql volatile as 'begin delete from other; delete from victim; return 1; end';
create function wipe(anyelement) returns int language plpgsql volatile as 'begin delete from victim; return 1; end';
create function wipe_immutable() returns int language plpgsql immutable as 'begin perform wipe(); return 1; end';
create function wipe_if(int) returns bool language plpgsql as 'begin perform wipe(); return true; end';
create function wipe_two(int, int) returns int language plpgsql as 'begin perform wipe(); return 1; end';
create function wipe_rows() returns setof int language plpgsql as 'begin perform wipe(); return next 1; end';
create function sneak(text) returns int language plpgsql as 'begin execute $1; return 1; end';
create function definer() returns int language plpgsql security definer as 'begin delete from victim; return 1; end';
create function unlocked() returns int language plpgsql as
  'begin perform set_config(''transaction_read_only'', ''off'', true); delete from victim; return 1; end';
create function opened(refcursor) returns refcursor language plpgsql as 'begin open $1 for select wipe(); return $1; end';
create procedure wipe_procedure() language plpgsql as 'begin delete from victim; end';
create procedure commit_and_wipe() language plpgsql as 'begin commit; delete from victim; commit; end';
create procedure rollback_and_wipe() language plpgsql as 'begin rollback; delete from victim; commit; end';
create view trap as select wipe() as gone;
create domain trapped as int check (wipe_if(value));
create operator ### (leftarg = int, rightarg = int, function = wipe_two);
create aggregate wipe_all(int) (sfunc = wipe_two, stype = int, initcond = '0');
create type pair as (a int, b int);
create function pair_to_int(pair) returns int language plpgsql as 'begin perform wipe(); return 1; end';
create cast (pair as int) with function pair_to_int(pair);
create role someone;
create schema elsewhere;
create table elsewhere.victim (id int);
select lo_from_bytea(4242, 'untouched');
-- A table of its own: a prepared transaction keeps its locks.
create table kept (id int);
begin;
insert into kept values (1);
prepare transaction 'left_behind';
