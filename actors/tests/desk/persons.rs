//! Who is who on all channels: in whatever order payloads name handles, whom they prove to be one is
//! one contact, and nobody else is; where people worked on the parts it is suggested.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use actors::desk::Desk;
use actors::failure::Failure;
use engine::account::Account;
use engine::channel::messaging::Introduction;
use engine::channel::{Author, Channel, Handle, Inbound, Topic, webhook};
use engine::contact::{Contact, Identity, IdentityKind};
use engine::conversation::Command;
use engine::id::AccountId;
use engine::message::MessageKind;
use engine::time::Timestamp;
use serde_json::{Value, json};
use storage::Store;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::seed::{Chance, seeds};
use storage::tables::DEAD_LETTERS;
use tokio::task::yield_now;
use uuid::Uuid;

use crate::bench::{Bench, account, admin, block_on, bsuid, phone};
use crate::identities::{NOW, changes, deliver, odds, seeded, writes, written};

const PEOPLE: usize = 3;

/// What a provider posts of one account.
#[derive(Clone, Debug)]
struct Posted {
    account: Account,
    items: Vec<Inbound>,
    introductions: Vec<Introduction>,
    references: Vec<String>,
    /// Whom it names, and so proves to be one: sets of handles.
    names: Vec<BTreeSet<Identity>>,
    /// What is said in it.
    text: Option<String>,
}

fn on(id: u128, channel: Channel) -> Account {
    let id = AccountId(Uuid::from_u128(id));
    Account { id, channel, account_key: id.0.simple().to_string(), ..account() }
}

fn handle(kind: IdentityKind, value: String) -> Handle {
    Handle { kind, value }
}

impl Posted {
    fn new(account: &Account, item: Inbound, names: &[Handle]) -> Self {
        let text = match &item {
            Inbound::Message(message) => message.content.text.clone(),
            Inbound::Echo(echo) => echo.content.text.clone(),
            _ => None,
        };
        let (introductions, references) = (Vec::new(), Vec::new());
        let names = vec![names.iter().map(|one| Identity::of(one, account.id)).collect()];
        Self { account: account.clone(), items: vec![item], introductions, references, names, text }
    }

    /// An event of Messenger or Instagram, as its provider posts it.
    fn event(account: &Account, sender: Value, mut part: Value, text: &str) -> Self {
        let kind = match account.channel {
            Channel::Instagram => IdentityKind::Igsid,
            _ => IdentityKind::Psid,
        };
        let id = sender["id"].as_str().map(|id| handle(kind, id.to_owned()));
        let reference = sender["user_ref"].as_str();
        let reference = reference.or(part["prior_message"]["identifier"].as_str());
        let reference = reference.map(|reference| stands_for(account, reference));
        let names = id.iter().map(|id| Identity::of(id, account.id)).chain(reference).collect();
        (part["sender"], part["recipient"]) = (sender, json!({"id": account.account_key}));
        let object = if account.channel == Channel::Instagram { "instagram" } else { "page" };
        let entry = json!({"id": account.account_key, "messaging": [part]});
        let body = json!({"object": object, "entry": [entry]}).to_string();
        let read = webhook::open(body.as_bytes()).unwrap()[0].read(account, Timestamp(NOW));
        Self {
            account: account.clone(),
            items: read.items,
            introductions: read.introductions,
            references: read.references,
            names: vec![names],
            text: Some(text.to_owned()),
        }
    }

    /// Passes it on as the edge does.
    async fn pass_on(self, desk: &Desk) -> Result<(), Failure> {
        desk.introduce(&self.account, self.introductions).await?;
        desk.ingest(&self.account, self.items).await?;
        desk.remember(&self.account, self.references).await
    }
}

/// A reference where handles are compared: no contact shows one.
fn stands_for(account: &Account, reference: &str) -> Identity {
    Identity::of(&handle(IdentityKind::Psid, format!("ref {reference}")), account.id)
}

/// All ways to name some of these.
fn some_of(handles: &[Handle]) -> Vec<Vec<Handle>> {
    let sets = 1..1_usize << handles.len();
    let chosen = |set: usize| {
        let picked = handles.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
        picked.map(|(_, handle)| handle.clone()).collect()
    };
    sets.map(chosen).collect()
}

