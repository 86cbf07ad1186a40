//! Logging in and out, and founding organizations.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use storage::names::Name;

use crate::caller::{Answer, Caller, PASSWORD, login};
use crate::harness::{Org, Server, eventually, unique};

fn founding(email: &str, name: &str) -> Value {
    json!({"org_name": name, "admin_email": email, "admin_password": PASSWORD})
}

fn email() -> String {
    format!("{}@example.com", unique("somebody"))
}

#[tokio::test]
async fn whoever_registers_is_logged_in_as_the_admin_of_a_new_organization() {
    let server = Server::shared().await;
    let (anonymous, email) = (server.anonymous(), email());
    let founded = anonymous.post("/api/auth/register", founding(&email, "Corner Store")).await;
    let cookie = founded.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["access_token=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "the server is reached without TLS");
    let founded = founded.is(201);
    let me = anonymous.with_token(founded["token"].as_str().unwrap());
    let me = me.get("/api/auth/me").await.is(200);
    assert_eq!((&me["email"], &me["role"]), (&json!(email), &json!("admin")));
    assert_eq!(me["org_id"], founded["org_id"]);
    assert_eq!(me["permissions"].as_array().unwrap().len(), 17);
}

#[tokio::test]
async fn an_email_address_is_one_person_s_in_the_whole_installation() {
    let (org, other) = (Org::found().await, Org::found().await);
    let again = founding(&org.admin.email, "Another");
    org.admin.nobody().post("/api/auth/register", again).await.refused(409, "email_in_use");
    let shouted = founding(&org.admin.email.to_uppercase(), "Another");
    org.admin.nobody().post("/api/auth/register", shouted).await.refused(409, "email_in_use");
    let hired = json!({"name": "Ana", "email": org.admin.email, "password": PASSWORD});
    other.admin.post("/api/agents", hired).await.refused(409, "email_in_use");
    let taken = json!({"email": org.admin.email});
    let own = format!("/api/agents/{}", other.admin.id);
    other.admin.patch(&own, taken).await.refused(409, "email_in_use");
}

#[tokio::test]
async fn of_many_who_register_one_address_at_once_one_gets_it() {
    let server = Server::start(|config| config.limits.password_hashes = 8).await;
    let (anonymous, email) = (server.anonymous(), email());
    let mut all = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (anonymous, founding) = (anonymous.clone(), founding(&email, &format!("Shop {n}")));
        all.spawn(async move { anonymous.post("/api/auth/register", founding).await });
    }
    let mut statuses: Vec<_> = all.join_all().await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn what_registers_nobody_names_its_field() {
    let server = Server::shared().await;
    let good = founding("x@example.com", "Shop");
    for (field, wrong) in [
        ("org_name", ""),
        ("org_name", "  "),
        ("admin_email", "nobody"),
        ("admin_email", "a@"),
        ("admin_password", "short"),
    ] {
        let mut body = good.clone();
        body[field] = json!(wrong);
        let answer = server.anonymous().post("/api/auth/register", body).await;
        assert_eq!(answer.invalid(), [field]);
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        let answer = server.anonymous().post("/api/auth/register", body).await;
        assert_eq!(answer.invalid(), [field]);
    }
}

#[tokio::test]
async fn however_many_have_names_without_latin_letters_one_more_can_register() {
    let org = Org::found().await;
    let (app, tenant) = (org.server.app(), org.tenant());
    let numbered = (2..=1000).map(|n| format!("org-{n}"));
    let claims = numbered.chain(["org".to_owned()]).map(|slug| {
        let app = app.clone();
        async move {
            let slug = Name::global("slug", &slug);
            app.tenants.names().claim(&slug, tenant).await.unwrap();
        }
    });
    join_all(claims).await;
    for _ in 0..2 {
        let founding = founding(&email(), "Магазин");
        org.admin.nobody().post("/api/auth/register", founding).await.is(201);
    }
}

#[tokio::test]
async fn a_login_answers_whose_it_is_and_its_token_counts() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let answer = ana.nobody().post("/api/auth/login", login(&ana.email, PASSWORD)).await.is(200);
    assert_eq!(answer["agent"]["id"], json!(ana.id));
    assert_eq!(answer["agent"]["permissions"], json!([]));
    let again = ana.with_token(answer["token"].as_str().unwrap());
    let me = again.get("/api/auth/me").await.is(200);
    assert_eq!(me, answer["agent"]);
    let shouted = login(&format!(" {} ", ana.email.to_uppercase()), PASSWORD);
    ana.nobody().post("/api/auth/login", shouted).await.is(200);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let org = Org::found().await;
    let wrong = org.admin.nobody().post("/api/auth/login", login(&org.admin.email, "wrong!")).await;
    let wrong = wrong.refused(401, "wrong_credentials");
    let unknown = org.admin.nobody().post("/api/auth/login", login(&email(), PASSWORD)).await;
    assert_eq!(unknown.refused(401, "wrong_credentials")["message"], wrong["message"]);
}

