//! What the stand-in remembers, for assertions.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Fate, Tries};

/// An accepted send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its number: the first accepted send is 1, and every later one has a higher number.
    pub n: u64,
    /// When it was accepted: milliseconds of simulated time since the start.
    pub at_ms: u64,
    /// The id it was answered with.
    pub wamid: String,
    pub phone_number_id: String,
    /// The recipient, as the request names them: a phone number's digits, a user id or a group's
    /// id.
    pub to: String,
    /// The recipient, as the provider knows them.
    pub wa_id: String,
    /// `text`, `template`, `image`, ...
    pub kind: String,
    /// The object that the kind names.
    pub content: Value,
    /// A text's body, a medium's caption.
    pub text: Option<String>,
    /// The `context.message_id`.
    pub reply_to: Option<String>,
    /// The `biz_opaque_callback_data`.
    pub opaque: Option<String>,
}

/// A request, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Its number: the first is 1.
    pub n: u64,
    /// Milliseconds of simulated time since the start.
    pub at_ms: u64,
    pub method: String,
    /// With the query.
    pub path: String,
    /// The HTTP status of its answer; 0: it got none.
    pub status: u16,
    /// The Graph API's code, of an error.
    pub code: Option<u32>,
}

/// A read mark for a customer's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadMark {
    pub phone_number_id: String,
    pub message_id: String,
    /// Whether it also showed the customer that somebody types.
    pub typing: bool,
}

/// How many requests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sends, those that hang afterwards included.
    pub accepted: u64,
    /// Sends answered with an error.
    pub refused: u64,
    pub read_marks: u64,
    /// Account probes.
    pub probes: u64,
}

/// The accepted sends that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sends {
    /// All accepted, the forgotten ones included.
    pub total: u64,
    /// Oldest first.
    pub sends: Vec<Sent>,
}

impl Sends {
    /// How often each `biz_opaque_callback_data` was accepted; more than once is a message twice.
    pub fn by_opaque(&self) -> HashMap<&str, u64> {
        count(self.sends.iter().filter_map(|sent| sent.opaque.as_deref()))
    }

    /// What this recipient got, in the order in which it was accepted.
    pub fn to<'a>(&'a self, recipient: &'a str) -> impl Iterator<Item = &'a Sent> {
        self.sends.iter().filter(move |sent| sent.to == recipient)
    }

    /// How many sends each recipient got.
    pub fn by_recipient(&self) -> HashMap<&str, u64> {
        count(self.sends.iter().map(|sent| sent.to.as_str()))
    }
}

fn count<'a>(keys: impl Iterator<Item = &'a str>) -> HashMap<&'a str, u64> {
    let mut counted = HashMap::new();
    for key in keys {
        *counted.entry(key).or_default() += 1;
    }
    counted
}

#[derive(Debug)]
pub(super) struct Book {
    run: u64,
    chance: StdRng,
    /// `fbtrace_id`s given.
    traces: u64,
    total: u64,
    remember: usize,
    requests: VecDeque<Request>,
    requested: u64,
    sends: VecDeque<Sent>,
    read_marks: VecDeque<ReadMark>,
    tries: Tries,
}

impl Book {
    pub(super) fn new(seed: u64, remember: usize) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        Self {
            run: chance.random(),
            chance,
            traces: 0,
            total: 0,
            remember: remember.max(1),
            requests: VecDeque::new(),
            requested: 0,
            sends: VecDeque::new(),
            read_marks: VecDeque::new(),
            tries: Tries::default(),
        }
    }

    pub(super) fn fate(&mut self, to: &str) -> Fate {
        self.tries.next(to)
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.chance.random_bool(share.clamp(0.0, 1.0))
    }

    /// An `fbtrace_id`.
    pub(super) fn trace(&mut self) -> String {
        self.traces += 1;
        format!("A{:08x}{:08x}", self.run >> 32, self.traces)
    }

    /// Remembers a send, which gets its number and id here.
    pub(super) fn accept(&mut self, mut sent: Sent, now: Duration) -> Sent {
        self.total += 1;
        sent.n = self.total;
        sent.at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        sent.wamid = format!("wamid.HBgNG{:016X}{:010X}", self.run, self.total);
        push(&mut self.sends, sent.clone(), self.remember);
        sent
    }

    /// Remembers a request, which gets its number here.
    pub(super) fn request(&mut self, mut request: Request) {
        self.requested += 1;
        request.n = self.requested;
        push(&mut self.requests, request, self.remember);
    }

    /// At most `limit` requests with a number above `after`.
    pub(super) fn requests(&self, after: u64, limit: usize) -> Vec<Request> {
        let from = self.requests.partition_point(|request| request.n <= after);
        self.requests.iter().skip(from).take(limit).cloned().collect()
    }

    /// A share between 0 and 1.
    pub(super) fn share(&mut self) -> f64 {
        self.chance.random()
    }

    pub(super) fn mark_read(&mut self, mark: ReadMark) {
        push(&mut self.read_marks, mark, self.remember);
    }

    pub(super) fn read_marks(&self) -> Vec<ReadMark> {
        self.read_marks.iter().cloned().collect()
    }

    pub(super) fn sends(&self) -> Sends {
        self.page(0, usize::MAX)
    }

    /// At most `limit` sends with a number above `after`.
    pub(super) fn page(&self, after: u64, limit: usize) -> Sends {
        let from = self.sends.partition_point(|sent| sent.n <= after);
        let sends = self.sends.iter().skip(from).take(limit).cloned().collect();
        Sends { total: self.total, sends }
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    if list.len() >= limit {
        list.pop_front();
    }
    list.push_back(item);
}
