"""Migrations as plain files, Flyway's way of naming them, run by psql: each file in a transaction, or one that includes the others."""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
from work import arguments, equal, ok, version

url, role, keeps = arguments()
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "LC_ALL": "C.UTF-8"}
NOTE = "insert into schema_versions (version) values ('{}');\n"
FILES = {
    "V1__notes.sql": "create table notes (id integer primary key, body text);\ncreate index notes_body on notes (body);\n",
    "V2__done.sql": "-- additive\nalter table notes\n  add column done boolean;\n",
}
DESTROYS = "V3__body.sql", "insert into notes (id, body) values (1, 'half');\n-- now it goes\nalter table notes\n  drop column body;\nselect 1;\n"
MORE = "V3__more.sql", "alter table notes add column more integer;\n"


def psql(*words, script=None, **environment):
    """Runs psql; gives (status, output, errors)."""
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url, *words], input=script, capture_output=True,
                          text=True, env={**ENVIRONMENT, **environment}, cwd=folder, timeout=60)
    return done.returncode, done.stdout, done.stderr


def number(sql):
    status, output, errors = psql("-At", "-c", sql)
    equal(status, 0, errors)
    return int(output)


def write(name, text):
    (pathlib.Path(folder) / name).write_text(text + NOTE.format(name))


def refused(errors, *told):
    """What a person reads in psql's window."""
    for words in ["ERROR:  pgwarden: ALTER TABLE … DROP COLUMN on `notes` is not allowed", "DETAIL:  Effect ddl.destructive", "HINT:  ", *told]:
        if words not in errors:
            raise AssertionError(f"{words!r} is not in what psql says:\n{errors}")


def untouched():
    equal((number("select count(*) from notes"), number("select count(*) from schema_versions")), (0, 2), "half a migration")


def destructive():
    name, text = DESTROYS
    status, _, errors = psql("-1", "-f", name)
    equal(status, 3, errors)
    refused(errors, f"psql:{name}:4: ERROR:", "LINE 2:   drop column body;\n          ^")
    untouched()
    ok("psql -1 -f: a destructive file stops its transaction, named with its line")
    status, _, errors = psql("-1", "-f", "all.sql")
    equal(status, 3, errors)
    refused(errors, f"psql:{name}:4: ERROR:")
    untouched()
    ok("\\i: the file that was included is named with its line")
    status, _, errors = psql("-c", f"-- {name}\n{text}")
    equal(status, 1, errors)
    refused(errors, f"(migration `{name}`, statement 2 of 3, line 5 of the text)", "LINE 5:   drop column body;\n          ^")
    untouched()
    ok("psql -c: a file sent as one query is refused before its first statement, named by its comment, with statement and line")
    status, _, errors = psql("-1", script=text, PGAPPNAME=f"migrations/{name}")
    equal(status, 3, errors)
    refused(errors, f"(migration `migrations/{name}`, line 2 of the text)")
    untouched()
    ok("standard input: named by application_name")
    write(*MORE)
    equal(psql("-1", "-f", MORE[0])[0], 0, "the next deploy")
    equal(number("select count(*) from schema_versions"), 3, "the next deploy")
    ok("the next deploy goes on")


version(subprocess.run(["psql", "--version"], capture_output=True, text=True).stdout)
with tempfile.TemporaryDirectory() as folder:
    for name, text in [*FILES.items(), DESTROYS]:
        write(name, text)
    pathlib.Path(folder, "all.sql").write_text(f"select 'begins';\n\\i {DESTROYS[0]}\n")
    first = psql("-c", "create table schema_versions (version text primary key)")
    if not role.may_create:
        equal((first[0], "ERROR:  pgwarden: CREATE TABLE on `schema_versions` is not allowed" in first[2]), (1, True), first[2])
        ok("refused before it begins")
        sys.exit(0)
    equal(first[0], 0, first[2])
    for name in FILES:
        status, _, errors = psql("-1", "-f", name)
        equal(status, 0, errors)
        if role.name == "migrations" and name == "V1__notes.sql":
            # On a table of the same transaction, but of another query: pgwarden cannot know that nobody waits for it.
            equal("NOTICE:  pgwarden: CREATE INDEX blocks others under load" in errors, True, errors)
    ok("psql -1 -f: additive files")
    if role.name == "migrations":
        destructive()
    else:
        equal(psql("-1", "-f", "all.sql")[0], 0, "a destructive file")
        ok("\\i: a destructive file")
