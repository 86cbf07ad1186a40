//! Media over real sockets.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Act, Graph, GraphOptions, MediaKind, Who};

use crate::engine::{client, inbox, message};
use crate::stand::{ask, get, post_to, quiet, still};

/// A form as clients post it.
async fn upload(graph: &Graph, product: &str, mime: &str, bytes: &[u8]) -> (u16, Value) {
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend_from_slice(b"--edge\r\nContent-Disposition: form-data; ");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    part("name=\"messaging_product\"", product.as_bytes());
    let head = format!("name=\"file\"; filename=\"a\"\r\nContent-Type: {mime}");
    part(&head, bytes);
    body.extend_from_slice(b"--edge--\r\n");
    let url = format!("{}/v23.0/1065/media", graph.url());
    let request = client().post(url).bearer_auth("token");
    let request = request.header("content-type", "multipart/form-data; boundary=edge").body(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn an_upload_is_looked_up_downloaded_with_the_token_for_five_minutes_sent_and_deleted() {
    let graph = Graph::start(GraphOptions { pace: 0.0, ..quiet() }).await.unwrap();
    let bytes = vec![7; 3 << 20];
    let (_, made) = upload(&graph, "whatsapp", "image/png", &bytes).await;
    let id = made["id"].as_str().unwrap();
    let (_, lookup) = get(&graph, id).await;
    assert_eq!(
        (&lookup["mime_type"], &lookup["file_size"]),
        (&json!("image/png"), &json!(bytes.len()))
    );
    assert_eq!(lookup["sha256"].as_str().unwrap().len(), 64);
    let url = lookup["url"].as_str().unwrap();
    let download = async |token: &str| client().get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(download("other").await.status(), 401);
    let answer = download("token").await;
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.bytes().await.unwrap(), bytes);
    let forged = client().get(format!("{url}0")).bearer_auth("token").send().await.unwrap();
    assert_eq!(forged.status(), 404);
    graph.advance(Duration::from_mins(5) + Duration::from_secs(1));
    assert_eq!(download("token").await.status(), 404);

    let image = json!({
        "messaging_product": "whatsapp", "to": "15550100003", "type": "image", "image": {"id": id},
    });
    assert_eq!(post_to(&graph, "1065/messages", &image).await.0, 200);
    assert_eq!(ask(&graph, Method::DELETE, id, None).await.0, 200);
    assert_eq!(ask(&graph, Method::DELETE, id, None).await.0, 400);
    assert_eq!(post_to(&graph, "1065/messages", &image).await.1["error"]["code"], 131_053);
}

#[tokio::test]
async fn what_is_too_large_empty_or_no_form_is_refused() {
    let graph = Graph::start(quiet()).await.unwrap();
    let code = |(_, answer): (u16, Value)| answer["error"]["code"].clone();
    let large = vec![0; (5 << 20) + 1];
    assert_eq!(code(upload(&graph, "whatsapp", "image/jpeg", &large).await), 131_053);
    assert_eq!(code(upload(&graph, "whatsapp", "image/jpeg", &[]).await), 131_053);
    assert_eq!(code(upload(&graph, "other", "image/jpeg", &[1]).await), 100);
    assert_eq!(code(post_to(&graph, "1065/media", &json!({})).await), 100);
}

#[tokio::test]
async fn the_oldest_uploads_are_forgotten_when_there_are_too_many_bytes() {
    let options = GraphOptions { remember_media: 1_000, ..quiet() };
    let graph = Graph::start(options).await.unwrap();
    let one = upload(&graph, "whatsapp", "image/png", &[1; 600]).await.1["id"].clone();
    let two = upload(&graph, "whatsapp", "image/png", &[2; 600]).await.1["id"].clone();
    let file_size = async |id: &Value| {
        let (_, lookup) = get(&graph, id.as_str().unwrap()).await;
        lookup["file_size"].as_u64()
    };
    assert_eq!((file_size(&one).await, file_size(&two).await), (None, Some(600)));
}

#[tokio::test]
async fn a_customer_s_medium_is_what_the_webhook_says() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Ines")).unwrap();
    ines.does(Act::Media { kind: MediaKind::Image, caption: Some("Look".into()) }).await.unwrap();
    let webhook = taken.recv().await.unwrap().1;
    let image = &message(&webhook)["image"];
    assert_eq!((&image["caption"], &image["mime_type"]), (&json!("Look"), &json!("image/jpeg")));
    let (_, lookup) = get(&graph, image["id"].as_str().unwrap()).await;
    let download = client().get(lookup["url"].as_str().unwrap()).bearer_auth("token");
    let bytes = download.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(lookup["file_size"], json!(bytes.len()));
    assert!(bytes.starts_with(b"\xff\xd8\xff"));
}

#[tokio::test]
async fn a_resumable_upload_becomes_a_handle_that_a_template_s_header_shows() {
    let graph = Graph::start(quiet()).await.unwrap();
    let begin = "8000/uploads?file_name=a.png&file_length=6&file_type=image/png";
    let (_, session) = ask(&graph, Method::POST, begin, None).await;
    let url = format!("{}/v23.0/{}", graph.url(), session["id"].as_str().unwrap());
    let bytes = async |offset: &str, bytes: &'static str| {
        let request = client().post(&url).header("authorization", "OAuth token");
        let answer = request.header("file_offset", offset).body(bytes).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    assert_eq!(bytes("0", "abc").await["file_offset"], 3);
    assert_eq!(bytes("0", "def").await["error"]["code"], 100);
    let handle = bytes("3", "def").await["h"].clone();
    assert!(handle.is_string());
    let header =
        json!({"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [handle]}});
    let body = json!({"type": "BODY", "text": "Look."});
    let template = json!({
        "name": "picture", "language": "en", "category": "UTILITY", "components": [header, body],
    });
    assert_eq!(post_to(&graph, "waba-1065/message_templates", &template).await.0, 200);
}
