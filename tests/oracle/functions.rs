//! Every built-in function that the table calls safe, called with arguments that fit its types: nothing may change.

use std::collections::BTreeSet;

use pgwarden::sql::{Class, functions};

use super::raw::Raw;
use super::support::Version;
use super::witness::{self, Witness, columns, error};

/// Functions with their arguments' types: those of the server and of all extensions it can make.
const FUNCTIONS: &str = "\
SELECT p.oid::regproc::text, p.proname, p.prokind, p.proretset, p.pronargs, array_to_string(p.proargtypes::regtype[], '|')
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname IN ('pg_catalog', 'public', 'information_schema') AND p.prokind <> 'p'
   AND NOT 'internal'::regtype = ANY (p.proargtypes::regtype[]) AND p.prorettype <> 'internal'::regtype
 ORDER BY 1, 6";

/// They lock the sequence as every use of a sequence does, which stops nobody from using it (`init_sequence`).
const LOCKS_SEQUENCE: [&str; 3] = ["currval", "lastval", "pg_sequence_last_value"];

/// How many calls are made between two looks at the world.
const BATCH: usize = 100;

/// Tries of different arguments.
const TRIES: usize = 4;

struct Function {
    /// As it is called: with its schema where that is needed.
    called: String,
    name: String,
    aggregate: bool,
    window: bool,
    arguments: Vec<String>,
}

fn listed(raw: &mut Raw) -> Vec<Function> {
    let messages = raw.query(FUNCTIONS).unwrap();
    let rows = messages.iter().filter(|message| message.tag == b'D').map(columns);
    let function = |row: Vec<String>| Function {
        called: row[0].clone(),
        name: row[1].clone(),
        aggregate: row[2] == "a",
        window: row[2] == "w",
        arguments: row[5].split('|').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
    };
    rows.map(function).collect()
}

/// Values of a type, as SQL; the n-th try takes the n-th.
fn values(of: &str) -> Vec<String> {
    let words: &[&str] = match of {
        "integer" | "bigint" | "smallint" | "numeric" | "real" | "double precision" | "oid" | "xid" | "xid8"
        | "cid" => &["1", "0", "2", "1259"],
        "text" | "character varying" | "character" | "name" | "cstring" | "\"char\"" => &["a", "t", "UTF8", "1"],
        "boolean" => &["true", "false"],
        "bytea" => &["\\x01", "\\x00000000"],
        "json" | "jsonb" => &["{\"a\": 1}", "[1]", "1"],
        "jsonpath" => &["$.a", "$"],
        "xml" => &["<a/>"],
        "date" | "timestamp without time zone" | "timestamp with time zone" => &["2020-01-02", "infinity"],
        "time without time zone" | "time with time zone" => &["01:02"],
        "interval" => &["1 day"],
        "uuid" => &["5b2f3a90-1111-4222-8333-444455556666"],
        "inet" => &["10.0.0.1", "::1"],
        "cidr" => &["10.0.0.0/8"],
        "macaddr" => &["08:00:2b:01:02:03"],
        "macaddr8" => &["08:00:2b:01:02:03:04:05"],
        "bit" | "bit varying" => &["1"],
        "point" => &["(1,2)"],
        "box" | "lseg" => &["(1,2),(3,4)"],
        "path" | "polygon" => &["((1,2),(3,4),(5,6))"],
        "line" => &["{1,2,3}"],
        "circle" => &["<(1,2),3>"],
        "tsvector" => &["a:1 b"],
        "tsquery" => &["a & b"],
        "regclass" => &["pg_class", "public.seq"],
        "regproc" => &["now"],
        "regprocedure" => &["now()"],
        "regtype" => &["int4"],
        "regoper" | "regoperator" => &["+(integer,integer)"],
        "regnamespace" => &["pg_catalog"],
        "regrole" => &["postgres"],
        "regconfig" => &["english"],
        "regdictionary" => &["simple"],
        "regcollation" => &["\"C\""],
        "pg_lsn" => &["0/1000000"],
        "tid" => &["(0,1)"],
        "txid_snapshot" | "pg_snapshot" => &["10:20:10,14"],
        "money" => &["1"],
        "refcursor" => &["c"],
        "int4range" | "int8range" | "numrange" => &["[1,5)"],
        "tsrange" | "tstzrange" | "daterange" => &["[2020-01-01,2020-02-01)"],
        "int4multirange" | "int8multirange" | "nummultirange" => &["{[1,5)}"],
        "tsmultirange" | "tstzmultirange" | "datemultirange" => &["{[2020-01-01,2020-02-01)}"],
        "anyelement" | "anynonarray" | "anycompatible" | "anycompatiblenonarray" | "\"any\"" => {
            return bare(&["1", "'a'::text"]);
        }
        "anyarray" | "anycompatiblearray" => return bare(&["ARRAY[1, 2]"]),
        "anyenum" => return bare(&["'a'::stage_types.t"]),
        "anyrange" | "anycompatiblerange" => return bare(&["int4range(1, 5)"]),
        "anymultirange" | "anycompatiblemultirange" => return bare(&["int4multirange(int4range(1, 5))"]),
        "record" => return bare(&["ROW(1, 2)"]),
        "public.hstore" | "hstore" => &["a=>1"],
        "public.ltree" | "ltree" => &["a.b"],
        "lquery" => &["a.*"],
        "ltxtquery" => &["a & b"],
        "cube" | "seg" => &["1"],
        "citext" => &["a"],
        "earth" => return bare(&["ll_to_earth(1, 2)"]),
        array if array.ends_with("[]") => {
            let inner = array.trim_end_matches("[]");
            let first = values(inner).swap_remove(0);
            return vec![format!("ARRAY[{first}]::{array}"), format!("'{{}}'::{array}")];
        }
        _ => return vec![format!("NULL::{of}")],
    };
    words.iter().map(|word| format!("'{word}'::{of}")).collect()
}

