"""psycopg 3: pipeline mode, COPY, server-side cursors, executemany, prepared and binary, cancel."""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from work import HEAVY, arguments, equal, ok, refused, skip, version

url, role, keeps = arguments()
# What psycopg's documentation says for a pooler that does not keep prepared statements.
THRESHOLD = None if keeps == "nothing" else 2


def connect(**options):
    return psycopg.connect(url, prepare_threshold=THRESHOLD, **options)


def reads():
    with connect(autocommit=True) as conn:
        equal(conn.execute("select count(*) from items").fetchone(), (1000,), "count")
        row = conn.execute("select name, price, details, tags, made from items where id = %s", (7,)).fetchone()
        equal((row[0], str(row[1]), row[2], row[3]), ("item 7", "7.00", {"n": 7, "even": False}, ["t1", "ü"]), "row")
        ok("parameters and types")
        for n in range(1, 8):
            equal(conn.execute("select twice(%s)", (n,)).fetchone()[0], 2 * n, "repeated")
        ok("repeated statement" if THRESHOLD is None else "statement that becomes prepared")
        cur = conn.cursor(binary=True, row_factory=dict_row)
        equal(cur.execute("select id, made from items where id = any(%s) order by id", ([3, 5],)).fetchall()[1]["id"], 5, "binary")
        ok("binary results")
        big = "x" * 5_000_000
        equal(conn.execute("select length(%s::text)", (big,)).fetchone()[0], len(big), "large parameter")
        equal(len(conn.execute("select repeat('y', 5000000)").fetchone()[0]), 5_000_000, "large value")
        ok("large parameter and value")
        equal(conn.execute("select 1; select 2").nextset(), True, "several statements")
        ok("several statements in one query")
        try:
            conn.execute("select nope from items")
            raise AssertionError("no error")
        except psycopg.errors.UndefinedColumn as error:
            equal(error.diag.statement_position, "8", "error position")
        equal(conn.execute("select 1").fetchone(), (1,), "after an error")
        ok("error position, and going on after it")


def transactions():
    with connect() as conn:
        with conn.transaction():
            try:
                with conn.transaction():
                    conn.execute("select 1 / 0")
            except psycopg.errors.DivisionByZero:
                pass
            equal(conn.execute("select 1").fetchone(), (1,), "after the savepoint")
        conn.rollback()
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        equal(conn.execute("show transaction_isolation").fetchone(), ("repeatable read",), "isolation")
        conn.rollback()
    ok("transactions, savepoints, isolation level")


def cursors():
    with connect() as conn:
        with conn.cursor(name="walk") as cur:
            cur.itersize = 100
            cur.execute("select id from items order by id")
            equal(sum(row[0] for row in cur), 500500, "server-side cursor")
        with conn.cursor(name="jump", scrollable=True) as cur:
            cur.execute("select id from items order by id")
            cur.scroll(500)
            equal(cur.fetchone(), (501,), "scroll")
    ok("server-side cursors")
    with connect(autocommit=True) as conn, conn.cursor() as cur:
        equal(sum(1 for _ in cur.stream("select id from items")), 1000, "stream")
    ok("single-row mode")


def pipeline():
    with connect(autocommit=True) as conn, conn.pipeline():
        curs = [conn.execute("select name from items where id = %s", (n,)) for n in range(1, 51)]
        equal([cur.fetchone()[0] for cur in curs], [f"item {n}" for n in range(1, 51)], "pipeline")
    ok("pipeline mode")
    with connect(autocommit=True) as conn:
        try:
            with conn.pipeline():
                conn.execute("select 1 / 0")
                conn.execute("select 1")
            raise AssertionError("no error")
        except (psycopg.errors.DivisionByZero, psycopg.errors.PipelineAborted):
            pass
        equal(conn.execute("select 2").fetchone(), (2,), "after a failed pipeline")
    ok("an error in a pipeline")


def copy_out():
    with connect() as conn, conn.cursor() as cur:
        with cur.copy("copy (select id, name from items order by id) to stdout") as copy:
            equal(sum(1 for _ in copy.rows()), 1000, "copy out")
        with cur.copy("copy items (id) to stdout (format binary)") as copy:
            copy.set_types(["int4"])
            equal(sum(row[0] for row in copy.rows()), 500500, "binary copy out")
    ok("COPY TO STDOUT, text and binary")


