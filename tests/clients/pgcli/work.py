"""pgcli as a person types into it: a pseudo terminal, its prompt, its completion's own questions, and what it prints."""
import os
import pathlib
import pty
import re
import select
import signal
import sys
import tempfile
import time
from importlib.metadata import version as installed

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
from work import arguments, equal, ok, version

url, role, keeps = arguments()
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][0-9A-Z]?)")
SETTINGS = """[main]
multi_line = False
destructive_warning =
less_chatty = True
keyring = False
enable_pager = False
auto_expand = False
table_format = ascii
on_error = RESUME
prompt = 'ready> '
log_file = default
"""


class Terminal:
    """A program in a pseudo terminal."""

    def __init__(self, place):
        settings = pathlib.Path(place) / "config"
        settings.write_text(SETTINGS)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        environment.update(TERM="xterm", COLUMNS="200", LINES="50", HOME=place, XDG_CONFIG_HOME=place, PROMPT_TOOLKIT_NO_CPR="1")
        program = str(pathlib.Path(sys.executable).parent / "pgcli")
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execve(program, [program, "--pgclirc", str(settings), url], environment)
        self.seen = ""

    def until(self, pattern, since=0):
        """Reads on until the screen says so, and gives what it says from `since` on."""
        end = time.monotonic() + 60
        while not re.search(pattern, self.text()[since:]):
            if time.monotonic() > end:
                raise AssertionError(f"{pattern} did not come: {self.text()[since:][-3000:]}")
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.seen += os.read(self.terminal, 65536).decode("utf-8", "replace")
        return self.text()[since:]

    def text(self):
        return ESCAPES.sub("", self.seen)

    def types(self, line, pattern):
        """Types a line, and gives what comes of it once that holds."""
        since = len(self.text())
        os.write(self.terminal, line.encode())
        os.write(self.terminal, b"\r")
        return self.until(pattern, since)


def works(terminal):
    terminal.until("ready>")
    ok("connects")
    terminal.types("\\dt", r"\| *parts *\|")
    ok("\\dt")
    terminal.types("\\d items", r"items_pkey")
    ok("\\d of a table")
    terminal.types("select 'rows', count(*) * 3 from items;", r"\| *rows *\| *3000 *\|")
    ok("a query")
    terminal.types("select 1/0;", "division by zero")
    terminal.types("select 40 + 2;", r"\| *42 *\|")
    ok("an error, and the next query")
    if role.may_write:
        terminal.types("update items set name = 'ch' || 'anged' where id = 3;", "UPDATE 1")
        terminal.types("select name from items where id = 3;", r"\| *changed *\|")
        ok("changes a row")
    for sql, states in role.refusals():
        said = terminal.types(f"{sql};", "pgwarden: [^\n]*not|pgwarden: [^\n]*read-only")
        equal("pgwarden: " in said, True, sql)
        terminal.types("select 40 + 3;", r"\| *43 *\|")
    if role.refusals():
        ok("refusals are read on the screen, and the session goes on")
        found = terminal.types("select 'left', count(*) from items where name = 'never';", r"\| *left *\| *\d+ *\|")
        equal(re.search(r"\| *left *\| *(\d+) *\|", found).group(1), "0", "nothing is left of them")


version(f"pgcli {installed('pgcli')}")
with tempfile.TemporaryDirectory() as place:
    terminal = Terminal(place)
    try:
        works(terminal)
        os.write(terminal.terminal, b"\\q\r")
    except BaseException:
        os.kill(terminal.process, signal.SIGKILL)
        raise
    finally:
        os.close(terminal.terminal)
        os.waitpid(terminal.process, 0)
