"""pg8000: a driver in pure Python; parameters, prepared statements, COPY, transactions, NOTIFY."""
import io
import pathlib
import sys
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import pg8000
import pg8000.native
from work import arguments, equal, ok, refused, skip, version

url, role, keeps = arguments()
parts = urlparse(url)


def connect():
    return pg8000.native.Connection(
        parts.username, host=parts.hostname, port=parts.port, database=parts.path[1:], password=parts.password)


def failure(conn, sql):
    """The fields of the error that a statement ends in."""
    try:
        conn.run(sql)
    except pg8000.native.DatabaseError as error:
        return error.args[0]
    raise AssertionError(f"no error: {sql}")


def reads(conn):
    equal(conn.run("select count(*) from items"), [[1000]], "count")
    row = conn.run("select name, price, details, tags from items where id = :id", id=7)[0]
    equal((row[0], str(row[1]), row[2], row[3]), ("item 7", "7.00", {"n": 7, "even": False}, ["t1", "ü"]), "row")
    ok("parameters and types")
    equal(failure(conn, "select nope from items")["P"], "8", "error position")
    equal(conn.run("select 1"), [[1]], "after an error")
    ok("error position, and going on after it")
    if keeps == "nothing":
        skip("prepared statements", "PgBouncer 1.18 keeps none in transaction mode")
    else:
        statement = conn.prepare("select name from items where id = :id")
        equal([statement.run(id=n)[0][0] for n in range(1, 11)], [f"item {n}" for n in range(1, 11)], "prepared")
        statement.close()
        ok("prepared statement")
    out = io.BytesIO()
    conn.run("copy (select id from items) to stdout", stream=out)
    equal(out.getvalue().count(b"\n"), 1000, "copy out")
    ok("COPY TO STDOUT")


def writes(conn):
    conn.run("start transaction")
    made = conn.run("insert into items (name) values (:name) returning id", name="new")[0][0]
    conn.run("savepoint here")
    equal(failure(conn, "select 1 / 0")["C"], "22012", "division")
    conn.run("rollback to here")
    conn.run("update items set price = 2 where id = :id", id=made)
    equal(conn.row_count, 1, "updated")
    conn.run("commit")
    conn.run("copy parts (item_id, label) from stdin", stream=io.StringIO(f"{made}\ta\n{made}\tb\n"))
    conn.run("delete from parts where item_id = :id", id=made)
    equal(conn.row_count, 2, "deleted")
    ok("transaction, savepoint, insert, update, COPY FROM STDIN, delete")


def refusals(conn):
    for sql, states in role.refusals():
        fields = failure(conn, sql)
        refused(fields["C"], fields["M"], states, sql)
        equal(("D" in fields, "H" in fields), (True, True), "DETAIL and HINT")
        equal(conn.run("select 1"), [[1]], "after a refusal")
    if role.refusals():
        ok("refusals")


version(f"pg8000 {pg8000.__version__}")
with connect() as connection:
    reads(connection)
    if role.may_write:
        writes(connection)
    refusals(connection)
