//! What a simulated customer can do, and the webhooks that tell of it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Person;
use crate::bodies::{self, Account, Written, content};
use crate::media::{MediaKind, Medium};

/// The most pictures of one album.
const ALBUM: u8 = 30;

/// One thing that a customer does. In JSON it is named by `do`: `{"do": "text", "text": "Hello"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Waits so many milliseconds of simulated time.
    Pause { ms: u64 },
    /// Waits for the next message of the business.
    AwaitAnswer,
    /// Writes a text; with `quote`, as a reply to the newest message of the business.
    Text {
        text: String,
        #[serde(default)]
        quote: bool,
    },
    /// Sends one medium.
    Media {
        kind: MediaKind,
        #[serde(default)]
        caption: Option<String>,
    },
    /// Sends so many pictures at once: each is a webhook of its own, all at the same time.
    Album { photos: u8 },
    /// Presses the button, or chooses the row, of this place (from 0) of the newest message that
    /// has any; also fills in a form, and answers a request for a place or a contact.
    Press {
        #[serde(default)]
        choice: usize,
    },
    /// Reacts to the newest message of the business.
    React { emoji: String },
    /// Takes the last reaction back.
    Unreact,
    /// Says something else in their newest message.
    Edit { text: String },
    /// Deletes their newest message for everybody.
    Delete,
    Location {
        latitude: f64,
        longitude: f64,
        #[serde(default)]
        name: Option<String>,
    },
    /// Sends a card of somebody.
    Contact { name: String, phone: String },
    /// Orders from the catalogue.
    Order,
    /// Sends something that Meta does not pass on, such as a poll.
    Unsupported,
    /// Opens the chat for the first time, before anything is written.
    Open,
    /// Comes from an advertisement.
    FromAdvertisement { text: String },
    /// Writes in a group.
    InGroup { group: String, text: String },
    /// Moves to another phone number, and so gets another user id if they have one.
    ChangeNumber { to: String },
    /// Gets another user id. Two webhooks tell it, a system message and an update; `update_first`
    /// says which comes first.
    ChangeUserId {
        #[serde(default)]
        update_first: bool,
    },
    /// Wants no more marketing messages.
    OptOut,
    /// Wants them again.
    OptIn,
}

/// What an act is to the world.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Deeds {
    pub(crate) webhooks: Vec<Value>,
    /// Whether they leave all at once; else each leaves when the one before was taken.
    pub(crate) together: bool,
    /// Whether it opens the window for free text.
    pub(crate) opens_window: bool,
    /// The ids of the messages that it made.
    pub(crate) ids: Vec<String>,
}

impl Person {
    /// Does it to this business at `at` (seconds since 1970), or says why that cannot be.
    pub(crate) fn act(&mut self, account: &Account, act: &Act, at: i64) -> Result<Deeds, String> {
        match act {
            // Time is not a person's.
            Act::Pause { .. } | Act::AwaitAnswer => Ok(Deeds::default()),
            Act::Text { text, quote } => {
                let quoted = self.heard.back().filter(|_| *quote).map(|heard| heard.id.clone());
                Ok(self.writes(account, at, content::text(text), quoted.as_deref()))
            }
            Act::Media { kind, caption } => {
                let content = self.medium(*kind, caption.as_deref());
                Ok(self.writes(account, at, content, None))
            }
            Act::Album { photos } => Ok(self.album(account, at, (*photos).clamp(1, ALBUM))),
            Act::Press { choice } => self.press(account, at, *choice),
            Act::React { emoji } => {
                let heard = self.heard.back().ok_or("the business has written nothing yet")?;
                let id = heard.id.clone();
                self.reacted = Some(id.clone());
                Ok(self.tells(account, at, content::reaction(&id, emoji)))
            }
            Act::Unreact => {
                let id = self.reacted.take().ok_or("there is no reaction to take back")?;
                Ok(self.tells(account, at, content::reaction(&id, "")))
            }
            Act::Edit { text } => self.edit(account, at, text),
            Act::Delete => {
                let own = self.written.pop_back().ok_or("there is no message to delete")?;
                Ok(self.tells(account, at, content::revoke(&own.id)))
            }
            Act::Location { latitude, longitude, name } => {
                let place = content::location(*latitude, *longitude, name.as_deref());
                Ok(self.writes(account, at, place, None))
            }
            Act::Contact { name, phone } => {
                Ok(self.writes(account, at, content::contact(name, phone, None), None))
            }
            Act::Order => {
                let order = content::order(&[("mug-blue", 2, 12.5), ("pot-3", 1, 30.0)], "Thanks!");
                Ok(self.writes(account, at, order, None))
            }
            Act::Unsupported => Ok(self.writes(account, at, content::unsupported("poll"), None)),
            Act::Open => Ok(self.writes(account, at, json!({"type": "request_welcome"}), None)),
            Act::FromAdvertisement { text } => {
                let mut content = content::text(text);
                content["referral"] = advertisement();
                Ok(self.writes(account, at, content, None))
            }
            Act::InGroup { group, text } => Ok(self.in_group(account, at, group, text)),
            Act::ChangeNumber { to } => self.change_number(account, at, to),
            Act::ChangeUserId { update_first } => self.change_user_id(account, at, *update_first),
            Act::OptOut | Act::OptIn => {
                let webhook = bodies::opted(account, &self.sender, at, *act == Act::OptOut);
                Ok(Deeds { webhooks: vec![webhook], ..Deeds::default() })
            }
        }
    }

