//! A small desk on a real socket: it takes webhooks, shows what it has by REST and live, and can
//! break its word.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::{Instant, interval_at};

/// What the desk does to every so many-th message of a business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It says that it has it, and has not.
    Loses,
    /// It keeps it twice.
    Doubles,
    /// It puts it before all others of its conversation.
    Reorders,
    /// It begins another conversation with it.
    Scatters,
    /// It says that it cannot take it, and does not.
    Refuses,
    /// It says that it cannot take it, and does.
    RefusesAndKeeps,
}

/// What the desk does to one of its sockets, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// It leaves the message number [`AT`] out.
    Drops,
    /// It leaves the fortieth out.
    DropsLast,
    /// It sends it twice.
    Repeats,
    /// It sends it after the next one.
    Swaps,
    /// It keeps the fortieth back for [`HOLD`].
    Holds,
    /// It closes instead.
    Closes,
}

/// What a desk has.
pub(crate) struct Desk {
    /// Business number and conversation, and the ids of its messages, the oldest first.
    conversations: Mutex<BTreeMap<(String, String), Vec<String>>>,
    /// By business number: the fault, how many of its messages apart it happens, and how many came.
    faults: HashMap<String, (Fault, usize, AtomicUsize)>,
    taken: AtomicUsize,
    /// So many more looks at the metrics find that something waits.
    pub(crate) waits: AtomicUsize,
    live: broadcast::Sender<String>,
    slip: Option<Slip>,
    opened: AtomicUsize,
    greeted: AtomicUsize,
    pongs: AtomicUsize,
}

/// The number of the message with which a slip happens.
const AT: usize = 5;
/// Longer than messages come.
pub(crate) const HOLD: Duration = Duration::from_millis(600);

impl Default for Desk {
    fn default() -> Self {
        Self {
            conversations: Mutex::default(),
            faults: HashMap::new(),
            taken: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            live: broadcast::channel(1000).0,
            slip: None,
            opened: AtomicUsize::new(0),
            greeted: AtomicUsize::new(0),
            pongs: AtomicUsize::new(0),
        }
    }
}

impl Desk {
    /// One that fails one of its sockets once.
    pub(crate) fn that_slips(slip: Slip) -> Self {
        Self { slip: Some(slip), ..Self::default() }
    }

    /// One that breaks its word to some.
    pub(crate) fn with(faults: &[(&str, Fault, usize)]) -> Self {
        let faults = faults.iter();
        let faults = faults.map(|(number, fault, every)| {
            ((*number).to_owned(), (*fault, *every, AtomicUsize::new(0)))
        });
        Self { faults: faults.collect(), ..Self::default() }
    }

    /// Opens it; a business's token is its number.
    pub(crate) async fn start(self) -> (SocketAddr, Arc<Self>) {
        let desk = Arc::new(self);
        let router = Router::new()
            .route("/webhook", post(receive))
            .route("/metrics", get(metrics))
            .route("/api/conversations", get(conversations))
            .route("/api/conversations/{id}/messages", get(messages))
            .route("/api/ws", get(watch))
            .route("/ws", get(listen))
            .route("/pub", post(publish))
            .with_state(desk.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, desk)
    }

    /// How many messages of a business it has.
    pub(crate) fn count(&self, number: &str) -> usize {
        let conversations = self.conversations.lock().unwrap();
        let of = conversations.iter().filter(|((of, _), _)| of == number);
        of.map(|(_, messages)| messages.len()).sum()
    }

    /// How many sockets said a hello as it should be.
    pub(crate) fn greeted(&self) -> usize {
        self.greeted.load(Ordering::Relaxed)
    }

    /// How many answered its ping.
    pub(crate) fn pongs(&self) -> usize {
        self.pongs.load(Ordering::Relaxed)
    }

