//! Customers.

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::{Org, Server, eventually, unique, unix_now};
use crate::search::{copy, remove};

/// A customer who wrote; answers phone number and contact.
async fn customer(org: &Org) -> (String, String) {
    let phone = unique("1555");
    org.hears(&phone, "Hello").await;
    let id = org.conversation(&phone).await["contact_id"].as_str().unwrap().to_owned();
    (phone, format!("/api/contacts/{id}"))
}

#[tokio::test]
async fn whoever_wrote_is_a_contact_with_the_provider_s_name_and_number() {
    let org = Org::found().await;
    let (phone, path) = customer(&org).await;
    let contact = org.admin.get(&path).await.is(200);
    assert_eq!((&contact["name"], &contact["phone"]), (&json!("Ines"), &json!(phone)));
    assert_eq!(contact["identities"][0]["kind"], "phone");
    assert_eq!(org.admin.get("/api/contacts").await.is(200), json!([contact]));
}

/// The contacts of a list, and how many it says there are.
async fn list(person: &Caller, filters: &[(&str, &str)]) -> (Vec<Value>, usize) {
    let query = serde_urlencoded::to_string(filters).unwrap();
    let answer = person.get(&format!("/api/contacts?{query}")).await;
    let total = answer.headers["x-total-count"].to_str().unwrap().parse().unwrap();
    (serde_json::from_value(answer.is(200)).unwrap(), total)
}

