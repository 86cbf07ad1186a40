//! Pages of conversations' messages: read in turn, and kept as they were sent.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use engine::channel::Channel;
use engine::conversation::{Command, Conversation, Refused};
use engine::id::{AgentId, ConversationId, TenantId};
use engine::message::MessageRow;
use engine::permission::Viewer;
use metrics::Counter;
use storage::{Store, StoreError};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::turns::{Turn, Turns};

/// Which of a conversation's messages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Only those with a smaller seq,
    pub before: u64,
    /// and with a larger one;
    pub after: u64,
    /// behind so many of them, newest first,
    pub skip: usize,
    /// at most so many.
    pub limit: usize,
}

/// Messages of a conversation as they were read.
pub struct Page {
    /// The conversation before they were read.
    pub head: Conversation,
    /// Newest first.
    pub rows: Vec<MessageRow>,
    /// The number in the conversation of the newest one within the bounds; 0: there is none.
    pub newest: u64,
    _turn: Option<Turn>,
}

/// A page as it is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Whose the conversation was,
    pub tenant: TenantId,
    /// and who had it.
    pub assignee: Option<AgentId>,
    pub body: Bytes,
    /// Messages on it.
    pub rows: usize,
    /// Messages within its bounds.
    pub total: usize,
}

/// Pages as they were sent. What writes a conversation's messages makes all of it be forgotten, before
/// it begins and when it has ended: a page that was read meanwhile is not kept.
pub struct Pages {
    /// Whether what was read is still so as far as nothing was written here.
    holds: Holds,
    /// Whether no write lands behind its answer.
    settled: bool,
    most: usize,
    kept: Mutex<Kept>,
    hits: Counter,
    misses: Counter,
    mails: MailPages,
}

type Holds = Box<dyn Fn() -> bool + Send + Sync>;

/// What a page is of.
type Name = (ConversationId, Asked);

struct Kept {
    /// Each with its number.
    pages: BTreeMap<Name, (u64, Sent)>,
    /// By their numbers: the oldest first.
    ages: BTreeMap<u64, Name>,
    next: u64,
    bytes: usize,
    /// How often something of conversations was forgotten, of each that has this place.
    forgotten: Vec<u64>,
    /// Conversations where a write may still land at any time.
    doubted: HashSet<ConversationId>,
}

/// Turns of pages of mails.
struct MailPages {
    short: Turns,
    long: Turns,
}

/// From before a page is read: it is kept if nothing of its conversation was forgotten since. `None`:
/// it is not.
struct Ticket(Option<u64>);

/// A write of a conversation's messages, as long as it is under way.
pub(crate) struct UnderWay {
    pages: Arc<Pages>,
    conversation: ConversationId,
    is_known: bool,
}

/// What a page takes beside its body.
const PAGE_BYTES: usize = 512;
/// Larger than such a part of all, a page is not kept: it would drive out too many.
const PARTS: usize = 16;
/// Places that conversations share; of two that do, one being written costs the other a page.
const PLACES: usize = 4093;
/// So many pages of mails are in memory at once while they are read and written out, tenant by tenant; of
/// those with more than [`MAILS`] fewer: each may have tens of megabytes.
const SHORT_PAGES: usize = 8;
const LONG_PAGES: usize = 2;
const MAILS: u64 = 8;
/// With so many nothing is kept any more.
const DOUBTED_MAX: usize = 100_000;

impl Pages {
    /// Of what this store holds, at most so many bytes; 0: none are kept.
    pub fn new(store: Arc<dyn Store>, most: usize) -> Self {
        let settled = store.guarantees().settled;
        Self::over(Box::new(move || store.holds()), settled, most)
    }

    fn over(holds: Holds, settled: bool, most: usize) -> Self {
        let count = |outcome| metrics::counter!("omnistream_pages_total", "outcome" => outcome);
        let kept = Kept {
            pages: BTreeMap::new(),
            ages: BTreeMap::new(),
            next: 0,
            bytes: 0,
            forgotten: vec![0; PLACES],
            doubted: HashSet::new(),
        };
        let (hits, misses) = (count("kept"), count("read"));
        let mails = MailPages::new();
        Self { holds, settled, most, kept: Mutex::new(kept), hits, misses, mails }
    }

