//! A message in the words of the terminal.

use engine::message::{Attachment, Direction, Message, MessageKind, Reaction, SenderKind};

/// What a person reads of a message.
pub(super) fn words(message: &Message) -> String {
    let shown = message.attachments.iter().map(shown);
    let said = message.text.as_deref().map(|text| match (message.kind, message.direction) {
        (MessageKind::Button | MessageKind::Interactive, Direction::Inbound) => {
            format!("[chose] {text}")
        }
        _ => text.to_owned(),
    });
    let all: Vec<_> = shown.chain(said).collect();
    match all.is_empty() {
        true => format!("[{}]", name(message.kind)),
        false => all.join(" "),
    }
}

/// A reaction: the customer's alone is an emoji, others' have a name.
pub(super) fn reaction(reaction: &Reaction) -> String {
    match (reaction.sender.kind, &reaction.sender.name) {
        (SenderKind::Agent, Some(name)) => format!("{name}: {}", reaction.emoji),
        _ => reaction.emoji.clone(),
    }
}

/// What stands for a file, a place or a card.
fn shown(attachment: &Attachment) -> String {
    let Attachment { kind, name, filename, voice, latitude, longitude, .. } = attachment;
    let what = match kind.as_str() {
        "image" => "photo",
        "audio" if *voice => "voice message",
        "contact" => "contact card",
        "location" => "place",
        kind => kind,
    };
    let of = match (name.as_ref().or(filename.as_ref()), latitude, longitude) {
        (Some(name), ..) => Some(name.clone()),
        (None, Some(latitude), Some(longitude)) => Some(format!("{latitude:.3}, {longitude:.3}")),
        _ => None,
    };
    match of {
        Some(of) => format!("[{what}: {of}]"),
        None => format!("[{what}]"),
    }
}

/// A kind as JSON names it.
fn name(kind: MessageKind) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}