#[tokio::test]
async fn a_fresh_token_is_of_the_same_login() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let fresh = ana.get("/api/auth/token").await.is(200);
    assert_eq!(fresh["expires_in"], 3600);
    let other = ana.with_token(fresh["token"].as_str().unwrap());
    other.post("/api/auth/logout", json!(null)).await.is(200);
    ana.get("/api/auth/me").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_logout_ends_this_login_at_once_and_no_other() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let elsewhere = ana.login(&ana.email).await;
    let left = ana.post("/api/auth/logout", json!(null)).await;
    let cookie = left.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("access_token=;") && cookie.contains("Max-Age=0"), "{cookie}");
    left.is(200);
    ana.get("/api/auth/me").await.refused(401, "unauthorized");
    ana.post("/api/auth/logout", json!(null)).await.refused(401, "unauthorized");
    elsewhere.get("/api/auth/me").await.is(200);
}

#[tokio::test]
async fn logins_and_their_ends_outlive_the_process() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let left = org.admin.login(&org.admin.email).await;
    left.post("/api/auth/logout", json!(null)).await.is(200);
    server.restart().await;
    org.admin.get("/api/auth/me").await.is(200);
    left.get("/api/auth/me").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_token_is_over_after_its_time_and_the_cookie_lasts_as_long_as_the_login() {
    let server = Server::start(|config| config.auth.token_ttl = Duration::ZERO).await;
    let nobody = server.anonymous();
    let founded = nobody.post("/api/auth/register", founding(&email(), "Shop")).await;
    let cookie = founded.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("Max-Age=43200"), "{cookie}");
    let late = nobody.with_token(founded.is(201)["token"].as_str().unwrap());
    late.get("/api/auth/me").await.refused(401, "unauthorized");
    let request = nobody.request(Method::GET, "/api/auth/me");
    Answer::of(request.header("cookie", cookie.split(';').next().unwrap())).await.is(200);
}

#[tokio::test]
async fn a_token_that_is_not_signed_by_us_is_nobody_s() {
    let org = Org::found().await;
    let token = org.admin.token.clone().unwrap();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("a JWT has three parts")
    };
    // {"alg":"none"}, and a claim more.
    let unsigned = "eyJhbGciOiJub25lIn0";
    for forged in [
        format!("{header}.{claims}."),
        format!("{unsigned}.{claims}."),
        format!("{unsigned}.{claims}.{signature}"),
        format!("{header}.{}.{signature}", claims.replacen(&claims[20..21], "", 1)),
        format!("{header}.{claims}.{signature}A"),
    ] {
        org.admin.with_token(&forged).get("/api/auth/me").await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_changed_password_ends_all_logins_and_only_the_new_one_counts() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let path = format!("/api/agents/{}", ana.id);
    org.admin.patch(&path, json!({"password": "another horse"})).await.is(200);
    ana.get("/api/auth/me").await.refused(401, "unauthorized");
    let old = ana.nobody().post("/api/auth/login", login(&ana.email, PASSWORD)).await;
    old.refused(401, "wrong_credentials");
    let new = ana.nobody().post("/api/auth/login", login(&ana.email, "another horse")).await;
    let new = ana.with_token(new.is(200)["token"].as_str().unwrap());
    new.get("/api/auth/me").await.is(200);
}

