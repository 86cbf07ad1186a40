//! Simulated people at the desk: they look at the list, take what waits, read, think and answer,
//! all of it by REST.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cast::{Member, list};
use super::replies::{ENGLISH, Language, Stage};
use super::rest::Failure;

/// Looking at the list again, reading, and writing take so many milliseconds.
const LOOK: Range<u64> = 300..1200;
const READ: Range<u64> = 200..700;
const WRITE: Range<u64> = 400..1500;
/// How often a supervisor looks.
const SUPERVISE: Range<u64> = 2500..5000;
/// After so many replies a matter is settled.
const SETTLED: usize = 4;
/// How often the first reply comes with a tag.
const TAGGED: f64 = 0.5;
/// How often a question comes with buttons, and how often a farewell with a reaction.
const BUTTONS: f64 = 0.4;
const REACTIONS: f64 = 0.5;
const TAGS: [&str; 5] = ["orders", "billing", "booking", "vip", "follow up"];

const WAITING: &str = "/api/conversations?status=open&per_page=100";

/// Sets everybody to work, until the set is dropped.
pub(super) fn work(team: Vec<Member>, seed: u64) -> JoinSet<()> {
    let agents = team.iter().filter(|member| member.person.role == "agent");
    let agents: Vec<String> = agents.map(|member| member.id.clone()).collect();
    let mut working = JoinSet::new();
    for (n, member) in (0..).zip(team) {
        let chance = StdRng::seed_from_u64(seed.wrapping_add(n));
        let worker = Worker { member, chance, talks: HashMap::new(), spoken: 0 };
        match worker.member.person.role {
            "supervisor" => working.spawn(worker.supervise(agents.clone())),
            _ => working.spawn(worker.answer()),
        };
    }
    working
}

struct Worker {
    member: Member,
    chance: StdRng,
    talks: HashMap<String, Talk>,
    /// How many lines were said, over all talks.
    spoken: usize,
}

/// A conversation as one who answers remembers it.
#[derive(Clone, Copy)]
struct Talk {
    replies: usize,
    language: &'static Language,
}

impl Worker {
    async fn answer(mut self) {
        loop {
            self.pause(LOOK).await;
            let turn = self.take_turn().await;
            self.note(turn).await;
        }
    }

    async fn supervise(mut self, agents: Vec<String>) {
        loop {
            self.pause(SUPERVISE).await;
            let turn = self.distribute(&agents).await;
            self.note(turn).await;
        }
    }

    /// Whoever was quicker, or a server that stops, is no reason to stop; a login that is over is
    /// one to log in again.
    async fn note(&mut self, turn: Result<(), Failure>) {
        let Err(failure) = turn else { return };
        tracing::debug!(%failure, who = self.member.person.name, "a turn came to nothing");
        if failure.is_unauthorized() {
            let person = self.member.person;
            if let Ok(caller) = self.member.caller.login(person.email, person.password).await {
                self.member.caller = caller;
            }
        }
    }

    /// Answers whoever waits longest, first among the own.
    async fn take_turn(&mut self) -> Result<(), Failure> {
        let waiting = self.member.caller.get(WAITING).await?;
        // Mails cannot be answered yet.
        let can_be = |case: &&Value| case["contact_channel"] != "email";
        let unread = list(&waiting).iter().filter(|case| case["unread_count"] != 0);
        let oldest_first = unread.filter(can_be).rev();
        let own = |case: &&Value| case["assigned_agent_id"] == self.member.id.as_str();
        let free = |case: &&Value| case["assigned_agent_id"].is_null();
        let case = oldest_first.clone().find(own).or_else(|| oldest_first.clone().find(free));
        match case {
            Some(case) => self.reply(case).await,
            None => Ok(()),
        }
    }

    async fn reply(&mut self, case: &Value) -> Result<(), Failure> {
        let id = case["id"].as_str().unwrap_or_default();
        let at = |what: &str| format!("/api/conversations/{id}/{what}");
        if case["assigned_agent_id"].is_null() {
            self.member.caller.post(&at("takeover"), &json!({})).await?;
        }
        self.pause(READ).await;
        self.member.caller.post(&at("read"), &json!({})).await?;
        let text = case["last_message"]["text"].as_str().unwrap_or_default();
        let known = self.talks.get(id).copied();
        let language = Language::of(text).or(known.map(|talk| talk.language)).unwrap_or(&ENGLISH);
        let replies = known.map_or(0, |talk| talk.replies) + 1;
        if replies == 1 && self.chance.random_bool(TAGGED) {
            let tag = TAGS[self.chance.random_range(0..TAGS.len())];
            self.member.caller.patch(&at("tags"), &json!({"tags": [tag]})).await?;
        }
        let stage = match replies {
            1 => Stage::First,
            SETTLED => Stage::Last,
            _ => Stage::Next,
        };
        // One after the other, so that nobody repeats what they just said.
        let line = language.line(stage, self.spoken);
        self.spoken += 1;
        self.pause(WRITE).await;
        // Named by what it answers: what it says to one state is said once.
        let key = format!("{id}-{}", case["seq"]);
        let said = match stage {
            Stage::Next if self.chance.random_bool(BUTTONS) => language.question(line),
            _ => json!({"text": line}),
        };
        self.member.caller.post_once(&at("messages"), &said, &key).await?;
        let thanks = case["last_message"]["id"].as_str();
        if let (Stage::Last, Some(id), true) = (stage, thanks, self.chance.random_bool(REACTIONS)) {
            let reaction = json!({"reaction": {"message_id": id, "emoji": "🙏"}});
            self.member.caller.post_once(&at("messages"), &reaction, &format!("{key}-r")).await?;
        }
        if stage == Stage::Last {
            self.talks.remove(id);
            self.pause(READ).await;
            let resolved = json!({"status": "resolved"});
            self.member.caller.patch(&at("status"), &resolved).await?;
        } else {
            self.talks.insert(id.to_owned(), Talk { replies, language });
        }
        Ok(())
    }

    /// Gives the one that nobody took longest to somebody.
    async fn distribute(&mut self, agents: &[String]) -> Result<(), Failure> {
        let waiting = self.member.caller.get(WAITING).await?;
        let free = |case: &&Value| case["assigned_agent_id"].is_null();
        let Some(case) = list(&waiting).iter().rev().find(free) else { return Ok(()) };
        let agent = &agents[self.chance.random_range(0..agents.len())];
        let id = case["id"].as_str().unwrap_or_default();
        let path = format!("/api/conversations/{id}/assign");
        self.member.caller.patch(&path, &json!({"agent_id": agent})).await.map(drop)
    }

    async fn pause(&mut self, millis: Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(millis))).await;
    }
}