    fn take(&self, number: &str, from: &str, id: &str) -> StatusCode {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let fault = self.faults.get(number).and_then(|(fault, every, came)| {
            let nth = came.fetch_add(1, Ordering::Relaxed) + 1;
            (nth % every == 0).then_some(*fault)
        });
        let home = match fault {
            Some(Fault::Scatters) => format!("{from}-{taken}"),
            _ => from.to_owned(),
        };
        let mut conversations = self.conversations.lock().unwrap();
        let messages = conversations.entry((number.to_owned(), home)).or_default();
        match fault {
            Some(Fault::Loses | Fault::Refuses) => {}
            Some(Fault::Reorders) => messages.insert(0, id.to_owned()),
            Some(Fault::Doubles) => messages.extend([id.to_owned(), id.to_owned()]),
            Some(Fault::Scatters | Fault::RefusesAndKeeps) | None => messages.push(id.to_owned()),
        }
        match fault {
            Some(Fault::Refuses | Fault::RefusesAndKeeps) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }
}

async fn receive(State(desk): State<Arc<Desk>>, body: Bytes) -> StatusCode {
    let webhook: Value = serde_json::from_slice(&body).unwrap();
    let value = &webhook["entry"][0]["changes"][0]["value"];
    let number = value["metadata"]["phone_number_id"].as_str().unwrap();
    let text = |key: &str| value["messages"][0][key].as_str().unwrap();
    let message = json!({"t": "ev", "s": "c:any", "d": {"provider_message_id": text("id")}});
    let _ = desk.live.send(message.to_string());
    desk.take(number, text("from"), text("id"))
}

async fn publish(State(desk): State<Arc<Desk>>, body: String) -> StatusCode {
    let _ = desk.live.send(body);
    StatusCode::OK
}

async fn listen(State(desk): State<Arc<Desk>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |socket| {
        let live = desk.live.subscribe();
        pass_on(desk, socket, live).await;
    })
}

async fn watch(State(desk): State<Arc<Desk>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let Some(Ok(Message::Text(hello))) = socket.recv().await else { return };
        let hello: Value = serde_json::from_str(&hello).unwrap();
        let subs = hello["subs"].as_array().unwrap().iter().map(|sub| {
            let stream = sub["s"].as_str().unwrap();
            let is_known = stream == "i:all" || stream.starts_with("c:4711.");
            match is_known {
                true => json!({"s": stream, "off": 1}),
                false => json!({"s": stream, "err": {"code": 102, "msg": "unknown stream"}}),
            }
        });
        let subs: Vec<_> = subs.collect();
        assert_eq!((&hello["op"], &hello["token"]), (&json!("hello"), &json!("4711")));
        desk.greeted.fetch_add(1, Ordering::Relaxed);
        let live = desk.live.subscribe();
        for said in [json!({"id": 1, "ok": {"subs": subs}}), json!({"now": 1, "t": "ping"})] {
            let _ = socket.send(Message::text(said.to_string())).await;
        }
        pass_on(desk, socket, live).await;
    })
}

/// Sends what is published, with a slip to the third socket.
async fn pass_on(desk: Arc<Desk>, mut socket: WebSocket, mut live: broadcast::Receiver<String>) {
    let slip = desk.slip.filter(|_| desk.opened.fetch_add(1, Ordering::Relaxed) == 2);
    let mut held = None;
    for n in 0.. {
        let text = loop {
            tokio::select! {
                text = live.recv() => break text.unwrap(),
                heard = socket.recv() => match heard {
                    Some(Ok(Message::Text(text))) if text.contains("pong") => {
                        desk.pongs.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        };
        let texts = match (slip, n) {
            (Some(Slip::Drops), AT) | (Some(Slip::DropsLast), 39) => Vec::new(),
            (Some(Slip::Repeats), AT) => vec![text.clone(), text],
            (Some(Slip::Swaps), AT) => {
                held = Some(text);
                Vec::new()
            }
            (Some(Slip::Closes), AT) => return,
            (Some(Slip::Holds), 39) => {
                interval_at(Instant::now() + HOLD, HOLD).tick().await;
                vec![text]
            }
            _ => [text].into_iter().chain(held.take()).collect(),
        };
        for text in texts {
            let _ = socket.send(Message::text(text)).await;
        }
    }
}

async fn metrics(State(desk): State<Arc<Desk>>) -> String {
    let less = |waits: usize| waits.checked_sub(1);
    let waits = desk.waits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
    format!("# TYPE things_waiting gauge\nthings_waiting{{of=\"any\"}} {}\n", u8::from(waits))
}

async fn conversations(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, usize>>,
) -> Json<Value> {
    let conversations = desk.conversations.lock().unwrap();
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let of = conversations.keys().filter(|(number, _)| number == token);
    let ids = of.map(|(number, from)| {
        json!({"id": format!("{number}.{from}"), "contact_phone": from, "tags": []})
    });
    let (page, rows) = (query.get("page").copied().unwrap_or(1), query["per_page"]);
    Json(ids.skip((page - 1) * rows).take(rows).collect())
}

async fn messages(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, u64>>,
) -> Json<Value> {
    let conversations = desk.conversations.lock().unwrap();
    let (number, from) = id.split_once('.').unwrap();
    let messages = &conversations[&(number.to_owned(), from.to_owned())];
    let newest_first = (1_u64..).zip(messages).collect::<Vec<_>>().into_iter().rev();
    let older = newest_first.filter(|(seq, _)| *seq < query["before_seq"]);
    let page = older.take(usize::try_from(query["per_page"]).unwrap());
    Json(page.map(|(seq, id)| json!({"seq": seq, "provider_message_id": id})).collect())
}
