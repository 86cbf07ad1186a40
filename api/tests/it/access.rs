//! Who may call what, and what every operation refuses: asked of every row of the table, so that a
//! new row is tested by being there.

use std::time::Duration;

use api::routes::{Access, Route, all};
use reqwest::Method;
use serde_json::{Value, json};
use simulator::sign;
use storage::faulty::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::{Answer, Caller};
use crate::harness::{Org, SECRET, Server, unique};
use crate::held;

/// Every row that is called and answered; a live feed has its own tests.
pub(crate) fn rows() -> impl Iterator<Item = Route> {
    const SWITCHING_PROTOCOLS: u16 = 101;
    all().into_iter().filter(|row| row.status != SWITCHING_PROTOCOLS)
}

pub(crate) fn name(row: &Route) -> String {
    format!("{} {}", row.verb, row.path)
}

/// What the id in a row's path names: the word before it.
pub(crate) fn kind(row: &Route) -> Option<&'static str> {
    match row.path.matches("{id}").count() {
        0 => None,
        1 => row.path.split("/{id}").next().unwrap().rsplit('/').next(),
        _ => panic!("{}: nobody has said what its second id is", name(row)),
    }
}

/// A row's path, with this id where it has one.
pub(crate) fn path(row: &Route, id: &str) -> String {
    row.path.replace("{channel}", "whatsapp").replace("{id}", id)
}

/// The id of a new thing of this organization.
pub(crate) async fn thing(kind: &str, org: &Org) -> String {
    match kind {
        "conversations" => org.hears(&unique("1555"), "Hello").await,
        "contacts" => {
            let phone = unique("1555");
            org.hears(&phone, "Hello").await;
            let contact = org.conversation(&phone).await["contact_id"].take();
            contact.as_str().unwrap().to_owned()
        }
        "agents" => org.hire("agent").await.id,
        "accounts" => org.connect(&unique("8")).await,
        "dead-letters" => {
            let mut bad = org.text(&unique("wamid."), &unique("1555"), "Hello");
            bad["entry"][0]["changes"][0]["value"]["messages"][0]["from"] = json!([]);
            org.deliver(&bad).await.is(200);
            let newest = org.admin.get("/api/dead-letters").await.is(200)[0]["id"].take();
            newest.as_str().unwrap().to_owned()
        }
        // The example's name is taken by the second one.
        "roles" => {
            let role = json!({"name": unique("role"), "permissions": []});
            let made = org.admin.post("/api/roles", role).await.is(201);
            made["id"].as_str().unwrap().to_owned()
        }
        "media" | "lent" => media_of(&org.admin).await,
        // A plain resource is made by its own row's example.
        other => {
            let makes = |row: &Route| row.verb == Method::POST && row.path.ends_with(other);
            let row = rows().find(makes).expect("something makes one");
            let made = org.admin.call(Method::POST, row.path, row.example.as_ref()).await.is(201);
            made["id"].as_str().unwrap().to_owned()
        }
    }
}

async fn media_of(person: &Caller) -> String {
    let kept = person.brings("a.txt", "text/plain", b"Hello").await.is(201);
    kept["id"].as_str().unwrap().to_owned()
}

/// The link by which this file is lent.
fn lent(org: &Org, file: &str) -> String {
    let app = org.server.app();
    let tenant = org.tenant();
    let link =
        app.lender.link(tenant, engine::id::MediaId(file.parse().unwrap()), app.tenants.now());
    link.split_once("/lent/").map(|(_, rest)| format!("/lent/{rest}")).unwrap()
}

fn is_open(access: Access) -> bool {
    match access {
        Access::Public | Access::VerifyToken | Access::Signature | Access::EmailSignature => true,
        Access::Session | Access::Member | Access::Permission(_) => false,
    }
}

