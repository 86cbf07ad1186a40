//! Many websockets that only listen, on one thread: each is checked to get every message once and in
//! order.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::websocket::{Heard, WebSocket};
use crate::tally::{histogram, micros};
use crate::target::Target;

/// Sockets that follow the same streams.
pub(super) struct Herd {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    members: Vec<Option<Member>>,
    pub(super) seen: Seen,
}

struct Member {
    socket: WebSocket,
    since: Instant,
    /// It follows its streams.
    follows: bool,
    /// The number of the message that comes next.
    next: u64,
}

/// What all sockets together have seen.
pub(super) struct Seen {
    /// The hello that a socket says; `None`: a bare server wants none.
    hello: Option<String>,
    /// Finds what the ids of the run begin with.
    run: Finder<'static>,
    /// When the message number 0 was due, and how far apart they are.
    due: (Instant, Duration),
    /// What is due within it counts.
    counts: Range<Instant>,
    /// How long each took from its connection to the answer of its hello.
    pub(super) opening: Histogram<u64>,
    pub(super) following: usize,
    /// Ended before the end: why, and how many.
    pub(super) ended: BTreeMap<String, u64>,
    pub(super) deliveries: u64,
    /// Payload of frames with messages in them.
    pub(super) bytes: u64,
    /// Messages that were passed over, and those that came again.
    pub(super) gaps: u64,
    pub(super) repeats: u64,
    /// From when each that counts was due to its receipt.
    pub(super) latency: Histogram<u64>,
}

/// Bytes that are read at once, and the longest frame.
const BUFFER: usize = 256 * 1024;
const EVENTS: usize = 1024;
/// It looks so often whether something else has happened.
const STEP: Duration = Duration::from_millis(20);
/// Digits of a message's number in its id.
const DIGITS: usize = 16;

impl Herd {
    /// Of sockets that say this hello, and hear of the messages of a run.
    pub(super) fn new(hello: Option<String>, run: &str) -> io::Result<Self> {
        let seen = Seen {
            hello,
            run: Finder::new(run).into_owned(),
            due: (Instant::now(), Duration::ZERO),
            counts: Instant::now()..Instant::now(),
            opening: histogram(),
            following: 0,
            ended: BTreeMap::new(),
            deliveries: 0,
            bytes: 0,
            gaps: 0,
            repeats: 0,
            latency: histogram(),
        };
        let (poll, events) = (Poll::new()?, Events::with_capacity(EVENTS));
        Ok(Self { poll, events, buffer: vec![0; BUFFER], members: Vec::new(), seen })
    }

    /// Opens so many at so many a second, and waits until all follow. Answers how long that took.
    pub(super) fn gather(
        &mut self,
        target: &Target,
        count: usize,
        rate: f64,
        patience: Duration,
    ) -> io::Result<Duration> {
        let begin = Instant::now();
        let due = |n: usize| begin + Duration::from_secs_f64(n as f64 / rate);
        while self.members.len() < count {
            while self.members.len() < count && due(self.members.len()) <= Instant::now() {
                self.add(target)?;
            }
            self.listen(due(self.members.len()))?;
            self.seen.is_whole()?;
        }
        let give_up = Instant::now() + patience;
        while self.seen.following < count {
            if Instant::now() >= give_up {
                let following = self.seen.following;
                let words = format!("only {following} of {count} sockets follow in time");
                return Err(io::Error::other(words));
            }
            self.listen(Instant::now() + STEP)?;
            self.seen.is_whole()?;
        }
        Ok(begin.elapsed())
    }

    /// Messages are due from now on at these distances; of those that are due within some time it is told
    /// how long they took, whenever they come.
    pub(super) fn expect(&mut self, begin: Instant, apart: Duration, counts: Range<Instant>) {
        (self.seen.due, self.seen.counts) = ((begin, apart), counts);
    }

    /// Listens until a time.
    pub(super) fn listen_until(&mut self, time: Instant) -> io::Result<()> {
        while Instant::now() < time {
            self.listen(time)?;
        }
        Ok(())
    }

