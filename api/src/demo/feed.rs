//! The live feed, read from the websocket like any client reads it, and shown on the terminal.

use std::collections::HashMap;
use std::time::Duration;

use engine::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::board::Board;
use super::cast::{Person, list};
use super::figures::Figures;
use super::protocol::Wish;
use super::rest::Caller;
use super::screen::{Screen, tell};
use super::socket::Socket;

/// The first and the longest pause before connecting again.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// A feed that runs.
pub(super) struct Feed {
    end: oneshot::Sender<()>,
    task: JoinHandle<Board>,
}

impl Feed {
    /// Connects as somebody who sees everything; what happens from now on is shown.
    pub(super) async fn open(
        person: &'static Person,
        caller: Caller,
        figures: Figures,
    ) -> Result<Self, String> {
        let agents = caller.get("/api/agents?per_page=100").await;
        let agents = agents.map_err(|failure| failure.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = list(&agents).iter().map(|agent| (text(&agent["id"]), text(&agent["name"])));
        let (socket, hello) = Socket::open(&caller).await?;
        let now = Timestamp(hello["now"].as_i64().unwrap_or_default());
        let mut reader = Reader {
            person,
            caller,
            board: Board::new(now, names.collect::<HashMap<_, _>>(), figures),
            socket,
        };
        reader.greeted(&hello).await;
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = reader.read() => {}
                _ = ended => {}
            }
            reader.socket.close().await;
            reader.board
        });
        Ok(Self { end, task })
    }

    /// Ends it and says what it showed.
    pub(super) async fn finish(self) -> Result<Figures, String> {
        // It listens as long as it runs.
        let _ = self.end.send(());
        let board = self.task.await.map_err(|error| format!("the live feed broke: {error}"))?;
        Ok(board.figures)
    }
}

struct Reader {
    person: &'static Person,
    caller: Caller,
    board: Board,
    socket: Socket,
}

impl Reader {
    /// Reads for ever, over however many connections.
    async fn read(&mut self) {
        loop {
            while let Some(said) = self.socket.next().await {
                for one in said {
                    self.hear(one).await;
                }
            }
            tracing::warn!("the live feed was interrupted; connecting again");
            self.reconnect().await;
        }
    }

    async fn reconnect(&mut self) {
        let mut pause = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.open().await {
                Ok(hello) => {
                    self.board.reconnected();
                    return self.greeted(&hello).await;
                }
                Err(reason) => tracing::debug!(reason, "the live feed cannot be opened"),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn open(&mut self) -> Result<Value, String> {
        let caller = self.caller.login(self.person.email, self.person.password).await;
        self.caller = caller.map_err(|failure| failure.to_string())?;
        let (socket, hello) = Socket::open(&self.caller).await?;
        self.socket = socket;
        Ok(hello)
    }

    async fn greeted(&mut self, hello: &Value) {
        for answer in hello["subs"].as_array().into_iter().flatten() {
            self.board.subscribed(answer);
        }
        self.show_and_ask().await;
    }

    async fn hear(&mut self, said: Value) {
        match (said.get("id"), said.get("ok")) {
            (Some(_), Some(answer)) => self.board.subscribed(answer),
            (Some(_), None) => tracing::debug!(%said, "the live feed refused something"),
            (None, _) => self.board.pushed(said),
        }
        self.show_and_ask().await;
    }

    async fn show_and_ask(&mut self) {
        let (rows, wishes) = self.board.taken();
        let screen = Screen::now();
        // A terminal may be held, and holds nobody else.
        tokio::task::block_in_place(|| rows.iter().for_each(|row| tell(&screen.line(row))));
        for wish in wishes {
            match wish {
                Wish::Follow(stream) => {
                    self.socket.ask(json!({"op": "sub", "s": stream, "snap": true})).await;
                }
                Wish::Leave(stream) => self.socket.ask(json!({"op": "unsub", "s": stream})).await,
                Wish::Pong => self.socket.say(&json!({"op": "pong"})).await,
                Wish::Renew => match self.caller.get("/api/auth/token").await {
                    Ok(answer) => {
                        self.caller = self.caller.with_token(&answer);
                        let token = self.caller.token();
                        self.socket.ask(json!({"op": "auth", "token": token})).await;
                    }
                    Err(failure) => tracing::warn!(%failure, "the live feed gets no fresh token"),
                },
            }
        }
    }
}
