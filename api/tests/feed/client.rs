//! Somebody at a console, who keeps what they were told and where they were.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actors::feed::{
    Cut, Encoding, Mark, NotFollowed, Position, Push, Session, Shows, Snapshot, Started, Stream,
};
use actors::inbox::List;
use api::socket::{Frame, value};
use engine::conversation::{Conversation, ConversationView};
use engine::id::{AgentId, ConversationId};
use serde_json::{Value, json};

use crate::elsewhere::Elsewhere;
use crate::shop::{Owners, Shop, TENANT};

pub(crate) struct Client {
    pub(crate) agent: AgentId,
    encoding: Encoding,
    pub(crate) session: Option<Session<Frame>>,
    wanted: BTreeSet<String>,
    pub(crate) following: BTreeSet<String>,
    folds: HashMap<String, Fold>,
    /// What was decided to be sent and is not written yet.
    out: Vec<Out>,
    shows: Vec<Shows>,
    mark: Option<Mark>,
    /// Where it goes what is written while the session rests.
    elsewhere: Arc<Elsewhere>,
    /// What passed, as it came.
    pub(crate) passed: Vec<Value>,
    /// Streams that had to be followed anew.
    pub(crate) resets: Vec<Stream>,
    /// Why its sessions were ended from the other side.
    pub(crate) cuts: Vec<Cut>,
}

/// Something on its way.
enum Out {
    Started { name: String, position: Position, snapshot: Option<Snapshot> },
    Push(Push<Frame>),
}

/// What a client makes of one stream.
#[derive(Default)]
struct Fold {
    position: Option<Position>,
    messages: BTreeMap<String, Value>,
    heads: BTreeMap<String, Value>,
}

/// A conversation in its REST shape.
fn shown(head: &Conversation) -> Value {
    serde_json::to_value(ConversationView::of(head)).unwrap()
}

/// Without what lists are not told each time.
fn row(view: &Value) -> Value {
    let mut view = view.clone();
    let fields = view.as_object_mut().unwrap();
    for field in ["seq", "updated_at", "rev", "conv_seq", "counters"] {
        fields.remove(field);
    }
    view
}

impl Fold {
    fn begin(&mut self, snapshot: &Snapshot) {
        (self.messages, self.heads) = Default::default();
        match snapshot {
            Snapshot::Conversation(page) => {
                self.heads.insert(page.head.id.to_string(), shown(&page.head));
                for row in &page.rows {
                    let message = serde_json::to_value(&row.message).unwrap();
                    self.messages.insert(row.message.id.to_string(), message);
                }
            }
            Snapshot::List { heads, counters } => {
                self.heads.extend(heads.iter().map(|head| (head.id.to_string(), shown(head))));
                assert!(counters.conversations >= self.heads.len() || counters.conversations == 0);
            }
            Snapshot::Agents(_) | Snapshot::Agent(_) => {}
        }
    }

    fn step(&mut self, first: u64, last: u64) {
        let position = self.position.as_mut().expect("events follow a beginning");
        assert!(position.offset < last && first <= position.offset + 1, "no gap, nothing twice");
        position.offset = last;
    }

    fn take(&mut self, k: &str, d: &Value) {
        let id = d["id"].as_str().unwrap_or_default().to_owned();
        let number = |of: Option<&Value>, field: &str| {
            of.and_then(|value| value[field].as_u64()).unwrap_or_default()
        };
        if k.starts_with("message.") {
            if number(self.messages.get(&id), "rev") <= number(Some(d), "rev") {
                self.messages.insert(id, d.clone());
            }
        } else if k == "conversation.remove" {
            if number(self.heads.get(&id), "seq") <= number(Some(d), "conv_seq") {
                self.heads.remove(&id);
            }
        } else if !k.starts_with("agent.")
            && number(self.heads.get(&id), "seq") <= number(Some(d), "seq")
        {
            self.heads.insert(id, d.clone());
        }
    }
}

