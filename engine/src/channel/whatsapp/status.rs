//! What becomes of our messages.

use serde::Deserialize;
use serde_json::Value;

use super::message::time;
use super::outcome::error_of;
use super::people;
use crate::channel::{Inbound, Opaque, Receipt};
use crate::message::MessageStatus;
use crate::time::Timestamp;

#[derive(Deserialize)]
pub(super) struct Status {
    id: Option<String>,
    status: Option<String>,
    timestamp: Option<Value>,
    recipient_id: Option<String>,
    recipient_user_id: Option<String>,
    recipient_parent_user_id: Option<String>,
    parent_recipient_user_id: Option<String>,
    recipient_type: Option<String>,
    recipient_participant_id: Option<Value>,
    recipient_participant_user_id: Option<Value>,
    biz_opaque_callback_data: Option<String>,
    #[serde(default)]
    errors: Vec<Value>,
}

/// A message got further, or failed.
pub(super) fn receipt(status: Status, now: Timestamp) -> Result<Inbound, &'static str> {
    let to = match status.status.as_deref() {
        Some("sent") => MessageStatus::Sent,
        Some("delivered") => MessageStatus::Delivered,
        Some("read") => MessageStatus::Read,
        Some("played") => MessageStatus::Played,
        Some("failed") => MessageStatus::Failed,
        Some(_) => return Ok(Inbound::Ignored("status")),
        None => return Err("the status has no `status`"),
    };
    let of_one = [&status.recipient_participant_id, &status.recipient_participant_user_id];
    if of_one.into_iter().flatten().any(|participant| !participant.is_null()) {
        // What became of it at one of a group says nothing of the message.
        return Ok(Inbound::Ignored("participant"));
    }
    let provider_id = status.id.filter(|id| !id.is_empty()).ok_or("the status has no id")?;
    let parent = status.recipient_parent_user_id.or(status.parent_recipient_user_id);
    let recipient = match (status.recipient_type.as_deref(), status.recipient_id.as_deref()) {
        (Some("group"), Some(group)) => people::group(group),
        (_, phone) => {
            people::handles(status.recipient_user_id.as_deref(), parent.as_deref(), phone)
        }
    };
    Ok(Inbound::Receipt(Receipt {
        provider_id,
        opaque: status.biz_opaque_callback_data.as_deref().and_then(Opaque::decode),
        status: to,
        at: time(status.timestamp.as_ref(), now),
        recipient,
        error: status.errors.first().map(error_of).filter(|_| to == MessageStatus::Failed),
    }))
}