/// Some of what may be posted of a person; no two are told the same.
fn posts(n: usize, chance: &mut Chance) -> Vec<Posted> {
    let (first, second) = (on(2, Channel::Whatsapp), on(3, Channel::Whatsapp));
    let (page, gram) = (on(4, Channel::Messenger), on(5, Channel::Instagram));
    let number = phone(&format!("1555000{n}"));
    let rotated = bsuid(&format!("US.3{n}"));
    let ids = [bsuid(&format!("US.1{n}")), bsuid(&format!("US.ENT.1{n}")), number.clone()];
    let mut all = Vec::new();
    let mut text = 0;
    let mut say = |all: &mut Vec<Posted>, account: &Account, named: &[Handle], is_ours: bool| {
        text += 1;
        let text = format!("{n} says {text}");
        let item = match is_ours {
            true => written(1, named, &text),
            false => writes(1, named, &text),
        };
        all.push(Posted::new(account, item, named));
    };
    for named in some_of(&ids) {
        if chance.permille(400) {
            say(&mut all, &first, &named, chance.permille(300));
        }
    }
    if chance.permille(400) {
        let (old, new) = ([ids[0].clone()], [rotated.clone()]);
        let both = [ids[0].clone(), rotated.clone()];
        all.push(Posted::new(&first, changes(50, &old, &new), &both));
        say(&mut all, &first, std::slice::from_ref(&rotated), false);
    }
    if chance.permille(300) {
        say(&mut all, &first, &[rotated, number.clone()], false);
    }
    for named in some_of(&[bsuid(&format!("US.2{n}")), number]) {
        if chance.permille(400) {
            say(&mut all, &second, &named, false);
        }
    }
    if chance.permille(300) {
        all.push(in_a_group(&first, &ids[..1], &format!("{n} in the group")));
    }
    let person = format!("70{n}");
    let event = |account: &Account, sender: Value, more: Value, text: &str| {
        let mut part = more;
        part["timestamp"] = NOW.into();
        part["message"] = json!({"mid": text, "text": text});
        Posted::event(account, sender, part, text)
    };
    let known = || json!({"id": person});
    if chance.permille(400) {
        all.push(event(&page, known(), json!({}), &format!("{n} on the page")));
    }
    if chance.permille(400) {
        // The same id on another channel proves nothing.
        all.push(event(&gram, known(), json!({}), &format!("{n} on the gram")));
    }
    if chance.permille(500) {
        let reference = format!("of {n}");
        let text = format!("{n} by reference");
        let pressed = json!({"postback": {"title": text, "payload": "GO"}, "timestamp": NOW});
        all.push(Posted::event(&page, json!({"user_ref": reference}), pressed, &text));
        let prior = json!({"prior_message": {"identifier": reference}});
        all.push(event(&page, known(), prior, &format!("{n} introduced")));
    }
    for (id, inbox) in [(6, "one"), (7, "another")] {
        for mail in 0..chance.index(3) {
            all.push(mails(&on(id, Channel::Email), n, &format!("{n} mails {mail} to {inbox}")));
        }
    }
    all
}

/// A mail of a matter that they go on with.
fn mails(inbox: &Account, n: usize, text: &str) -> Posted {
    let from = [handle(IdentityKind::Email, format!("p{n}@example.org"))];
    let mut item = writes(1, &from, text);
    if let Inbound::Message(message) = &mut item {
        let (own, first) = (text.to_owned(), "the matter".to_owned());
        message.topic = Some(Topic { own, answers: vec![first.clone()], thread: None, first });
    }
    Posted::new(inbox, item, &from)
}

/// They write in a group that is the conversation's customer.
fn in_a_group(account: &Account, author: &[Handle], text: &str) -> Posted {
    let group = [handle(IdentityKind::Group, "a group".into())];
    let mut item = writes(1, &group, text);
    if let Inbound::Message(message) = &mut item {
        message.author = Some(Author { handles: author.to_vec(), name: None, contact: None });
    }
    let mut posted = Posted::new(account, item, &group);
    posted.names.push(author.iter().map(|one| Identity::of(one, account.id)).collect());
    posted
}