impl Client {
    pub(crate) fn new(agent: AgentId, encoding: Encoding) -> Self {
        let wanted = ["i:mine", "i:unassigned", "i:all", "t:agents", "u:me"];
        Self {
            agent,
            encoding,
            session: None,
            wanted: wanted.map(str::to_owned).into(),
            following: BTreeSet::new(),
            folds: HashMap::new(),
            out: Vec::new(),
            shows: Vec::new(),
            mark: None,
            elsewhere: Arc::default(),
            passed: Vec::new(),
            resets: Vec::new(),
            cuts: Vec::new(),
        }
    }

    /// Logs in and follows what it wants, from where it was.
    pub(crate) async fn connect(&mut self, shop: &Shop, owners: &Owners) {
        self.disconnect();
        let (tenants, ttl) = (&shop.sources.tenants, Duration::from_secs(1_000_000));
        let login = tenants.open_session(TENANT, self.agent, tenants.now(), ttl).await.unwrap();
        let caller = tenants.caller(login.id).await.unwrap();
        let Some(caller) = caller else { return };
        let (hub, sources) = (&shop.feeds.hub, shop.sources.clone());
        self.elsewhere = Arc::new(Elsewhere::new(shop.feeds.known.clone()));
        let outlet = self.elsewhere.clone();
        let opened = Session::open(hub, sources, &caller, self.encoding, outlet).await;
        self.session = opened.ok().flatten();
        self.follow(shop, owners).await;
    }

    pub(crate) fn disconnect(&mut self) {
        self.session = None;
        self.following.clear();
        (self.out, self.shows, self.mark) = (Vec::new(), Vec::new(), None);
    }

    /// Follows what it wants and does not follow yet.
    pub(crate) async fn follow(&mut self, shop: &Shop, owners: &Owners) {
        self.write(shop, owners).await;
        self.wanted.extend(shop.known().iter().map(|id| format!("c:{id}")));
        for name in self.wanted.clone() {
            let Some(session) = &mut self.session else { return };
            self.mark.get_or_insert(session.mark());
            let stream = Stream::named(&name, self.agent).unwrap();
            let since = self.folds.entry(name.clone()).or_default().position.clone();
            match session.follow(stream, since.as_ref(), true).await {
                Ok(Started { epoch, offset, missed, snapshot, shows, .. }) => {
                    let position = Position { epoch: epoch.to_string(), offset };
                    self.following.insert(name.clone());
                    self.shows.extend(shows);
                    self.out.push(Out::Started { name, position, snapshot });
                    missed.into_iter().flatten().for_each(|push| self.decided(push));
                }
                Err(NotFollowed::Already | NotFollowed::Failed(_)) => {}
                Err(NotFollowed::NoSuchStream | NotFollowed::NotAllowed) => {
                    self.folds.insert(name, Fold::default());
                }
                Err(NotFollowed::TooMany) => panic!("so many are allowed"),
            }
        }
    }

    /// Takes in what waits, so many wakes at most; it is not written yet.
    pub(crate) async fn hear(&mut self, shop: &Shop, owners: &Owners, most: usize) {
        self.write(shop, owners).await;
        let mut out = Vec::new();
        for _ in 0..most {
            let Some(session) = &mut self.session else { return };
            self.mark.get_or_insert(session.mark());
            let waiting = tokio::time::timeout(Duration::ZERO, session.wait()).await;
            let Ok(wake) = waiting else { return };
            session.take(wake, &mut out).await;
            out.drain(..).for_each(|push| self.decided(push));
        }
    }

    /// Has what comes from now on written elsewhere, so many frames at most at once, if nothing is on
    /// its way.
    pub(crate) async fn rest(&mut self, takes: usize) {
        let Some(session) = self.session.as_mut().filter(|_| self.out.is_empty()) else { return };
        self.elsewhere.takes(takes);
        self.mark = None;
        if let Poll::Ready(wake) = session.poll(&Context::from_waker(Waker::noop()), true) {
            let mut out = Vec::new();
            self.mark = Some(session.mark());
            session.take(wake, &mut out).await;
            out.into_iter().for_each(|push| self.decided(push));
        }
    }

