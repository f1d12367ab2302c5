CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL);
ALTER TABLE orders ADD CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customer (id);
