//! Somebody who follows live, as a program or a browser does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::caller::Caller;

/// An open socket. It checks the order of what it is told.
pub(crate) struct Live {
    socket: WebSocketStream<TcpStream>,
    /// In binary frames, instead of JSON in text frames.
    msgpack: bool,
    waiting: std::collections::VecDeque<Value>,
    next_id: u64,
    /// By stream, up to where it was told everything.
    pub(crate) at: std::collections::HashMap<String, (String, u64)>,
}

/// Longer than anything that is awaited takes.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const JSON: &str = "omnistream.v1.json";
pub(crate) const MSGPACK: &str = "omnistream.v1.msgpack";

impl Live {
    /// Connects with this protocol; says nothing yet.
    pub(crate) async fn dial(url: &str, protocol: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        let tcp = TcpSocket::new_v4().unwrap();
        // Little fits in between: who does not read is noticed soon.
        tcp.set_recv_buffer_size(4096).unwrap();
        let stream = tcp.connect(address.parse().unwrap()).await.unwrap();
        let mut request = format!("ws://{address}/api/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let (waiting, at) = Default::default();
        Self { socket, msgpack: protocol == MSGPACK, waiting, next_id: 1, at }
    }

    /// Connects and says hello, one after the other in another encoding; answers what was answered.
    pub(crate) async fn hello(caller: &Caller, subs: Value) -> (Self, Value) {
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let protocol = [JSON, MSGPACK][TURN.fetch_add(1, Ordering::Relaxed) % 2];
        Self::hello_in(protocol, caller, subs).await
    }

    /// The same in this encoding.
    pub(crate) async fn hello_in(protocol: &str, caller: &Caller, subs: Value) -> (Self, Value) {
        let mut live = Self::dial(&caller.url(), protocol).await;
        let hello = json!({"op": "hello", "token": caller.token, "subs": subs});
        let ok = live.ask(hello).await.unwrap();
        for sub in ok["subs"].as_array().unwrap() {
            live.started(sub);
        }
        (live, ok)
    }

    /// Connects and follows these streams with snapshots.
    pub(crate) async fn following(caller: &Caller, streams: &[&str]) -> Self {
        let subs: Vec<_> = streams.iter().map(|s| json!({"s": s, "snap": true})).collect();
        Self::hello(caller, json!(subs)).await.0
    }

    /// Follows a stream.
    pub(crate) async fn follow(&mut self, sub: Value) -> Result<Value, u64> {
        let mut sub = sub;
        sub["op"] = json!("sub");
        let ok = self.ask(sub).await?;
        self.started(&ok);
        Ok(ok)
    }

    fn started(&mut self, sub: &Value) {
        if let (Some(epoch), Some(off)) = (sub["epoch"].as_str(), sub["off"].as_u64()) {
            let stream = sub["s"].as_str().unwrap().to_owned();
            self.at.insert(stream, (epoch.to_owned(), off));
        }
    }

    /// Sends a command with the next number, and waits for its answer: `Err`, the error's code.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Result<Value, u64> {
        command["id"] = json!(self.next_id);
        self.next_id += 1;
        self.say(&command.to_string()).await;
        self.answer(command["id"].as_u64()).await
    }

    /// The answer to a command.
    pub(crate) async fn answer(&mut self, id: Option<u64>) -> Result<Value, u64> {
        let mut passed = std::collections::VecDeque::new();
        loop {
            let mut found = self.read().await.expect("an answer comes before the end");
            if found.get("t").is_none() && found["id"].as_u64() == id {
                passed.append(&mut self.waiting);
                self.waiting = passed;
                return match found.get("err") {
                    Some(error) => Err(error["code"].as_u64().unwrap()),
                    None => Ok(found["ok"].take()),
                };
            }
            passed.push_back(found);
        }
    }

    /// Says what this JSON says, or what it is if it is none.
    pub(crate) async fn say(&mut self, text: &str) {
        let said = match (self.msgpack, serde_json::from_str::<Value>(text)) {
            (false, _) => Message::text(text),
            (true, Ok(value)) => Message::binary(rmp_serde::to_vec_named(&value).unwrap()),
            (true, Err(_)) => Message::binary(text.as_bytes().to_vec()),
        };
        self.socket.send(said).await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next that is told; offsets follow one another in each stream.
    pub(crate) async fn next(&mut self) -> Value {
        let told = self.read().await.expect("the socket is open");
        self.count(&told);
        told
    }

    /// What was told already, beside what was waited for.
    pub(crate) async fn waiting(&mut self) -> Option<Value> {
        let told = self.waiting.pop_front()?;
        self.count(&told);
        Some(told)
    }

    /// The next event of this name in a stream.
    pub(crate) async fn event(&mut self, stream: &str, name: &str) -> Value {
        loop {
            let mut told = self.next().await;
            if told["s"] == stream && told["k"] == name {
                return told["d"].take();
            }
        }
    }

    /// What is told until this stream ends or begins anew, and how it does.
    pub(crate) async fn until(&mut self, kind: &str, stream: &str) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let told = self.next().await;
            if told["t"] == kind && told["s"] == stream {
                return (before, told);
            }
            before.push(told);
        }
    }

    /// Reads to the end: everything that was told, and the code of the close.
    pub(crate) async fn end(mut self) -> (Vec<Value>, u16) {
        let mut told = Vec::new();
        loop {
            match self.read().await {
                Ok(value) => told.push(value),
                Err(code) => return (told, code),
            }
        }
    }

    /// Leaves without a word.
    pub(crate) fn vanish(self) -> std::collections::HashMap<String, (String, u64)> {
        self.at
    }

    fn count(&mut self, told: &Value) {
        let Some(at) = told["s"].as_str().and_then(|stream| self.at.get_mut(stream)) else {
            return;
        };
        let off = told["off"].as_u64();
        match (told["t"].as_str().unwrap(), off) {
            ("ev", Some(off)) => assert_eq!(off, at.1 + 1, "{told}"),
            ("skip", Some(off)) => assert!(off > at.1, "{told}"),
            _ => return,
        }
        at.1 = off.unwrap();
    }

    async fn read(&mut self) -> Result<Value, u16> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Ok(told);
            }
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let said = match message.expect("something is told in time") {
                Some(Ok(Message::Text(text))) if !self.msgpack => {
                    serde_json::from_str(&text).unwrap()
                }
                Some(Ok(Message::Binary(bytes))) if self.msgpack => {
                    rmp_serde::from_slice(&bytes).unwrap()
                }
                Some(Ok(wrong @ (Message::Text(_) | Message::Binary(_)))) => panic!("{wrong:?}"),
                Some(Ok(Message::Close(close))) => {
                    return Err(close.map_or(0, |close| close.code.into()));
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Err(0),
            };
            match said {
                Value::Array(many) => self.waiting.extend(many),
                one => self.waiting.push_back(one),
            }
        }
    }
}
