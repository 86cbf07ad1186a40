//! Those who watch live, on one thread: each follows its streams, comes back where it was whenever its
//! socket ends, and is checked to be told everything once and in order.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tokio::time::Instant;

use super::findings::{Findings, Kind};
use super::follow::{Follow, Wrong};
use super::frames::{Answer, At, Frame, alone, hello, sub};
use super::world::World;
use crate::customers::mixed;
use crate::result::CONNECT;
use crate::sockets::websocket::{Heard, WebSocket};

/// All subscribers.
pub(super) struct Crowd {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    pub(super) members: Vec<Member>,
    pub(super) seen: Seen,
}

/// Somebody who watches.
pub(super) struct Member {
    pub(super) tenant: usize,
    pub(super) follows: Vec<Follow>,
    socket: Option<WebSocket>,
    /// When its socket was opened, or is to be.
    since: Instant,
    follows_all: bool,
    /// Whether it was told everything at least once.
    was_there: bool,
    /// The number of its last command.
    commands: u64,
    /// It stops to read, once it follows.
    stops: bool,
}

/// What all of them together have seen.
pub(super) struct Seen {
    world: Arc<World>,
    /// Whether what comes is told of for the first time: then it took its time from when it was due.
    is_live: bool,
    pub(super) events: u64,
    pub(super) reconnects: u64,
    /// Conversations that could not be gone on with from where they were. (Lists are not kept over a
    /// restart.)
    pub(super) begun_anew: u64,
    /// Events that are not counted yet: when each was told, and perhaps a customer's new message by it.
    /// Those who send share what counts them, and wait for it.
    told: Vec<(Instant, Option<u64>)>,
    pub(super) findings: Findings,
    /// Why sockets ended that nobody here has ended, and how many.
    pub(super) ended: BTreeMap<String, u64>,
}

/// How often sockets end by themselves.
#[derive(Clone, Copy, Default)]
pub(super) struct Unrest {
    /// A second.
    pub(super) reconnects: f64,
    pub(super) storm_every: Duration,
}

/// What it is told meanwhile.
pub(super) enum Order {
    /// No socket ends by itself any more.
    Calm,
    /// Everybody listens until all conversations were told up to here, at most so long; then all is
    /// over.
    End { tops: HashMap<String, u64>, patience: Duration },
}

/// Bytes that are read at once, and the longest frame.
const BUFFER: usize = 1 << 20;
const EVENTS: usize = 1024;
/// It looks so often whether something else has happened.
const STEP: Duration = Duration::from_millis(20);
/// Whose socket ended comes back after this long.
const RETRY: Duration = Duration::from_millis(100);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

impl Crowd {
    /// Of members who each follow streams of a tenant. Of the first so many none goes on reading.
    pub(super) fn new(
        world: &Arc<World>,
        members: Vec<(usize, Vec<Follow>)>,
        stopped: usize,
        is_live: bool,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let members = members.into_iter().enumerate().map(|(at, (tenant, follows))| Member {
            tenant,
            follows,
            socket: None,
            since: now,
            follows_all: false,
            was_there: false,
            commands: 0,
            stops: at < stopped,
        });
        let seen = Seen {
            world: world.clone(),
            is_live,
            events: 0,
            reconnects: 0,
            begun_anew: 0,
            told: Vec::new(),
            findings: Findings::default(),
            ended: BTreeMap::new(),
        };
        let (poll, events) = (Poll::new()?, Events::with_capacity(EVENTS));
        let members = members.collect();
        Ok(Self { poll, events, buffer: vec![0; BUFFER], members, seen })
    }

    /// Opens all sockets at so many a second, and waits until everybody follows.
    pub(super) fn gather(&mut self, rate: f64, patience: Duration) -> io::Result<()> {
        let begin = Instant::now();
        for (at, member) in self.members.iter_mut().enumerate() {
            member.since = begin + Duration::from_secs_f64(at as f64 / rate);
        }
        let give_up = begin + Duration::from_secs_f64(self.members.len() as f64 / rate) + patience;
        while !self.members.iter().all(|member| member.was_there) {
            if Instant::now() >= give_up {
                let there = self.members.iter().filter(|member| member.was_there).count();
                let (all, why) = (self.members.len(), self.seen.ended.keys().next());
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                return Err(io::Error::other(format!("only {there} of {all} sockets follow{why}")));
            }
            self.listen()?;
        }
        Ok(())
    }

