//! Files of messages: fetched from the provider whatever it does, sent to it, and seen by those who may
//! see their conversation, and by nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use engine::media::is_sha256;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simulator::{Act, GraphOptions, MediaKind, Plan, Trouble, Who};

use crate::caller::{Answer, Caller};
use crate::harness::{Org, Server, eventually, graph, unique};
use crate::live::Live;
use crate::places::{Place, wherever};

pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";

/// A server that tries again soon.
pub(crate) async fn beside(
    options: GraphOptions,
    differ: impl FnOnce(&mut Config),
) -> (Arc<Server>, Org) {
    let server = Server::beside(options, |config| {
        config.limits.media_ladder = vec![Duration::from_millis(20)];
        differ(config);
    })
    .await;
    let org = Org::on(&server).await;
    (server, org)
}

/// A trouble of the next lookups or downloads.
pub(crate) fn trouble(edge: &str, times: u32, trouble: Trouble) -> Plan {
    Plan { trouble, times, id: None, edge: Some(edge.to_owned()) }
}

/// The messages of a customer once this is so of their attachments.
pub(crate) async fn until(org: &Org, phone: &str, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
    let id = org.conversation(phone).await["id"].as_str().unwrap().to_owned();
    eventually(async || {
        let all = org.reads(&id).await;
        all.iter().all(|message| is_so(&message["attachments"][0])).then_some(all)
    })
    .await
}

pub(crate) fn is_stored(file: &Value) -> bool {
    file["media_id"].is_string()
}

pub(crate) fn is_given_up(file: &Value) -> bool {
    file["error"].is_object()
}

pub(crate) async fn read(who: &Caller, file: &Value) -> Answer {
    let path = format!("/api/media/{}", file["media_id"].as_str().unwrap());
    Answer::of(who.request(Method::GET, &path)).await
}

pub(crate) async fn assign(org: &Org, conversation: &Value, agent: Option<&Caller>) {
    let path = format!("/api/conversations/{}/assign", conversation.as_str().unwrap());
    org.admin.patch(&path, json!({"agent_id": agent.map(|agent| &agent.id)})).await.is(200);
}

/// A customer sends an album of five: five webhooks at once. Answers who.
async fn album(server: &Arc<Server>, org: &Org) -> String {
    let phone = unique("1555");
    let customer = server.graph.customer(&org.number, &Who::with_phone(&*phone, "Ines")).unwrap();
    customer.does(Act::Album { photos: 5 }).await.unwrap();
    phone
}

