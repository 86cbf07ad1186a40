//! One event to items.

use serde_json::Value;

use super::content;
use super::people::{Parties, parties};
use crate::channel::reading::{EMOJI_BYTES_MAX, fingerprint, instant, moment, text};
use crate::channel::{
    Amend, Amender, Amendment, Channel, Echo, Handle, IdentityChange, Inbound, InboundMessage,
    Opaque, Receipt, Watermark,
};
use crate::message::{Content, MessageKind, MessageStatus, Referral, Story};
use crate::time::Timestamp;

/// What the events of an entry share.
pub(super) struct Around<'a> {
    pub channel: Channel,
    /// The id of the account that they are for.
    pub account: &'a str,
    /// Which of the provider's times are plausible depends on it.
    pub now: Timestamp,
}

/// What an event is, when it makes no message: counted by its name.
const IGNORED: [(&str, &str); 12] = [
    ("referral", "referral"),
    ("optin", "optin"),
    ("account_linking", "account_linking"),
    ("policy-enforcement", "policy"),
    ("policy_enforcement", "policy"),
    ("app_roles", "handover"),
    ("request_thread_control", "handover"),
    ("customer_information", "customer_information"),
    ("group_feed", "feed"),
    ("game_play", "event"),
    ("payment", "event"),
    ("pre_checkout", "event"),
];

/// What an event says, in items.
pub(super) fn decode(
    event: &Value,
    raw: &str,
    around: &Around<'_>,
) -> Result<Vec<Inbound>, &'static str> {
    let part = |name: &str| event.get(name).filter(|part| part.is_object());
    let is_echo = event.pointer("/message/is_echo").is_some_and(is_true);
    let parties = parties(around.channel, around.account, event, is_echo);
    if parties.is_self {
        // Somebody at the business tries it out.
        return Ok(vec![Inbound::Ignored("self")]);
    }
    let of = Of { event, raw, around, parties };
    if let Some(message) = part("message") {
        return of.message(message).map(|item| vec![item]);
    }
    if let Some(edit) = part("message_edit") {
        let said =
            edit.get("text").and_then(Value::as_str).ok_or("nobody can tell what it says")?;
        return of.amendment(edit, Amend::Edit(Content::text(said))).map(|item| vec![item]);
    }
    if let Some(reaction) = part("reaction") {
        let what = Amend::Reaction(emoji(reaction)?);
        return of.amendment(reaction, what).map(|item| vec![item]);
    }
    if let Some(postback) = part("postback") {
        return of.postback(postback).map(|item| vec![item]);
    }
    if let Some(read) = part("read") {
        return of.got(read, MessageStatus::Read);
    }
    if let Some(delivery) = part("delivery") {
        return of.got(delivery, MessageStatus::Delivered);
    }
    // Each is told to the app that it happens to: who is passed the control has it, who it is taken
    // from has it no more.
    if part("pass_thread_control").is_some() {
        let text = "This customer is answered from here again".to_owned();
        return of.handover(text).map(|item| vec![item]);
    }
    if let Some(control) = part("take_thread_control") {
        let text = match control.get("new_owner_app_id").and_then(text) {
            Some(app) => format!("Another app answers this customer now: {app}"),
            None => "Another app answers this customer now".to_owned(),
        };
        return of.handover(text).map(|item| vec![item]);
    }
    let known = IGNORED.iter().find(|(name, _)| event.get(name).is_some());
    let (_, name) = known.ok_or("nothing here understands the event")?;
    Ok(vec![Inbound::Ignored(name)])
}

/// An event, and whom it is about.
struct Of<'a> {
    event: &'a Value,
    raw: &'a str,
    around: &'a Around<'a>,
    parties: Parties,
}

