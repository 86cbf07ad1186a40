//! A websocket to the live feed: frames in, frames out.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::rest::Caller;

const PROTOCOL: HeaderValue = HeaderValue::from_static("omnistream.v1.json");
/// Connecting takes at most so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open connection.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    asked: u32,
}

impl Socket {
    /// Connects and says hello; the answer comes along.
    pub(super) async fn open(caller: &Caller) -> Result<(Self, Value), String> {
        let failed = |reason: String| format!("the live feed cannot be opened: {reason}");
        tokio::time::timeout(PATIENCE, Self::greet(caller))
            .await
            .unwrap_or_else(|_| Err("no answer".to_owned()))
            .map_err(failed)
    }

    async fn greet(caller: &Caller) -> Result<(Self, Value), String> {
        let url = caller.url().replacen("http", "ws", 1);
        let request = format!("{url}/api/ws").into_client_request();
        let mut request = request.map_err(|error| error.to_string())?;
        request.headers_mut().insert("sec-websocket-protocol", PROTOCOL);
        let (stream, _) = connect_async(request).await.map_err(|error| error.to_string())?;
        let mut socket = Self { stream, asked: 0 };
        let client = json!({"name": "demo", "ver": env!("CARGO_PKG_VERSION")});
        let subs = json!([{"s": "i:all", "snap": true}]);
        let hello = json!({"op": "hello", "token": caller.token(), "client": client, "subs": subs});
        socket.ask(hello).await;
        let said =
            socket.next().await.and_then(|mut said| (!said.is_empty()).then(|| said.remove(0)));
        let mut said = said.ok_or("it was closed")?;
        match said["ok"].take() {
            Value::Null => Err(said["err"]["msg"].as_str().unwrap_or("refused").to_owned()),
            hello => Ok((socket, hello)),
        }
    }

    /// Sends what is answered.
    pub(super) async fn ask(&mut self, mut what: Value) {
        self.asked += 1;
        what["id"] = json!(self.asked);
        self.say(&what).await;
    }

    /// Sends; where that fails, reading ends too.
    pub(super) async fn say(&mut self, what: &Value) {
        if let Err(error) = self.stream.send(Frame::text(what.to_string())).await {
            tracing::debug!(%error, "the live feed takes nothing");
        }
    }

    /// What comes next; none when the connection is over.
    pub(super) async fn next(&mut self) -> Option<Vec<Value>> {
        loop {
            let text = match self.stream.next().await? {
                Ok(Frame::Text(text)) => text,
                Ok(Frame::Close(_)) | Err(_) => return None,
                Ok(_) => continue,
            };
            match serde_json::from_str(&text) {
                Ok(Value::Array(many)) => return Some(many),
                Ok(one) => return Some(vec![one]),
                Err(error) => tracing::debug!(%error, "the live feed said something unknown"),
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        // The server may have gone first.
        let _ = self.stream.close(None).await;
    }
}
