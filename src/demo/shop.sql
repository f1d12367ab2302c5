-- The demo's sample data: a small shop, and the accounts and secrets that few should see.
create schema auth;

create table customers (
    id bigint generated always as identity primary key,
    name text not null,
    email text not null unique,
    city text not null,
    created_at timestamptz not null default now()
);
create table products (
    id bigint generated always as identity primary key,
    name text not null,
    price numeric(10, 2) not null check (price > 0),
    stock integer not null
);
create table orders (
    id bigint generated always as identity primary key,
    customer_id bigint not null references customers,
    status text not null check (status in ('new', 'paid', 'shipped', 'cancelled')),
    note text,
    placed_at timestamptz not null
);
create table order_items (
    order_id bigint not null references orders on delete cascade,
    product_id bigint not null references products,
    quantity integer not null check (quantity > 0),
    primary key (order_id, product_id)
);
create table secrets (name text primary key, value text not null);
create table auth.users (
    id bigint generated always as identity primary key,
    email text not null unique,
    password_hash text not null,
    last_seen timestamptz
);

insert into customers (name, email, city, created_at)
select first || ' ' || last, lower(first || '.' || last || n || '@shop.example'), city,
       timestamptz '2025-01-01 00:00Z' + n * interval '4 hours'
from (
    select n,
           (array['Ada', 'Bo', 'Carla', 'Deniz', 'Eva', 'Farid', 'Grete', 'Hana', 'Ivo', 'Jun'])[1 + n % 10] as first,
           (array['Adler', 'Berg', 'Costa', 'Dahl', 'Engel', 'Fuchs', 'Garcia'])[1 + n / 10 % 7] as last,
           (array['Berlin', 'Lisbon', 'Oslo', 'Prague', 'Turin'])[1 + n % 5] as city
    from generate_series(1, 2000) as n
) as person;

insert into products (name, price, stock)
select adjective || ' ' || thing, 3 + n * 17 % 240 + 0.99, n * 31 % 400
from (
    select n,
           (array['Plain', 'Striped', 'Folding', 'Heavy', 'Quiet', 'Round', 'Tall', 'Woven'])[1 + n % 8] as adjective,
           (array['lamp', 'chair', 'kettle', 'basket', 'clock', 'rug', 'mirror'])[1 + n / 8 % 7] || ' ' || n as thing
    from generate_series(1, 200) as n
) as item;

insert into orders (customer_id, status, placed_at)
select 1 + n * 7919 % 2000, (array['new', 'paid', 'shipped', 'shipped', 'cancelled'])[1 + n % 5],
       timestamptz '2025-06-01 00:00Z' + n * interval '53 minutes'
from generate_series(1, 5000) as n;

insert into order_items (order_id, product_id, quantity)
select n, 1 + (n * 13 + k * 71) % 200, 1 + (n + k) % 4
from generate_series(1, 5000) as n, generate_series(1, 3) as k;

insert into secrets values ('payment_provider_key', 'not-a-real-key'), ('mail_password', 'not-a-real-password');

insert into auth.users (email, password_hash, last_seen)
select email, 'not-a-real-hash-' || id, created_at + interval '30 days' from customers;

analyze;
