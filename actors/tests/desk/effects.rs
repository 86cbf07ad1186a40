//! A send from its first write to its last word, with the process killed at each of its steps: by
//! the store's writes, and while the provider says nothing.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::Desk;
use actors::outbox::Outbox;
use actors::world::Outside;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use engine::channel::{Inbound, Opaque, Receipt};
use engine::conversation::{Conversation, Effect};
use engine::id::{ConversationId, MessageId, ThreadId};
use engine::message::{MessageRow, MessageStatus};
use engine::time::Timestamp;
use serde_json::{Value, json};
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::{Stamp, Store};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use crate::bench::{account, admin, desk, phone, says};
use crate::outbox::{at, options, outbox};
use crate::sends::draft;
use crate::settings::{made, tenants};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const TEN_DAYS: Duration = Duration::from_secs(10 * 24 * 3600);

/// The provider outlives the processes that are killed.
static PROVIDER: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A provider that takes everything, and answers or hangs.
struct Provider {
    url: String,
    /// What arrived, by our opaque id: the id that it was given, and how often it came.
    taken: Arc<Mutex<BTreeMap<String, (String, u32)>>>,
    arrivals: mpsc::UnboundedReceiver<String>,
}

impl Provider {
    fn start(answers: bool) -> Self {
        let taken: Arc<Mutex<BTreeMap<String, (String, u32)>>> = Arc::default();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let book = taken.clone();
        let answer = async move |body: Bytes| {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let opaque = body["biz_opaque_callback_data"].as_str().unwrap().to_owned();
            let id = {
                let mut book = book.lock().unwrap();
                let next = format!("theirs-{}", book.len());
                let (id, times) = book.entry(opaque.clone()).or_insert((next, 0));
                *times += 1;
                id.clone()
            };
            // Nobody listens any more once its process was killed.
            let _ = arrived.send(opaque);
            if !answers {
                pending::<()>().await;
            }
            json!({"messages": [{"id": id}]}).to_string()
        };
        let listener = PROVIDER.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(post(answer));
        PROVIDER.spawn(async move { axum::serve(listener, router).await });
        Self { url, taken, arrivals }
    }

    /// What it says of everything that it took.
    fn receipts(&self, status: MessageStatus) -> Vec<Inbound> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|(opaque, (id, _))| receipt(opaque, id, status)).collect()
    }
}

fn receipt(opaque: &str, id: &str, status: MessageStatus) -> Inbound {
    Inbound::Receipt(Receipt {
        provider_id: id.to_owned(),
        opaque: Opaque::decode(opaque),
        status,
        at: None,
        recipient: vec![phone("1")],
        error: None,
    })
}

/// Sends, and follows what happens as the live feed does: a hint says up to where there is something.
struct Sending {
    outbox: Outbox,
    told: Arc<Mutex<BTreeMap<ConversationId, u64>>>,
    changed: Arc<Notify>,
}

impl Sending {
    fn hint(&self, head: &Conversation) {
        let mut told = self.told.lock().unwrap();
        let top = told.entry(head.id).or_default();
        *top = head.seq.max(*top);
        self.changed.notify_waiters();
    }
}

impl Outside for Sending {
    fn follow(&self, committed: &Committed) {
        self.hint(&committed.after);
    }

    fn woke(&self, head: &Conversation, _: bool) {
        self.hint(head);
    }

    fn act(&self, head: &Conversation, effect: Effect, row: Option<&MessageRow>) {
        match (effect, row) {
            (Effect::Enqueue { message, place, due }, _) => {
                self.outbox.enqueue(head, message, place, due);
            }
            (Effect::Perform { message, attempt, .. }, Some(row)) => {
                self.outbox.perform(head, message, row, attempt);
            }
            _ => {}
        }
    }

    fn held(&self, thread: ThreadId) -> Vec<MessageId> {
        self.outbox.holds(thread)
    }
}

