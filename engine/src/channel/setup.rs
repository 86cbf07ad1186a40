//! What an account's config holds, by channel.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Channel, email, instagram, messenger, whatsapp};
use crate::resource::Invalid;

/// What the config of a channel's accounts holds.
pub struct Setup {
    /// The channel, as people call it.
    pub title: &'static str,
    /// The key under which the account's own id stands: its value is the account's key.
    pub key: &'static str,
    /// The account's key as payloads name it, of what stands there; or what must stand there.
    pub read: fn(&str) -> Result<String, &'static str>,
    /// All keys that have to be there.
    pub required: &'static [&'static str],
    /// Those that may be there.
    pub optional: &'static [&'static str],
    /// Those of them that are true or false.
    pub switches: &'static [&'static str],
    /// Where the provider is to send its webhooks.
    pub webhook: &'static str,
}

const VALUE_BYTES_MAX: usize = 2048;
/// What is not of one account, but of the app or of the house: a channel's accounts may have it in
/// common.
const SHARED: [&str; 3] = ["app_secret", "verify_token", "send_read_marks"];

impl Channel {
    /// What its accounts' config holds; `None`: it cannot be connected yet.
    pub fn setup(self) -> Option<&'static Setup> {
        match self {
            Self::Whatsapp => Some(&whatsapp::SETUP),
            Self::Instagram => Some(&instagram::SETUP),
            Self::Messenger => Some(&messenger::SETUP),
            Self::Email => Some(&email::SETUP),
        }
    }
}

impl Setup {
    /// The account's key, if the config is what it should be.
    pub fn account_key(&self, config: &BTreeMap<String, Value>) -> Result<String, Invalid> {
        for (key, value) in config {
            if !self.required.contains(&key.as_str()) && !self.optional.contains(&key.as_str()) {
                let message = format!("is not a key of {} account", self.one());
                return Err(Invalid::field(format!("config.{key}"), message));
            }
            self.check_value(key, value)?;
        }
        for key in self.required {
            if !config.contains_key(*key) {
                return Err(Invalid::field(format!("config.{key}"), "is required"));
            }
        }
        let id = config.get(self.key).and_then(Value::as_str).unwrap_or_default();
        (self.read)(id).map_err(|must| Invalid::field(format!("config.{}", self.key), must))
    }

    /// Says what is wrong with what the channel's accounts are to have in common.
    pub fn check_shared(&self, config: &BTreeMap<String, Value>) -> Result<(), Invalid> {
        for (key, value) in config {
            if !SHARED.contains(&key.as_str()) || !self.optional.contains(&key.as_str()) {
                let message = format!("is not what {} accounts may have in common", self.title);
                return Err(Invalid::field(format!("config.{key}"), message));
            }
            self.check_value(key, value)?;
        }
        Ok(())
    }

    fn check_value(&self, key: &str, value: &Value) -> Result<(), Invalid> {
        let wrong = |message: String| Err(Invalid::field(format!("config.{key}"), message));
        match self.switches.contains(&key) {
            true if !value.is_boolean() => wrong("must be true or false".to_owned()),
            false if !value.as_str().is_some_and(is_text) => {
                wrong(format!("must be a text of 1 to {VALUE_BYTES_MAX} characters"))
            }
            _ => {
                if let Some(must) = shape(key, value.as_str().unwrap_or_default()) {
                    return wrong(must.to_owned());
                }
                match choices(key).filter(|known| !known.iter().any(|one| value == one)) {
                    Some(known) => wrong(format!("must be one of {}", known.join(", "))),
                    None => Ok(()),
                }
            }
        }
    }

    /// The channel with its article.
    fn one(&self) -> String {
        let article = if self.title.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
        format!("{article} {}", self.title)
    }
}

/// What may stand under a key, where not every text may.
fn choices(key: &str) -> Option<&'static [&'static str]> {
    match key {
        "provider" => Some(&email::PROVIDERS),
        _ => None,
    }
}

/// What must stand under a key, where only texts of one form may; `None`: this does.
fn shape(key: &str, value: &str) -> Option<&'static str> {
    match key {
        "smtp_url" => email::Smtp::read(value).err(),
        // It is a header's: what cannot be one would be asked about by nobody, and denied by nobody.
        "access_token" if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Some("must be a text of one line, without other than ASCII characters")
        }
        "sender_name" if value.contains(char::is_control) => Some("must be one line"),
        _ => None,
    }
}

fn is_text(text: &str) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&text.len())
}

/// An id of Meta's: digits.
pub(super) fn digits(id: &str) -> Result<String, &'static str> {
    let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| id.to_owned()).ok_or("must be digits")
}
