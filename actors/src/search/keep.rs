//! Keeps the index: brings in what is marked, and behind it what an earlier run, or a run of more than
//! there was room for, left out. The index knows before when nothing is missing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::contact::Contact;
use engine::conversation::Conversation;
use engine::id::{ContactId, ConversationId};
use engine::message::MessageRow;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::{Conversations, FIRST_HOUR};
use storage::keys::hour;
use storage::search::{Round, SearchError, SearchWriter, Trust, behind_all};
use storage::{Store, StoreError, together};
use tokio::sync::watch;
use tokio::time::Instant;

use super::behind::{BATCH, Page, Sought, said_by};
use super::marks::Mark;
use super::pass::{Pass, Step};
use super::spared::{left_out, spared};
use super::{Inner, Search, aside};
use crate::panics::{Panicked, caught, caught_in};

/// A round takes this long before it is written, or little longer, if it is not full before.
const GATHERING: Duration = Duration::from_millis(500);
/// After a failure it is opened again; each time later, at most so much.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
const HOUR_MS: i64 = 3_600_000;

/// Why the index does not go on as it is.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
    #[error("the search index failed when it was asked")]
    Doubted,
}

/// The index while it is kept.
struct Keeper<'a> {
    search: &'a Search,
    /// `None`: it failed.
    writer: Option<SearchWriter>,
    /// What is brought in next.
    round: Round,
    /// What is still to be looked at of what was marked, up to this time.
    taken: Vec<Mark>,
    until: Timestamp,
    /// Of what was marked everything is in the index that was committed before.
    sure: Timestamp,
    /// What the index has written of that.
    written: Timestamp,
    /// How much this round has brought in.
    brought: usize,
    /// The next round may begin.
    next: Instant,
    stopping: watch::Receiver<bool>,
}

impl Failed {
    /// How far the index is believed after it: what it panics over once, it panics over again.
    fn trust(&self) -> Trust {
        match self {
            Self::Search(SearchError::Panicked) => Trust::No,
            Self::Search(SearchError::Failed(_)) | Self::Doubted => Trust::Checked,
            Self::Store(_) | Self::Panicked(_) => Trust::Opens,
        }
    }
}

impl Search {
    /// Keeps the index until it is told to stop. After a failure it is opened again, and what may be
    /// missing since is brought in: there is one way of repair.
    pub async fn run(self, first: Option<SearchWriter>, mut stopping: watch::Receiver<bool>) {
        let (mut first, mut trust, mut patience) = (first, Trust::Opens, PATIENCE[0]);
        loop {
            let began = Instant::now();
            let keeping = Box::pin(self.keep(first.take(), trust, stopping.clone()));
            let kept = caught_in("search", keeping).await;
            let Err(error) = kept.map_err(Failed::from).flatten() else { return };
            tracing::warn!(%error, "the search index stopped; it is opened again");
            metrics::counter!("omnistream_search_failures_total").increment(1);
            trust = error.trust();
            patience = if began.elapsed() > PATIENCE[1] { PATIENCE[0] } else { patience };
            tokio::select! {
                () = stopped(&mut stopping) => return,
                () = tokio::time::sleep(patience) => {}
            }
            patience = (patience * 2).min(PATIENCE[1]);
        }
    }

    async fn keep(
        &self,
        first: Option<SearchWriter>,
        trust: Trust,
        stopping: watch::Receiver<bool>,
    ) -> Result<(), Failed> {
        let writer = match first {
            Some(writer) => writer,
            None => self.open(trust).await?,
        };
        self.0.is_doubted.store(false, Ordering::Relaxed);
        let (now, sure) = (Instant::now(), self.told());
        let began = self.began().await?;
        let (from, is_new) = match writer.position()? {
            // One that is still to come is of a clock that was ahead.
            Some(from) => (from.min(sure), false),
            None => (Timestamp(began * HOUR_MS), true),
        };
        {
            let mut marks = self.marks();
            marks.taken.get_or_insert(now);
            // One that broke off begins again: how far it came is nowhere said.
            marks.pass = Some(Pass::everywhere(from));
        }
        let mut keeper = Keeper {
            search: self,
            writer: Some(writer),
            round: Round::default(),
            taken: Vec::new(),
            until: sure,
            sure,
            written: if is_new { Timestamp(0) } else { from },
            brought: 0,
            next: now,
            stopping,
        };
        let kept = keeper.run().await;
        // It waits for its threads.
        let writer = keeper.writer.take();
        aside(move || {
            drop(writer);
            Ok(())
        })
        .await?;
        kept
    }

