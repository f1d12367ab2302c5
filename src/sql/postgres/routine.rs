//! Functions, procedures and DO blocks: what their bodies would do. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::names;
use super::plpgsql::Signature;
use super::walker::Walker;
use super::{parse, plpgsql};
use crate::sql::effect::{Class, Effect, ObjectKind};
use crate::sql::limits::{self, Limits};
use crate::sql::stack;

impl Walker<'_> {
    /// CREATE FUNCTION and CREATE PROCEDURE: additive, and whatever the body would do.
    pub(super) fn create_function(&mut self, statement: &pb::CreateFunctionStmt) {
        let object = names::qualified(ObjectKind::Function, &names::words(&statement.funcname));
        let act = if statement.is_procedure { "CREATE PROCEDURE" } else { "CREATE FUNCTION" };
        self.touch(Class::DdlAdditive, act, object);
        self.nodes(&statement.parameters);
        self.maybe_type(statement.return_type.as_ref());
        let mut language = None;
        let mut source = Vec::new();
        for option in statement.options.iter().filter_map(option) {
            match option.defname.as_str() {
                "language" => language = option.arg.as_deref().and_then(names::word),
                "as" => source = strings(option.arg.as_deref()),
                _ => self.routine_option(option),
            }
        }
        self.boxed(&statement.sql_body);
        if let Some(first) = source.first() {
            self.body(language.unwrap_or("sql"), first, &signature(statement));
        }
    }

    /// ALTER FUNCTION, PROCEDURE, ROUTINE.
    pub(super) fn alter_function(&mut self, statement: &pb::AlterFunctionStmt) {
        let object = statement
            .func
            .as_ref()
            .and_then(|func| names::qualified(ObjectKind::Function, &names::words(&func.objname)));
        self.touch(Class::DdlAdditive, "ALTER FUNCTION", object.clone());
        for option in statement.actions.iter().filter_map(option) {
            if matches!(option.defname.as_str(), "security" | "leakproof") {
                self.touch(Class::Privilege, "ALTER FUNCTION … SECURITY", object.clone());
            }
            self.routine_option(option);
        }
    }

    /// A clause of a function's definition: SET counts as the setting it makes for the function's run.
    fn routine_option(&mut self, option: &pb::DefElem) {
        match option.arg.as_deref().and_then(|argument| argument.node.as_ref()) {
            Some(NodeEnum::VariableSetStmt(set)) => {
                self.setting(set);
            }
            _ if option.defname == "support" => self.mentioned(&strings(option.arg.as_deref())),
            _ => {}
        }
    }

    /// A parameter: its type and default.
    pub(super) fn parameter(&mut self, parameter: &pb::FunctionParameter) {
        self.maybe_type(parameter.arg_type.as_ref());
        self.boxed(&parameter.defexpr);
    }

    /// DO.
    pub(super) fn do_block(&mut self, statement: &pb::DoStmt) {
        let mut language = "plpgsql";
        let mut source = "";
        for option in statement.args.iter().filter_map(option) {
            let text = option.arg.as_deref().and_then(names::word).unwrap_or("");
            match option.defname.as_str() {
                "language" => language = text,
                "as" => source = text,
                _ => self.unknown("DO with an option pgwarden does not know"),
            }
        }
        let before = self.effects.len();
        self.body(language, source, &Signature { void: true, ..Signature::default() });
        if self.effects.len() == before {
            self.add(Effect::new(Class::Read, "DO"));
        }
    }

    /// The text of a body.
    fn body(&mut self, language: &str, source: &str, signature: &Signature) {
        match language.to_ascii_lowercase().as_str() {
            "sql" => self.sql_body(source),
            "plpgsql" => self.plpgsql_body(source, signature),
            "c" => self.add(Effect::new(Class::Server, "a function in C")),
            "internal" => {
                self.add(Effect::new(Class::Server, "a function of the server's own code"));
                self.mentioned(&[source]);
            }
            _ => {
                let effect = Effect::new(Class::Procedure, format!("a body in {language}"));
                self.add(effect.hint("only SQL and PL/pgSQL bodies can be read"));
            }
        }
    }

    /// The string body of a `LANGUAGE sql` function.
    fn sql_body(&mut self, source: &str) {
        let Ok(depth) = limits::measure(source, &Limits::default()) else {
            return self.opaque("a body that is too long or too deep to read");
        };
        if stack::deep_enough(depth, || self.sql_body_here(source)).is_none() {
            self.opaque("a body that could not be read");
        }
    }

    fn sql_body_here(&mut self, source: &str) {
        match parse(source, pg_query::ParserOptions::DEFAULT) {
            Ok(tree) => self.walk_body(source, &tree.stmts),
            Err(_) => self.opaque("a body that PostgreSQL's grammar cannot read"),
        }
    }

    fn walk_body(&mut self, source: &str, statements: &[pb::RawStmt]) {
        let Some(mut inside) = self.inside(source) else { return self.opaque("bodies nested too deep") };
        for statement in statements {
            inside.raw_statement(statement);
        }
        self.absorb(inside);
    }

    /// The body of a PL/pgSQL function or DO block: its static statements and expressions count; what it computes and runs,
    /// and transaction control, do not show.
    fn plpgsql_body(&mut self, source: &str, signature: &Signature) {
        let Ok(depth) = limits::measure(source, &Limits::default()) else {
            return self.opaque("a body that is too long or too deep to read");
        };
        if stack::deep_enough(depth, || self.plpgsql_body_here(source, signature)).is_none() {
            self.opaque("a body that could not be read");
        }
    }

    fn plpgsql_body_here(&mut self, source: &str, signature: &Signature) {
        let definition = self.text.get(self.statement.clone()).unwrap_or_default();
        let Some(pieces) = plpgsql::read(definition, source, signature) else {
            return self.opaque("a PL/pgSQL body that cannot be read");
        };
        for opaque in pieces.opaque {
            self.opaque(opaque);
        }
        for fragment in pieces.fragments {
            self.fragment(&fragment);
        }
    }

    /// One statement or expression of a PL/pgSQL body.
    fn fragment(&mut self, fragment: &plpgsql::Fragment) {
        match parse(&fragment.text, fragment.mode) {
            Ok(tree) => {
                let before = self.effects.len();
                self.walk_body(&fragment.text, &tree.stmts);
                if fragment.expression {
                    quieten(&mut self.effects, before);
                }
            }
            Err(_) => self.opaque("a PL/pgSQL statement that cannot be read"),
        }
    }

    pub(super) fn opaque(&mut self, what: &'static str) {
        self.add(Effect::new(Class::Procedure, what).hint("its effects do not show in the text"));
    }

    /// `variable := expression` as PL/pgSQL's own grammar reads it.
    pub(super) fn assign(&mut self, statement: &pb::PlAssignStmt) {
        self.nodes(&statement.indirection);
        if let Some(value) = &statement.val {
            self.select(value);
        }
    }

    /// Calls in a list of two options.
    pub(super) fn raw_statement(&mut self, raw: &pb::RawStmt) -> crate::sql::reading::Movement {
        self.statement = super::raw_range(raw, self.text);
        self.current_of.clear();
        self.ctes.clear();
        self.writes = 0;
        raw.stmt.as_deref().map_or(crate::sql::reading::Movement::None, |statement| self.node(statement))
    }
}

