//! What customers write, what the business writes in its phone app, and what both do to messages.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::content::{self, kind_of};
use super::identity;
use super::outcome::error_of;
use super::people::{self, Contacts};
use crate::channel::reading::{EMOJI_BYTES_MAX, fingerprint, plausible, text};
use crate::channel::{
    Amend, Amender, Amendment, Author, Echo, Handle, Inbound, InboundMessage, Opaque,
};
use crate::message::Content;
use crate::time::Timestamp;

/// What the items of a change share.
pub(super) struct Around<'a> {
    pub contacts: &'a Contacts,
    /// The id of the number that the change is for.
    pub number: &'a str,
    /// The number itself, as digits.
    pub own_phone: &'a str,
    /// Which of the provider's times are plausible depends on it.
    pub now: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct Message {
    pub id: Option<String>,
    pub from: Option<String>,
    pub from_user_id: Option<String>,
    pub from_parent_user_id: Option<String>,
    pub to: Option<String>,
    pub to_user_id: Option<String>,
    pub to_parent_user_id: Option<String>,
    pub group_id: Option<String>,
    pub timestamp: Option<Value>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    text: Option<Text>,
    pub context: Option<Context>,
    referral: Option<Value>,
    #[serde(default)]
    errors: Option<Vec<Value>>,
    biz_opaque_callback_data: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    body: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Context {
    id: Option<String>,
    #[serde(default)]
    forwarded: bool,
    #[serde(default)]
    frequently_forwarded: bool,
}

/// What a message is, by its type.
pub(super) enum Said {
    Content(Content),
    Amendment {
        target: String,
        what: Amend,
    },
    /// Nothing that makes a message.
    Nothing(&'static str),
}

/// A customer wrote, or did something to a message.
pub(super) fn inbound(
    mut message: Message,
    raw: &RawValue,
    around: &Around<'_>,
) -> Result<Inbound, &'static str> {
    if message.kind.as_deref() == Some("system") {
        return identity::system(raw, around.contacts, around.now);
    }
    let raw = raw.get();
    let said = said(&mut message, raw)?;
    let author = people::handles(
        message.from_user_id.as_deref(),
        message.from_parent_user_id.as_deref(),
        message.from.as_deref(),
    );
    let (mut from, mut name) = around.contacts.known(author);
    let mut author = None;
    if let Some(group) = message.group_id.as_deref().filter(|group| !group.is_empty()) {
        let handles = std::mem::replace(&mut from, people::group(group));
        let name = name.take();
        author = (!handles.is_empty()).then_some(Author { handles, name, contact: None });
    }
    let is_nothing = matches!(said, Said::Nothing(_));
    if from.is_empty() && !is_nothing {
        return Err("the message has no sender");
    }
    let provider_id = message.id.filter(|id| !id.is_empty());
    let sent_at = time(message.timestamp.as_ref(), around.now);
    let content = match said {
        Said::Nothing(what) => return Ok(Inbound::Ignored(what)),
        Said::Amendment { target, what } => {
            let by = author.map_or(Amender::Customer, Amender::Author);
            let (customer, at) = (from, sent_at);
            let amendment = Amendment { customer, by, target, provider_id, at, what };
            return Ok(Inbound::Amendment(amendment));
        }
        Said::Content(content) => content,
    };
    let (reply_to, forwarded) = context(message.context);
    Ok(Inbound::Message(Box::new(InboundMessage {
        from,
        name,
        author,
        dedup: provider_id.is_none().then(|| fingerprint(around.number, raw)),
        provider_id,
        sent_at,
        content,
        reply_to,
        story: None,
        forwarded,
        referral: message.referral.as_ref().and_then(content::referral),
        error: message.errors.unwrap_or_default().first().map(error_of),
        ..InboundMessage::default()
    })))
}

/// Something went out from the business's own phone app.
pub(super) fn echo(
    mut message: Message,
    raw: &str,
    around: &Around<'_>,
) -> Result<Inbound, &'static str> {
    let said = said(&mut message, raw)?;
    let to = customer_of_echo(&message, around);
    if to.is_empty() {
        return Err("the echo has no recipient");
    }
    let provider_id = message.id.filter(|id| !id.is_empty());
    let sent_at = time(message.timestamp.as_ref(), around.now);
    let content = match said {
        Said::Nothing(what) => return Ok(Inbound::Ignored(what)),
        Said::Amendment { target, what } => {
            let (customer, by, at) = (to, Amender::Business, sent_at);
            let amendment = Amendment { customer, by, target, provider_id, at, what };
            return Ok(Inbound::Amendment(amendment));
        }
        Said::Content(content) => content,
    };
    let (reply_to, forwarded) = context(message.context);
    Ok(Inbound::Echo(Echo {
        to,
        provider_id: provider_id.ok_or("the echo has no id")?,
        opaque: message.biz_opaque_callback_data.as_deref().and_then(Opaque::decode),
        sent_at,
        content,
        reply_to,
        forwarded,
    }))
}