fn bare(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Statements that call a function, the likeliest first.
fn calls(function: &Function) -> Vec<String> {
    let mut calls = Vec::new();
    for round in 0..TRIES {
        let argument = |of: &String| {
            let values = values(of);
            values[round % values.len()].clone()
        };
        let arguments = function.arguments.iter().map(argument).collect::<Vec<_>>().join(", ");
        let call = format!("{}({arguments})", function.called);
        match (function.aggregate, function.window) {
            (_, true) => calls.push(format!("SELECT {call} OVER () FROM generate_series(1, 3)")),
            (true, _) if function.arguments.is_empty() => calls.push(format!("SELECT {}(*)", function.called)),
            (true, _) => calls.push(format!("SELECT {call} FROM generate_series(1, 3)")),
            (false, false) => {
                calls.push(format!("SELECT {call}"));
                calls.push(format!("SELECT * FROM {call} AS x LIMIT 3"));
            }
        }
    }
    calls.dedup();
    calls
}

/// What a session holds after a call in its transaction, beside what reading takes.
const HELD: &str = "SELECT concat_ws(' ', pg_current_xact_id_if_assigned(), (SELECT string_agg(locktype || ' ' || mode, ', ') \
                    FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'SIReadLock') AND locktype <> 'virtualxid'))";

struct Caller {
    witness: Witness,
    raw: Raw,
    pid: String,
}

impl Caller {
    fn start(version: Version) -> Caller {
        let witness = Witness::start(version, &format!("{}\n{EXTENSIONS}", super::SCHEMA));
        let (raw, pid) = witness.session();
        Caller { witness, raw, pid }
    }

    /// The first of a function's calls that succeeds, and what it held then.
    fn call(&mut self, function: &Function) -> Option<(String, String)> {
        calls(function).into_iter().find_map(|sql| {
            self.raw.query("BEGIN READ WRITE").unwrap();
            let messages = self.raw.query(&sql).unwrap();
            let held = match error(&messages) {
                None => Some(self.raw.value(HELD).unwrap()),
                Some(_) => None,
            };
            self.raw.query("ROLLBACK").unwrap();
            held.map(|held| (sql, held))
        })
    }

    /// What differs after these calls, each as a transaction of its own that is committed.
    fn committed(&mut self, calls: &[String]) -> Vec<String> {
        let before = (self.witness.world(&self.pid), witness::session(&mut self.raw));
        for sql in calls {
            self.raw.query(sql).unwrap();
        }
        let after = (self.witness.world(&self.pid), witness::session(&mut self.raw));
        let world = witness::differences(&before.0, &after.0);
        let session = witness::differences(&before.1, &after.1);
        world.into_iter().chain(session).map(|(name, change)| format!("{name}: {change}")).collect()
    }

    /// The calls after which something differs.
    fn culprits(&mut self, calls: &[String]) -> Vec<String> {
        if self.committed(calls).is_empty() {
            return Vec::new();
        }
        let changes = calls.iter().map(|sql| (sql, self.committed(std::slice::from_ref(sql))));
        changes
            .filter(|(_, change)| !change.is_empty())
            .map(|(sql, change)| format!("{sql}: {}", change.join("; ")))
            .collect()
    }
}

const EXTENSIONS: &str = "\
DO $$ DECLARE e text; BEGIN
  FOR e IN SELECT name FROM pg_available_extensions WHERE name !~ 'plperl|plpython|pltcl|xml2|pg_prewarm|pg_stat_statements'
  LOOP BEGIN EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA public CASCADE', e); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
END $$;";

fn check(version: Version) -> (usize, usize, Vec<String>) {
    let mut caller = Caller::start(version);
    let safe = |function: &Function| functions::classify(None, &function.name) == Class::FunctionSafe;
    let functions: Vec<Function> = listed(&mut caller.raw).into_iter().filter(safe).collect();
    let mut wrong = Vec::new();
    let mut called = Vec::new();
    let mut names = BTreeSet::new();
    for function in &functions {
        let Some((sql, held)) = caller.call(function) else { continue };
        let excepted = held == "relation RowExclusiveLock" && LOCKS_SEQUENCE.contains(&function.name.as_str());
        if !held.is_empty() && !excepted {
            wrong.push(format!("{version:?} {sql}: holds {held}"));
        }
        names.insert(function.name.as_str());
        called.push(sql);
    }
    for batch in called.chunks(BATCH) {
        wrong.extend(caller.culprits(batch).into_iter().map(|culprit| format!("{version:?} {culprit}")));
    }
    let all: BTreeSet<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    (names.len(), all.len(), wrong)
}

#[test]
fn functions_that_are_called_safe_change_nothing() {
    let found = std::thread::scope(|scope| {
        let runs = Version::ALL.map(|version| scope.spawn(move || check(version)));
        runs.map(|run| run.join().unwrap())
    });
    let mut wrong = Vec::new();
    for ((called, all, found), version) in found.into_iter().zip(Version::ALL) {
        println!("{version:?}: {called} of {all} safe functions called");
        assert!(called >= 1500, "{version:?}: only {called} of {all} safe functions could be called");
        wrong.extend(found);
    }
    assert!(wrong.is_empty(), "{} calls change something:\n{}", wrong.len(), wrong.join("\n"));
}
