#!/usr/bin/env python3
"""The whole proxy beside its peers: `make bench`, or `benches/proxy/run.py --quick` for a minute's look.

Every figure of a row is taken in turns within one run, so that what else the machine does falls on all of them alike.
One table is printed, and written with every single value to target/bench/proxy.json.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

from client import Session, median, pgbench, psql  # noqa: E402
from stack import ROOT, SCALE, Stack  # noqa: E402

OUTPUT = ROOT / "target/bench"
BASE = "pgbouncer session"
# What audit costs is what pgwarden takes more than this: reads are counted, not recorded one by one.
COUNTED = "pgwarden, reads counted"
# Bytes of the rows as COPY writes them: columns, tabs, newline.
MOVED = "select sum(octet_length(aid::text || bid::text || abalance::text) + octet_length(filler) + 4) from pgbench_accounts"


class Target:
    """A way to Postgres: the server to connect to, the process whose time counts, and how."""

    def __init__(self, name, server, proxy, sslmode="disable", read_only=False):
        self.name, self.server, self.proxy = name, server, proxy
        self.sslmode, self.read_only = sslmode, read_only

    @property
    def port(self):
        return self.server.port

    def cpu(self):
        return self.proxy.cpu_seconds() if self.proxy else 0.0


class Run:
    def __init__(self, stack, options):
        self.stack, self.options = stack, options
        self.rows = []
        self.seconds = options.seconds or (1 if options.quick else 4)
        self.rounds = options.rounds or (2 if options.quick else 5)

    def plain(self):
        stack = self.stack
        targets = [Target("direct", stack.postgres, None)]
        session = stack.pgbouncer("pgbouncer-session", "session")
        targets.append(Target(BASE, session, session))
        transaction = stack.pgbouncer("pgbouncer-transaction", "transaction")
        targets.append(Target("pgbouncer transaction", transaction, transaction))
        haproxy = stack.haproxy()
        targets.append(Target("haproxy", haproxy, haproxy))
        application = stack.pgwarden()
        targets.append(Target("pgwarden", application, application))
        reader = stack.pgwarden("pgwarden-read-only", read_only=True)
        targets.append(Target("pgwarden read-only", reader, reader, read_only=True))
        counted = stack.pgwarden("pgwarden-counted", counted=True)
        targets.append(Target(COUNTED, counted, counted))
        return targets

    def encrypted(self):
        stack = self.stack
        session = stack.pgbouncer("pgbouncer-tls", "session", tls=True)
        warden = stack.pgwarden("pgwarden-tls", tls=True)
        return [Target("direct", stack.postgres, None, "require"), Target(BASE, session, session, "require"),
                Target("pgwarden", warden, warden, "require")]

    def chosen(self, targets):
        wanted = self.options.targets.split(",") if self.options.targets else None
        return [target for target in targets if not wanted or target.name in wanted]

    # ----- measurements -----

    def transactions(self, what, targets, clients, mode, connect=False, rounds=None):
        values = {target.name: [] for target in targets}
        folder = self.stack.folder / "pgbench"
        for turn in range((rounds or self.rounds) + 1):
            for target in targets:
                # The first turn warms caches and pools and is not counted.
                seconds = 1 if turn == 0 else self.seconds
                before = target.cpu()
                done, rate, times = pgbench(target.port, folder, seconds, clients, mode, target.sslmode, connect,
                                            1.0 if connect or clients == 1 else 0.05)
                cpu = (target.cpu() - before) / done * 1e6
                if turn:
                    values[target.name].append({"rate": rate, "cpu": cpu, "p50": times[50], "p95": times[95],
                                                "p99": times[99]})
        unit = "connects/s" if connect else "tps"
        self.report(what, targets, values, unit, "µs CPU")

    def copy(self, what, targets, script, moved, prepare=None, stdin=None):
        values = {target.name: [] for target in targets}
        for _ in range(max(2, self.rounds - 1)):
            for target in targets:
                if prepare:
                    prepare()
                before = target.cpu()
                taken = psql(target.port, script, target.sslmode, stdin)
                gigabytes = moved / 1e9
                values[target.name].append({"rate": gigabytes * 1000 / taken,
                                            "cpu": (target.cpu() - before) / gigabytes})
        self.report(what, targets, values, "MB/s", "CPU s/GB")

    def idle_memory(self, what, targets, sessions, tls=False):
        """Memory that a session costs when it has run one query and then stays idle."""
        values = {target.name: [] for target in targets}
        for target in targets:
            if not target.proxy:
                continue
            # Sessions opened and closed first, so that what a process takes once is not counted.
            warm = [opened(target.port, tls) for _ in range(20)]
            before = target.proxy.memory_bytes()
            held = [opened(target.port, tls) for _ in range(sessions)]
            time.sleep(0.5)
            values[target.name].append({"memory": (target.proxy.memory_bytes() - before) / sessions / 1000})
            for session in (*held, *warm):
                session.close()
            self.wait_for_backends()
        self.report(what, [target for target in targets if target.proxy], values, None, None, "kB")

    def wait_for_backends(self):
        """Until Postgres has let go of the sessions before: PgBouncer keeps its own, up to its pool's size."""
        for _ in range(100):
            ours = "select count(*) from pg_stat_activity where usename = 'bench' and application_name = 'bench'"
            if int(self.stack.sql(ours)) < 150:
                return
            time.sleep(0.2)

    def beside_idle(self, sessions):
        """Latency of busy sessions with thousands of idle ones beside them, over pgwarden before a pooler."""
        pooler = self.stack.pgbouncer("pgbouncer-behind", "transaction")
        alone = self.stack.pgwarden("pgwarden-alone", pooled_port=pooler.port)
        crowded = self.stack.pgwarden("pgwarden-crowded", pooled_port=pooler.port)
        held = [opened(crowded.port, False) for _ in range(sessions)]
        targets = [Target("50 busy alone", alone, alone), Target(f"50 busy beside {sessions} idle", crowded, crowded)]
        self.transactions(f"beside {sessions} idle sessions", targets, 50, "prepared")
        for session in held:
            session.close()
        for server in (alone, crowded, pooler):
            self.stack.end(server)

    # ----- the table -----

    def report(self, what, targets, values, rate_unit, cpu_unit, memory_unit=None):
        for target in targets:
            taken = values[target.name]
            if not taken:
                continue
            row = {"measure": what, "target": target.name, "rate_unit": rate_unit, "cpu_unit": cpu_unit,
                   "memory_unit": memory_unit, "values": taken}
            for key in taken[0]:
                row[key] = median([value[key] for value in taken])
            self.rows.append(row)
        for row in self.rows:
            if row["measure"] == what:
                for base, column in ((BASE, "to_base"), ("direct", "to_direct")):
                    other = next((r for r in self.rows if r["measure"] == what and r["target"] == base), None)
                    row[column] = {key: row[key] / other[key] for key in ("rate", "cpu", "memory", "p50")
                                   if other and other.get(key) and row.get(key)}
        added_latency(self.rows, what)
        print_rows([row for row in self.rows if row["measure"] == what])
        print(*cost_of_audit([row for row in self.rows if row["measure"] == what]), sep="\n", flush=True)

    def write(self):
        OUTPUT.mkdir(parents=True, exist_ok=True)
        (OUTPUT / "proxy.json").write_text(json.dumps(self.rows, indent=1))
        with open(OUTPUT / "proxy.md", "w") as out:
            print_rows(self.rows, out)
            print(*cost_of_audit(self.rows), sep="\n", file=out)
        print(f"\nwritten to {OUTPUT}/proxy.md and proxy.json")


