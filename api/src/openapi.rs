//! The OpenAPI 3.1 document, from the table of routes and the types alone.

use engine::channel::Channel;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::error::ErrorBody;
use crate::routes::{self, Access, Route};

/// The whole document.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>().to_value();
    let (mut paths, mut tags) = (Map::new(), Vec::<&str>::new());
    for route in routes::all() {
        let operation = operation(&route, &error, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.as_str().to_lowercase()] = operation;
        if !tags.contains(&route.tag) {
            tags.push(route.tag);
        }
    }
    let tags: Vec<_> = tags.into_iter().map(|name| json!({"name": name})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "OmniStream",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The engine of an omnichannel customer desk.",
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookieAuth": {"type": "apiKey", "in": "cookie", "name": "access_token"},
                "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "metaSignature": {"type": "apiKey", "in": "header", "name": "X-Hub-Signature-256"},
                "emailSignature": {
                    "type": "apiKey", "in": "header", "name": "X-Email-Webhook-Signature",
                },
                "metaVerifyToken": {"type": "apiKey", "in": "query", "name": "hub.verify_token"},
            },
        },
    })
}

fn operation(route: &Route, error: &Value, generator: &mut schemars::SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = match name {
                "channel" => Channel::json_schema(generator).to_value(),
                _ => json!({"type": "string", "format": "uuid"}),
            };
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect();
    if let Some(query) = route.query {
        let schema = query(generator).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().cloned().unwrap_or_default() {
            let required = required.contains(&Value::from(name.as_str()));
            let (schema, description) = plain(schema);
            let mut parameter =
                json!({"name": name, "in": "query", "required": required, "schema": schema});
            if let Some(description) = description {
                parameter["description"] = description;
            }
            parameters.push(parameter);
        }
    }
    if route.access == Access::EmailSignature {
        parameters.push(json!({
            "name": "X-Email-Webhook-Signature", "in": "header", "required": false,
            "schema": {"type": "string"}, "description": "HMAC-SHA256 signature",
        }));
    }
    let content = match (route.answer, route.status) {
        (None, _) if route.access == Access::EmailSignature => json!({}),
        (Some(answer), _) => json!({"application/json": {"schema": answer(generator).to_value()}}),
        (None, 101) => json!({}),
        _ if route.file => json!({"*/*": {"schema": {"type": "string", "format": "binary"}}}),
        (None, _) => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    let refused = json!({
        "description": "An error",
        "content": {"application/json": {"schema": error}},
    });
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.title,
        "tags": [route.tag],
        "parameters": parameters,
        "security": security(route.access),
        "responses": {
            route.status.to_string(): {"description": route.title, "content": content},
            "4XX": refused,
            "503": refused,
        },
    });
    if let Some(body) = route.body {
        let mut media = json!({"schema": body(generator).to_value()});
        if let Some(example) = &route.example {
            media["example"] = example.clone();
        }
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": media}});
    }
    if let Some(form) = route.form {
        let media = json!({"schema": form(generator).to_value()});
        operation["requestBody"] =
            json!({"required": true, "content": {"multipart/form-data": media}});
    }
    if route.file {
        let part = operation["responses"]["200"].clone();
        operation["responses"]["206"] = part;
        operation["responses"]["304"] = json!({"description": "It is as it was"});
    }
    operation
}

/// A parameter is there or not: null is no value of it. Its description stands beside its schema.
fn plain(mut schema: Value) -> (Value, Option<Value>) {
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    if let Some(types) = schema["type"].as_array() {
        let kept: Vec<_> = types.iter().filter(|kind| *kind != "null").cloned().collect();
        schema["type"] = match &kept[..] {
            [one] => one.clone(),
            _ => kept.into(),
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        schema["enum"] = values.iter().filter(|value| !value.is_null()).cloned().collect();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let mut kept = any.iter().filter(|of| of["type"] != "null");
        if let (Some(one), None) = (kept.next().cloned(), kept.next()) {
            schema = one;
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.retain(|key, value| !(value.is_null() && key != "default"));
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
    }
    (schema, description)
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::Session => json!([{"bearerAuth": []}, {"cookieAuth": []}]),
        Access::Member | Access::Permission(_) => {
            json!([{"bearerAuth": []}, {"cookieAuth": []}, {"apiKeyAuth": []}])
        }
        Access::VerifyToken => json!([{"metaVerifyToken": []}]),
        Access::Signature => json!([{"metaSignature": []}]),
        // Where the account has no secret nothing is proven.
        Access::EmailSignature => json!([{"emailSignature": []}, {}]),
    }
}

/// Method and path as one name, e.g. `get_api_conversations_id`.
fn operation_id(route: &Route) -> String {
    let path = route.path.replace(['/', '-'], "_").replace(['{', '}'], "");
    format!("{}{path}", route.verb.as_str().to_lowercase())
}
