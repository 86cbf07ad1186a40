//! Customers.

use serde_json::{Value, json};

use crate::harness::{Org, eventually, unique};

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

#[tokio::test]
async fn a_search_finds_parts_of_names_numbers_and_addresses() {
    let org = Org::found().await;
    let (phone, path) = customer(&org).await;
    customer(&org).await;
    let patch = json!({"name": "Zoë Quill", "email": "Zoe@Example.com"});
    let contact = org.admin.patch(&path, patch).await.is(200);
    for part in ["zoë", "QUILL", "zoe@ex", &phone[4..], "%20quill%20"] {
        let found = org.admin.get(&format!("/api/contacts?search={part}")).await;
        assert_eq!(found.headers["x-total-count"], "1", "{part}");
        assert_eq!(found.is(200), json!([contact]), "{part}");
    }
    let all = org.admin.get("/api/contacts?search=&per_page=1").await;
    assert_eq!(all.headers["x-total-count"], "2");
    assert!(all.headers["link"].to_str().unwrap().contains("search=&page=2&per_page=1"));
    assert_eq!(all.is(200).as_array().unwrap().len(), 1);
    assert_eq!(org.admin.get("/api/contacts?search=nobody").await.is(200), json!([]));
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