/// The same once there are these.
async fn finds(person: &Caller, filters: &[(&str, &str)], wanted: &[&Value]) {
    eventually(async || {
        let (found, total) = list(person, filters).await;
        (total == wanted.len() && found.iter().eq(wanted.iter().copied())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_of_any_script_numbers_addresses_and_tags_are_found() {
    let org = Org::found().await;
    let (phone, zoe) = customer(&org).await;
    let (_, ming) = customer(&org).await;
    let (_, siti) = customer(&org).await;
    let patch = json!({"name": "Zoë Quill", "email": "Zoe@Example.com", "tags": ["Big spender"]});
    let zoe = &org.admin.patch(&zoe, patch).await.is(200);
    let patch = json!({"name": "王小明", "tags": ["new", "Big spender"]});
    let ming = &org.admin.patch(&ming, patch).await.is(200);
    let patch = json!({"name": "Siti Nurhaliza", "email": "siti@toko.example"});
    let siti = &org.admin.patch(&siti, patch).await.is(200);
    let written = format!("+{} {}-{}", &phone[..2], &phone[2..6], &phone[6..]);
    for (filters, wanted) in [
        (&[("search", "zoë")][..], &[zoe][..]),
        (&[("search", " QUI  zo ")], &[zoe]),
        (&[("search", "uill")], &[]),
        (&[("search", "小明")], &[ming]),
        (&[("name", "王")], &[ming]),
        (&[("name", "nurhal")], &[siti]),
        (&[("name", "s")], &[siti]),
        (&[("search", &phone)], &[zoe]),
        (&[("search", &written)], &[zoe]),
        (&[("phone", &phone[phone.len() - 4..])], &[zoe]),
        (&[("phone", "1555")], &[siti, ming, zoe]),
        (&[("search", "zoe@example.COM")], &[zoe]),
        (&[("email", "zoe")], &[zoe]),
        (&[("email", "@toko.example")], &[siti]),
        (&[("email", "example.com")], &[zoe]),
        (&[("tag", "Big spender")], &[ming, zoe]),
        (&[("tag", "big spender")], &[]),
        (&[("tag", "Big")], &[]),
        (&[("tag", "Big spender"), ("name", "zo")], &[zoe]),
        (&[("tag", "Big spender"), ("phone", "1555"), ("search", "小")], &[ming]),
        (&[("tag", "new"), ("name", "zo")], &[]),
        (&[("search", ""), ("tag", " ")], &[siti, ming, zoe]),
        (&[("search", "nobody")], &[]),
    ] {
        finds(&org.admin, filters, wanted).await;
    }
}

#[tokio::test]
async fn what_is_found_has_pages_and_only_the_newest_matches_count() {
    let server = Server::start(|config| config.limits.search_matches = 5).await;
    let org = Org::on(&server).await;
    for _ in 0..4 {
        customer(&org).await;
    }
    let (all, _) = list(&org.admin, &[]).await;
    finds(&org.admin, &[("name", "ines")], &all.iter().collect::<Vec<_>>()).await;
    let page = org.admin.get("/api/contacts?name=ines&per_page=3").await;
    assert_eq!(page.headers["x-total-count"], "4");
    let link = page.headers["link"].to_str().unwrap();
    assert!(link.contains("name=ines&page=2&per_page=3"), "{link}");
    assert_eq!(page.is(200), json!(all[..3]));
    let rest = org.admin.get("/api/contacts?name=ines&per_page=3&page=2").await.is(200);
    assert_eq!(rest, json!(all[3..]));
    for _ in 0..3 {
        customer(&org).await;
    }
    let (all, total) = list(&org.admin, &[]).await;
    assert_eq!(total, 7);
    finds(&org.admin, &[("name", "ines")], &all[..5].iter().collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn contacts_that_are_one_are_found_as_that_and_others_organizations_find_their_own() {
    let (org, other) = (Org::found().await, Org::found().await);
    let (phone, id) = (unique("1555"), unique("US."));
    let writes = |org: &Org, ids: &[(&str, &str)]| {
        let mut message = json!({
            "id": unique("wamid."), "timestamp": unix_now().to_string(),
            "type": "text", "text": {"body": "Hello"},
        });
        let mut contact = json!({"profile": {"name": "Quincy"}});
        for (name, value) in ids {
            let of_message = if *name == "wa_id" { "from" } else { "from_user_id" };
            (message[of_message], contact[*name]) = (json!(value), json!(value));
        }
        org.webhook("messages", json!({"contacts": [contact], "messages": [message]}))
    };
    let (by_number, by_id) = (("wa_id", &*phone), ("user_id", &*id));
    for org in [&org, &other] {
        org.deliver(&writes(org, &[by_number])).await.is(200);
    }
    org.deliver(&writes(&org, &[by_id])).await.is(200);
    let (both, _) = list(&org.admin, &[]).await;
    finds(&org.admin, &[("name", "quincy")], &[&both[0], &both[1]]).await;
    org.deliver(&writes(&org, &[by_number, by_id])).await.is(200);
    let (one, total) = list(&org.admin, &[]).await;
    assert_eq!(total, 1);
    finds(&org.admin, &[("name", "quincy")], &[&one[0]]).await;
    finds(&org.admin, &[("phone", &phone)], &[&one[0]]).await;
    let (theirs, _) = list(&other.admin, &[]).await;
    finds(&other.admin, &[("search", &phone)], &[&theirs[0]]).await;
    assert_ne!(theirs[0]["id"], one[0]["id"]);
}

#[tokio::test]
async fn contacts_are_found_after_a_kill_and_without_the_index() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let (index, aside) = (server.search_index(), server.search_index().with_extension("old"));
    let (_, path) = customer(&org).await;
    let first = org.admin.get(&path).await.is(200);
    finds(&org.admin, &[("name", "ines")], &[&first]).await;
    server.restart_after(|| copy(&index, &aside)).await;
    // After this only the store knows of it.
    let first = org.admin.patch(&path, json!({"tags": ["vip"]})).await.is(200);
    let (_, path) = customer(&org).await;
    let second = org.admin.patch(&path, json!({"name": "Noor"})).await.is(200);
    finds(&org.admin, &[("name", "noor")], &[&second]).await;
    // As after a kill before the index had it on the disk.
    server
        .restart_after(|| {
            remove(&index);
            copy(&aside, &index);
        })
        .await;
    finds(&org.admin, &[("tag", "vip")], &[&first]).await;
    finds(&org.admin, &[("name", "noor")], &[&second]).await;
    finds(&org.admin, &[("name", "ines")], &[&first]).await;
    server.restart_after(|| remove(&index)).await;
    finds(&org.admin, &[("tag", "vip")], &[&first]).await;
    finds(&org.admin, &[("phone", "1555")], &[&second, &first]).await;
}

#[tokio::test]
async fn what_is_nothing_to_look_for_is_refused_with_the_field_s_name() {
    let org = Org::found().await;
    let long = "x".repeat(255);
    let many = vec!["a"; 33].join(" ");
    for (field, typed) in [
        ("search", "?! *"),
        ("search", &many),
        ("name", "?"),
        ("name", &many),
        ("phone", "62"),
        ("phone", "812 x"),
        ("email", "zoe quill"),
        ("email", "@"),
        ("email", &long),
        ("per_page", "101"),
        ("page", "0"),
        ("tags", "vip"),
    ] {
        let query = serde_urlencoded::to_string([(field, typed)]).unwrap();
        let answer = org.admin.get(&format!("/api/contacts?{query}")).await;
        assert_eq!(answer.invalid(), [field], "{field}={typed}");
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_clears() {
    let org = Org::found().await;
    let (phone, path) = customer(&org).await;
    let patch =
        json!({"name": " Noor ", "email": "noor@example.com", "tags": ["vip", " vip", "x"]});
    let contact = org.admin.patch(&path, patch).await.is(200);
    assert_eq!((&contact["name"], &contact["email"]), (&json!("Noor"), &json!("noor@example.com")));
    assert_eq!(contact["tags"], json!(["vip", "x"]));
    let after = org.admin.patch(&path, json!({"email": null})).await.is(200);
    assert_eq!((&after["email"], &after["name"]), (&Value::Null, &json!("Noor")));
    assert_eq!(after["tags"], contact["tags"]);
    // Its conversations hear of it from its actor, which nobody waits for.
    eventually(async || {
        let conversation = org.conversation(&phone).await;
        (conversation["contact_name"] == "Noor").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_changes_a_contact_once_and_takes_no_other_body() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let (_, path) = customer(&org).await;
    let once = async |key: &str, name: &str| {
        org.admin.once(Method::PATCH, &path, key, json!({"name": name})).await
    };
    assert_eq!(once("k1", "Noor").await.is(200)["name"], "Noor");
    assert_eq!(once("k2", "Nora").await.is(200)["name"], "Nora");
    server.restart().await;
    assert_eq!(once("k1", "Noor").await.is(200)["name"], "Nora", "others' changes stay");
    once("k1", "Nour").await.refused(409, "idempotency_key_reused");
    // What is not valid uses no key up.
    assert_eq!(once("k3", "").await.invalid(), ["name"]);
    assert_eq!(once("k3", "Nour").await.is(200)["name"], "Nour");
}

#[tokio::test]
async fn a_name_that_a_person_gave_stays_whatever_the_provider_says() {
    let org = Org::found().await;
    let (phone, path) = customer(&org).await;
    org.admin.patch(&path, json!({"name": "Noor"})).await.is(200);
    org.hears(&phone, "It is me again").await;
    assert_eq!(org.admin.get(&path).await.is(200)["name"], "Noor");
}

#[tokio::test]
async fn what_is_no_contact_names_its_field() {
    let org = Org::found().await;
    let (_, path) = customer(&org).await;
    for (field, wrong) in [
        ("name", json!("")),
        ("name", json!("x".repeat(201))),
        ("email", json!("nobody")),
        ("tags", json!([""])),
        ("tags", json!(["x".repeat(65)])),
        ("tags", json!((0..51).map(|n| n.to_string()).collect::<Vec<_>>())),
        ("phone", json!("1")),
    ] {
        assert_eq!(org.admin.patch(&path, json!({field: wrong})).await.invalid(), [field]);
    }
}

#[tokio::test]
async fn everybody_sees_all_contacts_and_of_their_conversations_what_is_theirs() {
    let org = Org::found().await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let (phone, path) = customer(&org).await;
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    let list = format!("{path}/conversations");
    assert_eq!(bea.get(&list).await.is(200)[0]["id"], json!(id));
    let assign = format!("/api/conversations/{id}/assign");
    org.admin.patch(&assign, json!({"agent_id": ana.id})).await.is(200);
    assert_eq!(ana.get(&list).await.is(200)[0]["id"], json!(id));
    let none = bea.get(&list).await;
    assert_eq!(none.headers["x-total-count"], "0");
    assert_eq!(none.is(200), json!([]));
    bea.get(&path).await.is(200);
}
