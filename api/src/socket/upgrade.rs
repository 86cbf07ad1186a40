//! The websocket's handshake (RFC 6455, 4.2).

use actors::feed::Encoding;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::protocol::PROTOCOLS;
use crate::app::App;
use crate::error::ApiError;

/// A request to go on as a websocket.
pub(super) struct Upgrade {
    on: OnUpgrade,
    /// Proves that the request was understood.
    accept: String,
    /// The subprotocol that both know, and what frames it has; its name is not answered to one who
    /// named none.
    protocol: Option<(&'static str, Encoding)>,
}

impl FromRequestParts<App> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let names = PROTOCOLS.map(|(name, _)| format!("`{name}`")).join(" or ");
        let headers = &parts.headers;
        let is_websocket = has(headers, header::CONNECTION, "upgrade")
            && has(headers, header::UPGRADE, "websocket")
            && has(headers, header::SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_websocket);
        let accept = key.map(|key| derive_accept_key(key.as_bytes()));
        let on = parts.extensions.remove::<OnUpgrade>();
        let (Some(accept), Some(on)) = (accept, on) else {
            let message = format!("open this address as a websocket, protocol {names}");
            return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message));
        };
        let offered = |name| has(&parts.headers, header::SEC_WEBSOCKET_PROTOCOL, name);
        let protocol = PROTOCOLS.into_iter().find(|(name, _)| offered(name));
        if protocol.is_none() && parts.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
            let message = format!("this server speaks {names}; offer that");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "unknown_protocol", message));
        }
        Ok(Self { on, accept, protocol })
    }
}

impl Upgrade {
    /// How the frames are written: JSON for one who did not say.
    pub(super) fn encoding(&self) -> Encoding {
        self.protocol.map_or(Encoding::Json, |(_, encoding)| encoding)
    }

    /// Answers, and goes on with the connection.
    pub(super) fn then<F: Future<Output = ()> + Send + 'static>(
        self,
        run: impl FnOnce(Upgraded) -> F + Send + 'static,
    ) -> Response {
        let Self { on, accept, protocol } = self;
        let accept = HeaderValue::try_from(accept).expect("base64 is the value of a header");
        tokio::spawn(async move {
            // Whoever is gone before the answer needs nothing more.
            if let Ok(upgraded) = on.await {
                run(upgraded).await;
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some((name, _)) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        response
    }
}

/// Whether a header's list has this word.
fn has(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut words = values.flat_map(|value| value.split(','));
    words.any(|other| other.trim().eq_ignore_ascii_case(word))
}