/// Whom the business wrote to: of the two who are named, the one that it is not.
fn customer_of_echo(message: &Message, around: &Around<'_>) -> Vec<Handle> {
    if let Some(group) = message.group_id.as_deref().filter(|group| !group.is_empty()) {
        return people::group(group);
    }
    let to = people::handles(
        message.to_user_id.as_deref(),
        message.to_parent_user_id.as_deref(),
        message.to.as_deref(),
    );
    let to_itself = message.to.as_deref().is_some_and(|to| people::digits(to) == around.own_phone);
    if to_itself && message.to_user_id.is_none() {
        return people::handles(
            message.from_user_id.as_deref(),
            message.from_parent_user_id.as_deref(),
            message.from.as_deref().filter(|from| people::digits(from) != around.own_phone),
        );
    }
    to
}

/// What a message is.
pub(super) fn said(message: &mut Message, raw: &str) -> Result<Said, &'static str> {
    // Most are texts, and need not be looked at once more.
    if matches!(message.kind.as_deref(), Some("text") | None)
        && let Some(body) = message.text.take().and_then(|text| text.body)
    {
        return Ok(Said::Content(Content::text(body)));
    }
    let whole: Value = serde_json::from_str(raw).unwrap_or_default();
    let kind = message.kind.as_deref().or_else(|| kind_of(&whole)).unwrap_or_default();
    Ok(match kind {
        "request_welcome" => Said::Nothing("welcome"),
        "system" => Said::Nothing("system"),
        "reaction" => {
            let target = id(whole.pointer("/reaction/message_id")).ok_or("it is on no message")?;
            let emoji = whole.pointer("/reaction/emoji").and_then(Value::as_str);
            let emoji = emoji.map(str::trim).filter(|emoji| !emoji.is_empty());
            if emoji.is_some_and(|emoji| emoji.len() > EMOJI_BYTES_MAX) {
                return Err("the reaction is longer than any emoji");
            }
            Said::Amendment { target, what: Amend::Reaction(emoji.map(str::to_owned)) }
        }
        "edit" => {
            let target = id(whole.pointer("/edit/original_message_id"));
            let target = target.ok_or("the edit is of no message")?;
            let what = Amend::Edit(edited(&whole).ok_or("nobody can tell what the edit says")?);
            Said::Amendment { target, what }
        }
        "revoke" => {
            let target = id(whole.pointer("/revoke/original_message_id"));
            Said::Amendment {
                target: target.ok_or("it deletes no message")?,
                what: Amend::Deletion,
            }
        }
        kind => match content::of(kind, &whole, raw) {
            Some(content) => Said::Content(content),
            None => Said::Nothing("preference"),
        },
    })
}

/// What a message says after an edit.
fn edited(whole: &Value) -> Option<Content> {
    let message = whole.pointer("/edit/message")?;
    let kind = message.get("type").and_then(Value::as_str).or_else(|| kind_of(message))?;
    let said = content::of(kind, message, &message.to_string())?;
    said.raw.is_none().then_some(said)
}

fn id(value: Option<&Value>) -> Option<String> {
    value.and_then(text)
}

pub(super) fn context(context: Option<Context>) -> (Option<String>, bool) {
    let forwarded = context.as_ref().is_some_and(|c| c.forwarded || c.frequently_forwarded);
    (context.and_then(|context| context.id).filter(|id| !id.is_empty()), forwarded)
}

/// Seconds, as text or number.
pub(super) fn time(value: Option<&Value>, now: Timestamp) -> Option<Timestamp> {
    plausible(text(value?)?.parse().ok()?, now)
}