    /// How many frames each write elsewhere took since it was asked last.
    pub(crate) fn writes(&self) -> Vec<usize> {
        self.elsewhere.writes()
    }

    /// Reads what was written elsewhere, each frame as things were when it was.
    pub(crate) async fn read(&mut self, shop: &Shop) {
        for (frame, owners) in self.elsewhere.written() {
            self.take_frame(&frame, shop, &owners).await;
        }
    }

    /// Does not rest any more: what was not written whole is looked at once more, and written.
    pub(crate) async fn rise(&mut self, shop: &Shop, owners: &Owners) {
        self.read(shop).await;
        let Some(session) = &mut self.session else { return };
        session.rise();
        if !session.has_looked() && !session.look_again().await.is_ok_and(|may| may) {
            return self.disconnect();
        }
        session.written();
        for frame in self.elsewhere.unwritten() {
            self.take_frame(&frame, shop, owners).await;
        }
    }

    /// Takes in all that waits, and reads it.
    pub(crate) async fn drain(&mut self, shop: &Shop, owners: &Owners) {
        loop {
            self.hear(shop, owners, 10).await;
            if self.out.is_empty() {
                return;
            }
            self.write(shop, owners).await;
        }
    }

    fn decided(&mut self, push: Push<Frame>) {
        if let Push::Frame(_, shows) = &push {
            self.shows.push(*shows);
        }
        self.out.push(Out::Push(push));
    }

    /// What is on its way arrives, unless it may not be seen any more.
    pub(crate) async fn write(&mut self, shop: &Shop, owners: &Owners) {
        let (out, shows) = (std::mem::take(&mut self.out), std::mem::take(&mut self.shows));
        let mark = self.mark.take();
        let Some(session) = &mut self.session else { return };
        if !shows.is_empty()
            && mark != Some(session.mark())
            && !session.may_show(&shows).await.is_ok_and(|may| may)
        {
            return self.disconnect();
        }
        for one in out {
            match one {
                Out::Started { name, position, snapshot } => {
                    let fold = self.folds.entry(name).or_default();
                    fold.position = Some(position);
                    let Some(snapshot) = snapshot else { continue };
                    fold.begin(&snapshot);
                    let viewer = shop.viewer(self.agent).await;
                    for head in snapshot_of(&snapshot) {
                        owners.check(viewer, head);
                    }
                }
                Out::Push(push) => self.take(push, shop, owners).await,
            }
        }
    }

    async fn take(&mut self, push: Push<Frame>, shop: &Shop, owners: &Owners) {
        match push {
            Push::Frame(frame, _) => self.take_frame(&frame, shop, owners).await,
            Push::Skip { stream, offset } => {
                self.folds.get_mut(&stream.to_string()).unwrap().step(0, offset);
            }
            Push::Forbidden(stream) | Push::Reset(stream) => {
                self.resets.extend(matches!(push, Push::Reset(_)).then_some(stream));
                self.following.remove(&stream.to_string());
                self.folds.insert(stream.to_string(), Fold::default());
            }
            Push::Closed(cut) => {
                self.cuts.push(cut);
                self.disconnect();
            }
        }
    }

    async fn take_frame(&mut self, frame: &Frame, shop: &Shop, owners: &Owners) {
        let told = value(self.encoding, frame.payload()).expect("a frame can be read");
        let other = frame_in(self.encoding.other(), frame);
        assert_eq!(value(self.encoding.other(), other.payload()).as_ref(), Some(&told));
        let many = if let Value::Array(many) = told { many } else { vec![told] };
        for one in many {
            self.told(&one, shop, owners).await;
        }
    }