/// An album is five messages of one conversation, whose files are whole, for those who may see it and
/// for nobody else.
async fn arrives(server: &Arc<Server>, org: &Org, phone: &str) {
    let all = until(org, phone, is_stored).await;
    assert_eq!(all.len(), 5);
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    assign(org, &all[0]["conversation_id"], Some(&ana)).await;
    let other = Org::on(server).await;
    let mut files = BTreeSet::new();
    for message in &all {
        let file = &message["attachments"][0];
        for who in [&ana, &org.admin] {
            let answer = read(who, file).await;
            assert_eq!(answer.status, 200);
            assert_eq!(json!(answer.bytes.len()), file["size"]);
            let hash = Sha256::digest(&answer.bytes).into();
            assert!(is_sha256(file["sha256"].as_str().unwrap(), &hash), "as the provider has it");
            assert_eq!(answer.headers["content-type"], "image/jpeg");
        }
        for who in [&bea, &other.admin] {
            read(who, file).await.refused(404, "not_found");
        }
        read(&org.admin.nobody(), file).await.refused(401, "unauthorized");
        files.insert(file["media_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(files.len(), 5);
    assign(org, &all[0]["conversation_id"], Some(&bea)).await;
    let file = &all[0]["attachments"][0];
    assert_eq!((read(&ana, file).await.status, read(&bea, file).await.status), (404, 200));
}

/// How many requests for files, or for their addresses, ended in this way.
fn asked(server: &Arc<Server>, edge: &str, is_so: impl Fn(u16) -> bool) -> usize {
    let all = server.graph.requests();
    let is_file = |path: &str| path.contains("/attachments?");
    let is_address = |path: &str| path.rsplit('/').next().is_some_and(|id| id.starts_with("7007"));
    let is_meant = |path: &str| match edge {
        "attachments" => is_file(path),
        _ => is_address(path),
    };
    all.iter().filter(|one| is_meant(&one.path) && is_so(one.status)).count()
}

async fn five_photos_at_once_are_five_files_for_those_who_may_see_them(place: Place) {
    let (server, org) = place.beside(graph()).await;
    let phone = album(&server, &org).await;
    arrives(&server, &org, &phone).await;
}

#[tokio::test]
async fn a_slow_provider_delays_nothing_but_the_files() {
    let (server, org) = beside(graph(), |_| {}).await;
    let (hour, slow) = (Duration::from_secs(3600), Trouble::Slow { ms: 3_600_000 });
    let all_wait = async || {
        eventually(async || (server.graph.planned() == 0).then_some(())).await;
    };
    server.graph.plan(trouble("", 5, slow));
    let phone = album(&server, &org).await;
    all_wait().await;
    let all = until(&org, &phone, |file| !is_stored(file)).await;
    assert_eq!(all.len(), 5, "they are there without their files");
    server.graph.plan(trouble("attachments", 5, slow));
    server.graph.advance(hour);
    all_wait().await;
    // When the files are answered at last, their addresses are over.
    server.graph.advance(hour);
    arrives(&server, &org, &phone).await;
    assert_eq!(asked(&server, "attachments", |status| status == 404), 5);
    assert_eq!(asked(&server, "", |status| status == 200), 10);
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_until_it_is_there() {
    let (server, org) = beside(graph(), |_| {}).await;
    for (times, how) in [
        (10, Trouble::ResetBefore),
        (5, Trouble::Html),
        (5, Trouble::TooMany),
        (2, Trouble::Error { code: 190 }),
        (5, Trouble::Truncated),
    ] {
        server.graph.plan(trouble("", times, how));
    }
    let phone = album(&server, &org).await;
    arrives(&server, &org, &phone).await;
    assert_eq!(asked(&server, "", |status| status != 200), 10 + 5 + 5 + 2);
}

#[tokio::test]
async fn an_address_that_is_over_is_asked_for_anew() {
    let (server, org) = beside(graph(), |_| {}).await;
    server.graph.plan(trouble("attachments", 9, Trouble::Expired));
    let phone = album(&server, &org).await;
    arrives(&server, &org, &phone).await;
    assert_eq!(asked(&server, "attachments", |status| status == 404), 9);
    assert_eq!(asked(&server, "", |status| status == 200), 5 + 9, "none is gone to twice");
}

#[tokio::test]
async fn an_address_that_is_over_is_asked_for_anew_at_once() {
    let hour = Duration::from_secs(3600);
    let (server, org) = beside(graph(), |config| config.limits.media_ladder = vec![hour]).await;
    server.graph.plan(trouble("attachments", 1, Trouble::Expired));
    let phone = album(&server, &org).await;
    arrives(&server, &org, &phone).await;
    assert_eq!(asked(&server, "", |status| status == 200), 6);
}

async fn what_was_not_fetched_is_fetched_after_a_restart(place: Place) {
    let (server, org) = place.beside(graph()).await;
    server.graph.plan(trouble("", 40, Trouble::ResetBefore));
    let phone = album(&server, &org).await;
    server.restart().await;
    arrives(&server, &org, &phone).await;
    assert_eq!(asked(&server, "", |status| status != 200), 40);
}

#[tokio::test]
async fn a_file_that_came_is_told_live_as_what_its_content_is() {
    let (server, org) = beside(graph(), |_| {}).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "Look").await;
    let stream = format!("c:{id}");
    let mut live = Live::following(&org.admin, &[&stream]).await;
    let program = server.graph.add_medium("image/jpeg", b"MZ\x90\0\x03\0\0\0\x04".to_vec());
    let picture = json!({"id": program, "mime_type": "image/jpeg", "filename": "a.jpg"});
    org.gets(&unique("wamid."), &phone, "image", picture).await;
    let told = live.event(&stream, "message.updated").await;
    let file = &told["attachments"][0];
    assert_eq!((&file["provider_media_id"], &file["size"]), (&json!(program), &json!(9)));
    assert_ne!(file["mime_type"], "image/jpeg");
    let answer = read(&org.admin, file).await;
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert!(answer.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
}

#[tokio::test]
async fn what_cannot_be_had_says_why_and_is_not_asked_for_any_more() {
    let (server, org) = beside(graph(), |config| config.limits.media_inbound_bytes = 1_000).await;
    let gets = async |file: Value| {
        let phone = unique("1555");
        org.gets(&unique("wamid."), &phone, "document", file).await;
        let shown = until(&org, &phone, is_given_up).await;
        shown[0]["attachments"][0]["error"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(gets(json!({"id": "4711"})).await, "unknown", "it is a number's");
    let deleted = server.graph.add_medium("application/pdf", vec![7; 10]);
    server.graph.plan(trouble("", 3, Trouble::Error { code: 100 }));
    assert_eq!(gets(json!({"id": deleted})).await, "100", "the provider's words");
    assert_eq!(gets(json!({"id": "../4711"})).await, "no_file");
    let large = server.graph.add_medium("application/pdf", vec![7; 1_001]);
    assert_eq!(gets(json!({"id": large})).await, "too_large");
    let fits = server.graph.add_medium("application/pdf", vec![7; 1_000]);
    assert_eq!(gets(json!({"id": fits, "sha256": "0".repeat(64)})).await, "damaged");
    for elsewhere in ["http://127.0.0.1:9/a", "https://10.0.0.1/a", "https://example.com/a", "a"] {
        server.graph.name_media_at(Some(elsewhere));
        assert_eq!(gets(json!({"id": fits})).await, "foreign", "{elsewhere}");
    }
    server.graph.name_media_at(None);
    let asked = server.graph.requests().len();
    server.restart().await;
    assert_eq!(server.graph.requests().len(), asked, "nothing is left to be fetched");
}

async fn the_file_of_a_deleted_message_is_gone(place: Place) {
    let (server, org) = place.beside(graph()).await;
    let phone = unique("1555");
    let customer = server.graph.customer(&org.number, &Who::with_phone(&*phone, "Ines")).unwrap();
    customer.does(Act::Media { kind: MediaKind::Image, caption: None }).await.unwrap();
    let file = until(&org, &phone, is_stored).await[0]["attachments"][0].take();
    assert_eq!(read(&org.admin, &file).await.status, 200);
    customer.does(Act::Delete).await.unwrap();
    read(&org.admin, &file).await.refused(404, "not_found");
    eventually(async || (place.stored(&server) == 0).then_some(())).await;
}

wherever! {
    five_photos_at_once_are_five_files_for_those_who_may_see_them
    what_was_not_fetched_is_fetched_after_a_restart
    the_file_of_a_deleted_message_is_gone
    a_file_of_ours_is_taken_to_the_provider_once_and_sent_by_its_id_there
}

fn at(id: &str) -> String {
    format!("/api/conversations/{id}/messages")
}

async fn becomes(org: &Org, id: &str, message: &Value, status: &str) -> Value {
    eventually(async || {
        let all = org.reads(id).await;
        all.into_iter().find(|one| one["id"] == message["id"] && one["status"] == status)
    })
    .await
}

fn uploads(server: &Arc<Server>) -> usize {
    let all = server.graph.requests();
    all.iter().filter(|request| request.path.ends_with("/media")).count()
}

async fn a_file_of_ours_is_taken_to_the_provider_once_and_sent_by_its_id_there(place: Place) {
    let (server, org) = place.beside(graph()).await;
    let (ana, phone) = (org.hire("agent").await, unique("1555"));
    let id = org.hears(&phone, "Send me the form").await;
    let file = ana.brings("form.pdf", "application/pdf", b"%PDF-1.4\n%").await.is(201);
    let body =
        json!({"attachments": [{"kind": "document", "media_id": file["id"]}], "text": "Here"});
    for _ in 0..2 {
        let sent = ana.post(&at(&id), body.clone()).await.is(201);
        let shown = &sent["attachments"][0];
        assert_eq!((&shown["media_id"], &shown["filename"]), (&file["id"], &json!("form.pdf")));
        assert_eq!((&shown["mime_type"], &shown["size"]), (&json!("application/pdf"), &json!(10)));
        becomes(&org, &id, &sent, "read").await;
        read(&org.admin, shown).await.is(200);
    }
    // The same content under another name.
    let again = ana.brings("copy.pdf", "application/pdf", b"%PDF-1.4\n%").await.is(201);
    let other = json!({"attachments": [{"kind": "document", "media_id": again["id"]}]});
    let sent = ana.post(&at(&id), other).await.is(201);
    becomes(&org, &id, &sent, "read").await;
    assert_eq!(uploads(&server), 1);
    // Whoever loses sight of the conversation loses it of the file they brought, since it was sent.
    let bea = org.hire("agent").await;
    assign(&org, &json!(id), Some(&bea)).await;
    let path = format!("/api/media/{}", file["id"].as_str().unwrap());
    assert_eq!((ana.get(&path).await.status, bea.get(&path).await.status), (404, 200));
}

#[tokio::test]
async fn a_file_that_the_provider_lost_is_taken_there_again() {
    let (server, org) = beside(graph(), |_| {}).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let file = org.admin.brings("a.png", "image/png", PNG).await.is(201);
    let body = json!({"attachments": [{"kind": "image", "media_id": file["id"]}]});
    let sent = org.admin.post(&at(&id), body.clone()).await.is(201);
    becomes(&org, &id, &sent, "read").await;
    server.graph.plan(Plan::next_sends(1, Trouble::Error { code: 131_053 }));
    let sent = org.admin.post(&at(&id), body.clone()).await.is(201);
    becomes(&org, &id, &sent, "read").await;
    assert_eq!(uploads(&server), 2);
    // An upload that fails in passing is tried again, one that is refused is not.
    let other = org.admin.brings("b.png", "image/png", &[PNG, b"b"].concat()).await.is(201);
    let body = json!({"attachments": [{"kind": "image", "media_id": other["id"]}]});
    server.graph.plan(trouble("media", 1, Trouble::ResetBefore));
    let sent = org.admin.post(&at(&id), body).await.is(201);
    becomes(&org, &id, &sent, "read").await;
    let third = org.admin.brings("c.png", "image/png", &[PNG, b"c"].concat()).await.is(201);
    let body = json!({"attachments": [{"kind": "image", "media_id": third["id"]}]});
    server.graph.plan(trouble("media", 1, Trouble::Error { code: 131_053 }));
    let sent = org.admin.post(&at(&id), body).await.is(201);
    let failed = becomes(&org, &id, &sent, "failed").await;
    assert_eq!(failed["error"]["code"], "131053");
}

#[tokio::test]
async fn what_is_sent_is_a_file_that_the_sender_sees_and_the_channel_takes() {
    let (server, org) = beside(graph(), |config| config.limits.media_messages = 2).await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let id = org.hears(&unique("1555"), "Hello").await;
    let send = async |who: &Caller, kind: &str, file: &Value| {
        let body = json!({"attachments": [{"kind": kind, "media_id": file["id"]}]});
        who.post(&at(&id), body).await
    };
    let file = ana.brings("a.png", "image/png", PNG).await.is(201);
    let theirs = Org::on(&server).await.admin.brings("a.png", "image/png", PNG).await.is(201);
    let none = json!({"id": "00000000-0000-0000-0000-000000000000"});
    for (who, kind, file) in [
        (&bea, "image", &file),
        (&ana, "image", &theirs),
        (&ana, "image", &none),
        (&ana, "image", &json!({"id": "x"})),
        (&ana, "video", &file),
        (&ana, "sticker", &file),
        (&ana, "audio", &file),
    ] {
        assert_eq!(send(who, kind, file).await.invalid(), ["attachments[0].media_id"], "{kind}");
    }
    let both = json!({"kind": "image", "media_id": file["id"], "url": "https://example.com/a.png"});
    let both = ana.post(&at(&id), json!({"attachments": [both]})).await;
    assert_eq!(both.invalid(), ["attachments[0].media_id"]);
    let large = ana.brings("b.png", "image/png", &PNG.repeat(300_000)).await.is(201);
    assert_eq!(send(&ana, "image", &large).await.invalid(), ["attachments[0].media_id"]);
    send(&ana, "document", &large).await.is(201);
    for _ in 0..2 {
        send(&ana, "image", &file).await.is(201);
    }
    assert_eq!(send(&ana, "image", &file).await.invalid(), ["attachments[0].media_id"]);
}