#[tokio::test]
async fn a_login_that_waits_while_its_password_is_changed_does_not_outlive_the_change() {
    let server = Server::start(|config| config.limits.password_hashes = 1).await;
    let org = Org::on(&server).await;
    let (ana, admin, app) = (org.hire("agent").await, org.admin.clone(), server.app());
    let wait = async |many: usize| {
        eventually(async || (app.hashing.waiting() >= many).then_some(())).await;
    };
    let turn = app.hashing.take(org.tenant(), 0).await;
    let (path, patch) = (format!("/api/agents/{}", ana.id), json!({"password": "another horse"}));
    let change = tokio::spawn(async move { admin.patch(&path, patch).await });
    wait(1).await;
    let login = |ana: Caller| tokio::spawn(async move { attempt(&ana, PASSWORD).await });
    let logins: Vec<_> = (0..4).map(|_| login(ana.clone())).collect();
    wait(5).await;
    drop(turn);
    change.await.unwrap().is(200);
    for login in logins {
        let login = login.await.unwrap();
        if login.status == 200 {
            // It was opened before the change was written.
            let early = ana.with_token(login.body["token"].as_str().unwrap());
            early.get("/api/auth/me").await.refused(401, "unauthorized");
        } else {
            login.is(401);
        }
    }
}

#[tokio::test]
async fn a_deactivated_agent_is_out_at_once_until_it_is_active_again() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let path = format!("/api/agents/{}", ana.id);
    org.admin.patch(&path, json!({"is_active": false})).await.is(200);
    ana.get("/api/auth/me").await.refused(401, "unauthorized");
    let answer = ana.nobody().post("/api/auth/login", login(&ana.email, PASSWORD)).await;
    answer.refused(401, "wrong_credentials");
    org.admin.patch(&path, json!({"is_active": true})).await.is(200);
    ana.get("/api/auth/me").await.refused(401, "unauthorized");
    ana.login(&ana.email).await.get("/api/auth/me").await.is(200);
}

#[tokio::test]
async fn a_deleted_agent_is_out_at_once_and_its_address_is_free() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    org.admin.delete(&format!("/api/agents/{}", ana.id)).await.is(200);
    ana.get("/api/auth/me").await.refused(401, "unauthorized");
    let draft = json!({"name": "Ana", "email": ana.email, "password": PASSWORD});
    org.admin.post("/api/agents", draft).await.is(201);
}

/// A request with the cookie, and one header more.
async fn by_cookie(ana: &Caller, verb: Method, path: &str, header: (&str, &str)) -> Answer {
    let cookie = format!("theme=dark; access_token={}", ana.token.as_deref().unwrap());
    let request = ana.nobody().request(verb, path).header("cookie", cookie);
    Answer::of(request.header(header.0, header.1)).await
}

#[tokio::test]
async fn with_the_cookie_only_our_own_pages_change_something() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let path = "/api/conversations/expire";
    let host = ana.request(Method::GET, "/").build().unwrap();
    let own = host.url().origin().ascii_serialization();
    let admin = &org.admin;
    for header in [("origin", own.as_str()), ("sec-fetch-site", "same-origin")] {
        by_cookie(admin, Method::POST, path, header).await.is(200);
    }
    for header in [
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("accept", "*/*"),
    ] {
        by_cookie(admin, Method::POST, path, header).await.refused(403, "forbidden");
        by_cookie(admin, Method::GET, "/api/auth/me", header).await.is(200);
    }
}

#[tokio::test]
async fn a_token_in_the_header_needs_no_origin_and_wins_over_the_cookie() {
    let org = Org::found().await;
    let request = org.admin.request(Method::GET, "/api/auth/me");
    Answer::of(request.header("cookie", "access_token=wrong")).await.is(200);
    let request = org.admin.nobody().request(Method::GET, "/api/auth/me");
    let cookie = format!("access_token={}", org.admin.token.as_deref().unwrap());
    let both = request.header("cookie", cookie).header("authorization", "Bearer wrong");
    Answer::of(both).await.refused(401, "unauthorized");
}

