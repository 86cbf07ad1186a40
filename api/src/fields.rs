//! A plain resource from outside: all its fields make one, some change one, and it is shown with
//! what every row has. One type says what the fields are; the rest is read from its schema.

use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use engine::resource::{FieldError, Invalid, Plain};
use engine::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Body, wrong};

/// The body that makes one: all its fields, with the digest of its bytes.
pub struct Draft<F>(pub F, pub [u8; 16]);

/// The body that changes one: a merge patch (RFC 7396) of its fields.
pub struct Patch<F> {
    fields: Map<String, Value>,
    pub digest: [u8; 16],
    of: PhantomData<F>,
}

/// One as callers see it.
#[derive(Serialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(rename = "{F}", extend("description" = description::<F>()))]
pub struct View<F: Plain> {
    pub id: F::Id,
    #[serde(flatten)]
    pub fields: F,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl<F: Plain> Patch<F> {
    fn of(fields: Map<String, Value>, digest: [u8; 16]) -> Result<Self, ApiError> {
        only_known::<F>(&fields)?;
        match typed::<F>(fields.clone()) {
            // That some are missing is found last, when those that are there have been looked at.
            Err(error) if !is_missing(&error) => Err(explained(error)),
            _ => Ok(Self { fields, digest, of: PhantomData }),
        }
    }

    /// These fields after the change.
    pub fn merged(self, before: &F) -> Result<F, ApiError> {
        let before = serde_json::to_value(before).expect("fields were JSON when they came");
        let mut after = before.as_object().cloned().unwrap_or_default();
        after.extend(self.fields);
        typed(after).map_err(explained)
    }
}

impl<F: Plain> FromRequest<App> for Draft<F> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let Body(fields, digest) = Body::from_request(request, app).await?;
        only_known::<F>(&fields)?;
        typed(fields).map(|fields| Self(fields, digest)).map_err(explained)
    }
}

impl<F: Plain> FromRequest<App> for Patch<F> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let Body(fields, digest) = Body::from_request(request, app).await?;
        Self::of(fields, digest)
    }
}

type Wrong = serde_path_to_error::Error<serde_json::Error>;

fn typed<F: Plain>(fields: Map<String, Value>) -> Result<F, Wrong> {
    serde_path_to_error::deserialize(Value::Object(fields))
}

fn is_missing(error: &Wrong) -> bool {
    error.path().iter().next().is_none() && error.inner().to_string().starts_with("missing field")
}

fn explained(error: Wrong) -> ApiError {
    wrong(&error.path().to_string(), &error.inner().to_string())
}

/// Stored fields of a later version are read all the same; what a caller writes must be known.
fn only_known<F: Plain>(fields: &Map<String, Value>) -> Result<(), Invalid> {
    let schema = F::json_schema(&mut SchemaGenerator::default());
    let properties = schema.get("properties");
    let unknown = fields.keys().filter(|name| properties.and_then(|all| all.get(name)).is_none());
    let message = "is not a field here";
    let details = unknown.map(|field| FieldError { field: field.clone(), message: message.into() });
    let details: Vec<_> = details.collect();
    if details.is_empty() { Ok(()) } else { Err(Invalid { details }) }
}

fn description<F: Plain>() -> Option<Value> {
    F::json_schema(&mut SchemaGenerator::default()).remove("description")
}

impl<F: Plain> JsonSchema for Draft<F> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}Draft", F::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = F::json_schema(generator);
        schema.insert("additionalProperties".into(), false.into());
        schema
    }
}

impl<F: Plain> JsonSchema for Patch<F> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}Patch", F::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Draft::<F>::json_schema(generator);
        schema.remove("required");
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for property in properties.into_iter().flat_map(Map::values_mut) {
            // What is absent stays.
            property.as_object_mut().map(|property| property.remove("default"));
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use engine::id::QuickReplyId;
    use engine::resource::{Invalid, Plain, SettingKind};
    use schemars::{JsonSchema, SchemaGenerator};
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    use super::{Draft, Patch, View};
    use crate::error::ApiError;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Policy {
        name: String,
        #[serde(default)]
        is_active: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        target: Target,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Target {
        minutes: u32,
    }

    impl Plain for Policy {
        const KIND: SettingKind = SettingKind::QuickReply;
        const NAME: &'static str = "policy";
        type Id = QuickReplyId;

        fn check(&mut self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    fn policy() -> Policy {
        let (name, note) = ("Fast".to_owned(), Some("nights, too".to_owned()));
        Policy { name, is_active: true, note, target: Target { minutes: 5 } }
    }

    fn patched(patch: Value) -> Result<Policy, ApiError> {
        Patch::of(patch.as_object().unwrap().clone(), [0; 16])?.merged(&policy())
    }

    fn wrong(patch: Value) -> Vec<String> {
        let details = patched(patch).unwrap_err().details;
        details.into_iter().map(|detail| detail.field).collect()
    }

    #[test]
    fn an_absent_field_stays_a_null_clears_what_may_be_missing_and_a_value_sets() {
        assert_eq!(patched(json!({})).unwrap(), policy());
        let note = patched(json!({"note": null})).unwrap();
        assert_eq!(note, Policy { note: None, ..policy() });
        let inactive = patched(json!({"is_active": false})).unwrap();
        assert_eq!(inactive, Policy { is_active: false, ..policy() });
    }

    #[test]
    fn what_is_wrong_with_a_patch_is_found_without_what_it_changes() {
        assert_eq!(wrong(json!({"name": null})), ["name"]);
        assert_eq!(wrong(json!({"is_active": null})), ["is_active"]);
        assert_eq!(wrong(json!({"target": {}})), ["target.minutes"]);
        assert_eq!(wrong(json!({"target": {"minutes": "x"}})), ["target.minutes"]);
        assert_eq!(wrong(json!({"zzz": null, "yyy": 1})), ["yyy", "zzz"]);
        assert_eq!(wrong(json!({"name/type": 1, "": 1})), ["", "name/type"]);
    }

    #[test]
    fn the_document_says_what_a_draft_needs_and_that_a_patch_needs_nothing() {
        let mut generator = SchemaGenerator::default();
        let draft = Draft::<Policy>::json_schema(&mut generator).to_value();
        let patch = Patch::<Policy>::json_schema(&mut generator).to_value();
        assert_eq!(draft["required"], json!(["name", "target"]));
        assert_eq!(draft["properties"]["is_active"]["default"], json!(false));
        assert_eq!(patch["required"], Value::Null);
        assert_eq!(patch["properties"]["is_active"], json!({"type": "boolean"}));
        assert_eq!(
            (&draft["additionalProperties"], &patch["additionalProperties"]),
            (&json!(false), &json!(false))
        );
        assert_eq!(View::<Policy>::schema_name(), "Policy");
    }
}
