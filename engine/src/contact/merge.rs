//! Contacts that turned out to be one person, or may be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contact, Identity, IdentityKind, USED_MAX};
use crate::channel::Handle;
use crate::id::{AccountId, ContactId, ThreadId};
use crate::time::Timestamp;

/// Another contact that may be the same person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergeSuggestion {
    pub contact_id: ContactId,
    pub reason: MergeReason,
    /// The handle that speaks for it.
    pub identity: Handle,
    pub since: Timestamp,
}

/// Why two contacts may be one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MergeReason {
    /// One payload named handles of both.
    NamedTogether,
    /// The provider said that a person's number is now one that is known as another contact's.
    NumberChanged,
    /// The provider said that a person's id is now one that is known as another contact's.
    IdChanged,
}

/// The most contacts that one absorbs by itself.
pub const ABSORBED_MAX: usize = 100;

impl Contact {
    /// Whether people at the desk made something of it that is not to be merged away unasked.
    pub fn is_touched(&self) -> bool {
        self.name_is_ours || self.email.is_some() || !self.tags.is_empty()
    }

    /// Whether nothing but one kind of handle says on this account who it is.
    pub fn is_bare(&self, account: AccountId) -> bool {
        let live = |i: &&Identity| i.ended_at.is_none() && i.counts_on(account);
        let mut kinds = self.identities.iter().filter(live).map(|i| i.kind);
        let first = kinds.next();
        kinds.all(|kind| Some(kind) == first)
    }

    /// Whether it is to be listed: one that is another one is not, nor one of whom nothing is known
    /// but that their handles changed. Who writes mails may do so in others' threads only.
    pub fn is_listed(&self) -> bool {
        let is_writer = self.identities.iter().any(|i| i.kind == IdentityKind::Email);
        self.merged_into.is_none() && (is_writer || !self.threads.is_empty())
    }

    /// Takes in all of another one, and of its suggestions as many as there may be; the thread
    /// `moved.0` of one of both goes on in `moved.1`. Answers whether anything changed: twice is as
    /// once.
    pub fn absorb(
        &mut self,
        other: &Self,
        moved: Option<(ThreadId, ThreadId)>,
        most: usize,
        now: Timestamp,
    ) -> bool {
        if self.absorbed.contains(&other.id) || other.id == self.id {
            return false;
        }
        let mut next = self.clone();
        for identity in &other.identities {
            let known = next.know(identity);
            // As if both had been told everything.
            known.since = known.since.max(identity.since);
            let ended = known.ended_at.max(identity.ended_at);
            known.ended_at = ended.filter(|_| known.since <= ended);
        }
        next.forget_surplus();
        next.threads.extend(&other.threads);
        for thread in &mut next.threads {
            *thread = moved.filter(|(from, _)| from == thread).map_or(*thread, |(_, to)| to);
        }
        next.threads.sort_unstable();
        next.threads.dedup();
        next.forget_old_threads();
        for wish in &other.wishes {
            next.wish(wish.clone());
        }
        // What people did to the other one by a key is not done to this one again.
        next.used = other.used.iter().chain(&next.used).copied().collect();
        next.used.drain(..next.used.len().saturating_sub(USED_MAX));
        // The desk's name stands above the book's, and that above what customers call themselves.
        let stands = |contact: &Self| {
            (contact.name_is_ours, contact.name_is_of_book, contact.name.is_some())
        };
        if stands(other) > stands(&next) {
            next.name.clone_from(&other.name);
            (next.name_is_ours, next.name_is_of_book) = (other.name_is_ours, other.name_is_of_book);
        }
        if next.email.is_none() {
            next.email.clone_from(&other.email);
        }
        let tags = next.tags.iter().chain(&other.tags).cloned().collect();
        // Of too many tags those it has stay.
        next.tags = crate::conversation::tags(tags).unwrap_or_else(|_| next.tags.clone());
        for absorbed in other.absorbed.iter().chain([&other.id]) {
            if !next.absorbed.contains(absorbed) && *absorbed != next.id {
                next.absorbed.push(*absorbed);
            }
        }
        next.created_at = next.created_at.min(other.created_at);
        for suggestion in &other.merge_suggestions {
            let known = |s: &MergeSuggestion| s.contact_id == suggestion.contact_id;
            if !next.merge_suggestions.iter().any(known) {
                next.merge_suggestions.push(suggestion.clone());
            }
        }
        let (id, absorbed) = (next.id, next.absorbed.clone());
        let other_than_this =
            |s: &MergeSuggestion| s.contact_id != id && !absorbed.contains(&s.contact_id);
        next.merge_suggestions.retain(other_than_this);
        next.merge_suggestions.sort_by_key(|suggestion| suggestion.since);
        next.forget_suggestions(most);
        self.become_of(next, now)
    }

    /// It may be this one, too. Of more than `most` suggestions the oldest goes. Answers whether
    /// that is new.
    pub fn suggest(&mut self, suggestion: MergeSuggestion, most: usize, now: Timestamp) -> bool {
        let with = suggestion.contact_id;
        let is_known = self.merge_suggestions.iter().any(|known| known.contact_id == with);
        if is_known || with == self.id || self.absorbed.contains(&with) {
            return false;
        }
        let mut next = self.clone();
        next.merge_suggestions.push(suggestion);
        next.forget_suggestions(most);
        self.become_of(next, now)
    }