    /// A message of their own.
    fn writes(
        &mut self,
        account: &Account,
        at: i64,
        content: Value,
        quotes: Option<&str>,
    ) -> Deeds {
        let id = self.id();
        self.remember(&id, content.clone());
        let message = Written { quotes, ..Written::new(&id, &self.sender, at, content) };
        let webhooks = vec![bodies::written(account, &message)];
        Deeds { webhooks, opens_window: true, ids: vec![id], ..Deeds::default() }
    }

    /// Something about another message.
    fn tells(&mut self, account: &Account, at: i64, content: Value) -> Deeds {
        let id = self.id();
        let message = Written::new(&id, &self.sender, at, content);
        let webhooks = vec![bodies::written(account, &message)];
        Deeds { webhooks, ids: vec![id], ..Deeds::default() }
    }

    fn medium(&mut self, kind: MediaKind, caption: Option<&str>) -> Value {
        let n = self.next();
        let medium = Medium::simulated(kind, self.seed.wrapping_add(n));
        content::medium(&content::Medium {
            kind: kind.name(),
            id: &medium.id,
            mime_type: &medium.mime_type,
            sha256: &medium.sha256_base64(),
            caption,
            filename: Some("invoice.pdf"),
        })
    }

    fn album(&mut self, account: &Account, at: i64, photos: u8) -> Deeds {
        let mut all = Deeds { together: true, opens_window: true, ..Deeds::default() };
        for _ in 0..photos {
            let content = self.medium(MediaKind::Image, None);
            let one = self.writes(account, at, content, None);
            all.webhooks.extend(one.webhooks);
            all.ids.extend(one.ids);
        }
        all
    }

    fn press(&mut self, account: &Account, at: i64, choice: usize) -> Result<Deeds, String> {
        let heard = self.heard.iter().rev().find(|heard| !heard.choices.is_empty());
        let heard = heard.ok_or("no message of the business has buttons or rows")?;
        let content = heard.choices.get(choice).cloned();
        let (id, of) = (heard.id.clone(), heard.choices.len());
        let content = content.ok_or_else(|| format!("there are {of} choices, from 0"))?;
        Ok(self.writes(account, at, content, Some(&id)))
    }

    fn edit(&mut self, account: &Account, at: i64, text: &str) -> Result<Deeds, String> {
        let own = self.written.back_mut().ok_or("there is no message to edit")?;
        let kind = own.content["type"].as_str().unwrap_or_default().to_owned();
        let key = if kind == "text" { "body" } else { "caption" };
        if !matches!(kind.as_str(), "text" | "image" | "video" | "document") {
            return Err(format!("a message of type {kind} cannot be edited"));
        }
        own.content[&kind][key] = json!(text);
        let edited = content::edit(&own.id, &own.content);
        Ok(self.tells(account, at, edited))
    }