def cancels():
    with connect(autocommit=True) as conn:
        timer = threading.Timer(0.5, conn.cancel_safe)
        timer.start()
        started = time.monotonic()
        try:
            conn.execute(HEAVY)
            raise AssertionError("not cancelled")
        except psycopg.errors.QueryCanceled:
            equal(time.monotonic() - started < 10, True, "soon")
        timer.join()
        equal(conn.execute("select 1").fetchone(), (1,), "after cancel")
    ok("cancel")


def writes():
    with connect() as conn, conn.cursor() as cur:
        cur.execute("insert into items (name, details) values (%s, %s) returning id", ("new", Jsonb({"a": 1})))
        made = cur.fetchone()[0]
        cur.execute("update items set price = price + 1 where id = %s", (made,))
        equal(cur.rowcount, 1, "updated")
        cur.executemany("insert into parts (item_id, label) values (%s, %s)", [(made, f"p{n}") for n in range(100)])
        equal(cur.rowcount, 100, "executemany")
        cur.executemany("insert into items (name) values (%s) returning id", [("a",), ("b",)], returning=True)
        equal(cur.nextset(), True, "executemany returning")
        cur.execute("delete from parts where item_id = %s", (made,))
        equal(cur.rowcount, 100, "deleted")
        conn.commit()
    ok("insert, update, delete, executemany")
    with connect() as conn, conn.cursor() as cur:
        with cur.copy("copy parts (item_id, label) from stdin") as copy:
            for n in range(500):
                copy.write_row((1, f"copied {n}\twith tab"))
        equal(cur.rowcount, 500, "copied")
        with cur.copy("copy parts (item_id, label) from stdin (format binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((1, "binary"))
        conn.commit()
        try:
            with cur.copy("copy parts (item_id, label) from stdin") as copy:
                copy.write_row((999999, "no such item"))
            raise AssertionError("no error")
        except psycopg.errors.ForeignKeyViolation:
            conn.rollback()
        equal(cur.execute("select count(*) from parts where label like 'copied%'").fetchone(), (500,), "after COPY")
    ok("COPY FROM STDIN, text and binary, and its failure")
    with connect(autocommit=True) as conn, conn.pipeline():
        for n in range(50):
            conn.execute("insert into parts (item_id, label) values (%s, %s)", (2, f"piped {n}"))
    with connect() as conn:
        equal(conn.execute("select count(*) from parts where label like 'piped%'").fetchone(), (50,), "piped")
    ok("writes in a pipeline")


def creates():
    with connect() as conn:
        conn.execute("create table fresh (id integer primary key, note text)")
        conn.execute("alter table fresh add column more integer")
        conn.execute("insert into fresh values (1, 'x', 2)")
        conn.commit()
        equal(conn.execute("select more from fresh").fetchone(), (2,), "new table")
    ok("create and alter a table")


def notifies():
    if keeps != "all":
        return skip("listen and notify", "a transaction pooler keeps no LISTEN")
    with connect(autocommit=True) as listener, connect(autocommit=True) as sender:
        listener.execute("listen news")
        sender.execute("notify news, 'hello'")
        note = next(listener.notifies(timeout=10))
        equal((note.channel, note.payload), ("news", "hello"), "notification")
    ok("listen and notify")


def refusals():
    with connect(autocommit=True) as conn:
        for sql, states in role.refusals():
            for way in ("autocommit", "in a transaction", "in a pipeline"):
                try:
                    if way == "autocommit":
                        conn.execute(sql)
                    elif way == "in a transaction":
                        with conn.transaction():
                            conn.execute("select 1")
                            conn.execute(sql)
                    else:
                        with conn.pipeline():
                            conn.execute(sql)
                    raise AssertionError(f"not refused {way}: {sql}")
                except psycopg.Error as error:
                    refused(error.sqlstate, error.diag.message_primary, states, f"{sql} ({way})")
                equal(conn.execute("select 'on'").fetchone(), ("on",), "after a refusal")
    with connect() as conn:
        equal(conn.execute("select count(*) from items where name = 'never'").fetchone(), (0,), "nothing changed")
        if role.refusals():
            sql, _ = role.refusals()[0]
            try:
                with conn.transaction():
                    conn.execute(sql)
            except psycopg.Error:
                pass
            equal(conn.info.transaction_status.name, "INTRANS", "after ROLLBACK TO")
            equal(conn.execute("select 1").fetchone(), (1,), "after ROLLBACK TO")
    if role.refusals():
        ok("refusals")


version(f"psycopg {psycopg.__version__.split()[0]}")
reads()
transactions()
cursors()
pipeline()
copy_out()
cancels()
if role.may_write:
    writes()
if role.may_create:
    creates()
if role.may_notify:
    notifies()
refusals()
