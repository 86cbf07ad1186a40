//! What was written before the account was connected, when the business shares it (Cloud API,
//! "Onboarding WhatsApp Business app users"): thousands of messages a webhook, in phases and chunks;
//! files come behind.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decode::NO_CHANGE;
use super::envelope::{Change, kept_as};
use super::message::{Message, Said, context, said, time};
use super::people;
use crate::channel::reading::{
    ID_BYTES_MAX, ITEM_BYTES_MAX, LONG_ID, dead, has_long_id, sent_text,
};
use crate::channel::{Amender, Amendment, Author, Handle, Import, Imported, Inbound};
use crate::contact::IdentityKind;
use crate::message::MessageStatus;
use crate::time::Timestamp;

/// A part of the history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub imports: Vec<Import>,
    /// What is done to messages, once they are there; and what could not be understood.
    pub behind: Vec<Inbound>,
}

/// So many threads and messages of a change are taken apart: of more none can be a message.
const READ_MAX: usize = 100_000;

/// So many messages are taken as one,
const IMPORT_MESSAGES_MAX: usize = 64;
/// unless they have more bytes.
const IMPORT_BYTES_MAX: usize = 32 * 1024;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow, default)]
    threads: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    phase: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Thread<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    user_id: Option<String>,
    wa_id: Option<String>,
    group_id: Option<String>,
    #[serde(borrow, default)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Past {
    #[serde(flatten)]
    message: Message,
    history_context: Option<HistoryContext>,
}

#[derive(Deserialize)]
struct HistoryContext {
    status: Option<String>,
}

/// The history in a change.
pub fn history(change: &Change<'_>, now: Timestamp) -> History {
    let mut history = History::default();
    if change.field != "history" {
        return history;
    }
    let Some(contents) = &change.contents else {
        history.behind.push(dead(NO_CHANGE, change.kept()));
        return history;
    };
    let mut reader =
        Reader { own_phone: &contents.own_phone(), now, left: READ_MAX, into: history };
    for raw in &contents.history {
        reader.take(raw);
    }
    for raw in &contents.messages {
        reader.take_file(raw);
    }
    reader.into
}

struct Reader<'a> {
    own_phone: &'a str,
    now: Timestamp,
    /// How much may still be taken apart.
    left: usize,
    into: History,
}

impl Reader<'_> {
    fn take(&mut self, raw: &RawValue) {
        let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(raw.get()) else {
            return self.lose("it is no part of a history", raw);
        };
        if !self.may_take(chunk.threads.len()) {
            return self.lose("there are more threads in it than in any history", raw);
        }
        let phase = chunk.metadata.as_ref().and_then(|metadata| sent_text(metadata.phase?));
        let phase = phase.and_then(|phase| phase.parse().ok()).unwrap_or(0);
        for raw in &chunk.threads {
            let thread = serde_json::from_str::<Thread<'_>>(raw.get());
            let Some((thread, customer)) = thread.ok().and_then(|thread| {
                let customer = somebody(thread.customer())?;
                Some((thread, customer))
            }) else {
                self.lose("nobody can tell whose history it is", raw);
                continue;
            };
            if self.may_take(thread.messages.len()) {
                self.take_thread(&thread, customer, phase);
            } else {
                self.lose("there are more messages in it than in any history", raw);
            }
        }
    }

    fn may_take(&mut self, more: usize) -> bool {
        let left = self.left.checked_sub(more);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn take_thread(&mut self, thread: &Thread<'_>, customer: Vec<Handle>, phase: u8) {
        let mut messages = Vec::new();
        for raw in &thread.messages {
            match past(raw, &customer, self.own_phone, self.now) {
                Ok(Read::Message(message)) => messages.push((*message, raw.get().len())),
                Ok(Read::Behind(item)) => self.into.behind.push(*item),
                Err(reason) => self.lose(reason, raw),
            }
        }
        messages.sort_by_key(|(message, _)| message.sent_at);
        let (mut part, mut bytes) = (Vec::new(), 0);
        for (message, size) in messages {
            if part.len() == IMPORT_MESSAGES_MAX || bytes + size > IMPORT_BYTES_MAX {
                self.add(&customer, phase, std::mem::take(&mut part));
                bytes = 0;
            }
            bytes += size;
            part.push(message);
        }
        self.add(&customer, phase, part);
    }

    fn add(&mut self, customer: &[Handle], phase: u8, messages: Vec<Imported>) {
        if !messages.is_empty() {
            let (customer, phase) = (customer.to_vec(), Some(phase));
            self.into.imports.push(Import { customer, phase, messages });
        }
    }

    /// A file whose message had come without it.
    fn take_file(&mut self, raw: &RawValue) {
        let names = serde_json::from_str::<Message>(raw.get()).ok();
        let customer = names.and_then(|names| somebody(correspondent(&names, self.own_phone)));
        let Some(customer) = customer else {
            return self.lose("nobody can tell whose file it is", raw);
        };
        match past(raw, &customer, self.own_phone, self.now) {
            Ok(Read::Message(message)) => {
                let messages = vec![*message];
                self.into.imports.push(Import { customer, phase: None, messages });
            }
            Ok(Read::Behind(item)) => self.into.behind.push(*item),
            Err(reason) => self.lose(reason, raw),
        }
    }

    fn lose(&mut self, reason: &str, raw: &RawValue) {
        self.into.behind.push(dead(reason, kept_as("history", raw.get())));
    }
}

