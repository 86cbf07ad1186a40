//! Pages of a conversation's messages: over blocks in which there are many, few and none; kept as they
//! were sent, whatever happens meanwhile.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use actors::desk::Desk;
use actors::failure::Failure;
use actors::pages::{Asked, Sent};
use engine::account::Account;
use engine::channel::{Amend, Amender, Amendment, Channel, Inbound};
use engine::conversation::Command;
use engine::id::{AgentId, ConversationId};
use engine::message::{BLOCK_SEQS, Content};
use engine::time::Timestamp;
use futures_util::future::join_all;
use storage::Store;
use storage::faulty::{Call, Fate, Faulty, Odds};
use storage::memory::Memory;
use storage::seed::{Chance, seeds};
use storage::tables::LOG;
use uuid::Uuid;

use crate::bench::{Bench, Tuning, account, admin, block_on, phone, says};
use crate::identities::odds;
use crate::topics::mail;

const START: Timestamp = Timestamp(1_790_000_000_000);
/// The newest ones.
const ASKED: Asked = Asked { before: u64::MAX, after: 0, skip: 0, limit: 7 };

fn message(n: u64) -> Inbound {
    says(vec![phone("1")], &format!("message {n}"), &n.to_string())
}

/// The first message says something else: a fact, and no message.
fn edit(n: u64) -> Inbound {
    amends(0, n, Amend::Edit(Content::text(format!("words {n}"))))
}

fn amends(target: u64, n: u64, what: Amend) -> Inbound {
    Inbound::Amendment(Amendment {
        customer: vec![phone("1")],
        by: Amender::Customer,
        target: format!("message {target}"),
        provider_id: Some(format!("amendment {n}")),
        at: Some(START),
        what,
    })
}

/// A page that tells all of its messages.
async fn told(desk: &Desk, id: ConversationId, asked: Asked) -> Result<Sent, Failure> {
    let page = desk.page(admin(), id, asked).await?;
    let body = format!("{:?}", page.rows).into();
    let (tenant, assignee) = (page.head.tenant, page.head.assignee);
    Ok(Sent { tenant, assignee, body, rows: page.rows.len(), total: 0 })
}

/// The same, if it is not kept.
async fn asks(desk: &Desk, id: ConversationId, asked: Asked) -> Result<Sent, Failure> {
    desk.pages().get(admin(), id, asked, || told(desk, id, asked)).await
}

