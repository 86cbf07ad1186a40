//! What stops an account, for how long, and who notes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::desk::Desk;
use actors::provider::Provider;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Json, Router};
use engine::account::Account;
use engine::conversation::Conversation;
use engine::id::{AccountId, AgentId, ConversationId, MediaId};
use engine::integration::Integration;
use engine::media::Origin;
use engine::message::MessageStatus;
use engine::news::{Means, News};
use engine::time::Timestamp;
use serde_json::{Value, json};
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::tables::{LOG, SETTINGS};
use storage::{Change, Stamp, Store};
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use crate::bench::{account, admin, phone, says};
use crate::mails::until;
use crate::outbox::{
    NOW, Shop, at, files, mailer, options, outbox, outbox_of, provider_that_says, shop, status,
    with_stored,
};
use crate::sends::draft;
use crate::settings::{made, tenants};

/// The access token does not count.
const NO_TOKEN: &str = r#"{"error":{"code":190,"message":"The access token has expired"}}"#;

/// The account is locked.
const LOCKED: &str = r#"{"error":{"code":131031,"message":"Account has been locked"}}"#;

#[tokio::test(start_paused = true)]
async fn an_account_that_is_paused_for_a_time_goes_on_by_itself() {
    let shop = shop().await;
    let hour = Duration::from_secs(3600);
    let pause = shop.tenants.change(account().tenant, |changing| {
        let until = Some(NOW + hour);
        changing.put(Account { paused: true, paused_until: until, ..account() });
        Ok::<_, ()>(())
    });
    pause.await.unwrap();
    // Nobody is there: an attempt is put off, and says why.
    let nobody = at("http://127.0.0.1:1".into());
    let outbox = outbox(&shop.store, nobody, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let conversations = Conversations::new(shop.store.clone());
    let id = conversations.open_set(account().tenant).await.unwrap()[0];
    desk.ask(admin(), id, None, draft("hello")).await.unwrap();
    goes_on_after(&shop, &desk, id, hour).await;
}

async fn shop_over(store: Arc<dyn Store>, clock: Clock) -> Shop {
    let stamps = Arc::new(Stamps::above(Stamp(0)));
    let tenants = tenants(&store, &clock, &stamps);
    made(&tenants).await;
    Shop { store, clock, stamps, tenants }
}

/// Nothing of it is tried until then, and its first message is once it is over.
async fn goes_on_after(shop: &Shop, desk: &Desk, id: ConversationId, pause: Duration) {
    let attempts = async || desk.messages(admin(), id, (u64::MAX, 0), 1).await.unwrap()[0].attempts;
    tokio::time::sleep(pause - Duration::from_secs(1)).await;
    assert_eq!(attempts().await, 0, "it is paused");
    shop.clock.set(NOW + pause);
    let goes_on = async {
        while attempts().await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(pause, goes_on).await.expect("it goes on by itself");
}

/// A customer who has written, and the conversation.
async fn written(shop: &Shop, desk: &Desk) -> ConversationId {
    desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    Conversations::new(shop.store.clone()).open_set(account().tenant).await.unwrap()[0]
}

async fn changed(shop: &Shop, account: Account) {
    let put = shop.tenants.change(account.tenant, |changing| {
        changing.put(account);
        Ok::<_, ()>(())
    });
    put.await.unwrap();
}

async fn known(shop: &Shop) -> Account {
    let state = shop.tenants.state(account().tenant).await.unwrap().unwrap();
    Account::clone(&state.accounts[&account().id])
}

fn stops(until: Option<Timestamp>) -> News {
    News {
        kind: "account_restriction".into(),
        words: "it may send nothing".into(),
        at: None,
        phone: None,
        means: Means::Stops { until },
        messaging_limit: None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_stood_still_for_somebody_goes_on_when_the_provider_names_an_end() {
    let shop = shop().await;
    let hour = Duration::from_secs(3600);
    changed(&shop, Account { paused: true, ..account() }).await;
    let nobody = at("http://127.0.0.1:1".into());
    let outbox = outbox(&shop.store, nobody, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    desk.ask(admin(), id, None, draft("hello")).await.unwrap();
    // Its line waits for somebody by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    outbox.hear(&account(), &stops(Some(NOW + hour))).await.unwrap();
    goes_on_after(&shop, &desk, id, hour).await;
}

#[tokio::test]
async fn what_was_refused_of_a_token_that_is_another_since_does_not_stop_the_account() {
    let shop = shop().await;
    let (provider, mut requests) = provider_that_says(StatusCode::UNAUTHORIZED, NO_TOKEN).await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let message = desk.ask(admin(), id, None, draft("hello")).await.unwrap().message.unwrap();
    let refused = requests.recv().await.unwrap();
    let config = [("access_token".to_owned(), "new".into())].into();
    changed(&shop, Account { config, ..account() }).await;
    outbox.resume(account().id);
    refused.send(()).unwrap();
    // It is tried again, with the new one.
    requests.recv().await.unwrap().send(()).unwrap();
    until(async || status(&desk, &message).await == MessageStatus::Sent).await;
    assert!(!known(&shop).await.paused);
}

#[tokio::test]
async fn a_token_that_is_another_before_the_refusal_of_the_old_one_is_written_is_not_paused() {
    let (clock, fails) = (Clock::standing_at(NOW), Arc::new(AtomicBool::new(false)));
    let held = fails.clone();
    let is_of_log = |change: &Change| change.place().0.name == LOG.name;
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch)) if batch.changes.iter().any(is_of_log) => {
            if held.load(Ordering::SeqCst) { Fate::Unavailable } else { Fate::Done }
        }
        _ => Fate::Done,
    };
    let store: Arc<dyn Store> =
        Arc::new(Faulty::new(Arc::new(Memory::new(Arc::new(|| NOW))), decide));
    let shop = shop_over(store, clock).await;
    let (provider, mut requests) = provider_that_says(StatusCode::UNAUTHORIZED, NO_TOKEN).await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let message = desk.ask(admin(), id, None, draft("hello")).await.unwrap().message.unwrap();
    let refused = requests.recv().await.unwrap();
    fails.store(true, Ordering::SeqCst);
    refused.send(()).unwrap();
    until(async || outbox.sending(&account()).last_error.is_some()).await;
    let config = [("access_token".to_owned(), "new".into())].into();
    changed(&shop, Account { config, ..account() }).await;
    outbox.resume(account().id);
    fails.store(false, Ordering::SeqCst);
    let again = timeout(Duration::from_secs(20), requests.recv()).await;
    again.expect("it is tried with the new one").unwrap().send(()).unwrap();
    until(async || status(&desk, &message).await == MessageStatus::Sent).await;
    assert!(!known(&shop).await.paused);
}

#[tokio::test]
async fn a_refusal_takes_nothing_back_of_what_the_provider_had_said_of_the_account() {
    let shop = shop().await;
    let (provider, mut requests) = provider_that_says(StatusCode::FORBIDDEN, LOCKED).await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let message = desk.ask(admin(), id, None, draft("hello")).await.unwrap().message.unwrap();
    let refused = requests.recv().await.unwrap();
    let end = NOW + Duration::from_secs(3600);
    outbox.hear(&account(), &stops(Some(end))).await.unwrap();
    refused.send(()).unwrap();
    until(async || outbox.sending(&account()).last_error.is_some()).await;
    until(async || status(&desk, &message).await == MessageStatus::Queued).await;
    shop.clock.set(end);
    // Over the end of the pause it goes on, which an end that was forgotten would not.
    let now = known(&shop).await;
    assert_eq!((now.paused_until, now.heard.is_standing), (Some(end), true));
}

#[tokio::test(start_paused = true)]
async fn an_account_s_stop_is_noted_also_when_the_store_fails_at_first() {
    let (clock, fails) = (Clock::standing_at(NOW), Arc::new(AtomicUsize::new(0)));
    let left = fails.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch))
            if batch.changes.iter().any(|change| change.place().0.name == SETTINGS.name)
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok() =>
        {
            Fate::Unavailable
        }
        _ => Fate::Done,
    };
    let store: Arc<dyn Store> =
        Arc::new(Faulty::new(Arc::new(Memory::new(Arc::new(|| NOW))), decide));
    let shop = shop_over(store, clock).await;
    let nobody = at("http://127.0.0.1:1".into());
    let outbox = outbox(&shop.store, nobody, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let head = Conversations::new(shop.store.clone()).head(id).await.unwrap().unwrap();
    fails.store(3, Ordering::SeqCst);
    outbox.stop_account(&head, "131031".into(), "Account has been locked".into());
    let noted = async {
        while !known(&shop).await.paused {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), noted).await.expect("it is noted");
}

