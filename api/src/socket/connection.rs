//! A socket after its hello: passes on what happens, does what is asked, looks at the time.

use std::pin::Pin;
use std::time::Duration;

use actors::feed::{Cut, Push, Session, Started, Stream, Wake};
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, timeout};

use super::protocol::{self, BATCH, Command, End, Refusal, Sub};
use super::wire::{self, Frame};
use crate::app::App;
use crate::rate::Bucket;

/// So long before its end a token is said to end.
const EXPIRING: Duration = Duration::from_secs(60);
/// Whoever is refused for its speed so often within a minute is cut.
const TOO_FAST_MAX: u32 = 5;

/// A socket and its session.
pub(super) struct Connection {
    app: App,
    socket: WebSocket,
    session: Session<Frame>,
    cuts: watch::Receiver<Option<Cut>>,
    /// Seconds since 1970.
    expires_at: i64,
    expiry_told: bool,
    last_number: u32,
    commands: Bucket,
    too_fast: (u32, Instant),
    heard: Instant,
    pinged: bool,
    timer: Pin<Box<Sleep>>,
    out: Vec<Push<Frame>>,
}

impl Connection {
    pub(super) fn new(
        app: App,
        socket: WebSocket,
        session: Session<Frame>,
        expires_at: i64,
    ) -> Self {
        let limits = &app.config.limits;
        let commands = Bucket::new(limits.socket_commands_per_second, limits.socket_commands_burst);
        let now = Instant::now();
        let cuts = session.cuts();
        let timer = Box::pin(tokio::time::sleep_until(now));
        Self {
            app,
            socket,
            session,
            cuts,
            expires_at,
            expiry_told: false,
            last_number: 0,
            commands,
            too_fast: (0, now),
            heard: now,
            pinged: false,
            timer,
            out: Vec::new(),
        }
    }

    /// The socket, once its session has ended.
    pub(super) fn into_socket(self) -> WebSocket {
        self.socket
    }

    /// Greets back, then passes on what happens and does what is asked, until something ends it.
    pub(super) async fn serve(&mut self, (number, subs): (Option<u32>, Vec<Sub>)) -> End {
        match self.converse(number, subs).await {
            Ok(never) => never,
            Err(end) => end,
        }
    }

    async fn converse(&mut self, number: Option<u32>, subs: Vec<Sub>) -> Result<End, End> {
        self.welcome(number, subs).await?;
        loop {
            tokio::select! {
                wake = self.session.wait() => self.pass_on(wake).await?,
                message = self.socket.next() => self.hear(message).await?,
                () = &mut self.timer => self.look_at_the_time().await?,
            }
        }
    }

    async fn welcome(&mut self, number: Option<u32>, mut subs: Vec<Sub>) -> Result<(), End> {
        self.last_number = number.unwrap_or(0);
        if subs.iter().all(|sub| sub.s != Sub::OWN) {
            // One's own stream is followed without being asked for.
            subs.push(Sub::own());
        }
        let (mut answers, mut missed) = (Vec::with_capacity(subs.len()), Vec::new());
        for sub in subs {
            answers.push(match self.follow(&sub).await {
                Ok((ok, pushes)) => {
                    missed.extend(pushes);
                    ok
                }
                Err(refusal) => json!({"s": sub.s, "err": refusal.json()}),
            });
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
        self.reply(number, Ok(ok)).await?;
        self.send_pushes(missed).await?;
        self.flush().await?;
        self.look_at_the_time().await
    }

    /// Sends what a wake brings, and what waits behind it, as one write.
    async fn pass_on(&mut self, mut wake: Wake<Frame>) -> Result<(), End> {
        let mut out = std::mem::take(&mut self.out);
        for more in (0..BATCH).rev() {
            self.session.take(wake, &mut out).await;
            self.send_pushes(out.drain(..)).await?;
            if more == 0 {
                break;
            }
            match self.session.waiting() {
                Some(next) => wake = next,
                None => break,
            }
        }
        self.out = out;
        self.flush().await
    }

    async fn send_pushes(
        &mut self,
        pushes: impl IntoIterator<Item = Push<Frame>>,
    ) -> Result<(), End> {
        for push in pushes {
            match push {
                Push::Frame(frame) => self.feed(frame.0.clone()).await?,
                Push::Skip { stream, offset } => {
                    self.feed(wire::skip(stream, offset).into()).await?;
                }
                Push::Forbidden(stream) => {
                    let s = stream.to_string();
                    let (code, reason) = (2403, "you may not see this any more");
                    self.say(&json!({"t": "unsub", "s": s, "code": code, "reason": reason}))
                        .await?;
                }
                Push::Reset(stream) => {
                    let s = stream.to_string();
                    self.say(&json!({"t": "reset", "s": s, "reason": "lag"})).await?;
                }
                Push::Closed(cut) => return Err(cut.into()),
            }
        }
        Ok(())
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return Err(End::WrongFrame),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                (self.heard, self.pinged) = (Instant::now(), false);
                return Ok(());
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        };
        (self.heard, self.pinged) = (Instant::now(), false);
        match serde_json::from_str(&text) {
            Ok(Value::Array(commands)) if commands.len() <= BATCH => {
                for command in commands {
                    self.obey(command).await?;
                }
            }
            Ok(command @ Value::Object(_)) => self.obey(command).await?,
            _ => return Err(End::Malformed),
        }
        self.flush().await
    }

