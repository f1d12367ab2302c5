#!/usr/bin/env python3
"""Writes src/sql/functions/builtin.txt: what a call of each of PostgreSQL's own functions, and of those that its contrib
extensions and pgvector bring, would do.

Usage:  scripts/functions.py 13=/path/to/bin 15=/usr/lib/postgresql/15/bin 18=/path/to/bin ...

Each server is started on a throw-away data directory with every extension it has, and its catalog is listed. Run as root
(servers run as the user `postgres`) or as an ordinary user. Rules, in this order: a name listed in RULES below takes its
class; a volatile function that is not listed stops the script (somebody has to say what it does); what is immutable or
stable in every version is safe.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

TARGET = os.path.join(os.path.dirname(__file__), "..", "src", "sql", "functions", "builtin.txt")

SAFE, VOLATILE, DANGEROUS = "function.safe", "function.volatile", "function.dangerous"
ADVISORY, NOTIFY, PINNED, MAINTENANCE = "function.advisory_lock", "notify", "session.pinned", "maintenance"

# (class, why, pattern of whole names). The first that matches decides.
RULES = [
    # Text that nobody has judged.
    (DANGEROUS, "runs SQL text that is an ordinary string here",
     "query_to_xml|query_to_xmlschema|query_to_xml_and_xmlschema|ts_stat|ts_rewrite|crosstab|crosstab[234]|connectby|xpath_table"),
    (DANGEROUS, "reads rows of a cursor or relation that is named by a string",
     "cursor_to_xml|cursor_to_xmlschema|(table|schema|database)_to_xml(_and_xmlschema)?"),
    (VOLATILE, "reads the definition of relations named by a string", "(table|schema|database)_to_xmlschema"),
    (PINNED, "changes a setting; judged by its arguments where they are constants", "set_config"),
    # Other servers.
    (DANGEROUS, "acts on another server or another connection", r"dblink|dblink_(?!fdw_validator).*"),
    (VOLATILE, "checks or closes connections to other servers", "postgres_fdw_disconnect(_all)?|postgres_fdw_get_connections"),
    # Files and large objects.
    (DANGEROUS, "large objects live outside relations, transactions' read-only mode (15) and relation rules",
     "lo_(creat|create|from_bytea|put|get|open|close|lseek|lseek64|tell|tell64|truncate|truncate64|unlink|import|export)|loread|lowrite"),
    (DANGEROUS, "a trigger that unlinks large objects", "lo_manage"),
    (DANGEROUS, "reads, lists or writes files of the server",
     "pg_read_.*|pg_ls_.*|pg_stat_file|pg_file_.*|pg_logdir_ls|pg_hba_file_rules|pg_ident_file_mappings|pg_show_all_file_settings"
     "|pg_current_logfile|pg_get_logical_snapshot_(info|meta)|pg_wal_summary_contents|pg_available_wal_summaries"),
    # Other backends and the server itself.
    (DANGEROUS, "stops or signals another backend", "pg_terminate_backend|pg_cancel_backend|pg_log_backend_memory_contexts"),
    (DANGEROUS, "acts on the server as a whole", "pg_reload_conf|pg_rotate_logfile.*|pg_promote|pg_nextoid|pg_stop_making_pinned_objects"),
    (SAFE, None, "pg_backup_start_time|pg_get_wal_.*|pg_current_wal_.*|pg_last_wal_.*"),
    (DANGEROUS, "writes WAL, or controls backup or replay",
     "pg_switch_wal|pg_create_restore_point|pg_backup_.*|pg_start_backup|pg_stop_backup|pg_wal_replay_.*|pg_log_standby_snapshot"
     "|pg_logical_emit_message"),
    (DANGEROUS, "acts on replication slots or origins",
     "pg_(create|drop|copy|sync)_.*replication_slots?|pg_logical_.*|pg_replication_.*"),
    (DANGEROUS, "loses statistics that others and the planner use",
     "pg_stat_reset.*|pg_clear_.*_stats|pg_restore_.*_stats|pg_stat_statements_reset"),
    (DANGEROUS, "writes system catalogs", "binary_upgrade_.*|pg_import_system_collations|pg_extension_config_dump"),
    (DANGEROUS, "changes pages or visibility beneath transactions", "heap_force_.*|pg_truncate_visibility_map"),
    (DANGEROUS, "evicts or loads shared buffers", "pg_buffercache_evict.*|pg_prewarm|autoprewarm_.*"),
    (VOLATILE, "walks shared memory; slow under load", "pg_get_shmem_allocations_numa|pg_buffercache_.*"),
    # Locks, messages, sequences, sessions.
    # It gives up what the session itself holds, no more: drivers send it when a pool takes a connection back.
    (SAFE, None, "pg_advisory_unlock_all"),
    (ADVISORY, "advisory lock", "pg_(try_)?advisory_.*"),
    (NOTIFY, "sends a notification", "pg_notify|triggered_change_notification"),
    (VOLATILE, "advances or sets a sequence", "nextval|setval"),
    (VOLATILE, "burns a transaction id", "pg_current_xact_id|txid_current"),
    (VOLATILE, "holds the backend", "pg_sleep|pg_sleep_for|pg_sleep_until"),
    (VOLATILE, "changes state of the session that outlives the transaction", "setseed|set_limit|isn_weak"),
    (VOLATILE, "flushes statistics", "pg_stat_force_next_flush"),
    (MAINTENANCE, "maintains an index", "brin_(de)?summarize_.*|gin_clean_pending_list"),
    # Contrib that looks at pages.
    (SAFE, None, "fips_mode|gen_random_bytes|gen_salt|pgp_(sym|pub)_encrypt(_bytea)?|normal_rand|ssl_.*"
     "|pg_stat_statements|pg_stat_statements_info|uuid_generate_v(1|1mc|4)|system_rows|system_time|pg_old_snapshot_time_mapping"),
    (VOLATILE, "reads whole relations below their privileges", "pgstat.*|pg_relpages|pgrowlocks|pg_freespace"
     "|pg_visibility.*|pg_check_(frozen|visible)|bt_index_(parent_)?check|gin_index_check|verify_heapam"),
    (VOLATILE, "stylesheets are programs", "xslt_process"),
    (VOLATILE, "a trigger or support function that is not for calling",
     "autoinc|insert_username|moddatetime|check_(foreign|primary)_key|plpgsql_.*|fmgr_(c|internal|sql)_validator|int_agg_.*"
     "|.*_fdw_(handler|validator)|blhandler|(unaccent|dintdict|dxsyn)_(init|lexize)"),
    # Words that a database's own functions often have; the extension's function is told apart only by the catalog.
    (VOLATILE, "a common word: cannot be told from a function of the database's own",
     "delete|each|exist|defined|index|sort|slice|idx|uniq|cube|difference|latitude|longitude"),
    # Volatile in the catalog, harmless in fact: they look, or give a new value.
    (SAFE, None, "random|random_normal|array_sample|array_shuffle|clock_timestamp|timeofday|gen_random_uuid|uuidv4|uuidv7"
     "|current_query|currval|lastval|timezone"),
    # Holds back vacuum as the transaction that calls it does anyway; parallel pg_dump needs it.
    (SAFE, None, "pg_export_snapshot"),
    (SAFE, None, "currtid2?|pg_sequence_last_value|pg_get_sequence_data"),
    (SAFE, None, "pg_(blocking_pids|safe_snapshot_blocking_pids|lock_status|prepared_xact|notification_queue_usage)"),
    (SAFE, None, "pg_(collation|database_collation)_actual_version|pg_control_.*|pg_jit_available|pg_is_.*"
     "|pg_isolation_test_session_is_blocked"),
    (SAFE, None, "pg_(database|indexes|relation|table|tablespace|total_relation)_size|pg_partition_(ancestors|tree)"),
    (SAFE, None, "pg_get_(aios|backend_memory_contexts|loaded_modules|multixact_members|shmem_allocations|wait_events)"),
    (SAFE, None, "pg_last_(committed_xact|xact_replay_timestamp)|pg_xact_(commit_timestamp|commit_timestamp_origin|status)|txid_status"),
    (SAFE, None, "pg_stat_(get_.*|have_stats|clear_snapshot)|pg_show_replication_origin_status"),
    (SAFE, None, "RI_FKey_.*|suppress_redundant_updates_trigger|tsvector_update_trigger(_column)?|unique_key_recheck"),
    (SAFE, None, "amvalidate|bernoulli|system|(brin|bt|gin|gist|hash|spg)handler|heap_tableam_handler|dsnowball_(init|lexize)"),
]

# Extensions whose every function takes one class.
EXTENSIONS = {
    "pageinspect": (DANGEROUS, "shows raw pages, deleted rows included"),
    "pg_walinspect": (DANGEROUS, "shows WAL, other relations' rows included"),
    "adminpack": (DANGEROUS, "reads, lists or writes files of the server"),
    "pg_surgery": (DANGEROUS, "changes pages or visibility beneath transactions"),
}

# pgvector 0.8: its functions are immutable, strict and look at their arguments only.
VECTOR = """
array_to_halfvec array_to_sparsevec array_to_vector binary_quantize cosine_distance halfvec halfvec_accum halfvec_add
halfvec_avg halfvec_cmp halfvec_combine halfvec_concat halfvec_eq halfvec_ge halfvec_gt halfvec_in halfvec_l2_squared_distance
halfvec_le halfvec_lt halfvec_mul halfvec_ne halfvec_negative_inner_product halfvec_out halfvec_recv halfvec_send
halfvec_spherical_distance halfvec_sub halfvec_to_float4 halfvec_to_sparsevec halfvec_to_vector halfvec_typmod_in
hamming_distance hnsw_bit_support hnsw_halfvec_support hnsw_sparsevec_support hnswhandler inner_product ivfflat_bit_support
ivfflat_halfvec_support ivfflathandler jaccard_distance l1_distance l2_distance l2_norm l2_normalize normalize_l2 sparsevec
sparsevec_cmp sparsevec_eq sparsevec_ge sparsevec_gt sparsevec_in sparsevec_l2_squared_distance sparsevec_le sparsevec_lt
sparsevec_ne sparsevec_negative_inner_product sparsevec_out sparsevec_recv sparsevec_send sparsevec_to_halfvec
sparsevec_to_vector sparsevec_typmod_in subvector vector vector_accum vector_add vector_avg vector_cmp vector_combine
vector_concat vector_dims vector_eq vector_ge vector_gt vector_in vector_l2_squared_distance vector_le vector_lt vector_mul
vector_ne vector_negative_inner_product vector_norm vector_out vector_recv vector_send vector_spherical_distance vector_sub
vector_to_float4 vector_to_halfvec vector_to_sparsevec vector_typmod_in
""".split()

FUNCTIONS = """
select coalesce(e.extname, case n.nspname when 'pg_catalog' then 'core' else n.nspname end), p.proname, p.provolatile
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
left join pg_depend d on d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
left join pg_extension e on e.oid = d.refobjid
"""
# A type's name can be called like a function of one argument: it is a cast then.
TYPES = """
select case when e.extname is null then 'type' else e.extname end, t.typname, 'i' from pg_type t
left join pg_depend d on d.objid = t.oid and d.classid = 'pg_type'::regclass and d.deptype = 'e'
left join pg_extension e on e.oid = d.refobjid
where t.typtype in ('b', 'r', 'm') and t.typname !~ '^_'
  and (e.extname is not null or t.typnamespace = 'pg_catalog'::regnamespace)
