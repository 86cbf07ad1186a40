//! A process that may have few files open, or has little space on its disk.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::program::{Program, run};

/// No disk has so much.
const RESERVE: (&str, &str) = ("OMNISTREAM__LIMITS__DISK_RESERVE_BYTES", "1099511627776");
/// So many files the process may have open,
const FILES: u32 = 300;
/// and half of them are left for connections.
const PLACES: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_connections_takes_no_file_that_the_store_needs() {
    // Whichever test begins first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start_with_files(directory.path(), FILES).await;
    let (client, url) = (Client::new(), program.url.clone());
    let admin = json!({"org_name": "shop", "admin_email": "a@example.com", "admin_password": "correct horse"});
    let registered = client.post(format!("{url}/api/auth/register")).json(&admin).send().await;
    let registered: Value = registered.unwrap().json().await.unwrap();
    let token = registered["token"].as_str().unwrap();

    let address = url.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..FILES {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    // One has the connection of the client.
    for refused in &mut idle[PLACES - 1..] {
        let read = timeout(Duration::from_secs(30), refused.read(&mut [0; 1])).await;
        assert!(matches!(read.expect("it is closed"), Ok(0) | Err(_)));
    }
    let form = "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
        content-type: text/plain\r\n\r\nhello\r\n--edge--\r\n";
    let upload = client.post(format!("{url}/api/media/upload")).bearer_auth(token).body(form);
    let upload = upload.header("content-type", "multipart/form-data; boundary=edge").send().await;
    let upload = upload.expect("its connection is kept");
    let status = upload.status();
    assert_eq!(status, StatusCode::CREATED, "{}", upload.text().await.unwrap());
    drop(idle);
}

#[tokio::test]
async fn a_start_on_a_disk_with_less_space_than_is_left_free_says_so_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let said = run(directory.path(), &[RESERVE], &["serve"]).await.unwrap_err();
    eprint!("{said}");
    assert!(said.contains("no space left") && said.contains("free at least"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_read_also_after_a_start_with_too_little_space_to_write() {
    // Whichever test begins first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(directory.path(), &[]).await;
    let admin = json!({"org_name": "shop", "admin_email": "a@example.com", "admin_password": "correct horse"});
    let client = Client::new();
    let registered = client.post(format!("{}/api/auth/register", program.url)).json(&admin).send();
    let registered: Value = registered.await.unwrap().json().await.unwrap();
    let token = registered["token"].as_str().unwrap();
    // A kill leaves something to be brought into the tree.
    drop(program);
    let program = Program::start(directory.path(), &[RESERVE]).await;
    let agents = client.get(format!("{}/api/agents", program.url)).bearer_auth(token).send();
    let agents: Value = agents.await.unwrap().json().await.unwrap();
    assert_eq!(agents.as_array().unwrap().len(), 1);
    let tag = client.post(format!("{}/api/quick-replies", program.url)).bearer_auth(token);
    let refused =
        tag.json(&json!({"title": "Hours", "text": "From nine to five."})).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
}
