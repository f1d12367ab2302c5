//! Expressions: function calls, operators, casts, SQL/JSON and XML. Room of the postgres reader.

use pg_query::protobuf as pb;
use pg_query::{Node, NodeEnum};

use super::constant::{constant_text, exact_text, is_exact_null};
use super::names;
use super::walker::Walker;
use crate::sql::effect::{Class, Effect, ObjectKind};
use crate::sql::functions;
use crate::sql::settings::{self, SettingValue};

impl Walker<'_> {
    /// Two optional nodes.
    pub(super) fn pair(&mut self, one: &Option<Box<Node>>, other: &Option<Box<Node>>) {
        self.boxed(one);
        self.boxed(other);
    }

    /// A call of a function or aggregate. `pub(super)` for CALL, which is one.
    pub(super) fn function_call(&mut self, call: &pb::FuncCall) {
        let parts = names::words(&call.funcname);
        if is_set_config(&parts) {
            self.set_config(call);
        } else if !is_syntax(call, &parts) {
            self.called(&parts, call.location);
            self.sequence(call, &parts);
        }
        self.call_arguments(call);
    }

    /// The sequence that `nextval('s')` and its kin name: a rule on it is a rule on them.
    fn sequence(&mut self, call: &pb::FuncCall, parts: &[&str]) {
        let ([name] | ["pg_catalog", name]) = parts else { return };
        if !matches!(*name, "nextval" | "setval" | "currval" | "pg_sequence_last_value") {
            return;
        }
        let written = call.args.first().and_then(constant_text).unwrap_or_default();
        if let Some(object) = names::written(&written) {
            self.add_at(Effect::new(function_class(parts), format!("call of {name}")).on(object), call.location);
        }
    }

    /// The expressions of a call.
    pub(super) fn call_arguments(&mut self, call: &pb::FuncCall) {
        self.nodes(&call.args);
        self.nodes(&call.agg_order);
        self.boxed(&call.agg_filter);
        if let Some(over) = &call.over {
            self.window(over);
        }
    }

    /// One effect for a call of the function of this name.
    pub(super) fn called(&mut self, parts: &[&str], location: i32) {
        let Some(object) = names::qualified(ObjectKind::Function, parts) else {
            return self.unknown("a call without a name");
        };
        let act = format!("call of {object}");
        self.add_at(Effect::new(function_class(parts), act).on(object), location);
    }

    /// A function named where something will call it later (an operator, an aggregate, a cast): told when the function
    /// is one that no name should be put on.
    pub(super) fn mentioned(&mut self, parts: &[&str]) {
        match function_class(parts) {
            Class::FunctionSafe | Class::FunctionVolatile => {}
            _ if parts.is_empty() => {}
            _ => self.called(parts, -1),
        }
    }

    /// `set_config(name, value, is_local)` is a SET.
    fn set_config(&mut self, call: &pb::FuncCall) {
        let name = argument(call, 0, "setting_name").and_then(exact_text);
        let value = argument(call, 1, "new_value");
        let Some(name) = name.map(|name| name.to_ascii_lowercase()) else {
            let effect = Effect::new(Class::SessionPinned, "set_config() of a setting named by an expression");
            return self.add_at(effect.hint("name the setting by a constant"), call.location);
        };
        let constant = value.and_then(exact_text);
        let value = match (&constant, value) {
            (Some(text), _) => SettingValue::Constant(text),
            (None, Some(node)) if is_exact_null(node) => SettingValue::Default,
            (None, _) => SettingValue::Computed,
        };
        let class = settings::classify(&name, value);
        let act = settings::act(&name, value, format!("SET {name}"));
        let effect = Effect::new(class, act).on(names::plain(ObjectKind::Setting, &name));
        self.add_at(effect, call.location);
    }

    /// A window definition.
    pub(super) fn window(&mut self, window: &pb::WindowDef) {
        self.nodes(&window.partition_clause);
        self.nodes(&window.order_clause);
        self.pair(&window.start_offset, &window.end_offset);
    }

    /// An operator and its operands. Only `OPERATOR(schema.op)` can name one outside pg_catalog for certain.
    pub(super) fn operator_expression(&mut self, expression: &pb::AExpr) {
        self.operator(&expression.name, expression.location);
        if !matches!(expression.kind(), pb::AExprKind::AexprOp | pb::AExprKind::AexprOpAny | pb::AExprKind::AexprOpAll)
        {
            // BETWEEN, IN, NULLIF and the like compare by operators that are not written.
            self.loose.operators.extend(["=", "<>", "<=", ">="].map(str::to_owned));
        }
        self.pair(&expression.lexpr, &expression.rexpr);
    }

    /// An operator's name.
    pub(super) fn operator(&mut self, name: &[Node], location: i32) {
        let parts = names::words(name);
        let [.., schema, _] = parts.as_slice() else {
            self.loose.operators.extend(parts.first().map(|name| (*name).to_owned()));
            return;
        };
        if *schema != "pg_catalog"
            && let Some(object) = names::qualified(ObjectKind::Function, &parts)
        {
            let act = format!("operator {object}");
            self.add_at(Effect::new(Class::FunctionVolatile, act).on(object), location);
        }
    }

    /// A subquery in an expression.
    pub(super) fn sublink(&mut self, sublink: &pb::SubLink) {
        self.boxed(&sublink.testexpr);
        if sublink.testexpr.is_some() {
            self.loose.operators.insert("=".to_owned());
        }
        self.operator(&sublink.oper_name, sublink.location);
        self.boxed(&sublink.subselect);
    }

    /// ORDER BY … USING operator.
    pub(super) fn sort_by(&mut self, sort: &pb::SortBy) {
        self.boxed(&sort.node);
        self.operator(&sort.use_op, sort.location);
    }

    /// CASE.
    pub(super) fn case(&mut self, case: &pb::CaseExpr) {
        if case.arg.is_some() {
            self.loose.operators.insert("=".to_owned());
        }
        self.boxed(&case.arg);
        self.nodes(&case.args);
        self.boxed(&case.defresult);
    }

    /// A column of a SELECT list, RETURNING or SET.
    pub(super) fn result_target(&mut self, target: &pb::ResTarget) {
        self.nodes(&target.indirection);
        self.boxed(&target.val);
    }

    /// A cast. What the cast calls is the type's; a type of a schema that is neither the system's, `public` nor the
    /// usual one for extensions may be a domain or a type with functions of its own.
    pub(super) fn type_cast(&mut self, cast: &pb::TypeCast) {
        self.boxed(&cast.arg);
        let Some(name) = &cast.type_name else { return };
        self.type_name(name);
        let parts = names::words(&name.names);
        let [.., schema, _] = parts.as_slice() else { return };
        if !matches!(*schema, "pg_catalog" | "public" | "information_schema" | "extensions")
            && let Some(object) = names::qualified(ObjectKind::Function, &parts)
        {
            let act = format!("cast to {object}");
            let effect = Effect::new(Class::FunctionVolatile, act).on(object);
            self.add_at(effect.hint("a type of this schema may run functions of its own"), name.location);
        }
    }

    /// A type: its modifiers are expressions.
    pub(super) fn type_name(&mut self, name: &pb::TypeName) {
        let parts = names::words(&name.names);
        if !matches!(parts.as_slice(), ["pg_catalog", _]) {
            self.loose.types.extend(parts.last().map(|name| (*name).to_owned()));
        }
        self.nodes(&name.typmods);
        self.nodes(&name.array_bounds);
    }

    /// An optional type.
    pub(super) fn maybe_type(&mut self, name: Option<&pb::TypeName>) {
        if let Some(name) = name {
            self.type_name(name);
        }
    }

    /// `(expression).name` and `expression[…]`. The server takes `(x).f` for `f(x)` when x has no such field, whatever
    /// the type of x, so a name that is a function's counts as the call.
    pub(super) fn indirection(&mut self, indirection: &pb::AIndirection) {
        self.boxed(&indirection.arg);
        for step in &indirection.indirection {
            match names::word(step) {
                Some(name) => {
                    self.loose.fields.insert(name.to_owned());
                    self.field(name);
                }
                None => {
                    self.node(step);
                }
            }
        }
    }

    /// `relation.name` can be `name(relation)`.
    pub(super) fn column(&mut self, column: &pb::ColumnRef) {
        if let [_, .., last] = names::words(&column.fields).as_slice() {
            self.loose.columns.insert((*last).to_owned());
            self.field(last);
        }
    }

    /// A name that could be a field or a function: a built-in function that is not harmless counts as called.
    fn field(&mut self, name: &str) {
        let acts = |function: &functions::Function| match function.class {
            Class::FunctionSafe => false,
            // Contrib has functions of names that people give to columns: `latitude`, `index`, `sort`.
            Class::FunctionVolatile => function.sources.split(',').any(|source| source == "core"),
            _ => true,
        };
        if functions::known(name).is_some_and(acts) {
            self.called(&[name], -1);
        }
    }

    /// XMLELEMENT, XMLFOREST, XMLPARSE, …
    pub(super) fn xml(&mut self, xml: &pb::XmlExpr) {
        self.nodes(&xml.named_args);
        self.nodes(&xml.args);
    }

    /// XMLSERIALIZE.
    pub(super) fn xml_serialize(&mut self, xml: &pb::XmlSerialize) {
        self.boxed(&xml.expr);
        self.maybe_type(xml.type_name.as_ref());
    }

    /// A JSON value with its FORMAT.
    pub(super) fn json_value(&mut self, value: &pb::JsonValueExpr) {
        self.pair(&value.raw_expr, &value.formatted_expr);
    }

    /// An optional JSON value.
    pub(super) fn json_value_maybe(&mut self, value: Option<&pb::JsonValueExpr>) {
        if let Some(value) = value {
            self.json_value(value);
        }
    }

    /// RETURNING of a JSON function.
    pub(super) fn json_output(&mut self, output: Option<&pb::JsonOutput>) {
        self.maybe_type(output.and_then(|output| output.type_name.as_ref()));
    }

    fn json_behaviors(&mut self, behaviors: [Option<&pb::JsonBehavior>; 2]) {
        for behavior in behaviors.into_iter().flatten() {
            self.boxed(&behavior.expr);
        }
    }

    /// JSON_EXISTS, JSON_VALUE, JSON_QUERY.
    pub(super) fn json_function(&mut self, call: &pb::JsonFuncExpr) {
        self.json_value_maybe(call.context_item.as_deref());
        self.boxed(&call.pathspec);
        self.nodes(&call.passing);
        self.json_output(call.output.as_ref());
        self.json_behaviors([call.on_empty.as_deref(), call.on_error.as_deref()]);
    }

    /// JSON_TABLE.
    pub(super) fn json_table(&mut self, table: &pb::JsonTable) {
        self.json_value_maybe(table.context_item.as_deref());
        self.json_path(table.pathspec.as_deref());
        self.nodes(&table.passing);
        self.nodes(&table.columns);
        self.json_behaviors([table.on_error.as_deref(), None]);
    }

    fn json_path(&mut self, path: Option<&pb::JsonTablePathSpec>) {
        if let Some(path) = path {
            self.boxed(&path.string);
        }
    }

    /// A column of JSON_TABLE, perhaps NESTED.
    pub(super) fn json_table_column(&mut self, column: &pb::JsonTableColumn) {
        self.maybe_type(column.type_name.as_ref());
        self.json_path(column.pathspec.as_deref());
        self.nodes(&column.columns);
        self.json_behaviors([column.on_empty.as_deref(), column.on_error.as_deref()]);
    }

    /// `key: value`.
    pub(super) fn json_key_value(&mut self, pair: &pb::JsonKeyValue) {
        self.boxed(&pair.key);
        self.json_value_maybe(pair.value.as_deref());
    }

    /// JSON(…) and JSON_SERIALIZE(…).
    pub(super) fn json_typed(&mut self, value: Option<&pb::JsonValueExpr>, output: Option<&pb::JsonOutput>) {
        self.json_value_maybe(value);
        self.json_output(output);
    }

    /// JSON_SCALAR(…).
    pub(super) fn json_scalar(&mut self, scalar: &pb::JsonScalarExpr) {
        self.boxed(&scalar.expr);
        self.json_output(scalar.output.as_ref());
    }

    /// JSON_OBJECT(…) and JSON_ARRAY(…).
    pub(super) fn json_list(&mut self, items: &[Node], output: Option<&pb::JsonOutput>) {
        self.nodes(items);
        self.json_output(output);
    }

    /// JSON_ARRAY(query).
    pub(super) fn json_query(&mut self, array: &pb::JsonArrayQueryConstructor) {
        self.boxed(&array.query);
        self.json_output(array.output.as_ref());
    }

    /// What JSON_OBJECTAGG and JSON_ARRAYAGG share.
    pub(super) fn json_aggregate(&mut self, aggregate: &pb::JsonAggConstructor) {
        self.json_output(aggregate.output.as_ref());
        self.boxed(&aggregate.agg_filter);
        self.nodes(&aggregate.agg_order);
        if let Some(over) = &aggregate.over {
            self.window(over);
        }
    }

    /// JSON_OBJECTAGG.
    pub(super) fn json_object_aggregate(&mut self, aggregate: &pb::JsonObjectAgg) {
        if let Some(constructor) = &aggregate.constructor {
            self.json_aggregate(constructor);
        }
        if let Some(pair) = &aggregate.arg {
            self.json_key_value(pair);
        }
    }

    /// JSON_ARRAYAGG.
    pub(super) fn json_array_aggregate(&mut self, aggregate: &pb::JsonArrayAgg) {
        if let Some(constructor) = &aggregate.constructor {
            self.json_aggregate(constructor);
        }
        self.json_value_maybe(aggregate.arg.as_deref());
    }
}