    async fn obey(&mut self, value: Value) -> Result<(), End> {
        let (number, command) = protocol::parse(value);
        if !self.commands.take() {
            self.count_too_fast()?;
            return self.reply(number, Err(Refusal::too_fast())).await;
        }
        let command = match command {
            Ok(Command::Pong) => return Ok(()),
            Ok(command) => command,
            Err(refusal) => return self.reply(number, Err(refusal)).await,
        };
        match number {
            Some(number) if number > self.last_number => self.last_number = number,
            _ => {
                let refusal = Refusal::bad_request("a command has an `id` above all before it");
                return self.reply(number, Err(refusal)).await;
            }
        }
        match command {
            Command::Sub(sub) => match self.follow(&sub).await {
                Ok((ok, missed)) => {
                    self.reply(number, Ok(ok)).await?;
                    self.send_pushes(missed).await
                }
                Err(refusal) => self.reply(number, Err(refusal)).await,
            },
            Command::Unsub { s } => {
                let stream = Stream::named(&s, self.session.caller().agent);
                let left = stream.is_some_and(|stream| self.session.leave(stream));
                let answer =
                    if left { Ok(json!({"s": s})) } else { Err(Refusal::unknown_stream()) };
                self.reply(number, answer).await
            }
            Command::Auth { token } => {
                let checked = super::check(&self.app, &token).await.map_err(|(_, end)| end)?;
                if !self.session.renew(checked.caller) {
                    return Err(End::Unauthorized);
                }
                (self.expires_at, self.expiry_told) = (checked.expires_at, false);
                self.reply(number, Ok(json!({"exp_in": self.expires_in_ms()}))).await?;
                self.look_at_the_time().await
            }
            Command::Hello { .. } => {
                let refusal = Refusal::bad_request("hello was said already");
                self.reply(number, Err(refusal)).await
            }
            Command::Pong => Ok(()),
        }
    }

    /// Follows a stream: the answer, and what was missed.
    async fn follow(&mut self, sub: &Sub) -> Result<(Value, Vec<Push<Frame>>), Refusal> {
        let me = self.session.caller().agent;
        let stream = Stream::named(&sub.s, me).ok_or_else(Refusal::unknown_stream)?;
        let since = sub.since();
        let started = self.session.follow(stream, since.as_ref(), sub.snap).await?;
        let Started { epoch, offset, missed, count, snapshot } = started;
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
            ok["snap"] = protocol::snapshot(snapshot, me);
        }
        Ok((ok, missed.unwrap_or_default()))
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
        let silent = self.heard.elapsed();
        if self.pinged && silent >= ping_every + pong_within {
            return Err(End::Silent);
        }
        if !self.pinged && silent >= ping_every {
            self.pinged = true;
            self.say(&json!({"t": "ping", "now": self.app.tenants.now().millis()})).await?;
        }
        let expiring = i64::try_from(EXPIRING.as_millis()).unwrap_or(i64::MAX);
        if !self.expiry_told && left <= expiring {
            self.expiry_told = true;
            self.say(&json!({"t": "expiring", "in_ms": left.max(0)})).await?;
        }
        self.flush().await?;
        let quiet = if self.pinged { ping_every + pong_within } else { ping_every };
        let token = match u64::try_from(left) {
            Ok(left) if !self.expiry_told => Duration::from_millis(left).saturating_sub(EXPIRING),
            Ok(left) => Duration::from_millis(left) + grace,
            Err(_) => grace.saturating_sub(after_end),
        };
        let now = Instant::now();
        // A millisecond more: what is looked at then is certainly due.
        let next = (self.heard + quiet).min(now + token) + Duration::from_millis(1);
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

    async fn reply(
        &mut self,
        number: Option<u32>,
        answer: Result<Value, Refusal>,
    ) -> Result<(), End> {
        let reply = match answer {
            Ok(ok) => json!({"id": number, "ok": ok}),
            Err(refusal) => json!({"id": number, "err": refusal.json()}),
        };
        self.say(&reply).await
    }

    async fn say(&mut self, value: &Value) -> Result<(), End> {
        self.feed(value.to_string().into()).await
    }

    async fn feed(&mut self, text: Utf8Bytes) -> Result<(), End> {
        let Self { app, socket, cuts, .. } = self;
        write(app, cuts, socket.feed(Message::Text(text))).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let Self { app, socket, cuts, .. } = self;
        write(app, cuts, socket.flush()).await
    }
}

/// A write to a client that takes nothing ends in time, and at once when the session is cut.
async fn write(
    app: &App,
    cuts: &mut watch::Receiver<Option<Cut>>,
    writing: impl Future<Output = Result<(), axum::Error>>,
) -> Result<(), End> {
    tokio::select! {
        biased;
        written = timeout(app.config.limits.socket_write_timeout, writing) => match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        },
        Ok(cut) = cuts.wait_for(Option::is_some) => Err(cut.map_or(End::Slow, End::from)),
    }
}
