//! Messages that are found by their words: soon, after a stop and without the index, and only by those
//! who may see them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use storage::seed::{Chance, seeds};

use crate::caller::{Answer, Caller};
use crate::harness::{Org, Server, eventually, unique};

pub(crate) fn q(text: &str) -> String {
    let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    format!("q={text}&per_page=100")
}

/// What somebody finds, and how many they are told there are.
async fn find(person: &Caller, query: &str) -> (Vec<Value>, usize) {
    read(person.get(&format!("/api/messages/search?{query}")).await)
}

fn read(answer: Answer) -> (Vec<Value>, usize) {
    let total = answer.headers.get("x-total-count").map(|total| total.to_str().unwrap().parse());
    (serde_json::from_value(answer.is(200)).unwrap(), total.unwrap().unwrap())
}

/// The same once there are so many.
pub(crate) async fn found(person: &Caller, query: &str, wanted: usize) -> Vec<Value> {
    eventually(async || {
        // While an index is made anew there is none.
        let answer = person.get(&format!("/api/messages/search?{query}")).await;
        if answer.status == 503 {
            return None;
        }
        let (found, total) = read(answer);
        (total == wanted).then_some(found)
    })
    .await
}

fn texts(found: &[Value]) -> BTreeSet<String> {
    found.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

/// What was searched for in brackets.
pub(crate) fn shown(message: &Value) -> String {
    let part = |part: &Value| {
        let text = part["text"].as_str().unwrap();
        if part["match"] == true { format!("[{text}]") } else { text.to_owned() }
    };
    message["highlights"][0].as_array().unwrap().iter().map(part).collect()
}

#[tokio::test]
async fn words_of_any_script_are_found_and_shown_where_they_stand() {
    let org = Org::found().await;
    let phone = unique("1555");
    let id = org.hears(&phone, "Berapa HARGANYA, kak?").await;
    org.hears(&phone, "请问这个手机的价格是多少").await;
    org.hears(&phone, "Un café, s'il vous plaît").await;
    let said = json!({"text": "The price is ten"});
    let said = org.admin.post(&format!("/api/conversations/{id}/messages"), said).await.is(201);
    for (typed, wanted) in [
        ("harga", "Berapa [HARGANYA], kak?"),
        ("价格", "请问这个手机的[价格]是多少"),
        ("CAFE", "Un [café], s'il vous plaît"),
        ("pric ten", "The [price] is [ten]"),
        ("s'il", "Un café, [s]'[il] vous plaît"),
    ] {
        let one = &found(&org.admin, &q(typed), 1).await[0];
        assert_eq!(shown(one), wanted);
        assert_eq!(one["conversation_id"], json!(id));
        assert_eq!((&one["channel"], &one["contact_name"]), (&json!("whatsapp"), &json!("Ines")));
    }
    let newest = &found(&org.admin, "", 4).await[0];
    assert_eq!((&newest["id"], &newest["highlights"]), (&said["id"], &json!([])));
    for nothing in ["格价", "price eleven", "hargamu", "text:price OR", "price*s"] {
        assert_eq!(find(&org.admin, &q(nothing)).await.1, 0, "{nothing}");
    }
}

#[tokio::test]
async fn contact_channel_and_time_narrow_what_is_found_and_pages_lead_on() {
    let org = Org::found().await;
    let (ours, other) = (unique("1555"), unique("1555"));
    for n in 0..3 {
        org.hears(&ours, &format!("narrow {n}")).await;
    }
    org.hears(&other, "narrow too").await;
    let all = found(&org.admin, &q("narrow"), 4).await;
    let at = all[1]["created_at"].as_str().unwrap();
    let contact = org.conversation(&ours).await["contact_id"].as_str().unwrap().to_owned();
    for (query, wanted) in [
        (format!("q=narrow&contact_id={contact}"), 3),
        (format!("contact_id={contact}&q=too"), 0),
        ("q=narrow&channel=whatsapp".to_owned(), 4),
        ("q=narrow&channel=email".to_owned(), 0),
        (
            format!("q=narrow&to={at}"),
            all.iter().filter(|m| m["created_at"].as_str() < Some(at)).count(),
        ),
        (
            format!("q=narrow&from={at}"),
            all.iter().filter(|m| m["created_at"].as_str() >= Some(at)).count(),
        ),
    ] {
        assert_eq!(find(&org.admin, &query).await.1, wanted, "{query}");
    }
    let mut paged = Vec::new();
    for page in 1..=3 {
        let (found, total) = find(&org.admin, &format!("q=narrow&per_page=2&page={page}")).await;
        assert_eq!((total, found.len()), (4, [2, 2, 0][page - 1]));
        paged.extend(found);
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn an_edit_replaces_and_a_deletion_removes() {
    let org = Org::found().await;
    let (phone, id) = (unique("1555"), unique("wamid."));
    org.deliver(&org.text(&id, &phone, "the blue one")).await.is(200);
    found(&org.admin, &q("blue"), 1).await;
    let amend = async |kind: &str, part: Value| {
        let message = json!({
            "from": phone, "id": unique("wamid."), "type": kind,
            "timestamp": crate::harness::unix_now().to_string(), kind: part,
        });
        let messages = json!({"messages": [message]});
        org.deliver(&org.webhook("messages", messages)).await.is(200);
    };
    let text = json!({"type": "text", "text": {"body": "the red one"}});
    amend("edit", json!({"original_message_id": id, "message": text})).await;
    found(&org.admin, &q("red"), 1).await;
    assert_eq!(find(&org.admin, &q("blue")).await.1, 0);
    amend("revoke", json!({"original_message_id": id})).await;
    // At once it is not shown any more, and soon it is not known any more.
    assert_eq!(find(&org.admin, &q("red")).await, (Vec::new(), 0));
    found(&org.admin, "", 0).await;
}

#[tokio::test]
async fn another_organization_finds_nothing_of_ours() {
    let (org, other) = (Org::found().await, Org::found().await);
    let phone = unique("1555");
    org.hears(&phone, "between us").await;
    other.hears(&phone, "between them").await;
    found(&org.admin, &q("between"), 1).await;
    for query in [q("between"), q("us"), String::new()] {
        let theirs = find(&other.admin, &query).await.0;
        assert!(texts(&theirs).is_subset(&["between them".to_owned()].into()), "{theirs:?}");
    }
    let contact = org.conversation(&phone).await["contact_id"].as_str().unwrap().to_owned();
    let query = format!("/api/messages/search?contact_id={contact}");
    other.admin.get(&query).await.is(404);
}

#[tokio::test]
async fn what_is_no_search_is_refused_with_the_field_s_name() {
    let org = Org::found().await;
    let many = |words: usize| vec!["a"; words].join("+");
    for (query, field) in [
        (format!("q={}", many(10_000)), "q"),
        (format!("q={}", many(33)), "q"),
        (format!("q={}", "价".repeat(33)), "q"),
        ("q=".to_owned(), "q"),
        ("q=%3F%21+*".to_owned(), "q"),
        ("channel=fax".to_owned(), "channel"),
        ("from=yesterday".to_owned(), "from"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z".to_owned(), "to"),
        ("contact_id=1".to_owned(), "contact_id"),
        ("per_page=101".to_owned(), "per_page"),
        ("query=a".to_owned(), "query"),
    ] {
        let answer = org.admin.get(&format!("/api/messages/search?{query}")).await;
        assert_eq!(answer.invalid(), [field], "{}", &query[..query.len().min(60)]);
    }
    find(&org.admin, &format!("q={}", many(32))).await;
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Removes an index, also while a writer that is gone still merges in it: nobody waits for that.
pub(crate) fn remove(index: &Path) {
    while index.exists() {
        drop(fs::remove_dir_all(index));
    }
}

#[tokio::test]
async fn an_index_that_is_behind_damaged_or_gone_is_brought_up_to_the_store() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let (index, aside) = (server.search_index(), server.search_index().with_extension("old"));
    org.hears(&unique("1555"), "lasting one").await;
    found(&org.admin, &q("lasting"), 1).await;
    server.restart_after(|| copy(&index, &aside)).await;
    found(&org.admin, &q("lasting"), 1).await;
    org.hears(&unique("1555"), "lasting two").await;
    let phone = unique("1555");
    org.hears(&phone, "lasting three").await;
    org.hears(&phone, "lasting four").await;
    found(&org.admin, &q("lasting"), 4).await;
    // As after a kill before the index had the newer ones on the disk.
    server
        .restart_after(|| {
            remove(&index);
            copy(&aside, &index);
        })
        .await;
    found(&org.admin, &q("lasting"), 4).await;
    server.restart_after(|| fs::write(index.join("meta.json"), "{").unwrap()).await;
    found(&org.admin, &q("lasting"), 4).await;
    server.restart_after(|| remove(&index)).await;
    found(&org.admin, &q("lasting"), 4).await;
    // Under the server's hands: it is missed when something is to be put into it.
    remove(&index);
    org.hears(&phone, "lasting five").await;
    let all = found(&org.admin, &q("lasting"), 5).await;
    assert_eq!(texts(&all).len(), 5);
}

#[tokio::test]
async fn without_room_for_what_is_new_it_is_found_all_the_same() {
    let org = Org::on(&Server::start(|config| config.limits.search_marks = 1).await).await;
    for n in 0..10 {
        org.hears(&unique("1555"), &format!("roomless {n}")).await;
    }
    found(&org.admin, &q("roomless"), 10).await;
}

#[tokio::test]
async fn of_more_matches_than_are_looked_at_the_newest_count() {
    let org = Org::on(&Server::start(|config| config.limits.search_matches = 3).await).await;
    for n in 0..5 {
        org.hears(&unique("1555"), &format!("match number{n}")).await;
        found(&org.admin, &q(&format!("number{n}")), 1).await;
    }
    let (found, total) = find(&org.admin, &q("match")).await;
    let newest = (2..5).map(|n| format!("match number{n}")).collect();
    assert_eq!((texts(&found), total), (newest, 3));
}

/// Somebody writes, and it is given to each of these, one after the other.
async fn said_to(org: &Org, people: &[&Caller]) {
    for (n, person) in people.iter().enumerate() {
        let id = org.hears(&unique("1555"), &format!("match number{n}")).await;
        let path = format!("/api/conversations/{id}/assign");
        org.admin.patch(&path, json!({"agent_id": person.id})).await.is(200);
        found(&org.admin, &q(&format!("number{n}")), 1).await;
    }
}

#[tokio::test]
async fn what_somebody_may_see_is_found_behind_more_matches_that_they_may_not_see() {
    let org = Org::on(&Server::start(|config| config.limits.search_matches = 5).await).await;
    let (one, other) = (org.hire("agent").await, org.hire("agent").await);
    said_to(&org, &[&one, &other, &other, &other, &other, &other, &other]).await;
    assert_eq!(find(&org.admin, &q("match")).await.1, 5);
    let (theirs, total) = find(&one, &q("match")).await;
    assert_eq!((texts(&theirs), total), (["match number0".to_owned()].into(), 1));
}

#[tokio::test]
async fn for_who_may_not_see_all_so_many_conversations_are_looked_at_the_newest() {
    let org = Org::on(&Server::start(|config| config.limits.search_conversations = 2).await).await;
    let (one, other) = (org.hire("agent").await, org.hire("agent").await);
    said_to(&org, &[&one, &one, &other]).await;
    let (theirs, total) = find(&one, &q("match")).await;
    assert_eq!((texts(&theirs), total), (["match number1".to_owned()].into(), 1));
    assert_eq!(find(&org.admin, &q("match")).await.1, 3);
}

const STEPS: u64 = 30;
const WORDS: [&str; 3] = ["apple", "梨子", "плод"];

/// What is so, as far as it was answered.
struct World {
    org: Org,
    people: [Caller; 2],
    /// Of each customer's number, the conversation.
    conversations: BTreeMap<String, String>,
    owners: HashMap<String, Option<usize>>,
    /// Conversation, word and text of each message.
    messages: Vec<(String, &'static str, String)>,
    /// The second one sees everything.
    is_supervisor: bool,
}

impl World {
    async fn new() -> Self {
        let every = Duration::from_millis(20);
        let server = Server::start(|config| config.limits.search_every = every).await;
        let org = Org::on(&server).await;
        let people = [org.hire("agent").await, org.hire("agent").await];
        let (conversations, owners, messages) = Default::default();
        Self { org, people, conversations, owners, messages, is_supervisor: false }
    }

    async fn step(&mut self, n: u64, chance: &mut Chance) {
        let known: Vec<_> = self.conversations.values().cloned().collect();
        let any = (!known.is_empty()).then(|| known[chance.index(known.len())].clone());
        match (chance.below(10), any) {
            (0..=5, _) | (_, None) => {
                let phone = format!("1555{}", 1 + chance.below(4));
                let word = WORDS[chance.index(WORDS.len())];
                let text = format!("{word} {n}");
                let id = self.org.hears(&phone, &text).await;
                self.messages.push((id.clone(), word, text));
                self.conversations.insert(phone, id);
            }
            (6..=8, Some(id)) => {
                let to = [None, Some(0), Some(1)][chance.index(3)];
                let body = json!({"agent_id": to.map(|who: usize| &self.people[who].id)});
                let path = format!("/api/conversations/{id}/assign");
                self.org.admin.patch(&path, body).await.is(200);
                self.owners.insert(id, to);
            }
            (_, Some(_)) => {
                self.is_supervisor = chance.permille(500);
                let role = if self.is_supervisor { "supervisor" } else { "agent" };
                let path = format!("/api/agents/{}", self.people[1].id);
                self.org.admin.patch(&path, json!({"role": role})).await.is(200);
            }
        }
    }

    /// The texts that somebody may see now: with a word, of a conversation, or all.
    fn visible(&self, who: usize, word: Option<&str>, of: Option<&str>) -> BTreeSet<String> {
        let sees = |id: &String| {
            (who == 1 && self.is_supervisor)
                || self.owners.get(id).copied().flatten().is_none_or(|owner| owner == who)
        };
        let is_meant = |(id, with, _): &&(String, &str, String)| {
            word.is_none_or(|word| word == *with) && of.is_none_or(|of| of == id) && sees(id)
        };
        self.messages.iter().filter(is_meant).map(|(_, _, text)| text.clone()).collect()
    }

    /// Nobody finds, or is told that there is, what they may not see now, whatever they look for.
    async fn check(&self, chance: &mut Chance) {
        let (who, word) = (chance.index(2), WORDS[chance.index(WORDS.len())]);
        let person = &self.people[who];
        let known: Vec<_> = self.conversations.values().collect();
        let one = known[chance.index(known.len())];
        let contact = self.org.admin.get(&format!("/api/conversations/{one}")).await.is(200);
        let of_contact = contact["contact_id"].as_str().unwrap();
        let of_contact = format!("contact_id={of_contact}&per_page=100");
        for (query, word, of) in [
            (q(word), Some(word), None),
            ("per_page=100".to_owned(), None, None),
            (of_contact, None, Some(one.as_str())),
        ] {
            let (found, total) = find(person, &query).await;
            let (found, visible) = (texts(&found), self.visible(who, word, of));
            assert!(found.is_subset(&visible), "{who} by {query} finds {found:?} of {visible:?}");
            assert_eq!(total, found.len(), "{who} by {query} is told of more than is found");
            // Behind the end there is nothing to be found, and as much to be counted.
            let (found, total) = find(person, &format!("{query}&page=50")).await;
            let visible = visible.len();
            assert!(found.is_empty(), "{who} by {query} finds {found:?} behind the end");
            assert!(total <= visible, "{who} by {query} is told of {total} of {visible}");
        }
    }

    /// In the end everybody finds all that they may see.
    async fn check_all(&self) {
        for (who, person) in self.people.iter().enumerate() {
            for word in WORDS {
                let visible = self.visible(who, Some(word), None);
                let all = found(person, &q(word), visible.len()).await;
                assert_eq!(texts(&all), visible, "{who}: {word}");
            }
        }
    }
}

async fn run(seed: u64) {
    eprintln!("TEST_SEED={seed}");
    let (mut world, mut chance) = (World::new().await, Chance::of(seed));
    let restart = chance.below(STEPS);
    for n in 0..STEPS {
        if n == restart {
            world.org.server.restart().await;
        }
        world.step(n, &mut chance).await;
        world.check(&mut chance).await;
    }
    world.check_all().await;
}

#[tokio::test]
async fn an_agent_never_finds_or_counts_what_they_may_not_see() {
    for seed in seeds(3, 2) {
        run(seed).await;
    }
}