/// The class of a call by the name's parts; a catalog before the schema is the database's own.
fn function_class(parts: &[&str]) -> Class {
    match parts {
        [.., schema, name] => functions::classify(Some(schema), name),
        [name] => functions::classify(None, name),
        [] => Class::Unknown,
    }
}

/// Whether the grammar made the call of a harmless function out of something that is not written as one:
/// EXTRACT, AT TIME ZONE, LIKE … ESCAPE.
fn is_syntax(call: &pb::FuncCall, parts: &[&str]) -> bool {
    let pattern = matches!(parts, ["pg_catalog", "like_escape" | "similar_to_escape"]);
    let syntax = pattern || call.funcformat() == pb::CoercionForm::CoerceSqlSyntax;
    syntax && function_class(parts) == Class::FunctionSafe
}

fn is_set_config(parts: &[&str]) -> bool {
    matches!(parts, ["set_config"] | [.., "pg_catalog", "set_config"])
}

/// An argument by position, or by name where the call writes names.
fn argument<'c>(call: &'c pb::FuncCall, position: usize, name: &str) -> Option<&'c Node> {
    let named = call.args.iter().find_map(|argument| match &argument.node {
        Some(NodeEnum::NamedArgExpr(named)) if named.name == name => named.arg.as_deref(),
        _ => None,
    });
    named.or_else(|| call.args.get(position).filter(|node| !matches!(node.node, Some(NodeEnum::NamedArgExpr(_)))))
}
