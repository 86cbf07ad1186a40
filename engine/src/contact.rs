//! A contact: a customer, known by a set of handles.

mod merge;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use merge::{ABSORBED_MAX, MergeReason, MergeSuggestion};

use crate::channel::Handle;
use crate::consent::Wish;
use crate::conversation::{IdempotencyKey, Refused};
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
    /// The newest threads of this contact, oldest first, at most [`THREADS_MAX`]: one on each account,
    /// of mails one for each that they began.
    pub threads: Vec<ThreadId>,
    /// What they said last about each kind of messages.
    #[serde(default)]
    pub wishes: Vec<Wish>,
    /// Turned out to be this one: lists leave it out, and whoever asks for it is answered that one.
    #[serde(default)]
    pub merged_into: Option<ContactId>,
    /// What it had is that one's.
    #[serde(default)]
    pub handed_over: bool,
    /// Those that turned out to be this one: their conversations are its, too.
    #[serde(default)]
    pub absorbed: Vec<ContactId>,
    /// Those that may be this one: for people to decide.
    #[serde(default)]
    pub merge_suggestions: Vec<MergeSuggestion>,
    /// The keys by which people changed it last, oldest first, at most [`USED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<IdempotencyKey>,
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
    /// When it became this person's, where the provider told of a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it stopped being this person's. What still names it finds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
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

    /// Whether somebody else may be given it once a person has left it. A provider's own ids are
    /// never used again.
    pub fn is_recycled(self) -> bool {
        matches!(self, Self::Phone)
    }
}

impl Identity {
    /// A handle as a payload of this account names it.
    pub fn of(handle: &Handle, account: AccountId) -> Self {
        let Handle { kind, value } = handle.clone();
        let account_id = (!kind.is_global()).then_some(account);
        Self { kind, value, account_id, since: None, ended_at: None }
    }

    /// Whether both are the same handle, whatever is known of its time.
    pub fn is(&self, other: &Self) -> bool {
        (self.kind, &self.value, self.account_id) == (other.kind, &other.value, other.account_id)
    }

    /// It as a payload would name it.
    pub fn handle(&self) -> Handle {
        Handle { kind: self.kind, value: self.value.clone() }
    }

    /// Whether it is known on this account.
    fn counts_on(&self, account: AccountId) -> bool {
        self.account_id.is_none_or(|own| own == account)
    }

    /// It is this person's from then on, unless it ended later, or just then.
    fn begin(&mut self, at: Timestamp) {
        self.since = self.since.max(Some(at));
        self.ended_at = self.ended_at.filter(|ended| *ended >= at);
    }

    /// It is this person's no more, unless it became so later.
    fn end(&mut self, at: Timestamp) {
        if self.since.is_none_or(|since| since <= at) {
            self.ended_at = self.ended_at.max(Some(at));
        }
    }
}

/// The most handles of one contact: beyond it those that ended first go.
pub const IDENTITIES_MAX: usize = 100;

/// The most threads that a contact knows: an older one finds it all the same, and is only told of
/// its new name when it wakes.
pub const THREADS_MAX: usize = 200;

/// The most idempotency keys that a contact knows.
pub const USED_MAX: usize = 16;

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

impl ContactPatch {
    /// It as it is stored, or what is wrong with it.
    pub fn checked(self) -> Result<Self, Invalid> {
        let Self { name, email, tags } = self;
        Ok(Self {
            name: name.checked(|name| resource::name("name", &name))?,
            email: email.checked(|email| crate::identity::agent::email(&email))?,
            tags: tags.checked(crate::conversation::tags)?,
        })
    }
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
            handed_over: false,
            absorbed: Vec::new(),
            merge_suggestions: Vec::new(),
            used: Vec::new(),
            rev: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// The newest phone number that is still this person's.
    pub fn phone(&self) -> Option<&str> {
        let phone = |i: &&Identity| i.kind == IdentityKind::Phone && i.ended_at.is_none();
        self.identities.iter().rev().find(phone).map(|i| i.value.as_str())
    }

