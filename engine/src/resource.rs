//! What a tenant's resources share: how they are found, marked, patched and found wrong. A plain
//! one has nothing of its own but its fields and what they must be.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::id::Id;
use crate::text;
use crate::time::Timestamp;

/// A row of a tenant's settings, held in memory while the tenant is used.
pub trait Resource:
    Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Which settings rows it is.
    const KIND: SettingKind;
    /// Its name in sentences, e.g. `integration account`.
    const NAME: &'static str;
    /// What it is found by.
    type Id: Id;

    /// Its id.
    fn id(&self) -> Self::Id;
    /// Marks it as changed.
    fn touch(&mut self, now: Timestamp);
}

/// What callers write of a plain resource: all of it to make one, some of it to change one.
pub trait Plain:
    Clone + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// Which settings rows they are.
    const KIND: SettingKind;
    /// Its name in sentences, e.g. `quick reply`.
    const NAME: &'static str;
    /// What one is found by.
    type Id: Id;

    /// Brings the fields into the form that is stored, or says what is wrong with them.
    fn check(&mut self) -> Result<(), Invalid>;
}

/// A plain resource as stored: what callers wrote, and what every row has.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Row<F: Plain> {
    pub id: F::Id,
    // Not flattened: serde would not read a time in it back from MessagePack.
    pub fields: F,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl<F: Plain> Resource for Row<F> {
    const KIND: SettingKind = F::KIND;
    const NAME: &'static str = F::NAME;
    type Id = F::Id;

    fn id(&self) -> F::Id {
        self.id
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }
}

macro_rules! kinds {
    ($($name:ident = $number:literal;)*) => {
        /// The kinds of settings rows; append-only numbers, part of their keys.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum SettingKind { $($name = $number),* }

        impl SettingKind {
            /// Of its number; `None` for one of a later version.
            pub fn from_number(number: i64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    Tenant = 1;
    Agent = 2;
    Credential = 3;
    Role = 4;
    Account = 5;
    UsedKey = 6;
    QuickReply = 7;
    ApiKey = 8;
    Integration = 9;
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

/// The longest name of anything, in characters.
pub const NAME_CHARS_MAX: usize = 200;

/// A name as it is stored: trimmed, 1 to 200 characters, none of them a control character.
pub fn name(field: &str, text: &str) -> Result<String, Invalid> {
    let name = trimmed(field, text, NAME_CHARS_MAX)?;
    if name.contains(char::is_control) {
        return Err(Invalid::field(field, "must be one line without control characters"));
    }
    Ok(name)
}

/// A text as it is stored: trimmed, 1 to so many characters that show something.
pub fn trimmed(field: &str, text: &str, most: usize) -> Result<String, Invalid> {
    let text = text.trim();
    text::wrong(text, most)
        .map_or_else(|| Ok(text.to_owned()), |wrong| Err(Invalid::field(field, wrong)))
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

    /// The new value of a field that may be left out but not cleared.
    pub fn given(self, field: &str) -> Result<Option<T>, Invalid> {
        match self {
            Self::Keep => Ok(None),
            Self::Set(value) => Ok(Some(value)),
            Self::Clear => Err(Invalid::field(field, "must not be null")),
        }
    }

    /// A new value in the form that is stored.
    pub fn checked<U>(
        self,
        check: impl FnOnce(T) -> Result<U, Invalid>,
    ) -> Result<Change<U>, Invalid> {
        Ok(match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(check(value)?),
        })
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
