//! The messages in memory whose files are to be fetched. All are in the store: one that waits for its
//! next try gives its place to another tenant's that has none, so that nobody's room is taken by what
//! cannot be had.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use engine::id::{ConversationId, TenantId};
use engine::message::Place;
use storage::conversations::Unfetched;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

type Key = (ConversationId, Place);

/// Is told when the message's place is another's.
pub(super) type Held = oneshot::Receiver<()>;

/// Whether there is room in memory for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It was taken, or is known.
    Taken,
    NoneOfTenant,
    None,
}

pub(super) struct Waiting {
    /// So many at most, and so many of one tenant.
    most: usize,
    most_of_tenant: usize,
    /// Each with whether it changed meanwhile, so that it has to be looked at once more.
    known: HashMap<Key, bool>,
    /// How many are of each tenant.
    of: HashMap<TenantId, usize>,
    /// Those that wait for their next try.
    asleep: HashMap<TenantId, HashMap<Key, oneshot::Sender<()>>>,
    /// Some of theirs had no room, and are only in the store.
    left_out: HashSet<TenantId>,
    /// The store has more than was looked at.
    is_cut: bool,
}

impl Waiting {
    pub(super) fn new(most: usize, most_of_tenant: usize) -> Self {
        let (known, of, asleep, left_out) = Default::default();
        Self { most, most_of_tenant, known, of, asleep, left_out, is_cut: false }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// A message is told of once more; false: it is not known.
    pub(super) fn has_changed(&mut self, one: &Unfetched) -> bool {
        self.known.get_mut(&key(one)).map(|changed| *changed = true).is_some()
    }

    /// Takes a message that is not known, if there is room.
    pub(super) fn take(&mut self, one: &Unfetched) -> Room {
        let of_tenant = self.of(one.tenant);
        let is_full = self.known.len() >= self.most;
        let room = match is_full.then(|| self.largest()).flatten() {
            _ if of_tenant >= self.most_of_tenant => Room::NoneOfTenant,
            _ if !is_full => Room::Taken,
            Some((tenant, held)) if held > of_tenant + 1 => {
                self.give_up_one(tenant);
                Room::Taken
            }
            // There would be some for who has less.
            Some((_, held)) if held > 1 => Room::NoneOfTenant,
            _ => Room::None,
        };
        if room == Room::Taken {
            self.known.insert(key(one), false);
            self.of.insert(one.tenant, of_tenant + 1);
        } else {
            self.left_out.insert(one.tenant);
        }
        room
    }

    /// Whether a message changed since it was asked. One that has not is not known any more.
    pub(super) fn begins_again(&mut self, one: &Unfetched) -> bool {
        let changed = self.known.get_mut(&key(one)).is_some_and(std::mem::take);
        if !changed {
            self.forget(one);
        }
        changed
    }

    /// It is not known any more.
    pub(super) fn forget(&mut self, one: &Unfetched) {
        self.remove(one.tenant, &key(one));
    }

    /// It waits for its next try, as long as nobody needs its place.
    pub(super) fn sleep(&mut self, one: &Unfetched) -> Held {
        let (gone, held) = oneshot::channel();
        self.asleep.entry(one.tenant).or_default().insert(key(one), gone);
        held
    }

    /// It is tried again; false: its place is another's. It may have begun once more since.
    pub(super) fn wake(&mut self, one: &Unfetched, held: &mut Held) -> bool {
        let has_place = matches!(held.try_recv(), Err(TryRecvError::Empty));
        if has_place {
            self.wakes(one.tenant, &key(one));
        }
        has_place
    }

    /// The store was not read to its end: whose messages lie behind, nobody knows.
    pub(super) fn has_more(&mut self) {
        self.is_cut = true;
    }

    /// Whether there is room for messages that had none, and for so many that it is worth to read the
    /// store from its beginning: it is asked once.
    pub(super) fn has_room_again(&mut self) -> bool {
        let half = self.most_of_tenant / 2;
        let is_worth = |held: usize| held <= half && self.room_beside(held) >= half.max(1);
        let left_out = self.left_out.iter().copied();
        let again: Vec<_> = left_out.filter(|tenant| is_worth(self.of(*tenant))).collect();
        if again.is_empty() && !(self.is_cut && is_worth(0)) {
            return false;
        }
        self.is_cut = false;
        self.left_out.retain(|tenant| !again.contains(tenant));
        true
    }

    fn of(&self, tenant: TenantId) -> usize {
        self.of.get(&tenant).copied().unwrap_or_default()
    }

    /// The tenant who holds the most, of those of whom one waits for its next try.
    fn largest(&self) -> Option<(TenantId, usize)> {
        let held = self.asleep.keys().map(|tenant| (*tenant, self.of(*tenant)));
        held.max_by_key(|(_, held)| *held)
    }

    /// How many more there is room for, of a tenant who holds so many.
    fn room_beside(&self, held: usize) -> usize {
        let given_up = self.asleep.iter().map(|(tenant, asleep)| {
            let until_equal = self.of(*tenant).saturating_sub(held) / 2;
            asleep.len().min(until_equal)
        });
        self.most.saturating_sub(self.known.len()) + given_up.sum::<usize>()
    }

    /// One of the tenant's that waits for its next try is only in the store from now on.
    fn give_up_one(&mut self, tenant: TenantId) {
        let asleep = self.asleep.get(&tenant);
        let Some(key) = asleep.and_then(|asleep| asleep.keys().next().copied()) else { return };
        self.remove(tenant, &key);
        self.left_out.insert(tenant);
    }

    fn remove(&mut self, tenant: TenantId, key: &Key) {
        // It is told by that.
        self.wakes(tenant, key);
        if self.known.remove(key).is_none() {
            return;
        }
        let left = self.of(tenant).saturating_sub(1);
        if left == 0 {
            self.of.remove(&tenant);
        } else {
            self.of.insert(tenant, left);
        }
    }

    fn wakes(&mut self, tenant: TenantId, key: &Key) {
        if let Entry::Occupied(mut asleep) = self.asleep.entry(tenant) {
            asleep.get_mut().remove(key);
            if asleep.get().is_empty() {
                asleep.remove();
            }
        }
    }
}

fn key(one: &Unfetched) -> Key {
    (one.conversation, one.place)
}

#[cfg(test)]
mod tests {
    use engine::id::{AccountId, ConversationId, TenantId, ThreadId};
    use engine::message::Place;
    use storage::conversations::Unfetched;
    use uuid::Uuid;

