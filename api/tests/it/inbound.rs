//! What customers and the phone app do, as people at the desk see it; what Meta says of accounts.

use serde_json::{Value, json};

use crate::harness::{Org, Server, account, unique, unix_now};
use crate::live::Live;

/// A message of a customer, of this type.
fn message(id: &str, phone: &str, kind: &str, part: &Value) -> Value {
    let at = unix_now().to_string();
    let mut message = json!({"from": phone, "id": id, "timestamp": at, "type": kind});
    message[kind] = part.clone();
    message
}

impl Org {
    /// A customer's phone delivers a message of this type.
    pub(crate) async fn gets(&self, id: &str, phone: &str, kind: &str, part: Value) {
        let messages = json!({"messages": [message(id, phone, kind, &part)]});
        self.deliver(&self.webhook("messages", messages)).await.is(200);
    }

    /// A conversation's messages, oldest first.
    pub(crate) async fn reads(&self, conversation: &str) -> Vec<Value> {
        let path = format!("/api/conversations/{conversation}/messages?per_page=100");
        let mut all: Vec<Value> =
            serde_json::from_value(self.admin.get(&path).await.is(200)).unwrap();
        all.reverse();
        all
    }

    async fn account(&self) -> Value {
        self.admin.get(&format!("/api/integrations/accounts/{}", self.account)).await.is(200)
    }
}

#[tokio::test]
async fn a_message_is_reacted_to_edited_and_deleted_before_everybody_s_eyes() {
    let org = Org::found().await;
    let (phone, first) = (unique("1555"), unique("wamid."));
    let image = json!({"id": "61", "mime_type": "image/jpeg", "caption": "the blue one?"});
    org.gets(&first, &phone, "image", image).await;
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    let stream = format!("c:{id}");
    let mut live = Live::following(&org.admin, &[&stream, "i:all"]).await;
    org.gets(&unique("wamid."), &phone, "reaction", json!({"message_id": first, "emoji": "👍"}))
        .await;
    let told = live.event(&stream, "message.updated").await;
    assert_eq!(told["reactions"][0]["emoji"], "👍");
    assert_eq!(told["reactions"][0]["sender"]["type"], "contact");
    let image = json!({"type": "image", "image": {"id": "61", "caption": "the red one?"}});
    let edit = json!({"original_message_id": first, "message": image});
    org.gets(&unique("wamid."), &phone, "edit", edit).await;
    let told = live.event(&stream, "message.updated").await;
    assert_eq!(
        (&told["text"], &told["attachments"][0]["caption"]),
        (&json!("the red one?"), &json!("the red one?"))
    );
    assert!(told["edited_at"].is_string());
    let row = live.event("i:all", "conversation.upsert").await;
    assert_eq!(row["last_message"]["text"], "the red one?");
    let deletion = unique("wamid.");
    for _ in 0..2 {
        org.gets(&deletion, &phone, "revoke", json!({"original_message_id": first})).await;
    }
    let told = live.event(&stream, "message.deleted").await;
    let row = live.event("i:all", "conversation.upsert").await;
    assert!(row["last_message"].get("text").is_none());
    let [shown] = &org.reads(&id).await[..] else { panic!("no message is made") };
    assert_eq!(*shown, told);
    for gone in ["text", "attachments", "payload", "reactions"] {
        assert!(shown.get(gone).is_none(), "{gone}");
    }
    for stays in ["deleted_at", "edited_at", "sent_at", "provider_message_id", "sender"] {
        assert!(!shown[stays].is_null(), "{stays}");
    }
    assert_eq!((&shown["kind"], &row["unread_count"]), (&json!("image"), &json!(1)));
}

#[tokio::test]
async fn whoever_returns_after_a_deletion_is_not_sent_what_was_deleted() {
    let org = Org::found().await;
    let (phone, first) = (unique("1555"), unique("wamid."));
    let live = Live::following(&org.admin, &["i:all"]).await;
    let (epoch, off) = live.vanish()["i:all"].clone();
    org.gets(&first, &phone, "text", json!({"body": "a secret"})).await;
    org.gets(&unique("wamid."), &phone, "revoke", json!({"original_message_id": first})).await;
    let since = json!({"epoch": epoch, "off": off});
    let (mut live, ok) =
        Live::hello(&org.admin, json!([{"s": "i:all", "since": since, "snap": true}])).await;
    org.gets(&unique("wamid."), &phone, "text", json!({"body": "the end"})).await;
    let mut told = ok.to_string();
    while !told.contains("the end") {
        told.push_str(&live.next().await.to_string());
    }
    assert!(!told.contains("a secret"), "{told}");
}

