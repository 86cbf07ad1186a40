//! Files: brought, kept, read in parts, and shown to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::id::{AgentId, MediaId};
use engine::media::Origin;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use storage::media::Draft;

use crate::caller::{Answer, Caller};
use crate::harness::{Org, Server, eventually};
use crate::places::{Place, wherever};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";

fn at(file: &Value) -> String {
    format!("/api/media/{}", file["id"].as_str().unwrap())
}

pub(crate) async fn read(who: &Caller, file: &Value, headers: &[(&str, &str)]) -> Answer {
    let request = who.request(Method::GET, &at(file));
    let with = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    Answer::of(headers.iter().fold(request, with)).await
}

async fn a_file_is_kept_as_what_it_is_and_read_whole_in_parts_and_not_again(place: Place) {
    let org = place.org().await;
    let file = org.admin.brings("..\\\\a/b/caf\u{e9} 1.jpg", "image/jpeg", PNG).await.is(201);
    assert_eq!((&file["mime_type"], &file["size"]), (&json!("image/png"), &json!(PNG.len())));
    assert_eq!(file["filename"], "caf\u{e9} 1.jpg");
    assert_eq!(file["url"], at(&file));
    let whole = read(&org.admin, &file, &[]).await;
    assert_eq!((whole.status, &whole.bytes[..]), (200, PNG));
    let is = |name: &str| whole.headers[name].to_str().unwrap().to_owned();
    assert_eq!((is("content-type"), is("accept-ranges")), ("image/png".into(), "bytes".into()));
    assert_eq!(is("content-length"), PNG.len().to_string());
    assert_eq!(is("cache-control"), "private, no-cache");
    assert_eq!(is("content-security-policy"), "default-src 'none'; sandbox");
    assert!(is("content-disposition").starts_with("inline; "), "{}", is("content-disposition"));
    let tag = is("etag");
    assert_eq!(tag, format!("\"{}\"", file["sha256"].as_str().unwrap()));

    let part = read(&org.admin, &file, &[("range", "bytes=1-3")]).await;
    assert_eq!((part.status, &part.bytes[..]), (206, &b"PNG"[..]));
    assert_eq!(part.headers["content-range"], format!("bytes 1-3/{}", PNG.len()));
    let beyond = read(&org.admin, &file, &[("range", "bytes=999-")]).await;
    assert_eq!(beyond.headers["content-range"], format!("bytes */{}", PNG.len()));
    beyond.refused(416, "range_not_satisfiable");
    let same = read(&org.admin, &file, &[("if-none-match", &format!("\"x\", {tag}"))]).await;
    assert_eq!((same.status, same.bytes.len()), (304, 0));
    assert_eq!(same.headers["etag"], tag.as_str());
    let other = [("range", "bytes=1-3"), ("if-range", "\"another\"")];
    assert_eq!(read(&org.admin, &file, &other).await.status, 200);
}

