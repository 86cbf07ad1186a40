//! What a message is, beside who wrote it and when: its `type` and the object of that name.

use serde_json::{Value, json};

/// A medium that a webhook names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium<'a> {
    /// `image`, `video`, `audio`, `document` or `sticker`.
    pub kind: &'a str,
    /// By which its lookup is asked.
    pub id: &'a str,
    pub mime_type: &'a str,
    /// In base64, as webhooks have it.
    pub sha256: &'a str,
    pub caption: Option<&'a str>,
    /// Of a document.
    pub filename: Option<&'a str>,
}

/// A text.
pub fn text(body: &str) -> Value {
    json!({"type": "text", "text": {"body": body}})
}

/// A picture, a recording, a file. Audio is a voice note.
pub fn medium(medium: &Medium<'_>) -> Value {
    let kind = medium.kind;
    let mut object =
        json!({"id": medium.id, "mime_type": medium.mime_type, "sha256": medium.sha256});
    if let Some(caption) = medium.caption {
        object["caption"] = json!(caption);
    }
    match kind {
        "audio" => object["voice"] = json!(true),
        "sticker" => object["animated"] = json!(false),
        "document" => object["filename"] = json!(medium.filename.unwrap_or("file.pdf")),
        _ => {}
    }
    json!({"type": kind, kind: object})
}

/// A place.
pub fn location(latitude: f64, longitude: f64, name: Option<&str>) -> Value {
    let mut place = json!({"latitude": latitude, "longitude": longitude});
    if let Some(name) = name {
        place["name"] = json!(name);
        place["address"] = json!(format!("{name}, 1 Market Square"));
    }
    json!({"type": "location", "location": place})
}

/// A card of the address book. `origin` says that it was asked for: `contact_request`.
pub fn contact(name: &str, phone: &str, origin: Option<&str>) -> Value {
    let phone = json!({"phone": format!("+{phone}"), "wa_id": phone, "type": "CELL"});
    let mut card = json!({
        "name": {"formatted_name": name, "first_name": name},
        "phones": [phone],
    });
    if let Some(origin) = origin {
        card["origin"] = json!(origin);
    }
    json!({"type": "contacts", "contacts": [card]})
}

/// A pressed reply button.
pub fn button_reply(id: &str, title: &str) -> Value {
    let reply = json!({"type": "button_reply", "button_reply": {"id": id, "title": title}});
    json!({"type": "interactive", "interactive": reply})
}

/// A chosen row of a list.
pub fn list_reply(id: &str, title: &str, description: Option<&str>) -> Value {
    let mut row = json!({"id": id, "title": title});
    if let Some(description) = description {
        row["description"] = json!(description);
    }
    json!({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": row}})
}

/// A form that was filled in; `response` is a text that should be JSON.
pub fn flow_reply(response: &str) -> Value {
    let reply = json!({"name": "flow", "body": "Sent", "response_json": response});
    json!({"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}})
}

/// A pressed quick reply of a template.
pub fn button(payload: &str, text: &str) -> Value {
    json!({"type": "button", "button": {"payload": payload, "text": text}})
}

/// A reaction to a message; without an emoji it is taken back.
pub fn reaction(message_id: &str, emoji: &str) -> Value {
    json!({"type": "reaction", "reaction": {"message_id": message_id, "emoji": emoji}})
}

/// What a message says now.
pub fn edit(original: &str, content: &Value) -> Value {
    let mut message = content.clone();
    message["context"] = json!({"id": "M0"});
    json!({"type": "edit", "edit": {"original_message_id": original, "message": message}})
}

/// A message that was deleted for everybody.
pub fn revoke(original: &str) -> Value {
    json!({"type": "revoke", "revoke": {"original_message_id": original}})
}

/// An order of the catalogue: retailer ids, each with how many and for how much.
pub fn order(items: &[(&str, u32, f64)], text: &str) -> Value {
    let items: Vec<_> = items
        .iter()
        .map(|(id, quantity, price)| {
            json!({
                "product_retailer_id": id,
                "quantity": quantity,
                "item_price": price,
                "currency": "EUR",
            })
        })
        .collect();
    let order = json!({"catalog_id": "300100200", "text": text, "product_items": items});
    json!({"type": "order", "order": order})
}

/// What Meta does not pass on.
pub fn unsupported(what: &str) -> Value {
    let words = "This type of message cannot be shown.";
    json!({
        "type": "unsupported",
        "unsupported": {"type": what},
        "errors": [{
            "code": 131_051,
            "title": words,
            "message": words,
            "error_data": {"details": words},
        }],
    })
}
