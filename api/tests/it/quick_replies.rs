//! Texts that are ready to be sent: what all plain resources share is tested here.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Org, Server, unique};

const ALL: &str = "/api/quick-replies";

fn draft() -> Value {
    json!({"title": "Hours", "text": "We are here from nine to five."})
}

fn path(made: &Value) -> String {
    format!("{ALL}/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_new_quick_reply_is_shown_to_everybody_at_the_desk_as_it_was_made() {
    let org = Org::found().await;
    let wanted = json!({"title": "  Hours ", "text": "\nWe are here from nine to five.\n"});
    let made = org.admin.post(ALL, wanted).await.is(201);
    assert_eq!((&made["title"], &made["text"]), (&draft()["title"], &draft()["text"]));
    assert_eq!(made["created_at"], made["updated_at"]);
    let fields: Vec<_> = made.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["created_at", "id", "text", "title", "updated_at"]);
    let listed = org.hire("agent").await.get(ALL).await;
    assert_eq!(listed.headers["x-total-count"], "1");
    assert_eq!(listed.is(200), json!([made]));
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name() {
    let org = Org::found().await;
    let made = org.admin.post(ALL, draft()).await.is(201);
    let changed = org.admin.patch(&path(&made), json!({"title": "Open"})).await.is(200);
    assert_eq!((&changed["title"], &changed["text"]), (&json!("Open"), &made["text"]));
    assert_eq!((&changed["id"], &changed["created_at"]), (&made["id"], &made["created_at"]));
    assert_eq!(org.admin.get(ALL).await.is(200), json!([changed]));
    for nothing in [json!({}), json!({"title": " Open "})] {
        assert_eq!(org.admin.patch(&path(&made), nothing).await.is(200), changed);
    }
}

#[tokio::test]
async fn title_and_text_have_bounds_whether_made_or_changed() {
    let org = Org::found().await;
    let made = org.admin.post(ALL, draft()).await.is(201);
    for (field, most) in [("title", 200), ("text", 4096)] {
        let mut longest = draft();
        longest[field] = json!("é".repeat(most));
        org.admin.post(ALL, longest).await.is(201);
        for wrong in [
            json!(" "),
            json!("\u{200b}\u{2060}"),
            json!("a\u{0}b"),
            json!("x".repeat(most + 1)),
            Value::Null,
            json!(1),
        ] {
            let mut draft = draft();
            draft[field] = wrong.clone();
            assert_eq!(org.admin.post(ALL, draft).await.invalid(), [field], "{wrong}");
            let patch = json!({field: wrong});
            assert_eq!(org.admin.patch(&path(&made), patch).await.invalid(), [field], "{wrong}");
        }
        let mut without = draft();
        without.as_object_mut().unwrap().remove(field);
        assert_eq!(org.admin.post(ALL, without).await.invalid(), [field]);
    }
}

/// What every row has is nobody's to write.
#[tokio::test]
async fn id_and_dates_are_no_fields_of_a_body() {
    let org = Org::found().await;
    let made = org.admin.post(ALL, draft()).await.is(201);
    for field in ["id", "created_at", "updated_at"] {
        let mut body = draft();
        body[field] = made[field].clone();
        assert_eq!(org.admin.post(ALL, body.clone()).await.invalid(), [field]);
        assert_eq!(org.admin.patch(&path(&made), body).await.invalid(), [field]);
    }
}

#[tokio::test]
async fn a_deleted_quick_reply_is_gone() {
    let org = Org::found().await;
    let made = org.admin.post(ALL, draft()).await.is(201);
    assert_eq!(org.admin.delete(&path(&made)).await.is(200), json!({"deleted": true}));
    org.admin.delete(&path(&made)).await.refused(404, "not_found");
    org.admin.patch(&path(&made), draft()).await.refused(404, "not_found");
    assert_eq!(org.admin.get(ALL).await.is(200), json!([]));
}

#[tokio::test]
async fn a_removal_with_an_idempotency_key_is_answered_the_same_when_it_is_repeated() {
    let org = Org::found().await;
    let made = org.admin.post(ALL, draft()).await.is(201);
    let once =
        async |key: &str| org.admin.once(Method::DELETE, &path(&made), key, json!(null)).await;
    for _ in 0..2 {
        assert_eq!(once("one").await.is(200), json!({"deleted": true}));
    }
    once("two").await.refused(404, "not_found");
}

#[tokio::test]
async fn quick_replies_are_there_after_a_restart() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let made = org.admin.post(ALL, draft()).await.is(201);
    let gone = org.admin.post(ALL, draft()).await.is(201);
    org.admin.delete(&path(&gone)).await.is(200);
    server.restart().await;
    assert_eq!(org.admin.get(ALL).await.is(200), json!([made]));
}

#[tokio::test]
async fn an_idempotency_key_makes_and_changes_once_and_takes_no_other_body() {
    let org = Org::found().await;
    let key = unique("key");
    let made = org.admin.post_once(ALL, &key, draft()).await.is(201);
    assert_eq!(org.admin.post_once(ALL, &key, draft()).await.is(201), made);
    let other = json!({"title": "Other", "text": "Other"});
    org.admin.post_once(ALL, &key, other.clone()).await.refused(409, "idempotency_key_reused");
    let once = async |key: &str, title: &str| {
        org.admin.once(Method::PATCH, &path(&made), key, json!({"title": title})).await
    };
    once("one", "Open").await.is(200);
    once("two", "Closed").await.is(200);
    assert_eq!(once("one", "Open").await.is(200)["title"], "Closed");
    once("one", "Other").await.refused(409, "idempotency_key_reused");
    assert_eq!(org.admin.get(ALL).await.headers["x-total-count"], "1");
}