    /// When a handle stopped being this person's, if it did.
    pub fn left_at(&self, handle: &Handle) -> Option<Timestamp> {
        let is_it = |identity: &&Identity| {
            identity.kind == handle.kind && identity.handle().compared() == handle.compared()
        };
        // However it is written: one that is still theirs counts.
        let ends = self.identities.iter().filter(is_it).map(|identity| identity.ended_at);
        ends.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other))).flatten()
    }

    /// By what this person can be reached on an account: handles that have not ended, in canonical
    /// order, of each kind the newest first and parent ids last.
    pub fn handles(&self, account: AccountId) -> Vec<Handle> {
        let live = self.identities.iter().rev();
        let live = live.filter(|i| i.ended_at.is_none() && i.counts_on(account));
        let mut handles: Vec<_> = live.map(Identity::handle).collect();
        // Stable: the newest stay first.
        handles.sort_by_key(|handle| (handle.kind, handle.is_parent()));
        handles
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
        let mut next = self.clone();
        for identity in identities {
            next.know(identity);
        }
        next.forget_surplus();
        if let Some(thread) = thread.filter(|thread| !next.threads.contains(thread)) {
            next.threads.push(thread);
        }
        next.forget_old_threads();
        if let Some(name) = name.map(str::trim).filter(|name| next.is_called(name)) {
            next.name = Some(name.chars().take(NAME_CHARS_MAX).collect());
        }
        self.become_of(next, now)
    }

    /// The provider tells of a change: some handles are this person's no more, others are from now
    /// on. The same events in any order, and however often, end the same.
    pub fn change(
        &mut self,
        ended: &[Identity],
        begun: &[Identity],
        at: Timestamp,
        now: Timestamp,
    ) -> bool {
        let mut next = self.clone();
        for identity in ended {
            next.know(identity).end(at);
        }
        for identity in begun {
            next.know(identity).begin(at);
        }
        // What spoke for another by a handle that ended holds no more.
        let ended: Vec<_> = next.identities.iter().filter(|i| i.ended_at.is_some()).collect();
        let holds = |s: &MergeSuggestion| ended.iter().all(|i| i.handle() != s.identity);
        next.merge_suggestions.retain(holds);
        next.forget_surplus();
        self.become_of(next, now)
    }

    /// This handle of the contact, added if it is new.
    fn know(&mut self, identity: &Identity) -> &mut Identity {
        let at = self.identities.iter().position(|known| known.is(identity));
        let at = at.unwrap_or_else(|| {
            self.identities.push(identity.clone());
            self.identities.len() - 1
        });
        &mut self.identities[at]
    }

    /// Of very many handles those that ended first are not shown any more, then the oldest.
    fn forget_surplus(&mut self) {
        while self.identities.len() > IDENTITIES_MAX {
            let ended = self.identities.iter().enumerate().filter(|(_, i)| i.ended_at.is_some());
            let first = ended.min_by_key(|(_, i)| i.ended_at).map_or(0, |(first, _)| first);
            self.identities.remove(first);
        }
    }

    fn forget_old_threads(&mut self) {
        self.threads.drain(..self.threads.len().saturating_sub(THREADS_MAX));
    }

    /// Whether the provider's name for it replaces the one it has. A username, written `@name`,
    /// only names who has no other name.
    fn is_called(&self, name: &str) -> bool {
        let is_username = |name: &str| name.starts_with('@');
        let has_better = self.name.as_deref().is_some_and(|known| !is_username(known));
        let is_given = self.name_is_ours || self.name_is_of_book;
        !(name.is_empty() || is_given || is_username(name) && has_better)
    }

    /// Becomes this, with a new `rev`, if it is different. Answers whether it is.
    fn become_of(&mut self, mut next: Self, now: Timestamp) -> bool {
        let changed = next != *self;
        if changed {
            next.rev += 1;
            next.updated_at = now;
            *self = next;
        }
        changed
    }

    /// Whether people changed it by this key before; otherwise they do now.
    pub fn is_used(&mut self, key: IdempotencyKey) -> Result<bool, Refused> {
        match self.used.iter().find(|used| used.key == key.key) {
            Some(used) if used.digest == key.digest => Ok(true),
            Some(_) => Err(Refused::KeyReused),
            None => {
                self.used.push(key);
                self.used.drain(..self.used.len().saturating_sub(USED_MAX));
                Ok(false)
            }
        }
    }

    /// A person's change. Answers whether anything changed.
    pub fn patch(&mut self, patch: ContactPatch, now: Timestamp) -> Result<bool, Invalid> {
        let ContactPatch { name, email, tags } = patch.checked()?;
        let mut next = self.clone();
        match name {
            Change::Keep => {}
            Change::Clear => (next.name, next.name_is_ours) = (None, false),
            Change::Set(name) => (next.name, next.name_is_ours) = (Some(name), true),
        }
        match email {
            Change::Keep => {}
            Change::Clear => next.email = None,
            Change::Set(email) => next.email = Some(email),
        }
        match tags {
            Change::Keep => {}
            Change::Clear => next.tags.clear(),
            Change::Set(tags) => next.tags = tags,
        }
        Ok(self.become_of(next, now))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Contact, IDENTITIES_MAX, Identity, IdentityKind, USED_MAX};
    use crate::channel::Handle;
    use crate::conversation::IdempotencyKey;
    use crate::id::{AccountId, ContactId, TenantId};
    use crate::time::Timestamp;

    const ACCOUNT: AccountId = AccountId(Uuid::from_u128(2));

    fn id(kind: IdentityKind, value: &str) -> Identity {
        Identity::of(&Handle { kind, value: value.to_owned() }, ACCOUNT)
    }

    fn phone(value: &str) -> Identity {
        id(IdentityKind::Phone, value)
    }

    fn contact() -> Contact {
        let id = ContactId(Uuid::from_u128(3));
        Contact::new(id, TenantId(Uuid::from_u128(1)), Timestamp(0))
    }

    #[test]
    fn so_many_keys_are_known_by_which_people_changed_it_and_the_oldest_leave() {
        let (mut contact, key) = (contact(), |n| IdempotencyKey { key: [n; 16], digest: [0; 16] });
        for n in 0..17 {
            assert!(!contact.is_used(key(n)).unwrap());
        }
        assert_eq!(contact.used.len(), USED_MAX);
        assert!(contact.is_used(key(1)).unwrap(), "the oldest that is known");
        assert!(contact.is_used(IdempotencyKey { digest: [1; 16], ..key(1) }).is_err());
        assert!(!contact.is_used(key(0)).unwrap(), "it has left");
        // Also once it is part of another one.
        let mut other = Contact { id: ContactId(Uuid::from_u128(4)), ..self::contact() };
        other.absorb(&contact, None, 20, Timestamp(1));
        assert!(other.is_used(key(5)).unwrap());
    }

    /// Which of its handles have not ended.
    fn live(contact: &Contact) -> Vec<&str> {
        let live = contact.identities.iter().filter(|i| i.ended_at.is_none());
        let mut live: Vec<_> = live.map(|i| i.value.as_str()).collect();
        live.sort_unstable();
        live
    }

    #[test]
    fn changes_in_any_order_and_repeated_end_the_same() {
        let changes = [("1", "2", 10), ("2", "3", 20), ("3", "1", 30), ("1", "4", 40)];
        let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2], [0, 3, 2, 1]];
        for order in orders {
            let mut contact = contact();
            contact.learn(&[phone("1")], None, None, Timestamp(5));
            for at in order.into_iter().chain([1, 0]) {
                let (from, to, at) = changes[at];
                contact.change(&[phone(from)], &[phone(to)], Timestamp(at), Timestamp(50));
            }
            assert_eq!(live(&contact), ["4"], "{order:?}");
            assert_eq!(contact.phone(), Some("4"));
            let of = |value| contact.identities.iter().find(|i| i.value == value).unwrap();
            assert_eq!(of("1").ended_at, Some(Timestamp(40)), "{order:?}");
            assert_eq!(of("3").ended_at, Some(Timestamp(30)), "{order:?}");
            let before = contact.clone();
            contact.change(&[phone("1")], &[phone("4")], Timestamp(40), Timestamp(60));
            assert_eq!(contact, before, "a repeated change is none");
        }
    }

    #[test]
    fn an_ended_handle_stays_ended_when_a_late_payload_names_it() {
        let mut contact = contact();
        contact.change(&[phone("1")], &[phone("2")], Timestamp(10), Timestamp(10));
        assert!(!contact.learn(&[phone("1")], None, None, Timestamp(20)));
        assert_eq!(live(&contact), ["2"]);
    }

    #[test]
    fn a_person_is_reached_by_the_newest_of_each_kind_and_never_by_what_ended() {
        let mut contact = contact();
        let bsuid = |value| id(IdentityKind::Bsuid, value);
        let first = [bsuid("US.1"), bsuid("US.ENT.1"), phone("551187654321"), phone("1")];
        contact.learn(&first, None, None, Timestamp(1));
        contact.change(&[bsuid("US.1"), phone("1")], &[bsuid("US.2")], Timestamp(2), Timestamp(2));
        contact.learn(&[phone("5511987654321")], None, None, Timestamp(3));
        let elsewhere = AccountId(Uuid::from_u128(9));
        let values = |account| -> Vec<String> {
            contact.handles(account).into_iter().map(|handle| handle.value).collect()
        };
        assert_eq!(values(ACCOUNT), ["US.2", "US.ENT.1", "5511987654321", "551187654321"]);
        assert_eq!(values(elsewhere), ["5511987654321", "551187654321"]);
    }

    #[test]
    fn a_username_names_only_who_has_no_other_name() {
        let mut contact = contact();
        for (said, shown) in [
            ("@noor", "@noor"),
            ("@noor2", "@noor2"),
            ("Noor", "Noor"),
            ("@noor3", "Noor"),
            ("", "Noor"),
            ("Noor A.", "Noor A."),
        ] {
            contact.learn(&[], None, Some(said), Timestamp(1));
            assert_eq!(contact.name.as_deref(), Some(shown), "after {said}");
        }
    }

    #[test]
    fn of_very_many_handles_those_that_ended_first_go() {
        let mut contact = contact();
        for n in 0..i64::try_from(IDENTITIES_MAX).unwrap() + 20 {
            let (old, new) = (phone(&n.to_string()), phone(&(n + 1).to_string()));
            contact.change(&[old], &[new], Timestamp(n), Timestamp(n));
        }
        assert_eq!(contact.identities.len(), IDENTITIES_MAX);
        assert!(contact.identities.iter().all(|i| i.value != "0"));
        assert_eq!(live(&contact), ["120"]);
    }
}
