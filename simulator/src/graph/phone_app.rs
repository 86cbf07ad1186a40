//! The phone app on a number that is also used here: what it hands over, and what is written there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::Desk;
use super::routes::{Answered, Call, Reply};
use crate::bodies::{self, Account, ContactChange, History, PastMessage, PhoneAppMessage, content};
use crate::error::{self, GraphError};
use crate::media::{MediaKind, Medium};

/// Messages of the phone app that can still be edited.
const ECHOES: usize = 1_000;
/// Messages of the past in one webhook.
const CHUNK: usize = 2_000;
/// The phases of the past: how far back each reaches, in seconds.
const PHASES: [(i64, i64); 3] = [(0, 86_400), (86_400, 90 * 86_400), (90 * 86_400, 180 * 86_400)];
/// What may be asked for, once each.
const SYNCS: [&str; 2] = ["smb_app_state_sync", "history"];
/// How long after a number was connected that may be.
const SYNC_TIME: Duration = Duration::from_hours(24);

/// How much the phone app has to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Past {
    pub conversations: u32,
    /// Of each conversation.
    pub messages: u32,
    /// Whether the owner lets it be handed over.
    pub shared: bool,
}

impl Default for Past {
    fn default() -> Self {
        Self { conversations: 3, messages: 4, shared: true }
    }
}

/// What somebody at the business does in the phone app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum PhoneAppAct {
    Text {
        text: String,
    },
    Media {
        kind: MediaKind,
    },
    /// Says something else in the newest message to this customer.
    Edit {
        text: String,
    },
    /// Deletes the newest message to this customer.
    Delete,
}

/// A message that was written in the phone app.
#[derive(Clone, Debug)]
pub(super) struct Echo {
    id: String,
    to: String,
    content: Value,
}

/// Does it to this customer, and ends when its webhook was delivered; answers the id of the
/// message made.
pub(super) async fn act(
    desk: &Arc<Desk>,
    number: &str,
    to: &str,
    act: &PhoneAppAct,
) -> Result<String, String> {
    let account = desk.account(number).ok_or("there is no such phone number id")?;
    let (id, content) = {
        let mut state = desk.state();
        let trace = state.book.trace();
        let echoes = &mut state.numbers.of(number).echoes;
        let id = format!("wamid.PHONE{trace}");
        let content = done_in_app(echoes, &id, to, act)?;
        (id, content)
    };
    let message = PhoneAppMessage { id: &id, to, at: desk.clock.now(), content };
    desk.deliver(&account, bodies::echo(&account, &message)).await;
    Ok(id)
}

fn done_in_app(
    echoes: &mut VecDeque<Echo>,
    id: &str,
    to: &str,
    act: &PhoneAppAct,
) -> Result<Value, String> {
    let newest = echoes.iter().rposition(|echo| echo.to == to);
    let at = || newest.ok_or("nothing was written to them in the phone app");
    let content = match act {
        PhoneAppAct::Text { text } => content::text(text),
        PhoneAppAct::Media { kind } => {
            let medium = Medium::simulated(*kind, echoes.len() as u64 + 1);
            content::medium(&content::Medium {
                kind: kind.name(),
                id: &medium.id,
                mime_type: &medium.mime_type,
                sha256: &medium.sha256_base64(),
                caption: None,
                filename: Some("offer.pdf"),
            })
        }
        PhoneAppAct::Edit { text } => {
            let echo = &mut echoes[at()?];
            let kind = echo.content["type"].as_str().unwrap_or_default().to_owned();
            let key = if kind == "text" { "body" } else { "caption" };
            echo.content[&kind][key] = json!(text);
            return Ok(content::edit(&echo.id, &echo.content));
        }
        PhoneAppAct::Delete => {
            let echo = echoes.remove(at()?).ok_or("it is gone")?;
            return Ok(content::revoke(&echo.id));
        }
    };
    if echoes.len() >= ECHOES {
        echoes.pop_front();
    }
    echoes.push_back(Echo { id: id.to_owned(), to: to.to_owned(), content: content.clone() });
    Ok(content)
}

