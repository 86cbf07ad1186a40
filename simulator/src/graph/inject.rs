//! Webhooks that are given, told apart from others of their kind, and delivered.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::Desk;

/// Keys whose value is a message's id.
const IDS: [&str; 3] = ["original_message_id", "message_id", "from_logical_id"];

/// A webhook to deliver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Injection {
    pub body: Value,
    /// Goes behind every message's id in it, so that the same body is another message each time.
    /// References change alike, and so still fit what was injected with the same salt.
    pub salt: String,
    /// Whether everything in it happens now.
    pub now: bool,
    /// The number that it is about from then on.
    pub phone_number_id: Option<String>,
    /// The business account that it is about from then on.
    pub waba_id: Option<String>,
}

impl Injection {
    pub(super) async fn deliver(mut self, desk: &Desk) -> bool {
        self.rewrite(desk.clock.now());
        let number = self.body.pointer("/entry/0/changes/0/value/metadata/phone_number_id");
        let number = number.and_then(Value::as_str).map(str::to_owned);
        match number.and_then(|number| desk.account(&number)) {
            Some(account) => desk.deliver(&account, self.body).await,
            None => desk.courier.deliver(None, self.body).await,
        }
    }

    fn rewrite(&mut self, now: i64) {
        let mut body = std::mem::take(&mut self.body);
        for entry in list(&mut body, "entry") {
            if let Some(waba_id) = &self.waba_id {
                set(entry, "id", json!(waba_id));
            }
            for change in list(entry, "changes") {
                let Some(value) = change.get_mut("value") else { continue };
                if let (Some(number), Some(of)) = (&self.phone_number_id, value.get_mut("metadata"))
                {
                    set(of, "phone_number_id", json!(number));
                }
                for key in ["messages", "statuses", "message_echoes"] {
                    for item in list(value, key) {
                        self.item(item, now);
                    }
                }
            }
        }
        self.body = body;
    }

    fn item(&self, item: &mut Value, now: i64) {
        self.salted(item.get_mut("id"));
        self.salted(item.get_mut("context").and_then(|context| context.get_mut("id")));
        if let (true, Some(time)) = (self.now, item.get_mut("timestamp")) {
            *time = json!(now.to_string());
        }
        for object in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            for key in IDS {
                self.salted(object.get_mut(key));
            }
        }
    }

    fn salted(&self, id: Option<&mut Value>) {
        if let Some(Value::String(id)) = id {
            id.push_str(&self.salt);
        }
    }
}

/// The entries of a list, if it is one.
fn list<'a>(of: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    of.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets what is there already.
fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(known) = object.get_mut(key) {
        *known = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{self, Account, Sender, Written, content};

    #[test]
    fn ids_and_their_references_change_alike_and_the_rest_stays() {
        let (account, from) = (Account::new("1065"), Sender::of_phone("1555", "Ines"));
        let reaction = content::reaction("wamid.1", "👍");
        let all = bodies::batch([
            bodies::written(&account, &Written::new("wamid.1", &from, 5, content::text("Hi"))),
            bodies::written(&account, &Written::new("wamid.2", &from, 6, reaction)),
        ]);
        let mut injection = Injection {
            body: all.clone(),
            salt: ".b".into(),
            now: true,
            phone_number_id: Some("2".into()),
            waba_id: Some("9".into()),
        };
        injection.rewrite(7);
        let entry = &injection.body["entry"][0];
        let item = |n: usize| &entry["changes"][n]["value"]["messages"][0];
        assert_eq!(entry["id"], "9");
        assert_eq!(entry["changes"][0]["value"]["metadata"]["phone_number_id"], "2");
        assert_eq!((&item(0)["id"], &item(0)["timestamp"]), (&json!("wamid.1.b"), &json!("7")));
        assert_eq!(item(1)["reaction"]["message_id"], "wamid.1.b");
        let mut same = Injection { body: all.clone(), ..Injection::default() };
        same.rewrite(7);
        assert_eq!(same.body, all);
    }
}