/// Nobody of ours: what is not public is 401 for them, also with a wrong body or a wrong id.
#[tokio::test]
async fn whoever_is_not_logged_in_reaches_only_what_is_public() {
    let org = Org::found().await;
    let left = org.hire("agent").await;
    left.post("/api/auth/logout", Value::Null).await.is(200);
    let strangers = [left.nobody(), left.with_token("not.a.token"), left];
    for row in rows().filter(|row| !is_open(row.access)) {
        let path = path(&row, "no-id");
        for stranger in &strangers {
            let answer = stranger.call(row.verb.clone(), &path, Some(&json!(1))).await;
            assert_eq!(answer.status, 401, "{}: {answer:?}", name(&row));
        }
    }
}

/// Whoever may call gets the answer that the row announces, for its own example body.
#[tokio::test]
async fn every_role_gets_through_where_the_row_says_so_and_403_elsewhere() {
    let server = Server::start(|config| {
        config.meta.verify_token = Some("verify".to_owned().into());
        crate::logins::with_apps(config);
    });
    let org = Org::on(&server.await).await;
    let example = rows().find(|row| name(row) == "POST /api/agents").unwrap().example.unwrap();
    org.admin.post("/api/agents", example).await.is(201);
    for role in ["agent", "supervisor", "admin"] {
        let mut person = org.hire(role).await;
        for row in rows() {
            let me = person.get("/api/auth/me").await.is(200);
            let holds = |code: &str| me["permissions"].as_array().unwrap().contains(&json!(code));
            let answer = call(&row, &org, &person).await;
            let what = format!("{} as {role}: {answer:?}", name(&row));
            match row.access {
                Access::Permission(needed) if !holds(needed.code()) => {
                    assert_eq!(answer.status, 403, "{what}");
                    assert!(
                        answer.body["error"]["message"].as_str().unwrap().contains(needed.code())
                    );
                }
                // What the example makes can be there already.
                _ if row.status == 201 && answer.status == 409 => {}
                _ => assert_eq!(answer.status, row.status, "{what}"),
            }
            if person.get("/api/auth/me").await.status == 401 {
                person = person.login(&person.email).await;
            }
        }
    }
}

/// Calls a row as it is meant to be called.
async fn call(row: &Route, org: &Org, person: &Caller) -> Answer {
    match row.access {
        Access::VerifyToken => {
            let query = "hub.mode=subscribe&hub.verify_token=verify&hub.challenge=17";
            return person.get(&format!("{}?{query}", row.path)).await;
        }
        Access::Signature => {
            let body = org.text(&unique("wamid."), &unique("1555"), "Hello").to_string();
            let request = person.request(Method::POST, row.path);
            let signed = request.header("x-hub-signature-256", sign(SECRET, body.as_bytes()));
            return Answer::of(signed.body(body)).await;
        }
        Access::Public
        | Access::EmailSignature
        | Access::Session
        | Access::Member
        | Access::Permission(_) => {}
    }
    let id = match kind(row) {
        // Of people, what every member may change is their own.
        Some("agents") if row.access == Access::Member => person.id.clone(),
        // A file that no conversation shows is seen by whoever brought it.
        Some("media") => media_of(person).await,
        // So are keys; whoever may not have any is refused before.
        Some("api-keys") => {
            let made = person.post("/api/api-keys", json!({"name": "ERP"})).await;
            made.body["id"].as_str().unwrap_or("none").to_owned()
        }
        Some(kind) => thing(kind, org).await,
        None => String::new(),
    };
    let path = match row.path {
        "/lent/{id}" => lent(org, &id),
        _ => path(row, &id),
    };
    if row.form.is_some() {
        return Answer::of(person.form(&path, &[("name=\"file\"", b"Hello")])).await;
    }
    let mut example = row.example.clone();
    if let Some(body) = &mut example {
        crate::logins::complete(row.path, body, org, person).await;
    }
    person.call(row.verb.clone(), &path, example.as_ref()).await
}

#[tokio::test]
async fn without_the_provider_s_proof_its_rows_refuse() {
    let org = Org::found().await;
    for row in rows() {
        let wanted = match row.access {
            Access::VerifyToken => (403, "forbidden"),
            Access::Signature => (401, "bad_signature"),
            // Where an address has no secret, nothing has to be proven.
            Access::Public
            | Access::EmailSignature
            | Access::Session
            | Access::Member
            | Access::Permission(_) => continue,
        };
        for person in [&org.admin, &org.admin.nobody()] {
            let answer = person.call(row.verb.clone(), row.path, None).await;
            answer.refused(wanted.0, wanted.1);
        }
    }
}