/// Asks the phone app for its address book or its history, each once within a day.
pub(super) fn sync(desk: &Arc<Desk>, call: &Call) -> Answered {
    let account = desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let kind = call.needed("sync_type")?;
    let kind = SYNCS.into_iter().find(|known| *known == kind);
    let kind =
        kind.ok_or_else(|| GraphError::invalid(format!("sync_type is one of {SYNCS:?}.")))?;
    let (past, request) = {
        let mut state = desk.state();
        if desk.clock.passed() > SYNC_TIME {
            return Err(refused(2_593_108, "The 24 hours after connecting are over."));
        }
        if !state.numbers.of(&call.id).synced.insert(kind.to_owned()) {
            return Err(refused(2_593_107, "This was asked for already."));
        }
        (state.numbers.of(&call.id).past, state.book.trace())
    };
    let on = Arc::clone(desk);
    desk.spawn(async move {
        match kind {
            "history" => import(&on, &account, past).await,
            _ => hand_over_contacts(&on, &account, past).await,
        }
    });
    Ok(Reply::Json(json!({"messaging_product": "whatsapp", "request_id": request})))
}

fn refused(code: u32, words: &'static str) -> GraphError {
    GraphError {
        code,
        message: format!("(#{code}) {words}").into(),
        ..error::INVALID.because(words)
    }
}

/// Hands the past over in its phases, newest first; ends when all of it was delivered.
pub(super) async fn import(desk: &Arc<Desk>, account: &Account, past: Past) {
    if !past.shared {
        desk.deliver(account, bodies::history_declined(account)).await;
        return;
    }
    let threads: Vec<_> = (0..past.conversations).map(|n| thread(desk, account, n, past)).collect();
    for (phase, (from, to)) in (0_u8..).zip(PHASES) {
        let now = desk.clock.now();
        let is_in = |message: &&PastMessage| (from..to).contains(&(now - message.at));
        let of = threads.iter().map(|(customer, messages)| {
            let messages: Vec<_> = messages.iter().filter(is_in).cloned().collect();
            (customer.clone(), messages)
        });
        let of = of.filter(|(_, messages)| !messages.is_empty());
        let chunks = chunks(of.collect());
        let count = u8::try_from(chunks.len()).unwrap_or(u8::MAX).max(1);
        for (n, threads) in (1_u8..).zip(chunks) {
            let share = u16::from(n.min(count)) * 33 / u16::from(count);
            let is_last = phase == 2 && n >= count;
            let progress = if is_last { 100 } else { u16::from(phase) * 33 + share };
            let part = History {
                phase,
                chunk_order: n.into(),
                progress: u8::try_from(progress).unwrap_or(100),
                threads,
            };
            desk.deliver(account, bodies::history(account, &part)).await;
        }
    }
}

/// The `n`th conversation of the past: customer and business in turn, some hours apart.
fn thread(desk: &Desk, account: &Account, n: u32, past: Past) -> (String, Vec<PastMessage>) {
    let customer = phone(n);
    let number = &account.phone_number_id;
    let messages = (0..past.messages).map(|k| {
        let ours = k % 2 == 1;
        // Spread over all phases, however many there are.
        let age = 3_600 + i64::from(k) * (170 * 86_400) / i64::from(past.messages.max(1));
        let text = match ours {
            true => format!("Of course, it is ready (answer {k})"),
            false => format!("Do you still have it? (question {k})"),
        };
        let content = match k % 7 {
            6 => json!({"type": "media_placeholder"}),
            _ => content::text(&text),
        };
        let id = format!("wamid.PAST{number}{n:06X}{k:06X}");
        PastMessage { id, ours, at: desk.clock.now() - age, content }
    });
    (customer, messages.collect())
}

/// Numbers of the past's customers end in a 3, which no scripted failure ends in.
fn phone(n: u32) -> String {
    format!("1556{:06}3", n % 1_000_000)
}

type Threads = Vec<(String, Vec<PastMessage>)>;

/// The same in parts of so many messages.
fn chunks(threads: Threads) -> Vec<Threads> {
    let mut parts: Vec<Threads> = Vec::new();
    let mut room = 0;
    for (customer, messages) in threads {
        for messages in messages.chunks(CHUNK) {
            if room < messages.len() {
                parts.push(Vec::new());
                room = CHUNK;
            }
            room -= messages.len();
            if let Some(part) = parts.last_mut() {
                part.push((customer.clone(), messages.to_vec()));
            }
        }
    }
    parts
}

async fn hand_over_contacts(desk: &Arc<Desk>, account: &Account, past: Past) {
    let people: Vec<_> =
        (0..past.conversations).map(|n| (phone(n), format!("Friend {n}"))).collect();
    for people in people.chunks(CHUNK) {
        let add = ContactChange::Add;
        let webhook = bodies::contact_book(account, desk.clock.now(), add, people);
        desk.deliver(account, webhook).await;
    }
}
