//! A server with small limits, and callers of it.

use std::net::SocketAddr;

use api::server::Server;
use config::{Backend, Config};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const SECRET: &str = "the app's secret";

pub(crate) async fn server(change: impl FnOnce(&mut Config)) -> Server {
    Server::start(small(change)).await.unwrap()
}

/// Settings of a server that is alone.
pub(crate) fn small(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.server.listen, config.metrics.listen) = (any, any);
    config.storage.backend = Backend::Memory;
    // Nobody listens there.
    config.meta.graph_url = "http://127.0.0.1:1".to_owned();
    change(&mut config);
    config
}

/// Somebody who asks over HTTP.
pub(crate) struct Person {
    client: Client,
    base: String,
    pub(crate) token: String,
}

impl Person {
    /// The admin of a new organization.
    pub(crate) async fn of(server: &Server, org: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = format!("http://{}", server.address);
        let mut person = Self { client: Client::new(), base, token: String::new() };
        let email = format!("admin@{org}.example.com");
        let body = json!({"org_name": org, "admin_email": email, "admin_password": "secret1"});
        let answer = person.post("/api/auth/register", &body).await;
        let registered: Value = answer.json().await.unwrap();
        person.token = registered["token"].as_str().unwrap().to_owned();
        person
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.client.post(format!("{}{path}", self.base)).json(body)).await
    }

    async fn send(&self, request: RequestBuilder) -> Response {
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    pub(crate) async fn agent(&self, n: usize) -> Response {
        let email = format!("{n}@example.com");
        let body = json!({"name": "Ines", "email": email, "password": "secret1"});
        self.post("/api/agents", &body).await
    }

    pub(crate) async fn account(&self, number: &str) -> Response {
        self.account_with(number, SECRET).await
    }

    pub(crate) async fn account_with(&self, number: &str, secret: &str) -> Response {
        let config = json!({
            "phone_number_id": number, "waba_id": "1", "access_token": "t", "app_secret": secret,
        });
        let body = json!({"channel": "whatsapp", "config": config});
        self.post("/api/integrations/accounts", &body).await
    }

    /// A customer writes to the number 7001.
    pub(crate) async fn hears(&self, from: &str) {
        assert_eq!(self.hears_all(&[from], "m").await.status(), 200);
    }

    /// Customers write to the number 7001, in one webhook.
    pub(crate) async fn hears_all(&self, from: &[&str], id: &str) -> Response {
        let message = |(n, from): (usize, &&str)| {
            json!({
                "from": from, "id": format!("{id}{n}{from}"), "type": "text", "text": {"body": "hello"},
            })
        };
        let messages: Vec<_> = from.iter().enumerate().map(message).collect();
        self.webhook(&json!({"messages": messages})).await
    }

    /// The number 7001 has this to say.
    pub(crate) async fn webhook(&self, what: &Value) -> Response {
        let mut value = what.clone();
        value["metadata"] = json!({"phone_number_id": "7001"});
        let entry = json!({"id": "1", "changes": [{"field": "messages", "value": value}]});
        self.deliver(&json!({"entry": [entry]})).await
    }

    /// A webhook, signed with the app's secret.
    pub(crate) async fn deliver(&self, body: &Value) -> Response {
        let mut body = body.clone();
        body["object"] = json!("whatsapp_business_account");
        let body = body.to_string();
        let signature = simulator::sign(SECRET, body.as_bytes());
        let request = self.client.post(format!("{}/webhook", self.base));
        let request = request.header("x-hub-signature-256", signature).body(body);
        request.send().await.unwrap()
    }

    /// A request of theirs whose body begins but does not end.
    pub(crate) async fn unfinished(&self, server: &Server, path: &str, bytes: usize) -> TcpStream {
        let header = format!("Authorization: Bearer {}", self.token);
        begin(server, path, &header, bytes).await
    }
}

/// The word and the details of an error.
pub(crate) async fn error(answer: Response) -> (String, Value) {
    let body: Value = answer.json().await.unwrap();
    (body["error"]["code"].as_str().unwrap().to_owned(), body["error"]["details"].clone())
}

/// A request whose body begins but does not end.
pub(crate) async fn unfinished(server: &Server, path: &str, bytes: usize) -> TcpStream {
    let header = format!("X-Hub-Signature-256: sha256={}", "0".repeat(64));
    begin(server, path, &header, bytes).await
}

async fn begin(server: &Server, path: &str, header: &str, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         {header}\r\nContent-Length: {}\r\n\r\n",
        bytes + 1,
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; bytes]).await.unwrap();
    stream
}

/// The first line of what the server answers; nothing when it closes.
pub(crate) async fn first_line(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap_or(0);
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}