#[tokio::test]
async fn what_comes_before_the_first_message_of_a_customer_waits_for_it_also_over_a_restart() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let (phone, first) = (unique("1555"), unique("wamid."));
    let text = json!({"type": "text", "text": {"body": "better"}});
    let edit = json!({"original_message_id": first, "message": text});
    org.gets(&unique("wamid."), &phone, "edit", edit).await;
    org.gets(&unique("wamid."), &phone, "reaction", json!({"message_id": first, "emoji": "🎉"}))
        .await;
    assert_eq!(org.admin.get("/api/conversations").await.is(200), json!([]));
    server.restart().await;
    org.gets(&first, &phone, "text", json!({"body": "good"})).await;
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    let [shown] = &org.reads(&id).await[..] else { panic!("one message") };
    assert_eq!((&shown["text"], &shown["reactions"][0]["emoji"]), (&json!("better"), &json!("🎉")));
}

#[tokio::test]
async fn places_cards_presses_and_orders_are_shown_as_what_they_are() {
    let org = Org::found().await;
    let phone = unique("1555");
    let place = json!({"latitude": 48.2, "longitude": 16.37, "name": "The shop"});
    org.gets(&unique("wamid."), &phone, "location", place).await;
    let card = json!([{"name": {"formatted_name": "Noor"}, "phones": [{"phone": "+44 1"}]}]);
    org.gets(&unique("wamid."), &phone, "contacts", card).await;
    let press = json!({"type": "list_reply", "list_reply": {"id": "slot:9", "title": "Nine"}});
    org.gets(&unique("wamid."), &phone, "interactive", press).await;
    let order = json!({"catalog_id": "5", "product_items": [{"item_price": 9.5}]});
    org.gets(&unique("wamid."), &phone, "order", order.clone()).await;
    org.gets(&unique("wamid."), &phone, "hologram", json!({"depth": 3})).await;
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    let all = org.reads(&id).await;
    let kinds: Vec<_> = all.iter().map(|message| message["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["location", "contacts", "interactive", "order", "unsupported"]);
    assert_eq!(
        (&all[0]["attachments"][0]["latitude"], &all[0]["attachments"][0]["name"]),
        (&json!(48.2), &json!("The shop"))
    );
    assert_eq!(all[1]["attachments"][0]["phones"], json!([{"value": "+44 1"}]));
    assert_eq!((&all[2]["text"], &all[2]["payload"]), (&json!("Nine"), &json!("slot:9")));
    assert_eq!(all[3]["payload"], order.to_string());
    assert!(all[4].get("raw").is_none());
}

#[tokio::test]
async fn a_group_is_one_contact_and_its_authors_are_others() {
    let org = Org::found().await;
    let (group, noor, ola) = (unique("group"), unique("1555"), unique("1555"));
    for (phone, name) in [(&noor, "Noor"), (&ola, "Ola"), (&noor, "Noor")] {
        let mut sent = message(&unique("wamid."), phone, "text", &json!({"body": name}));
        sent["group_id"] = json!(group);
        let contacts = json!([{"wa_id": phone, "profile": {"name": name}}]);
        let value = json!({"messages": [sent], "contacts": contacts});
        org.deliver(&org.webhook("messages", value)).await.is(200);
    }
    let all = org.admin.get("/api/conversations").await.is(200);
    let [conversation] = &all.as_array().unwrap()[..] else { panic!("{all}") };
    let shown = org.reads(conversation["id"].as_str().unwrap()).await;
    let senders: Vec<_> = shown.iter().map(|message| message["sender"].clone()).collect();
    assert_eq!(senders[0], senders[2]);
    assert_ne!(senders[0]["id"], senders[1]["id"]);
    assert_eq!((&senders[0]["name"], &senders[1]["name"]), (&json!("Noor"), &json!("Ola")));
    assert_ne!(senders[0]["id"], conversation["contact_id"]);
    let path = format!("/api/contacts/{}", conversation["contact_id"].as_str().unwrap());
    let identities = org.admin.get(&path).await.is(200)["identities"].take();
    assert_eq!(identities, json!([{"kind": "group", "value": group, "account_id": org.account}]));
    let path = format!("/api/contacts/{}", senders[1]["id"].as_str().unwrap());
    assert_eq!(org.admin.get(&path).await.is(200)["phone"], ola);
}

#[tokio::test]
async fn nobody_edits_or_deletes_what_another_one_wrote_in_a_group_or_alone() {
    let org = Org::found().await;
    let (group, noor, ola) = (unique("group"), unique("1555"), unique("1555"));
    let tells = async |phone: &str, group: Option<&String>, id: &str, kind: &str, part: Value| {
        let mut sent = message(id, phone, kind, &part);
        sent["group_id"] = json!(group);
        org.deliver(&org.webhook("messages", json!({"messages": [sent]}))).await.is(200);
    };
    let edit = |of: &str, text: &str| {
        let message = json!({"type": "text", "text": {"body": text}});
        json!({"original_message_id": of, "message": message})
    };
    let (first, second, alone) = (unique("wamid."), unique("wamid."), unique("wamid."));
    tells(&noor, Some(&group), &first, "text", json!({"body": "one"})).await;
    tells(&noor, None, &alone, "text", json!({"body": "three"})).await;
    for (of, group) in [(&first, Some(&group)), (&second, Some(&group)), (&alone, None)] {
        for phone in [&ola, &unique("1555")] {
            tells(phone, group, &unique("wamid."), "edit", edit(of, "forged")).await;
            let part = json!({"original_message_id": of});
            tells(phone, group, &unique("wamid."), "revoke", part).await;
        }
    }
    let reaction = json!({"message_id": first, "emoji": "🎉"});
    tells(&ola, Some(&group), &unique("wamid."), "reaction", reaction).await;
    tells(&noor, Some(&group), &second, "text", json!({"body": "two"})).await;
    tells(&ola, Some(&group), &unique("wamid."), "text", json!({"body": "Hello"})).await;
    let all = org.admin.get("/api/conversations").await.is(200);
    let all = all.as_array().unwrap();
    let of_group = all.iter().find(|one| one["contact_phone"].is_null()).unwrap();
    let id = of_group["id"].as_str().unwrap();
    let shown = org.reads(id).await;
    let texts: Vec<_> = shown.iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["one", "two", "Hello"]);
    assert_eq!(shown[0]["reactions"][0]["sender"]["id"], shown[2]["sender"]["id"]);
    let of_noor = org.conversation(&noor).await["id"].as_str().unwrap().to_owned();
    assert_eq!(org.reads(&of_noor).await[0]["text"], "three");
    // Their author does.
    tells(&noor, Some(&group), &unique("wamid."), "edit", edit(&first, "better")).await;
    let part = json!({"original_message_id": second});
    tells(&noor, Some(&group), &unique("wamid."), "revoke", part).await;
    tells(&noor, None, &unique("wamid."), "edit", edit(&alone, "best")).await;
    let shown = org.reads(id).await;
    assert_eq!((&shown[0]["text"], &shown[1]["text"]), (&json!("better"), &Value::Null));
    assert_eq!(org.reads(&of_noor).await[0]["text"], "best");
    let figures = reqwest::get(org.server.metrics()).await.unwrap().text().await.unwrap();
    assert!(figures.contains("omnistream_webhook_items_total{item=\"foreign\"}"), "{figures}");
}

#[tokio::test]
async fn what_the_business_wrote_in_its_phone_app_it_edits_and_deletes_there() {
    let org = Org::found().await;
    let (phone, first) = (unique("1555"), unique("wamid."));
    let id = org.hears(&phone, "Is it there?").await;
    let echoes = async |id: &str, kind: &str, part: Value| {
        let mut echo = message(id, &format!("49{}", org.number), kind, &part);
        echo["to"] = json!(phone);
        let value = json!({"message_echoes": [echo]});
        org.deliver(&org.webhook("smb_message_echoes", value)).await.is(200);
    };
    echoes(&first, "text", json!({"body": "Yes"})).await;
    let better = json!({"type": "text", "text": {"body": "Yes, two of them"}});
    let edit = json!({"original_message_id": first, "message": better});
    echoes(&unique("wamid."), "edit", edit).await;
    let shown = org.reads(&id).await.remove(1);
    assert_eq!(
        (&shown["direction"], &shown["text"]),
        (&json!("outbound"), &better["text"]["body"])
    );
    echoes(&unique("wamid."), "revoke", json!({"original_message_id": first})).await;
    assert!(org.reads(&id).await[1]["deleted_at"].is_string());
}

#[tokio::test]
async fn history_is_there_to_be_read_and_nobody_is_told() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let (phone, own) = (unique("1555"), format!("49{}", org.number));
    // Longer ago than the organization is there.
    let at = unix_now() - 400 * 86_400;
    let live = unique("wamid.");
    org.gets(&live, &phone, "text", json!({"body": "today"})).await;
    let past = |id: &str, from: &str, at: i64, body: &str| {
        let context = json!({"status": "READ"});
        json!({"id": id, "from": from, "timestamp": at.to_string(), "type": "text", "text": {"body": body}, "history_context": context})
    };
    let (held, more) = (unique("wamid."), unique("wamid."));
    let mut placeholder = past(&held, &own, at + 2, "");
    (placeholder["type"], placeholder["text"]) = (json!("media_placeholder"), json!(null));
    let messages = json!([
        past(&more, &phone, at, "open?"),
        past(&unique("wamid."), &own, at + 1, "yes"),
        placeholder,
        past(&live, &phone, at + 3, "today"),
    ]);
    let threads = json!([{"id": phone, "messages": messages}]);
    let metadata = json!({"phase": 0, "chunk_order": 1, "progress": 100});
    let chunk = json!({"history": [{"metadata": metadata, "threads": threads}]});
    for _ in 0..2 {
        org.deliver(&org.webhook("history", chunk.clone())).await.is(200);
    }
    let file = message(&held, &own, "image", &json!({"id": "7", "caption": "our door"}));
    let mut file = file;
    file["to"] = json!(phone);
    org.deliver(&org.webhook("history", json!({"messages": [file]}))).await.is(200);
    let all = org.admin.get("/api/conversations?per_page=100").await.is(200);
    let all = all.as_array().unwrap();
    let open = all.iter().find(|one| one["status"] == "open").unwrap();
    assert_eq!((all.len(), &open["unread_count"]), (2, &json!(1)));
    let past = all.iter().find(|one| one["status"] == "resolved").unwrap();
    assert_eq!((&past["unread_count"], &past["contact_phone"]), (&json!(0), &json!(phone)));
    let shown = org.reads(past["id"].as_str().unwrap()).await;
    let texts: Vec<_> = shown.iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["open?", "yes", "our door"]);
    let ways: Vec<_> = shown.iter().map(|m| (&m["direction"], &m["status"], &m["kind"])).collect();
    assert_eq!(ways[0], (&json!("inbound"), &json!("received"), &json!("text")));
    assert_eq!(ways[2], (&json!("outbound"), &json!("read"), &json!("image")));
    let notices = org.account().await["notices"].take();
    assert_eq!(notices[0]["message"], "history: all of it was handed over");
    assert_eq!(server.dead_letters(&org).await, Vec::<String>::new());
    // It is there without the account, too, also for whoever reads the settings anew.
    let account = format!("/api/integrations/accounts/{}", org.account);
    org.admin.delete(&account).await.is(200);
    server.restart().await;
    let left = org.admin.get("/api/conversations?status=resolved").await.is(200);
    assert_eq!(left[0]["id"], past["id"]);
}

