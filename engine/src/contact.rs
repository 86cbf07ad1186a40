//! A contact: a customer, known by a set of handles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::consent::Wish;
use crate::id::{AccountId, ContactId, TenantId, ThreadId};
use crate::resource::{self, Change, Invalid, NAME_CHARS_MAX};
use crate::time::Timestamp;

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub id: ContactId,
    pub tenant: TenantId,
    pub name: Option<String>,
    /// A person at the desk wrote the name: the provider's does not replace it.
    pub name_is_ours: bool,
    /// It is the one in the phone's book: the provider's does not replace it, either.
    #[serde(default)]
    pub name_is_of_book: bool,
    pub email: Option<String>,
    pub tags: Vec<String>,
    pub identities: Vec<Identity>,
    /// Every thread of this contact, oldest first.
    pub threads: Vec<ThreadId>,
    /// What they said last about each kind of messages.
    #[serde(default)]
    pub wishes: Vec<Wish>,
    /// Turned out to be this one: lists leave it out.
    #[serde(default)]
    pub merged_into: Option<ContactId>,
    /// Raised by every change.
    pub rev: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One handle of a person: two payloads with the same one are of the same person.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Identity {
    pub kind: IdentityKind,
    pub value: String,
    /// The channel account it belongs to; a phone number or an address also counts without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
}

/// What a handle is. The order is the order in which they are claimed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum IdentityKind {
    Bsuid,
    /// Digits without `+`.
    Phone,
    Psid,
    Igsid,
    Email,
    Group,
}

impl IdentityKind {
    /// Its name in keys and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bsuid => "bsuid",
            Self::Phone => "phone",
            Self::Psid => "psid",
            Self::Igsid => "igsid",
            Self::Email => "email",
            Self::Group => "group",
        }
    }

    /// Whether it names the same person on every account of the tenant.
    pub fn is_global(self) -> bool {
        matches!(self, Self::Phone | Self::Email)
    }
}

/// What people may change of a contact.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactPatch {
    /// At most 200 characters.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub name: Change<String>,
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub email: Change<String>,
    /// Replaces all tags.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub tags: Change<Vec<String>>,
}

impl Contact {
    /// One of whom nothing is known yet.
    pub fn new(id: ContactId, tenant: TenantId, now: Timestamp) -> Self {
        Self {
            id,
            tenant,
            name: None,
            name_is_ours: false,
            name_is_of_book: false,
            email: None,
            tags: Vec::new(),
            identities: Vec::new(),
            threads: Vec::new(),
            wishes: Vec::new(),
            merged_into: None,
            rev: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// The first phone number.
    pub fn phone(&self) -> Option<&str> {
        self.identities.iter().find(|i| i.kind == IdentityKind::Phone).map(|i| i.value.as_str())
    }

    /// What a payload says of the contact: its handles, its thread, the provider's name for it.
    /// Answers whether anything changed.
    pub fn learn(
        &mut self,
        identities: &[Identity],
        thread: Option<ThreadId>,
        name: Option<&str>,
        now: Timestamp,
    ) -> bool {
        let before = (self.identities.len(), self.threads.len(), self.name.clone());
        for identity in identities {
            if !self.identities.contains(identity) {
                self.identities.push(identity.clone());
            }
        }
        if let Some(thread) = thread.filter(|thread| !self.threads.contains(thread)) {
            self.threads.push(thread);
        }
        let is_given = self.name_is_ours || self.name_is_of_book;
        if let Some(name) = name.map(str::trim).filter(|name| !name.is_empty() && !is_given) {
            self.name = Some(name.chars().take(NAME_CHARS_MAX).collect());
        }
        let changed = before != (self.identities.len(), self.threads.len(), self.name.clone());
        if changed {
            self.rev += 1;
            self.updated_at = now;
        }
        changed
    }

    /// A person's change. Answers whether anything changed.
    pub fn patch(&mut self, patch: ContactPatch, now: Timestamp) -> Result<bool, Invalid> {
        let mut next = self.clone();
        match patch.name {
            Change::Keep => {}
            Change::Clear => (next.name, next.name_is_ours) = (None, false),
            Change::Set(name) => {
                (next.name, next.name_is_ours) = (Some(resource::name("name", &name)?), true);
            }
        }
        match patch.email {
            Change::Keep => {}
            Change::Clear => next.email = None,
            Change::Set(email) => next.email = Some(crate::identity::agent::email(&email)?),
        }
        match patch.tags {
            Change::Keep => {}
            Change::Clear => next.tags.clear(),
            Change::Set(tags) => next.tags = crate::conversation::tags(tags)?,
        }
        let changed = next != *self;
        if changed {
            next.rev += 1;
            next.updated_at = now;
            *self = next;
        }
        Ok(changed)
    }
}
