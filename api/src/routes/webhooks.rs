//! Where providers deliver. A body counts only as far as its signature fits its own account, and is
//! answered when all that counts is durable.

use std::collections::HashMap;
use std::sync::Arc;

use actors::failure::Failure;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use engine::account::Account;
use engine::channel::signature::{Handshake, is_signed};
use engine::channel::whatsapp::{self, Change};
use engine::channel::{Channel, Inbound};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Query, bytes};
use crate::verify_tokens;

pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/webhook", Access::VerifyToken, "Meta webhook verification", verify)
            .query::<Verification>(),
        route(
            Method::POST,
            "/webhook",
            Access::Signature,
            "Receive Meta webhook (WhatsApp + Instagram)",
            receive,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct Verification {
    #[serde(rename = "hub.mode", default)]
    mode: Option<String>,
    #[serde(rename = "hub.verify_token", default)]
    verify_token: Option<String>,
    #[serde(rename = "hub.challenge", default)]
    challenge: Option<String>,
}

async fn verify(
    State(app): State<App>,
    Query(query): Query<Verification>,
) -> Result<String, ApiError> {
    let handshake = Handshake {
        mode: query.mode.as_deref(),
        verify_token: query.verify_token.as_deref(),
        challenge: query.challenge.as_deref(),
    };
    let installation = app.config.meta.verify_token.as_ref().map(|token| token.expose());
    let token = query.verify_token.as_deref().unwrap_or_default();
    let account = verify_tokens::is_an_account_s(&app, token).await?.then_some(token);
    let answer = handshake.answer(installation.into_iter().chain(account)).map(str::to_owned);
    answer.ok_or_else(|| {
        ApiError::forbidden("the verify token is neither `meta.verify_token` nor an account's")
    })
}

async fn receive(State(app): State<App>, request: Request) -> Result<(), ApiError> {
    // Nothing is read of what carries no signature.
    let signature = signature(request.headers()).ok_or_else(unsigned)?;
    let body = bytes(request, &app, app.config.limits.webhook_body_bytes).await?;
    let fallback = app.config.meta.app_secret.as_ref().map(|secret| secret.expose());
    let is_ours = || fallback.is_some_and(|secret| is_signed(secret, &signature, &body));
    let envelope = match whatsapp::open(&body) {
        Ok(envelope) => envelope,
        Err(reason) if is_ours() => return bury(&app, reason.to_string(), &body).await,
        Err(_) => return Err(unsigned()),
    };
    if envelope.object != "whatsapp_business_account" {
        if !is_ours() {
            return Err(unsigned());
        }
        let reason = format!("nothing here understands `{}`", envelope.object);
        return bury(&app, reason, &body).await;
    }
    let mut proofs: HashMap<String, bool> = HashMap::new();
    let mut proven = |secret: &str| {
        *proofs.entry(secret.to_owned()).or_insert_with(|| is_signed(secret, &signature, &body))
    };
    let mut accounts: Vec<(Arc<Account>, Vec<Inbound>, usize)> = Vec::new();
    let mut homeless = Vec::new();
    let (mut any, now) = (false, app.tenants.now());
    for change in &envelope.changes {
        let account = account(&app, change).await?.filter(|account| account.is_active);
        let own = account.as_deref().and_then(Account::app_secret);
        if !own.or(fallback).is_some_and(&mut proven) {
            continue;
        }
        any = true;
        match account {
            Some(account) => {
                let (items, bytes) = (whatsapp::decode(change, now), change.value.get().len());
                match accounts.iter_mut().find(|(known, ..)| known.id == account.id) {
                    Some((_, known, size)) => {
                        known.extend(items);
                        *size += bytes;
                    }
                    None => accounts.push((account, items, bytes)),
                }
            }
            None => homeless.push(change.value.get().to_owned()),
        }
    }
    if !any {
        metrics::counter!("omnistream_webhooks_refused_total", "channel" => "whatsapp")
            .increment(1);
        return Err(unsigned());
    }
    body.proven();
    for raw in homeless {
        bury(&app, "no connected account has this number".to_owned(), raw.as_bytes()).await?;
    }
    for (account, items, bytes) in accounts {
        app.desk.ingest_body(&account, items, bytes).await.map_err(again)?;
    }
    Ok(())
}

/// Whatever is full, a provider delivers again what is answered 503.
fn again(failure: Failure) -> ApiError {
    let error = ApiError::from(failure);
    match error.status {
        StatusCode::TOO_MANY_REQUESTS => {
            let (status, code) = (StatusCode::SERVICE_UNAVAILABLE, "overloaded");
            ApiError { status, code, ..error }
        }
        _ => error,
    }
}

async fn account(app: &App, change: &Change<'_>) -> Result<Option<Arc<Account>>, ApiError> {
    let Some(number) = &change.phone_number_id else { return Ok(None) };
    Ok(app.tenants.account(Channel::Whatsapp, number).await?)
}

async fn bury(app: &App, reason: String, raw: &[u8]) -> Result<(), ApiError> {
    let raw = String::from_utf8_lossy(raw).into_owned();
    Ok(app.desk.ingress().bury(reason, raw).await?)
}

fn signature(headers: &HeaderMap) -> Option<String> {
    let header = headers.get("x-hub-signature-256")?.to_str().ok()?;
    (header.len() == 71 && header.starts_with("sha256=")).then(|| header.to_owned())
}

fn unsigned() -> ApiError {
    let message = "the body must be signed with the app's secret in `X-Hub-Signature-256`";
    ApiError::new(StatusCode::UNAUTHORIZED, "bad_signature", message)
}

#[cfg(test)]
mod tests {
    use actors::failure::{Failure, Full};

    use super::again;

    #[test]
    fn a_provider_is_answered_503_whatever_is_full() {
        for full in [Full::Server, Full::Organization, Full::Conversation] {
            let error = again(Failure::busy(full));
            assert_eq!((error.status.as_u16(), error.code), (503, "overloaded"), "{full:?}");
            assert!(error.retry_after.is_some());
        }
    }
}