async fn attempt(person: &Caller, password: &str) -> Answer {
    person.nobody().post("/api/auth/login", login(&person.email, password)).await
}

#[tokio::test]
async fn ten_failures_lock_a_person_out_and_nobody_else() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let try_to = |password| attempt(&ana, password);
    for _ in 0..10 {
        try_to("wrong!").await.refused(401, "wrong_credentials");
    }
    let locked = try_to(PASSWORD).await;
    let wait: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((890..=900).contains(&wait), "{wait}");
    locked.refused(429, "too_many_requests");
    ana.get("/api/auth/me").await.is(200);
    org.admin.login(&org.admin.email).await;
    let path = format!("/api/agents/{}", ana.id);
    org.admin.patch(&path, json!({"name": "Ana"})).await.is(200);
    try_to(PASSWORD).await.refused(429, "too_many_requests");
    org.admin.patch(&path, json!({"password": "another horse"})).await.is(200);
    try_to(PASSWORD).await.refused(401, "wrong_credentials");
    try_to("another horse").await.is(200);
}

#[tokio::test]
async fn of_guesses_that_come_all_at_once_no_more_are_answered_than_one_after_another() {
    let server = Server::start(|config| {
        config.limits.login_failures_account = 3;
        config.limits.password_hashes = 8;
    });
    let org = Org::on(&server.await).await;
    let ana = org.hire("agent").await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let ana = ana.clone();
        all.spawn(async move { attempt(&ana, "wrong!").await });
    }
    let mut statuses: Vec<_> = all.join_all().await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[401; 3].as_slice(), &[429; 9]].concat());
}

#[tokio::test]
async fn an_address_is_locked_out_after_its_failures_and_a_proxy_s_word_counts_only_if_it_is_ours()
{
    let server = Server::start(|config| {
        config.limits.login_failures_address = 3;
        config.server.trusted_proxies = vec![[127, 0, 0, 1].into()];
    })
    .await;
    let nobody = server.anonymous();
    let from = async |lines: &[&str]| {
        let request = nobody.request(Method::POST, "/api/auth/login");
        let add = |request: RequestBuilder, line: &&str| request.header("x-forwarded-for", *line);
        let request = lines.iter().fold(request, add);
        Answer::of(request.json(&login(&email(), PASSWORD))).await.status
    };
    for wanted in [401, 401, 401, 429] {
        assert_eq!(from(&["203.0.113.7"]).await, wanted);
    }
    // What a client writes itself stands before what the proxy adds.
    for lines in [
        &["198.51.100.1, 203.0.113.7"][..],
        &["198.51.100.2, 203.0.113.7:51324"],
        &["198.51.100.3", "203.0.113.7"],
    ] {
        assert_eq!(from(lines).await, 429, "{lines:?}");
    }
    assert_eq!(from(&["203.0.113.8"]).await, 401);

    let server = Server::start(|config| config.limits.login_failures_address = 1).await;
    let nobody = server.anonymous();
    for (address, wanted) in [("203.0.113.7", 401), ("203.0.113.8", 429)] {
        let request = nobody.request(Method::POST, "/api/auth/login");
        let request = request.header("x-forwarded-for", address);
        let answer = Answer::of(request.json(&login(&email(), PASSWORD))).await;
        assert_eq!(answer.status, wanted, "nobody here is a proxy");
    }
}

#[tokio::test]
async fn an_address_founds_so_many_organizations_a_minute() {
    let server = Server::start(|config| config.limits.registrations_per_minute = 2).await;
    for n in 0..3 {
        let founding = founding(&email(), &format!("Shop {n}"));
        let answer = server.anonymous().post("/api/auth/register", founding).await;
        if n < 2 {
            answer.is(201);
        } else {
            answer.refused(429, "too_many_requests");
        }
    }
}