    fn in_group(&mut self, account: &Account, at: i64, group: &str, text: &str) -> Deeds {
        let id = self.id();
        let group = Some(group);
        let message = Written::new(&id, &self.sender, at, content::text(text));
        let webhooks = vec![bodies::written(account, &Written { group, ..message })];
        Deeds { webhooks, ids: vec![id], ..Deeds::default() }
    }

    fn change_number(&mut self, account: &Account, at: i64, to: &str) -> Result<Deeds, String> {
        if self.sender.phone.is_none() {
            return Err("they show no phone number".to_owned());
        }
        let before = self.sender.clone();
        self.sender.phone = Some(to.to_owned());
        if self.sender.user_id.is_some() {
            self.rotate();
        }
        let id = self.id();
        let kind = "user_changed_number";
        let webhooks = vec![bodies::system(account, &id, at, kind, &before, &self.sender)];
        Ok(Deeds { webhooks, ids: vec![id], ..Deeds::default() })
    }

    fn change_user_id(
        &mut self,
        account: &Account,
        at: i64,
        update_first: bool,
    ) -> Result<Deeds, String> {
        if self.sender.user_id.is_none() {
            return Err("they show no user id".to_owned());
        }
        let before = self.sender.clone();
        self.rotate();
        let id = self.id();
        let kind = "user_changed_user_id";
        let system = bodies::system(account, &id, at, kind, &before, &self.sender);
        let mut webhooks =
            vec![system, bodies::user_id_changed(account, at, &before, &self.sender)];
        if update_first {
            webhooks.reverse();
        }
        Ok(Deeds { webhooks, ids: vec![id], ..Deeds::default() })
    }
}

fn advertisement() -> Value {
    json!({
        "source_url": "https://fb.me/3sim",
        "source_id": "120200000000000001",
        "source_type": "ad",
        "headline": "Mugs for everybody",
        "body": "Ask us anything.",
        "media_type": "image",
        "image_url": "https://scontent.example/mug.jpg",
        "ctwa_clid": "ARSimulatedClick1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Who;

    fn account() -> Account {
        Account::new("1065")
    }

    fn message(deeds: &Deeds) -> &Value {
        &deeds.webhooks[0]["entry"][0]["changes"][0]["value"]["messages"][0]
    }

    #[test]
    fn the_same_seed_and_script_are_the_same_webhooks_to_the_byte() {
        let script = [
            Act::Text { text: "Hello".into(), quote: false },
            Act::Album { photos: 3 },
            Act::Edit { text: "Look".into() },
            Act::ChangeUserId { update_first: true },
            Act::Delete,
        ];
        let run = |seed| {
            let mut person = Person::new(seed, &Who::with_phone("1555", "Ines").and_user_id());
            script.clone().map(|act| person.act(&account(), &act, 1_790_000_000).unwrap())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn an_edit_and_a_deletion_are_of_the_newest_message() {
        let mut person = Person::new(1, &Who::with_phone("1555", "Ines"));
        let mut act = |act| person.act(&account(), &act, 1);
        let first = act(Act::Text { text: "Helo".into(), quote: false }).unwrap();
        let edited = act(Act::Edit { text: "Hello".into() }).unwrap();
        let edit = &message(&edited)["edit"];
        assert_eq!(edit["original_message_id"], first.ids[0]);
        assert_eq!(edit["message"]["text"]["body"], "Hello");
        assert_eq!(
            message(&act(Act::Delete).unwrap())["revoke"]["original_message_id"],
            first.ids[0]
        );
        assert!(act(Act::Delete).is_err() && act(Act::React { emoji: "👍".into() }).is_err());
    }

    #[test]
    fn who_has_a_username_only_shows_no_phone_number() {
        let mut person = Person::new(1, &Who::with_username("ines", "Ines"));
        let deeds = person.act(&account(), &Act::Text { text: "Hi".into(), quote: false }, 1);
        let deeds = deeds.unwrap();
        let message = message(&deeds);
        assert!(message["from"].is_null() && message["from_user_id"].is_string());
        let contact = &deeds.webhooks[0]["entry"][0]["changes"][0]["value"]["contacts"][0];
        assert!(contact["wa_id"].is_null());
        assert_eq!(contact["profile"]["username"], "@ines");
        assert!(person.act(&account(), &Act::ChangeNumber { to: "1".into() }, 1).is_err());
    }
}
