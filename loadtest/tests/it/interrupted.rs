//! A run that somebody interrupts.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::timeout;

const SCENARIO: &str = r#"
    name = "interrupted"
    about = "Somebody writes, and is watched."
    [people]
    tenants = 1
    customers = 1
    channels = { whatsapp = 1, messenger = 0, instagram = 0, email = 0 }
    [subscribers]
    count = 1
    [phases]
    seconds = 1
    rates = [1]
"#;
const CREDENTIALS: &str = "[[tenant]]\ntoken = \"t\"\nwhatsapp = { key = \"1\", secret = \"s\" }";
/// A busy machine needs some of it; sockets that do not follow are waited for for a minute.
const SOON: Duration = Duration::from_secs(20);

/// A server that takes a socket and says nothing on it. Answers its address, and who is told of the socket.
async fn start() -> (String, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let notify = asked.clone();
    let watch = move || async move {
        notify.notify_one();
        std::future::pending::<()>().await;
    };
    let conversations = json!([{"id": "1", "last_message": {"text": "c0 writes"}}]);
    let router = Router::new()
        .route("/webhook", post(async || ()))
        .route("/api/conversations", get(async || Json(conversations)))
        .route("/api/ws", get(watch));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn a_run_that_is_interrupted_while_its_sockets_are_opened_ends_soon_and_says_so() {
    let (url, asked) = start().await;
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut run = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("run")
        .arg(file("scenario.toml", SCENARIO))
        .args(["--url", &url, "--credentials"])
        .arg(file("credentials.toml", CREDENTIALS))
        .arg("--out")
        .arg(scratch.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    timeout(SOON, asked.notified()).await.unwrap();
    let pid = Pid::from_raw(run.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = timeout(SOON, run.wait()).await.expect("it ends soon").unwrap();
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(ended.code(), Some(2), "{said}");
    assert!(said.contains("interrupted: nothing was compared"), "{said}");
}