"""
UNWANTED = re.compile("plperl|plpython|pltcl")


def run(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def catalog(binaries):
    """Rows (source, name, volatility) of a throw-away server."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    home = tempfile.mkdtemp(prefix="functions-")
    os.chmod(home, 0o777)
    tool = lambda name: os.path.join(binaries, name)
    try:
        run(prefix + [tool("initdb"), "-D", home + "/data", "-A", "trust", "-U", "postgres", "--no-sync"])
        start = ["-w", "-o", f"-c listen_addresses= -k {home}", "-l", home + "/log", "start"]
        run(prefix + [tool("pg_ctl"), "-D", home + "/data"] + start)
        psql = ["psql", "-h", home, "-U", "postgres", "-XAtq", "-F", "\t", "-c"]
        for extension in run(psql + ["select name from pg_available_extensions order by 1"]).split():
            if not UNWANTED.search(extension):
                run(psql + [f'create extension if not exists "{extension}" cascade'])
        text = run(psql + [FUNCTIONS]) + run(psql + [TYPES])
        return [line.split("\t") for line in text.splitlines()]
    finally:
        subprocess.run(prefix + [tool("pg_ctl"), "-D", home + "/data", "-m", "immediate", "stop"], capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


class Function:
    def __init__(self):
        self.sources, self.versions, self.volatilities = set(), set(), set()

    @property
    def volatility(self):
        """The strictest of its overloads, in all versions: volatile, then stable, then immutable."""
        return next((letter for letter in "vs" if letter in self.volatilities), "i")


def collected(servers):
    functions = collections.defaultdict(Function)
    for version, binaries in servers:
        for source, name, volatility in catalog(binaries):
            entry = functions[name]
            entry.sources.add(source)
            entry.versions.add(version)
            entry.volatilities.add(volatility)
    for name in VECTOR:
        functions[name].sources.add("vector")
    return functions


def judged(name, function):
    for extension, answer in EXTENSIONS.items():
        if function.sources == {extension}:
            return answer
    for answer, why, pattern in RULES:
        if re.fullmatch(pattern, name):
            return answer, why
    if function.volatility == "v":
        sys.exit(f"{name} ({', '.join(sorted(function.sources))}) is volatile and no rule says what it does")
    return SAFE, None


def main():
    servers = sorted((int(version), path) for version, path in (word.split("=", 1) for word in sys.argv[1:]))
    if not servers:
        sys.exit(__doc__)
    functions = collected(servers)
    with open(TARGET, "w") as out:
        out.write("# Written by scripts/functions.py; do not edit. name, class, sources, versions, volatility, why (tab-separated).\n")
        for name in sorted(functions):
            function = functions[name]
            answer, why = judged(name, function)
            sources = function.sources - {"type"} or {"type"}
            versions = f"{min(function.versions)}-{max(function.versions)}" if function.versions else "0.8"
            out.write("\t".join([name, answer, ",".join(sorted(sources)), versions, function.volatility, why or ""]).rstrip("\t") + "\n")


main()
