//! The outbox, with a provider that answers when it is told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::Desk;
use actors::downloads::{DownloadOptions, Downloads};
use actors::mailer::{Mailer, MailerOptions};
use actors::outbox::{Files, Outbox, OutboxOptions, OutboxParts};
use actors::provider::{Provider, ProviderOptions};
use actors::tenants::Tenants;
use actors::world::Outside;
use axum::http::StatusCode;
use axum::{Json, Router};
use engine::conversation::{Command, Conversation, Draft, Effect};
use engine::id::{ConversationId, MediaId, MessageId, ThreadId};
use engine::lending::Lender;
use engine::media::Stored;
use engine::message::{Message, MessageKind, MessageRow, MessageStatus, Place};
use engine::saying::{self as said, Saying, Source};
use engine::time::Timestamp;
use serde_json::{Value, json};
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty};
use storage::media::{Media, MediaLimits};
use storage::memory::Memory;
use storage::tables::MEDIA;
use storage::{Stamp, Store};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::bench::{Tuning, account, admin, desk, phone, says, tuned};
use crate::mails::until;
use crate::sends::draft;
use crate::settings::{made, tenants};

pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// What conversations want to be sent.
struct Sending(Outbox);

impl Outside for Sending {
    fn follow(&self, _: &Committed) {}

    fn woke(&self, _: &Conversation, _: bool) {}

    fn act(&self, head: &Conversation, effect: Effect, row: Option<&MessageRow>) {
        match (effect, row) {
            (Effect::Enqueue { message, place, due }, _) => {
                self.0.enqueue(head, message, place, due);
            }
            (Effect::Perform { message, attempt, .. }, Some(row)) => {
                self.0.perform(head, message, row, attempt);
            }
            (Effect::StopAccount { code, message }, _) => {
                self.0.stop_account(head, code, message);
            }
            _ => {}
        }
    }

    fn held(&self, thread: ThreadId) -> Vec<MessageId> {
        self.0.holds(thread)
    }
}

/// Requests as they come; each is answered when its sender is used.
type Requests = mpsc::UnboundedReceiver<oneshot::Sender<()>>;

/// A provider that takes every message once it is told so.
pub(crate) async fn provider() -> (Provider, Requests) {
    provider_that_says(StatusCode::OK, TAKEN).await
}

const TAKEN: &str = r#"{"messages":[{"id":"p"}]}"#;

/// A provider that says this, once it is told so, to the first request, and takes all others.
pub(crate) async fn provider_that_says(
    status: StatusCode,
    first: &'static str,
) -> (Provider, Requests) {
    let (arrived, requests) = mpsc::unbounded_channel();
    let is_first = Arc::new(AtomicBool::new(true));
    let answer = async move || {
        let said = match is_first.swap(false, Ordering::SeqCst) {
            true => (status, first),
            false => (StatusCode::OK, TAKEN),
        };
        let (answer, told) = oneshot::channel();
        let heard = arrived.send(answer).is_ok() && told.await.is_ok();
        if heard { said } else { (StatusCode::OK, "{}") }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (at(format!("http://{address}")), requests)
}

pub(crate) fn at(graph_url: String) -> Provider {
    Provider::new(ProviderOptions {
        instagram_url: graph_url.clone(),
        instagram_auth_url: graph_url.clone(),
        graph_url,
        graph_version: "v23.0".into(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
        upload_timeout: Duration::from_secs(60),
        answer_bytes: 1024,
    })
    .unwrap()
}

pub(crate) fn options() -> OutboxOptions {
    OutboxOptions {
        rate: 1_000,
        rate_high: 10_000,
        pair_burst: 100,
        pair_every: Duration::from_secs(1),
        throttle_wait: Duration::from_secs(600),
        requests: 2,
        queue: 100,
        renew_within: Duration::from_secs(60),
    }
}

pub(crate) fn store() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(|| NOW)))
}

/// A tenant's settings over a store of its own.
pub(crate) struct Shop {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) tenants: Tenants,
}

