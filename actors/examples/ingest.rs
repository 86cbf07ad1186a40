//! How many messages a second one process takes from providers, without HTTP: decided, committed on
//! the embedded store in a directory of the current disk, answered. Prints one line.
//!
//! `cargo run --release -p omnistream-actors --example ingest -- [SECONDS] [IN FLIGHT] [CUSTOMERS]`

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::{Desk, DeskOptions};
use actors::world::Outside;
use engine::account::Account;
use engine::channel::{Channel, Handle, Inbound, InboundMessage};
use engine::contact::IdentityKind;
use engine::conversation::{Conversation, Effect};
use engine::id::{AccountId, MessageId, TenantId, ThreadId};
use engine::message::{Content, MessageRow};
use engine::time::Timestamp;
use storage::dead_letters::LetterLimits;
use storage::embedded::{Embedded, Options};
use tokio::time::Instant;
use uuid::Uuid;

struct Nobody;

impl Outside for Nobody {
    fn follow(&self, _: &Committed) {}
    fn woke(&self, _: &Conversation, _: bool) {}
    fn act(&self, _: &Conversation, _: Effect, _: Option<&MessageRow>) {}
    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

fn account() -> Account {
    let (id, tenant) = (AccountId(Uuid::from_u128(2)), TenantId(Uuid::from_u128(1)));
    Account::new(id, tenant, Channel::Whatsapp, "1", "Shop", Timestamp(0))
}

fn message(customer: u64, n: u64) -> Inbound {
    Inbound::Message(Box::new(InboundMessage {
        from: vec![Handle { kind: IdentityKind::Phone, value: format!("1555{customer:07}") }],
        name: Some("Ines".into()),
        provider_id: Some(format!("wamid.{n:020}")),
        sent_at: Some(Timestamp(1_790_000_000_000)),
        content: Content::text("Is the blue one in stock, and when could it be here?"),
        ..InboundMessage::default()
    }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let seconds = arguments.next().transpose()?.unwrap_or(5);
    let in_flight = arguments.next().transpose()?.unwrap_or(64);
    let customers = arguments.next().transpose()?.unwrap_or(1000);
    let directory = tempfile::tempdir_in(".")?;
    let clock = Clock::system();
    let now = clock.clone();
    let options = Options::new(directory.path(), Arc::new(move || now.now()));
    let store = Arc::new(Embedded::open(options, |_| std::process::exit(74))?);
    let stamps = Arc::new(Stamps::above(store.highest_stamp()));
    let options = DeskOptions {
        live_actors: 100_000,
        dead_letters: LetterLimits { letters: 1_000, bytes: 1 << 20 },
        known_handles: 100_000,
        merge_suggestions: 20,
        shards: 8,
        ..DeskOptions::default()
    };
    let desk = Desk::start(store.clone(), clock, stamps, Arc::new(Nobody), options).await;
    let (next, account) = (Arc::new(AtomicU64::new(0)), Arc::new(account()));
    for n in 0..customers {
        desk.ingest(&account, vec![message(n, u64::MAX - n)]).await?;
    }
    let before = store.stats();
    let (start, end) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (desk, next, account) = (desk.clone(), next.clone(), account.clone());
        all.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let sent = Instant::now();
                let item = message(n.wrapping_mul(7919) % customers, n);
                if desk.ingest(&account, vec![item]).await.is_ok() {
                    times.push(sent.elapsed());
                }
            }
            times
        });
    }
    let mut times: Vec<_> = all.join_all().await.into_iter().flatten().collect();
    let took = start.elapsed().as_secs_f64();
    times.sort();
    let (after, count) = (store.stats(), times.len());
    let at = |share: f64| times.get((count as f64 * share) as usize).copied().unwrap_or_default();
    let groups = (after.groups - before.groups).max(1);
    writeln!(
        std::io::stdout(),
        "{:.0} messages/s, {in_flight} in flight, {customers} customers: p50 {:?}, p99 {:?}, {:.1} messages a sync, {} bytes of log each",
        count as f64 / took,
        at(0.5),
        at(0.99),
        count as f64 / groups as f64,
        (after.log_bytes - before.log_bytes) / count.max(1) as u64,
    )?;
    Ok(())
}
