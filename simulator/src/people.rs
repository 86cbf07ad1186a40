//! Simulated customers: who they are, what they remember, and what they do.

mod act;
mod mail;
mod page;

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bodies::{Account, Page, Sender, content};
use crate::graph::Sent;
pub use act::Act;

/// Messages of their own that they can still edit, and of ours that they can still answer.
const REMEMBERED: usize = 8;

/// Who a simulated customer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    /// Digits only; without one they are known by their user id alone.
    pub phone: Option<String>,
    /// Without `@`.
    pub username: Option<String>,
    pub name: String,
    /// Whether webhooks show a user id. Who has no phone number always has one.
    pub has_user_id: bool,
    /// Whether they also show the id that linked businesses share.
    pub has_parent_user_id: bool,
}

impl Who {
    /// Somebody who is known by a phone number alone.
    pub fn with_phone(phone: impl Into<String>, name: impl Into<String>) -> Self {
        Self { phone: Some(phone.into()), name: name.into(), ..Self::default() }
    }

    /// Somebody who has a username and shows no phone number.
    pub fn with_username(username: impl Into<String>, name: impl Into<String>) -> Self {
        let username = Some(username.into());
        Self { username, name: name.into(), has_user_id: true, ..Self::default() }
    }

    /// The same who is also known by a user id.
    #[must_use]
    pub fn and_user_id(self) -> Self {
        Self { has_user_id: true, ..self }
    }

    /// What tells them from others.
    pub(crate) fn key(&self) -> &str {
        self.phone.as_deref().or(self.username.as_deref()).unwrap_or(&self.name)
    }
}

/// Whom customers write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Business {
    /// A number of WhatsApp.
    Number(Account),
    /// A page of Messenger, or an account of Instagram.
    Page(Page),
    /// An address.
    Inbox(String),
}

impl From<Account> for Business {
    fn from(account: Account) -> Self {
        Self::Number(account)
    }
}

impl From<Page> for Business {
    fn from(page: Page) -> Self {
        Self::Page(page)
    }
}

impl Business {
    /// What the provider knows it by.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Number(account) => &account.phone_number_id,
            Self::Page(page) => &page.id,
            Self::Inbox(address) => address,
        }
    }
}

/// A simulated customer, as they are now. All their ids derive from the seed and who they were at
/// first, so that a run replays.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    seed: u64,
    pub(crate) sender: Sender,
    /// Ids made so far.
    ids: u64,
    rotations: u64,
    /// Their newest messages, oldest first.
    written: VecDeque<Own>,
    /// Our newest messages to them, oldest first.
    heard: VecDeque<Heard>,
    /// What they reacted to last.
    reacted: Option<String>,
}

/// A message of their own.
#[derive(Clone, Debug)]
struct Own {
    id: String,
    content: Value,
}

/// A message of ours, and what can be answered with a touch.
#[derive(Clone, Debug)]
struct Heard {
    id: String,
    choices: Vec<Value>,
}

impl Person {
    pub(crate) fn new(seed: u64, who: &Who) -> Self {
        let seed = seed ^ hash(who.key());
        let has_user_id = who.has_user_id || who.has_parent_user_id || who.phone.is_none();
        let mut person = Self {
            seed,
            sender: Sender {
                phone: who.phone.clone(),
                user_id: None,
                parent_user_id: who.has_parent_user_id.then_some(String::new()),
                username: who.username.clone(),
                name: who.name.clone(),
            },
            ids: 0,
            rotations: 0,
            written: VecDeque::new(),
            heard: VecDeque::new(),
            reacted: None,
        };
        if has_user_id {
            person.rotate();
        }
        person
    }

    /// The names by which sends reach them.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &String> {
        self.sender.phone.iter().chain(&self.sender.user_id).chain(&self.sender.parent_user_id)
    }

    /// Gets a message of ours.
    pub(crate) fn hear(&mut self, sent: &Sent) {
        let heard = Heard { id: sent.wamid.clone(), choices: choices(sent, &self.sender) };
        remember(&mut self.heard, heard);
    }

    /// In how many ways our newest message can be answered with a touch.
    pub(crate) fn choices(&self) -> usize {
        self.heard.back().map_or(0, |heard| heard.choices.len())
    }

    /// Takes a new user id, and a new shared one if there was one.
    fn rotate(&mut self) {
        self.rotations += 1;
        let mut chance = StdRng::seed_from_u64(self.seed.wrapping_add(self.rotations));
        let mut id = |prefix| format!("{prefix}{:020}", chance.random::<u64>());
        self.sender.user_id = Some(id("US."));
        if self.sender.parent_user_id.is_some() {
            self.sender.parent_user_id = Some(id("US.ENT."));
        }
    }

    /// A number that nothing else of theirs has.
    fn next(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// An id for what they do next.
    fn id(&mut self) -> String {
        self.id_like("wamid.HBgP")
    }

    /// One that begins so.
    fn id_like(&mut self, begin: &str) -> String {
        let n = self.next();
        format!("{begin}{:016X}{n:06X}", self.seed)
    }

    fn remember(&mut self, id: &str, content: Value) {
        remember(&mut self.written, Own { id: id.to_owned(), content });
    }
}

/// What a message of ours can be answered with by a touch, in the order in which it shows it.
fn choices(sent: &Sent, me: &Sender) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let object = &sent.content;
    match (sent.kind.as_str(), object["type"].as_str().unwrap_or_default()) {
        ("template", _) => {
            let components = list(&object["components"]);
            let buttons = components.iter().filter(|component| {
                component["type"] == "button" && component["sub_type"] == "quick_reply"
            });
            let payload = |button: &Value| text(&button["parameters"][0]["payload"]);
            buttons.map(payload).map(|payload| content::button(&payload, &payload)).collect()
        }
        ("interactive", "button") => {
            let buttons = list(&object["action"]["buttons"]);
            let reply = |button: &Value| {
                let reply = &button["reply"];
                content::button_reply(&text(&reply["id"]), &text(&reply["title"]))
            };
            buttons.iter().map(reply).collect()
        }
        ("interactive", "list") => {
            let sections = list(&object["action"]["sections"]);
            let rows = sections.iter().flat_map(|section| list(&section["rows"]));
            rows.map(|row| {
                let description = row["description"].as_str();
                content::list_reply(&text(&row["id"]), &text(&row["title"]), description)
            })
            .collect()
        }
        ("interactive", "flow") => {
            let token = &object["action"]["parameters"]["flow_token"];
            let response = serde_json::json!({"flow_token": token, "answer": "yes"});
            vec![content::flow_reply(&response.to_string())]
        }
        ("interactive", "location_request_message") => {
            vec![content::location(52.5, 13.25, None)]
        }
        ("interactive", "request_contact_info") => {
            let phone = me.phone.as_deref().unwrap_or("15550199993");
            vec![content::contact(&me.name, phone, Some("contact_request"))]
        }
        _ => page::choices(object),
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}

/// FNV-1a: the same in every run, unlike the standard library's.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