impl Of<'_> {
    fn customer(&self) -> Result<Vec<Handle>, &'static str> {
        let customer = self.parties.customer.clone();
        if !customer.is_empty() {
            return Ok(customer);
        }
        Err(match self.event.pointer("/sender/user_ref") {
            Some(_) => "the person is known by a `user_ref` alone so far",
            None => "it does not say whose it is",
        })
    }

    fn at(&self) -> Option<Timestamp> {
        moment(self.event.get("timestamp"), self.around.now)
    }

    fn message(&self, message: &Value) -> Result<Inbound, &'static str> {
        if message.get("is_self").is_some_and(is_true) {
            return Ok(Inbound::Ignored("self"));
        }
        if message.get("is_deleted").is_some_and(is_true) {
            return self.amendment(message, Amend::Deletion);
        }
        let customer = self.customer()?;
        let provider_id = message.get("mid").and_then(text);
        let content = content::of(message, self.raw);
        let reply_to = message.pointer("/reply_to/mid").and_then(text);
        if self.parties.by_business {
            return Ok(Inbound::Echo(Echo {
                to: customer,
                provider_id: provider_id.ok_or("the echo has no id")?,
                opaque: message.get("metadata").and_then(Value::as_str).and_then(Opaque::decode),
                sent_at: self.at(),
                content,
                reply_to,
                forwarded: false,
            }));
        }
        let referral = message.get("referral").and_then(referral);
        let story = message.pointer("/reply_to/story").and_then(story);
        Ok(self.received(customer, provider_id, content, |received| {
            (received.reply_to, received.story, received.referral) = (reply_to, story, referral);
        }))
    }

    /// The customer pressed a button: of a template, of the menu, or to begin with.
    fn postback(&self, postback: &Value) -> Result<Inbound, &'static str> {
        let of = |key: &str| postback.get(key).and_then(text);
        let content = Content {
            kind: MessageKind::Button,
            text: of("title"),
            payload: of("payload"),
            ..Content::default()
        };
        let referral = postback.get("referral").and_then(referral);
        let set = |received: &mut InboundMessage| received.referral = referral;
        Ok(self.received(self.customer()?, of("mid"), content, set))
    }

    fn received(
        &self,
        from: Vec<Handle>,
        provider_id: Option<String>,
        content: Content,
        set: impl FnOnce(&mut InboundMessage),
    ) -> Inbound {
        let dedup = provider_id.is_none().then(|| fingerprint(self.around.account, self.raw));
        let sent_at = self.at();
        let mut received = InboundMessage {
            from,
            provider_id,
            dedup,
            sent_at,
            content,
            ..InboundMessage::default()
        };
        set(&mut received);
        Inbound::Message(Box::new(received))
    }

    fn amendment(&self, of: &Value, what: Amend) -> Result<Inbound, &'static str> {
        Ok(Inbound::Amendment(Amendment {
            customer: self.customer()?,
            by: if self.parties.by_business { Amender::Business } else { Amender::Customer },
            target: of.get("mid").and_then(text).ok_or("it is on no message")?,
            provider_id: None,
            at: self.at(),
            what,
        }))
    }

    /// Messages of ours got so far: those that are named, and all up to a time.
    fn got(&self, of: &Value, status: MessageStatus) -> Result<Vec<Inbound>, &'static str> {
        let customer = self.customer()?;
        let listed = of.get("mids").and_then(Value::as_array);
        let ids = listed.into_iter().flatten().chain(of.get("mid")).filter_map(text);
        let at = self.at();
        let receipt = |provider_id| {
            let (opaque, error, recipient) = (None, None, customer.clone());
            Inbound::Receipt(Receipt { provider_id, opaque, status, at, recipient, error })
        };
        let mut items: Vec<_> = ids.map(receipt).collect();
        if let Some(up_to) = of.get("watermark").and_then(instant) {
            items.push(Inbound::Watermark(Watermark { customer, status, up_to }));
        }
        if items.is_empty() {
            return Err("it does not say which messages it is about");
        }
        Ok(items)
    }

    /// Somebody else answers the customer from now on: it is noted, once.
    fn handover(&self, text: String) -> Result<Inbound, &'static str> {
        Ok(Inbound::Identity(IdentityChange {
            of: self.customer()?,
            at: self.at(),
            text,
            marks: vec![format!("handover:{}", fingerprint(self.around.account, self.raw))],
            ..IdentityChange::default()
        }))
    }
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

/// The emoji of a reaction; `None`: what was there is taken back. Some come by name alone.
fn emoji(reaction: &Value) -> Result<Option<String>, &'static str> {
    if reaction.get("action").and_then(Value::as_str) == Some("unreact") {
        return Ok(None);
    }
    let of = |key: &str| reaction.get(key).and_then(Value::as_str).map(str::trim);
    let given = of("emoji").filter(|emoji| !emoji.is_empty());
    let named = || {
        Some(match of("reaction")? {
            "love" => "❤️",
            "like" => "👍",
            "dislike" => "👎",
            "smile" | "haha" => "😆",
            "wow" => "😮",
            "sad" => "😢",
            "angry" => "😠",
            _ => return None,
        })
    };
    let emoji = given.or_else(named).ok_or("nobody can tell which reaction it is")?;
    if emoji.len() > EMOJI_BYTES_MAX {
        return Err("the reaction is longer than any emoji");
    }
    Ok(Some(emoji.to_owned()))
}

/// The link or the advertisement by which the customer came.
fn referral(value: &Value) -> Option<Referral> {
    let of = |key: &str| value.get(key).and_then(text);
    let shown = |key: &str| value.get("ads_context_data")?.get(key).and_then(text);
    let referral = Referral {
        source_url: of("referer_uri"),
        source_id: of("ad_id"),
        source_type: of("source"),
        headline: shown("ad_title"),
        media_url: shown("photo_url").or_else(|| shown("video_url")),
        reference: of("ref"),
        ..Referral::default()
    };
    (referral != Referral::default()).then_some(referral)
}

fn story(value: &Value) -> Option<Story> {
    let url = value.get("url").and_then(text);
    Some(Story { id: value.get("id").and_then(text)?, url })
}
