-- What every client works on.
create table items (
    id serial primary key,
    name text not null,
    price numeric(10, 2) not null default 1,
    details jsonb not null default '{}',
    tags text[] not null default '{}',
    made timestamptz not null default '2025-01-01 00:00Z'
);
create table parts (
    id serial primary key,
    item_id integer not null references items,
    label text not null
);
create index parts_item on parts (item_id);
create view dear_items as select id, name, price from items where price > 500;
create function twice(integer) returns integer language sql immutable as 'select $1 * 2';
create function few_items() returns refcursor language plpgsql
    as 'declare found refcursor; begin open found for select id from items where id <= 3; return found; end';

insert into items (name, price, details, tags)
select 'item ' || n, n, jsonb_build_object('n', n, 'even', n % 2 = 0), array['t' || n % 3, 'ü']
from generate_series(1, 1000) as n;
insert into parts (item_id, label) select n, 'part of ' || n from generate_series(1, 1000) as n;

create schema private;
create table private.keys (id integer primary key, value text);
insert into private.keys values (1, 'hidden');

-- What pgbench's own scripts work on, at scale 1.
create table pgbench_branches (bid integer not null primary key, bbalance integer, filler char(88)) with (fillfactor = 100);
create table pgbench_tellers (tid integer not null primary key, bid integer, tbalance integer, filler char(84)) with (fillfactor = 100);
create table pgbench_accounts (aid integer not null primary key, bid integer, abalance integer, filler char(84)) with (fillfactor = 100);
create table pgbench_history (tid integer, bid integer, aid integer, delta integer, mtime timestamp, filler char(22));
insert into pgbench_branches values (1, 0, '');
insert into pgbench_tellers select n, 1, 0, '' from generate_series(1, 10) as n;
insert into pgbench_accounts select n, 1, 0, '' from generate_series(1, 100000) as n;

analyze;
