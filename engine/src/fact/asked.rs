//! What is asked of a fact: which message it is about, what it says of it, and how the live feed calls
//! it.

use super::{ConversationStatus, Fact};
use crate::id::{MediaId, MessageId};
use crate::message::{MessageStatus, Place};
use crate::time::Timestamp;

impl Fact {
    /// The message it is about, and where it lies.
    pub fn message(&self) -> Option<(MessageId, Place)> {
        match self {
            Self::Received { message, place, .. }
            | Self::Echoed { message, place, .. }
            | Self::Imported { message, place, .. }
            | Self::Filled { message, place, .. }
            | Self::Fetched { message, place, .. }
            | Self::Noted { message, place, .. }
            | Self::Queued { message, place }
            | Self::SendStarted { message, place, .. }
            | Self::SendDelayed { message, place, .. }
            | Self::SendUnknown { message, place }
            | Self::Progressed { message, place, .. }
            | Self::Reacted { message, place, .. }
            | Self::ReactionQueued { message, place, .. }
            | Self::ReactionEnded { message, place, .. }
            | Self::Edited { message, place, .. }
            | Self::Deleted { message, place, .. } => Some((*message, *place)),
            Self::Opened { .. }
            | Self::Taken { .. }
            | Self::Watermarked { .. }
            | Self::ReceiptParked { .. }
            | Self::AmendmentParked { .. }
            | Self::Assigned { .. }
            | Self::StatusChanged { .. }
            | Self::Reopened { .. }
            | Self::Expired { .. }
            | Self::TagsChanged { .. }
            | Self::ReadMarked { .. }
            | Self::ContactChanged { .. }
            | Self::Moved { .. }
            | Self::HandedOn
            | Self::Woken => None,
        }
    }

    /// Whether its message is new by it, or says something else.
    pub fn says(&self) -> bool {
        matches!(
            self,
            Self::Received { .. }
                | Self::Echoed { .. }
                | Self::Imported { .. }
                | Self::Filled { .. }
                | Self::Noted { .. }
                | Self::Queued { .. }
                | Self::Edited { .. }
                | Self::Deleted { .. }
        )
    }

    /// The provider's id that it brings, by which it or its message is known again, and where that
    /// message lies.
    pub fn reference(&self) -> Option<(&str, Place)> {
        let (id, place) = match self {
            Self::Received { provider_id, dedup, place, .. } => {
                (provider_id.as_ref().or(dedup.as_ref()), place)
            }
            Self::Echoed { provider_id, place, .. } | Self::Imported { provider_id, place, .. } => {
                (Some(provider_id), place)
            }
            Self::Noted { mark, place, .. } => (Some(mark), place),
            Self::Progressed { provider_id, place, .. }
            | Self::Reacted { provider_id, place, .. }
            | Self::ReactionEnded { provider_id, place, .. }
            | Self::Edited { provider_id, place, .. } => (provider_id.as_ref(), place),
            _ => return None,
        };
        Some((id?, *place))
    }

    /// When the provider says that what it brings happened.
    pub fn provider_time(&self) -> Option<Timestamp> {
        match self {
            Self::Received { sent_at, .. } => *sent_at,
            Self::Progressed { at, .. } => *at,
            Self::Reacted { at, .. } | Self::Edited { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Where the content lies that it brings.
    pub fn content(&self) -> Option<Place> {
        match self {
            Self::Edited { content, .. } | Self::Filled { content, .. } => Some(*content),
            _ => None,
        }
    }

    /// Whether its message says something after it that it did not say before.
    pub fn brings_content(&self) -> bool {
        matches!(
            self,
            Self::Received { .. }
                | Self::Echoed { .. }
                | Self::Imported { .. }
                | Self::Filled { .. }
                | Self::Edited { .. }
        )
    }

    /// Whether files may not be fetched any more after it that were to be fetched before.
    pub fn ends_fetching(&self) -> bool {
        matches!(
            self,
            Self::Fetched { .. } | Self::Deleted { .. } | Self::Edited { .. } | Self::Filled { .. }
        )
    }

    /// The row of content that nothing needs any more.
    pub fn lets_go(&self) -> Option<Place> {
        match self {
            Self::Edited { replaces, .. } | Self::Filled { replaces, .. } => *replaces,
            Self::Deleted { content, .. } => *content,
            _ => None,
        }
    }

    /// The files that its message does not show any more.
    pub fn lets_go_of(&self) -> &[MediaId] {
        match self {
            Self::Deleted { media, .. } => media,
            _ => &[],
        }
    }

    /// Its name among the live events; `None`: nothing that anybody is shown.
    pub fn event(&self) -> Option<&'static str> {
        Some(match self {
            Self::Opened { history_since: None, .. } => "conversation.created",
            Self::Received { .. } => "message.received",
            Self::Echoed { .. } => "message.sent",
            Self::Noted { .. }
            | Self::Fetched { .. }
            | Self::Queued { .. }
            | Self::SendStarted { .. }
            | Self::SendDelayed { .. }
            | Self::SendUnknown { .. }
            | Self::Reacted { .. }
            | Self::ReactionQueued { .. }
            | Self::ReactionEnded { .. }
            | Self::Edited { .. } => "message.updated",
            Self::Deleted { .. } => "message.deleted",
            Self::Progressed { status, .. } => match status {
                MessageStatus::Sent => "message.sent",
                MessageStatus::Delivered => "message.delivered",
                MessageStatus::Read | MessageStatus::Played => "message.read",
                MessageStatus::Failed => "message.failed",
                MessageStatus::Received
                | MessageStatus::Queued
                | MessageStatus::Sending
                | MessageStatus::Unknown => "message.updated",
            },
            Self::Assigned { to: Some(_), .. } => "conversation.assigned",
            Self::Assigned { to: None, .. } => "conversation.unassigned",
            Self::StatusChanged { to: ConversationStatus::Resolved, .. } => "conversation.resolved",
            Self::StatusChanged { to: ConversationStatus::Expired, .. } => "conversation.expired",
            Self::StatusChanged { from, .. } if from.is_closed() => "conversation.reopened",
            Self::StatusChanged { .. } => "conversation.status_changed",
            Self::Reopened { .. } => "conversation.reopened",
            Self::Expired { .. } => "conversation.expired",
            Self::TagsChanged { .. } => "conversation.tags_changed",
            Self::ReadMarked { .. } => "conversation.read",
            Self::ContactChanged { .. } => "contact.updated",
            // History is no news.
            Self::Opened { .. } | Self::Imported { .. } | Self::Filled { .. } => return None,
            Self::Taken { .. }
            | Self::Watermarked { .. }
            | Self::ReceiptParked { .. }
            | Self::AmendmentParked { .. }
            | Self::Moved { .. }
            | Self::HandedOn
            | Self::Woken => return None,
        })
    }
}
