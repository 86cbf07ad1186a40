//! A socket after its hello: passes on what happens, does what is asked, looks at the time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actors::feed::{Cut, Push, Session, Started, Stream, Wake, Wire as _};
use axum::body::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, timeout};

use super::pipe::Pipe;
use super::protocol::{self, BATCH, Command, End, Refusal, Sub};
use super::pulse::{Beat, Pulse, is_due};
use super::push::{self as pushes, Name};
use super::wire::{self, Frame};
use crate::app::App;
use crate::rate::Bucket;
use crate::routes::agents;

/// So long before its end a token is said to end.
const EXPIRING: Duration = Duration::from_secs(60);
/// Whoever is refused for its speed so often within a minute is cut.
const TOO_FAST_MAX: u32 = 5;
/// What a hello brings is at most as much as may wait for so many sockets, and one stream more.
const HELLO_QUEUES: usize = 8;
/// A long batch leaves room for so many pushes.
const ROOM_KEPT: usize = 4;

/// A socket and its session.
pub(super) struct Connection<'a> {
    app: App,
    pipe: &'a mut Pipe,
    session: Session<Frame>,
    /// Seconds since 1970.
    expires_at: i64,
    expiry_told: bool,
    last_number: u32,
    commands: Bucket,
    too_fast: (u32, Instant),
    pulse: Pulse,
    timer: Pin<Box<Sleep>>,
    out: Vec<Push<Frame>>,
}

/// What a socket waits for.
enum Next {
    Heard(Result<Option<Bytes>, End>),
    /// It is time to look at the time.
    Time,
    Wake(Wake<Frame>),
    /// While it rested not everything could be written.
    Unwritten,
}