    /// A page for somebody, as it was sent before if nothing has changed since, else as it is read.
    pub async fn get<E, F>(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
        asked: Asked,
        read: impl FnOnce() -> F,
    ) -> Result<Sent, E>
    where
        F: Future<Output = Result<Sent, E>>,
    {
        let name = (conversation, asked);
        match self.look(viewer, name) {
            Ok(sent) => {
                self.hits.increment(1);
                Ok(sent)
            }
            Err(ticket) => {
                self.misses.increment(1);
                let sent = read().await?;
                self.keep(name, sent.clone(), &ticket);
                Ok(sent)
            }
        }
    }

    /// Bytes of what is kept.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    /// Messages of a conversation are going to be written.
    pub(crate) fn begin(self: &Arc<Self>, conversation: ConversationId) -> UnderWay {
        self.forget(conversation);
        UnderWay { pages: self.clone(), conversation, is_known: false }
    }

    /// Pages of a conversation are not what they were, and what is being read of it is not kept.
    pub(crate) fn forget(&self, conversation: ConversationId) {
        if self.most > 0 {
            self.kept().forget(conversation);
        }
    }

    fn look(&self, viewer: Viewer, name: Name) -> Result<Sent, Ticket> {
        // Elsewhere another process may have changed it since.
        if self.most == 0 || !(self.holds)() {
            return Err(Ticket(None));
        }
        let kept = self.kept();
        match kept.pages.get(&name) {
            Some((_, sent)) if sent.is_for(viewer) => Ok(sent.clone()),
            // Whoever may not see it is told so by its actor, as where nothing is kept.
            _ => Err(kept.ticket(name.0)),
        }
    }

    fn keep(&self, name: Name, sent: Sent, ticket: &Ticket) {
        if sent.bytes() > self.most / PARTS {
            return;
        }
        let mut kept = self.kept();
        let is_good = ticket.0.is_some() && kept.ticket(name.0).0 == ticket.0;
        if is_good && !kept.pages.contains_key(&name) {
            kept.add(name, sent);
            while kept.bytes > self.most {
                kept.drop_oldest();
            }
        }
    }

