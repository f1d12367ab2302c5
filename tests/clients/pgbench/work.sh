#!/bin/sh
# pgbench in its three protocol modes: its own scripts, reading only where the role may only read.
# CLIENTS and TRANSACTIONS (each client's) say how much.
set -eu
url=$1 role=$2 keeps=$3
clients=${CLIENTS:-20}
transactions=${TRANSACTIONS:-50}
[ "$role" = read-only ] && scripts=-S || scripts=-N

program=pgbench
command -v pgbench >/dev/null || program=$(ls /usr/lib/postgresql/*/bin/pgbench | tail -n 1)

echo "version $("$program" --version)"
for mode in simple extended prepared; do
    if [ $mode = prepared ] && [ "$keeps" = nothing ]; then
        echo "skip $mode: PgBouncer 1.18 keeps no prepared statements in transaction mode"
        continue
    fi
    # pgbench prepares in the middle of transactions and waits for each answer, all clients of a thread with it: with
    # more clients than the pooler has server connections (20) it waits for itself.
    [ $mode = prepared ] && [ "$keeps" = statements ] && [ "$clients" -gt 20 ] && clients=20
    output=$("$program" -n $scripts -M $mode -c "$clients" -j 2 -t "$transactions" "$url" 2>&1) || {
        echo "$output" >&2
        exit 1
    }
    expected=$((clients * transactions))
    echo "$output" | grep -q "actually processed: $expected/$expected" || { echo "$output" >&2; exit 1; }
    echo "$output" | grep -q 'number of failed transactions: 0 ' || { echo "$output" >&2; exit 1; }
    echo "ok $mode: $clients clients"
done