#[tokio::test]
async fn an_account_that_meta_disables_sends_nothing_until_it_is_reinstated() {
    let org = Org::found().await;
    let waba = unique("88");
    let config = json!({"config": {"waba_id": waba}});
    org.admin.patch(&format!("/api/integrations/accounts/{}", org.account), config).await.is(200);
    let id = org.hears(&unique("1555"), "Hello").await;
    let agent = org.hire("agent").await;
    let mut live = Live::following(&org.admin, &["u:me"]).await;
    let mut other = Live::following(&agent, &["u:me"]).await;
    let update = |field: &str, value: Value| {
        let entry = json!([{"id": waba, "changes": [{"field": field, "value": value}]}]);
        json!({"object": "whatsapp_business_account", "entry": entry})
    };
    let ban = |state: &str| {
        let ban = json!({"waba_ban_state": state, "waba_ban_date": "May 2, 2026"});
        update("account_update", json!({"event": "DISABLED_UPDATE", "ban_info": ban}))
    };
    org.deliver(&ban("DISABLE")).await.is(200);
    let told = live.event("u:me", "integration.status_changed").await;
    assert_eq!(
        (&told["id"], &told["status"], &told["paused"]),
        (&json!(org.account), &json!("attention"), &json!(true))
    );
    assert_eq!(told["previous"]["status"], "connected");
    let shown = org.account().await;
    assert_eq!(shown["status_detail"], "disabled update: DISABLE, May 2, 2026");
    assert_eq!(shown["notices"][0]["kind"], "disabled_update");
    let path = format!("/api/conversations/{id}/messages");
    org.admin.post(&path, json!({"text": "Hello"})).await.refused(409, "account_inactive");
    org.deliver(&ban("REINSTATE")).await.is(200);
    let shown = org.account().await;
    assert_eq!((&shown["status"], &shown["paused"]), (&json!("connected"), &json!(false)));
    org.admin.post(&path, json!({"text": "Hello again"})).await.is(201);
    let upgrade = json!({"display_phone_number": shown["phone"], "event": "THROUGHPUT_UPGRADE", "current_limit": "TIER_UNLIMITED"});
    org.deliver(&update("phone_number_quality_update", upgrade)).await.is(200);
    assert_eq!(org.account().await["messaging_limit"], "TIER_UNLIMITED");
    org.admin.patch(&format!("/api/agents/{}", agent.id), json!({"name": "Ola"})).await.is(200);
    let next = other.event("u:me", "agent.updated").await;
    assert_eq!(next["name"], "Ola", "who manages no accounts is told of none");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_whole_is_followed_as_far_as_it_can_be_and_kept() {
    let org = Org::found().await;
    let waba = unique("88");
    let config = json!({"config": {"waba_id": waba}});
    org.admin.patch(&format!("/api/integrations/accounts/{}", org.account), config).await.is(200);
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for (event, part) in [("ACCOUNT_DELETED", "1e400"), ("ACCOUNT_RECONNECTED", &*deep)] {
        // The entry is a partner's: only the event itself says whose it is.
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","time":{part},"changes":[
            {{"field":"account_update","value":
            {{"waba_info":{{"waba_id":"{waba}"}},"event":"{event}","more":{part}}}}}]}}]}}"#
        );
        org.deliver_raw(body.as_bytes()).await.is(200);
        assert_eq!(org.account().await["notices"][0]["kind"], event.to_lowercase());
        let letters = org.admin.get("/api/dead-letters").await.is(200);
        assert!(letters[0]["raw"].as_str().unwrap().contains(part), "{letters}");
    }
    assert_eq!(org.account().await["status"], "connected");
}

