//! Files of Messenger's and Instagram's messages: fetched from where they lie for a while, and taken
//! to the provider, or lent to it.

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{GraphOptions, Object, Plan, Trouble};

use crate::caller::Answer;
use crate::files::{PNG, assign, beside, is_given_up, is_stored, read, trouble};
use crate::harness::{Org, SECRET, Server, eventually, graph};
use crate::pages::Page;

const CHANNELS: [&str; 2] = ["messenger", "instagram"];

/// A page of its own server, and what the provider calls it.
async fn page(
    options: GraphOptions,
    channel: &'static str,
    differ: impl FnOnce(&mut Config),
) -> (Arc<Server>, Page, simulator::Page) {
    let (server, org) = beside(options, differ).await;
    let page = Page::of(org, channel, json!({"app_secret": SECRET})).await;
    let object = if channel == "messenger" { Object::Page } else { Object::Instagram };
    let theirs = simulator::Page::new(object, &*page.key);
    (server, page, theirs)
}

/// The customer sends these, in one message: what each is sent as, and what it is.
async fn send(server: &Server, page: &Page, theirs: &simulator::Page, files: &[(&str, &[u8])]) {
    let files: Vec<_> = files
        .iter()
        .map(|(kind, bytes)| (*kind, "application/octet-stream", bytes.to_vec()))
        .collect();
    assert!(server.graph.write_files(theirs, &page.person, &files).await);
}

/// Its messages once this is so of all their files.
async fn until(page: &Page, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually(async || {
        let all = page.reads().await;
        let mut files = all.iter().flat_map(|one| one["attachments"].as_array().unwrap());
        files.all(&is_so).then_some(all)
    })
    .await
}

/// A picture that is like no other.
fn photo(n: u8) -> Vec<u8> {
    [b"\xff\xd8\xff\xe0\0\x10JFIF\0", [n; 40].as_slice()].concat()
}

/// An album of five in parallel, with this going wrong; all of it is read by those who may.
async fn album(channel: &'static str, options: GraphOptions, troubles: Vec<Plan>, restarts: bool) {
    let (server, page, theirs) = page(options, channel, |_| {}).await;
    let (ana, bea) = (page.org.hire("agent").await, page.org.hire("agent").await);
    troubles.into_iter().for_each(|plan| server.graph.plan(plan));
    let photos: Vec<_> = (0..5).map(photo).collect();
    let sent = async |photo: &[u8]| send(&server, &page, &theirs, &[("image", photo)]).await;
    futures_util::future::join_all(photos.iter().map(|photo| sent(photo))).await;
    if restarts {
        server.restart().await;
    }
    let all = until(&page, is_stored).await;
    let conversation = page.conversation().await["id"].take();
    assert_eq!(all.len(), 5, "of one conversation");
    assign(&page.org, &conversation, Some(&ana)).await;
    let other = Org::on(&server).await;
    let mut seen = std::collections::BTreeSet::new();
    for message in &all {
        assert_eq!(message["kind"], "image");
        let file = &message["attachments"][0];
        for who in [&ana, &page.org.admin] {
            let answer = read(who, file).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers["content-type"], "image/jpeg");
            seen.insert(answer.bytes);
        }
        for who in [&bea, &other.admin] {
            read(who, file).await.refused(404, "not_found");
        }
    }
    assert_eq!(seen, photos.into_iter().collect(), "each of them");
}

#[tokio::test]
async fn five_photos_at_once_are_five_files_for_those_who_may_see_them() {
    for channel in CHANNELS {
        album(channel, graph(), Vec::new(), false).await;
    }
}

#[tokio::test]
async fn a_slow_provider_delays_nothing_but_the_files() {
    album("instagram", graph(), vec![trouble("cdn", 5, Trouble::Slow { ms: 300 })], false).await;
}

#[tokio::test]
async fn what_could_not_be_had_while_the_provider_was_down_is_fetched_after_a_restart() {
    album("messenger", graph(), vec![trouble("cdn", 40, Trouble::ResetBefore)], true).await;
}

#[tokio::test]
async fn for_an_address_that_is_over_the_provider_is_asked_for_another() {
    for channel in CHANNELS {
        album(channel, graph(), vec![trouble("cdn", 5, Trouble::Expired)], false).await;
    }
}

#[tokio::test]
async fn stories_and_shares_are_kept_and_a_page_of_the_web_stays_a_link() {
    let (server, page, theirs) = page(graph(), "instagram", |_| {}).await;
    let (photo, film) = (photo(1), b"\0\0\0\x18ftypmp42");
    let files = [("story_mention", PNG), ("share", &photo[..]), ("ig_reel", &film[..])];
    send(&server, &page, &theirs, &files).await;
    let all = until(&page, is_stored).await;
    let kinds: Vec<_> =
        all[0]["attachments"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["story", "share", "share"]);
    for file in all[0]["attachments"].as_array().unwrap() {
        assert_eq!(
            (read(&page.org.admin, file).await.status, &file["url_expires"]),
            (200, &json!(true))
        );
    }
    let link = "https://www.instagram.com/p/abc/";
    let shared = json!([{"type": "share", "payload": {"url": link}}]);
    let message = json!({"mid": crate::harness::unique("m."), "attachments": shared});
    page.gets(&[page.does(json!({"message": message}))]).await;
    let last = page.reads().await.pop().unwrap();
    assert_eq!(last["attachments"], json!([{"kind": "share", "url": link}]));
}

