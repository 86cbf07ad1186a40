//! Our messages as requests (Cloud API reference, "Messages").

use serde_json::{Value, json};
use url::form_urlencoded;

use crate::channel::{Api, Call, Handle, Method, Outbound, Outgoing};
use crate::contact::IdentityKind;
use crate::saying::{Saying, Source, Template};

/// A message or a reaction to a customer; `None` where none of its handles is one that WhatsApp knows,
/// or its file is not there yet.
pub fn message(outbound: &Outbound, phone_number_id: &str, token: &str) -> Option<Call> {
    let (recipient_type, key, value) = address(&outbound.to)?;
    let (kind, said) = match &outbound.what {
        Outgoing::Message { saying, .. } => said(saying)?,
        Outgoing::Reaction { message, emoji } => {
            let emoji = emoji.as_deref().unwrap_or_default();
            ("reaction", json!({"message_id": message, "emoji": emoji}))
        }
    };
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": recipient_type,
        "type": kind,
        "biz_opaque_callback_data": outbound.opaque.encode(),
    });
    body[key] = value.into();
    body[kind] = said;
    if let Outgoing::Message { reply_to: Some(quoted), .. } = &outbound.what {
        body["context"] = json!({"message_id": quoted});
    }
    Some(post(phone_number_id, token, body))
}

/// A saying's type, and what stands under it; `None` where its file is not with the provider.
fn said(saying: &Saying) -> Option<(&'static str, Value)> {
    Some(match saying {
        Saying::Text(text) => ("text", json!({"body": text, "preview_url": true})),
        Saying::Media(media) => {
            let mut said = match &media.from {
                Source::Link(url) => json!({"link": url}),
                Source::Provider(id) => json!({"id": id}),
                // It has to be taken to the provider first.
                Source::Stored(_) => return None,
            };
            for (key, text) in [("caption", &media.caption), ("filename", &media.filename)] {
                if let Some(text) = text {
                    said[key] = text.as_str().into();
                }
            }
            (media.kind.as_str(), said)
        }
        Saying::Location(location) => ("location", json!(location)),
        Saying::Contacts(cards) => ("contacts", json!(cards)),
        Saying::Interactive(interactive) => ("interactive", json!(interactive)),
        Saying::Template(Template { name, language, components }) => {
            let mut said = json!({"name": name, "language": {"code": language}});
            if !components.is_empty() {
                said["components"] = json!(components);
            }
            ("template", said)
        }
        Saying::Mail(_) => return None,
    })
}

/// Tells the customer that a message was read, and perhaps that somebody types an answer to it.
pub fn read_mark(provider_id: &str, types: bool, phone_number_id: &str, token: &str) -> Call {
    let mut body = json!({
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": provider_id,
    });
    if types {
        body["typing_indicator"] = json!({"type": "text"});
    }
    post(phone_number_id, token, body)
}

/// Has the webhooks of a business account delivered to the token's app.
pub fn subscribe(waba_id: &str, token: &str) -> Call {
    let path = format!("{waba_id}/subscribed_apps");
    Call { api: Api::Graph, method: Method::Post, path, bearer: token.to_owned(), body: None }
}

/// Registers a number, so that it may send; the pin is its own from then on.
pub fn register(phone_number_id: &str, pin: &str, token: &str) -> Call {
    Call {
        api: Api::Graph,
        method: Method::Post,
        path: format!("{phone_number_id}/register"),
        bearer: token.to_owned(),
        body: Some(json!({"messaging_product": "whatsapp", "pin": pin})),
    }
}

/// Asks what an access token is, of itself.
pub fn token(token: &str) -> Call {
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("input_token", token).finish();
    let path = format!("debug_token?{query}");
    Call { api: Api::Graph, method: Method::Get, path, bearer: token.to_owned(), body: None }
}

const NUMBER_FIELDS: &str =
    "id,display_phone_number,verified_name,quality_rating,throughput,is_on_biz_app";

/// Asks what the provider knows of a number: whether the connection works.
pub fn account(phone_number_id: &str, token: &str) -> Call {
    Call {
        api: Api::Graph,
        method: Method::Get,
        path: format!("{phone_number_id}?fields={NUMBER_FIELDS}"),
        bearer: token.to_owned(),
        body: None,
    }
}

/// Where a message goes: what kind of recipient it is, and which key holds it. A phone number wins
/// over a business-scoped id where both are known, as it does at the provider.
fn address(to: &[Handle]) -> Option<(&'static str, &'static str, &str)> {
    let of =
        |kind| to.iter().find(|handle| handle.kind == kind).map(|handle| handle.value.as_str());
    let group = || of(IdentityKind::Group).map(|group| ("group", "to", group));
    of(IdentityKind::Phone)
        .map(|phone| ("individual", "to", phone))
        .or_else(|| of(IdentityKind::Bsuid).map(|id| ("individual", "recipient", id)))
        .or_else(group)
}

fn post(phone_number_id: &str, token: &str, body: Value) -> Call {
    Call {
        api: Api::Graph,
        method: Method::Post,
        path: format!("{phone_number_id}/messages"),
        bearer: token.to_owned(),
        body: Some(body),
    }
}