#[tokio::test(start_paused = true)]
async fn an_account_is_stopped_also_where_it_has_something_of_its_channel_s_integration() {
    let shop = shop().await;
    let account = account();
    let shared = Integration {
        id: Integration::id_of(account.tenant, account.channel),
        channel: account.channel,
        is_active: true,
        division_id: None,
        config: [("verify_token".to_owned(), "shared".into())].into(),
        created_at: NOW,
        updated_at: NOW,
    };
    let put = shop.tenants.change(account.tenant, |changing| {
        changing.put(shared);
        Ok::<_, ()>(())
    });
    put.await.unwrap();
    let nobody = at("http://127.0.0.1:1".into());
    let outbox = outbox(&shop.store, nobody, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let head = Conversations::new(shop.store.clone()).head(id).await.unwrap().unwrap();
    outbox.stop_account(&head, "131031".into(), "Account has been locked".into());
    until(async || known(&shop).await.paused).await;
}

#[tokio::test]
async fn a_provider_that_is_asked_too_often_for_files_is_left_alone_for_as_long_as_it_says() {
    let shop = shop().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let too_many = async || {
        let body = r#"{"error":{"code":80007,"message":"Too many calls"}}"#;
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "300")], body)
    };
    let router = Router::new().fallback(too_many);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let files = files(&shop.store, &base);
    let mut file = files.media.begin(account().tenant, Uuid::from_u128(7), 100).await.unwrap();
    file.write(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01").await.unwrap();
    let kept = storage::media::Draft {
        id: MediaId(Uuid::from_u128(9)),
        mime_type: "image/png".into(),
        filename: None,
        origin: Origin::Uploaded { by: AgentId(Uuid::nil()) },
        at: NOW,
    };
    file.keep(kept).await.unwrap();
    let outbox =
        outbox_of(&shop.store, shop.tenants.clone(), (at(base), mailer()), files, options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    desk.ask(admin(), id, None, with_stored()).await.unwrap();
    until(async || outbox.sending(&account()).rests > Duration::from_secs(200)).await;
}

#[tokio::test]
async fn a_provider_in_trouble_is_left_alone_for_as_long_as_it_says() {
    let shop = shop().await;
    let outbox = outbox(&shop.store, in_trouble().await.0, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    desk.ask(admin(), id, None, draft("hello")).await.unwrap();
    until(async || outbox.sending(&account()).rests > Duration::from_secs(200)).await;
}

/// A provider that takes no messages for five minutes; and which messages it was told are read.
async fn in_trouble() -> (Provider, mpsc::UnboundedReceiver<String>) {
    let (tell, read) = mpsc::unbounded_channel();
    let answer = async move |Json(body): Json<Value>| match body["status"].as_str() {
        Some("read") => {
            tell.send(body["message_id"].as_str().unwrap().to_owned()).unwrap();
            Json(json!({"success": true})).into_response()
        }
        _ => {
            let error = json!({"error": {"code": 131_016, "message": "Service unavailable"}});
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "300")], Json(error)).into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (at(format!("http://{address}")), read)
}

#[tokio::test]
async fn read_marks_are_left_out_while_the_account_may_not_be_used_or_its_provider_rests() {
    let shop = shop().await;
    let (provider, mut read) = in_trouble().await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let head = Conversations::new(shop.store.clone()).head(id).await.unwrap().unwrap();
    let other = Account { id: AccountId(Uuid::from_u128(99)), ..account() };
    changed(&shop, other.clone()).await;
    // What is not left out comes behind what would have come before it.
    let mut is_left_out = async || {
        outbox.mark_read(&head, "not wanted".to_owned(), false);
        let shown = Conversation { account: other.id, ..head.clone() };
        outbox.mark_read(&shown, "wanted".to_owned(), false);
        read.recv().await.unwrap() == "wanted"
    };
    for stopped in
        [Account { is_active: false, ..account() }, Account { paused: true, ..account() }]
    {
        changed(&shop, stopped.clone()).await;
        assert!(is_left_out().await, "{stopped:?}");
    }
    changed(&shop, account()).await;
    desk.ask(admin(), id, None, draft("hello")).await.unwrap();
    until(async || outbox.sending(&account()).last_error.is_some()).await;
    assert!(is_left_out().await, "it rests");
}

#[tokio::test]
async fn the_line_of_an_account_that_is_removed_goes_once_nothing_of_it_is_under_way() {
    const NOBODY: &str = r#"{"error":{"code":131026,"message":"Message undeliverable"}}"#;
    let shop = shop().await;
    let (provider, mut requests) = provider_that_says(StatusCode::BAD_REQUEST, NOBODY).await;
    let outbox = outbox(&shop.store, provider, shop.tenants.clone(), options());
    let desk = shop.desk(&outbox).await;
    let id = written(&shop, &desk).await;
    let message = desk.ask(admin(), id, None, draft("hello")).await.unwrap().message.unwrap();
    let refused = requests.recv().await.unwrap();
    outbox.forget(account().id);
    assert_eq!(outbox.sending(&account()).under_way, 1);
    refused.send(()).unwrap();
    until(async || status(&desk, &message).await == MessageStatus::Failed).await;
    assert!(outbox.sending(&account()).last_error.is_some());
    // It goes with the next one.
    until(async || {
        outbox.forget(AccountId(Uuid::from_u128(99)));
        outbox.sending(&account()).last_error.is_none()
    })
    .await;
}