/// What the body of a function may name and return.
fn signature(statement: &pb::CreateFunctionStmt) -> Signature {
    use pb::FunctionParameterMode as M;
    let returns = statement.return_type.as_ref();
    let returned = returns.and_then(|name| names::words(&name.names).pop()).unwrap_or("");
    let mut signature = Signature {
        set: returns.is_some_and(|name| name.setof),
        void: statement.is_procedure || matches!(returned, "void" | "event_trigger"),
        trigger: matches!(returned, "trigger" | "event_trigger"),
        ..Signature::default()
    };
    for parameter in &statement.parameters {
        let Some(NodeEnum::FunctionParameter(parameter)) = &parameter.node else { continue };
        let mode = match parameter.mode() {
            M::FuncParamOut => "OUT ",
            M::FuncParamInout => "INOUT ",
            M::FuncParamTable => {
                signature.columns.push(parameter.name.clone());
                continue;
            }
            M::FuncParamIn | M::FuncParamVariadic | M::FuncParamDefault | M::Undefined => "",
        };
        signature.parameters.push((mode, parameter.name.clone(), has_known_type(parameter)));
    }
    signature
}

fn has_known_type(parameter: &pb::FunctionParameter) -> bool {
    let Some(name) = &parameter.arg_type else { return true };
    let parts = names::words(&name.names);
    let array = !name.array_bounds.is_empty();
    array || name.pct_type || matches!(parts.as_slice(), [name] | ["pg_catalog", name] if plpgsql::is_known_type(name))
}

/// An expression of PL/pgSQL is a SELECT to the grammar; without a relation it reads nothing worth telling.
fn quieten(effects: &mut Vec<Effect>, before: usize) {
    let mut at = 0;
    effects.retain(|effect| {
        at += 1;
        at <= before || effect.class != Class::Read || effect.object.is_some()
    });
}

fn option(node: &Node) -> Option<&pb::DefElem> {
    match &node.node {
        Some(NodeEnum::DefElem(option)) => Some(option),
        _ => None,
    }
}

/// The strings of an option's value: one, or a list.
fn strings(node: Option<&Node>) -> Vec<&str> {
    match node.and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::List(list)) => names::words(&list.items),
        Some(NodeEnum::String(string)) => vec![string.sval.as_str()],
        _ => Vec::new(),
    }
}
