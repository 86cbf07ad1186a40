//! What plain tenant resources share: how they are made, patched and found wrong.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::id::AgentId;
use crate::time::Timestamp;

/// A plain tenant resource: a row of the tenant's settings, held in memory while the tenant is used.
pub trait Resource: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Which settings rows it is.
    const KIND: SettingKind;
    /// Its name in sentences, e.g. `quick reply`.
    const NAME: &'static str;
    /// The body that creates one.
    type Draft: DeserializeOwned + JsonSchema + Send + 'static;
    /// The body that changes one.
    type Patch: DeserializeOwned + JsonSchema + Send + 'static;

    /// Its id.
    fn id(&self) -> Uuid;
    /// A new one, or what is wrong with the draft.
    fn create(draft: Self::Draft, stamp: Stamp) -> Result<Self, Invalid>;
    /// Changes it, or says what is wrong with the patch and leaves it as it is.
    fn update(&mut self, patch: Self::Patch, stamp: Stamp) -> Result<(), Invalid>;
}

/// What a new or changed row is marked with.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub id: Uuid,
    pub now: Timestamp,
    pub by: AgentId,
}

/// The kinds of settings rows; append-only numbers, part of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingKind {
    Tenant = 1,
    Agent = 2,
    Credential = 3,
    Role = 4,
    Account = 5,
    UsedKey = 6,
}

impl SettingKind {
    /// Of its number; `None` for one of a later version.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Tenant, Self::Agent, Self::Credential, Self::Role, Self::Account, Self::UsedKey]
            .into_iter()
            .find(|kind| *kind as i64 == number)
    }
}

/// What is wrong with a body, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub details: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// The field's path, e.g. `config.access_token`.
    pub field: String,
    /// A sentence that says what to do.
    pub message: String,
}

impl Invalid {
    /// One field is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { details: vec![FieldError { field: field.into(), message: message.into() }] }
    }

    /// The same of fields that lie in this one.
    pub fn within(mut self, parent: &str) -> Self {
        for detail in &mut self.details {
            detail.field = format!("{parent}.{}", detail.field);
        }
        self
    }
}

/// A field of a PATCH: absent stays, null clears, a value sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Change<T> {
    /// Whether the field was absent.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(from)? {
            None => Self::Clear,
            Some(value) => Self::Set(value),
        })
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => to.serialize_none(),
            Self::Set(value) => value.serialize(to),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Change<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Option::<T>::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}