    fn doubt(&self, conversation: ConversationId) {
        let mut kept = self.kept();
        if kept.doubted.len() < DOUBTED_MAX {
            kept.doubted.insert(conversation);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    fn is_for(&self, viewer: Viewer) -> bool {
        self.tenant == viewer.tenant && viewer.may_see(self.assignee)
    }

    fn bytes(&self) -> usize {
        self.body.len() + PAGE_BYTES
    }
}

impl Kept {
    fn ticket(&self, conversation: ConversationId) -> Ticket {
        let is_doubted = self.doubted.contains(&conversation) || self.doubted.len() >= DOUBTED_MAX;
        Ticket((!is_doubted).then(|| self.forgotten[place(conversation)]))
    }

    fn add(&mut self, name: Name, sent: Sent) {
        self.bytes += sent.bytes();
        self.ages.insert(self.next, name);
        self.pages.insert(name, (self.next, sent));
        self.next += 1;
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.ages.pop_first()
            && let Some((_, sent)) = self.pages.remove(&name)
        {
            self.bytes -= sent.bytes();
        }
    }

    fn forget(&mut self, conversation: ConversationId) {
        self.forgotten[place(conversation)] += 1;
        let least = Asked { before: 0, after: 0, skip: 0, limit: 0 };
        while let Some((name, (age, sent))) = self.pages.range((conversation, least)..).next()
            && name.0 == conversation
        {
            let (name, age) = (*name, *age);
            self.bytes -= sent.bytes();
            self.ages.remove(&age);
            self.pages.remove(&name);
        }
    }
}

fn place(conversation: ConversationId) -> usize {
    // The end of an id is drawn.
    let place = conversation.0.as_u64_pair().1 % PLACES as u64;
    usize::try_from(place).expect("a place is below their number")
}

impl UnderWay {
    /// It has ended so. Where that is not known, and the store may write it yet, no page is kept again.
    pub(crate) fn ended(mut self, outcome: &Result<(), StoreError>) {
        self.is_known = matches!(outcome, Ok(()) | Err(StoreError::Unavailable(_)));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_known && !self.pages.settled {
            self.pages.doubt(self.conversation);
        }
        self.pages.forget(self.conversation);
    }
}

impl MailPages {
    fn new() -> Self {
        Self { short: Turns::new(SHORT_PAGES), long: Turns::new(LONG_PAGES) }
    }

    /// For a page of so many.
    fn of(&self, mails: u64) -> &Turns {
        if mails > MAILS { &self.long } else { &self.short }
    }
}

impl Desk {
    /// Pages as they were sent.
    pub fn pages(&self) -> &Pages {
        &self.world().pages
    }

    /// The newest messages of a conversation that are asked for, newest first.
    pub async fn page(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
        asked: Asked,
    ) -> Result<Page, Failure> {
        let answer = self.ask(viewer, conversation, None, Command::Look).await?;
        let head = Arc::unwrap_or_clone(answer.conversation.ok_or(Refused::NotFound)?);
        Ok(self.page_of(head, asked).await?)
    }

    /// The same of a conversation as it was found.
    pub(crate) async fn page_of(
        &self,
        head: Conversation,
        asked: Asked,
    ) -> Result<Page, StoreError> {
        let Asked { before, after, skip, limit } = asked;
        let turn = self.reading_turn(&head, limit as u64).await;
        let conversations = &self.world().conversations;
        let (rows, newest) = conversations.page(&head, (before, after), (skip, limit)).await?;
        Ok(Page { head, rows, newest, _turn: turn })
    }

    /// The turn in which so many messages of a conversation are read at once; `None`: they need none.
    pub(crate) async fn reading_turn(&self, head: &Conversation, messages: u64) -> Option<Turn> {
        match head.channel {
            Channel::Email => Some(self.pages().mails.of(messages).take(head.tenant, 0).await),
            _ => None,
        }
    }

    /// Messages of a conversation with `after < seq < before` (the bounds), newest first, at most
    /// `limit`.
    pub async fn messages(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
        (before, after): (u64, u64),
        limit: usize,
    ) -> Result<Vec<MessageRow>, Failure> {
        let asked = Asked { before, after, skip: 0, limit };
        Ok(self.page(viewer, conversation, asked).await?.rows)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;
    use engine::id::{AgentId, ConversationId, TenantId};
    use engine::permission::{Permissions, Viewer};
    use storage::StoreError;
    use uuid::Uuid;

    use super::{Asked, DOUBTED_MAX, PAGE_BYTES, PARTS, Pages, Sent};

    const ONE: ConversationId = ConversationId(Uuid::from_u128(1));
    const OTHER: ConversationId = ConversationId(Uuid::from_u128(2));
    const TENANT: TenantId = TenantId(Uuid::from_u128(3));
    const ADA: AgentId = AgentId(Uuid::from_u128(4));
    const NEWEST: Asked = Asked { before: u64::MAX, after: 0, skip: 0, limit: 20 };

    fn pages(settled: bool, most: usize) -> Arc<Pages> {
        Arc::new(Pages::over(Box::new(|| true), settled, most))
    }

    fn admin() -> Viewer {
        Viewer { tenant: TENANT, agent: AgentId(Uuid::nil()), permissions: Permissions::all() }
    }

    fn sent(text: &str) -> Sent {
        let body = Bytes::copy_from_slice(text.as_bytes());
        Sent { tenant: TENANT, assignee: Some(ADA), body, rows: 1, total: 1 }
    }

    /// Asks for a page, which is this one if it is read; answers whether it was.
    async fn reads(pages: &Pages, viewer: Viewer, of: ConversationId, text: &str) -> bool {
        let is_read = Cell::new(false);
        let read = async || {
            is_read.set(true);
            Ok::<_, Infallible>(sent(text))
        };
        let Ok(page) = pages.get(viewer, of, NEWEST, read).await;
        assert_eq!(page.body, text);
        is_read.get()
    }

    #[tokio::test]
    async fn a_page_is_kept_until_something_writes_its_conversation() {
        let pages = pages(true, 1 << 20);
        assert!(reads(&pages, admin(), ONE, "one").await);
        assert!(reads(&pages, admin(), OTHER, "other").await);
        let farther = Asked { skip: 20, ..NEWEST };
        let read = async || Ok::<_, Infallible>(sent("more"));
        let Ok(_) = pages.get(admin(), ONE, farther, read).await;
        assert!(!reads(&pages, admin(), ONE, "one").await);
        assert_eq!(pages.bytes(), 3 * PAGE_BYTES + "oneothermore".len());
        let under_way = pages.begin(ONE);
        assert_eq!(pages.bytes(), PAGE_BYTES + "other".len(), "all of it is gone at once");
        assert!(reads(&pages, admin(), ONE, "one").await);
        under_way.ended(&Ok(()));
        assert!(reads(&pages, admin(), ONE, "new").await, "it was read before that ended");
        assert!(!reads(&pages, admin(), ONE, "new").await);
        assert!(!reads(&pages, admin(), OTHER, "other").await);
    }

    #[tokio::test]
    async fn what_was_being_read_when_something_was_written_is_not_kept() {
        let pages = pages(true, 1 << 20);
        let read = async || {
            drop(pages.begin(ONE));
            Ok::<_, Infallible>(sent("old"))
        };
        let Ok(_) = pages.get(admin(), ONE, NEWEST, read).await;
        assert!(reads(&pages, admin(), ONE, "new").await);
        let read = async || {
            drop(pages.begin(OTHER));
            Ok::<_, Infallible>(sent("as it is"))
        };
        let Ok(_) = pages.get(admin(), ONE, Asked { skip: 20, ..NEWEST }, read).await;
        assert_eq!(pages.bytes(), 2 * PAGE_BYTES + "newas it is".len(), "that was another one");
    }

    #[tokio::test]
    async fn the_oldest_leave_where_there_is_no_room_and_a_large_one_is_not_kept() {
        let page = "x".repeat(1_000);
        let most = PARTS * (page.len() + PAGE_BYTES);
        let some = pages(true, most);
        let ids = |n| ConversationId(Uuid::from_u128(n));
        for n in 0..20 {
            assert!(reads(&some, admin(), ids(n), &page).await);
            assert!(some.bytes() <= most);
        }
        assert_eq!(some.bytes(), most);
        for n in 4..20 {
            assert!(!reads(&some, admin(), ids(n), &page).await, "{n}");
        }
        assert!(reads(&some, admin(), ids(3), &page).await);
        for _ in 0..2 {
            assert!(reads(&some, admin(), ids(20), &"x".repeat(1_001)).await);
        }
        let none = pages(true, 0);
        for _ in 0..2 {
            assert!(reads(&none, admin(), ONE, "").await);
        }
    }

    #[tokio::test]
    async fn whoever_may_not_see_it_is_not_given_what_is_kept() {
        let pages = pages(true, 1 << 20);
        reads(&pages, admin(), ONE, "page").await;
        let ada = Viewer { agent: ADA, permissions: Permissions::default(), ..admin() };
        assert!(!reads(&pages, ada, ONE, "page").await);
        for not_theirs in [
            Viewer { tenant: TenantId(Uuid::nil()), ..admin() },
            Viewer { permissions: Permissions::default(), ..admin() },
        ] {
            assert!(reads(&pages, not_theirs, ONE, "page").await);
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_where_another_process_may_have_written() {
        let holds = Arc::new(AtomicBool::new(true));
        let may = holds.clone();
        let pages = Pages::over(Box::new(move || may.load(Ordering::SeqCst)), false, 1 << 20);
        reads(&pages, admin(), ONE, "page").await;
        holds.store(false, Ordering::SeqCst);
        assert!(reads(&pages, admin(), ONE, "page").await);
        assert!(reads(&pages, admin(), OTHER, "other").await);
        holds.store(true, Ordering::SeqCst);
        assert!(!reads(&pages, admin(), ONE, "page").await, "nobody has taken over");
        assert!(reads(&pages, admin(), OTHER, "other").await, "it was read meanwhile");
    }

    #[tokio::test]
    async fn where_a_write_may_still_land_nothing_is_kept_again() {
        let (unknown, not) = (StoreError::Unknown("".into()), StoreError::Unavailable("".into()));
        for (settled, outcome, keeps) in [
            (true, Err(unknown.clone()), true),
            (false, Ok(()), true),
            (false, Err(not), true),
            (false, Err(unknown), false),
        ] {
            let pages = pages(settled, 1 << 20);
            pages.begin(ONE).ended(&outcome);
            reads(&pages, admin(), ONE, "page").await;
            assert_eq!(reads(&pages, admin(), ONE, "page").await, !keeps, "{settled} {outcome:?}");
        }
        let pages = pages(false, 1 << 20);
        for n in 0..DOUBTED_MAX as u128 {
            // Whoever writes it is gone.
            drop(pages.begin(ConversationId(Uuid::from_u128(100 + n))));
        }
        for _ in 0..2 {
            assert!(reads(&pages, admin(), ONE, "page").await, "all are doubted");
        }
    }
}
