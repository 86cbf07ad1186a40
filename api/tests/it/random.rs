//! Anything, in any order, over real sockets and in both encodings: every client ends with what it
//! may see, and was never shown what it could not see at any time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use storage::seed::{Chance, seeds};

use crate::caller::Caller;
use crate::harness::{Org, Server};
use crate::live::{JSON, Live, MSGPACK};

const STEPS: u64 = 40;

/// What is so, as far as it was answered.
struct World {
    org: Org,
    people: [Caller; 2],
    /// Of each customer's number, the conversation.
    conversations: BTreeMap<String, String>,
    owners: HashMap<String, Option<usize>>,
    texts: HashMap<String, Vec<String>>,
    /// Ben sees everything.
    is_supervisor: bool,
    /// What each could see at some time.
    seen: [HashSet<String>; 2],
}

/// Somebody at a console.
struct Client {
    who: usize,
    protocol: &'static str,
    live: Option<Live>,
    at: HashMap<String, (String, u64)>,
    /// By stream, the messages.
    folds: HashMap<String, BTreeMap<String, Value>>,
}

impl World {
    async fn new() -> Self {
        let org = Org::on(&Server::start(|_| {}).await).await;
        let people = [org.hire("agent").await, org.hire("agent").await];
        let (conversations, owners, texts, seen) = Default::default();
        Self { org, people, conversations, owners, texts, is_supervisor: false, seen }
    }

    fn sees(&self, who: usize, id: &str) -> bool {
        (who == 1 && self.is_supervisor)
            || self.owners.get(id).copied().flatten().is_none_or(|owner| owner == who)
    }

    /// What is visible now was seen at some time.
    fn remember(&mut self) {
        for who in 0..2 {
            let visible = self.texts.iter().filter(|(id, _)| self.sees(who, id));
            let texts: Vec<_> = visible.flat_map(|(_, texts)| texts.clone()).collect();
            self.seen[who].extend(texts);
        }
    }

    async fn step(&mut self, n: u64, chance: &mut Chance) {
        let known: Vec<_> = self.conversations.values().cloned().collect();
        let any = (!known.is_empty()).then(|| known[chance.index(known.len())].clone());
        match (chance.below(10), any) {
            (0..=4, _) | (_, None) => {
                let phone = format!("1555{}", 1 + chance.below(3));
                let text = format!("text {n}");
                let id = self.org.hears(&phone, &text).await;
                self.texts.entry(id.clone()).or_default().push(text);
                self.conversations.insert(phone, id);
            }
            (5..=7, Some(id)) => {
                let to = [None, Some(0), Some(1)][chance.index(3)];
                let body = json!({"agent_id": to.map(|who: usize| &self.people[who].id)});
                let path = format!("/api/conversations/{id}/assign");
                self.org.admin.patch(&path, body).await.is(200);
                self.owners.insert(id, to);
            }
            (8, _) => {
                self.is_supervisor = chance.permille(500);
                let role = if self.is_supervisor { "supervisor" } else { "agent" };
                let path = format!("/api/agents/{}", self.people[1].id);
                self.org.admin.patch(&path, json!({"role": role})).await.is(200);
            }
            (_, Some(id)) => {
                let path = format!("/api/conversations/{id}/read");
                self.org.admin.post(&path, json!({})).await.is(200);
            }
        }
        self.remember();
    }
}

impl Client {
    fn new(who: usize, protocol: &'static str) -> Self {
        let (at, folds) = Default::default();
        Self { who, protocol, live: None, at, folds }
    }

    /// Connects, from where it was.
    async fn connect(&mut self, world: &World) {
        self.leave();
        let mut names: Vec<_> = world.conversations.values().map(|id| format!("c:{id}")).collect();
        names.extend(["i:mine".to_owned(), "i:unassigned".to_owned(), "t:agents".to_owned()]);
        let sub = |name: &String| match self.at.get(name) {
            Some((epoch, off)) => {
                json!({"s": name, "since": {"epoch": epoch, "off": off}, "snap": true})
            }
            None => json!({"s": name, "snap": true}),
        };
        let subs: Vec<_> = names.iter().map(sub).collect();
        let hello = Live::hello_in(self.protocol, &world.people[self.who], json!(subs)).await;
        let (live, ok) = hello;
        for sub in ok["subs"].as_array().unwrap() {
            let name = sub["s"].as_str().unwrap().to_owned();
            if sub["err"].is_object() {
                assert_eq!(sub["err"]["code"], 102, "{sub}");
                self.folds.remove(&name);
                self.at.remove(&name);
            } else if let Some(messages) = sub["snap"]["messages"].as_array() {
                let fold = messages.iter().map(|message| (id_of(message), message.clone()));
                self.folds.insert(name, fold.collect());
            }
        }
        self.live = Some(live);
        self.check(world);
    }