    async fn told(&mut self, told: &Value, shop: &Shop, owners: &Owners) {
        let (s, d) = (told["s"].as_str().unwrap(), &told["d"]);
        let k = told["k"].as_str().unwrap_or_default();
        let shown = match s.strip_prefix("c:") {
            Some(id) => Some(id),
            None if k == "conversation.remove" || k.starts_with("agent.") => None,
            None => d["id"].as_str().filter(|_| !s.starts_with("t:")),
        };
        if let Some(id) = shown {
            owners.check(shop.viewer(self.agent).await, id.parse().unwrap());
        }
        match told["t"].as_str().unwrap() {
            "ev" => {
                let fold = self.folds.get_mut(s).unwrap();
                let off = told["off"].as_u64().unwrap();
                fold.step(off, off);
                fold.take(k, d);
            }
            "skip" => {
                self.folds.get_mut(s).unwrap().step(0, told["off"].as_u64().unwrap());
            }
            "eph" | "pres" => {
                assert_ne!(d["id"], json!(self.agent), "nobody is told of themselves");
                self.passed.push(told.clone());
            }
            other => panic!("{other}"),
        }
    }

    /// Every stream that is followed is at its top.
    pub(crate) async fn is_at_the_top(&self, shop: &Shop) {
        for name in &self.following {
            let fold = &self.folds[name];
            let offset = fold.position.as_ref().map(|position| position.offset);
            match Stream::named(name, self.agent).unwrap() {
                Stream::Conversation(id) => {
                    assert_eq!(offset, Some(shop.head(id).await.seq), "{} of {}", name, self.agent);
                }
                Stream::List(list) => self.has_list(shop, list, fold).await,
                Stream::Agent(_) | Stream::Agents => {}
            }
        }
    }

    async fn has_list(&self, shop: &Shop, list: List, fold: &Fold) {
        let inbox = shop.inboxes.hold(TENANT).await.unwrap();
        let mut wanted = BTreeMap::new();
        for id in inbox.first(list, 100).0 {
            wanted.insert(id.to_string(), row(&shown(&shop.head(id).await)));
        }
        let found: BTreeMap<_, _> =
            fold.heads.iter().map(|(id, head)| (id.clone(), row(head))).collect();
        assert_eq!(found, wanted, "{list:?} of {}", self.agent);
    }

    /// What it made of each conversation is how that stands, if it may see it.
    pub(crate) async fn has_all(&self, shop: &Shop) {
        let viewer = shop.viewer(self.agent).await.unwrap();
        for id in shop.known() {
            let head = shop.head(id).await;
            let name = format!("c:{id}");
            assert_eq!(self.following.contains(&name), viewer.may_see(head.assignee), "{name}");
            if !viewer.may_see(head.assignee) {
                continue;
            }
            let fold = &self.folds[&name];
            let rows = shop.stored.messages(&head, (u64::MAX, 0), 50).await.unwrap();
            for row in rows {
                let message = serde_json::to_value(&row.message).unwrap();
                assert_eq!(fold.messages.get(&row.message.id.to_string()), Some(&message));
            }
            let (found, stands) = (&fold.heads[&id.to_string()], shown(&head));
            for field in ["status", "assigned_agent_id", "tags"] {
                assert_eq!(found[field], stands[field], "{field} of {name} of {}", self.agent);
            }
        }
    }
}

fn snapshot_of(snapshot: &Snapshot) -> Vec<ConversationId> {
    match snapshot {
        Snapshot::Conversation(page) => vec![page.head.id],
        Snapshot::List { heads, .. } => heads.iter().map(|head| head.id).collect(),
        Snapshot::Agents(_) | Snapshot::Agent(_) => Vec::new(),
    }
}

fn frame_in(encoding: Encoding, frame: &Frame) -> Frame {
    actors::feed::Wire::recoded(frame, encoding)
}
