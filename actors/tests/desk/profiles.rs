//! Who customers are: asked for one behind the other, so many at once, and not for ever.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::committed::Committed;
use actors::desk::Desk;
use actors::profiles::{ProfileOptions, Profiles};
use actors::world::Outside;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use engine::account::Account;
use engine::channel::{Channel, Handle, Inbound};
use engine::contact::IdentityKind;
use engine::conversation::{Conversation, Effect};
use engine::id::{MessageId, ThreadId};
use engine::message::MessageRow;
use serde_json::json;
use storage::contacts::Contacts;
use tokio::time::Instant;

use crate::bench::{account, says};
use crate::outbox::{Shop, at, shop};

/// Asks for whoever a commit is about.
struct Asking(Profiles);

impl Outside for Asking {
    fn follow(&self, committed: &Committed) {
        self.0.look_up(&committed.after);
    }

    fn woke(&self, head: &Conversation, _: bool) {
        self.0.look_up(head);
    }

    fn act(&self, _: &Conversation, _: Effect, _: Option<&MessageRow>) {}

    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

/// Who was asked for, and when.
type Asked = Arc<Mutex<Vec<(String, Instant)>>>;

/// A provider that says who people are whose id begins with 1, that of those with 2 it does not say
/// it, and that it has too much to do for those with 3.
async fn provider() -> (String, Asked) {
    let asked = Asked::default();
    let answer = async |State(asked): State<Asked>, Path(id): Path<String>| -> Response {
        asked.lock().unwrap().push((id.clone(), Instant::now()));
        let error = |code: i64| Json(json!({"error": {"code": code, "message": "no"}}));
        match id.as_bytes()[0] {
            b'1' => Json(json!({"name": format!("No. {id}")})).into_response(),
            b'2' => (StatusCode::BAD_REQUEST, error(230)).into_response(),
            _ => (StatusCode::BAD_REQUEST, error(613)).into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v23.0/{id}", get(answer)).with_state(asked.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

struct Stand {
    shop: Shop,
    desk: Desk,
    profiles: Profiles,
    asked: Asked,
}

fn options() -> ProfileOptions {
    ProfileOptions {
        at_once: 2,
        waiting: 100,
        known: 100,
        again: Duration::from_secs(3_600),
        every: Duration::from_millis(1),
        ladder: vec![Duration::from_secs(5), Duration::from_secs(60)],
    }
}

async fn stand(options: ProfileOptions) -> Stand {
    let (shop, (base, asked)) = (shop().await, provider().await);
    let page = |account: &mut Account, _| {
        account.channel = Channel::Messenger;
        true
    };
    let of = account();
    shop.tenants.change_account(of.tenant, of.id, page).await.unwrap();
    let contacts = Contacts::new(shop.store.clone());
    let profiles = Profiles::new(at(base), shop.tenants.clone(), contacts, options);
    let desk = shop.over(Arc::new(Asking(profiles.clone()))).await;
    profiles.connect(desk.clone());
    Stand { shop, desk, profiles, asked }
}

impl Stand {
    /// This person writes.
    async fn hears(&self, person: &str, provider_id: &str) {
        let handle = Handle { kind: IdentityKind::Psid, value: person.to_owned() };
        let Inbound::Message(mut message) = says(vec![handle], provider_id, "Hello") else {
            unreachable!()
        };
        message.name = None;
        let account = Account { channel: Channel::Messenger, ..account() };
        self.desk.ingest(&account, vec![Inbound::Message(message)]).await.unwrap();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(who, _)| who.clone()).collect()
    }

    /// Lets time pass until this is so.
    async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let step = Duration::from_millis(20);
        for _ in 0..100_000 {
            if is_so().await {
                return;
            }
            tokio::task::yield_now().await;
            tokio::time::advance(step).await;
        }
        panic!("it does not happen");
    }

    /// How many people have a name.
    async fn named(&self) -> usize {
        let contacts = Contacts::new(self.shop.store.clone());
        let month = storage::keys::month(engine::time::Timestamp(1_790_000_000_000));
        let all = contacts.list(account().tenant, month, None, 100).await.unwrap();
        let mut named = 0;
        for id in all {
            let contact = contacts.get(id).await.unwrap();
            named += usize::from(contact.is_some_and(|contact| contact.name.is_some()));
        }
        named
    }
}

#[tokio::test(start_paused = true)]
async fn people_of_one_account_are_asked_for_one_behind_the_other() {
    let every = Duration::from_secs(10);
    let stand = stand(ProfileOptions { every, ..options() }).await;
    for n in 0..4 {
        stand.hears(&format!("10{n}"), &format!("m{n}")).await;
    }
    stand.until(async || stand.named().await == 4).await;
    let asked = stand.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4, "each once");
    for two in asked.windows(2) {
        assert!(two[1].1 - two[0].1 >= every / 2, "{asked:?}");
    }
    stand.profiles.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_has_not_agreed_is_asked_for_again_after_a_while_and_who_could_not_be_after_the_ladder()
{
    let stand = stand(options()).await;
    stand.hears("2", "m1").await;
    stand.until(async || stand.asked().len() == 1).await;
    stand.hears("2", "m2").await;
    // Three tries, and then it is given up.
    stand.hears("3", "m3").await;
    stand.until(async || stand.asked().len() == 4).await;
    assert_eq!(stand.asked(), ["2", "3", "3", "3"]);
    stand
        .until(async || {
            // Whoever writes again is asked for again.
            stand.hears("3", &format!("m{:?}", Instant::now())).await;
            stand.asked().len() > 4
        })
        .await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    stand.hears("2", "m5").await;
    stand.until(async || stand.asked().iter().filter(|who| *who == "2").count() == 2).await;
    assert_eq!(stand.named().await, 0);
    stand.profiles.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_so_many_it_is_known_that_they_were_asked_for() {
    let stand = stand(ProfileOptions { known: 2, ..options() }).await;
    for (n, person) in ["21", "22", "23", "21"].into_iter().enumerate() {
        stand.hears(person, &format!("m{n}")).await;
        stand.until(async || stand.asked().len() == n + 1).await;
    }
    stand.hears("23", "m9").await;
    stand.hears("24", "m10").await;
    stand.until(async || stand.asked().len() == 5).await;
    assert_eq!(stand.asked(), ["21", "22", "23", "21", "24"]);
    stand.profiles.stop().await;
}