/// A process over the store.
struct Process {
    desk: Desk,
    told: Arc<Mutex<BTreeMap<ConversationId, u64>>>,
    changed: Arc<Notify>,
}

impl Process {
    async fn start(store: &Arc<dyn Store>, clock: &Clock, stamps: &Arc<Stamps>, url: &str) -> Self {
        let tenants = tenants(store, clock, stamps);
        let outbox = outbox(store, at(url.to_owned()), tenants, options());
        let (told, changed) = (Arc::default(), Arc::new(Notify::new()));
        let outside =
            Sending { outbox: outbox.clone(), told: Arc::clone(&told), changed: changed.clone() };
        let desk = desk(store, clock, stamps, Arc::new(outside), None).await;
        outbox.connect(desk.clone());
        Self { desk, told, changed }
    }
}

/// How the provider behaves, and how long nobody starts the process again.
#[derive(Clone, Copy, Debug)]
struct Story {
    answers: bool,
    early_receipts: bool,
    later: Duration,
}

/// Two messages to one customer, in a process that is killed at this write, of which only so many
/// partitions land; and then another process. Answers how many writes the first one made.
fn run(story: Story, dies_at: Option<(usize, usize)>) -> usize {
    let clock = Clock::standing_at(NOW);
    let (now, stamps) = (clock.clone(), Arc::new(Stamps::above(Stamp(0))));
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let mut provider = Provider::start(story.answers);
    let (writes, armed, died) =
        (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(false)), Arc::new(Notify::new()));
    let (counted, arm, dies) = (writes.clone(), armed.clone(), died.clone());
    let decide = move |call: &Call<'_>| {
        let mut count = counted.lock().unwrap();
        let has_died = dies_at.is_some_and(|(write, _)| *count > write);
        let Call::Write(_) = call else {
            return if has_died { Fate::Unavailable } else { Fate::Done };
        };
        if !*arm.lock().unwrap() {
            return Fate::Done;
        }
        *count += 1;
        match dies_at {
            Some((write, rows)) if *count == write + 1 => {
                dies.notify_one();
                Fate::Torn(rows)
            }
            _ if has_died => Fate::Lost,
            _ => Fate::Done,
        }
    };
    let faulty: Arc<dyn Store> = Arc::new(Faulty::new(memory.clone(), decide));
    let first = runtime();
    let acknowledged = first.block_on(async {
        let process = Process::start(&faulty, &clock, &stamps, &provider.url).await;
        made(&tenants(&faulty, &clock, &stamps)).await;
        process.desk.recover().await.unwrap();
        process.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
        let id = Conversations::new(faulty.clone()).open_set(account().tenant).await.unwrap()[0];
        *armed.lock().unwrap() = true;
        let acknowledged = Mutex::new(Vec::new());
        let work = async {
            for text in ["one", "two"] {
                if let Ok(answer) = process.desk.ask(admin(), id, None, draft(text)).await {
                    acknowledged.lock().unwrap().push(answer.message.unwrap().id);
                }
            }
            // What the provider hangs on, or both.
            for _ in 0..if story.answers { 2 } else { 1 } {
                let opaque = provider.arrivals.recv().await.unwrap();
                if story.early_receipts {
                    let id = provider.taken.lock().unwrap()[&opaque].0.clone();
                    let early = vec![receipt(&opaque, &id, MessageStatus::Sent)];
                    // A provider that is not answered 200 says it again, as below.
                    let _ = process.desk.ingest(&account(), early).await;
                }
            }
            settled(&process, &faulty, id, !story.answers).await;
        };
        tokio::select! {
            () = work => {}
            () = died.notified() => {
                // The write that was the last one still lands, as far as it does.
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
            }
        }
        acknowledged.into_inner().unwrap()
    });
    drop(first);
    let made = *writes.lock().unwrap();
    clock.set(NOW + story.later);
    runtime().block_on(afterwards(&memory, &clock, &stamps, story, &provider, &acknowledged));
    made
}

