//! Two owners that prove to be one: a thread is moved to the other, contacts are merged, and what
//! cannot be done by itself is suggested.
//!
//! A thread is moved to an older one, or to one that has promised to stay; a contact is merged
//! into an older one. So neither ever goes in a circle. The row of the moved thread is the journal:
//! until it says that all is settled, whoever meets it, and the next start, goes on with it.

use engine::account::Account;
use engine::channel::Handle;
use engine::contact::{ABSORBED_MAX, MergeReason, MergeSuggestion};
use engine::conversation::{Command, Joined, MovedTo, Refused, Thread, left_behind};
use engine::id::{ContactId, TenantId, ThreadId};
use storage::StoreError;
use storage::dead_letters::Source;

use crate::contact::ContactCommand;
use crate::failure::Failure;
use crate::handles::{Held, Owner, Scope};
use crate::identity::{Identities, origin};
use crate::parking::raw;
use crate::thread::Origin;

/// What says that two are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// One payload names both: one of them must be nobody else as far as is known.
    Together,
    /// The provider said so.
    Said,
}

/// What became of two.
pub(crate) enum United {
    One(Owner),
    Two,
    /// Not now: something waits for the thread of this one, which would have to give way. What comes next
    /// would go to the other one, past it.
    Behind(Owner),
}

/// While one is looked at, another may move; so often it is looked at again.
const LOOKS_MAX: usize = 16;

impl Identities {
    /// Makes one of two owners, if one of them can give way: the younger one rather than the
    /// older one. These handles may name either.
    pub(crate) async fn unite(
        &self,
        account: &Account,
        one: Owner,
        other: Owner,
        evidence: Evidence,
        handles: &[Handle],
    ) -> Result<United, Failure> {
        if one.thread == other.thread {
            return Ok(United::One(one));
        }
        let waiting = &self.world.waiting;
        // Until its handles say where it went.
        let mut moves = Vec::new();
        for _ in 0..LOOKS_MAX {
            let mut both = [one, other];
            for owner in &mut both {
                *owner = self.settled(*owner, handles).await?;
                waiting.load(owner.thread.shard()).await?;
            }
            let [one, other] = both;
            if one.thread == other.thread {
                return Ok(United::One(one));
            }
            // What is parked may wait for days, and nothing is to come behind it that need not.
            if both.iter().any(|owner| waiting.is_held(owner.thread)) {
                return Ok(United::Two);
            }
            let (older, younger) = (one.min(other), one.max(other));
            let mut may_move = false;
            for (from, to) in [(younger, older), (older, younger)] {
                if !self.gives_way(account, from, to, evidence).await? {
                    continue;
                }
                match waiting.begin_move(from.thread) {
                    Some(begun) => moves.push(begun),
                    None => return Ok(United::Behind(from)),
                }
                match self.move_thread(account, from, to).await? {
                    Moving::Refused => {}
                    Moving::Done | Moving::Again => {
                        may_move = true;
                        break;
                    }
                }
            }
            if !may_move {
                return Ok(United::Two);
            }
        }
        Err(Failure::Unavailable)
    }

    /// Makes one of two contacts without a thread in common, if one of them can give way. Answers
    /// whether they are one.
    pub(crate) async fn unite_contacts(
        &self,
        account: &Account,
        one: ContactId,
        other: ContactId,
    ) -> Result<bool, Failure> {
        let mut free = false;
        for contact in [one, other] {
            free = free || self.is_free(account, contact, None, Evidence::Together).await?;
        }
        if free {
            self.merge(account.tenant, one, other, None).await?;
        }
        Ok(free)
    }

    /// That two contacts may be one is shown on both, if both are there.
    pub(crate) async fn suggest(
        &self,
        tenant: TenantId,
        one: ContactId,
        other: ContactId,
        reason: MergeReason,
        handle: &Handle,
    ) -> Result<(), Failure> {
        let both = (self.root(one).await?, self.root(other).await?);
        for contact in [both.0, both.1] {
            if both.0 == both.1 || self.world.contacts.get(contact).await?.is_none() {
                return Ok(());
            }
        }
        let (since, identity) = (self.world.clock.now(), handle.clone());
        for (contact, contact_id) in [both, (both.1, both.0)] {
            let identity = identity.clone();
            let suggestion = MergeSuggestion { contact_id, reason, identity, since };
            let suggest = ContactCommand::Suggest(suggestion);
            self.tell_if_there(tenant, contact, suggest).await?;
        }
        Ok(())
    }