    /// Leaves without a word; what it was told until then it knows.
    fn leave(&mut self) {
        if let Some(live) = self.live.take() {
            self.at = live.vanish();
        }
    }

    /// Takes in what has come until a question is answered.
    async fn read(&mut self, world: &World) {
        let Some(live) = &mut self.live else { return };
        assert_eq!(live.ask(json!({"op": "presence", "s": "u:me"})).await, Err(102));
        while let Some(told) = self.live.as_mut().unwrap().waiting().await {
            self.take(&told);
        }
        self.check(world);
    }

    fn take(&mut self, told: &Value) {
        let Some(s) = told["s"].as_str() else { return };
        match told["t"].as_str().unwrap() {
            "ev" if told["k"].as_str().unwrap().starts_with("message.") => {
                let (fold, d) = (self.folds.get_mut(s).unwrap(), &told["d"]);
                let known = fold.get(&id_of(d)).map_or(0, |known| known["rev"].as_u64().unwrap());
                if known <= d["rev"].as_u64().unwrap() {
                    fold.insert(id_of(d), d.clone());
                }
            }
            "unsub" | "reset" => {
                self.folds.remove(s);
                self.live.as_mut().unwrap().at.remove(s);
            }
            _ => {}
        }
    }

    /// It was told nothing that it could not see at any time.
    fn check(&self, world: &World) {
        for message in self.folds.values().flat_map(BTreeMap::values) {
            let text = message["text"].as_str().unwrap();
            assert!(world.seen[self.who].contains(text), "{} was shown {text}", self.who);
        }
    }

    /// What it made of each conversation is how that stands, if it may see it.
    async fn has_all(&mut self, world: &World) {
        self.connect(world).await;
        let followed: BTreeSet<_> =
            self.folds.keys().filter(|name| name.starts_with("c:")).cloned().collect();
        let wanted = world.conversations.values().filter(|id| world.sees(self.who, id));
        let wanted: BTreeSet<_> = wanted.map(|id| format!("c:{id}")).collect();
        assert_eq!(followed, wanted);
        let me = &world.people[self.who];
        for name in wanted {
            let path = format!("/api/conversations/{}", name.strip_prefix("c:").unwrap());
            let top = me.get(&path).await.is(200)["seq"].as_u64().unwrap();
            while self.live.as_ref().unwrap().at[&name].1 < top {
                let told = self.live.as_mut().unwrap().next().await;
                self.take(&told);
            }
            let all = me.get(&format!("{path}/messages?per_page=100")).await.is(200);
            let all = all.as_array().unwrap().iter();
            let all: BTreeMap<_, _> =
                all.map(|message| (id_of(message), message.clone())).collect();
            assert_eq!(self.folds[&name], all);
        }
    }
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

async fn run(seed: u64) {
    eprintln!("TEST_SEED={seed}");
    let (mut world, mut chance) = (World::new().await, Chance::of(seed));
    let protocols = [JSON, MSGPACK];
    let mut clients =
        [(0, 0), (1, 1), (1, 0)].map(|(who, encoding)| Client::new(who, protocols[encoding]));
    let restart = chance.below(STEPS);
    for n in 0..STEPS {
        if n == restart {
            clients.iter_mut().for_each(Client::leave);
            world.org.server.restart().await;
        }
        world.step(n, &mut chance).await;
        for client in &mut clients {
            match chance.below(8) {
                0 => client.leave(),
                1..=2 => client.connect(&world).await,
                3..=5 => client.read(&world).await,
                _ => {}
            }
        }
    }
    for client in &mut clients {
        client.has_all(&world).await;
    }
}

#[tokio::test]
async fn over_real_sockets_every_client_ends_with_what_it_may_see() {
    for seed in seeds(4, 3) {
        run(seed).await;
    }
}
