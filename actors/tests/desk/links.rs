//! A message with a link that the provider cannot use: the file is taken there, once.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::conversation::{Command, Draft};
use engine::message::{MessageKind, MessageStatus, Sender, SenderKind};
use engine::saying::{Media, Saying, Source};
use futures_util::StreamExt;
use futures_util::stream::repeat;
use serde_json::{Value, json};
use storage::conversations::Conversations;

use crate::bench::{account, admin, phone, says};
use crate::outbox::{at, files, mailer_of, options, outbox_of, shop, status};

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";

/// A provider that fetches nothing itself.
#[derive(Default)]
struct Provider {
    sends: Mutex<Vec<Value>>,
    uploads: AtomicUsize,
}

async fn send(State(provider): State<Arc<Provider>>, Json(body): Json<Value>) -> Response {
    let image = body["image"].clone();
    let is_known = image["id"] == "theirs";
    provider.sends.lock().unwrap().push(image);
    match is_known {
        true => Json(json!({"messages": [{"id": "p"}]})).into_response(),
        false => {
            let error = json!({"error": {"code": 131_053, "message": "Media upload error"}});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

async fn upload(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    provider.uploads.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers[header::CONTENT_LENGTH], body.len().to_string());
    assert!(body.windows(PICTURE.len()).any(|window| window == PICTURE));
    Json(json!({"id": "theirs"})).into_response()
}

#[tokio::test]
async fn a_link_that_the_provider_cannot_use_is_retried_once_by_upload() {
    let provider = Arc::new(Provider::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v23.0/{number}/messages", post(send))
        .route("/v23.0/{number}/media", post(upload))
        .route("/picture", get(async || PICTURE))
        .route(
            "/endless",
            get(async || Body::from_stream(repeat(()).map(|()| Ok::<_, Infallible>(PICTURE)))),
        )
        .with_state(provider.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let shop = shop().await;
    let (ways, files) = ((at(base.clone()), mailer_of(Vec::new())), files(&shop.store, &base));
    let outbox = outbox_of(&shop.store, shop.tenants.clone(), ways, files.clone(), options());
    let desk = shop.desk(&outbox).await;
    desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let conversations = Conversations::new(shop.store.clone());
    let id = conversations.open_set(account().tenant).await.unwrap()[0];
    for (link, wanted) in [
        (format!("{base}/picture"), MessageStatus::Sent),
        (format!("{base}/nothing"), MessageStatus::Failed),
        (format!("{base}/endless"), MessageStatus::Failed),
        // A name of our own network.
        (base.replace("127.0.0.1", "localhost"), MessageStatus::Failed),
    ] {
        let from = Source::Link(link.clone());
        let media = Media { kind: MessageKind::Image, from, caption: None, filename: None };
        let draft = Command::Send(Draft {
            saying: Saying::Media(media),
            reply_to: None,
            sender: Sender { kind: SenderKind::Agent, id: None, name: None },
            account_can_send: true,
        });
        let message = desk.ask(admin(), id, None, draft).await.unwrap().message.unwrap();
        let ends = async {
            while status(&desk, &message).await < MessageStatus::Sent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), ends).await.expect("it ends");
        assert_eq!(status(&desk, &message).await, wanted, "{link}");
    }
    let sends = provider.sends.lock().unwrap().clone();
    assert_eq!(sends.len(), 5, "{sends:?}");
    assert_eq!(sends[1], json!({"id": "theirs"}));
    assert_eq!(provider.uploads.load(Ordering::SeqCst), 1);
    outbox.stop().await;
    assert_eq!(files.media.bytes(account().tenant).await.unwrap(), 0, "it is nobody's file");
}
