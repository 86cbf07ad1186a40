//! What people changed of their organization: who did it, to what, and from what to what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::account::MASK;
use crate::id::{ActivityId, AgentId, ApiKeyId};

/// Something that somebody did to a thing of their organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// A UUIDv7: it says when that was, too.
    pub id: ActivityId,
    pub by: AgentId,
    /// What they were called then.
    pub by_name: String,
    /// The API key by which they did it.
    pub key: Option<ApiKeyId>,
    /// What was done to which kind of thing, e.g. `role.updated`.
    pub action: String,
    pub thing: Thing,
    pub differences: Differences,
}

/// What something was done to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thing {
    /// E.g. `role`.
    pub kind: String,
    pub id: Uuid,
    /// What it is called now, or was called when it was removed.
    pub name: Option<String>,
}

/// Fields that are not what they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    pub fields: Vec<Difference>,
    /// So many more are not told, since there are too many.
    #[serde(default)]
    pub left_out: usize,
}

/// A field that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Its path, e.g. `config.access_token`.
    pub field: String,
    /// `None`: there was nothing.
    pub from: Option<Value>,
    /// `None`: there is nothing any more.
    pub to: Option<Value>,
    /// A value was too long, and is told in part or not at all.
    #[serde(default)]
    pub cut: bool,
}

/// A thing as callers see it, with the secrets that they do not see.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub shown: Value,
    /// By the paths of their fields. They are compared, and never told.
    pub secrets: BTreeMap<String, String>,
}

/// What changes by itself, what is the same for ever, and what is no setting but a presence.
const UNTOLD: [&str; 4] = ["id", "created_at", "updated_at", "availability"];
/// A value is told up to so many bytes, and a path.
const VALUE_BYTES: usize = 1_024;
const PATH_BYTES: usize = 256;
/// All fields together take no more.
const FIELDS_BYTES: usize = 16_384;

impl Activity {
    /// Of a thing whose kind and action are one word each; nothing of it changed.
    pub fn new(id: ActivityId, by: (AgentId, String), thing: Thing, done: &str) -> Self {
        let action = format!("{}.{done}", thing.kind);
        let (by, by_name) = by;
        Self { id, by, by_name, key: None, action, thing, differences: Differences::default() }
    }
}

impl Seen {
    /// What it is called, as far as it is called anything.
    pub fn name(&self) -> Option<&str> {
        let names = ["name", "display_name", "title", "channel"];
        names.iter().find_map(|name| self.shown.get(name)?.as_str())
    }

    /// The values of all fields by their paths, masked where they are secret.
    fn fields(&self) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::new();
        flatten(String::new(), &self.shown, &mut fields);
        fields.extend(self.secrets.keys().map(|field| (field.clone(), MASK.into())));
        fields
    }
}

/// What is different between a thing and what it became.
pub fn differences(before: &Seen, after: &Seen) -> Differences {
    let (was, is) = (before.fields(), after.fields());
    let (mut found, mut bytes) = (Differences::default(), 0);
    for field in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
        let (from, to) = (was.get(field), is.get(field));
        if from == to && before.secrets.get(field) == after.secrets.get(field) {
            continue;
        }
        let ((from, from_cut), (to, to_cut)) = (told(from), told(to));
        let path = field[..field.floor_char_boundary(PATH_BYTES)].to_owned();
        bytes += path.len() + size(from.as_ref()) + size(to.as_ref());
        if bytes > FIELDS_BYTES {
            found.left_out += 1;
            continue;
        }
        found.fields.push(Difference { field: path, from, to, cut: from_cut || to_cut });
    }
    found
}

fn flatten(path: String, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                match path.as_str() {
                    "" if UNTOLD.contains(&name.as_str()) => {}
                    "" => flatten(name.clone(), value, into),
                    parent => flatten(format!("{parent}.{name}"), value, into),
                }
            }
        }
        value => drop(into.insert(path, value.clone())),
    }
}