    /// Listens until it is told to end.
    pub(super) fn watch(&mut self, mut unrest: Unrest, orders: &Receiver<Order>) -> io::Result<()> {
        let (begin, mut ended, mut storms) = (Instant::now(), 0_u64, 0_u32);
        loop {
            self.listen()?;
            let elapsed = begin.elapsed().as_secs_f64();
            while (ended as f64) < elapsed * unrest.reconnects {
                ended += 1;
                let at = mixed(ended) % self.members.len().max(1) as u64;
                self.part(at as usize);
            }
            if !unrest.storm_every.is_zero() && begin.elapsed() >= unrest.storm_every * (storms + 1)
            {
                storms += 1;
                (0..self.members.len()).for_each(|at| self.part(at));
            }
            match orders.try_recv() {
                Ok(Order::Calm) => unrest = Unrest::default(),
                Ok(Order::End { tops, patience }) => return self.listen_up_to(&tops, patience),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Listens until all who read were told so much, or as long as patience lasts.
    pub(super) fn listen_up_to(
        &mut self,
        tops: &HashMap<String, u64>,
        patience: Duration,
    ) -> io::Result<()> {
        let give_up = Instant::now() + patience;
        let is_told =
            |follow: &Follow| tops.get(&follow.stream).is_none_or(|top| follow.last >= *top);
        let is_over = |member: &Member| member.stops || member.follows.iter().all(is_told);
        while Instant::now() < give_up && !self.members.iter().all(is_over) {
            self.listen()?;
        }
        Ok(())
    }

    /// A member's socket ends; it comes back at once.
    fn part(&mut self, at: usize) {
        let Some(member) = self.members.get_mut(at) else { return };
        if !member.stops && member.follows_all {
            // Dropped, it is closed and not polled any more.
            member.socket = None;
            (member.follows_all, member.since) = (false, Instant::now());
        }
    }

    /// Opens what is to be opened, and hears what comes for a short while.
    fn listen(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for (at, member) in self.members.iter_mut().enumerate() {
            if member.socket.is_none()
                && member.since <= now
                && let Err(error) = member.open(&self.seen.world, &self.poll, at)
            {
                member.end(&error, &mut self.seen);
            }
        }
        match self.poll.poll(&mut self.events, Some(STEP)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            let Some(mut socket) = member.socket.take() else { continue };
            let mut result = socket.hear(&mut self.buffer, |socket, heard| match heard {
                Heard::Close(why) => Err(io::Error::other(why)),
                Heard::Open => {
                    member.commands = 1;
                    let token = &self.seen.world.tenants[member.tenant].token;
                    socket.say(&hello(token, &member.follows))
                }
                Heard::Text(text) => member.text(socket, text, &mut self.seen),
            });
            if result.is_ok() && event.is_read_closed() {
                result = Err(ErrorKind::UnexpectedEof.into());
            }
            match result {
                Ok(()) if member.stops && member.follows_all => {
                    // What comes for it stays where it is.
                    self.poll.registry().deregister(socket.stream())?;
                    member.socket = Some(socket);
                }
                Ok(()) => member.socket = Some(socket),
                Err(error) => member.end(&error, &mut self.seen),
            }
        }
        self.seen.settle();
        Ok(())
    }
}

impl Member {
    /// Whether it was to be told everything.
    pub(super) fn reads(&self) -> bool {
        !self.stops
    }

    fn open(&mut self, world: &World, poll: &Poll, at: usize) -> io::Result<()> {
        self.since = Instant::now();
        let stream = std::net::TcpStream::connect_timeout(&world.target.address, CONNECT_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        let mut socket = WebSocket::open(stream, &world.target.host, "/api/ws")?;
        poll.registry().register(socket.stream(), Token(at), Interest::READABLE)?;
        self.socket = Some(socket);
        Ok(())
    }

    fn end(&mut self, why: &io::Error, seen: &mut Seen) {
        *seen.ended.entry(why.to_string()).or_default() += 1;
        self.socket = None;
        (self.follows_all, self.since) = (false, Instant::now() + RETRY);
    }

    fn text(&mut self, socket: &mut WebSocket, text: &[u8], seen: &mut Seen) -> io::Result<()> {
        for frame in Frame::all(text).map_err(io::Error::other)? {
            match frame {
                Frame::Answer(answer) => self.answer(socket, answer, seen)?,
                Frame::Ping => socket.say(r#"{"op":"pong"}"#)?,
                Frame::Event { stream, offset, message, is_received } => {
                    seen.events += 1;
                    let Some(follow) = self.follow(stream) else { continue };
                    let place = message.map(|(seq, _)| seq);
                    let named = message.and_then(|(_, raw)| seen.world.mark.number(raw));
                    // An event that changes a message has another place than the message.
                    let new = named.filter(|_| place == Some(offset));
                    let taken = follow.event(offset, new);
                    seen.told(new.filter(|_| is_received));
                    if let Err(wrong) = taken {
                        seen.wrong(wrong, stream, offset, named);
                    }
                }
                Frame::Skip { stream, offset } => {
                    if let Some(follow) = self.follow(stream) {
                        follow.skip(offset);
                    }
                }
                Frame::Reset(stream) => return Err(io::Error::other(format!("{stream} is reset"))),
                Frame::Other => {}
            }
        }
        Ok(())
    }

    fn follow(&mut self, stream: &str) -> Option<&mut Follow> {
        self.follows.iter_mut().find(|follow| follow.stream == stream)
    }

    /// An answer of a hello, or of a stream that was to begin anew.
    fn answer(
        &mut self,
        socket: &mut WebSocket,
        answer: Answer<'_>,
        seen: &mut Seen,
    ) -> io::Result<()> {
        for begun in answer.begun()? {
            let next = self.commands + 1;
            let Some(follow) = self.follow(begun.stream) else { continue };
            match begun.at {
                At::Here(epoch, offset) => {
                    if let Err(wrong) = follow.goes_on(epoch, offset) {
                        seen.findings.add(Kind::Lost, || format!("{} {wrong}", begun.stream));
                    }
                }
                At::Alone => {
                    let said = alone(next, follow);
                    self.commands = next;
                    socket.say(&said)?;
                }
                At::Anew if follow.begun => {
                    follow.begun = false;
                    seen.begins_anew(begun.stream);
                    self.commands += 1;
                    socket.say(&sub(self.commands, begun.stream))?;
                }
                At::Anew => {
                    return Err(io::Error::other(format!("{} is not there", begun.stream)));
                }
            }
        }
        if !self.follows_all && self.follows.iter().all(|follow| follow.begun) {
            self.follows_all = true;
            seen.reconnects += u64::from(self.was_there);
            self.was_there = true;
            seen.world.meter.took(self.since, CONNECT, self.since.elapsed());
        }
        Ok(())
    }
}

impl Seen {
    /// An event was told, and perhaps a customer's new message by it.
    fn told(&mut self, message: Option<u64>) {
        if self.is_live {
            self.told.push((Instant::now(), message));
        }
    }

    /// Counts what was told.
    fn settle(&mut self) {
        if self.told.is_empty() {
            return;
        }
        let ledger = self.world.ledger();
        let due = |message: Option<u64>| message.and_then(|n| ledger.due(n));
        let took: Vec<_> = self.told.drain(..).map(|(now, message)| (now, due(message))).collect();
        drop(ledger);
        self.world.meter.told(&took);
    }

    fn begins_anew(&mut self, stream: &str) {
        if !stream.starts_with("c:") {
            return;
        }
        self.begun_anew += 1;
        if self.world.is_own {
            // It is started with limits that allow it.
            let words =
                || format!("{stream} could not be gone on with from where a subscriber was");
            self.findings.add(Kind::Lost, words);
        }
    }

    fn wrong(&mut self, wrong: Wrong, stream: &str, offset: u64, message: Option<u64>) {
        let what = message.map_or("no message".to_owned(), |n| self.world.name(n));
        let (kind, how) = match wrong {
            Wrong::Doubled => (Kind::Doubled, "came again to a subscriber"),
            Wrong::OutOfOrder => (Kind::OutOfOrder, "came to a subscriber after a later one"),
        };
        self.findings.add(kind, || format!("event {offset} of {stream} ({what}) {how}"));
    }
}
