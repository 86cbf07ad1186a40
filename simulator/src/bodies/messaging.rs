//! Webhook bodies of Messenger and Instagram (Meta, "Webhook events").

use serde_json::{Value, json};

/// Which of both channels it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A page, on Messenger.
    Page,
    Instagram,
}

/// A page of Messenger, or a professional account of Instagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub object: Object,
    /// `entry[].id`.
    pub id: String,
}

impl Page {
    /// One with this id.
    pub fn new(object: Object, id: impl Into<String>) -> Self {
        Self { object, id: id.into() }
    }

    /// A webhook with one event between it and this person, at that time (milliseconds since 1970).
    /// `part` is what happened, under its name; the person did it, unless it is an echo.
    pub fn event(&self, person: &str, at_ms: i64, part: Value) -> Value {
        let is_echo = part["message"]["is_echo"] == true;
        let (sender, recipient) = match is_echo {
            true => (self.id.as_str(), person),
            false => (person, self.id.as_str()),
        };
        let mut event = part;
        event["sender"] = json!({"id": sender});
        event["recipient"] = json!({"id": recipient});
        event["timestamp"] = json!(at_ms);
        let entry = json!({"id": self.id, "time": at_ms, "messaging": [event]});
        json!({"object": self.object.as_str(), "entry": [entry]})
    }

    /// A webhook with a person's text.
    pub fn text(&self, person: &str, id: &str, text: &str, at_ms: i64) -> Value {
        self.event(person, at_ms, json!({"message": {"mid": id, "text": text}}))
    }
}

impl Object {
    fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Instagram => "instagram",
        }
    }
}
