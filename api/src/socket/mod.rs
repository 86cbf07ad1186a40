//! The live feed over a websocket: protocol `omnistream.v1`.

mod connection;
mod protocol;
mod wire;

use std::time::Duration;

use actors::feed::{Session, Sources};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::app::App;
use crate::error::ApiError;
use crate::guard;
use crate::routes::{Access, Route, route};
use crate::token::{self, Checked};
use connection::Connection;
use protocol::{Command, End, PROTOCOL, Refusal, Sub};
pub use wire::Frame;

pub fn routes() -> Vec<Route> {
    let path = "/api/ws";
    vec![route(Method::GET, path, Access::Public, "Follow live events", upgrade).upgrades()]
}

/// A socket that runs: each waits with this much memory at the least.
const READ_BUFFER_BYTES: usize = 4096;
const WRITE_BUFFER_BYTES: usize = 4096;

async fn upgrade(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| {
        let message = format!("open this address as a websocket, protocol `{PROTOCOL}`");
        ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
    })?;
    // Programs send none. A page of another site cannot know a token, and is told early.
    if headers.contains_key(header::ORIGIN) {
        guard::from_own_page(&app, &headers)?;
    }
    if !app.is_ready() || !app.handshake() {
        return Err(ApiError::unavailable("no socket can be opened now; try again shortly"));
    }
    // Whoever names no protocol takes the only one there is.
    let offered: Vec<_> = upgrade.requested_protocols().cloned().collect();
    if !offered.is_empty() && offered.iter().all(|protocol| protocol != PROTOCOL) {
        let message = format!("this server speaks `{PROTOCOL}`; offer that");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "unknown_protocol", message));
    }
    let limit = app.config.limits.socket_frame_bytes;
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(limit)
        .max_frame_size(limit);
    Ok(upgrade.on_upgrade(move |socket| run(app, socket)).into_response())
}

/// Runs a socket to its end.
async fn run(app: App, mut socket: WebSocket) {
    let end = match greet(&app, &mut socket).await {
        Ok((session, expires_at, first)) => {
            let mut connection = Connection::new(app, socket, session, expires_at);
            let end = connection.serve(first).await;
            // The session ends first: nothing goes out any more.
            socket = connection.into_socket();
            end
        }
        Err(end) => end,
    };
    let code = end.words().0.to_string();
    metrics::counter!("omnistream_sockets_closed_total", "code" => code).increment(1);
    close(socket, end).await;
}

/// Says why, and closes.
async fn close(mut socket: WebSocket, end: End) {
    let (code, reason, reconnect_ms) = end.words();
    let bye = json!({"t": "bye", "code": code, "reason": reason, "reconnect_ms": reconnect_ms});
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let last = async {
        let _ = socket.feed(Message::text(bye.to_string())).await;
        let _ = socket.send(Message::Close(Some(frame))).await;
        // The other side's answer, so that the connection ends in order.
        while let Some(Ok(_)) = socket.next().await {}
    };
    if end != End::Gone {
        let _ = timeout(Duration::from_secs(1), last).await;
    }
}

/// Waits for the hello, and opens its session. What is left is its reply.
async fn greet(
    app: &App,
    socket: &mut WebSocket,
) -> Result<(Session<Frame>, i64, (Option<u32>, Vec<Sub>)), End> {
    let within = app.config.limits.socket_hello_timeout;
    let hello = timeout(within, first(socket)).await.map_err(|_| End::Malformed)?;
    let value = match hello {
        Some(Ok(Message::Text(text))) => {
            serde_json::from_str::<Value>(&text).map_err(|_| End::Malformed)?
        }
        Some(Ok(Message::Binary(_))) => return Err(End::WrongFrame),
        Some(Ok(_)) => return Err(End::Malformed),
        Some(Err(_)) | None => return Err(End::Gone),
    };
    let (number, command) = protocol::parse(value);
    let (refusal, end) = match command {
        Ok(Command::Hello { token, subs }) => match open(app, &token).await {
            Ok((session, expires_at)) => return Ok((session, expires_at, (number, subs))),
            Err(refused) => refused,
        },
        Ok(_) => (Refusal::bad_request("say hello first"), End::Malformed),
        Err(refusal) => (refusal, End::Malformed),
    };
    let reply = json!({"id": number, "err": refusal.json()});
    let sent = timeout(within, socket.send(Message::text(reply.to_string()))).await;
    Err(if sent.is_ok() { end } else { End::Gone })
}

/// What is said first. Pings say nothing, and are answered below.
async fn first(socket: &mut WebSocket) -> Option<Result<Message, axum::Error>> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            said => return said,
        }
    }
}

/// The session of a token, and when that ends.
async fn open(app: &App, token: &str) -> Result<(Session<Frame>, i64), (Refusal, End)> {
    let checked = check(app, token).await?;
    let sources = Sources { tenants: app.tenants.clone(), desk: app.desk.clone() };
    match Session::open(&app.hub, sources, &checked.caller).await {
        Ok(Some(session)) => Ok((session, checked.expires_at)),
        Ok(None) => Err((Refusal::unauthorized(), End::Unauthorized)),
        Err(_) => Err((Refusal::failed(), End::Failed)),
    }
}

/// A token that counts. That the store cannot say so now is not the client's fault.
async fn check(app: &App, token: &str) -> Result<Checked, (Refusal, End)> {
    token::check(&app.jwt, &app.tenants, token).await.map_err(|error| match error.status {
        StatusCode::UNAUTHORIZED => (Refusal::unauthorized(), End::Unauthorized),
        _ => (Refusal::failed(), End::Failed),
    })
}