#[tokio::test]
async fn a_story_that_is_over_says_so_and_is_not_asked_for_any_more() {
    let (server, page, theirs) = page(graph(), "instagram", |_| {}).await;
    server.graph.plan(trouble("cdn", 3, Trouble::Expired));
    send(&server, &page, &theirs, &[("story_mention", PNG)]).await;
    let all = until(&page, is_given_up).await;
    assert_eq!(all[0]["attachments"][0]["error"]["code"], "expired");
    let asked = server.graph.requests().len();
    server.restart().await;
    assert_eq!(server.graph.requests().len(), asked, "nothing is left to be fetched");
}

fn taken(server: &Server) -> usize {
    let all = server.graph.requests();
    all.iter().filter(|one| one.path.ends_with("/message_attachments")).count()
}

async fn becomes(page: &Page, message: &Value, status: &str) -> Value {
    eventually(async || {
        let all = page.reads().await;
        all.into_iter().find(|one| one["id"] == message["id"] && one["status"] == status)
    })
    .await
}

fn picture(kind: &str, file: &Value) -> Value {
    json!({"attachments": [{"kind": kind, "media_id": file["id"]}]})
}

#[tokio::test]
async fn a_page_is_given_a_file_once_for_what_it_is_sent_as() {
    let (server, page, theirs) = page(graph(), "messenger", |_| {}).await;
    server.graph.write_to(&theirs, &page.person, "A picture?").await;
    let file = page.org.admin.brings("a.png", "image/png", PNG).await.is(201);
    for (kind, times) in [("image", 1), ("image", 1), ("document", 2)] {
        let sent = page.says(picture(kind, &file)).await.is(201);
        assert_eq!(sent["attachments"][0]["media_id"], file["id"]);
        becomes(&page, &sent, "read").await;
        assert_eq!(taken(&server), times);
    }
    let sent = server.graph.sends().sends;
    assert!(
        sent.iter().all(|one| one.content["attachment"]["payload"]["attachment_id"].is_string())
    );
    assert_eq!(sent[2].content["attachment"]["type"], "file");
    // It has forgotten the file: it is taken there once more.
    server.graph.plan(Plan::next_sends(1, Trouble::Error { code: 100 }));
    let sent = page.says(picture("image", &file)).await.is(201);
    becomes(&page, &sent, "read").await;
    assert_eq!(taken(&server), 3);
}

#[tokio::test]
async fn instagram_is_lent_a_file_by_a_link_that_nobody_guesses() {
    let (server, page, theirs) = page(graph(), "instagram", |_| {}).await;
    server.graph.write_to(&theirs, &page.person, "A picture?").await;
    let file = page.org.admin.brings("a.png", "image/png", PNG).await.is(201);
    let sent = page.says(picture("image", &file)).await.is(201);
    let shown = becomes(&page, &sent, "sent").await;
    assert!(shown["attachments"][0].get("url").is_none(), "the link is the provider's alone");
    assert_eq!(taken(&server), 0);
    let link = server.graph.sends().sends[0].content["attachment"]["payload"]["url"].clone();
    let link = link.as_str().unwrap().strip_prefix(&server.url()).unwrap().to_owned();
    let fetch =
        async |link: &str| Answer::of(page.org.admin.nobody().request(Method::GET, link)).await;
    let answer = fetch(&link).await;
    assert_eq!((answer.status, &*answer.bytes), (200, PNG));
    assert_eq!(answer.headers["content-type"], "image/png");
    let other = page.org.admin.brings("b.png", "image/png", &[PNG, b"b"].concat()).await.is(201);
    let foreign = link.replace(file["id"].as_str().unwrap(), other["id"].as_str().unwrap());
    let (bare, _) = link.split_once('?').unwrap();
    let later = link.replace("until=", "until=9");
    let half = &link[..link.len() - 2];
    for wrong in [&*foreign, bare, &later, half] {
        fetch(wrong).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_link_is_over_after_a_while() {
    let over = |config: &mut Config| config.limits.media_link_ttl = Duration::ZERO;
    let (server, page, theirs) = page(graph(), "instagram", over).await;
    server.graph.write_to(&theirs, &page.person, "A picture?").await;
    let file = page.org.admin.brings("a.png", "image/png", PNG).await.is(201);
    let sent = page.says(picture("image", &file)).await.is(201);
    becomes(&page, &sent, "sent").await;
    let link = server.graph.sends().sends[0].content["attachment"]["payload"]["url"].clone();
    let path = link.as_str().unwrap().strip_prefix(&server.url()).unwrap().to_owned();
    Answer::of(page.org.admin.request(Method::GET, &path)).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_the_channel_does_not_take_is_refused_before_anything_is_stored() {
    for channel in CHANNELS {
        let (server, page, theirs) = page(graph(), channel, |_| {}).await;
        server.graph.write_to(&theirs, &page.person, "Hello").await;
        let text = page.org.admin.brings("a.txt", "text/plain", b"Hello").await.is(201);
        for kind in ["image", "audio", "video", "sticker"] {
            let refused = page.says(picture(kind, &text)).await.invalid();
            assert!(refused[0].starts_with("attachments[0]."), "{channel} {kind}: {refused:?}");
        }
        let document = page.says(picture("document", &text)).await;
        match channel {
            "instagram" => assert_eq!(document.invalid(), ["attachments[0].media_id"]),
            _ => drop(document.is(201)),
        }
        let large = page.org.admin.brings("b.png", "image/png", &PNG.repeat(500_000)).await.is(201);
        let image = page.says(picture("image", &large)).await;
        match channel {
            "instagram" => assert_eq!(image.invalid(), ["attachments[0].media_id"]),
            _ => drop(image.is(201)),
        }
    }
}
