CREATE TABLE ${schema}.customer (id bigint PRIMARY KEY, name text NOT NULL);
DROP TABLE legacy;
