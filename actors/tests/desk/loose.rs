//! Files that show nowhere, whatever ended before they went. Nobody here does what a deletion asks
//! for at once: the process ends before.

use std::time::Duration;

use engine::channel::{Amend, Amender, Amendment, Inbound};
use engine::id::{AgentId, ConversationId, MediaId};
use engine::media::{Medium, Origin};
use engine::message::{Attachment, MessageKind, Place};
use engine::time::Timestamp;
use storage::conversations::Conversations;
use storage::media::Draft;
use storage::tables::MEDIA_SHOWN;
use storage::{Batch, Change, Part};
use uuid::Uuid;

use crate::bench::{account, admin, phone, says};
use crate::fetcher::{Stand, carries, stand};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A file of three bytes is kept.
async fn kept(stand: &Stand, n: u128, origin: Origin) -> Medium {
    let (tenant, id) = (account().tenant, Uuid::from_u128(n));
    let mut incoming = stand.media.begin(tenant, id, 3).await.unwrap();
    incoming.write(b"abc").await.unwrap();
    let (mime_type, filename, at) = ("text/plain".to_owned(), None, stand.shop.clock.now());
    incoming.keep(Draft { id: MediaId(id), mime_type, filename, origin, at }).await.unwrap()
}

async fn brought(stand: &Stand, n: u128) -> Medium {
    kept(stand, n, Origin::Uploaded { by: AgentId(Uuid::from_u128(9)) }).await
}

/// A message that shows a file of ours.
async fn shows(stand: &Stand, from: &str, provider_id: &str, medium: &Medium) {
    let Inbound::Message(mut message) = says(vec![phone(from)], provider_id, "") else {
        unreachable!()
    };
    message.content.kind = MessageKind::Document;
    let media_id = Some(medium.id);
    message.content.attachments = vec![Attachment { media_id, ..Attachment::default() }];
    stand.desk.ingest(&account(), vec![Inbound::Message(message)]).await.unwrap();
}

async fn delete(stand: &Stand, from: &str, target: &str) {
    let deletion = Amendment {
        customer: vec![phone(from)],
        by: Amender::Customer,
        target: target.to_owned(),
        provider_id: None,
        at: None,
        what: Amend::Deletion,
    };
    stand.desk.ingest(&account(), vec![Inbound::Amendment(deletion)]).await.unwrap();
}

/// Where the one message lies.
async fn lies(stand: &Stand) -> (ConversationId, Place) {
    let conversations = Conversations::new(stand.shop.store.clone());
    let id = conversations.open_set(account().tenant).await.unwrap()[0];
    let rows = stand.desk.messages(admin(), id, (u64::MAX, 0), 50).await.unwrap();
    (id, rows[0].place)
}

async fn is_there(stand: &Stand, medium: &Medium) -> bool {
    stand.media.get(medium.tenant, medium.id).await.unwrap().is_some()
}

/// How many are still to be looked at.
async fn loose(stand: &Stand) -> usize {
    let mut count = 0;
    for shard in 0..=u8::MAX {
        let found = stand.media.loose(shard, Timestamp(i64::MAX), None, 10).await.unwrap();
        count += found.len();
    }
    count
}

fn later(stand: &Stand, by: Duration) {
    stand.shop.clock.set(stand.shop.clock.now() + by);
}

#[tokio::test]
async fn files_of_deleted_messages_go_though_the_process_ended_before_they_did() {
    let stand = stand(10).await;
    stand.desk.ingest(&account(), vec![carries("1", "m1", "file")]).await.unwrap();
    stand.until(1, |file| file.media_id.is_some()).await;
    // Somebody at the desk brought these.
    let (sent, elsewhere) = (brought(&stand, 1).await, brought(&stand, 2).await);
    shows(&stand, "1", "m2", &sent).await;
    shows(&stand, "1", "m3", &elsewhere).await;
    shows(&stand, "2", "m4", &elsewhere).await;
    for target in ["m1", "m2", "m3"] {
        delete(&stand, "1", target).await;
    }
    assert_eq!(stand.media.bytes(account().tenant).await.unwrap(), 5 + 3 + 3);
    assert_eq!(stand.fetcher.clear().await.unwrap(), 2);
    assert!(!is_there(&stand, &sent).await && is_there(&stand, &elsewhere).await);
    assert_eq!(stand.media.bytes(account().tenant).await.unwrap(), 3);
    later(&stand, 26 * HOUR);
    assert_eq!(stand.fetcher.clear().await.unwrap(), 0);
    assert_eq!(loose(&stand).await, 0);
}

#[tokio::test]
async fn a_file_that_was_brought_and_shows_nowhere_goes_in_time() {
    let stand = stand(10).await;
    let (unsent, sent) = (brought(&stand, 1).await, brought(&stand, 2).await);
    let mail = "m".to_owned();
    let mailed = kept(&stand, 3, Origin::Mailed { account: account().id, mail }).await;
    shows(&stand, "1", "m1", &sent).await;
    later(&stand, 24 * HOUR);
    assert_eq!(stand.fetcher.clear().await.unwrap(), 0, "one may be about to be sent");
    later(&stand, HOUR + Duration::from_millis(1));
    assert_eq!(stand.fetcher.clear().await.unwrap(), 1);
    assert!(!is_there(&stand, &unsent).await && is_there(&stand, &sent).await);
    assert!(is_there(&stand, &mailed).await, "its mail may wait, or be a dead letter");
    assert_eq!(loose(&stand).await, 0);
    delete(&stand, "1", "m1").await;
    assert_eq!(stand.fetcher.clear().await.unwrap(), 1);
}

#[tokio::test]
async fn a_file_that_was_fetched_and_not_told_stays_as_long_as_its_message_waits_for_it() {
    let stand = stand(10).await;
    stand.desk.ingest(&account(), vec![carries("1", "m1", "never")]).await.unwrap();
    let (conversation, place) = lies(&stand).await;
    let origin = Origin::Fetched {
        account: account().id,
        conversation,
        place: Some(place),
        provider_media_id: "never".to_owned(),
    };
    let fetched = kept(&stand, 1, origin).await;
    later(&stand, 48 * HOUR);
    assert_eq!(stand.fetcher.clear().await.unwrap(), 0);
    assert!(is_there(&stand, &fetched).await);
    // It is not what the message shows: no commit knows of it.
    delete(&stand, "1", "m1").await;
    assert_eq!(stand.fetcher.clear().await.unwrap(), 1);
    assert!(!is_there(&stand, &fetched).await);
    stand.fetcher.stop().await;
}

#[tokio::test]
async fn a_file_that_its_message_shows_stays_though_that_was_not_noted() {
    let stand = stand(10).await;
    stand.desk.ingest(&account(), vec![carries("1", "m1", "file")]).await.unwrap();
    let id = stand.until(1, |file| file.media_id.is_some()).await[0].media_id.unwrap();
    let change =
        Change::Clear { table: &MEDIA_SHOWN, partition: vec![Part::Uuid(id.0.into_bytes())] };
    let stamp = stand.shop.stamps.next();
    stand.shop.store.apply(Batch { stamp, changes: vec![change] }).await.unwrap();
    assert_eq!(stand.media.shown(id, 10).await.unwrap(), []);
    later(&stand, 48 * HOUR);
    assert_eq!(stand.fetcher.clear().await.unwrap(), 0);
    assert!(stand.media.get(account().tenant, id).await.unwrap().is_some());
    delete(&stand, "1", "m1").await;
    assert_eq!(stand.fetcher.clear().await.unwrap(), 1);
    stand.fetcher.stop().await;
}
