"""psycopg 2: client-side parameters in simple queries, named cursors, COPY, execute_values, autocommit, cancel."""
import io
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import psycopg2
import psycopg2.extras
from work import HEAVY, arguments, equal, ok, refused, skip, version

url, role, keeps = arguments()


def connect(autocommit=False):
    conn = psycopg2.connect(url)
    conn.autocommit = autocommit
    return conn


def one(conn, sql, parameters=None):
    with conn.cursor() as cur:
        cur.execute(sql, parameters)
        return cur.fetchone()[0]


def reads():
    conn = connect(autocommit=True)
    equal(one(conn, "select count(*) from items where name like %s and tags @> %s", ("item%", ["ü"])), 1000, "count")
    equal(one(conn, "select details from items where id = 7"), {"n": 7, "even": False}, "json")
    ok("parameters and types")
    try:
        one(conn, "select nope from items")
        raise AssertionError("no error")
    except psycopg2.errors.UndefinedColumn as error:
        equal(error.diag.statement_position, "8", "error position")
    ok("error position, and going on after it")
    conn.close()
    conn = connect()
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    equal(one(conn, "show transaction_isolation"), "serializable", "isolation")
    conn.rollback()
    ok("isolation level, read-only and deferrable")
    conn.close()
    conn = connect()
    with conn.cursor("walk") as cur:
        cur.itersize = 100
        cur.execute("select id from items order by id")
        equal(sum(row[0] for row in cur), 500500, "named cursor")
    out = io.StringIO()
    with conn.cursor() as cur:
        cur.copy_expert("copy (select * from items) to stdout csv header", out)
    equal(out.getvalue().count("\n"), 1001, "copy out")
    conn.rollback()
    ok("named cursor, COPY TO STDOUT")
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    try:
        one(conn, HEAVY)
        raise AssertionError("not cancelled")
    except psycopg2.errors.QueryCanceled:
        conn.rollback()
    timer.join()
    equal(one(conn, "select 1"), 1, "after cancel")
    ok("cancel")
    conn.close()


def writes():
    with connect() as conn, conn.cursor() as cur:
        made = psycopg2.extras.execute_values(
            cur, "insert into items (name) values %s returning id", [(f"v{n}",) for n in range(250)], fetch=True)
        equal(len(made), 250, "execute_values")
        psycopg2.extras.execute_batch(cur, "update items set price = %s where id = %s", [(n, n) for n in range(1, 251)])
        cur.copy_from(io.StringIO("1\tx\n2\ty\n"), "parts", columns=("item_id", "label"))
        equal(cur.rowcount, 2, "copy in")
        cur.execute("delete from parts where label in ('x', 'y')")
        equal(cur.rowcount, 2, "deleted")
    ok("execute_values, execute_batch, COPY FROM STDIN, delete")


def large_objects():
    conn = connect()
    if role.name != "unrestricted":
        try:
            conn.lobject(0, "wb")
            raise AssertionError("a large object was made")
        except psycopg2.Error as error:
            if "pgwarden: call of pg_catalog.lo_creat is not allowed" not in str(error):
                raise
        conn.rollback()
        equal(one(conn, "select count(*) from pg_largeobject_metadata"), 0, "large objects")
        conn.close()
        return ok("large objects are refused")
    made = conn.lobject(0, "wb")
    content = bytes(range(256)) * 4000
    made.write(content)
    made.close()
    conn.commit()
    found = conn.lobject(made.oid, "rwb")
    equal(found.read(), content, "large object")
    found.seek(256)
    found.truncate(1000)
    equal((found.tell(), found.read(4)), (256, content[256:260]), "after truncate")
    found.unlink()
    conn.rollback()
    equal(conn.lobject(made.oid, "rb").seek(0, 2), len(content), "after rollback")
    conn.lobject(made.oid, "n").unlink()
    conn.commit()
    try:
        conn.lobject(made.oid, "rb")
        raise AssertionError("it is still there")
    except psycopg2.Error:
        conn.rollback()
    conn.close()
    return ok("large objects, by function calls")


def refusals():
    conn = connect(autocommit=True)
    for sql, states in role.refusals():
        try:
            one(conn, sql)
            raise AssertionError(f"not refused: {sql}")
        except psycopg2.Error as error:
            refused(error.pgcode, error.diag.message_primary, states, sql)
        equal(one(conn, "select 1"), 1, "after a refusal")
    conn.close()
    if role.refusals():
        ok("refusals")


version(f"psycopg2 {psycopg2.__version__.split()[0]}")
reads()
if role.may_write:
    writes()
large_objects()
refusals()
