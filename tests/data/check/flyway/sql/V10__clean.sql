DELETE FROM orders WHERE true;
TRUNCATE customer, orders;
