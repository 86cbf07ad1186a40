//! A store that keeps several copies of each row, of which one alone may have a write whose outcome
//! nobody knows: what is told of it is on all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use engine::channel::{Amend, Amender, Amendment, Inbound};
use engine::conversation::Command;
use engine::message::Content;
use storage::faulty::Write;
use storage::memory::Memory;
use storage::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Store, StoreError, Swap, Table};

use crate::bench::{Bench, account, admin, phone, says};
use crate::protocol::{START, is_commit};

/// One copy, and all others.
struct Copies {
    one: Memory,
    others: Memory,
    /// The next commit reaches only that one.
    is_alone: AtomicBool,
    /// Whether it answers reads of single rows, and of several.
    gets: AtomicBool,
    scans: AtomicBool,
}

impl Copies {
    fn new() -> Arc<Self> {
        let memory = || Memory::new(Arc::new(|| START));
        let [is_alone, gets, scans] = [false, true, true].map(AtomicBool::new);
        Arc::new(Self { one: memory(), others: memory(), is_alone, gets, scans })
    }

    fn of(&self, is_one: &AtomicBool) -> &Memory {
        if is_one.load(Ordering::SeqCst) { &self.one } else { &self.others }
    }
}

impl Store for Copies {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        self.of(&self.gets).get(table, key)
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        self.of(&self.scans).scan(scan)
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        let is_one = is_commit(&Write::Apply(batch.clone()));
        let is_alone = is_one && self.is_alone.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            self.one.apply(batch.clone()).await?;
            if is_alone {
                return Err(StoreError::Unknown("only one copy is known to have it".into()));
            }
            self.others.apply(batch).await
        })
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        Box::pin(async move {
            self.one.claim(table, key.clone(), body.clone(), ttl).await?;
            self.others.claim(table, key, body, ttl).await
        })
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        Box::pin(async move {
            self.one.swap(table, key.clone(), expected.clone(), body.clone()).await?;
            self.others.swap(table, key, expected, body).await
        })
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { atomic: false, settled: false }
    }
}

async fn hears(bench: &Bench, id: &str) -> bool {
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, id)]).await.is_ok()
}

/// The first message is edited.
async fn edits(bench: &Bench) -> bool {
    let edit = Inbound::Amendment(Amendment {
        customer: vec![phone("1")],
        by: Amender::Customer,
        target: "first".to_owned(),
        provider_id: Some("edit".to_owned()),
        at: Some(START),
        what: Amend::Edit(Content::text("better")),
    });
    bench.desk.ingest(&account(), vec![edit]).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_message_and_what_an_edit_says_outlast_the_one_copy_that_had_them_first() {
    let copies = Copies::new();
    let mut bench = Bench::over(copies.clone(), Clock::standing_at(START)).await;
    assert!(hears(&bench, "first").await);
    let id = bench.open().await[0].id;
    copies.is_alone.store(true, Ordering::SeqCst);
    assert!(!hears(&bench, "second").await);
    let look = || bench.desk.ask(admin(), id, None, Command::Look);
    assert_eq!(look().await.unwrap().conversation.unwrap().messages, 2);
    copies.is_alone.store(true, Ordering::SeqCst);
    assert!(!edits(&bench).await);
    look().await.unwrap();
    // It is lost.
    for reads in [&copies.gets, &copies.scans] {
        reads.store(false, Ordering::SeqCst);
    }
    bench.rise().await;
    assert_eq!(bench.texts(id).await, ["better", "second"]);
    let commits = bench.conversations().commits(id, 1, 100).await.unwrap();
    let facts = commits.iter().flat_map(|commit| &commit.facts);
    let said: Vec<_> = facts.filter_map(|recorded| recorded.fact.content()).collect();
    let content = bench.conversations().content((id, said[0])).await.unwrap();
    assert_eq!(content.and_then(|content| content.text).as_deref(), Some("better"));
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_which_a_message_or_what_an_edit_says_is_not_found_has_not_happened() {
    let copies = Copies::new();
    let mut bench = Bench::over(copies.clone(), Clock::standing_at(START)).await;
    assert!(hears(&bench, "first").await);
    let id = bench.open().await[0].id;
    copies.is_alone.store(true, Ordering::SeqCst);
    // Which copies answer is another one for each read.
    copies.gets.store(false, Ordering::SeqCst);
    assert!(!hears(&bench, "second").await);
    let look = || bench.desk.ask(admin(), id, None, Command::Look);
    assert_eq!(look().await.unwrap().conversation.unwrap().messages, 1);
    assert!(hears(&bench, "second").await && hears(&bench, "third").await);
    copies.is_alone.store(true, Ordering::SeqCst);
    assert!(!edits(&bench).await);
    look().await.unwrap();
    assert!(edits(&bench).await);
    for is_one in [true, false] {
        for reads in [&copies.gets, &copies.scans] {
            reads.store(is_one, Ordering::SeqCst);
        }
        bench.rise().await;
        let texts = ["better", "second", "third"];
        assert_eq!(bench.texts(id).await, texts, "of the one: {is_one}");
    }
}