pub(crate) async fn shop() -> Shop {
    let (store, clock) = (store(), Clock::standing_at(NOW));
    let stamps = Arc::new(Stamps::above(Stamp(0)));
    let tenants = tenants(&store, &clock, &stamps);
    made(&tenants).await;
    Shop { store, clock, stamps, tenants }
}

impl Shop {
    /// Its desk, whose way out this is.
    pub(crate) async fn desk(&self, outbox: &Outbox) -> Desk {
        let desk = self.over(Arc::new(Sending(outbox.clone()))).await;
        outbox.connect(desk.clone());
        desk
    }

    /// The same, with these waits between the attempts of a send.
    pub(crate) async fn desk_in_haste(&self, outbox: &Outbox, ladder: &'static [Duration]) -> Desk {
        let tuning = Tuning { send_ladder: Some(ladder), ..Tuning::default() };
        let outside = Arc::new(Sending(outbox.clone()));
        let desk = tuned(&self.store, &self.clock, &self.stamps, outside, tuning).await;
        outbox.connect(desk.clone());
        desk
    }

    /// Its desk, with this outside.
    pub(crate) async fn over(&self, outside: Arc<dyn Outside>) -> Desk {
        desk(&self.store, &self.clock, &self.stamps, outside, None).await
    }
}

pub(crate) fn outbox(
    store: &Arc<dyn Store>,
    provider: Provider,
    tenants: Tenants,
    options: OutboxOptions,
) -> Outbox {
    outbox_of(store, tenants, (provider, mailer()), files(store, "http://127.0.0.1:1"), options)
}

pub(crate) fn outbox_of(
    store: &Arc<dyn Store>,
    tenants: Tenants,
    (provider, mailer): (Provider, Mailer),
    files: Files,
    options: OutboxOptions,
) -> Outbox {
    let (contacts, reply_key) = (Contacts::new(store.clone()), b"key".to_vec());
    let may_act = Arc::new(|| true);
    Outbox::new(OutboxParts {
        provider,
        mailer,
        tenants,
        contacts,
        files,
        options,
        may_act,
        reply_key,
    })
}

/// One that knows no server of ours.
pub(crate) fn mailer() -> Mailer {
    Mailer::new(mailer_options(Vec::new())).unwrap()
}

/// One that may use these.
pub(crate) fn mailer_options(private: Vec<String>) -> MailerOptions {
    MailerOptions {
        private,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
        content_timeout: Duration::from_secs(60),
        file_bytes: 1 << 20,
        files_timeout: Duration::from_secs(60),
        with_files: 2,
    }
}

/// Files of which none is there yet.
pub(crate) fn files(store: &Arc<dyn Store>, graph_url: &str) -> Files {
    let limits = MediaLimits { tenant: 1 << 20, reserve: 0 };
    let stamps = Stamps::above(Stamp(0));
    let downloads = DownloadOptions {
        graph_url: graph_url.to_owned(),
        resend_url: "https://api.resend.com".to_owned(),
        hosts: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
    };
    Files {
        media: Media::in_memory(store.clone(), limits, move || stamps.next()),
        downloads: Downloads::new(downloads).unwrap(),
        bytes: 1 << 20,
        lender: Lender {
            base: "http://127.0.0.1:1".to_owned(),
            key: [7; 32],
            lasts: Duration::from_secs(60),
        },
    }
}

pub(crate) async fn status(desk: &Desk, message: &Message) -> MessageStatus {
    let bounds = (u64::MAX, 0);
    let rows = desk.messages(admin(), message.conversation_id, bounds, 50).await.unwrap();
    rows.iter().find(|row| row.message.id == message.id).unwrap().message.status
}

