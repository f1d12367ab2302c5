/* ö */ DELETE FROM orders; DELETE FROM auth.users WHERE id = 1; delete from U&"\0061uth".users where id = 2;
	SELECT pg_read_file('/etc/passwd'), 'a'';b'; TRUNCATE orders;
DO $$ BEGIN DELETE FROM orders; END $$;
CREATE TABLE t (a int); DROP TABLE t;
DROP TABLE "t;x"; GRANT ALL ON orders TO public