#[tokio::test]
async fn a_business_account_that_two_organizations_name_is_whose_number_was_delivered_to() {
    let secret = || Some("for all".to_owned().into());
    let server = Server::start(|config| config.meta.app_secret = secret()).await;
    let (one, mut other) =
        (Org::with_secret(&server, "for all").await, Org::with_secret(&server, "for all").await);
    let waba = unique("88");
    for org in [&one, &other] {
        let config = json!({"config": {"waba_id": waba, "app_secret": null}});
        org.admin
            .patch(&format!("/api/integrations/accounts/{}", org.account), config)
            .await
            .is(200);
    }
    let hears = async |org: &Org, entry: &str| {
        let mut webhook = org.text(&unique("wamid."), &unique("1555"), "Hello");
        webhook["entry"][0]["id"] = json!(entry);
        org.deliver(&webhook).await.is(200);
    };
    let all = |field: &str, value: Value| {
        let entry = json!([{"id": waba, "changes": [{"field": field, "value": value}]}]);
        json!({"object": "whatsapp_business_account", "entry": entry})
    };
    // What was signed by a secret of one's own, or is of another business account, proves nothing.
    let path = format!("/api/integrations/accounts/{}", other.account);
    let own = json!({"config": {"app_secret": "of its own"}});
    other.admin.patch(&path, own).await.is(200);
    other.secret = "of its own".to_owned();
    hears(&other, &waba).await;
    other.admin.patch(&path, json!({"config": {"app_secret": null}})).await.is(200);
    other.secret = "for all".to_owned();
    hears(&other, "another").await;
    hears(&one, &waba).await;
    let gone = all("account_update", json!({"event": "ACCOUNT_DELETED"}));
    one.deliver(&gone).await.is(200);
    assert_eq!(one.account().await["status"], "attention");
    assert_eq!(other.account().await["status"], "connected");
    let texts = json!([{"id": unique("wamid."), "from": unique("1555"), "type": "text", "text": {"body": "Whose?"}}]);
    one.deliver(&all("messages", json!({"messages": texts}))).await.is(200);
    for org in [&one, &other] {
        let shown = org.admin.get("/api/conversations").await.is(200).to_string();
        assert!(!shown.contains("Whose?"), "a message without a number is nobody's: {shown}");
    }
}

