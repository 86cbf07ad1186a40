//! Files that messages carry, from a provider that does what it likes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::committed::Committed;
use actors::desk::Desk;
use actors::downloads::{DownloadOptions, Downloads};
use actors::fetcher::{Fetcher, FetcherOptions, FetcherParts};
use actors::world::Outside;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use engine::account::Account;
use engine::channel::Inbound;
use engine::conversation::{Conversation, Effect};
use engine::id::{AccountId, MessageId, TenantId, ThreadId};
use engine::message::{Attachment, MessageKind, MessageRow};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{once, pending, repeat};
use serde_json::json;
use storage::conversations::Conversations;
use storage::media::Media;
use uuid::Uuid;

use tokio::time::Instant;

use crate::bench::{account, account_of, admin, phone, says};
use crate::mails::until;
use crate::outbox::{Shop, at, files, shop};
use crate::settings::made_of;

/// What conversations want to be fetched.
struct Fetching(Fetcher);

impl Outside for Fetching {
    fn follow(&self, _: &Committed) {}

    fn woke(&self, _: &Conversation, _: bool) {}

    fn act(&self, head: &Conversation, effect: Effect, _: Option<&MessageRow>) {
        if let Effect::Fetch { place } = effect {
            self.0.fetch(head, place);
        }
    }

    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

/// A provider; a file's id says what it is like.
struct Files {
    base: String,
    began: Instant,
    asked: AtomicUsize,
    /// Lookups that are being answered, and the most at once.
    under_way: AtomicUsize,
    most: AtomicUsize,
}

async fn provider() -> Arc<Files> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (asked, under_way, most) = Default::default();
    let files = Arc::new(Files { base, began: Instant::now(), asked, under_way, most });
    let router = Router::new()
        .route("/v23.0/{id}", get(lookup))
        .route("/files/{id}", get(file))
        .with_state(files.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    files
}

impl Files {
    /// Nothing is to be had of such a file for the first minute.
    fn is_down(&self, id: &str) -> bool {
        id.starts_with("down") && self.began.elapsed() < Duration::from_secs(60)
    }
}

async fn lookup(State(files): State<Arc<Files>>, Path(id): Path<String>) -> Response {
    if files.is_down(&id) {
        files.asked.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let now = files.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    files.most.fetch_max(now, Ordering::SeqCst);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    files.under_way.fetch_sub(1, Ordering::SeqCst);
    Json(json!({"url": format!("{}/files/{id}", files.base)})).into_response()
}

async fn file(State(files): State<Arc<Files>>, Path(id): Path<String>) -> Response {
    let asked = files.asked.fetch_add(1, Ordering::SeqCst);
    let piece = || Ok::<_, std::io::Error>(axum::body::Bytes::from_static(&[7; 10_000]));
    match id.as_str() {
        id if files.is_down(id) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "over" => StatusCode::FORBIDDEN.into_response(),
        "endless" => Body::from_stream(repeat(()).map(move |()| piece())).into_response(),
        // It begins, and goes on only when it is asked for once more.
        "hangs" if asked == 0 => {
            let first = once(async move { piece() });
            Body::from_stream(first.chain(pending())).into_response()
        }
        "odd1" | "odd2" | "odd3" if asked < 3 => Body::empty().into_response(),
        "broken" if asked == 0 => StatusCode::BAD_GATEWAY.into_response(),
        "never" => StatusCode::BAD_GATEWAY.into_response(),
        "late" if asked < 5 => StatusCode::BAD_GATEWAY.into_response(),
        "late" if asked == 5 => Body::empty().into_response(),
        _ => "bytes".into_response(),
    }
}

pub(crate) struct Stand {
    pub(crate) shop: Shop,
    pub(crate) fetcher: Fetcher,
    pub(crate) desk: Desk,
    pub(crate) media: Media,
    provider: Arc<Files>,
    /// How far paused time goes on while something is awaited.
    step: Option<Duration>,
}

pub(crate) async fn stand(waiting: usize) -> Stand {
    with(waiting, vec![Duration::from_millis(1)]).await
}

async fn with(waiting: usize, ladder: Vec<Duration>) -> Stand {
    let (shop, provider) = (shop().await, provider().await);
    let media = files(&shop.store, &provider.base).media;
    let fetcher = fetcher(&shop, &provider, &media, (waiting, ladder));
    let desk = shop.over(Arc::new(Fetching(fetcher.clone()))).await;
    fetcher.connect(desk.clone());
    Stand { shop, fetcher, desk, media, provider, step: None }
}

fn fetcher(
    shop: &Shop,
    provider: &Files,
    media: &Media,
    (waiting, ladder): (usize, Vec<Duration>),
) -> Fetcher {
    let downloads = DownloadOptions {
        graph_url: provider.base.clone(),
        resend_url: "https://api.resend.com".to_owned(),
        hosts: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_millis(300),
    };
    Fetcher::new(FetcherParts {
        provider: at(provider.base.clone()),
        downloads: Downloads::new(downloads).unwrap(),
        tenants: shop.tenants.clone(),
        conversations: Conversations::new(shop.store.clone()),
        media: media.clone(),
        options: FetcherOptions {
            bytes: 200_000,
            at_once: 2,
            waiting,
            waiting_tenant: (waiting / 2).max(1),
            ladder,
            unshown: Duration::from_secs(24 * 60 * 60),
        },
    })
}

pub(crate) fn carries(from: &str, provider_id: &str, file: &str) -> Inbound {
    let Inbound::Message(mut message) = says(vec![phone(from)], provider_id, "") else {
        unreachable!()
    };
    let provider_media_id = Some(file.to_owned());
    message.content.kind = MessageKind::Document;
    message.content.attachments = vec![Attachment { provider_media_id, ..Attachment::default() }];
    Inbound::Message(message)
}

/// The same with the address at which the file lies.
fn lies_at(from: &str, provider_id: &str, url: String) -> Inbound {
    let Inbound::Message(mut message) = says(vec![phone(from)], provider_id, "") else {
        unreachable!()
    };
    message.content.kind = MessageKind::Image;
    let kind = "image".to_owned();
    let file = Attachment { kind, url: Some(url), url_expires: true, ..Attachment::default() };
    message.content.attachments = vec![file];
    Inbound::Message(message)
}

impl Stand {
    /// All files once this is so of them.
    pub(crate) async fn until(
        &self,
        count: usize,
        is_so: impl Fn(&Attachment) -> bool,
    ) -> Vec<Attachment> {
        let conversations = Conversations::new(self.shop.store.clone());
        let looking = async {
            loop {
                let mut found = Vec::new();
                for id in conversations.open_set(account().tenant).await.unwrap() {
                    for row in self.desk.messages(admin(), id, (u64::MAX, 0), 50).await.unwrap() {
                        found.extend(row.message.attachments);
                    }
                }
                if found.len() == count && found.iter().all(&is_so) {
                    return found;
                }
                tokio::task::yield_now().await;
                if let Some(step) = self.step {
                    tokio::time::advance(step).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(600), looking).await.expect("it happens")
    }

    /// Nothing is left to be fetched, in memory or in the store.
    async fn is_done(&self) {
        tokio::time::timeout(Duration::from_secs(60), self.fetcher.stop()).await.expect("it ends");
        let conversations = Conversations::new(self.shop.store.clone());
        for shard in 0..=u8::MAX {
            assert_eq!(conversations.unfetched(shard, None, 10).await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn a_file_without_an_end_is_given_up_at_the_largest_and_nothing_of_it_is_kept() {
    let stand = stand(10).await;
    stand.desk.ingest(&account(), vec![carries("1", "m1", "endless")]).await.unwrap();
    let found = stand.until(1, |file| file.error.is_some()).await;
    assert_eq!(found[0].error.as_ref().unwrap().code, "too_large");
    assert_eq!(stand.media.bytes(account().tenant).await.unwrap(), 0);
    stand.is_done().await;
}

#[tokio::test]
async fn a_file_that_stops_coming_or_is_not_answered_is_asked_for_again() {
    for like in ["hangs", "broken"] {
        let stand = stand(10).await;
        stand.desk.ingest(&account(), vec![carries("1", "m1", like)]).await.unwrap();
        let found = stand.until(1, |file| file.media_id.is_some()).await;
        assert_eq!((found[0].size, found[0].mime_type.as_deref()), (Some(5), Some("text/plain")));
        assert_eq!(stand.provider.asked.load(Ordering::SeqCst), 2, "{like}");
        stand.is_done().await;
    }
}

#[tokio::test]
async fn a_file_that_came_damaged_once_is_asked_for_again_however_long_it_could_not_be_had() {
    let stand = stand(10).await;
    stand.desk.ingest(&account(), vec![carries("1", "m1", "late")]).await.unwrap();
    stand.until(1, |file| file.media_id.is_some()).await;
    stand.is_done().await;
}

#[tokio::test]
async fn files_of_one_message_that_came_damaged_once_each_are_each_asked_for_again() {
    let stand = stand(10).await;
    let Inbound::Message(mut message) = carries("1", "m1", "odd1") else { unreachable!() };
    let more = ["odd2", "odd3"]
        .map(|id| Attachment { provider_media_id: Some(id.to_owned()), ..Attachment::default() });
    message.content.attachments.extend(more);
    stand.desk.ingest(&account(), vec![Inbound::Message(message)]).await.unwrap();
    let found = stand.until(3, |file| file.media_id.is_some() || file.error.is_some()).await;
    assert!(found.iter().all(|file| file.media_id.is_some()), "{found:?}");
    stand.is_done().await;
}

#[tokio::test]
async fn files_of_one_organization_that_cannot_be_had_leave_room_for_those_of_others() {
    let stand = stand(4).await;
    let items = (0..12).map(|n| carries(&n.to_string(), &format!("m{n}"), "never"));
    stand.desk.ingest(&account(), items.collect()).await.unwrap();
    let other = Account {
        tenant: TenantId(Uuid::from_u128(77)),
        id: AccountId(Uuid::from_u128(78)),
        ..account()
    };
    stand.desk.ingest(&other, vec![carries("1", "o1", "file")]).await.unwrap();
    let conversations = Conversations::new(stand.shop.store.clone());
    let left = async || {
        let mut left = Vec::new();
        for shard in 0..=u8::MAX {
            left.extend(conversations.unfetched(shard, None, 20).await.unwrap());
        }
        left
    };
    // It is looked at, and there is no such account: no more is wanted here.
    let looking = async {
        while left().await.iter().any(|one| one.tenant == other.tenant) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("it has room");
    assert_eq!(left().await.len(), 12);
    stand.fetcher.stop().await;
}

#[tokio::test]
async fn files_of_many_organizations_that_cannot_be_had_make_way_for_those_of_others() {
    let stand = with(4, vec![Duration::from_secs(3600)]).await;
    let of = |n: u128| account_of(TenantId(Uuid::from_u128(n)), n + 1);
    let (second, third) = (of(70), of(80));
    made_of(&stand.shop.tenants, second.clone(), "second").await;
    for away in [account(), second] {
        let items = (0..3).map(|n| carries(&n.to_string(), &format!("m{n}"), "never"));
        stand.desk.ingest(&away, items.collect()).await.unwrap();
    }
    let conversations = Conversations::new(stand.shop.store.clone());
    let left = async || {
        let mut left = Vec::new();
        for shard in 0..=u8::MAX {
            left.extend(conversations.unfetched(shard, None, 20).await.unwrap());
        }
        left
    };
    // Two of each are tried again in an hour, and there is no room for the others.
    until(async || stand.provider.asked.load(Ordering::SeqCst) == 4).await;
    assert_eq!(left().await.len(), 6);
    stand.desk.ingest(&third, vec![carries("1", "o1", "file")]).await.unwrap();
    // It is looked at, and there is no such account: no more is wanted here.
    until(async || left().await.len() == 6).await;
    assert!(left().await.iter().all(|one| one.tenant != third.tenant));
    stand.fetcher.stop().await;
}

#[tokio::test]
async fn what_has_no_room_in_memory_is_fetched_when_there_is_some() {
    let stand = stand(4).await;
    let items = (0..12).map(|n| carries(&n.to_string(), &format!("m{n}"), &format!("f{n}")));
    stand.desk.ingest(&account(), items.collect()).await.unwrap();
    stand.until(12, |file| file.media_id.is_some()).await;
    assert_eq!(stand.media.bytes(account().tenant).await.unwrap(), 12 * 5);
    assert!((1..=2).contains(&stand.provider.most.load(Ordering::SeqCst)), "two at once");
    stand.is_done().await;
}

#[tokio::test(start_paused = true)]
async fn what_lies_at_an_address_comes_once_the_provider_is_there_again() {
    let ladder = [1, 5, 20].map(Duration::from_secs);
    let step = Some(Duration::from_millis(5));
    let stand = Stand { step, ..with(10, ladder.to_vec()).await };
    let url = format!("{}/files/down", stand.provider.base);
    stand.desk.ingest(&account(), vec![lies_at("1", "m1", url)]).await.unwrap();
    stand.until(1, |file| file.media_id.is_some()).await;
    let waited = stand.provider.began.elapsed();
    assert!(waited >= Duration::from_secs(60), "{waited:?}");
    assert!(stand.provider.asked.load(Ordering::SeqCst) > 1);
    stand.is_done().await;
}

#[tokio::test(start_paused = true)]
async fn an_album_comes_once_the_provider_was_down_for_a_minute() {
    let ladder = [1, 4, 16, 60, 240].map(Duration::from_secs);
    let step = Some(Duration::from_millis(5));
    let stand = Stand { step, ..with(10, ladder.to_vec()).await };
    let account = account();
    let photo = |n: usize| vec![carries("1", &format!("m{n}"), &format!("down{n}"))];
    let webhooks = (0..5).map(|n| stand.desk.ingest(&account, photo(n)));
    for taken in join_all(webhooks).await {
        taken.unwrap();
    }
    let found = stand.until(5, |file| file.media_id.is_some()).await;
    let waited = stand.provider.began.elapsed().as_secs();
    assert!((60..400).contains(&waited), "{waited}: as the ladder says");
    let ids: HashSet<_> = found.iter().map(|file| file.media_id).collect();
    assert_eq!(ids.len(), 5);
    let conversations = Conversations::new(stand.shop.store.clone());
    assert_eq!(conversations.open_set(account.tenant).await.unwrap().len(), 1);
    assert_eq!(stand.media.bytes(account.tenant).await.unwrap(), 5 * 5);
    stand.is_done().await;
}

#[tokio::test]
async fn an_address_that_is_over_is_given_up_where_nobody_knows_another() {
    let stand = stand(10).await;
    let url = format!("{}/files/over", stand.provider.base);
    stand.desk.ingest(&account(), vec![lies_at("1", "m1", url)]).await.unwrap();
    let found = stand.until(1, |file| file.error.is_some()).await;
    assert_eq!(found[0].error.as_ref().unwrap().code, "expired");
    assert!(found[0].url.is_some() && found[0].provider_media_id.is_none());
    assert_eq!(stand.provider.asked.load(Ordering::SeqCst), 3);
    stand.is_done().await;
}

#[tokio::test]
async fn an_address_elsewhere_is_not_gone_to() {
    let stand = stand(10).await;
    let elsewhere = provider().await;
    for (n, url) in [
        format!("{}/files/a", elsewhere.base),
        "https://10.0.0.1/a".to_owned(),
        "file:///etc/passwd".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let item = lies_at("1", &format!("m{n}"), url);
        stand.desk.ingest(&account(), vec![item]).await.unwrap();
    }
    let found = stand.until(3, |file| file.error.is_some()).await;
    assert!(found.iter().all(|file| file.error.as_ref().unwrap().code == "foreign"), "{found:?}");
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 0);
    stand.is_done().await;
}
