"""psql as a person uses it: meta-commands, \\copy both ways, Ctrl-C at a terminal, error positions, transactions."""
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
from work import HEAVY, arguments, equal, ok, refused, skip, version

url, role, keeps = arguments()
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "LC_ALL": "C.UTF-8", "PSQL_PAGER": "cat"}


def psql(script, *arguments):
    """Runs a script; gives (status, output, errors)."""
    done = subprocess.run(["psql", "-X", url, *arguments], input=script, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    return done.returncode, done.stdout, done.stderr


def rows(script):
    status, output, errors = psql(script, "-qAt", "-v", "ON_ERROR_STOP=1")
    if status != 0:
        raise AssertionError(f"{script}: {errors}")
    return output.splitlines()


def major(text):
    return int(re.search(r"\d+", text).group())


def meta_commands():
    program = subprocess.run(["psql", "--version"], capture_output=True, text=True).stdout
    old = major(program.split("PostgreSQL")[1]) < major(rows("show server_version")[0])
    works, too_old = 0, []
    for command, expected in [
        ("\\d", "items"), ("\\d items", "items_pkey"), ("\\d+ items", "Storage"), ("\\dt", "parts"), ("\\dv", "dear_items"),
        ("\\df", "twice"), ("\\df+ twice", "immutable"), ("\\sf twice", "CREATE OR REPLACE FUNCTION"), ("\\di", "parts_item"),
        ("\\dn", "private"), ("\\dn+", "private"), ("\\du", "Role name"), ("\\l", "postgres"), ("\\l+", "postgres"),
        ("\\dp", "items"), ("\\dT", "List of data types"), ("\\dx", "plpgsql"), ("\\ds", "items_id_seq"), ("\\sv dear_items", "CREATE OR REPLACE VIEW"),
        ("\\dt private.*", "keys"), ("\\d private.keys", "value"), ("\\conninfo", "connected"), ("\\encoding", "UTF8"),
        ("\\dconfig work_mem", "work_mem"), ("\\dd", "Object descriptions"), ("\\dO", "List of collations"), ("\\dy", ""), ("\\db", "pg_default"),
    ]:
        status, output, errors = psql(command + "\n", "-v", "ON_ERROR_STOP=1")
        if status == 0 and expected in output:
            works += 1
        elif old and "does not exist" in errors:
            too_old.append(command)
        else:
            raise AssertionError(f"{command}: {output} {errors}")
    ok(f"{works} meta-commands")
    if too_old:
        skip(" ".join(too_old), "this psql is older than the server")


def errors():
    _, _, text = psql("select 1,\n  nope from items;\n")
    equal(text.splitlines()[:3], ['ERROR:  column "nope" does not exist', "LINE 2:   nope from items;", "          ^"], "error position")
    _, output, text = psql("select 1 / 0;\nselect 'on';\n", "-qAt")
    equal(output, "on\n", "after an error")
    ok("error positions, and going on after an error")


def transactions():
    equal(rows("begin isolation level serializable, read only, deferrable;\nshow transaction_isolation;\nsavepoint s;\nselect 1;\nrollback to s;\ncommit;"), ["serializable", "1"], "transaction")
    status, output, text = psql("begin;\nselect nope;\nselect 1;\nrollback;\nselect 'on';\n", "-qAt")
    equal((output, "current transaction is aborted" in text), ("on\n", True), "aborted transaction")
    equal(rows("select 1; select 2 \\; select 3;"), ["1", "2", "3"], "several statements")
    equal(rows("select 6 * 7 as answer \\gset\n\\echo :answer"), ["42"], "gset")
    equal(rows("select 'select ' || n from generate_series(1, 3) n \\gexec"), ["1", "2", "3"], "gexec")
    equal(rows("\\set FETCH_COUNT 100\nselect id from items order by id;")[-1], "1000", "FETCH_COUNT")
    ok("transactions, \\gset, \\gexec, FETCH_COUNT")


def copy():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/items.csv"
        rows(f"\\copy (select id, name from items order by id) to '{path}' csv header")
        equal(len(pathlib.Path(path).read_text().splitlines()), 1001, "\\copy to")
        ok("\\copy to")
        if role.may_write:
            pathlib.Path(path).write_text("".join(f"1,copied {n}\n" for n in range(300)))
            rows(f"\\copy parts (item_id, label) from '{path}' csv")
            equal(rows("select count(*) from parts where label like 'copied%'"), ["300"], "\\copy from")
            ok("\\copy from")


class Terminal:
    """psql at a terminal."""

    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("psql", ["psql", "-X", "-n", url], ENVIRONMENT)

    def until(self, text, seconds=20):
        seen, deadline = "", time.monotonic() + seconds
        while text not in seen:
            if time.monotonic() > deadline or not select.select([self.fd], [], [], deadline - time.monotonic())[0]:
                raise AssertionError(f"waited for {text!r}, saw {seen!r}")
            seen += os.read(self.fd, 65536).decode(errors="replace")
        return seen

    def send(self, text):
        os.write(self.fd, text.encode())


def ctrl_c():
    terminal = Terminal()
    terminal.until("=")
    terminal.send(HEAVY + ";\n")
    time.sleep(0.7)
    terminal.send("\x03")
    terminal.until("canceling statement due to user request")
    terminal.send("select 'still' || ' here';\n")
    terminal.until("still here")
    terminal.send("\\q\n")
    os.waitpid(terminal.pid, 0)
    ok("Ctrl-C at a terminal cancels the query, and the session goes on")


def ssl_modes():
    for mode in ("disable", "allow", "prefer"):
        plain = url.split("?")[0]
        done = subprocess.run(["psql", "-X", "-qAt", f"{plain}?sslmode={mode}", "-c", "select 1"], capture_output=True, text=True, env=ENVIRONMENT, timeout=30)
        equal(done.stdout, "1\n", f"sslmode={mode}: {done.stderr}")
    ok("sslmode disable, allow, prefer")


def writes():
    status, output, text = psql("insert into items (name) values ('new') returning name;\nupdate items set price = 2 where name = 'new';\ndelete from items where name = 'new';\n")
    equal(("INSERT 0 1" in output, "UPDATE 1" in output, "DELETE 1" in output), (True, True, True), output + text)
    status, output, text = psql("insert into items (name) values ('a');\ninsert into items (nope) values ('b');\n", "-1", "-v", "ON_ERROR_STOP=1")
    equal(rows("select count(*) from items where name = 'a'"), ["0"], "psql -1 rolls back")
    ok("insert, update, delete, and psql -1")


def large_objects():
    with tempfile.TemporaryDirectory() as folder:
        given, taken = pathlib.Path(folder, "given"), pathlib.Path(folder, "taken")
        given.write_bytes(bytes(range(256)) * 1000)
        if role.name != "unrestricted":
            _, output, text = psql(f"\\lo_import {given}\nselect 'on';\n", "-qAt")
            equal(("pgwarden: call of pg_catalog.lo_creat is not allowed" in text, output), (True, "on\n"), text)
            return ok("\\lo_import is refused")
        status, output, text = psql(f"\\lo_import {given} 'a comment'\n\\lo_export :LASTOID {taken}\n\\lo_list\n\\lo_unlink :LASTOID\n", "-v", "ON_ERROR_STOP=1")
        equal((status, text, "a comment" in output, "lo_unlink" in output), (0, "", True, True), output + text)
        equal(taken.read_bytes(), given.read_bytes(), "large object")
    return ok("\\lo_import, \\lo_export, \\lo_list, \\lo_unlink")


def refusals():
    for sql, states in role.refusals():
        _, output, text = psql(f"{sql};\nselect 'on';\n", "-qAt", "-v", "VERBOSITY=verbose")
        head = text.splitlines()[0]
        refused(head[8:13], head[15:], states, sql)
        equal(output, "on\n", "after a refusal")
        _, output, text = psql(f"begin;\nsavepoint s;\n{sql};\nrollback to s;\nselect 'on';\ncommit;\n", "-qAt")
        equal(output, "on\n", "after ROLLBACK TO")
    if role.refusals():
        equal(rows("select count(*) from items where name = 'never'"), ["0"], "nothing changed")
        _, _, text = psql(role.refusals()[0][0] + ";\n")
        equal(("DETAIL:" in text, "HINT:" in text), (True, True), text)
        ok("refusals with DETAIL and HINT")


version(subprocess.run(["psql", "--version"], capture_output=True, text=True).stdout)
meta_commands()
errors()
transactions()
copy()
ctrl_c()
ssl_modes()
if role.may_write:
    writes()
large_objects()
refusals()