/// Bodies are looked at before anything they are about.
#[tokio::test]
async fn every_row_with_a_body_refuses_what_is_no_such_body() {
    let org = Org::found().await;
    let largest = config::Config::default().limits.rest_body_bytes;
    // A provider's post has whatever fields the provider gives it.
    for row in rows().filter(|row| row.access != Access::EmailSignature) {
        let Some(example) = &row.example else { continue };
        let path = path(&row, &uuid::Uuid::nil().to_string());
        let request = || org.admin.request(row.verb.clone(), &path);
        let json = || request().header("content-type", "application/json");
        let what = name(&row);
        let text = request().header("content-type", "text/plain").body(example.to_string());
        Answer::of(text).await.refused(415, "unsupported_media_type");
        Answer::of(request()).await.refused(415, "unsupported_media_type");
        for no_json in ["", "{", "{\"a\":", "[1,", "{} {}", "\u{feff}{}"] {
            Answer::of(json().body(no_json)).await.refused(400, "malformed");
        }
        let large = format!("{{\"x\": \"{}\"}}", "x".repeat(largest));
        Answer::of(json().body(large)).await.refused(413, "body_too_large");
        let with = |key: &str, value: Value| {
            let mut body = example.clone();
            body[key] = value;
            body
        };
        let unknown = org.admin.call(row.verb.clone(), &path, Some(&with("zzz", json!(1)))).await;
        assert_eq!(unknown.invalid(), ["zzz"], "{what}");
        for key in example.as_object().unwrap().keys() {
            // No field is a list of lists.
            let wrong = with(key, json!([[1]]));
            let fields = org.admin.call(row.verb.clone(), &path, Some(&wrong)).await.invalid();
            assert!(
                fields.iter().all(|field| field.starts_with(key.as_str())),
                "{what}: {fields:?}"
            );
        }
        for no_object in [json!("text"), json!([]), json!(["a", "b"])] {
            let answer = org.admin.call(row.verb.clone(), &path, Some(&no_object)).await;
            assert_eq!(answer.invalid(), ["body"], "{what}: {no_object}");
        }
    }
}

#[tokio::test]
async fn every_row_refuses_a_query_parameter_that_it_does_not_have() {
    let org = Org::found().await;
    let is_ours = |row: &Route| {
        let theirs = [Access::VerifyToken, Access::Signature, Access::EmailSignature];
        !theirs.contains(&row.access)
    };
    for row in rows().filter(is_ours) {
        let path = format!("{}?zzz=1", path(&row, &uuid::Uuid::nil().to_string()));
        let answer = org.admin.call(row.verb.clone(), &path, row.example.as_ref()).await;
        assert_eq!(answer.invalid(), ["zzz"], "{}", name(&row));
    }
}

#[tokio::test]
async fn what_is_no_route_and_what_is_no_method_are_refused_like_everything_else() {
    let org = Org::found().await;
    org.admin.get("/api/nothing").await.refused(404, "no_such_route");
    for row in rows() {
        let path = path(&row, &uuid::Uuid::nil().to_string());
        let answer = org.admin.call(Method::TRACE, &path, None).await;
        let allowed = answer.headers["allow"].to_str().unwrap().to_owned();
        assert!(allowed.split(',').any(|verb| verb == row.verb.as_str()), "{allowed}");
        answer.refused(405, "method_not_allowed");
    }
}

