//! What one commit of the index brings in: so much and no more, since all of it lies in memory.

use engine::channel::Channel;
use engine::contact::Contact;
use engine::id::{ContactId, ConversationId, TenantId};
use engine::message::{MessageRow, Place};
use engine::search::texts;
use engine::time::Timestamp;

use super::contacts::Person;
use super::cut::own;

/// Changes of the index, in order.
#[derive(Default)]
pub struct Round {
    pub(super) changes: Vec<Change>,
    messages: usize,
    bytes: usize,
}

pub(super) enum Change {
    Put(Entry),
    Remove(ConversationId, Place),
    Clear(ConversationId),
    PutContact(Person),
    RemoveContact(ContactId),
}

/// A message as the index takes it.
pub(super) struct Entry {
    pub(super) tenant: TenantId,
    pub(super) channel: Channel,
    pub(super) conversation: ConversationId,
    pub(super) place: Place,
    pub(super) at: Timestamp,
    /// Each with its tenant before it.
    pub(super) texts: Vec<String>,
}

/// A round that has so many changes, or so many bytes of texts, is full.
pub(super) const CHANGES_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 << 20;

impl Round {
    /// A message is found by what it says now; `is_new`: it is not in the index yet.
    pub fn put(&mut self, tenant: TenantId, channel: Channel, row: &MessageRow, is_new: bool) {
        let (conversation, place) = (row.message.conversation_id, row.place);
        if !is_new {
            self.changes.push(Change::Remove(conversation, place));
        }
        self.messages += 1;
        if row.message.deleted_at.is_some() {
            return;
        }
        let texts: Vec<_> = texts(&row.message).map(|text| own(tenant, &text)).collect();
        self.bytes += texts.iter().map(String::len).sum::<usize>();
        let at = row.message.created_at;
        self.changes.push(Change::Put(Entry { tenant, channel, conversation, place, at, texts }));
    }

    /// Nothing of a conversation is found any more.
    pub fn clear(&mut self, conversation: ConversationId) {
        self.changes.push(Change::Clear(conversation));
    }

    /// A contact is found by what it is now, if it is to be listed; `is_new`: it is not in the index yet.
    pub fn put_contact(&mut self, contact: &Contact, is_new: bool) {
        if !is_new {
            self.remove_contact(contact.id);
        }
        if contact.is_listed() {
            let person = Person::of(contact);
            self.bytes += person.bytes();
            self.changes.push(Change::PutContact(person));
        }
    }

    /// A contact is not found any more.
    pub fn remove_contact(&mut self, contact: ContactId) {
        self.changes.push(Change::RemoveContact(contact));
    }

    /// It changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// It is time for its commit.
    pub fn is_full(&self) -> bool {
        self.changes.len() >= CHANGES_MAX || self.bytes >= BYTES_MAX
    }

    /// How many messages it is about.
    pub fn messages(&self) -> usize {
        self.messages
    }
}