#[tokio::test]
async fn no_more_sends_have_begun_than_the_provider_is_asked_at_once() {
    let shop = shop().await;
    let (provider, mut requests) = provider().await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let mut messages = Vec::new();
    for n in 0..12 {
        let item = says(vec![phone(&n.to_string())], &format!("m{n}"), "hello");
        desk.ingest(&account(), vec![item]).await.unwrap();
    }
    let conversations = Conversations::new(shop.store.clone());
    for id in conversations.open_set(account().tenant).await.unwrap() {
        let answer = desk.ask(admin(), id, None, draft("hello")).await.unwrap();
        messages.push(answer.message.unwrap());
    }
    for _ in 0..12 {
        let answer = requests.recv().await.unwrap();
        let mut begun = 0;
        // The last to begin is looked at first: whatever is found begun was so all at once.
        for message in messages.iter().rev() {
            begun += usize::from(status(&desk, message).await == MessageStatus::Sending);
        }
        assert!((1..=2).contains(&begun), "{begun} would be of unknown outcome after a crash");
        answer.send(()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_counted_once_however_often_it_is_handed_over() {
    let (store, clock) = (store(), Clock::standing_at(NOW));
    let tenants = tenants(&store, &clock, &Arc::new(Stamps::above(Stamp(0))));
    let options = OutboxOptions { queue: 2, ..options() };
    let outbox = outbox(&store, at("http://127.0.0.1:1".into()), tenants, options);
    let of = (account().id, account().channel);
    let contact = engine::id::ContactId(Uuid::from_u128(2));
    let id = ThreadId(Uuid::from_u128(1));
    let thread = engine::conversation::Thread::new(id, account().tenant, of, contact);
    let head = Conversation::blank(ConversationId(Uuid::from_u128(3)), &thread);
    let place = Place { block: 0, ordinal: 1 };
    outbox.stop_account(&head, "190".into(), "the token has expired".into());
    for _ in 0..3 {
        outbox.enqueue(&head, MessageId(Uuid::from_u128(4)), place, NOW);
    }
    assert!(outbox.has_room(account().id));
    outbox.enqueue(&head, MessageId(Uuid::from_u128(5)), place, NOW);
    assert!(!outbox.has_room(account().id), "two wait, which is all that may");
    outbox.resume(account().id);
    while !outbox.has_room(account().id) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_stop_ends_the_sends_that_have_begun_and_begins_no_other() {
    let shop = shop().await;
    let (provider, mut requests) = provider().await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let conversations = Conversations::new(shop.store.clone());
    for n in 0..6 {
        let item = says(vec![phone(&n.to_string())], &format!("m{n}"), "hello");
        desk.ingest(&account(), vec![item]).await.unwrap();
    }
    let open = conversations.open_set(account().tenant).await.unwrap();
    for id in &open {
        desk.ask(admin(), *id, None, draft("hello")).await.unwrap();
    }
    let begun = [requests.recv().await.unwrap(), requests.recv().await.unwrap()];
    let stopping = outbox.clone();
    let stopped = tokio::spawn(async move { stopping.stop().await });
    tokio::task::yield_now().await;
    begun.into_iter().for_each(|answer| answer.send(()).unwrap());
    stopped.await.unwrap();
    assert!(desk.stop(Duration::from_secs(10)).await, "nobody is woken any more");
    assert!(requests.try_recv().is_err(), "nothing else was asked of the provider");
    let (mut sent, mut queued) = (0, 0);
    for id in open {
        let head = conversations.head(id).await.unwrap().unwrap();
        match conversations.messages(&head, (u64::MAX, 0), 1).await.unwrap()[0].message.status {
            MessageStatus::Sent => sent += 1,
            MessageStatus::Queued => queued += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sent, queued), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_send_that_panics_is_of_unknown_outcome_and_holds_nothing_up() {
    let shop = shop().await;
    // The outbox's own look at the contact meets a bug.
    let broken = |_: &Call<'_>| panic!("a bug of the store");
    let broken: Arc<dyn Store> = Arc::new(Faulty::new(shop.store.clone(), broken));
    let options = OutboxOptions { requests: 1, ..options() };
    let outbox = outbox(&broken, at("http://127.0.0.1:1".into()), shop.tenants.clone(), options);
    let desk = shop.desk(&outbox).await;
    desk.ingest(&account(), vec![says(vec![phone("1")], "m", "hello")]).await.unwrap();
    let conversations = Conversations::new(shop.store.clone());
    let id = conversations.open_set(account().tenant).await.unwrap()[0];
    for text in ["one", "two"] {
        let message = desk.ask(admin(), id, None, draft(text)).await.unwrap().message.unwrap();
        while status(&desk, &message).await != MessageStatus::Unknown {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    outbox.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_reason_of_ours_is_no_fault_of_the_customer_or_the_account() {
    let shop = shop().await;
    // Of the file nobody can say once whether it is there, and then that it is not.
    let mut fates = [Fate::Unavailable].into_iter();
    let decide = move |call: &Call<'_>| match call {
        Call::Get(table, _) if table.name == MEDIA.name => fates.next().unwrap_or(Fate::Done),
        _ => Fate::Done,
    };
    let unsteady: Arc<dyn Store> = Arc::new(Faulty::new(shop.store.clone(), decide));
    let hour = Duration::from_secs(3600);
    let options = OutboxOptions { pair_every: hour, pair_burst: 2, ..options() };
    let nobody = (at("http://127.0.0.1:1".into()), mailer());
    let files = files(&unsteady, "http://127.0.0.1:1");
    let outbox = outbox_of(&shop.store, shop.tenants.clone(), nobody, files, options);
    let desk = shop.desk(&outbox).await;
    desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = Conversations::new(shop.store.clone()).open_set(account().tenant).await.unwrap()[0];
    let began = Instant::now();
    let message = desk.ask(admin(), id, None, with_stored()).await.unwrap().message.unwrap();
    let row = async || desk.messages(admin(), id, (u64::MAX, 0), 1).await.unwrap().remove(0);
    while row().await.message.error.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(row().await.message.error.unwrap().code, "unavailable");
    assert_eq!(outbox.sending(&account()).last_error, None);
    while status(&desk, &message).await != MessageStatus::Failed {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(row().await.message.error.unwrap().code, "no_file");
    assert!(began.elapsed() < hour, "the customer got nothing, and not too much");
    let (no, _) = outbox.sending(&account()).last_error.unwrap();
    assert_eq!(no.code, "no_file");
}

#[tokio::test]
async fn what_waits_while_nobody_reaches_the_provider_goes_in_order_once_somebody_does() {
    const LADDER: &[Duration] = &[Duration::from_millis(1); 3];
    let shop = shop().await;
    // Nobody connects to a port that is taken as long as it is not listened at.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let provider = at(format!("http://{}", socket.local_addr().unwrap()));
    let options = OutboxOptions { throttle_wait: Duration::from_millis(1), ..options() };
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options);
    let desk = shop.desk_in_haste(&outbox, LADDER).await;
    desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = Conversations::new(shop.store.clone()).open_set(account().tenant).await.unwrap()[0];
    let mut messages = Vec::new();
    for text in ["one", "two"] {
        messages.push(desk.ask(admin(), id, None, draft(text)).await.unwrap().message.unwrap());
    }
    let refused = async || {
        let rows = desk.messages(admin(), id, (u64::MAX, 0), 50).await.unwrap();
        rows.iter().find(|row| row.message.id == messages[0].id).unwrap().attempts
    };
    until(async || refused().await > 2 * LADDER.len() as u32).await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = said.clone();
    let takes = async move |Json(body): Json<Value>| {
        let mut said = hears.lock().unwrap();
        said.push(body["text"]["body"].clone());
        Json(json!({"messages": [{"id": format!("p{}", said.len())}]}))
    };
    let listener = socket.listen(8).unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(takes)).await });
    for message in &messages {
        until(async || status(&desk, message).await == MessageStatus::Sent).await;
    }
    assert_eq!(*said.lock().unwrap(), ["one", "two"]);
}

pub(crate) fn with_stored() -> Command {
    let id = MediaId(Uuid::from_u128(9));
    let from = Source::Stored(Stored { id, mime_type: "image/png".into(), size: 1 });
    let file = said::Media { kind: MessageKind::Image, from, caption: None, filename: None };
    let Command::Send(said) = draft("") else { unreachable!("it is said") };
    Command::Send(Draft { saying: Saying::Media(file), ..said })
}
