//! How many rows a statement changes, as far as its text tells. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::session::runs;
use crate::sql::reading::Tally;

/// A statement's tally; `writes` is how many INSERT, UPDATE, DELETE and MERGE the walk met in it.
pub(super) fn tally(raw: &pb::RawStmt, writes: usize) -> Tally {
    raw.stmt.as_deref().map_or(Tally::Nothing, |statement| of(statement, writes))
}

fn of(statement: &Node, writes: usize) -> Tally {
    use NodeEnum as N;
    match &statement.node {
        Some(N::InsertStmt(insert)) if writes == 1 => inserted(insert),
        Some(N::UpdateStmt(_) | N::DeleteStmt(_) | N::MergeStmt(_)) if writes == 1 => Tally::Told,
        Some(N::CopyStmt(copy)) if copy.is_from => Tally::Told,
        // What a body does, only the server knows.
        Some(N::DoStmt(_) | N::CallStmt(_)) => Tally::Untold,
        Some(N::PrepareStmt(prepare)) => prepare.query.as_deref().map_or(Tally::Nothing, |query| of(query, writes)),
        Some(N::ExplainStmt(explain)) => explained(explain, writes),
        _ if writes == 0 => Tally::Nothing,
        _ => Tally::Untold,
    }
}

/// EXPLAIN ANALYZE runs the statement, and its tag is EXPLAIN.
fn explained(explain: &pb::ExplainStmt, writes: usize) -> Tally {
    let executes = explain.query.as_deref().is_some_and(|query| {
        let created = match &query.node {
            Some(NodeEnum::CreateTableAsStmt(create)) => create.query.as_deref(),
            _ => Some(query),
        };
        created.is_some_and(|query| matches!(query.node, Some(NodeEnum::ExecuteStmt(_))))
    });
    match explain.options.iter().any(runs) && (executes || writes > 0) {
        true => Tally::Untold,
        false => Tally::Nothing,
    }
}

/// Rows of an INSERT whose source is a list. With several rows the server takes no function that returns a set among the values
/// (`EXPR_KIND_VALUES` in `src/backend/parser/parse_func.c`); with one row it does.
fn inserted(insert: &pb::InsertStmt) -> Tally {
    let Some(source) = insert.select_stmt.as_deref() else { return Tally::AtMost(1) };
    let Some(NodeEnum::SelectStmt(select)) = &source.node else { return Tally::Told };
    match select.values_lists.as_slice() {
        [] => Tally::Told,
        [only] if !is_one_row(only) => Tally::Told,
        rows => Tally::AtMost(rows.len() as u64),
    }
}

/// Whether an expression can be of one value only: no function or operator that may return a set.
fn is_one_row(value: &Node) -> bool {
    use NodeEnum as N;
    match &value.node {
        Some(N::List(list)) => list.items.iter().all(is_one_row),
        Some(N::AArrayExpr(array)) => array.elements.iter().all(is_one_row),
        Some(N::RowExpr(row)) => row.args.iter().all(is_one_row),
        // A cast's function returns no set (`CreateCast` in `src/backend/commands/functioncmds.c`).
        Some(N::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_one_row),
        Some(N::AConst(_) | N::ParamRef(_) | N::SetToDefault(_) | N::SqlvalueFunction(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::Tally;
    use crate::sql::postgres::read;

    #[test]
    fn what_the_tag_tells_is_known() {
        use Tally::{AtMost, Nothing, Told, Untold};
        for (text, expected) in [
            ("SELECT 1", Nothing),
            ("INSERT INTO t VALUES (1)", AtMost(1)),
            ("INSERT INTO t VALUES (-1, $1, 'a'::text, DEFAULT, ARRAY[1, 2], CURRENT_TIMESTAMP, NULL)", AtMost(1)),
            ("INSERT INTO t DEFAULT VALUES", AtMost(1)),
            ("INSERT INTO t VALUES (1), (f(2)), (3)", AtMost(3)),
            ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1 RETURNING *", AtMost(1)),
            ("INSERT INTO t VALUES (generate_series(1, 1000000))", Told),
            ("INSERT INTO t VALUES (1 ### 2)", Told),
            ("INSERT INTO t SELECT * FROM u", Told),
            ("INSERT INTO t VALUES (1) UNION ALL SELECT 2", Told),
            ("INSERT INTO t (VALUES (1) UNION ALL VALUES (2))", Told),
            ("INSERT INTO t TABLE u", Told),
            ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", Told),
            ("WITH x AS (DELETE FROM u RETURNING *) INSERT INTO t SELECT * FROM x", Untold),
            ("WITH x AS (DELETE FROM u RETURNING *) INSERT INTO t VALUES (1)", Untold),
            ("INSERT INTO t WITH x AS (DELETE FROM u RETURNING *) SELECT * FROM x", Untold),
            ("UPDATE t SET a = 1", Told),
            ("DELETE FROM t WHERE a IN (SELECT 1)", Told),
            (
                "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
                Told,
            ),
            ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1", Untold),
            ("WITH a AS (WITH b AS (DELETE FROM t RETURNING 1) SELECT * FROM b) SELECT 1", Untold),
            ("WITH x AS (DELETE FROM t RETURNING 1) UPDATE t SET a = 1", Untold),
            ("EXPLAIN DELETE FROM t", Nothing),
            ("EXPLAIN ANALYZE DELETE FROM t", Untold),
            ("EXPLAIN (ANALYZE off) DELETE FROM t", Nothing),
            ("EXPLAIN (VERBOSE, ANALYZE) DELETE FROM t", Untold),
            ("EXPLAIN ANALYZE EXECUTE p", Untold),
            ("EXPLAIN ANALYZE SELECT 1", Nothing),
            ("COPY t FROM STDIN", Told),
            ("COPY t TO STDOUT", Nothing),
            ("COPY (DELETE FROM t RETURNING *) TO STDOUT", Untold),
            ("PREPARE p AS DELETE FROM t", Told),
            ("PREPARE p AS INSERT INTO t VALUES ($1)", AtMost(1)),
            ("PREPARE p AS WITH x AS (DELETE FROM t) SELECT 1", Untold),
            ("EXECUTE p", Nothing),
            ("DO $$ BEGIN NULL; END $$", Untold),
            ("CALL p()", Untold),
            ("TRUNCATE t", Nothing),
            ("CREATE TABLE u AS SELECT 1", Nothing),
        ] {
            let found = read(text).statements.first().map(|statement| statement.tally);
            assert_eq!(found, Some(expected), "{text}");
        }
    }

    #[test]
    fn each_statement_has_its_own() {
        let tallies: Vec<Tally> = read("UPDATE t SET a = 1; SELECT 1; DELETE FROM t; INSERT INTO t VALUES (1), (2)")
            .statements
            .iter()
            .map(|statement| statement.tally)
            .collect();
        assert_eq!(tallies, [Tally::Told, Tally::Nothing, Tally::Told, Tally::AtMost(2)]);
    }
}