/// Whom payloads prove to be one, as sets of handles.
fn proven(posts: &[Posted]) -> Vec<BTreeSet<Identity>> {
    let mut persons: Vec<BTreeSet<Identity>> = Vec::new();
    for named in posts.iter().flat_map(|posted| &posted.names) {
        let (same, mut others): (Vec<_>, Vec<_>) =
            persons.into_iter().partition(|person| !person.is_disjoint(named));
        others.push(same.into_iter().flatten().chain(named.iter().cloned()).collect());
        persons = others;
    }
    persons
}

/// What a contact is known by, as payloads name it.
fn known_by(contact: &Contact) -> BTreeSet<Identity> {
    let plain = |one: &Identity| Identity { since: None, ended_at: None, ..one.clone() };
    contact.identities.iter().map(plain).collect()
}

/// What was said in all conversations of these contacts.
async fn texts(bench: &Bench, contacts: &[Contact]) -> Vec<String> {
    let mut all = Vec::new();
    for contact in contacts {
        for id in bench.desk.of_contact(contact, 1_000).await.unwrap() {
            let head = bench.conversations().folded(id).await.unwrap().unwrap();
            let rows = bench.conversations().messages(&head, (u64::MAX, 0), 1_000).await.unwrap();
            let said = rows.into_iter().filter(|row| row.message.kind != MessageKind::System);
            all.extend(said.filter_map(|row| row.message.text));
        }
    }
    all.sort();
    all
}

/// One contact for each person, with all their handles, one open conversation on each account, and
/// each message once.
async fn is_as_proven(bench: &Bench, posts: &[Posted], what: &str) {
    let is_shown = |one: &&Identity| !one.value.starts_with("ref ");
    let persons = proven(posts);
    // A change of handles alone makes nobody, nor does a reference.
    let speaking = posts.iter().filter(|posted| posted.text.is_some());
    let speakers: BTreeSet<_> = speaking
        .flat_map(|posted| posted.names.iter().flatten())
        .filter(|one| is_shown(one))
        .collect();
    let is_somebody =
        |person: &&BTreeSet<Identity>| person.iter().any(|one| speakers.contains(one));
    let persons: Vec<_> = persons.iter().filter(is_somebody).collect();
    let contacts = bench.contacts().await;
    let shown =
        |person: &BTreeSet<Identity>| person.iter().filter(|one| is_shown(one)).cloned().collect();
    let wanted: BTreeSet<BTreeSet<Identity>> = persons.iter().map(|person| shown(person)).collect();
    let found: Vec<_> = contacts.iter().map(known_by).collect();
    let set: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(set, wanted, "{what}");
    assert_eq!(found.len(), wanted.len(), "{what}: {found:?}");
    let mut places = BTreeSet::new();
    for posted in posts.iter().filter(|posted| posted.text.is_some()) {
        let whose = persons.iter().position(|person| !person.is_disjoint(&posted.names[0]));
        places.extend(whose.map(|whose| (whose, posted.account.id)));
    }
    assert_eq!(bench.open().await.len(), places.len(), "{what}: conversations");
    let mut said: Vec<_> = posts.iter().filter_map(|posted| posted.text.clone()).collect();
    said.sort();
    assert_eq!(texts(bench, &contacts).await, said, "{what}");
    for contact in &contacts {
        let suggested = bench.desk.merge_suggestions(contact).await.unwrap();
        assert_eq!(suggested, [], "{what}: nothing is left to suggest");
    }
}

async fn take(desk: Desk, posts: Vec<Posted>) -> Result<(), Failure> {
    for posted in posts {
        posted.pass_on(&desk).await?;
    }
    Ok(())
}

