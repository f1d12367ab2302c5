"""pg_dump and pg_restore: what may read can back up, in every format; what may create can restore from it.

Both empty `search_path` for their session; behind a transaction pooler that stays with the server connection, so names are
written with their schema here.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
from work import arguments, equal, ok, skip, version

url, role, keeps = arguments()
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PG")}


def newest(program):
    """The newest of the programs that are here: a pg_dump refuses a server newer than itself."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(program)


def run(program, *rest, fails=False):
    done = subprocess.run([newest(program), *rest], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{program} {rest}: {done.returncode}: {done.stdout[-500:]} {done.stderr[-2000:]}")
    return done.stdout + done.stderr


def query(sql):
    return run("psql", "-XqAt", url, "-c", sql).strip()


def newer_server():
    program = int(run("pg_dump", "--version").split()[2].split(".")[0])
    return int(query("show server_version_num")) // 10000 > program


def dumps(folder):
    if role.name == "application":
        said = run("pg_dump", "-d", url, "-f", f"{folder}/all.sql", fails=True)
        equal("pgwarden: " in said, True, f"the refusal in pg_dump's own words: {said}")
        ok("a role that may not read a schema cannot dump it, and is told so by pg_dump")
    tables = ["-n", "public"]
    run("pg_dump", "-d", url, *tables, "-f", f"{folder}/plain.sql")
    text = pathlib.Path(f"{folder}/plain.sql").read_text()
    equal(("CREATE TABLE public.items" in text, "item 1000" in text, "CREATE FUNCTION public.twice" in text), (True, True, True), "plain dump")
    ok("pg_dump, plain")
    run("pg_dump", "-d", url, *tables, "-Fc", "-f", f"{folder}/custom")
    equal("TABLE DATA public parts" in run("pg_restore", "-l", f"{folder}/custom"), True, "list of the dump")
    ok("pg_dump -Fc, pg_restore -l")
    run("pg_dump", "-d", url, *tables, "-Fd", "-j", "3", "-f", f"{folder}/parallel")
    ok("pg_dump -Fd -j 3: parallel workers share a snapshot")
    run("pg_dump", "-d", url, *tables, "-s", "--inserts", "-f", f"{folder}/schema.sql")
    ok("pg_dump --schema-only")


def restores(folder):
    """Into the same database, under another schema's name: what was dumped is renamed in the file."""
    text = pathlib.Path(f"{folder}/plain.sql").read_text().replace("public.", "restored.")
    text = text.replace("CREATE SCHEMA public;", "").replace("ALTER SCHEMA public OWNER TO pg_database_owner;", "")
    text = "\n".join(line for line in text.splitlines() if "SCHEMA public" not in line)
    pathlib.Path(f"{folder}/restored.sql").write_text("create schema restored;\n" + text)
    if role.name == "migrations":
        said = run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-1", url, "-f", f"{folder}/restored.sql", fails=True)
        equal("pgwarden: " in said, True, said)
        equal(query("select count(*) from pg_namespace where nspname = 'restored'"), "0", "nothing is left of it")
        ok("a dump that sets owners is refused, and nothing of it stays")
        return
    run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-1", url, "-f", f"{folder}/restored.sql")
    equal(query("select count(*) from restored.items"), "1000", "restored")
    ok("psql restores a plain dump in one transaction")
    run("psql", "-Xq", url, "-c", "drop schema restored cascade", "-c", "drop table public.parts, public.items cascade", "-c", "drop function public.twice")
    run("pg_restore", "-d", url, "-j", "2", "-t", "items", "-t", "parts", f"{folder}/custom")
    equal(query("select count(*) from public.items"), "1000", "pg_restore")
    ok("pg_restore -j 2")


version(run("pg_dump", "--version"))
if newer_server():
    skip("pg_dump and pg_restore", "Debian's pg_dump refuses a server newer than itself, and the Postgres 18 that the tests bring has the server alone")
else:
    with tempfile.TemporaryDirectory() as place:
        dumps(place)
        if keeps != "all":
            skip("search_path afterwards", "pg_dump empties it for its session, and a transaction pooler hands that to whoever comes next")
        if role.may_create:
            restores(place)