    /// Listens until a thread is done with what it does.
    pub(super) fn listen_beside<T>(
        &mut self,
        mut thread: Receiver<io::Result<T>>,
    ) -> io::Result<T> {
        loop {
            match thread.try_recv() {
                Ok(done) => return done,
                Err(TryRecvError::Closed) => return Err(io::Error::other("a sender ended early")),
                Err(TryRecvError::Empty) => self.listen(Instant::now() + STEP)?,
            }
        }
    }

    /// Whether some that are still open wait for messages, of so many that were sent to all.
    pub(super) fn waits(&self, sent: u64) -> bool {
        self.members.iter().flatten().any(|member| member.next < sent)
    }

    /// How many messages have not come, of so many that were sent to all.
    pub(super) fn missing(&self, sent: u64) -> u64 {
        let next = self.members.iter().map(|member| member.as_ref().map_or(0, |one| one.next));
        next.map(|next| sent.saturating_sub(next)).sum::<u64>() + self.seen.gaps
    }

    fn add(&mut self, target: &Target) -> io::Result<()> {
        let since = Instant::now();
        let stream = std::net::TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        let mut socket = WebSocket::open(stream, &target.host, &target.path)?;
        let token = Token(self.members.len());
        self.poll.registry().register(socket.stream(), token, Interest::READABLE)?;
        self.members.push(Some(Member { socket, since, follows: false, next: 0 }));
        Ok(())
    }

    /// Hears what comes, or waits until a time.
    fn listen(&mut self, until: Instant) -> io::Result<()> {
        let wait = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let place = &mut self.members[event.token().0];
            let Some(Member { socket, since, follows, next }) = place else { continue };
            let seen = &mut self.seen;
            let heard = |socket: &mut WebSocket, heard: Heard<'_>| {
                match (heard, &seen.hello) {
                    (Heard::Close(why), _) => return Err(io::Error::other(why)),
                    (Heard::Text(text), _) if *follows => return seen.text(socket, text, next),
                    (Heard::Open, Some(hello)) => return socket.say(hello),
                    (Heard::Open, None) => {}
                    (Heard::Text(answer), _) => welcomed(answer)?,
                }
                *follows = true;
                seen.follows(*since);
                Ok(())
            };
            let mut result = socket.hear(&mut self.buffer, heard);
            if result.is_ok() && event.is_read_closed() {
                result = Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = result {
                self.seen.end(&error, *follows);
                // Dropped, it is not polled any more.
                *place = None;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn follows(&mut self, since: Instant) {
        self.following += 1;
        self.opening.saturating_record(micros(since.elapsed()));
    }

    fn end(&mut self, why: &io::Error, followed: bool) {
        self.following -= usize::from(followed);
        *self.ended.entry(why.to_string()).or_default() += 1;
    }

    /// Whether no socket has ended.
    fn is_whole(&self) -> io::Result<()> {
        match self.ended.keys().next() {
            Some(why) => Err(io::Error::other(format!("a socket ended: {why}"))),
            None => Ok(()),
        }
    }

    /// A frame of a socket that waits for message `next`.
    fn text(&mut self, socket: &mut WebSocket, text: &[u8], next: &mut u64) -> io::Result<()> {
        let Self { run, due: (begin, apart), counts, .. } = self;
        let (mut rest, mut found) = (text, 0);
        while let Some(at) = run.find(rest) {
            rest = &rest[at + run.needle().len()..];
            let Some(n) = rest.get(..DIGITS).and_then(number) else { continue };
            found += 1;
            if n < *next {
                self.repeats += 1;
                continue;
            }
            self.gaps += n - *next;
            *next = n + 1;
            let due = *begin + apart.mul_f64(n as f64);
            if counts.contains(&due) {
                self.latency.saturating_record(micros(Instant::now() - due));
            }
        }
        if found > 0 {
            (self.deliveries, self.bytes) =
                (self.deliveries + found, self.bytes + text.len() as u64);
        } else if memchr::memmem::find(text, br#""ping""#).is_some() {
            socket.say(r#"{"op":"pong"}"#)?;
        }
        Ok(())
    }
}

/// The answer of a hello, unless a stream of it is refused.
fn welcomed(answer: &[u8]) -> io::Result<()> {
    match memchr::memmem::find(answer, br#""err":"#) {
        Some(_) => {
            let answer = String::from_utf8_lossy(answer).into_owned();
            Err(io::Error::other(format!("the hello is refused: {answer}")))
        }
        None => Ok(()),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