/// All that is posted of some people, in an order, at a concurrency and on a store that the seed
/// decides; the process is killed at some write, or it is not. Then it starts again, and everything
/// is delivered again.
async fn tell(seed: u64) {
    let what = format!("TEST_SEED={seed}");
    let mut chance = Chance::of(seed);
    let posts: Vec<_> = (0..PEOPLE).flat_map(|n| posts(n, &mut chance)).collect();
    let clock = Clock::standing_at(Timestamp(NOW));
    let now = clock.clone();
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let dies_at = chance.permille(300).then(|| chance.index(150));
    let (odds, mut fates) = (odds(), Chance::of(chance.number()));
    let writes = Mutex::new(0);
    let decide = move |call: &Call<'_>| {
        let mut count = writes.lock().unwrap();
        *count += usize::from(matches!(call, Call::Write(_)));
        match (dies_at, call) {
            (Some(last), Call::Write(_)) if *count > last => Fate::Lost,
            (Some(last), _) if *count > last => Fate::Unavailable,
            _ => odds.draw(&mut fates),
        }
    };
    let faulty = Arc::new(Faulty::new(memory.clone(), decide));
    let ids = chance.number();
    let bench = Bench::tuned(faulty.clone(), clock.clone(), seeded(ids)).await;
    let tries = if dies_at.is_some() { 2 } else { 60 };
    let desk = bench.desk.clone();
    let refused = deliver(&posts, &mut chance, tries, move |some| take(desk.clone(), some)).await;
    assert!(dies_at.is_some() || refused == 0, "{what}: everything is taken in the end");
    drop(bench);
    faulty.land().await;
    let sound = Arc::new(Faulty::new(memory, |_| Fate::Done));
    let bench = Bench::tuned(sound, clock, seeded(ids + 1)).await;
    bench.desk.recover().await.unwrap();
    let desk = bench.desk.clone();
    let refused = deliver(&posts, &mut chance, 1, move |some| take(desk.clone(), some)).await;
    assert_eq!(refused, 0, "{what}: taken again");
    is_as_proven(&bench, &posts, &what).await;
}

#[test]
fn whom_payloads_prove_to_be_one_is_one_contact_whatever_comes_first_and_nobody_else_is() {
    for seed in seeds(60, 20) {
        block_on(tell(seed));
    }
}

/// Seeds of runs that once failed: the first two, since whom an older thread was moved to was not
/// merged; the next two, since a contact forgot its only thread when that moved to one it absorbed;
/// then, since a move showed that its thread knew nothing of; since nobody settled a thread's second
/// move.
const FAILED_ONCE: [u64; 6] = [
    1_019,
    9_309_769_121_111_111_761,
    7_555_251_135_715_806_124,
    16_544_137_254_439_184_061,
    12_295_134_884_664_737_921,
    17_433_021_881_366_698_724,
];

#[test]
fn whom_payloads_prove_to_be_one_is_one_contact_in_orders_in_which_it_was_not_once() {
    for seed in FAILED_ONCE {
        block_on(tell(seed));
    }
}

/// Somebody at the desk does something with some contact.
async fn touch(bench: &Bench, chance: &mut Chance) {
    let open = bench.open().await;
    if open.is_empty() {
        return;
    }
    let tags = Command::SetTags { tags: vec![format!("t{}", chance.below(1_000))] };
    let id = open[chance.index(open.len())].id;
    bench.desk.ask(admin(), id, None, tags).await.unwrap();
}

/// The same where people work meanwhile: what cannot be one any more by itself is suggested.
async fn tell_at_work(seed: u64) {
    let what = format!("TEST_SEED={seed}");
    let mut chance = Chance::of(seed);
    let posts: Vec<_> = (0..PEOPLE).flat_map(|n| posts(n, &mut chance)).collect();
    let clock = Clock::standing_at(Timestamp(NOW));
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(NOW))));
    let sound = Arc::new(Faulty::new(memory, |_| Fate::Done));
    let bench = Bench::tuned(sound, clock, seeded(chance.number())).await;
    let mut left = posts.clone();
    while !left.is_empty() {
        let posted = left.remove(chance.index(left.len()));
        posted.pass_on(&bench.desk).await.unwrap();
        if chance.permille(400) {
            touch(&bench, &mut chance).await;
        }
    }
    let (contacts, persons) = (bench.contacts().await, proven(&posts));
    let mut said: Vec<_> = posts.iter().filter_map(|posted| posted.text.clone()).collect();
    said.sort();
    assert_eq!(texts(&bench, &contacts).await, said, "{what}");
    for person in &persons {
        let parts: Vec<_> =
            contacts.iter().filter(|one| !known_by(one).is_disjoint(person)).collect();
        let Some(first) = parts.first() else { continue };
        let (mut linked, mut next) = (BTreeSet::new(), vec![first.id]);
        while let Some(id) = next.pop() {
            if !linked.insert(id) {
                continue;
            }
            let contact = parts.iter().find(|part| part.id == id);
            let contact = contact.unwrap_or_else(|| panic!("{what}: {id} is somebody else"));
            assert!(known_by(contact).is_subset(person), "{what}: {contact:?} is of several");
            let suggested = bench.desk.merge_suggestions(contact).await.unwrap();
            next.extend(suggested.into_iter().map(|suggestion| suggestion.contact_id));
        }
        assert_eq!(linked.len(), parts.len(), "{what}: of {parts:?} some are not suggested");
    }
}