async fn ingest(bench: &Bench, items: impl Iterator<Item = Inbound>) {
    let items: Vec<_> = items.collect();
    for some in items.chunks(50) {
        bench.desk.ingest(&account(), some.to_vec()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_page_is_what_lies_behind_those_before_it_and_costs_no_more_far_back() {
    let reads = Arc::new(AtomicUsize::new(0));
    let (clock, counted) = (Clock::standing_at(START), reads.clone());
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let count = move |call: &Call<'_>| {
        let rows = match call {
            Call::Get(..) => 1,
            Call::Scan(scan) => scan.limit,
            Call::Write(_) => 0,
        };
        counted.fetch_add(rows, Ordering::SeqCst);
        Fate::Done
    };
    let bench = Bench::over(Arc::new(Faulty::new(memory, count)), clock).await;
    // Two blocks full of messages, two without any, and a few more behind.
    ingest(&bench, (0..2 * BLOCK_SEQS).map(message)).await;
    ingest(&bench, (0..2 * BLOCK_SEQS).map(edit)).await;
    ingest(&bench, (2 * BLOCK_SEQS..2 * BLOCK_SEQS + 30).map(message)).await;
    let id = bench.open().await.remove(0).id;
    let all = (u64::MAX, 0);
    let rows = bench.desk.messages(admin(), id, all, 10_000).await.unwrap();
    let number = u64::try_from(rows.len()).unwrap();
    assert_eq!(number, 2 * BLOCK_SEQS + 30);
    let mut most = 0;
    for skip in 0..=rows.len() + 1 {
        let before = reads.load(Ordering::SeqCst);
        let page = bench.desk.page(admin(), id, Asked { skip, ..ASKED }).await.unwrap();
        most = most.max(reads.load(Ordering::SeqCst) - before);
        let behind: Vec<_> = rows.iter().skip(skip).take(7).cloned().collect();
        assert_eq!((page.rows, page.newest), (behind, number), "behind {skip}");
    }
    assert!(most < 500, "a page asked for {most} rows");
    // Within bounds the newest one is another.
    let (from, to) = (rows[10].message.seq, rows[40].message.seq);
    let asked = Asked { before: from, after: to, skip: 20, limit: 100 };
    let page = bench.desk.page(admin(), id, asked).await.unwrap();
    assert_eq!((page.rows, page.newest), (rows[31..40].to_vec(), rows[11].place.ordinal));
}

/// Asks for the newest messages; answers whether they were read.
pub(crate) async fn is_read_anew(desk: &Desk, id: ConversationId) -> bool {
    let is_read = Cell::new(false);
    let read = async || {
        is_read.set(true);
        told(desk, id, ASKED).await
    };
    desk.pages().get(admin(), id, ASKED, read).await.unwrap();
    is_read.get()
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_being_read_when_a_message_came_is_not_shown_again() {
    let bench = Bench::new().await;
    ingest(&bench, std::iter::once(message(0))).await;
    let id = bench.open().await.remove(0).id;
    let read = async || {
        let page = told(&bench.desk, id, ASKED).await?;
        Box::pin(ingest(&bench, std::iter::once(message(1)))).await;
        Ok::<_, Failure>(page)
    };
    let old = bench.desk.pages().get(admin(), id, ASKED, read).await.unwrap();
    let new = asks(&bench.desk, id, ASKED).await.unwrap();
    assert_eq!((old.rows, new.rows), (1, 2));
    assert_eq!(new.body, told(&bench.desk, id, ASKED).await.unwrap().body);
    assert!(!is_read_anew(&bench.desk, id).await, "this one is kept");
}

/// A customer's and a person's next step, which is tried until it is taken.
async fn step(desk: &Desk, id: ConversationId, n: u64, chance: &mut Chance) {
    let (kind, target) = (chance.below(5), chance.below(n));
    let item = match kind {
        0 => amends(target, n, Amend::Edit(Content::text(format!("words {n}")))),
        1 => amends(target, n, Amend::Deletion),
        _ => message(n),
    };
    for _ in 0..50 {
        let taken = if kind == 2 {
            let agent = chance.permille(500).then_some(AgentId(Uuid::from_u128(0xB)));
            let assign = Command::Assign { agent };
            desk.ask(admin(), id, None, assign).await.map(drop)
        } else {
            desk.ingest(&account(), vec![item.clone()]).await
        };
        if taken.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it is taken in the end");
}

/// What is read in the end of a store that fails now and then.
async fn in_the_end<T>(mut read: impl AsyncFnMut() -> Result<T, Failure>) -> T {
    for _ in 0..50 {
        if let Ok(read) = read().await {
            return read;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it is read in the end");
}

/// Whoever was answered asks for a page, while others ask for pages all the time. Answers how many
/// were kept.
async fn run(seed: u64, odds: Odds, settled: bool) -> usize {
    let clock = Clock::standing_at(START);
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let faulty = Faulty::seeded(memory, seed, odds);
    let store: Arc<dyn Store> =
        Arc::new(if settled { faulty.promising_as_below() } else { faulty });
    let tuning = Tuning { seed: Some(seed), ..Tuning::default() };
    let bench = Bench::tuned(store, clock, tuning).await;
    let desk = &bench.desk;
    while desk.ingest(&account(), vec![message(0)]).await.is_err() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let id = in_the_end(async || {
        let open = bench.conversations().open_set(account().tenant).await?;
        open.first().copied().ok_or(Failure::Unavailable)
    })
    .await;
    let asked = [ASKED, Asked { limit: 100, ..ASKED }];
    let readers: Vec<_> = (0..2)
        .map(|n| {
            let (desk, mut chance) = (desk.clone(), Chance::of(seed + n));
            tokio::spawn(async move {
                loop {
                    let _ = asks(&desk, id, asked[chance.index(2)]).await;
                    tokio::time::sleep(Duration::from_millis(chance.below(40))).await;
                }
            })
        })
        .collect();
    let (mut chance, mut kept) = (Chance::of(seed), 0);
    for n in 1..40 {
        step(desk, id, n, &mut chance).await;
        for asked in asked {
            let is_read = Cell::new(false);
            let page = in_the_end(async || {
                let read = async || {
                    is_read.set(true);
                    told(desk, id, asked).await
                };
                desk.pages().get(admin(), id, asked, read).await
            })
            .await;
            kept += usize::from(!is_read.get());
            let as_it_is = in_the_end(async || told(desk, id, asked).await).await;
            assert_eq!(page.body, as_it_is.body, "seed {seed}, step {n}");
            assert_eq!(page.assignee, as_it_is.assignee, "seed {seed}, step {n}");
        }
    }
    for reader in readers {
        reader.abort();
    }
    kept
}

#[test]
fn whoever_was_answered_sees_it_in_the_next_page_whatever_others_read_and_the_store_does() {
    let slow = Odds { slow: 300, slowest: Duration::from_millis(20), ..Odds::default() };
    let mut kept = 0;
    for seed in seeds(6, 2) {
        kept += block_on(run(seed, slow, true));
        kept += block_on(run(seed, odds(), false));
    }
    assert!(kept > 0, "some pages were kept");
}

#[tokio::test(start_paused = true)]
async fn long_pages_of_mails_are_read_one_after_the_other() {
    let clock = Clock::standing_at(START);
    let memory = Arc::new(Memory::new(Arc::new(|| START)));
    let slow = |call: &Call<'_>| match call {
        Call::Scan(scan) if *scan.table == LOG => Fate::Slow(Duration::from_secs(1)),
        _ => Fate::Done,
    };
    let bench = Bench::over(Arc::new(Faulty::new(memory, slow)), clock).await;
    let mailed = Account { channel: Channel::Email, ..account() };
    let mail = Inbound::Message(Box::new(mail("ada", "a mail", &[])));
    bench.desk.ingest(&mailed, vec![mail]).await.unwrap();
    bench.desk.ingest(&account(), vec![message(0)]).await.unwrap();
    let open = bench.open().await;
    for (channel, limit, seconds) in
        [(Channel::Email, 20, 4), (Channel::Email, 8, 1), (Channel::Whatsapp, 100, 1)]
    {
        let id = open.iter().find(|head| head.channel == channel).unwrap().id;
        let begin = tokio::time::Instant::now();
        let page =
            async || drop(bench.desk.page(admin(), id, Asked { limit, ..ASKED }).await.unwrap());
        join_all((0..4).map(|_| page())).await;
        assert_eq!(begin.elapsed().as_secs(), seconds, "{channel:?}, {limit}");
    }
}