#[tokio::test]
async fn who_names_a_business_account_with_a_secret_takes_nothing_from_who_has_none() {
    let secret = || Some("for all".to_owned().into());
    let server = Server::start(|config| config.meta.app_secret = secret()).await;
    let (one, claims) =
        (Org::with_secret(&server, "for all").await, Org::with_secret(&server, "its own").await);
    let waba = unique("88");
    for (org, secret) in [(&one, Value::Null), (&claims, json!("its own"))] {
        let config = json!({"config": {"waba_id": waba, "app_secret": secret}});
        let path = format!("/api/integrations/accounts/{}", org.account);
        org.admin.patch(&path, config).await.is(200);
    }
    let value = json!({"event": "ACCOUNT_DELETED", "beyond": 1});
    let entry = json!([{"id": waba, "changes": [{"field": "account_update", "value": value}]}]);
    one.deliver(&json!({"object": "whatsapp_business_account", "entry": entry})).await.is(200);
    assert_eq!(one.account().await["status"], "attention");
    assert_eq!(claims.account().await["status"], "connected");
}

#[tokio::test]
async fn however_many_secrets_an_organization_names_a_business_account_with_others_are_told() {
    let secret = || Some("for all".to_owned().into());
    let server = Server::start(|config| config.meta.app_secret = secret()).await;
    let (one, own) =
        (Org::with_secret(&server, "for all").await, Org::with_secret(&server, "hers").await);
    let waba = unique("88");
    for (org, secret) in [(&one, Value::Null), (&own, json!("hers"))] {
        let config = json!({"config": {"waba_id": waba, "app_secret": secret}});
        let path = format!("/api/integrations/accounts/{}", org.account);
        org.admin.patch(&path, config).await.is(200);
    }
    let stranger = Org::on(&server).await;
    for _ in 0..20 {
        let mut account = account(&unique("7"), &unique("secret"));
        account["config"]["waba_id"] = json!(waba);
        stranger.admin.post("/api/integrations/accounts", account).await.is(201);
    }
    let value = json!({"event": "ACCOUNT_DELETED"});
    let entry = json!([{"id": waba, "changes": [{"field": "account_update", "value": value}]}]);
    let webhook = json!({"object": "whatsapp_business_account", "entry": entry});
    for org in [&one, &own] {
        org.deliver(&webhook).await.is(200);
        assert_eq!(org.account().await["status"], "attention");
    }
}

