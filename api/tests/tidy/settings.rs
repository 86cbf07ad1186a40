//! Settings that do something. (That each has a sentence is tested where they are.)

use toml::{Table, Value};

use crate::tree::{all, nothing_is_wrong, read};

/// All keys with their sections.
fn keys() -> Vec<String> {
    fn into(table: &Table, before: &str, keys: &mut Vec<String>) {
        for (name, value) in table {
            let key = format!("{before}{name}");
            match value {
                Value::Table(section) => into(section, &format!("{key}."), keys),
                _ => keys.push(key),
            }
        }
    }
    let mut keys = Vec::new();
    into(&read("config/default.toml").parse().unwrap(), "", &mut keys);
    keys
}

#[test]
fn every_setting_is_read() {
    let sources: Vec<_> = all(".rs")
        .into_iter()
        .filter(|source| source.path.contains("/src/") && source.of_crate() != "config")
        .collect();
    let mut wrong = Vec::new();
    for key in keys() {
        // Limits are read from a part of the settings, others by their section's name.
        let read_as = match key.strip_prefix("limits.") {
            Some(name) => format!("limits.{name}"),
            None => key.clone(),
        };
        let field = key.rsplit('.').next().unwrap_or_default();
        let is_read = sources.iter().any(|source| {
            let mut taken_apart = source.lines().filter(|(_, line)| line.contains("let config::"));
            names(&source.text, &read_as) || taken_apart.any(|(_, line)| names(line, field))
        });
        if !is_read {
            wrong.push(format!("config/default.toml: nothing reads `{key}`"));
        }
    }
    nothing_is_wrong(&wrong);
}

/// Whether a text has this name, and not only as the beginning of a longer one.
fn names(text: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(name).any(|(at, _)| ends(&text[at + name.len()..]))
}