    use super::{Room, Waiting};

    fn one(tenant: u128, n: u128) -> Unfetched {
        Unfetched {
            tenant: TenantId(Uuid::from_u128(tenant)),
            account: AccountId(Uuid::nil()),
            thread: ThreadId(Uuid::nil()),
            conversation: ConversationId(Uuid::from_u128(tenant << 64 | n)),
            place: Place { block: 0, ordinal: 0 },
        }
    }

    #[test]
    fn who_has_fewer_gets_the_place_of_one_that_waits_for_its_next_try_until_all_have_as_many() {
        let mut waiting = Waiting::new(4, 4);
        for n in 0..4 {
            assert_eq!(waiting.take(&one(1, n)), Room::Taken);
        }
        assert_eq!(waiting.take(&one(2, 0)), Room::None, "all are being tried");
        let mut held: Vec<_> = (0..4).map(|n| waiting.sleep(&one(1, n))).collect();
        for n in 0..2 {
            assert_eq!(waiting.take(&one(2, n)), Room::Taken);
        }
        assert_eq!(waiting.take(&one(2, 2)), Room::NoneOfTenant, "they have as many");
        assert_eq!(waiting.len(), 4);
        let woken = held.iter_mut().enumerate();
        let woken =
            woken.filter_map(|(n, held)| waiting.wake(&one(1, n as u128), held).then_some(n));
        assert_eq!(woken.count(), 2, "the others are only in the store");
    }

    #[test]
    fn what_a_start_did_not_come_to_is_read_once_others_wait_for_their_next_try() {
        let mut waiting = Waiting::new(4, 4);
        for n in 0..4 {
            waiting.take(&one(1, n));
        }
        waiting.has_more();
        assert!(!waiting.has_room_again());
        let _held: Vec<_> = (0..4).map(|n| waiting.sleep(&one(1, n))).collect();
        assert!(waiting.has_room_again());
        assert!(!waiting.has_room_again(), "the store is read once");
    }
}