#[tokio::test]
async fn what_customers_want_and_what_the_phone_s_book_calls_them_is_shown_with_the_contact() {
    let org = Org::found().await;
    let phone = unique("1555");
    let contact = json!({"full_name": "Noor Haddad", "phone_number": phone});
    let book = json!({"state_sync": [{"type": "contact", "action": "add", "contact": contact}]});
    org.deliver(&org.webhook("smb_app_state_sync", book)).await.is(200);
    let wants = |value: &str, at: i64| {
        let wish = json!({"wa_id": phone, "category": "marketing_messages", "value": value, "timestamp": at});
        org.webhook("user_preferences", json!({"user_preferences": [wish]}))
    };
    let now = unix_now();
    let contact = async || {
        let all = org.admin.get("/api/contacts").await.is(200);
        let [one] = &all.as_array().unwrap()[..] else { panic!("{all}") };
        one.clone()
    };
    org.deliver(&wants("stop", now - 20)).await.is(200);
    let shown = contact().await;
    assert_eq!(shown["name"], "Noor Haddad");
    assert_eq!(
        (&shown["opt_outs"][0]["category"], &shown["opt_outs"][0]["account_id"]),
        (&json!("marketing"), &json!(org.account))
    );
    org.deliver(&wants("resume", now - 10)).await.is(200);
    org.deliver(&wants("stop", now - 20)).await.is(200);
    assert_eq!(contact().await["opt_outs"], json!([]));
    assert_eq!(org.admin.get("/api/conversations").await.is(200), json!([]), "no message is made");
    org.hears(&phone, "Hello").await;
    assert_eq!(contact().await["name"], "Noor Haddad");
}
