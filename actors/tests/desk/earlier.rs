//! An earlier case of a thread, where what follows from a commit is written behind it, and a wake looks
//! only at the current one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use actors::committed::Committed;
use actors::failure::Failure;
use engine::channel::{Amend, Amender, Amendment, Import, Imported, Inbound};
use engine::conversation::{Command, Fetched, Target};
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ConversationId, MediaId};
use engine::media::Stored;
use engine::message::{Attachment, BLOCK_SEQS, Content, MessageStatus, Place};
use engine::time::Timestamp;
use storage::conversations::View;
use storage::faulty::{Call, Fate, Faulty};
use storage::keys::month;
use storage::memory::Memory;
use uuid::Uuid;

use crate::bench::{Bench, TENANT, account, admin, phone, says};
use crate::fetcher::carries;
use crate::outbox::files;
use crate::protocol::is_commit;

/// What a store takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Everything,
    /// The next commit, and nothing that follows from it.
    Commit,
    Nothing,
}

struct Earlier {
    bench: Bench,
    /// It is over, and not the current one any more.
    first: ConversationId,
    takes: Arc<Mutex<Takes>>,
}

/// Too long for a case to be opened again.
const LATER: Duration = Duration::from_secs(25 * 3600);

/// A customer whose first case, with these messages, is an earlier one.
async fn earlier(messages: Vec<Inbound>) -> Earlier {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let takes = Arc::new(Mutex::new(Takes::Everything));
    let taken = takes.clone();
    let store = Faulty::new(memory, move |call| {
        let (Call::Write(write), mut takes) = (call, taken.lock().unwrap()) else {
            return Fate::Done;
        };
        match *takes {
            Takes::Nothing => return Fate::Unavailable,
            Takes::Commit if is_commit(write) => *takes = Takes::Nothing,
            _ => {}
        }
        Fate::Done
    });
    let bench = Bench::over(Arc::new(store), clock).await;
    bench.desk.ingest(&account(), messages).await.unwrap();
    let first = bench.open().await[0].id;
    let status = ConversationStatus::Resolved;
    bench.desk.ask(admin(), first, None, Command::SetStatus { status }).await.unwrap();
    bench.clock.set(bench.clock.now() + LATER);
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "next", "next")]).await.unwrap();
    assert_ne!(bench.open().await[0].id, first);
    Earlier { bench, first, takes }
}

impl Earlier {
    /// This is committed, and nothing that follows from it is written.
    async fn cut<T>(&self, doing: impl Future<Output = Result<T, Failure>>) {
        *self.takes.lock().unwrap() = Takes::Commit;
        assert!(doing.await.is_err());
        assert!(*self.takes.lock().unwrap() == Takes::Nothing, "it was committed");
        *self.takes.lock().unwrap() = Takes::Everything;
    }

    /// It is looked at, or another process starts.
    async fn goes_on(&mut self, restarts: bool) {
        match restarts {
            true => self.bench.restart().await,
            false => self.ask(Command::Look).await.unwrap(),
        }
    }

    async fn ask(&self, command: Command) -> Result<(), Failure> {
        self.bench.desk.ask(admin(), self.first, None, command).await.map(drop)
    }

