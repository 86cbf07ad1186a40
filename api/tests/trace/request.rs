//! One message followed by its request id: what the log says of it, from the edge to the provider.
//! Server, provider and caller share this test's thread, and with it its log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use api::server::Server;
use config::{Backend, Config};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use simulator::bodies::{self, Account, Text};
use simulator::{Graph, GraphOptions, sign};
use tracing_subscriber::fmt::MakeWriter;

const SECRET: &str = "the app's secret";
const TOKEN: &str = "the account's token";
const QUESTION: &str = "Is it in stock?";
const ANSWER: &str = "Yes, it is.";

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines under the request with this id.
    fn of(&self, request: &str) -> Vec<Value> {
        let is_of = |line: &Value| {
            let spans = line["spans"].as_array().into_iter().flatten();
            spans.into_iter().any(|span| span["name"] == "request" && span["id"] == request)
        };
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(is_of).collect()
    }
}

struct Caller {
    http: Client,
    base: String,
    token: String,
}

impl Caller {
    async fn call(&self, verb: Method, path: &str, request: &str, body: &Value) -> Value {
        let call = self.http.request(verb, format!("{}{path}", self.base)).json(body);
        let call = call.bearer_auth(&self.token).header("x-request-id", request);
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        assert_eq!(answer.headers()["x-request-id"], request);
        answer.json().await.unwrap_or_default()
    }

    async fn delivers(&self, request: &str, webhook: &Value) {
        let body = bodies::wire(webhook);
        let call = self.http.post(format!("{}/webhook", self.base));
        let call = call.header("x-hub-signature-256", sign(SECRET, &body));
        let answer = call.header("x-request-id", request).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

async fn start(graph: &Graph) -> (Server, Caller) {
    let mut config = Config::default();
    (config.server.listen, config.metrics.listen) =
        (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
    config.storage.backend = Backend::Memory;
    config.meta.graph_url = graph.url();
    let server = Server::start(config).await.unwrap();
    let http = Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", server.address);
    let mut caller = Caller { http, base, token: String::new() };
    let org = json!({
        "org_name": "Shop", "admin_email": "ana@example.com", "admin_password": "correct horse",
    });
    let registered = caller.call(Method::POST, "/api/auth/register", "r", &org).await;
    caller.token = registered["token"].as_str().unwrap().to_owned();
    let account = json!({"channel": "whatsapp", "config": {
        "phone_number_id": "7001", "waba_id": "1", "access_token": TOKEN, "app_secret": SECRET,
    }});
    caller.call(Method::POST, "/api/integrations/accounts", "a", &account).await;
    (server, caller)
}

fn says(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap_or_default()
}

/// The places of these words among the lines, each behind the one before.
#[track_caller]
fn follow_each_other(lines: &[Value], words: &[&str]) {
    let mut rest = lines.iter();
    for word in words {
        let found = rest.any(|line| says(line) == *word);
        assert!(found, "`{word}` is missing, or too early: {lines:#?}");
    }
}

#[tokio::test]
async fn a_message_is_followed_by_its_request_id_to_its_commit_and_its_answer_to_the_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let log = Log::default();
    let filter = tracing_subscriber::EnvFilter::new("info,actors=debug,api=debug");
    let lines = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(log.clone());
    let _here = tracing::subscriber::set_default(lines.finish());
    let options = GraphOptions { app_secret: SECRET.to_owned(), ..GraphOptions::default() };
    let graph = Graph::start(options).await.unwrap();
    let (server, caller) = start(&graph).await;
    let at = actors::clock::Clock::system().now().millis() / 1000;
    let text =
        Text { id: "wamid.1", from: "15550001", name: "Ines", text: QUESTION, at, reply_to: None };
    caller.delivers("hook-1", &bodies::text(&Account::new("7001"), &text)).await;
    let open = caller.call(Method::GET, "/api/conversations", "l", &Value::Null).await;
    let id = open[0]["id"].as_str().unwrap();
    let path = format!("/api/conversations/{id}/messages");
    caller.call(Method::POST, &path, "answer-1", &json!({"text": ANSWER})).await;
    graph.until(|counts| counts.accepted == 1).await;
    // The outcome is written before the server is down.
    server.stop().await;

    let hook = log.of("hook-1");
    follow_each_other(&hook, &["at its conversation", "committed"]);
    let committed = hook.iter().find(|line| says(line) == "committed").unwrap();
    assert_eq!(committed["fields"]["conversation"], json!(id));
    let answer = log.of("answer-1");
    let way = ["at its conversation", "committed", "asks the provider", "the provider answered"];
    follow_each_other(&answer, &way);
    let begun = answer.iter().filter(|line| says(line) == "committed").count();
    assert_eq!(begun, 3, "queued, begun, ended: {answer:#?}");
    assert!(log.of("l").iter().all(|line| says(line) != "committed"));
    let all = log.text();
    for never in [QUESTION, ANSWER, TOKEN, SECRET, &*caller.token, "correct horse"] {
        assert!(!all.contains(never), "the log has `{never}`");
    }
}
