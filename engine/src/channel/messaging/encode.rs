//! Our messages as requests (Messenger Platform, "Send API"; Instagram Platform, "Send messages").

use serde_json::{Value, json};

use super::media::sent_as;
use super::people::kind;
use crate::channel::{Api, Call, Channel, Handle, Method, Outbound, Outgoing};
use crate::saying::{Interactive, Media, Saying, Source};

/// The account that speaks.
#[derive(Clone, Copy)]
pub struct Speaker<'a> {
    pub channel: Channel,
    /// The page, or the professional account of Instagram.
    pub key: &'a str,
    pub token: &'a str,
}

/// What webhooks tell of a page.
const PAGE_FIELDS: &str = "messages,messaging_postbacks,messaging_optins,messaging_referrals,\
    messaging_handovers,message_deliveries,message_reads,message_echoes,message_reactions,\
    message_edits,standby";
/// What webhooks tell of an account of Instagram that was connected by Instagram Login.
const GRAM_FIELDS: &str = "messages,messaging_postbacks,messaging_optins,messaging_referral,\
    messaging_seen,messaging_handover,message_reactions,message_edit,standby,comments,mentions";

/// A message or a reaction to a customer; `None` where none of its handles is one of this channel, or
/// it cannot be said here.
pub fn message(from: Speaker<'_>, outbound: &Outbound) -> Option<Call> {
    let recipient = recipient(from.channel, &outbound.to)?;
    let mut body = match &outbound.what {
        Outgoing::Reaction { message, emoji } => react(message, emoji.as_deref()),
        Outgoing::Message { saying, reply_to } => {
            let mut said = said(saying)?;
            if from.channel == Channel::Messenger {
                said["metadata"] = outbound.opaque.encode().into();
            }
            let mut body = json!({"message": said});
            if let Some(quoted) = reply_to {
                body["reply_to"] = json!({"mid": quoted});
            }
            match outbound.is_late {
                // A person answers, though not within a day.
                true => {
                    body["messaging_type"] = "MESSAGE_TAG".into();
                    body["tag"] = "HUMAN_AGENT".into();
                }
                false => body["messaging_type"] = "RESPONSE".into(),
            }
            body
        }
    };
    body["recipient"] = recipient;
    Some(from.post(body))
}

/// Tells the customer that their messages were read, and perhaps that somebody types.
pub fn read_marks(from: Speaker<'_>, to: &[Handle], types: bool) -> Vec<Call> {
    let Some(recipient) = recipient(from.channel, to) else { return Vec::new() };
    let actions = ["mark_seen"].into_iter().chain(types.then_some("typing_on"));
    let call = |action| from.post(json!({"recipient": recipient, "sender_action": action}));
    actions.map(call).collect()
}

/// Asks what the provider knows of an account: whether the connection works.
pub fn account(from: Speaker<'_>) -> Call {
    let fields = match from.channel {
        Channel::Instagram => "id,username",
        _ => "id,name",
    };
    from.call(Method::Get, format!("{}?fields={fields}", from.key), None)
}

/// Has the account's webhooks delivered to the token's app (`Post`), or no more (`Delete`). An account
/// of Instagram that is a page's is subscribed by the page, which is what its token is of.
pub fn subscription(from: Speaker<'_>, method: Method) -> Call {
    let (of, fields) = match from.channel {
        Channel::Instagram if from.is_login() => (from.key, GRAM_FIELDS),
        Channel::Instagram => ("me", PAGE_FIELDS),
        _ => (from.key, PAGE_FIELDS),
    };
    let path = match method {
        Method::Post => format!("{of}/subscribed_apps?subscribed_fields={fields}"),
        Method::Get | Method::Delete => format!("{of}/subscribed_apps"),
    };
    from.call(method, path, None)
}

/// What is said, as a message.
fn said(saying: &Saying) -> Option<Value> {
    Some(match saying {
        Saying::Text(text) => json!({"text": text}),
        Saying::Media(media) => attachment(media)?,
        Saying::Interactive(interactive) => pressed(interactive)?,
        Saying::Location(_) | Saying::Contacts(_) | Saying::Template(_) => return None,
    })
}

fn attachment(media: &Media) -> Option<Value> {
    let payload = match &media.from {
        Source::Link(url) => json!({"url": url}),
        Source::Provider(id) => json!({"attachment_id": id}),
        // It is taken there first, or lent by a link.
        Source::Stored(_) => return None,
    };
    Some(json!({"attachment": {"type": sent_as(media.kind)?, "payload": payload}}))
}

fn pressed(interactive: &Interactive) -> Option<Value> {
    if interactive.kind == "template" {
        return Some(json!({"attachment": {"type": "template", "payload": interactive.action}}));
    }
    let buttons = interactive.action.get("buttons")?.as_array()?;
    let reply = |button: &Value| {
        let (title, payload) = (button.pointer("/reply/title")?, button.pointer("/reply/id")?);
        Some(json!({"content_type": "text", "title": title, "payload": payload}))
    };
    let replies: Vec<_> = buttons.iter().filter_map(reply).collect();
    Some(json!({"text": interactive.body.as_ref()?.text, "quick_replies": replies}))
}

fn react(message: &str, emoji: Option<&str>) -> Value {
    match emoji {
        Some(emoji) => {
            let payload = json!({"message_id": message, "reaction": name(emoji)});
            json!({"sender_action": "react", "payload": payload})
        }
        None => json!({"sender_action": "unreact", "payload": {"message_id": message}}),
    }
}

/// A heart goes by its name, which is the only one that every account takes.
fn name(emoji: &str) -> &str {
    match emoji {
        "❤" | "❤\u{fe0f}" => "love",
        emoji => emoji,
    }
}

fn recipient(channel: Channel, to: &[Handle]) -> Option<Value> {
    let to = to.iter().find(|handle| handle.kind == kind(channel))?;
    Some(json!({"id": to.value}))
}

impl Speaker<'_> {
    fn post(self, body: Value) -> Call {
        self.call(Method::Post, format!("{}/messages", self.key), Some(body))
    }

    /// Whether the token is one of Instagram Login, which counts nowhere else. They say so themselves.
    pub fn is_login(self) -> bool {
        self.channel == Channel::Instagram && self.token.starts_with("IG")
    }

    pub(super) fn call(self, method: Method, path: String, body: Option<Value>) -> Call {
        let api = if self.is_login() { Api::Instagram } else { Api::Graph };
        Call { api, method, path, bearer: self.token.to_owned(), body }
    }
}