/// A request whose body comes only when something else has been done; answers its status.
async fn late(
    person: &Caller,
    (verb, path): (&str, &str),
    (kind, body): (&str, &str),
    meanwhile: impl AsyncFnOnce(),
) -> u16 {
    let address = person.url().replace("http://", "");
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\
         expect: 100-continue\r\n\r\n",
        person.token.as_deref().unwrap(),
        body.len(),
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The body is asked for by whoever has let its head through.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, *b"HTTP/1.1 100 Continue\r\n\r\n");
    meanwhile().await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn whoever_loses_what_they_were_let_through_for_while_their_body_comes_changes_nothing() {
    let org = Org::found().await;
    let (phone, page) = (unique("1555"), unique("50"));
    let conversation = org.hears(&phone, "Hello").await;
    let messages = format!("/api/conversations/{conversation}/messages");
    let contact = org.conversation(&phone).await["contact_id"].as_str().unwrap().to_owned();
    let contact = format!("/api/contacts/{contact}");
    let config = json!({"page_id": page, "access_token": "a token"});
    let draft = json!({"channel": "messenger", "config": config});
    org.admin.post("/api/integrations/accounts", draft).await.is(201);
    let menu = "/api/integrations/messenger/persistent-menu";
    let items = json!([{"type": "postback", "title": "Late", "payload": "LATE"}]);
    let agent = json!({"name": "Late", "email": "late@example.com", "password": "correct horse"});
    let menus = json!({"persistent_menu": [{"locale": "default", "call_to_actions": items}]});
    let form =
        "--edge\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nLate\r\n--edge--\r\n";
    let json = |body: Value| ("application/json", body.to_string());
    let calls = [
        (("POST", "/api/agents"), json(agent)),
        (("POST", &*messages), json(json!({"text": "Late"}))),
        (("PATCH", &*contact), json(json!({"name": "Late"}))),
        (("POST", menu), json(menus)),
        (("POST", "/api/media"), ("multipart/form-data; boundary=edge", form.to_owned())),
    ];
    for (call, (kind, body)) in calls {
        for (loss, status) in [("rest", 401), ("role", 403), ("logout", 401), ("key", 401)] {
            let boss = org.hire("admin").await;
            let mut by = boss.clone();
            let agent = format!("/api/agents/{}", boss.id);
            let made = boss.post("/api/api-keys", json!({"name": "ERP"})).await.is(201);
            if loss == "key" {
                by = boss.with_token(made["key"].as_str().unwrap());
            }
            let loses = async || {
                match loss {
                    "rest" => org.admin.patch(&agent, json!({"is_active": false})).await,
                    "role" => org.admin.patch(&agent, json!({"role": "agent"})).await,
                    "logout" => boss.post("/api/auth/logout", Value::Null).await,
                    _ => {
                        let key = format!("/api/api-keys/{}", made["id"].as_str().unwrap());
                        boss.delete(&key).await
                    }
                }
                .is(200);
            };
            assert_eq!(late(&by, call, (kind, &body), loses).await, status, "{call:?}, {loss}");
        }
    }
    for path in ["/api/agents?per_page=100", &messages, &contact, menu] {
        let shown = org.admin.get(path).await.is(200);
        assert!(!shown.to_string().contains("Late"), "{path}: {shown}");
    }
}

#[tokio::test]
async fn whoever_loses_their_login_in_the_midst_of_many_conversations_changes_no_more_of_them() {
    for action in ["bulk", "expire"] {
        let (server, mut writes) =
            held::server(|config| config.conversations.reopen_within = Duration::ZERO).await;
        let org = Org::on(&server).await;
        let boss = org.hire("supervisor").await;
        let (one, two) =
            (org.hears(&unique("1555"), "1").await, org.hears(&unique("1555"), "2").await);
        let body = match action {
            "bulk" => json!({"conversation_ids": [one, two], "action": {"type": "resolve"}}),
            _ => Value::Null,
        };
        writes.hold(|write| match write {
            Write::Apply(batch) => {
                batch.changes.iter().any(|change| change.place().0.name == "conversations")
            }
            _ => false,
        });
        let by = boss.clone();
        let asks =
            tokio::spawn(
                async move { by.post(&format!("/api/conversations/{action}"), body).await },
            );
        let first = writes.next().await;
        let rest = json!({"is_active": false});
        org.admin.patch(&format!("/api/agents/{}", boss.id), rest).await.is(200);
        writes.go_on(first).await;
        asks.await.unwrap().refused(401, "unauthorized");
        let open = org.admin.get("/api/conversations?status=open").await.is(200);
        assert_eq!(open.as_array().unwrap().len(), 1, "{action}: {open}");
    }
}