def added_latency(rows, what):
    """What a proxy adds to the median latency, over direct."""
    mine = [row for row in rows if row["measure"] == what]
    direct = next((row for row in mine if row["target"] == "direct"), None)
    if direct and "p50" in direct and not direct["rate_unit"].startswith("connects"):
        for row in mine:
            # pgbench's log has whole microseconds only: the mean is finer where one client is all there is.
            row["added"] = 1e6 / row["rate"] - 1e6 / direct["rate"] if "1 client" in what else row["p50"] - direct["p50"]


def cost_of_audit(rows):
    """For each measure, what recording every statement takes more than counting them."""
    cpu = {(row["measure"], row["target"]): row["cpu"] for row in rows if row.get("cpu_unit") == "µs CPU"}
    for (measure, target), each in cpu.items():
        if target == "pgwarden" and (measure, COUNTED) in cpu:
            yield f"{measure}: audit of every statement costs {each - cpu[measure, COUNTED]:.2f} µs CPU"


def opened(port, tls):
    session = Session(port, tls)
    session.query("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
    return session


COLUMNS = ("measure", "target", "throughput", "of PgBouncer", "of direct", "proxy CPU", "of PgBouncer",
           "p50 / p95 / p99 µs", "added µs")


def print_rows(rows, out=sys.stdout):
    table = [COLUMNS] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    for number, line in enumerate(table):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |", file=out)
        if number == 0:
            print("| " + " | ".join("-" * width for width in widths) + " |", file=out)
    print(file=out, flush=True)


def cells(row):
    base, direct = row.get("to_base", {}), row.get("to_direct", {})

    def ratio(ratios, key):
        return f"{ratios[key]:.2f}" if key in ratios else ""

    if row["memory_unit"]:
        return (row["measure"], row["target"], f"{row['memory']:.1f} {row['memory_unit']}", ratio(base, "memory"), "",
                "", "", "", "")
    times = f"{row['p50']:.0f} / {row['p95']:.0f} / {row['p99']:.0f}" if "p50" in row else ""
    cpu = f"{row['cpu']:.2f} {row['cpu_unit']}" if row["cpu"] else ""
    return (row["measure"], row["target"], f"{row['rate']:.0f} {row['rate_unit']}", ratio(base, "rate"),
            ratio(direct, "rate"), cpu, ratio(base, "cpu"), times, f"{row['added']:.1f}" if "added" in row else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute: short turns, fewer of them")
    parser.add_argument("--seconds", type=int, help="length of a turn")
    parser.add_argument("--rounds", type=int, help="turns of each target")
    parser.add_argument("--only", default="", help="measures, by a part of their names, with commas between")
    parser.add_argument("--targets", default="", help="targets, with commas between")
    options = parser.parse_args()
    stack = Stack(OUTPUT / f"run-{os.getpid()}", max_connections=1000)
    try:
        measure(Run(stack, options))
    finally:
        stack.stop()


def measure(run):
    options = run.options
    wanted = [part for part in options.only.split(",") if part]

    def is_wanted(what):
        return not wanted or any(part in what for part in wanted)

    plain = run.chosen(run.plain())
    for mode in ("simple", "extended", "prepared"):
        if is_wanted(f"{mode}, 8 clients"):
            run.transactions(f"{mode}, 8 clients", able(plain, mode), 8, mode)
    if is_wanted("prepared, 1 client"):
        run.transactions("prepared, 1 client", able(plain, "prepared"), 1, "prepared")
    if is_wanted("COPY OUT"):
        times = 2 if options.quick else 5
        moved = int(run.stack.sql(MOVED, database="bench")) * times
        run.copy("COPY OUT", [target for target in plain if not target.read_only and target.name != COUNTED],
                 ["copy pgbench_accounts to stdout"] * times, moved)
    if is_wanted("COPY IN"):
        copy_in(run, [target for target in plain if not target.read_only and target.name != COUNTED])
    if is_wanted("connect by SCRAM"):
        fewer = [target for target in plain if "transaction" not in target.name and target.name != COUNTED]
        run.transactions("connect by SCRAM, one query", fewer, 4, "simple", connect=True)
    if is_wanted("idle session"):
        few = [target for target in plain if target.name in (BASE, "haproxy", "pgwarden")]
        run.idle_memory("idle session", few, 100 if options.quick else 200)
    encrypted = run.chosen(run.encrypted())
    if is_wanted("TLS, prepared"):
        run.transactions("TLS, prepared, 8 clients", encrypted, 8, "prepared")
    if is_wanted("TLS, simple"):
        run.transactions("TLS, simple, 8 clients", encrypted, 8, "simple")
    if is_wanted("TLS, idle session"):
        run.idle_memory("TLS, idle session", encrypted, 100 if options.quick else 200, tls=True)
    if is_wanted("beside idle sessions") and not options.quick:
        run.beside_idle(5000)
    run.write()


def able(targets, mode):
    """PgBouncer 1.18 in transaction mode mixes up its clients' prepared statements."""
    return [target for target in targets if mode != "prepared" or target.name != "pgbouncer transaction"]


def copy_in(run, targets):
    """The same rows into a table that is emptied before each turn."""
    source = run.stack.folder / "rows.copy"
    rows = SCALE * 100_000
    with open(source, "w") as out:
        for number in range(rows):
            out.write(f"{number}\t{number % 100 + 1}\t0\t{' ' * 84}\n")
    empty = lambda: run.stack.sql("truncate copied", database="bench")  # noqa: E731
    run.copy("COPY IN", targets, ["copy copied from stdin"], source.stat().st_size, prepare=empty, stdin=source)


if __name__ == "__main__":
    main()