    /// Whether an owner's thread may be moved to that of another one. The thread has the last word.
    async fn gives_way(
        &self,
        account: &Account,
        from: Owner,
        to: Owner,
        evidence: Evidence,
    ) -> Result<bool, StoreError> {
        let thread = self.world.conversations.thread(from.thread).await?;
        if thread.is_some_and(|thread| thread.stays || thread.taken_in) {
            return Ok(false);
        }
        let is_same = self.root(from.contact).await? == self.root(to.contact).await?;
        Ok(is_same || self.is_free(account, from.contact, Some(from.thread), evidence).await?)
    }

    /// Whether nobody at the desk did anything with a contact, but for this thread of it, and, by
    /// weak evidence, whether nothing says that it is somebody else.
    async fn is_free(
        &self,
        account: &Account,
        contact: ContactId,
        but_for: Option<ThreadId>,
        evidence: Evidence,
    ) -> Result<bool, StoreError> {
        let Some(contact) = self.world.contacts.current(contact).await? else { return Ok(true) };
        let may_be_another = evidence == Evidence::Together && !contact.is_bare(account.id);
        if contact.is_touched() || may_be_another || contact.absorbed.len() >= ABSORBED_MAX {
            return Ok(false);
        }
        for thread in contact.threads.iter().filter(|thread| Some(**thread) != but_for) {
            if self.is_touched(*thread).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_touched(&self, thread: ThreadId) -> Result<bool, StoreError> {
        let conversations = &self.world.conversations;
        let Some(thread) = conversations.thread(thread).await? else { return Ok(false) };
        if thread.moved_to.is_some() {
            return Ok(false);
        }
        let case = match thread.current {
            Some(current) => conversations.folded(current).await?,
            None => None,
        };
        Ok(thread.stays || case.is_some_and(|case| case.touched))
    }

    /// Has one thread moved to another. The other one knows first: ids that are new to it may be
    /// known to what comes, and where it is the younger one it must stay.
    async fn move_thread(
        &self,
        account: &Account,
        from: Owner,
        to: Owner,
    ) -> Result<Moving, Failure> {
        let take_in = Command::TakeIn { older: to > from };
        match self.ask(to.thread, Some(origin(account, to)), take_in).await {
            Ok(_) => {}
            Err(Failure::Refused(Refused::Moved(_))) => return Ok(Moving::Again),
            Err(failure) => return Err(failure),
        }
        let Owner { thread, contact } = to;
        let move_to = Command::MoveTo(MovedTo { thread, contact });
        match self.ask(from.thread, Some(origin(account, from)), move_to).await {
            Ok(_) => Ok(Moving::Done),
            Err(Failure::Refused(Refused::Moved(_))) => Ok(Moving::Again),
            Err(Failure::Refused(_)) => Ok(Moving::Refused),
            Err(failure) => Err(failure),
        }
    }

    /// Where an owner's thread went, all that follows from its move being done.
    async fn settled(&self, owner: Owner, handles: &[Handle]) -> Result<Owner, Failure> {
        Ok(self.settle(owner.thread, handles).await?.unwrap_or(owner))
    }

    /// Does what is left to do of a thread's move, and of the moves of what it was moved to: names of
    /// handles, these too, say where it went, and its contact is that one's. Answers who that is;
    /// `None`: it was not moved.
    pub async fn settle(
        &self,
        thread: ThreadId,
        handles: &[Handle],
    ) -> Result<Option<Owner>, Failure> {
        let (mut at, mut owner) = (thread, None);
        while let Some(next) = self.settle_move(at, handles).await? {
            (at, owner) = (next.thread, Some(next));
        }
        Ok(owner)
    }

    /// The same for this move alone; answers where it went.
    async fn settle_move(
        &self,
        thread: ThreadId,
        handles: &[Handle],
    ) -> Result<Option<Owner>, Failure> {
        let Some(row) = self.world.conversations.thread(thread).await? else { return Ok(None) };
        let Some(MovedTo { thread: next, contact }) = row.moved_to else { return Ok(None) };
        if !row.settled && !self.has_moved(&row).await? {
            return Ok(None);
        }
        let to = self.joined(&row).await?;
        let own = match row.settled {
            true => Vec::new(),
            false => self.handles_of(&row).await?,
        };
        self.rename(&row, to, &[handles, &own[..]].concat()).await?;
        if !row.settled {
            self.merge(row.tenant, row.contact, to.contact, Some((thread, to.thread))).await?;
            let (identities, name) = (Vec::new(), None);
            let learn = ContactCommand::Learn { identities, thread: Some(to.thread), name };
            if self
                .world
                .contacts
                .get(row.contact)
                .await?
                .is_some_and(|row| !row.threads.is_empty())
            {
                self.tell(row.tenant, to.contact, learn).await?;
            }
            self.hand_on(&row, own).await?;
            while self.ask(thread, None, Command::Settle).await?.changed {}
        }
        Ok(Some(Owner { thread: next, contact }))
    }

    /// Whether a thread knows of its move, too. Awake, it has its newest commit settled: what it took
    /// is found by whoever asks. A write that was on its way when nobody waited for it any more may
    /// show a move that its thread knows nothing of: it is written over, as by one that takes another
    /// in, since what went where that move says was taken there.
    async fn has_moved(&self, row: &Thread) -> Result<bool, Failure> {
        match self.ask(row.id, None, Command::Look).await {
            Err(Failure::Refused(Refused::Moved(_))) => return Ok(true),
            Ok(_) | Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
        let Thread { tenant, account, channel, contact, .. } = *row;
        let origin = Origin { tenant, account, channel, contact };
        self.ask(row.id, Some(origin), Command::TakeIn { older: false }).await?;
        Ok(false)
    }

    /// Where a thread went, which knows by then that the customer waits.
    async fn joined(&self, row: &Thread) -> Result<Owner, Failure> {
        let conversations = &self.world.conversations;
        let case = match row.current.filter(|_| row.left_waiting && !row.settled) {
            Some(current) => conversations.folded(current).await?,
            None => None,
        };
        let Some(case) = case else {
            return Ok(self.root_of(Owner { thread: row.id, contact: row.contact }).await?);
        };
        let join = Joined {
            conversation: case.id,
            unread: case.unread,
            last_inbound_at: case.last_inbound_at,
            last_inbound_id: case.last_inbound_id,
        };
        self.ask_there(row, &Command::Join(join)).await
    }

    /// Has the thread do something where a moved one went, which may have moved itself. Answers
    /// whose that is.
    async fn ask_there(&self, row: &Thread, command: &Command) -> Result<Owner, Failure> {
        for _ in 0..LOOKS_MAX {
            let to = self.root_of(Owner { thread: row.id, contact: row.contact }).await?;
            let (tenant, account, channel) = (row.tenant, row.account, row.channel);
            let origin = Origin { tenant, account, channel, contact: to.contact };
            match self.ask(to.thread, Some(origin), command.clone()).await {
                Err(Failure::Refused(Refused::Moved(_))) => {}
                Err(failure) => return Err(failure),
                Ok(_) => return Ok(to),
            }
        }
        Err(Failure::Unavailable)
    }

    /// What waits at a moved thread for its message is told once more where that will come. However
    /// often: what is known there changes nothing. What finds no place there is kept.
    async fn hand_on(&self, row: &Thread, handles: Vec<Handle>) -> Result<(), Failure> {
        let conversations = &self.world.conversations;
        let case = match row.current {
            Some(current) => conversations.folded(current).await?,
            None => None,
        };
        let (parked, waiting) = left_behind(row, case.as_ref(), self.world.clock.now());
        for receipt in parked {
            self.tell_there(row, Command::Receipt(receipt.again(handles.clone()))).await?;
        }
        for amendment in waiting {
            // One after the other: together they may be large.
            let said = match amendment.content() {
                Some(at) => conversations.content(at).await?,
                None => None,
            };
            if let Some(amendment) = amendment.again(row.contact, handles.clone(), said) {
                self.tell_there(row, Command::Amend(amendment)).await?;
            }
        }
        Ok(())
    }

    async fn tell_there(&self, row: &Thread, command: Command) -> Result<(), Failure> {
        match self.ask_there(row, &command).await {
            Err(Failure::Refused(refused)) => {
                let (whose, raw) = ((Some(row.tenant), Some(row.account)), raw(&command));
                let parking = &self.world.parking;
                let letter = parking.dead(whose, Source::Place, refused.to_string(), raw);
                Ok(parking.bury(&[letter]).await?)
            }
            answer => answer.map(drop),
        }
    }

    /// By what the customer of a thread is known.
    async fn handles_of(&self, row: &Thread) -> Result<Vec<Handle>, StoreError> {
        let contact = self.world.contacts.get(row.contact).await?;
        Ok(contact.iter().flat_map(|of| &of.identities).map(|one| one.handle()).collect())
    }

    /// The handles of a moved thread name the one that it was moved to.
    async fn rename(&self, row: &Thread, to: Owner, handles: &[Handle]) -> Result<(), Failure> {
        let scope = Scope { tenant: row.tenant, account: row.account };
        let mut renamed = false;
        for handle in handles {
            let held = self.handles.get(scope, handle).await?;
            if let Some(held) = held.filter(|held| held.thread == row.id) {
                let new = Held { thread: to.thread, contact: to.contact, ..held };
                renamed |= self.handles.swap(scope, handle, (held, new)).await?;
            }
        }
        if renamed {
            self.known.forget();
        }
        Ok(())
    }

    /// Merges the younger of two contacts into the older one; where that was begun before it is
    /// completed. The first thread of `moved` was moved to the second one.
    pub(crate) async fn merge(
        &self,
        tenant: TenantId,
        one: ContactId,
        other: ContactId,
        moved: Option<(ThreadId, ThreadId)>,
    ) -> Result<(), Failure> {
        for _ in 0..LOOKS_MAX {
            let (a, b) = (self.root(one).await?, self.root(other).await?);
            if a != b {
                let merge = ContactCommand::MergeInto { into: a.min(b), moved };
                self.tell(tenant, a.max(b), merge).await?;
                continue;
            }
            for merged in [one, other].into_iter().filter(|contact| *contact != a) {
                self.handed_over(tenant, merged, a).await?;
            }
            return Ok(());
        }
        Err(Failure::Unavailable)
    }

    /// What a contact had that was merged away is the other one's, and its numbers and addresses
    /// name that one on every account.
    async fn handed_over(
        &self,
        tenant: TenantId,
        merged: ContactId,
        into: ContactId,
    ) -> Result<(), Failure> {
        let Some(row) = self.world.contacts.get(merged).await? else { return Ok(()) };
        if !row.handed_over {
            // Woken by whatever it is told, it hands over what it has.
            self.tell_if_there(tenant, merged, ContactCommand::Look).await?;
        }
        for identity in row.identities.iter().filter(|identity| identity.kind.is_global()) {
            let swap = (merged, into);
            self.handles.swap_contact(tenant, &identity.handle(), swap).await?;
        }
        Ok(())
    }

    /// The thread that an owner's turned out to be.
    pub(crate) async fn root_of(&self, owner: Owner) -> Result<Owner, StoreError> {
        let mut owner = owner;
        // None goes in a circle.
        while let Some(row) = self.world.conversations.thread(owner.thread).await? {
            let Some(MovedTo { thread, contact }) = row.moved_to else { break };
            owner = Owner { thread, contact };
        }
        Ok(owner)
    }

    /// The contact that one turned out to be.
    pub(crate) async fn root(&self, contact: ContactId) -> Result<ContactId, StoreError> {
        let mut root = contact;
        while let Some(into) = self.world.contacts.get(root).await?.and_then(|row| row.merged_into)
        {
            root = into;
        }
        Ok(root)
    }
}

/// What became of a thread that was to be moved.
enum Moving {
    /// It is.
    Done,
    /// People work there.
    Refused,
    /// One of both went elsewhere meanwhile.
    Again,
}
