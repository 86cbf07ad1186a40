//! A desk that speaks to the program as the world does, whatever program runs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::program::Program;
use crate::world::{Post, SECRET, handle};

/// An organization that speaks to the program.
#[derive(Clone)]
pub(crate) struct Desk {
    client: reqwest::Client,
    url: Arc<Mutex<String>>,
    token: String,
    /// The conversations that were found, by customer: they stay.
    known: Arc<Mutex<BTreeMap<usize, String>>>,
}

/// What stands before a file in a form.
const FORM: &[u8] =
    b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";

/// What a client keeps of a conversation that it follows.
#[derive(Default)]
pub(crate) struct Followed {
    epoch: Option<String>,
    offset: u64,
    /// The oldest message of the snapshot that it began with: all that is newer is told.
    pub(crate) oldest: u64,
    /// By seq, as it was last told.
    pub(crate) messages: BTreeMap<u64, Value>,
}

impl Followed {
    fn take(&mut self, message: &Value) {
        let known = self.messages.entry(message["seq"].as_u64().unwrap()).or_default();
        if known["rev"].as_u64() <= message["rev"].as_u64() {
            *known = message.clone();
        }
    }
}

impl Desk {
    pub(crate) async fn found(program: &Program) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let url = Arc::new(Mutex::new(program.url.clone()));
        let (token, known) = (String::new(), Arc::default());
        let mut desk = Self { client, url, token, known };
        let org = json!({"org_name": "Crash", "admin_email": "a@example.com", "admin_password": "secret1"});
        let answer = desk.post("/api/auth/register", &org, None).await.unwrap();
        desk.token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        desk
    }

    /// Connects an account; how that is shown.
    pub(crate) async fn connect(&self, account: &Value) -> Value {
        let answer = self.post("/api/integrations/accounts", account, None).await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    /// The same that stays where it is when this one moves.
    pub(crate) fn twin(&self) -> Self {
        Self { url: Arc::new(Mutex::new(self.url.lock().unwrap().clone())), ..self.clone() }
    }

    pub(crate) fn moved_to(&self, program: &Program) {
        *self.url.lock().unwrap() = program.url.clone();
    }

    /// Posts as a provider does, signed; `Some(true)`: acknowledged, `None`: nobody answers.
    pub(crate) async fn deliver(&self, post: &Post) -> Option<bool> {
        let signature = engine::channel::signature::sign(SECRET, post.body.as_bytes());
        let request = self
            .client
            .post(self.at(post.path))
            .header("content-type", "application/json")
            .header("x-hub-signature-256", format!("sha256={}", hex::encode(signature)))
            .body(post.body.clone());
        taken(request.send().await.ok()?).await
    }

    /// A reply over REST, with a key of its own.
    pub(crate) async fn say(&self, customer: usize, text: &str) -> Option<bool> {
        let Some(id) = self.conversation(customer).await else {
            let there = self.client.get(self.at("/health/live")).send().await;
            return there.ok().map(|_| false);
        };
        let path = format!("/api/conversations/{id}/messages");
        taken(self.post(&path, &json!({"text": text}), Some(text)).await?).await
    }

    /// What a client has followed so far of a customer's conversation, gone on with from where it
    /// was, over a new socket.
    pub(crate) async fn resume(&self, customer: usize, followed: &mut Followed) {
        let Some(id) = self.conversation(customer).await else { return };
        let stream = format!("c:{id}");
        let epoch = followed.epoch.clone();
        let since = epoch.map(|epoch| json!({"epoch": epoch, "off": followed.offset}));
        let sub = json!({"s": stream, "since": since, "snap": since.is_none()});
        let hello = json!({"id": 1, "op": "hello", "token": self.token, "subs": [sub]});
        let url = self.at("/api/ws").replacen("http", "ws", 1);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text(hello.to_string())).await.unwrap();
        let mut top = None;
        while top.is_none_or(|top| followed.offset < top) {
            let Some(Ok(Message::Text(text))) = socket.next().await else {
                panic!("the socket is open")
            };
            let told = match serde_json::from_str(&text).unwrap() {
                Value::Array(many) => many,
                one => vec![one],
            };
            for told in told {
                if told["id"] == 1 {
                    let sub = &told["ok"]["subs"][0];
                    assert_eq!(sub["recovered"], json!(since.is_some()), "{told}");
                    followed.epoch = sub["epoch"].as_str().map(str::to_owned);
                    followed.offset = sub["off"].as_u64().unwrap();
                    top = Some(followed.offset + sub["n"].as_u64().unwrap_or(0));
                    let messages = sub["snap"]["messages"].as_array().into_iter().flatten();
                    messages.for_each(|message| followed.take(message));
                    if since.is_none() {
                        followed.oldest = followed.messages.keys().next().copied().unwrap_or(0);
                    }
                } else if told["s"] == stream.as_str() {
                    let offset = told["off"].as_u64().unwrap();
                    let is_next = told["t"] == "skip" || offset == followed.offset + 1;
                    assert!(
                        is_next && offset > followed.offset,
                        "{told} after {}",
                        followed.offset
                    );
                    followed.offset = offset;
                    if told["k"].as_str().is_some_and(|name| name.starts_with("message.")) {
                        followed.take(&told["d"]);
                    }
                }
            }
        }
    }

    /// All messages of a customer, oldest first.
    pub(crate) async fn messages(&self, customer: usize) -> Option<Vec<Value>> {
        let id = self.conversation(customer).await?;
        let mut all: Vec<Value> = Vec::new();
        for page in 1.. {
            let path = format!("/api/conversations/{id}/messages?per_page=100&page={page}");
            let found: Vec<Value> = self.get(&path).await?;
            let full = found.len() == 100;
            all.extend(found);
            if !full {
                break;
            }
        }
        all.reverse();
        Some(all)
    }

    /// Waits until the customer's message that says this is there: what was acknowledged may still
    /// wait on the disk.
    pub(crate) async fn has(&self, customer: usize, text: &str) {
        let coming = async {
            let mut again = tokio::time::interval(Duration::from_millis(20));
            loop {
                again.tick().await;
                let all = self.messages(customer).await.unwrap_or_default();
                if all.iter().any(|message| message["text"] == text) {
                    return;
                }
            }
        };
        let comes = tokio::time::timeout(Duration::from_secs(60), coming).await;
        assert!(comes.is_ok(), "customer {customer}: {text} does not come");
    }

    /// Waits until the customer's message that says this is found by it.
    pub(crate) async fn finds(&self, customer: usize, text: &str) {
        let conversation = self.conversation(customer).await.unwrap();
        let path = format!("/api/messages/search?q={text}&per_page=100");
        let is_it = |found: &Value| {
            found["conversation_id"] == conversation.as_str() && found["text"] == text
        };
        let finding = async {
            let mut again = tokio::time::interval(Duration::from_millis(20));
            loop {
                again.tick().await;
                let found: Vec<Value> = self.get(&path).await.unwrap_or_default();
                if found.iter().any(is_it) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), finding).await;
        assert!(found.is_ok(), "{text} of customer {customer} is not found");
    }

    /// Brings a file, once by this key; answers its id. `Some(None)`: it was refused.
    pub(crate) async fn bring(&self, key: &str, bytes: &[u8]) -> Option<Option<String>> {
        let body = [FORM, bytes, b"\r\n--edge--\r\n"].concat();
        let request = self.upload().header("idempotency-key", key);
        let answer = request.body(body).send().await.ok()?;
        if answer.status() != 201 {
            return Some(None);
        }
        let file = answer.json::<Value>().await.ok()?;
        Some(file["id"].as_str().map(str::to_owned))
    }

    /// Brings what begins like this and does not end.
    pub(crate) async fn begin_to_bring(&self, bytes: &[u8]) {
        let begun = futures_util::stream::iter([Ok::<_, std::io::Error>([FORM, bytes].concat())]);
        let body = begun.chain(futures_util::stream::pending());
        // Nobody answers.
        let _ = self.upload().body(reqwest::Body::wrap_stream(body)).send().await;
    }

    fn upload(&self) -> RequestBuilder {
        let request = self.client.post(self.at("/api/media")).bearer_auth(&self.token);
        request.header("content-type", "multipart/form-data; boundary=edge")
    }

    /// The bytes of a file.
    pub(crate) async fn file(&self, id: &str) -> Vec<u8> {
        let request = self.client.get(self.at(&format!("/api/media/{id}")));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "the file {id} is there");
        answer.bytes().await.unwrap().to_vec()
    }

    /// The conversation of a customer, of whom there is one contact.
    async fn conversation(&self, customer: usize) -> Option<String> {
        let known = self.known.lock().unwrap().get(&customer).cloned();
        if known.is_some() {
            return known;
        }
        let contacts: Vec<Value> = self.get("/api/contacts?per_page=100").await?;
        let found: Vec<Value> = self.get("/api/conversations?per_page=100").await?;
        let is_theirs = |contact: &&Value| {
            let mut all = contact["identities"].as_array().into_iter().flatten();
            all.any(|identity| identity["value"] == handle(customer))
        };
        let mut contacts = contacts.iter().filter(is_theirs);
        let contact = contacts.next()?;
        assert!(contacts.next().is_none(), "customer {customer} is one contact");
        let mut of = found.iter().filter(|found| found["contact_id"] == contact["id"]);
        let id = of.next()?["id"].as_str()?.to_owned();
        self.known.lock().unwrap().insert(customer, id.clone());
        Some(id)
    }

    /// How many contacts and how many conversations there are.
    pub(crate) async fn counts(&self) -> (usize, usize) {
        let contacts: Vec<Value> = self.get("/api/contacts?per_page=100").await.unwrap();
        let conversations: Vec<Value> = self.get("/api/conversations?per_page=100").await.unwrap();
        (contacts.len(), conversations.len())
    }

    /// What people see: contacts, conversations with their messages, agents.
    pub(crate) async fn sight(&self) -> Vec<Value> {
        let mut sight = Vec::new();
        for path in ["/api/agents", "/api/contacts?per_page=100"] {
            sight.push(self.get(path).await.unwrap());
        }
        let conversations: Vec<Value> = self.get("/api/conversations?per_page=100").await.unwrap();
        for conversation in conversations {
            let id = conversation["id"].as_str().unwrap();
            let path = format!("/api/conversations/{id}/messages?per_page=100");
            sight.extend([self.get(&path).await.unwrap(), conversation]);
        }
        sight
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let answer = self.client.get(self.at(path)).bearer_auth(&self.token).send().await.ok()?;
        answer.json().await.ok()
    }

    async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Option<Response> {
        let request = self.client.post(self.at(path)).bearer_auth(&self.token).json(body);
        let with = |request: RequestBuilder, key| request.header("idempotency-key", key);
        key.into_iter().fold(request, with).send().await.ok()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.lock().unwrap())
    }
}

/// Whether something was taken; a refusal is printed, as a test that fails shows it.
async fn taken(answer: Response) -> Option<bool> {
    let status = answer.status();
    if !status.is_success() {
        eprintln!("{status}: {}", answer.text().await.ok()?);
    }
    Some(status.is_success())
}