/// What came of one write.
enum Wrote {
    Some,
    /// Somebody may see less than when it was looked at.
    Look,
    Cut(Cut),
    Failed,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        app: App,
        pipe: &'a mut Pipe,
        session: Session<Frame>,
        expires_at: i64,
    ) -> Self {
        let limits = &app.config.limits;
        let commands = Bucket::new(limits.socket_commands_per_second, limits.socket_commands_burst);
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now));
        Self {
            app,
            pipe,
            session,
            expires_at,
            expiry_told: false,
            last_number: 0,
            commands,
            too_fast: (0, now),
            pulse: Pulse::heard(),
            timer,
            out: Vec::new(),
        }
    }

    /// Greets back, then passes on what happens and does what is asked, until something ends it.
    pub(super) async fn serve(mut self, (number, subs): (Option<u32>, Vec<Sub>)) -> End {
        // What is rare is apart: a socket that waits has no room for it.
        match Box::pin(self.welcome(number, subs)).await {
            Ok(()) => self.converse().await,
            Err(end) => end,
        }
    }

    async fn converse(&mut self) -> End {
        loop {
            let next = poll_fn(|context| self.poll_next(context)).await;
            let went = match next {
                Next::Heard(Ok(None)) => self.is_there_without_a_word(),
                Next::Heard(Ok(Some(said))) => Box::pin(self.hear(said)).await,
                Next::Heard(Err(end)) => Err(end),
                Next::Time => Box::pin(self.look_at_the_time()).await,
                Next::Wake(wake) => self.pass_on(wake).await,
                Next::Unwritten => self.flush().await,
            };
            if let Err(end) = went {
                return end;
            }
        }
    }

    /// What comes next; when there is nothing the session rests.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        self.session.rise();
        if !self.pipe.is_empty() {
            return Poll::Ready(Next::Unwritten);
        }
        // What was said while much was written counts before the time that this took. Nobody holds
        // up the rest by talking: who says too much is cut.
        if let Poll::Ready(heard) = self.pipe.poll_hear(context) {
            return Poll::Ready(Next::Heard(heard));
        }
        if is_due(self.timer.as_mut(), context) {
            return Poll::Ready(Next::Time);
        }
        let may_rest = self.pipe.is_at_rest(context);
        self.session.poll(context, may_rest).map(Next::Wake)
    }

    async fn welcome(&mut self, number: Option<u32>, mut subs: Vec<Sub>) -> Result<(), End> {
        self.last_number = number.unwrap_or(0);
        let is_own_added = subs.iter().all(|sub| sub.s != Sub::OWN);
        if is_own_added {
            // One's own stream is followed without being asked for, and before there are too many.
            subs.insert(0, Sub::own());
        }
        self.session.begin();
        let (mut answers, mut missed) = (Vec::with_capacity(subs.len()), Vec::new());
        let limits = &self.app.config.limits;
        let (mut bytes, most) = (0, HELLO_QUEUES * limits.socket_queue_bytes);
        // What cannot be followed is looked for, too, and costs no command.
        let count = limits.subscriptions_per_socket;
        for (n, sub) in subs.into_iter().enumerate() {
            self.is_cut().await?;
            // All of it is one answer.
            let followed = match bytes < most && n < count {
                true => self.follow(&sub).await,
                false => Err(Refusal::too_much()),
            };
            answers.push(match followed {
                Ok((ok, pushes)) => {
                    bytes += protocol::weight(&ok) + pushes.iter().map(size).sum::<usize>();
                    missed.extend(pushes);
                    ok
                }
                Err(refusal) => json!({"s": sub.s, "err": refusal.json()}),
            });
        }
        if is_own_added {
            // What was asked for is answered in its order.
            answers.rotate_left(1);
        }
        let (limits, caller) = (&self.app.config.limits, self.session.caller());
        let ok = json!({
            "session": caller.session,
            "user": caller.agent,
            "tenant": caller.tenant,
            "now": self.app.tenants.now().millis(),
            "exp_in": self.expires_in_ms(),
            "ping_ms": limits.socket_ping_every.as_millis(),
            "pong_ms": limits.socket_pong_timeout.as_millis(),
            "limits": {
                "subs": limits.subscriptions_per_socket,
                "cmds_per_s": limits.socket_commands_per_second,
                "frame": limits.socket_frame_bytes,
            },
            "subs": answers,
        });
        self.reply(number, Ok(ok));
        self.push_all(missed)?;
        self.flush().await?;
        self.look_at_the_time().await
    }

    /// Whether the session is ended from this side.
    async fn is_cut(&self) -> Result<(), End> {
        match poll_fn(|context| Poll::Ready(self.session.poll_cut(context))).await {
            Poll::Ready(cut) => Err(cut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Sends what a wake brings, and what waits behind it, as one write.
    async fn pass_on(&mut self, mut wake: Wake<Frame>) -> Result<(), End> {
        self.session.begin();
        let mut out = std::mem::take(&mut self.out);
        for more in (0..BATCH).rev() {
            self.session.take(wake, &mut out).await;
            self.push_all(out.drain(..))?;
            if more == 0 {
                break;
            }
            match self.session.waiting() {
                Some(next) => wake = next,
                None => break,
            }
        }
        out.shrink_to(ROOM_KEPT);
        self.out = out;
        self.flush().await
    }

    fn push_all(&mut self, pushes: impl IntoIterator<Item = Push<Frame>>) -> Result<(), End> {
        for push in pushes {
            match push {
                Push::Frame(frame, shows) => {
                    self.session.show([shows]);
                    self.pipe.push(frame);
                }
                Push::Skip { stream, offset } => {
                    self.say(&pushes::Push::Skip { s: Name(stream), off: offset });
                }
                Push::Forbidden(stream) => {
                    let (code, reason) = (2403, "you may not see this any more");
                    self.say(&pushes::Push::Unsub { s: Name(stream), code, reason });
                }
                Push::Reset(stream) => {
                    self.say(&pushes::Push::Reset { s: Name(stream), reason: "lag" });
                }
                Push::Closed(cut) => return Err(cut.into()),
            }
        }
        Ok(())
    }

    async fn hear(&mut self, said: Bytes) -> Result<(), End> {
        self.is_there();
        self.session.begin();
        match wire::value(self.pipe.encoding, &said) {
            Some(Value::Array(commands)) if commands.len() <= BATCH => {
                for command in commands {
                    self.obey(command).await?;
                    // What is answered may be much: it leaves before there is more.
                    if self.pipe.bytes() > self.app.config.limits.socket_queue_bytes {
                        self.flush().await?;
                        self.session.begin();
                    }
                }
            }
            Some(command @ Value::Object(_)) => self.obey(command).await?,
            _ => return Err(End::Malformed),
        }
        self.flush().await?;
        self.look_at_the_time().await
    }

    async fn obey(&mut self, value: Value) -> Result<(), End> {
        let (number, command) = protocol::parse(value);
        let mut missed = Vec::new();
        let answer = if self.commands.take() {
            match command {
                Ok(command) if self.heed(&command).await => return Ok(()),
                Ok(_) if number.is_none_or(|number| number <= self.last_number) => {
                    Err(Refusal::bad_request("a command has an `id` above all before it"))
                }
                Ok(command) => {
                    self.last_number = number.unwrap_or_default();
                    self.answer(command, &mut missed).await?
                }
                Err(refusal) => Err(refusal),
            }
        } else {
            self.count_too_fast()?;
            Err(Refusal::too_fast())
        };
        self.reply(number, answer);
        self.push_all(missed)
    }

    /// Does what has no answer. Answers whether it is such a thing.
    async fn heed(&mut self, command: &Command) -> bool {
        match command {
            Command::Pong => {}
            Command::Typing { s, on } => {
                if let Some(stream) = self.stream(s) {
                    self.session.typing(stream, *on).await;
                }
            }
            Command::Away { state } => {
                if self.session.still_counts().await {
                    let caller = self.session.caller().clone();
                    agents::is_available(&self.app, &caller, (*state).into()).await;
                }
            }
            _ => return false,
        }
        true
    }

    /// Does what has an answer.
    async fn answer(
        &mut self,
        command: Command,
        missed: &mut Vec<Push<Frame>>,
    ) -> Result<Result<Value, Refusal>, End> {
        Ok(match command {
            Command::Sub(sub) => self.follow(&sub).await.map(|(ok, pushes)| {
                missed.extend(pushes);
                ok
            }),
            Command::Unsub { s } => {
                let left = self.stream(&s).is_some_and(|stream| self.session.leave(stream));
                if left { Ok(json!({"s": s})) } else { Err(Refusal::unknown_stream()) }
            }
            Command::Auth { token } => {
                let checked = super::check(&self.app, &token).await.map_err(|(_, end)| end)?;
                if !self.session.renew(checked.caller) {
                    return Err(End::Unauthorized);
                }
                (self.expires_at, self.expiry_told) = (checked.expires_at, false);
                Ok(json!({"exp_in": self.expires_in_ms()}))
            }
            Command::Seen { s, seq } => self.seen(&s, seq).await,
            Command::Presence { s } => self.present(&s).await,
            Command::Hello { .. } => Err(Refusal::bad_request("hello was said already")),
            Command::Pong | Command::Typing { .. } | Command::Away { .. } => Ok(Value::Null),
        })
    }

    async fn seen(&mut self, s: &str, seq: u64) -> Result<Value, Refusal> {
        let Some(Stream::Conversation(id)) = self.stream(s) else {
            return Err(Refusal::unknown_stream());
        };
        let head = self.session.seen(id, seq).await?;
        // Nobody has read what is not there yet.
        Ok(json!({"s": s, "seq": seq.min(head.seq), "unread_count": head.unread}))
    }

    async fn present(&mut self, s: &str) -> Result<Value, Refusal> {
        let stream = self.stream(s).ok_or_else(Refusal::unknown_stream)?;
        let present = self.session.present(stream).await?;
        let shows = self.session.shows(stream);
        self.session.show([shows]);
        Ok(protocol::present(s, present))
    }

    /// Follows a stream: the answer, and what was missed.
    async fn follow(&mut self, sub: &Sub) -> Result<(Value, Vec<Push<Frame>>), Refusal> {
        let stream = self.stream(&sub.s).ok_or_else(Refusal::unknown_stream)?;
        let since = sub.since();
        let started = self.session.follow(stream, since.as_ref(), sub.snap).await?;
        #[cfg(debug_assertions)]
        let started = crate::fault::started(started);
        let Started { epoch, offset, missed, count, snapshot, shows } = started;
        let recovered = missed.is_some();
        if since.is_some() && !recovered && snapshot.is_none() {
            self.session.leave(stream);
            return Err(Refusal::unrecoverable());
        }
        let mut ok = json!({"s": sub.s, "epoch": *epoch, "off": offset, "recovered": recovered});
        if recovered {
            ok["n"] = count.into();
        }
        if let Some(snapshot) = snapshot {
            self.session.show(shows);
            ok["snap"] = protocol::snapshot(snapshot, self.session.caller().agent);
        }
        Ok((ok, missed.unwrap_or_default()))
    }

    fn stream(&self, name: &str) -> Option<Stream> {
        Stream::named(name, self.session.caller().agent)
    }

    fn is_there(&mut self) {
        self.pulse = Pulse::heard();
    }

    /// A ping counts as a command, too.
    fn is_there_without_a_word(&mut self) -> Result<(), End> {
        self.is_there();
        if self.commands.take() { Ok(()) } else { self.count_too_fast() }
    }

    /// Pings who was silent, warns of a token's end, and ends what is over. Sets the next look.
    async fn look_at_the_time(&mut self) -> Result<(), End> {
        let limits = &self.app.config.limits;
        let (ping_every, pong_within) = (limits.socket_ping_every, limits.socket_pong_timeout);
        let grace = limits.socket_token_grace;
        let left = self.expires_in_ms();
        let after_end = Duration::from_millis(left.unsigned_abs());
        if left <= 0 && after_end >= grace {
            return Err(End::TokenExpired);
        }
        let beat = self.pulse.look(ping_every, pong_within);
        match beat {
            Beat::Wait => {}
            Beat::Ask => self.say(&pushes::Push::Ping { now: self.app.tenants.now().millis() }),
            Beat::End => return Err(End::Silent),
        }
        let expiring = i64::try_from(EXPIRING.as_millis()).unwrap_or(i64::MAX);
        if !self.expiry_told && left <= expiring {
            self.expiry_told = true;
            self.say(&pushes::Push::Expiring { in_ms: left.max(0) });
        }
        self.flush().await?;
        if beat == Beat::Ask {
            self.pulse = Pulse::asked();
        }
        let token = match u64::try_from(left) {
            Ok(left) if !self.expiry_told => Duration::from_millis(left).saturating_sub(EXPIRING),
            Ok(left) => Duration::from_millis(left) + grace,
            Err(_) => grace.saturating_sub(after_end),
        };
        let now = Instant::now();
        // A millisecond more: what is looked at then is certainly due.
        let next =
            self.pulse.due(ping_every, pong_within).min(now + token) + Duration::from_millis(1);
        self.timer.as_mut().reset(next);
        Ok(())
    }

    fn expires_in_ms(&self) -> i64 {
        self.expires_at.saturating_mul(1000) - self.app.tenants.now().millis()
    }

    fn count_too_fast(&mut self) -> Result<(), End> {
        let (count, since) = self.too_fast;
        let begun = since.elapsed() < Duration::from_secs(60);
        self.too_fast = if begun { (count + 1, since) } else { (1, Instant::now()) };
        if self.too_fast.0 >= TOO_FAST_MAX { Err(End::TooFast) } else { Ok(()) }
    }

    fn reply(&mut self, number: Option<u32>, answer: Result<Value, Refusal>) {
        self.say(&match answer {
            Ok(ok) => json!({"id": number, "ok": ok}),
            Err(refusal) => json!({"id": number, "err": refusal.json()}),
        });
    }

    fn say(&mut self, value: &impl Serialize) {
        self.pipe.push(Frame::of(self.pipe.encoding, value));
    }

    /// Writes what was said. Before each write it is looked at whether all of it may still be seen.
    async fn flush(&mut self) -> Result<(), End> {
        let most = self.app.config.limits.socket_write_timeout;
        while !self.pipe.is_empty() {
            match timeout(most, self.write()).await {
                Ok(Wrote::Some) => {}
                Ok(Wrote::Look) => match Box::pin(self.session.look_again()).await {
                    Ok(true) => {}
                    Ok(false) => return Err(End::Lost),
                    Err(cut) => return Err(cut.into()),
                },
                Ok(Wrote::Cut(cut)) => return Err(cut.into()),
                Ok(Wrote::Failed) => return Err(End::Gone),
                Err(_) => return Err(End::Slow),
            }
        }
        self.session.written();
        Ok(())
    }

    /// One write. A client that takes nothing does not hold up the end of its session.
    async fn write(&mut self) -> Wrote {
        poll_fn(|context| {
            if !self.session.has_looked() {
                return Poll::Ready(Wrote::Look);
            }
            match self.pipe.poll_write(context) {
                Poll::Ready(Ok(())) => Poll::Ready(Wrote::Some),
                Poll::Ready(Err(_)) => Poll::Ready(Wrote::Failed),
                Poll::Pending => self.session.poll_cut(context).map(Wrote::Cut),
            }
        })
        .await
    }
}

/// How large a push is that may be.
fn size(push: &Push<Frame>) -> usize {
    match push {
        Push::Frame(frame, _) => frame.bytes(),
        Push::Skip { .. } | Push::Forbidden(_) | Push::Reset(_) | Push::Closed(_) => 0,
    }
}