    /// Of too many suggestions the oldest go.
    fn forget_suggestions(&mut self, most: usize) {
        let surplus = self.merge_suggestions.len().saturating_sub(most);
        self.merge_suggestions.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{MergeReason, MergeSuggestion};
    use crate::channel::Handle;
    use crate::contact::{Contact, Identity, IdentityKind};
    use crate::id::{AccountId, ContactId, TenantId, ThreadId};
    use crate::time::Timestamp;

    const ACCOUNT: AccountId = AccountId(Uuid::from_u128(2));
    const NOW: Timestamp = Timestamp(100);

    fn handle(value: &str) -> Handle {
        let kind = if value.contains('.') { IdentityKind::Bsuid } else { IdentityKind::Phone };
        Handle { kind, value: value.to_owned() }
    }

    fn contact(id: u128, handles: &[&str], thread: u128) -> Contact {
        let tenant = TenantId(Uuid::from_u128(1));
        let mut contact = Contact::new(ContactId(Uuid::from_u128(id)), tenant, Timestamp(0));
        let identities: Vec<_> =
            handles.iter().map(|value| Identity::of(&handle(value), ACCOUNT)).collect();
        contact.learn(&identities, Some(ThreadId(Uuid::from_u128(thread))), None, Timestamp(0));
        contact
    }

    fn suggestion(with: u128) -> MergeSuggestion {
        MergeSuggestion {
            contact_id: ContactId(Uuid::from_u128(with)),
            reason: MergeReason::NamedTogether,
            identity: handle(&with.to_string()),
            since: NOW,
        }
    }

    #[test]
    fn what_is_absorbed_is_taken_over_once_and_the_moved_thread_is_not() {
        let (mut older, mut younger) = (contact(3, &["US.1"], 30), contact(4, &["1"], 40));
        let moved = younger.threads[0];
        let kept = ThreadId(Uuid::from_u128(20));
        younger.threads.push(kept);
        younger.tags = vec!["vip".to_owned()];
        (younger.name, younger.name_is_ours) = (Some("Noor".to_owned()), true);
        older.suggest(suggestion(4), 5, NOW);
        older.suggest(suggestion(7), 5, NOW);
        younger.suggest(suggestion(3), 5, NOW);
        younger.suggest(suggestion(8), 5, NOW);
        let moved = Some((moved, older.threads[0]));
        assert!(older.absorb(&younger, moved, 5, NOW));
        assert_eq!(older.identities.len(), 2);
        assert_eq!(older.threads, [kept, ThreadId(Uuid::from_u128(30))]);
        assert_eq!((older.name.as_deref(), older.is_touched()), (Some("Noor"), true));
        assert_eq!(older.tags, ["vip"]);
        assert_eq!(older.absorbed, [younger.id]);
        let with: Vec<_> = older.merge_suggestions.iter().map(|s| s.contact_id.0).collect();
        assert_eq!(with, [7, 8].map(Uuid::from_u128), "none of what is one by now");
        assert!(!older.absorb(&younger, moved, 5, NOW), "twice is as once");
    }

    #[test]
    fn of_the_suggestions_of_two_that_are_one_the_newest_stay() {
        let (mut older, mut younger) = (contact(3, &["US.1"], 30), contact(4, &["1"], 40));
        let since = |with, at| MergeSuggestion { since: Timestamp(at), ..suggestion(with) };
        for (contact, suggestions) in
            [(&mut older, [(5, 10), (6, 40)]), (&mut younger, [(7, 20), (8, 30)])]
        {
            for (with, at) in suggestions {
                contact.suggest(since(with, at), 3, NOW);
            }
        }
        older.absorb(&younger, None, 3, NOW);
        let with: Vec<_> = older.merge_suggestions.iter().map(|s| s.contact_id.0).collect();
        assert_eq!(with, [7, 8, 6].map(Uuid::from_u128));
    }

    #[test]
    fn a_contact_is_bare_that_one_kind_of_handle_names() {
        assert!(contact(3, &[], 1).is_bare(ACCOUNT));
        assert!(contact(3, &["US.1", "US.ENT.1"], 1).is_bare(ACCOUNT));
        assert!(!contact(3, &["US.1", "1"], 1).is_bare(ACCOUNT));
        let mut changed = contact(3, &["US.1", "1"], 1);
        changed.change(&[Identity::of(&handle("1"), ACCOUNT)], &[], NOW, NOW);
        assert!(changed.is_bare(ACCOUNT));
        assert!(contact(3, &["US.1", "1"], 1).is_bare(AccountId(Uuid::from_u128(9))));
    }

    #[test]
    fn suggestions_are_made_once_bounded_and_go_with_their_handle() {
        let mut contact = contact(3, &["1"], 1);
        assert!(contact.suggest(suggestion(4), 2, NOW));
        assert!(!contact.suggest(suggestion(4), 2, NOW), "once");
        assert!(!contact.suggest(suggestion(3), 2, NOW), "not itself");
        assert!(contact.suggest(suggestion(5), 2, NOW));
        assert!(contact.suggest(suggestion(6), 2, NOW));
        let with = |contact: &Contact| -> Vec<_> {
            contact.merge_suggestions.iter().map(|s| s.contact_id.0.as_u128()).collect()
        };
        assert_eq!(with(&contact), [5, 6], "the oldest goes");
        let gone = Identity::of(&handle("5"), ACCOUNT);
        assert!(contact.change(&[gone], &[], NOW, NOW));
        assert_eq!(with(&contact), [6], "its handle is no more the contact's");
    }
}