/// The next process: all receipts come again, and everything comes to its end.
async fn afterwards(
    memory: &Arc<dyn Store>,
    clock: &Clock,
    stamps: &Arc<Stamps>,
    story: Story,
    before: &Provider,
    acknowledged: &[MessageId],
) {
    let store: Arc<dyn Store> = Arc::new(Faulty::new(memory.clone(), |_| Fate::Done));
    let conversations = Conversations::new(store.clone());
    let answering = tokio::task::spawn_blocking(|| Provider::start(true)).await.unwrap();
    let process = Process::start(&store, clock, stamps, &answering.url).await;
    process.desk.recover().await.unwrap();
    let id = conversations.open_set(account().tenant).await.unwrap()[0];
    process.desk.ask(admin(), id, None, engine::conversation::Command::Look).await.unwrap();
    settled(&process, &store, id, false).await;
    for provider in [before, &answering] {
        let receipts = provider.receipts(MessageStatus::Delivered);
        process.desk.ingest(&account(), receipts).await.unwrap();
    }
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for provider in [before, &answering] {
        for (opaque, (_, taken)) in &*provider.taken.lock().unwrap() {
            *times.entry(opaque.clone()).or_default() += taken;
        }
    }
    assert!(times.values().all(|times| *times == 1), "sent twice: {times:?}");
    let rows = process.desk.messages(admin(), id, (u64::MAX, 0), 50).await.unwrap();
    let ours = rows.iter().filter(|row| row.message.text.as_deref() != Some("hello"));
    for row in ours.clone() {
        let opaque = Opaque {
            thread: thread(&rows, &conversations).await,
            conversation: id,
            place: row.place,
            reaction: None,
        };
        let was_sent = times.contains_key(&opaque.encode());
        match (was_sent, row.message.status) {
            (true, MessageStatus::Delivered) => {}
            // Nobody can tell that its request never left.
            (false, MessageStatus::Unknown) => {}
            (false, MessageStatus::Failed) if story.later == TEN_DAYS => {
                assert_eq!(row.message.error.as_ref().unwrap().code, "window_closed");
            }
            (sent, status) => {
                panic!("{status:?}, and it was{} sent", if sent { "" } else { " not" })
            }
        }
    }
    for message in acknowledged {
        assert!(ours.clone().any(|row| row.message.id == *message), "it was acknowledged");
    }
    // Whoever follows was told of the newest fact, and reads each once.
    let head =
        process.desk.ask(admin(), id, None, engine::conversation::Command::Look).await.unwrap();
    let top = head.conversation.unwrap().seq;
    assert_eq!(process.told.lock().unwrap()[&id], top);
    let facts = process.desk.facts(id, 0, top).await.unwrap();
    assert!(facts.iter().map(|fact| fact.seq).eq(1..=top));
}

async fn thread(rows: &[MessageRow], conversations: &Conversations) -> ThreadId {
    let head = conversations.head(rows[0].message.conversation_id).await.unwrap();
    head.unwrap().thread
}

/// Waits until nothing is to be sent any more, or what is being sent hangs.
async fn settled(process: &Process, store: &Arc<dyn Store>, id: ConversationId, hangs: bool) {
    let conversations = Conversations::new(store.clone());
    let waiting = async {
        loop {
            let changed = process.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let head = conversations.folded(id).await;
            if let Ok(Some(head)) = head
                && (head.pending.is_empty() || hangs && head.pending[0].sending > 0)
            {
                return;
            }
            changed.await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("nothing is stuck");
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_process_killed_at_any_step_of_a_send_repeats_nothing_and_leaves_nothing_behind() {
    for (answers, early_receipts, later) in [
        (false, false, Duration::ZERO),
        (false, true, TEN_DAYS),
        (true, false, TEN_DAYS),
        (true, true, Duration::ZERO),
    ] {
        let story = Story { answers, early_receipts, later };
        let writes = run(story, None);
        for write in 0..writes {
            for rows in 0..3 {
                run(story, Some((write, rows)));
            }
        }
    }
}