async fn what_a_browser_might_run_is_given_to_be_kept(place: Place) {
    let org = place.org().await;
    for (name, mime_type, bytes) in [
        ("a.html", "text/html", &b"<!DOCTYPE html><script>alert(1)</script>"[..]),
        ("a.svg", "text/plain", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("a.exe", "application/octet-stream", b"MZ\x90\0\x03\0\0\0\x04"),
    ] {
        let file = org.admin.brings(name, mime_type, bytes).await.is(201);
        let answer = read(&org.admin, &file, &[]).await;
        assert_eq!(answer.headers["content-type"], "application/octet-stream", "{name}");
        let how = answer.headers["content-disposition"].to_str().unwrap();
        assert!(how.starts_with("attachment; "), "{how}");
    }
    let program = org.admin.brings("a.png", "image/png", b"MZ\x90\0\x03\0\0\0\x04").await;
    assert_eq!(program.invalid(), ["file"]);
}

async fn a_file_that_shows_nowhere_is_seen_by_whoever_brought_it(place: Place) {
    let org = place.org().await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let file = ana.brings("a.png", "image/png", PNG).await.is(201);
    assert_eq!(read(&ana, &file, &[]).await.status, 200);
    for other in [&bea, &org.admin, &Org::on(&org.server).await.admin] {
        read(other, &file, &[]).await.refused(404, "not_found");
    }
}

async fn a_file_that_shows_nowhere_is_nobodys_after_some_time_and_goes(place: Place) {
    let server =
        place.server(|config| config.limits.media_unshown = Duration::from_millis(1)).await;
    let org = Org::on(&server).await;
    let file = org.admin.brings("a.png", "image/png", PNG).await.is(201);
    eventually(async || (read(&org.admin, &file, &[]).await.status == 404).then_some(())).await;
    // One that was brought two hours ago: a start looks at it.
    let (app, me) = (server.app(), org.admin.get("/api/auth/me").await.is(200));
    let tenant = serde_json::from_value(me["org_id"].clone()).unwrap();
    let mut incoming = app.media.begin(tenant, app.tenants.id(), 10).await.unwrap();
    incoming.write(b"long ago").await.unwrap();
    let draft = Draft {
        id: MediaId(app.tenants.id()),
        mime_type: "text/plain".to_owned(),
        filename: None,
        origin: Origin::Uploaded { by: AgentId(app.tenants.id()) },
        at: app.tenants.now() - Duration::from_secs(2 * 60 * 60),
    };
    incoming.keep(draft).await.unwrap();
    drop(app);
    assert_eq!(place.stored(&server), 2);
    server.restart().await;
    eventually(async || (place.stored(&server) == 1).then_some(())).await;
}

async fn one_file_is_brought_in_a_form_and_nothing_else(place: Place) {
    let org = place.org().await;
    let form = async |parts: &[(&str, &[u8])]| {
        Answer::of(org.admin.form("/api/media/upload", parts)).await
    };
    let file = ("name=\"file\"; filename=\"a\"", PNG);
    assert_eq!(form(&[]).await.invalid(), ["file"]);
    assert_eq!(form(&[("name=\"file\"", b"")]).await.invalid(), ["file"]);
    assert_eq!(form(&[file, file]).await.invalid(), ["file"]);
    assert_eq!(form(&[("name=\"zzz\"", b"1"), file]).await.invalid(), ["zzz"]);
    form(&[file]).await.is(201);
    let post =
        |kind: &str| org.admin.request(Method::POST, "/api/media").header("content-type", kind);
    let json = Answer::of(post("application/json").body("{}")).await;
    json.refused(415, "unsupported_media_type");
    Answer::of(org.admin.request(Method::POST, "/api/media"))
        .await
        .refused(415, "unsupported_media_type");
    let cut = b"--edge\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf";
    for (kind, body) in [
        ("multipart/form-data", &b"x"[..]),
        ("multipart/form-data; boundary=edge", b"no form"),
        ("multipart/form-data; boundary=edge", cut),
        ("multipart/form-data; boundary=edge", b""),
    ] {
        Answer::of(post(kind).body(body)).await.refused(400, "malformed");
    }
    let mut endless = b"--edge\r\nContent-Disposition: form-data; name=\"".to_vec();
    endless.resize(5 << 20, b'x');
    let answer = Answer::of(post("multipart/form-data; boundary=edge").body(endless)).await;
    answer.refused(400, "malformed");
}

async fn an_idempotency_key_brings_one_file_once(place: Place) {
    let org = place.org().await;
    let bring = async |bytes: &[u8]| {
        let form = org.admin.form("/api/media", &[("name=\"file\"", bytes)]);
        Answer::of(form.header("idempotency-key", "k")).await
    };
    let (one, again) = (bring(PNG).await.is(201), bring(PNG).await.is(201));
    assert_eq!(one, again);
    bring(b"another").await.refused(409, "idempotency_key_reused");
    assert_eq!(read(&org.admin, &one, &[]).await.bytes, PNG);
}

async fn a_large_file_is_kept_over_a_restart_and_a_larger_one_leaves_nothing(place: Place) {
    let server = place.server(|_| {}).await;
    let org = Org::on(&server).await;
    let most = server.config.limits.media_upload_bytes;
    let mut bytes = PNG.repeat(most / PNG.len() + 1);
    bytes.truncate(most);
    let file = org.admin.brings("a.png", "image/png", &bytes).await.is(201);
    bytes.push(0);
    org.admin.brings("a.png", "image/png", &bytes).await.refused(413, "body_too_large");
    bytes.resize(most + (1 << 20), 0);
    org.admin.brings("a.png", "image/png", &bytes).await.refused(413, "body_too_large");
    bytes.truncate(most);
    server.restart().await;
    assert!(read(&org.admin, &file, &[]).await.bytes == bytes);
    let last = read(&org.admin, &file, &[("range", "bytes=-1")]).await;
    assert_eq!(last.bytes, bytes[most - 1..]);
    assert_eq!(place.stored(&server), 1);
}

async fn an_organization_has_room_for_so_many_bytes(place: Place) {
    let server = place.server(|config| config.limits.media_tenant_bytes = 30).await;
    let org = Org::on(&server).await;
    org.admin.brings("a.png", "image/png", PNG).await.is(201);
    org.admin.brings("b.png", "image/png", PNG).await.refused(409, "media_full");
    Org::on(&server).await.admin.brings("a.png", "image/png", PNG).await.is(201);
    server.restart().await;
    org.admin.brings("c.png", "image/png", PNG).await.refused(409, "media_full");
    assert_eq!(place.stored(&server), 2);
}

wherever! {
    a_file_is_kept_as_what_it_is_and_read_whole_in_parts_and_not_again
    what_a_browser_might_run_is_given_to_be_kept
    a_file_that_shows_nowhere_is_seen_by_whoever_brought_it
    a_file_that_shows_nowhere_is_nobodys_after_some_time_and_goes
    one_file_is_brought_in_a_form_and_nothing_else
    an_idempotency_key_brings_one_file_once
    a_large_file_is_kept_over_a_restart_and_a_larger_one_leaves_nothing
    an_organization_has_room_for_so_many_bytes
}

#[tokio::test]
async fn the_disk_keeps_a_reserve() {
    let full = Server::start(|config| config.limits.media_reserve_bytes = 1 << 40).await;
    let org = Org::on(&full).await;
    org.admin.brings("a.png", "image/png", PNG).await.refused(503, "unavailable");
    // What came of it goes behind the answer.
    eventually(async || (Place::Directory.stored(&full) == 0).then_some(())).await;
}

#[tokio::test]
async fn one_organization_brings_so_many_files_at_once_and_a_slow_one_is_given_up() {
    let server = Server::start(|config| {
        (config.limits.media_uploads, config.limits.media_uploads_tenant) = (2, 1);
        config.limits.media_timeout = Duration::from_secs(2);
    })
    .await;
    let (one, two, three) =
        (Org::on(&server).await, Org::on(&server).await, Org::on(&server).await);
    // The head of a form whose file never comes; again when it had its time, until all was seen.
    let seen = Arc::new(AtomicBool::new(false));
    let slow = |org: &Org| {
        let (admin, seen) = (org.admin.clone(), seen.clone());
        tokio::spawn(async move {
            loop {
                let head = b"--edge\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
                let first =
                    futures_util::stream::once(async { Ok::<_, std::io::Error>(&head[..]) });
                let body = first.chain(futures_util::stream::pending());
                let kind = "multipart/form-data; boundary=edge";
                let request =
                    admin.request(Method::POST, "/api/media").header("content-type", kind);
                let answer = Answer::of(request.body(reqwest::Body::wrap_stream(body))).await;
                if answer.body["error"]["code"] == "unavailable" && seen.load(Ordering::SeqCst) {
                    return;
                }
            }
        })
    };
    let first = slow(&one);
    let tries = async |org: &Org| org.admin.brings("a.png", "image/png", PNG).await;
    eventually(async || (tries(&one).await.status == 429).then_some(())).await;
    let second = slow(&two);
    eventually(async || (tries(&three).await.status == 503).then_some(())).await;
    seen.store(true, Ordering::SeqCst);
    first.await.unwrap();
    second.await.unwrap();
    tries(&three).await.is(201);
}