    /// Waits until who follows it has heard of this fact.
    async fn heard_of(&self, seq: u64) {
        let is_of_it = |heard: &Committed| heard.after.id == self.first && heard.after.seq >= seq;
        let hearing = async {
            loop {
                let news = self.bench.heard.news.notified();
                if self.bench.heard.commits.lock().unwrap().iter().any(is_of_it) {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), hearing).await.expect("it is heard of");
    }

    /// Messages with files that are still to be fetched.
    async fn unfetched(&self) -> usize {
        let mut count = 0;
        for shard in 0..=u8::MAX {
            count += self.bench.conversations().unfetched(shard, None, 10).await.unwrap().len();
        }
        count
    }
}

fn hello() -> Vec<Inbound> {
    vec![says(vec![phone("1")], "m1", "hello")]
}

fn tagged(tag: &str) -> Command {
    Command::EditTags { add: vec![tag.to_owned()], remove: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_it_again_and_again_is_kept_and_shown() {
    let Earlier { bench, first, .. } = earlier(hello()).await;
    let left = bench.conversations().head(first).await.unwrap().unwrap();
    assert_eq!((left.status, left.seq), (ConversationStatus::Resolved, 3), "as it was left");
    for tag in ["one", "two", "three"] {
        bench.desk.ask(admin(), first, None, tagged(tag)).await.unwrap();
    }
    let head = bench.conversations().head(first).await.unwrap().unwrap();
    assert_eq!((head.seq, head.tags), (6, ["one", "two", "three"].map(str::to_owned).to_vec()));
}

#[tokio::test(start_paused = true)]
async fn what_its_stored_head_does_not_know_is_decided_on_and_made_up_for() {
    for restarts in [false, true] {
        let mut all = earlier(hello()).await;
        all.cut(all.ask(tagged("one"))).await;
        let stored =
            async |all: &Earlier| all.bench.conversations().head(all.first).await.unwrap().unwrap();
        let folded = async |all: &Earlier| {
            all.bench.conversations().folded(all.first).await.unwrap().unwrap()
        };
        let seqs = (stored(&all).await.seq, folded(&all).await.seq);
        assert_eq!(seqs, (3, 4), "it was committed all the same");
        all.goes_on(restarts).await;
        assert_eq!(stored(&all).await, folded(&all).await, "restarts: {restarts}");
        assert_eq!(stored(&all).await.tags, ["one"], "restarts: {restarts}");
        all.ask(tagged("two")).await.unwrap();
        assert_eq!(stored(&all).await.tags, ["one", "two"]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_it_hears_of_what_was_committed_unseen_though_nothing_happens_in_it_again() {
    for is_gone in [false, true] {
        let all = earlier(hello()).await;
        all.cut(all.ask(tagged("one"))).await;
        if is_gone {
            // Another one came first.
            let item = says(vec![phone("1")], "m2", "hello");
            all.bench.desk.ingest(&account(), vec![item]).await.unwrap();
        }
        all.heard_of(5).await;
        let head = all.bench.conversations().head(all.first).await.unwrap().unwrap();
        assert_eq!((head.seq, head.tags), (5, vec!["one".to_owned()]), "once");
    }
}

#[tokio::test(start_paused = true)]
async fn it_stands_once_in_the_archive_though_its_new_place_there_was_not_written() {
    for restarts in [false, true] {
        let mut all = earlier(hello()).await;
        let agent = AgentId(Uuid::from_u128(7));
        all.cut(all.ask(Command::Assign { agent: Some(agent) })).await;
        all.goes_on(restarts).await;
        let head = all.bench.conversations().head(all.first).await.unwrap().unwrap();
        assert_eq!(head.assignee, Some(agent));
        for (view, count) in [(View::All, 1), (View::Unassigned, 0), (View::Of(agent), 1)] {
            let month = month(head.last_message_at);
            let listed = all.bench.conversations().archive(TENANT, view, month, None, 10).await;
            assert_eq!(listed.unwrap().len(), count, "{view:?}, restarts: {restarts}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_its_message_shows_is_known_to_be_shown_there() {
    for restarts in [false, true] {
        let mut all = earlier(vec![carries("1", "m1", "file")]).await;
        assert_eq!(all.unfetched().await, 1);
        let head = all.bench.conversations().folded(all.first).await.unwrap().unwrap();
        let rows = all.bench.conversations().messages(&head, (u64::MAX, 0), 1).await.unwrap();
        let (id, place) = (MediaId(Uuid::from_u128(5)), rows[0].place);
        let tells = || {
            let stored = Stored { id, mime_type: "text/plain".to_owned(), size: 5 };
            let (provider_media_id, outcome) = ("file".to_owned(), Ok(stored));
            let fetched = Command::Fetched(Fetched { place, provider_media_id, outcome });
            all.bench.desk.tell(head.thread, Target::Conversation(all.first), fetched)
        };
        all.cut(tells()).await;
        if !restarts {
            // Asked again, it says that nothing waits for the file: who fetched it looks where it shows.
            assert!(!tells().await.unwrap().changed);
        }
        all.goes_on(restarts).await;
        let media = files(&all.bench.store, "http://127.0.0.1:1").media;
        let shown = media.shown(id, 10).await.unwrap();
        assert_eq!(shown, [(all.first, place)], "restarts: {restarts}");
        assert_eq!(all.unfetched().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_a_message_in_another_partition_is_decided_on_what_was_done_before() {
    let more = (0..BLOCK_SEQS).map(|n| says(vec![phone("1")], &format!("m{n}"), "more"));
    let first = std::iter::once(says(vec![phone("1")], "first", "the first words"));
    let all = earlier(first.chain(more).collect()).await;
    let amends = |id: &str, what: Amend| {
        vec![Inbound::Amendment(Amendment {
            customer: vec![phone("1")],
            by: Amender::Customer,
            target: "first".to_owned(),
            provider_id: Some(id.to_owned()),
            at: Some(Timestamp(1_790_000_000_000)),
            what,
        })]
    };
    let edit = amends("edit", Amend::Edit(Content::text("the second words")));
    all.cut(all.bench.desk.ingest(&account(), edit)).await;
    let reaction = amends("reaction", Amend::Reaction(Some("👍".to_owned())));
    all.bench.desk.ingest(&account(), reaction).await.unwrap();
    let place = Place { block: 0, ordinal: 1 };
    let row = all.bench.conversations().row(all.first, place).await.unwrap().unwrap();
    assert_eq!(row.message.text.as_deref(), Some("the second words"));
    assert_eq!((row.earlier.len(), row.message.reactions.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn files_of_what_was_written_before_are_fetched_though_that_was_not_noted() {
    let all = earlier(hello()).await;
    let part = |id: &str| {
        let provider_media_id = Some(format!("file-{id}"));
        let attachments = vec![Attachment { provider_media_id, ..Attachment::default() }];
        let past = Imported {
            provider_id: id.to_owned(),
            sent_at: Some(Timestamp(1_780_000_000_000)),
            is_ours: false,
            author: None,
            status: MessageStatus::Read,
            content: Content { attachments, ..Content::default() },
            reply_to: None,
            forwarded: false,
        };
        vec![Import { customer: vec![phone("1")], phase: Some(0), messages: vec![past] }]
    };
    let (ingress, account) = (all.bench.desk.ingress(), account());
    ingress.import(&account, part("h1")).await.unwrap();
    assert_eq!(all.unfetched().await, 1);
    all.cut(ingress.import(&account, part("h2"))).await;
    ingress.import(&account, part("h2")).await.unwrap();
    assert_eq!(all.unfetched().await, 2);
}
