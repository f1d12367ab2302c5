#!/usr/bin/env python3
"""Keeps pgwarden (application policy, direct endpoint) under load, for whoever profiles it: `hold.py [--read-only | --counted] [--tls] SECONDS MODE CLIENTS`.

Prints the process id first, and transactions and processor time at the end. PGWARDEN_BENCH_WRAP is put in front of the
command: `valgrind --tool=callgrind --callgrind-out-file=…`, `strace -c -f`.
"""

import os
import shlex
import sys
import time

sys.dont_write_bytecode = True

import stack as servers  # noqa: E402
from client import pgbench  # noqa: E402


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    seconds, mode, clients = int(words[0]), words[1], int(words[2])
    stack = servers.Stack(servers.ROOT / f"target/bench/hold-{os.getpid()}")
    try:
        wrap = shlex.split(os.environ.get("PGWARDEN_BENCH_WRAP", ""))
        server = stack.pgwarden(read_only="--read-only" in sys.argv, tls="--tls" in sys.argv,
                                counted="--counted" in sys.argv, wrap=wrap)
        print(server.pid, flush=True)
        sslmode = "require" if "--tls" in sys.argv else "disable"
        pgbench(server.port, stack.folder / "pgbench", 1, clients, mode, sslmode)
        before, began = server.cpu_seconds(), time.monotonic()
        done, rate, _ = pgbench(server.port, stack.folder / "pgbench", seconds, clients, mode, sslmode)
        used = server.cpu_seconds() - before
        print(f"{done} transactions in {time.monotonic() - began:.1f} s, {used / done * 1e6:.2f} µs each", flush=True)
    finally:
        stack.stop()


if __name__ == "__main__":
    main()