/// Handles that can be those of a customer.
fn somebody(handles: Vec<Handle>) -> Option<Vec<Handle>> {
    let is_short = |handle: &Handle| handle.value.len() <= ID_BYTES_MAX;
    (!handles.is_empty() && handles.iter().all(is_short)).then_some(handles)
}

impl Thread<'_> {
    /// Whose it is: it is called by their number, or by their id.
    fn customer(&self) -> Vec<Handle> {
        if let Some(group) = self.group_id.as_deref().filter(|group| !group.is_empty()) {
            return people::group(group);
        }
        let id = self.id.and_then(sent_text).unwrap_or_default();
        let is_number = id.chars().all(|c| c.is_ascii_digit() || "+ -".contains(c));
        let (user, phone) = if is_number { (None, Some(&*id)) } else { (Some(&*id), None) };
        people::handles(self.user_id.as_deref().or(user), None, self.wa_id.as_deref().or(phone))
    }
}

enum Read {
    Message(Box<Imported>),
    Behind(Box<Inbound>),
}

fn past(
    raw: &RawValue,
    customer: &[Handle],
    own_phone: &str,
    now: Timestamp,
) -> Result<Read, &'static str> {
    if raw.get().len() > ITEM_BYTES_MAX {
        return Err("it is larger than anything that a provider sends");
    }
    let Past { mut message, history_context } =
        serde_json::from_str(raw.get()).map_err(|_| "the message is not what it should be")?;
    let said = said(&mut message, raw.get())?;
    let provider_id = message.id.as_ref().filter(|id| !id.is_empty()).cloned();
    let sent_at = time(message.timestamp.as_ref(), now);
    let from = people::handles(
        message.from_user_id.as_deref(),
        message.from_parent_user_id.as_deref(),
        message.from.as_deref(),
    );
    let is_group = customer.iter().any(|handle| handle.kind == IdentityKind::Group);
    let is_own = |handle: &Handle| handle.kind == IdentityKind::Phone && handle.value == own_phone;
    let is_theirs = is_group || from.iter().any(|handle| customer.contains(handle));
    let is_ours = from.iter().any(is_own) || !is_theirs;
    let is_author = is_group && !is_ours && !from.is_empty();
    let author = is_author.then_some(Author { handles: from, name: None, contact: None });
    let content = match said {
        Said::Content(content) => content,
        Said::Nothing(what) => return Ok(Read::Behind(Box::new(Inbound::Ignored(what)))),
        Said::Amendment { target, what } => {
            let by = match (is_ours, author) {
                (true, _) => Amender::Business,
                (false, Some(author)) => Amender::Author(author),
                (false, None) => Amender::Customer,
            };
            let (customer, at) = (customer.to_vec(), sent_at);
            let amendment = Amendment { customer, by, target, provider_id, at, what };
            let item = Inbound::Amendment(amendment);
            return if has_long_id(&item) {
                Err(LONG_ID)
            } else {
                Ok(Read::Behind(Box::new(item)))
            };
        }
    };
    let status = match history_context.and_then(|context| context.status).as_deref() {
        Some("DELIVERED") => MessageStatus::Delivered,
        Some("READ") => MessageStatus::Read,
        Some("PLAYED") => MessageStatus::Played,
        Some("ERROR") => MessageStatus::Failed,
        _ => MessageStatus::Sent,
    };
    let provider_id = provider_id.ok_or("the message has no id")?;
    let (reply_to, forwarded) = context(message.context);
    let of_author = author.iter().flat_map(|author| &author.handles).map(|handle| &handle.value);
    if of_author.chain([&provider_id]).chain(&reply_to).any(|id| id.len() > ID_BYTES_MAX) {
        return Err(LONG_ID);
    }
    Ok(Read::Message(Box::new(Imported {
        provider_id,
        sent_at,
        is_ours,
        author,
        status,
        content,
        reply_to,
        forwarded,
    })))
}

/// Of the two who are named, the one that the business is not.
fn correspondent(message: &Message, own_phone: &str) -> Vec<Handle> {
    if let Some(group) = message.group_id.as_deref().filter(|group| !group.is_empty()) {
        return people::group(group);
    }
    let is_other = |phone: &&str| people::digits(phone) != own_phone;
    let (from, to) = (message.from.as_deref(), message.to.as_deref());
    let from = people::handles(message.from_user_id.as_deref(), None, from.filter(is_other));
    if !from.is_empty() {
        return from;
    }
    people::handles(message.to_user_id.as_deref(), None, to.filter(is_other))
}