    /// Before this hour nothing was committed. A beginning that is still to come is of a clock that was
    /// ahead, and nobody knows for how long.
    async fn began(&self) -> Result<i64, StoreError> {
        let Inner { conversations, clock, stamps, .. } = &*self.0;
        let (began, now) = (conversations.began().await?, hour(clock.now()));
        if began <= now {
            return Ok(began);
        }
        let began = FIRST_HOUR.min(now);
        conversations.set_began(began, stamps.next()).await?;
        Ok(began)
    }

    /// What was committed before is told by now.
    fn told(&self) -> Timestamp {
        let within = i64::try_from(self.0.options.told_within.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.clock.now().0.saturating_sub(within))
    }

    /// What is to be looked at next; `None`: nothing of what the store was looked through for is missing.
    fn next_step(&self) -> Option<Step> {
        let mut marks = self.marks();
        // The newest commit of all is not later, whatever the clock says.
        let newest = hour(self.0.clock.now().max(marks.newest));
        let step = marks.step(newest);
        let hours = step.map_or(0, |step| newest + 1 - step.hour);
        metrics::gauge!("omnistream_search_behind_hours").set(hours as f64);
        step
    }
}

/// How long to rest behind a round that brought in so many, while so many more were committed.
fn rest(worked: Duration, told: usize, brought: usize) -> Duration {
    let share = told as f64 / brought.max(1) as f64;
    worked.mul_f64(share.min(1.0))
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

impl Keeper<'_> {
    /// One round after the other: what is marked, and what is behind as far as there is room and time. As
    /// long as others are at work, too, who has much to do rests as long as it worked: searching is
    /// nobody's first need.
    async fn run(&mut self) -> Result<(), Failed> {
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stopping) => return Ok(()),
                () = self.due() => {}
            }
            let began = Instant::now();
            (self.search.marks().told, self.brought) = (0, 0);
            self.gather(began).await?;
            if self.is_stopping() {
                // The next start brings it in.
                return Ok(());
            }
            self.write().await?;
            let now = Instant::now();
            let rest = rest(now - began, self.search.marks().told, self.brought);
            self.next = (began + self.search.0.options.every).max(now + rest);
        }
    }

    async fn due(&self) {
        if self.taken.is_empty() {
            self.search.has_to_do().await;
        }
        tokio::time::sleep_until(self.next).await;
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn gather(&mut self, began: Instant) -> Result<(), Failed> {
        if self.search.0.is_doubted.load(Ordering::Relaxed) {
            return Err(Failed::Doubted);
        }
        if self.taken.is_empty() {
            self.search.began().await?;
            self.take();
        }
        while !self.taken.is_empty() && !self.round.is_full() && !self.is_stopping() {
            let rest = self.taken.split_off(self.taken.len().saturating_sub(BATCH));
            self.put_marked(&rest).await?;
        }
        while self.taken.is_empty() && !self.is_stopping() {
            if self.round.is_full() || began.elapsed() >= GATHERING {
                break;
            }
            let Some(step) = self.search.next_step() else { break };
            self.look_back(step).await?;
            if let Some(pass) = &mut self.search.marks().pass {
                pass.stepped();
            }
        }
        Ok(())
    }

    /// Takes what is marked. What was lost waits until everything is looked through that is behind.
    fn take(&mut self) {
        let mut marks = self.search.marks();
        self.taken = marks.take(self.search.0.options.marks);
        let oldest = marks.taken.into_iter().chain(marks.since.take()).min();
        marks.taken = oldest;
        if marks.pass.is_none() {
            marks.pass = Pass::missing(std::mem::take(&mut marks.lost));
        }
        drop(marks);
        self.until = self.search.told();
        // What is read one behind the other lies one behind the other.
        self.taken.sort_unstable();
    }

    async fn put_marked(&mut self, marks: &[Mark]) -> Result<(), Failed> {
        let of_one = |one: &Mark, other: &Mark| one.conversation() == other.conversation();
        let all = marks.to_vec();
        let read = async move |store: Arc<dyn Store>| {
            let (contacts, conversations) =
                (Contacts::new(store.clone()), Conversations::new(store));
            let (mut heads, mut rows, mut people) = (Vec::new(), Vec::new(), Vec::new());
            for conversation in all.chunk_by(of_one).filter_map(|marks| marks[0].conversation()) {
                heads.push(spared(conversations.folded(conversation)).await?.flatten());
            }
            for mark in &all {
                match *mark {
                    Mark::Message(conversation, place) => {
                        rows.push(spared(conversations.row(conversation, place)).await?.flatten());
                    }
                    Mark::Contact { id, .. } => people.push(spared(contacts.get(id)).await?),
                    Mark::Commit(..) => {}
                }
            }
            Ok((heads.into_iter(), rows.into_iter(), people.into_iter()))
        };
        let store = self.search.0.conversations.store();
        let (mut heads, mut rows, mut people) = together(store, read).await?;
        for marks in marks.chunk_by(of_one) {
            let head = marks[0].conversation().and_then(|_| heads.next()?);
            for mark in marks {
                match (*mark, &head) {
                    (Mark::Contact { id, was_there }, _) => {
                        self.put_contact(id, people.next().flatten(), !was_there);
                    }
                    (Mark::Message(..), head) => {
                        if let (Some(row), Some(head)) = (rows.next().flatten(), head) {
                            let put = || self.put(head, &row, true);
                            caught("search", put).unwrap_or_else(|_| left_out("it panicked"));
                        }
                    }
                    (Mark::Commit(_, seq), Some(head)) => {
                        spared(self.put_commit(head, seq)).await?;
                    }
                    (Mark::Commit(..), None) => {}
                }
            }
        }
        Ok(())
    }

    /// Brings in what one commit says.
    async fn put_commit(&mut self, head: &Conversation, seq: u64) -> Result<(), StoreError> {
        let conversations = &self.search.0.conversations;
        for commit in conversations.commits(head.id, seq, 1).await? {
            for row in said_by(conversations, &commit).await? {
                let put = || self.put(head, &row, false);
                caught("search", put).unwrap_or_else(|_| left_out("it panicked"));
            }
        }
        Ok(())
    }

    /// Brings in a contact as it was read.
    fn put_contact(&mut self, id: ContactId, read: Option<Option<Contact>>, is_new: bool) {
        match read {
            Some(Some(contact)) => self.round.put_contact(&contact, is_new),
            Some(None) => self.round.remove_contact(id),
            None => {}
        }
    }

    /// Brings in a message as it is now. One that was never changed is not in the index yet, unless
    /// it was told before.
    fn put(&mut self, head: &Conversation, row: &MessageRow, is_told: bool) {
        // What the head does not know of did not happen.
        if row.place.ordinal <= head.messages {
            let is_new = is_told && row.message.rev == row.message.seq;
            self.round.put(head.tenant, head.channel, row, is_new);
        }
    }

    /// Brings in what was last changed in one hour of the conversations of one shard, and its contacts that
    /// were written then: all hours from the one that it began with up to the newest together are
    /// everything that may be missing. What changes meanwhile is marked, or come
    /// upon.
    async fn look_back(&mut self, step: Step) -> Result<(), Failed> {
        let Step { hour: at, shard, .. } = step;
        let worked = spared(self.search.0.conversations.worked(shard, at)).await?;
        let cases = worked.into_iter().flatten().filter_map(|(_, worked)| worked.case);
        self.look_at(Sought(step), cases.collect()).await?;
        let mut contacts =
            spared(self.search.0.contacts.dirty(shard, at)).await?.unwrap_or_default();
        while !contacts.is_empty() {
            let some = contacts.split_off(contacts.len().saturating_sub(BATCH));
            self.put_contacts(some).await?;
            self.write_full().await?;
        }
        Ok(())
    }

    /// Brings in what these conversations say, of those that are sought.
    async fn look_at(
        &mut self,
        sought: Sought,
        mut ids: VecDeque<ConversationId>,
    ) -> Result<(), Failed> {
        while !ids.is_empty() {
            let next: Vec<_> = ids.iter().take(BATCH).copied().collect();
            let read = async move |store| sought.among(&Conversations::new(store), &next).await;
            let (looked, found) = together(self.search.0.conversations.store(), read).await?;
            ids.drain(..looked);
            for (head, page) in found {
                self.put_pages(sought, head, page).await?;
            }
        }
        Ok(())
    }

    /// Brings in what a conversation says, from this page on.
    async fn put_pages(
        &mut self,
        sought: Sought,
        head: Conversation,
        first: Page,
    ) -> Result<(), Failed> {
        let (mut page, mut is_whole, mut is_damaged) = (first, false, false);
        loop {
            if page.is_whole && !is_whole {
                is_whole = true;
                self.round.clear(head.id);
            }
            is_damaged |= page.is_damaged;
            for row in &page.rows {
                let put = || match is_whole {
                    true => self.round.put(head.tenant, head.channel, row, true),
                    false => self.put(&head, row, sought.0.is_missing),
                };
                caught("search", put).unwrap_or_else(|_| left_out("it panicked"));
            }
            self.write_full().await?;
            let Some(before) = page.before else { break };
            let of = head.clone();
            let read = async move |store| {
                sought.page(&Conversations::new(store), &of, is_whole, before).await
            };
            page = together(self.search.0.conversations.store(), read).await?;
        }
        if is_damaged {
            left_out("messages cannot be read");
        }
        Ok(())
    }

    /// Brings in contacts as they are now.
    async fn put_contacts(&mut self, ids: Vec<ContactId>) -> Result<(), StoreError> {
        let read = async move |store| {
            let (contacts, mut all) = (Contacts::new(store), Vec::with_capacity(ids.len()));
            for id in ids {
                all.push((id, spared(contacts.get(id)).await?));
            }
            Ok(all)
        };
        for (id, contact) in together(self.search.0.conversations.store(), read).await? {
            self.put_contact(id, contact, false);
        }
        Ok(())
    }

    async fn write_full(&mut self) -> Result<(), Failed> {
        if self.round.is_full() { self.write().await } else { Ok(()) }
    }

    /// Everything that was committed before is in the index, or in the round.
    fn position(&mut self) -> Timestamp {
        if self.taken.is_empty() {
            self.sure = self.until;
        }
        // A conversation is looked through in the hour of its last change alone: until all hours are done
        // what it said before may be missing.
        let marks = self.search.marks();
        let missing =
            marks.pass.as_ref().and_then(Pass::since).into_iter().chain(marks.lost.oldest());
        missing.fold(self.sure, Timestamp::min)
    }

    /// What was brought in can be found from now on.
    async fn write(&mut self) -> Result<(), Failed> {
        let position = self.position();
        if !self.round.is_empty() || position.0 >= self.written.0 + HOUR_MS {
            let Some(mut writer) = self.writer.take() else { return Ok(()) };
            let round = std::mem::take(&mut self.round);
            let messages = round.messages();
            self.brought += messages;
            let written = aside(move || {
                behind_all(move || {
                    writer.write(round, position)?;
                    Ok(writer)
                })
            });
            self.writer = Some(written.await?);
            self.written = position;
            metrics::counter!("omnistream_search_messages_total").increment(messages as u64);
        }
        let mut marks = self.search.marks();
        if self.taken.is_empty() && marks.pass.is_none() && marks.lost.is_empty() {
            marks.taken = None;
            if !marks.is_some() {
                // What waited since then came with the pass.
                marks.since = None;
            }
        }
        Ok(())
    }
}
