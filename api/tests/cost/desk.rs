//! An organization, its customers, and people who follow a conversation live.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Client;
use serde_json::{Value, json};
use simulator::bodies::{self, Account, Text};
use simulator::sign;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

const SECRET: &str = "the app's secret";
const NUMBER: &str = "7001";
/// Longer than anything that is awaited takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Desk {
    client: Client,
    url: String,
    token: String,
    written: AtomicUsize,
}

/// Who follows a conversation.
pub(crate) struct Follower(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Desk {
    /// One with a number that customers write to.
    pub(crate) async fn found(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(PATIENCE).build().unwrap();
        let (url, token, written) = (url.to_owned(), String::new(), AtomicUsize::new(0));
        let mut desk = Self { client, url, token, written };
        let org = json!({"org_name": "Cost", "admin_email": "a@example.com", "admin_password": "secret1"});
        let answer = desk.asks("/api/auth/register", &org).await;
        desk.token = answer["token"].as_str().unwrap().to_owned();
        let config = json!({
            "phone_number_id": NUMBER, "waba_id": "1", "access_token": "t", "app_secret": SECRET,
        });
        desk.asks("/api/integrations/accounts", &json!({"channel": "whatsapp", "config": config}))
            .await;
        desk
    }

    async fn asks(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = request.json(body).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// A customer writes something that nobody has written before, and it is durable. Answers what.
    pub(crate) async fn writes(&self, customer: usize) -> String {
        let n = self.written.fetch_add(1, Ordering::Relaxed);
        let (from, text) = (format!("1555000{customer:04}"), format!("Is number {n:06} in stock?"));
        let id = format!("wamid.HBgLMTU1NTAwMDAwMDAVAgASGBQzQTdG{n:06}");
        let message = Text {
            id: &id,
            from: &from,
            name: "Ines",
            text: &text,
            at: 1_700_000_000,
            reply_to: None,
        };
        let body = bodies::wire(&bodies::text(&Account::new(NUMBER), &message));
        let request = self.client.post(format!("{}/webhook", self.url));
        let request = request.header("x-hub-signature-256", sign(SECRET, &body)).body(body);
        request.send().await.unwrap().error_for_status().unwrap();
        text
    }

    /// So many follow the one conversation that there is.
    pub(crate) async fn follow(&self, followers: usize) -> Vec<Follower> {
        let found = self.client.get(format!("{}/api/conversations", self.url));
        let found = found.bearer_auth(&self.token).send().await.unwrap();
        let found: Value = found.json().await.unwrap();
        let stream = format!("c:{}", found[0]["id"].as_str().unwrap());
        let hello = json!({"id": 1, "op": "hello", "token": self.token, "subs": [{"s": stream}]})
            .to_string();
        let mut all = Vec::with_capacity(followers);
        for _ in 0..followers {
            let mut follower = Follower::connect(&self.url).await;
            follower.0.send(Message::text(hello.clone())).await.unwrap();
            follower.is_told("\"ok\"").await;
            all.push(follower);
        }
        all
    }
}

impl Follower {
    async fn connect(url: &str) -> Self {
        let small = WebSocketConfig::default().read_buffer_size(4096);
        let url = format!("{}/api/ws", url.replacen("http", "ws", 1));
        let (socket, _) = connect_async_with_config(url, Some(small), true).await.unwrap();
        Self(socket)
    }

    /// Waits until it is told something with these words.
    pub(crate) async fn is_told(&mut self, words: &str) {
        let told = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.contains(words) => return,
                    Some(Ok(_)) => {}
                    end => panic!("the socket is open: {end:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    }
}