#[test]
fn where_people_worked_on_the_parts_of_a_person_they_are_suggested_and_nobody_else_is() {
    for seed in seeds(60, 20) {
        block_on(tell_at_work(seed));
    }
}

#[test]
fn a_number_that_is_new_is_known_by_whom_the_first_handle_names() {
    // Once it was claimed for the older one of two who stay two, and learned by neither.
    block_on(tell_at_work(8_710_834_456_954_703_152));
}

#[tokio::test(start_paused = true)]
async fn others_work_between_letters_that_are_looked_through_and_large_ones_are_not_read() {
    let (reads, others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = reads.clone();
    let decide = move |call: &Call<'_>| {
        let is_letter = matches!(call, Call::Get(table, _) if **table == DEAD_LETTERS);
        counted.fetch_add(usize::from(is_letter), Ordering::Relaxed);
        Fate::Done
    };
    let clock = Clock::standing_at(Timestamp(NOW));
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(NOW))));
    let bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await;
    let page = on(4, Channel::Messenger);
    let dead = |n: usize, title: &str| {
        let pressed = json!({"title": title, "payload": "GO"});
        let event = json!({"sender": {"user_ref": format!("a:{n}")}, "postback": pressed});
        let raw = json!({"id": page.account_key, "messaging": [event]}).to_string();
        Inbound::Dead { reason: "nobody knows who it is".to_owned(), raw }
    };
    let large = "x".repeat(300 << 10);
    let letters = (0..42).map(|n| dead(n, if n < 40 { "Go" } else { &large[..] })).collect();
    bench.desk.ingest(&page, letters).await.unwrap();
    reads.store(0, Ordering::Relaxed);
    let working = others.clone();
    let working = tokio::spawn(async move {
        loop {
            working.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    let introduction = Introduction { reference: "b:1".to_owned(), person: "70".to_owned() };
    bench.desk.introduce(&page, vec![introduction]).await.unwrap();
    working.abort();
    assert_eq!(reads.load(Ordering::Relaxed), 40);
    let others = others.load(Ordering::Relaxed);
    assert!(others >= 40, "others worked {others} times");
}

#[test]
fn a_reference_finds_its_person_also_when_both_are_told_at_once() {
    // Of all that is read and written each time another one takes longer than all the rest.
    for slow in 0..80 {
        block_on(async move {
            let clock = Clock::standing_at(Timestamp(NOW));
            let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(NOW))));
            let calls = AtomicUsize::new(0);
            let decide = move |_: &Call<'_>| match calls.fetch_add(1, Ordering::Relaxed) {
                call if call == slow => Fate::Slow(Duration::from_secs(1)),
                _ => Fate::Done,
            };
            let bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await;
            let page = on(4, Channel::Messenger);
            let pressed =
                json!({"postback": {"title": "pressed", "payload": "GO"}, "timestamp": NOW});
            let alone = Posted::event(&page, json!({"user_ref": "r"}), pressed, "pressed");
            let known = json!({"message": {"mid": "m", "text": "it is me"}, "timestamp": NOW});
            let sender = json!({"id": "70", "user_ref": "r"});
            let known = Posted::event(&page, sender, known, "it is me");
            let (one, other) = (bench.desk.clone(), bench.desk.clone());
            let both = tokio::join!(alone.pass_on(&one), known.pass_on(&other));
            both.0.and(both.1).unwrap();
            let said = texts(&bench, &bench.contacts().await).await;
            assert_eq!(said, ["it is me", "pressed"], "call {slow} was slow");
        });
    }
}
