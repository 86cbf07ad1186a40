//! A conversation as REST and live events show it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Conversation, Preview};
use crate::channel::Channel;
use crate::fact::ConversationStatus;
use crate::id::{AccountId, AgentId, ContactId, ConversationId};
use crate::time::Timestamp;

/// A conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Conversation")]
pub struct ConversationView {
    pub id: ConversationId,
    pub contact_id: ContactId,
    pub status: ConversationStatus,
    pub last_message_at: Timestamp,
    pub unread_count: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub contact_channel: Channel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_agent_id: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_phone: Option<String>,
    pub tags: Vec<String>,
    pub account_id: AccountId,
    /// The number of its newest fact: of two copies the higher is newer.
    pub seq: u64,
    /// Until when people may send free text; absent where the customer has not written yet, or where
    /// that is possible at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_expires_at: Option<Timestamp>,
    /// Until when anything else may be sent, such as what nobody wrote; absent where that is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automation_window_expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Preview>,
}

impl ConversationView {
    /// Of a head.
    pub fn of(head: &Conversation) -> Self {
        Self {
            id: head.id,
            contact_id: head.contact,
            status: head.status,
            last_message_at: head.last_message_at,
            unread_count: head.unread,
            created_at: head.created_at,
            updated_at: head.updated_at,
            contact_channel: head.channel,
            assigned_agent_id: head.assignee,
            contact_name: head.contact_name.clone(),
            contact_phone: head.contact_phone.clone(),
            tags: head.tags.clone(),
            account_id: head.account,
            seq: head.seq,
            window_expires_at: head.window_closes_at(),
            automation_window_expires_at: head
                .free_window_closes_at()
                .filter(|at| Some(*at) != head.window_closes_at()),
            last_message: head.last_message.clone(),
        }
    }
}
