//! The OpenAPI document, out of the list of operations.

use axum::Json;
use serde_json::{Map, Value, json};

use super::operation::{Operation, Parameter};

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    let mut paths = Map::new();
    for operation in Operation::ALL {
        let path = paths.entry(operation.path()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(methods) = path {
            methods.insert(operation.method().name().to_owned(), described(*operation));
        }
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "pgwarden", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/api/v1"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {
                "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}},
            }},
        },
    }))
}

fn described(operation: Operation) -> Value {
    let mut description = json!({
        "operationId": operation.name(),
        "summary": operation.summary(),
        "parameters": parameters(operation),
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": answer(operation)}}},
            "default": {
                "description": "Why there is none.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    });
    let Value::Object(members) = &mut description else { return description };
    if let Some(role) = operation.role() {
        members.insert("security".to_owned(), json!([{"token": []}]));
        members.insert("description".to_owned(), json!(format!("Needs the role `{}`.", role.name())));
    }
    if !operation.body().is_empty() {
        let schema = object(operation.body());
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        members.insert("requestBody".to_owned(), body);
    }
    description
}

fn parameters(operation: Operation) -> Vec<Value> {
    let in_path = operation.path().split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = operation.takes().iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "required": parameter.required, "description": parameter.meaning,
            "schema": {"type": parameter.kind},
        })
    });
    in_path.chain(in_query).collect()
}

fn object(fields: &[Parameter]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), json!({"type": field.kind, "description": field.meaning})))
        .collect();
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn answer(operation: Operation) -> Value {
    let kinds = |kind: &str| -> Value {
        let kinds: Vec<&str> = kind.split('|').collect();
        match kinds.as_slice() {
            [one] => json!(one),
            several => json!(several),
        }
    };
    let gives = operation.gives();
    let properties: Map<String, Value> =
        gives.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": kinds(kind)}))).collect();
    let required: Vec<&str> = gives.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "properties": properties, "required": required})
}
