//! The real program over a directory, and a desk that speaks to it as the world does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A running program. It is killed when this goes.
pub(crate) struct Program {
    child: Child,
    url: String,
}

impl Program {
    pub(crate) async fn start(directory: &Path) -> Self {
        let directory = directory.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut child = Command::new(env!("CARGO_BIN_EXE_omnistream"))
                .arg("serve")
                .env("OMNISTREAM__SERVER__LISTEN", "127.0.0.1:0")
                .env("OMNISTREAM__METRICS__LISTEN", "127.0.0.1:0")
                .env("OMNISTREAM__STORAGE__PATH", directory.join("data"))
                // Nobody listens there: what is sent waits.
                .env("OMNISTREAM__META__GRAPH_URL", "http://127.0.0.1:9")
                .env("OMNISTREAM__LOG__FILTER", "error")
                // What one life acknowledges is resumed in the next.
                .env("OMNISTREAM__LIMITS__REPLAY_EVENTS", "100000")
                .env("OMNISTREAM__LIMITS__REPLAY_BYTES", "100000000")
                .current_dir(&directory)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
            Self { child, url }
        })
        .await
        .unwrap()
    }

    /// SIGKILL: nothing is finished, nothing is flushed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An organization with an account, whatever program runs it.
#[derive(Clone)]
pub(crate) struct Desk {
    client: reqwest::Client,
    url: Arc<Mutex<String>>,
    token: String,
}

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

const SECRET: &str = "the app's secret";

impl Desk {
    pub(crate) async fn found(program: &Program) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let url = Arc::new(Mutex::new(program.url.clone()));
        let mut desk = Self { client, url, token: String::new() };
        let org = json!({"org_name": "Crash", "admin_email": "a@example.com", "admin_password": "secret1"});
        let answer = desk.post("/api/auth/register", &org, None).await.unwrap();
        desk.token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        let config = json!({"phone_number_id": "7001", "waba_id": "1", "access_token": "t", "app_secret": SECRET});
        let account = json!({"channel": "whatsapp", "config": config});
        let answer = desk.post("/api/integrations/accounts", &account, None).await.unwrap();
        assert_eq!(answer.status(), 201);
        desk
    }

    pub(crate) fn moved_to(&self, program: &Program) {
        *self.url.lock().unwrap() = program.url.clone();
    }

    /// A signed webhook; `Some(true)`: acknowledged, `None`: nobody answers.
    pub(crate) async fn deliver(&self, customer: usize, id: &str, text: &str) -> Option<bool> {
        let message = json!({
            "from": phone(customer), "id": id, "type": "text", "text": {"body": text},
        });
        let value = json!({"metadata": {"phone_number_id": "7001"}, "messages": [message]});
        let entry = json!({"id": "1", "changes": [{"field": "messages", "value": value}]});
        let body = json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string();
        let signature = engine::channel::signature::sign(SECRET, body.as_bytes());
        let request = self
            .client
            .post(self.at("/webhook"))
            .header("x-hub-signature-256", format!("sha256={}", hex::encode(signature)))
            .body(body);
        Some(request.send().await.ok()?.status().is_success())
    }

    /// A reply over REST, with a key of its own.
    pub(crate) async fn say(&self, customer: usize, text: &str) -> Option<bool> {
        let Some(id) = self.conversation(customer).await else { return Some(false) };
        let path = format!("/api/conversations/{id}/messages");
        let answer = self.post(&path, &json!({"text": text}), Some(text)).await?;
        Some(answer.status().is_success())
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

    /// Waits until the message that says this is found by it.
    pub(crate) async fn finds(&self, text: &str) {
        let path = format!("/api/messages/search?q={text}&per_page=100");
        let finding = async {
            let mut again = tokio::time::interval(Duration::from_millis(20));
            loop {
                again.tick().await;
                let found: Vec<Value> = self.get(&path).await.unwrap_or_default();
                if found.iter().any(|found| found["text"] == text) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), finding).await;
        assert!(found.is_ok(), "{text} is not found");
    }

    async fn conversation(&self, customer: usize) -> Option<String> {
        let found: Vec<Value> = self.get("/api/conversations?per_page=100").await?;
        let mut of = found.iter().filter(|found| found["contact_phone"] == phone(customer));
        let id = of.next()?["id"].as_str()?.to_owned();
        assert!(of.next().is_none(), "customer {customer} has one conversation");
        Some(id)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let answer = self.client.get(self.at(path)).bearer_auth(&self.token).send().await.ok()?;
        answer.json().await.ok()
    }

    async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Option<reqwest::Response> {
        let mut request = self.client.post(self.at(path)).bearer_auth(&self.token).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await.ok()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.lock().unwrap())
    }
}

fn phone(customer: usize) -> String {
    format!("1555000{customer:04}")
}
