//! A server, and all that was asked of it with what it answered, told without what is random by
//! nature: of the same things done in two worlds the same is told.

use std::collections::HashMap;
use std::sync::Arc;

use engine::time::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::caller::{Answer, Caller};
use crate::harness::Server;

/// Fields that are another thing each time, whatever is done.
const RANDOM: [&str; 4] = ["token", "key", "request_id", "last_used_at"];
/// Headers that say something of the way, or of what is told without it.
const OF_THE_WAY: [&str; 3] = ["content-length", "date", "x-request-id"];
/// The longest that a world lasts.
const LASTS_MS: i64 = 30 * 60 * 1000;

/// Something that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) asked: String,
    pub(crate) answered: String,
}

/// One server, and what was asked of it.
pub(crate) struct World {
    pub(crate) server: Arc<Server>,
    /// In seconds since 1970. The same in all worlds that are compared.
    pub(crate) began: i64,
    pub(crate) told: Vec<Exchange>,
    /// By their random ids, how many things were met before.
    ids: HashMap<Uuid, usize>,
    /// What has another name in each world, and how it is told.
    names: Vec<(String, &'static str)>,
}

impl World {
    pub(crate) fn new(server: Arc<Server>, began: i64) -> Self {
        let names = vec![(server.url(), "SERVER"), (server.graph.url(), "GRAPH")];
        Self { server, began, told: Vec::new(), ids: HashMap::new(), names }
    }

    /// This is told by that name.
    pub(crate) fn calls(&mut self, what: String, name: &'static str) {
        // Before what is a part of it.
        self.names.insert(0, (what, name));
    }

    /// Stops the server in order, and starts another over what it has stored.
    pub(crate) async fn restart(&mut self) {
        assert!(self.server.restart().await, "it stops in order");
        self.calls(self.server.url(), "SERVER");
    }

    pub(crate) async fn gets(&mut self, who: &Caller, path: &str) -> Value {
        self.asks(who, Method::GET, path, None).await.body
    }

    pub(crate) async fn posts(&mut self, who: &Caller, path: &str, body: Value) -> Value {
        self.asks(who, Method::POST, path, Some(&body)).await.body
    }

    pub(crate) async fn patches(&mut self, who: &Caller, path: &str, body: Value) -> Value {
        self.asks(who, Method::PATCH, path, Some(&body)).await.body
    }

    pub(crate) async fn asks(
        &mut self,
        who: &Caller,
        verb: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let request = who.request(verb, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.hears(&format!("{}", body.unwrap_or(&Value::Null)), request).await
    }

    /// Sends a request, and tells what is answered. `says` is what is in it, for people.
    pub(crate) async fn hears(&mut self, says: &str, request: RequestBuilder) -> Answer {
        let asked = request.try_clone().unwrap().build().unwrap();
        let asked = format!("{} {} {says}", asked.method(), asked.url());
        let answer = Answer::of(request).await;
        let (asked, answered) = (self.text(&asked), self.answer(&answer));
        self.told.push(Exchange { asked, answered });
        later().await;
        answer
    }

    fn answer(&mut self, answer: &Answer) -> String {
        let mut told = vec![answer.status.to_string()];
        let mut headers: Vec<_> = answer.headers.iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        headers.retain(|(name, _)| !OF_THE_WAY.contains(&name.as_str()));
        for (name, value) in headers {
            let value = match (name.as_str(), value.to_str().unwrap()) {
                // Its value is the token.
                ("set-cookie", cookie) => cookie.split_once(';').unwrap().1.to_owned(),
                (_, value) => self.text(value),
            };
            told.push(format!("{name}: {value}"));
        }
        told.push(match &answer.body {
            Value::Null if answer.text.len() < 100 => self.text(&answer.text),
            Value::Null => hex::encode(Sha256::digest(&answer.bytes)),
            body => {
                let mut body = body.clone();
                self.plain(&mut body);
                serde_json::to_string_pretty(&body).unwrap()
            }
        });
        told.join("\n")
    }

    fn plain(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if RANDOM.contains(&name.as_str()) => {
                            "RANDOM".clone_into(text);
                        }
                        field => self.plain(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.plain(item)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    /// Ids by their numbers, times of this world without theirs.
    fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (what, name) in &self.names {
            text = text.replace(what, name);
        }
        let (mut told, mut rest) = (String::new(), text.as_str());
        while let Some(next) = rest.chars().next() {
            let taken = if let Some((length, id)) = id(rest) {
                let new = self.ids.len();
                told.push_str(&format!("#{}", self.ids.entry(id).or_insert(new)));
                length
            } else if let Some((length, at)) = time(rest)
                && (0..LASTS_MS).contains(&(at.0 - self.began * 1000))
            {
                told.push_str("NOW");
                length
            } else {
                told.push(next);
                next.len_utf8()
            };
            rest = &rest[taken..];
        }
        told
    }
}

/// The id that a text begins with, with hyphens or without, and how long it is written.
fn id(text: &str) -> Option<(usize, Uuid)> {
    let id = |length: usize| Some((length, Uuid::try_parse(text.get(..length)?).ok()?));
    id(36).or_else(|| id(32))
}

/// The time that a text begins with, and how long it is written.
fn time(text: &str) -> Option<(usize, Timestamp)> {
    let is_of_time = |c: char| c.is_ascii_digit() || ['-', 'T', ':', '.'].contains(&c);
    let end = text.find(|c| !is_of_time(c))?;
    let whole = text.get(..end + 1).filter(|whole| whole.ends_with('Z'))?;
    Some((whole.len(), Timestamp::parse(whole)?))
}

/// Waits until the clock has gone on: no two things are of one moment, which only chance would order.
async fn later() {
    let clock = actors::clock::Clock::system();
    let before = clock.now();
    while clock.now() == before {
        tokio::task::yield_now().await;
    }
}