/// A value as it is told, and whether something of it is missing.
fn told(value: Option<&Value>) -> (Option<Value>, bool) {
    match value {
        Some(Value::String(text)) if text.len() > VALUE_BYTES => {
            (Some(text[..text.floor_char_boundary(VALUE_BYTES)].into()), true)
        }
        value if size(value) > VALUE_BYTES => (None, true),
        value => (value.cloned(), false),
    }
}

fn size(value: Option<&Value>) -> usize {
    match value {
        None => 0,
        Some(Value::String(text)) => text.len(),
        Some(value) => value.to_string().len(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{FIELDS_BYTES, Seen, VALUE_BYTES, differences};
    use crate::account::MASK;

    fn seen(shown: Value) -> Seen {
        Seen { shown, secrets: BTreeMap::new() }
    }

    fn with_secret(field: &str, secret: &str) -> Seen {
        let secrets = [(field.to_owned(), secret.to_owned())].into();
        Seen { secrets, ..seen(json!({"config": {"access_token": secret}})) }
    }

    fn told(before: &Seen, after: &Seen) -> Value {
        let found = differences(before, after);
        assert_eq!(found.left_out, 0);
        let of = |one: super::Difference| json!([one.field, one.from, one.to]);
        found.fields.into_iter().map(of).collect()
    }

    #[test]
    fn only_what_is_different_is_told_by_its_path() {
        let before = seen(json!({
            "id": 1, "updated_at": "a", "name": "Old", "same": [1], "gone": true,
            "config": {"a": 1, "b": {"c": "x"}}, "list": [1, 2],
        }));
        let after = seen(json!({
            "id": 2, "updated_at": "b", "name": "New", "same": [1], "gone": null,
            "config": {"a": 1, "b": {"c": "y", "d": 0}}, "list": [2],
        }));
        let wanted = json!([
            ["config.b.c", "x", "y"],
            ["config.b.d", null, 0],
            ["gone", true, null],
            ["list", [1, 2], [2]],
            ["name", "Old", "New"],
        ]);
        assert_eq!(told(&before, &after), wanted);
        assert_eq!(told(&after, &after), json!([]));
        assert_eq!(told(&Seen::default(), &seen(json!({"name": "New"})))[0][2], "New");
    }

    #[test]
    fn a_secret_is_told_to_have_changed_and_never_what_it_was_or_is() {
        let field = "config.access_token";
        let (one, two) = (with_secret(field, "one"), with_secret(field, "two"));
        assert_eq!(told(&one, &two), json!([[field, MASK, MASK]]));
        assert_eq!(told(&one, &one), json!([]));
        assert_eq!(told(&one, &Seen::default()), json!([[field, MASK, null]]));
        assert_eq!(told(&Seen::default(), &two), json!([[field, null, MASK]]));
        let of_none = with_secret("password", "hash");
        assert!(told(&Seen::default(), &of_none).to_string().contains("\"password\",null,\"****"));
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_too_much_is_counted() {
        let long = "ä".repeat(VALUE_BYTES);
        let found = differences(&seen(json!({"text": long})), &seen(json!({"text": [long]})));
        let only = &found.fields[0];
        assert_eq!(only.from.as_ref().unwrap().as_str().unwrap().len(), VALUE_BYTES);
        assert_eq!((&only.to, only.cut), (&None, true));
        let text = "x".repeat(1000);
        let many: BTreeMap<_, _> = (0..100).map(|n| (format!("{n:03}"), &text)).collect();
        let found = differences(&Seen::default(), &seen(json!(many)));
        assert_eq!(found.fields.len(), FIELDS_BYTES / 1003);
        assert_eq!(found.fields.len() + found.left_out, 100);
        let path = "p".repeat(100_000);
        let found = differences(&Seen::default(), &seen(json!({path: 1})));
        assert!(found.fields[0].field.len() < 1000);
    }
}
