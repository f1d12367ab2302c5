"""psqlODBC through pyodbc: parameters, the driver's own cursors, catalog functions, transactions, executemany."""
import pathlib
import sys
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import pyodbc
from work import arguments, equal, ok, refused, version

url, role, keeps = arguments()
parts = urlparse(url)
DRIVER = next(pathlib.Path("/usr/lib").glob("*/odbc/psqlodbcw.so"))


def connect(**options):
    # UseServerSidePrepare=0 is what its documentation says for a pooler that keeps no prepared statements.
    prepare = 0 if keeps == "nothing" else 1
    return pyodbc.connect(
        f"DRIVER={DRIVER};SERVER={parts.hostname};PORT={parts.port};DATABASE={parts.path[1:]};UID={parts.username};"
        f"PWD={parts.password};SSLMODE=disable;UseServerSidePrepare={prepare};" + "".join(f"{k}={v};" for k, v in options.items()),
        autocommit=True)


def failure(conn, sql):
    try:
        conn.execute(sql)
    except pyodbc.Error as error:
        return error.args
    raise AssertionError(f"no error: {sql}")


def reads():
    with connect() as conn:
        equal(conn.execute("select count(*) from items").fetchval(), 1000, "count")
        for n in range(1, 11):
            equal(conn.execute("select name from items where id = ?", n).fetchval(), f"item {n}", "repeated")
        row = conn.execute("select price, made from items where id = 7").fetchone()
        equal((str(row[0]), row[1].year), ("7.00", 2025), "types")
        ok("parameters and types")
        equal(failure(conn, "select nope from items")[0], "42703", "unknown column")
        equal(conn.execute("select 1").fetchval(), 1, "after an error")
        ok("errors, and going on after them")
        cursor = conn.cursor()
        equal([row.table_name for row in cursor.tables("items", schema="public")], ["items"], "tables")
        equal(len(cursor.columns("items", schema="public").fetchall()), 6, "columns")
        equal(len(cursor.primaryKeys("items", schema="public").fetchall()), 1, "primary keys")
        equal(len(cursor.foreignKeys("items", schema="public").fetchall()), 1, "foreign keys")
        equal(len(cursor.statistics("parts", schema="public").fetchall()) >= 2, True, "indexes")
        equal(len(cursor.procedures("twice", schema="public").fetchall()), 1, "procedures")
        ok("catalog functions")
    with connect(UseDeclareFetch=1, Fetch=100) as conn:
        conn.autocommit = False
        equal(sum(row[0] for row in conn.execute("select id from items")), 500500, "UseDeclareFetch")
        conn.rollback()
    ok("cursors by UseDeclareFetch")


def writes():
    with connect() as conn:
        conn.autocommit = False
        made = conn.execute("insert into items (name) values (?) returning id", "new").fetchval()
        conn.cursor().executemany("insert into parts (item_id, label) values (?, ?)", [(made, f"p{n}") for n in range(50)])
        # Protocol 7.4-2: the driver sets a savepoint before each statement, and goes back to it after an error.
        failure(conn, "insert into parts (item_id, label) values (999999, 'none')")
        equal(conn.execute("update items set price = 2 where id = ?", made).rowcount, 1, "updated")
        conn.commit()
        equal(conn.execute("delete from parts where item_id = ?", made).rowcount, 50, "deleted")
        conn.commit()
    ok("transaction, executemany, statement rollback, update, delete")


def refusals():
    with connect() as conn:
        for sql, states in role.refusals():
            state, text = failure(conn, sql)
            message = text.split("ERROR: ")[-1]
            refused(state, message, states, sql)
            equal("DETAIL" in text or "HINT" in text or ";" in text, True, text)
            equal(conn.execute("select 1").fetchval(), 1, "after a refusal")
    if role.refusals():
        ok("refusals")


version(f"psqlODBC {connect().getinfo(pyodbc.SQL_DRIVER_VER)}")
reads()
if role.may_write:
    writes()
refusals()
