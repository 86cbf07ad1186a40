//! Our messages as requests (Cloud API reference, "Messages").

use serde_json::json;

use crate::channel::{Call, Handle, Method, Outbound};
use crate::contact::IdentityKind;

/// A text to a customer.
pub fn text(outbound: &Outbound, phone_number_id: &str, token: &str) -> Call {
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "type": "text",
        "text": {"body": outbound.text.as_deref().unwrap_or_default(), "preview_url": true},
        "biz_opaque_callback_data": outbound.opaque.encode(),
    });
    if let Some((key, value)) = address(&outbound.to) {
        body[key] = value.into();
    }
    if let Some(quoted) = &outbound.reply_to {
        body["context"] = json!({"message_id": quoted});
    }
    post(phone_number_id, token, body)
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

/// Asks what the provider knows of a number: whether the connection works.
pub fn account(phone_number_id: &str, token: &str) -> Call {
    Call {
        method: Method::Get,
        path: format!("{phone_number_id}?fields=id,display_phone_number,verified_name"),
        bearer: token.to_owned(),
        body: None,
    }
}

/// A phone number wins over a business-scoped id where both are known, as it does at the provider.
fn address(to: &[Handle]) -> Option<(&'static str, &str)> {
    let of =
        |kind| to.iter().find(|handle| handle.kind == kind).map(|handle| handle.value.as_str());
    of(IdentityKind::Phone)
        .map(|phone| ("to", phone))
        .or(of(IdentityKind::Bsuid).map(|id| ("recipient", id)))
}

fn post(phone_number_id: &str, token: &str, body: serde_json::Value) -> Call {
    Call {
        method: Method::Post,
        path: format!("{phone_number_id}/messages"),
        bearer: token.to_owned(),
        body: Some(body),
    }
}
