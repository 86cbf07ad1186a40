//! The websocket's handshake (RFC 6455, 4.2), and the protocol that both speak on it. No extension is
//! taken up, whatever is offered.

use actors::feed::Encoding;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
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
    /// The first subprotocol of the client's that we know, and what frames it has; its name is not
    /// answered to one who named none.
    protocol: Option<(&'static str, Encoding)>,
}

impl FromRequestParts<App> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let names = PROTOCOLS.map(|(name, _)| format!("`{name}`")).join(" or ");
        let accept = key(parts).map(|key| derive_accept_key(key.as_bytes()));
        let on = parts.extensions.remove::<OnUpgrade>();
        let (Some(accept), Some(on)) = (accept, on) else {
            let message = format!("open this address as a websocket, protocol {names}");
            return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message));
        };
        let known = |name: &str| PROTOCOLS.into_iter().find(|(known, _)| *known == name);
        let protocol = words(&parts.headers, header::SEC_WEBSOCKET_PROTOCOL).find_map(known);
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

/// The key of a whole handshake: 16 bytes in base64.
fn key(Parts { method, version, headers, .. }: &Parts) -> Option<&HeaderValue> {
    let has = |name, word| words(headers, name).any(|other| other.eq_ignore_ascii_case(word));
    let is_handshake = *method == Method::GET
        && *version >= Version::HTTP_11
        && has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && words(headers, header::SEC_WEBSOCKET_VERSION).eq(["13"]);
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| {
        let digits = key.as_bytes().strip_suffix(b"==");
        is_handshake && digits.is_some_and(|it| it.len() == 22 && it.iter().all(is_digit))
    })
}

/// The words of a header that is a list, however many lines it has.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
