//! Values at their place in a body, so that what is wrong is named by its path.

use serde_json::{Map, Value};

use crate::resource::Invalid;
use crate::saying::link;
use crate::text;

/// A value and its path.
pub(super) struct At<'a> {
    path: String,
    value: &'a Value,
}

/// Looks at everything that stands anywhere in a thing, whatever it is for: its links lead out, its
/// texts are texts.
pub(in crate::channel) fn sound(
    path: &str,
    value: &Value,
    is_link: fn(&str) -> bool,
) -> Result<(), Invalid> {
    At { path: path.to_owned(), value }.sound(is_link)
}

/// Whether the provider follows what stands under this key.
pub(in crate::channel) fn is_link(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("link") || key.ends_with("url")
}

/// The field of an object.
pub(super) fn field<'a>(object: &'a Map<String, Value>, path: &str, key: &str) -> Option<At<'a>> {
    Some(At { path: joined(path, key), value: object.get(key)? })
}

/// The same, where it must be there.
pub(super) fn required<'a>(
    object: &'a Map<String, Value>,
    path: &str,
    key: &str,
) -> Result<At<'a>, Invalid> {
    field(object, path, key).ok_or_else(|| Invalid::field(joined(path, key), "is required"))
}

/// Says which field of an object is none of these.
pub(super) fn only(object: &Map<String, Value>, path: &str, keys: &[&str]) -> Result<(), Invalid> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(Invalid::field(joined(path, key), "is not a field here")),
        None => Ok(()),
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'a> At<'a> {
    pub(super) fn wrong(&self, message: impl Into<String>) -> Invalid {
        Invalid::field(self.path.clone(), message)
    }

    /// A field, where this is an object.
    pub(super) fn get(&self, key: &str) -> Result<Option<Self>, Invalid> {
        Ok(field(self.object()?, &self.path, key))
    }

    /// A field that must be there.
    pub(super) fn need(&self, key: &str) -> Result<Self, Invalid> {
        required(self.object()?, &self.path, key)
    }

    /// An object with these fields and no others.
    pub(super) fn only(&self, keys: &[&str]) -> Result<(), Invalid> {
        only(self.object()?, &self.path, keys)
    }

    /// A text of 1 to so many characters.
    pub(super) fn text(&self, most: usize) -> Result<&'a str, Invalid> {
        let text = self.value.as_str().ok_or_else(|| self.wrong("must be a text"))?;
        text::wrong(text, most).map_or(Ok(text), |wrong| Err(self.wrong(wrong)))
    }

    /// A text that must be this one.
    pub(super) fn is(&self, word: &str) -> Result<(), Invalid> {
        if self.value == word { Ok(()) } else { Err(self.wrong(format!("must be `{word}`"))) }
    }

    /// A list of 1 to so many things.
    pub(super) fn items(&self, most: usize) -> Result<Vec<Self>, Invalid> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("must be a list"))?;
        if items.is_empty() || items.len() > most {
            return Err(self.wrong(format!("must have 1 to {most} entries")));
        }
        let at = |(n, value)| At { path: format!("{}[{n}]", self.path), value };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// A file that the provider fetches.
    pub(super) fn media(&self) -> Result<(), Invalid> {
        if let Some(id) = self.get("id")? {
            return Err(id.wrong("files of ours cannot be sent here; give a `link`"));
        }
        // Where it leads was looked at wherever a link stands.
        self.need("link").map(drop)
    }

    /// A link to the public internet.
    fn link(&self) -> Result<(), Invalid> {
        let text = self.value.as_str().ok_or_else(|| self.wrong("must be a text"))?;
        link(text).map_or(Ok(()), |message| Err(self.wrong(message)))
    }

    /// Whether it is a whole number from 0 to below this.
    pub(super) fn number(&self, below: u64) -> Result<(), Invalid> {
        match self.value.as_u64().filter(|number| *number < below) {
            Some(_) => Ok(()),
            None => Err(self.wrong(format!("must be a number from 0 to {}", below - 1))),
        }
    }

    /// The same, perhaps written as a text.
    pub(super) fn index(&self, below: u64) -> Result<(), Invalid> {
        let written = self.value.as_str().and_then(|text| text.parse::<u64>().ok());
        match written.filter(|number| *number < below) {
            Some(_) => Ok(()),
            None => self.number(below),
        }
    }

    fn sound(&self, is_link: fn(&str) -> bool) -> Result<(), Invalid> {
        match self.value {
            Value::String(text) => {
                text::controls(text).map_or(Ok(()), |wrong| Err(self.wrong(wrong)))
            }
            Value::Array(items) => items.iter().enumerate().try_for_each(|(n, value)| {
                Self { path: format!("{}[{n}]", self.path), value }.sound(is_link)
            }),
            Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
                let at = Self { path: joined(&self.path, key), value };
                if is_link(key) { at.link() } else { at.sound(is_link) }
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn object(&self) -> Result<&'a Map<String, Value>, Invalid> {
        self.value.as_object().ok_or_else(|| self.wrong("must be an object"))
    }
}

/// What has to differ.
#[derive(Default)]
pub(super) struct Unique<'a>(Vec<&'a str>);

impl<'a> Unique<'a> {
    pub(super) fn add(&mut self, at: &At<'a>, text: &'a str) -> Result<(), Invalid> {
        if self.0.contains(&text) {
            return Err(at.wrong("is used twice here; each must be another"));
        }
        self.0.push(text);
        Ok(())
    }
}
