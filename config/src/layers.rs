//! Merges the layers key by key, so that a mistake is named with its key and its layer.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use crate::{Config, ConfigError, DEFAULT_TOML, LoadOptions, validate};

const PREFIX: &str = "OMNISTREAM__";
const ENVIRONMENT: &str = "the environment";
const PRESET: &str = "the command's preset";

/// The name of a key as its sections and itself.
type KeyPath = Vec<String>;

pub(crate) fn load<E>(preset: &str, options: LoadOptions<E>) -> Result<Config, ConfigError>
where
    E: IntoIterator<Item = (String, String)>,
{
    let mut merged = builtin();
    if let Some(path) = options.cwd_file.filter(|path| path.exists()) {
        lay(&mut merged, &path)?;
    }
    let untouched = builtin();
    for (key, value) in leaves(parse(preset, PRESET)?) {
        // The file beside the program may be a copy of the built-in one: it then says nothing.
        let is_changed = |now: &Value| Some(now) != find(&untouched, &key);
        set(&mut merged, &key, PRESET, |now| if is_changed(now) { now.clone() } else { value })?;
    }
    if let Some(path) = options.file {
        lay(&mut merged, &path)?;
    }
    for (name, text) in options.env {
        if let Some(key) = name.strip_prefix(PREFIX) {
            let key: KeyPath = key.to_lowercase().split("__").map(str::to_owned).collect();
            set(&mut merged, &key, ENVIRONMENT, |default| typed(text, default))?;
        }
    }
    let config =
        Config::deserialize(merged).expect("every single change to the built-in keys was tried");
    validate::check(&config)?;
    Ok(config)
}

fn builtin() -> Table {
    DEFAULT_TOML.parse().expect("default.toml is part of the program and tested")
}

fn read(path: &Path, layer: &str) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        ErrorKind::InvalidData => syntax(layer, "it is not UTF-8"),
        _ => ConfigError::Unreadable { path: layer.to_owned(), source },
    })?;
    parse(&text, layer)
}

fn parse(text: &str, layer: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        syntax(layer, &format!("line {line}: {}", error.message()))
    })
}

fn syntax(layer: &str, reason: &str) -> ConfigError {
    ConfigError::Syntax { layer: layer.to_owned(), reason: reason.to_owned() }
}

/// Replaces what a file names.
fn lay(merged: &mut Table, path: &Path) -> Result<(), ConfigError> {
    let layer = path.display().to_string();
    let mut named = leaves(read(path, &layer)?).into_iter();
    named.try_for_each(|(key, value)| set(merged, &key, &layer, |_| value))
}

fn find<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (section, names) = path.split_first()?;
    names.iter().try_fold(table.get(section)?, |at, name| at.get(name))
}

/// All keys of a table with their values.
fn leaves(table: Table) -> Vec<(KeyPath, Value)> {
    let mut found = Vec::new();
    let mut open: Vec<(KeyPath, Value)> = vec![(Vec::new(), Value::Table(table))];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Table(table) => open.extend(
                table.into_iter().map(|(name, value)| ([path.as_slice(), &[name]].concat(), value)),
            ),
            value => found.push((path, value)),
        }
    }
    found
}

/// Replaces one value, when there is such a key and the settings can still be read with it.
fn set(
    merged: &mut Table,
    path: &[String],
    layer: &str,
    value: impl FnOnce(&Value) -> Value,
) -> Result<(), ConfigError> {
    let key = path.join(".");
    let wrong = |reason: String| {
        let (key, layer) = (key.clone(), layer.to_owned());
        ConfigError::WrongValue { key, layer, reason }
    };
    let slot = path
        .iter()
        .skip(1)
        .try_fold(path.first().and_then(|section| merged.get_mut(section)), |at, name| {
            at.map(|at| at.as_table_mut().and_then(|table| table.get_mut(name)))
        });
    let Some(Some(slot)) = slot else {
        let hint =
            nearest(&key).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(ConfigError::UnknownKey { key, layer: layer.to_owned(), hint });
    };
    if slot.is_table() {
        return Err(wrong("this is a section; give its keys values".to_owned()));
    }
    *slot = value(slot);
    match Config::deserialize(merged.clone()) {
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(error.message().trim().to_owned())),
    }
}

/// An environment text as the kind of value that the key has; what does not fit stays a text, which
/// the key then refuses.
fn typed(text: String, like: &Value) -> Value {
    match like {
        Value::Integer(_) => text.trim().parse().map_or(Value::String(text), Value::Integer),
        Value::Boolean(_) => text.trim().parse().map_or(Value::String(text), Value::Boolean),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => Value::String(text),
    }
}

/// The known key that looks most like this one, if any looks like it at all.
fn nearest(key: &str) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| {
        // The right name in the wrong section is as near as a slip in the name.
        let name = if last(known) == last(key) { 0.95 } else { 0.0 };
        strsim::jaro_winkler(known, key).max(name)
    };
    leaves(builtin())
        .into_iter()
        .map(|(path, _)| path.join("."))
        .map(|known| (likeness(&known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
