//! The live feed over a websocket: protocol `omnistream.v1`.

mod connection;
mod out;
mod pipe;
mod protocol;
mod pulse;
mod push;
mod upgrade;
mod wire;

use std::time::Duration;

use actors::feed::{Encoding, Session, Sources};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::time::timeout;

use crate::app::App;
use crate::error::ApiError;
use crate::guard;
use crate::listener::Connection as Tcp;
use crate::routes::{Access, Route, route};
use crate::token::{self, Checked};
use connection::Connection;
use pipe::Pipe;
use protocol::{Command, End, Refusal, Sub};
use upgrade::Upgrade;
pub use wire::{Frame, value};

pub fn routes() -> Vec<Route> {
    let path = "/api/ws";
    vec![route(Method::GET, path, Access::Public, "Follow live events", upgrade).upgrades()]
}

/// A goodbye takes at most so long.
const GOODBYE: Duration = Duration::from_secs(1);

async fn upgrade(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    // Programs send none. A page of another site cannot know a token, and is told early.
    if headers.contains_key(header::ORIGIN) {
        guard::from_own_page(&app, &headers)?;
    }
    if !app.is_ready() || !app.handshake() {
        return Err(ApiError::unavailable("no socket can be opened now; try again shortly"));
    }
    let encoding = upgrade.encoding();
    Ok(upgrade.then(move |upgraded| run(app, upgraded, encoding)))
}

/// Runs a socket to its end.
async fn run(app: App, upgraded: Upgraded, encoding: Encoding) {
    let most = app.config.limits.socket_frame_bytes;
    // All connections are the listener's.
    let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<Tcp>>() else { return };
    let mut pipe = Pipe::new(io.into_inner(), read_buf, encoding, most).await;
    // Each step is apart: a socket has room for the one at which it is.
    let end = match Box::pin(greet(&app, &mut pipe)).await {
        // The session ends before the goodbye: nothing else goes out any more.
        Ok((session, expires_at, first)) => {
            Box::pin(Connection::new(app, &mut pipe, session, expires_at).serve(first)).await
        }
        Err(end) => end,
    };
    let code = end.words().0.to_string();
    metrics::counter!("omnistream_sockets_closed_total", "code" => code).increment(1);
    Box::pin(close(pipe, end)).await;
}

/// Says why, and closes. Half a frame of what may not be seen any more is not ended.
async fn close(mut pipe: Pipe, end: End) {
    let has_begun = pipe.forget();
    if has_begun && matches!(end, End::Gone | End::Lost | End::Unauthorized) {
        return;
    }
    if end == End::Gone {
        return pipe.answer_close().await;
    }
    let (code, reason, reconnect_ms) = end.words();
    let bye = Frame::of(pipe.encoding, &push::Push::Bye { code, reason, reconnect_ms });
    let _ = timeout(GOODBYE, pipe.close(bye, code, reason)).await;
}

/// Waits for the hello, and opens its session. What is left is its reply.
async fn greet(
    app: &App,
    pipe: &mut Pipe,
) -> Result<(Session<Frame>, i64, (Option<u32>, Vec<Sub>)), End> {
    let within = app.config.limits.socket_hello_timeout;
    let hello = timeout(within, first(pipe)).await.map_err(|_| End::Malformed)??;
    let value = value(pipe.encoding, &hello).ok_or(End::Malformed)?;
    let (number, command) = protocol::parse(value);
    let (refusal, end) = match command {
        Ok(Command::Hello { token, subs }) => match open(app, &token, pipe).await {
            Ok((session, expires_at)) => return Ok((session, expires_at, (number, subs))),
            Err(refused) => refused,
        },
        Ok(_) => (Refusal::bad_request("say hello first"), End::Malformed),
        Err(refusal) => (refusal, End::Malformed),
    };
    let reply = Frame::of(pipe.encoding, &json!({"id": number, "err": refusal.json()}));
    let sent = timeout(within, pipe.send(reply)).await;
    Err(if matches!(sent, Ok(Ok(()))) { end } else { End::Gone })
}

/// What is said first. Pings say nothing, and are answered below.
async fn first(pipe: &mut Pipe) -> Result<Bytes, End> {
    loop {
        if let Some(said) = pipe.hear().await? {
            return Ok(said);
        }
    }
}

/// The session of a token, and when that ends.
async fn open(
    app: &App,
    token: &str,
    pipe: &Pipe,
) -> Result<(Session<Frame>, i64), (Refusal, End)> {
    let checked = check(app, token).await?;
    let sources = Sources { tenants: app.tenants.clone(), desk: app.desk.clone() };
    let (encoding, out) = (pipe.encoding, pipe.out());
    match Session::open(&app.hub, sources, &checked.caller, encoding, out).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How much room a task takes that runs this.
    fn room<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_socket_that_waits_takes_little_room() {
        let whole = room(|(app, upgraded, encoding)| run(app, upgraded, encoding));
        let serving = room(|(connection, first): (Connection<'_>, _)| connection.serve(first));
        assert!(whole <= 1_280, "{whole}");
        assert!(serving <= 1_664, "{serving}");
    }
}
