"""What the Python clients share: arguments, the report, and what a role must be refused."""
import pathlib
import sys

CLIENTS = pathlib.Path(__file__).resolve().parent.parent
HEAVY = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b"


class Role:
    """The role a program was told, and what follows from it."""

    def __init__(self, name):
        self.name = name
        self.may_write = name != "read-only"
        self.may_create = name in ("unrestricted", "migrations")
        self.may_notify = name in ("unrestricted", "application")

    def refusals(self):
        """Pairs of a statement that must be refused and the SQLSTATEs it may be refused with."""
        lines = (CLIENTS / "refusals.tsv").read_text().splitlines()
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        return [(sql, states.split(",")) for role, states, sql in rows if role == self.name]


def arguments():
    """(url, role, keeps) of the command line."""
    url, role, keeps = sys.argv[1:4]
    return url, Role(role), keeps


def ok(feature):
    print("ok", feature, flush=True)


def skip(feature, reason):
    print(f"skip {feature}: {reason}", flush=True)


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def refused(state, message, states, sql):
    """Checks that an error is pgwarden's refusal."""
    if state not in states or not message.startswith("pgwarden: "):
        raise AssertionError(f"{sql}: expected a refusal {states}, found {state}: {message}")


def version(text):
    """Says which client this is."""
    print("version", " ".join(str(text).split()), flush=True)
