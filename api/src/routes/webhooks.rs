//! Where providers deliver. A body counts only as far as its signature fits its own account, and is
//! answered when all that counts is durable.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use actors::failure::Failure;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use engine::account::Account;
use engine::channel::Channel;
use engine::channel::signature::{Handshake, is_signed};
use engine::channel::webhook::{self, Meant, Part};
use engine::id::TenantId;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Query, bytes};
use crate::holders::{self, Shared};
use crate::told::Told;

pub fn routes() -> Vec<Route> {
    let (token, signature) = (Access::VerifyToken, Access::Signature);
    let (messenger, instagram) = ("/webhook/messenger", "/webhook/instagram");
    let verifies = |path, summary, of: &'static [Channel]| {
        let verify = move |app: State<App>, query: Query<Verification>| verify(of, app, query);
        route(Method::GET, path, token, summary, verify).query::<Verification>()
    };
    // A body says itself which channel it is of, wherever it is delivered.
    let receives = |path, summary| route(Method::POST, path, signature, summary, receive);
    vec![
        verifies("/webhook", "Meta webhook verification", BOTH),
        receives("/webhook", "Receive Meta webhook (WhatsApp + Instagram)"),
        verifies(messenger, "Meta webhook verification for Messenger", &[Channel::Messenger]),
        receives(messenger, "Receive Messenger inbound webhook events"),
        verifies(instagram, "Meta webhook verification for Instagram", &[Channel::Instagram]),
        receives(instagram, "Receive Instagram inbound webhook events"),
    ]
}

/// The channels whose accounts' tokens count at the common address.
const BOTH: &[Channel] = &[Channel::Whatsapp, Channel::Instagram];

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
    channels: &'static [Channel],
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
    let known = holders::of_token(&app, token).await?;
    let is_known = known.iter().any(|channel| channels.contains(channel));
    let held = is_known.then_some(token);
    let answer = handshake.answer(installation.into_iter().chain(held)).map(str::to_owned);
    answer.ok_or_else(|| {
        ApiError::forbidden(
            "the verify token is neither `meta.verify_token` nor an account's nor a channel's",
        )
    })
}

/// A body is tried with so many secrets of accounts; each costs as much as it is long.
const SECRETS_MAX: usize = 16;
/// So many of them are one organization's: whoever names what others have leaves them their turn.
const SECRETS_OF_TENANT_MAX: usize = 4;
/// So many names are looked up before one is proven, each once, however many parts it is of.
const STRANGERS_MAX: usize = 64;

async fn receive(State(app): State<App>, request: Request) -> Result<(), ApiError> {
    // On its way to the connection a handler's future is moved six times.
    delayed(&app, Box::pin(take(&app, request)).await).await
}

/// An answer, late where something is full.
pub(super) async fn delayed(app: &App, answer: Result<(), ApiError>) -> Result<(), ApiError> {
    let refused = match answer {
        Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE => error,
        answer => return answer,
    };
    // Refusing costs nearly as much as taking: who delivers too much would leave no time for others.
    tokio::time::sleep(app.config.limits.webhook_refusal_delay).await;
    Err(refused)
}

async fn take(app: &App, request: Request) -> Result<(), ApiError> {
    // Nothing is read of what carries no signature.
    let signature = signature(request.headers()).ok_or_else(unsigned)?;
    let body = bytes(request, app, app.config.limits.webhook_body_bytes).await?;
    let is_ours = || {
        let mut all = Channel::ALL.into_iter().flat_map(|channel| fallback(app, channel));
        all.any(|secret| is_signed(secret, &signature, &body))
    };
    let parts = match webhook::open(&body) {
        Ok(parts) => parts,
        Err(reason) if is_ours() => {
            let raw = String::from_utf8_lossy(&body).into_owned();
            return bury(app, &reason.to_string(), vec![raw]).await;
        }
        Err(_) => return Err(unsigned()),
    };
    let mut proofs = Proofs::of(&signature, &body);
    let mut told: Vec<Told> = Vec::new();
    let mut homeless = Vec::new();
    let (mut any, mut passed, now) = (false, 0, app.tenants.now());
    let mut names: HashMap<Meant<'_>, Whose> = HashMap::new();
    for part in &parts {
        let may_look = any || names.len() < STRANGERS_MAX;
        let whose = match names.entry(part.meant()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(name) if may_look => {
                let whose = proofs.whose(app, part.channel(), name.key()).await?;
                name.insert(whose)
            }
            Entry::Vacant(_) => break,
        };
        match whose {
            Whose::Proven(accounts) => {
                for account in accounts.iter() {
                    any = true;
                    Told::of(&mut told, account.clone()).add(part, now);
                }
            }
            Whose::Nobody => {
                any = true;
                match part {
                    Part::Whatsapp(_) => homeless.push(part.raw().to_owned()),
                    // An app that is public is told of everybody who uses it: that is not for us.
                    Part::Messaging(_) => passed += 1,
                }
            }
        }
    }
    if !any {
        let channel = parts.first().map_or("none", |part| part.channel().as_str());
        metrics::counter!("omnistream_webhooks_refused_total", "channel" => channel).increment(1);
        return Err(unsigned());
    }
    body.proven();
    #[cfg(debug_assertions)]
    if crate::fault::drops(&body) {
        return Ok(());
    }
    if passed > 0 {
        let items = metrics::counter!("omnistream_webhook_items_total", "item" => "stranger");
        items.increment(passed);
    }
    // Most are for one. Several go at once: none takes the time of the others.
    let passed_on = match told.len() {
        1 => told.remove(0).pass_on(app).await,
        _ => {
            let told = join_all(told.into_iter().map(|told| told.pass_on(app))).await;
            told.into_iter().collect()
        }
    };
    let passed_on = passed_on.map_err(again);
    if homeless.is_empty() {
        return passed_on;
    }
    // Nobody who is known waits for what is nobody's.
    let kept = Box::pin(bury(app, "no connected account is named by it", homeless)).await;
    passed_on.and(kept)
}

/// Whose all parts with one name are, as far as the signature proves it.
enum Whose {
    /// These accounts', perhaps none.
    Proven(Vec<Arc<Account>>),
    /// Nobody's here, though the provider says so.
    Nobody,
}

/// What is known of a body's signature.
struct Proofs<'b> {
    signature: &'b str,
    body: &'b [u8],
    /// The secrets that were tried, and whether it is signed by each. They are few.
    fits: Vec<(String, bool)>,
    /// Of whom those were tried that are an account's own.
    tried: Vec<TenantId>,
}

impl<'b> Proofs<'b> {
    fn of(signature: &'b str, body: &'b [u8]) -> Self {
        Self { signature, body, fits: Vec::new(), tried: Vec::new() }
    }

    /// Whose the parts are that have this name.
    async fn whose(
        &mut self,
        app: &App,
        channel: Channel,
        name: &Meant<'_>,
    ) -> Result<Whose, ApiError> {
        let mut meant = accounts(app, channel, name).await?;
        if meant.is_empty() && self.by_installation(app, channel) {
            return Ok(Whose::Nobody);
        }
        meant.retain(|account| match account.app_secret() {
            Some(own) => self.by_own(account.tenant, own),
            None => self.by_installation(app, account.channel),
        });
        Ok(Whose::Proven(meant))
    }

    /// Whether it is signed for the accounts without a secret of their own. That is always tried:
    /// there are few such secrets.
    fn by_installation(&mut self, app: &App, channel: Channel) -> bool {
        fallback(app, channel).into_iter().any(|secret| self.is_signed(secret))
    }

    /// Whether it is signed by an organization's own secret.
    fn by_own(&mut self, tenant: TenantId, secret: &str) -> bool {
        if !self.fits.iter().any(|(known, _)| known == secret) {
            let of_tenant = self.tried.iter().filter(|of| **of == tenant).count();
            // It is signed once: who names more accounts than it can be signed for looks for work.
            if of_tenant >= SECRETS_OF_TENANT_MAX || self.tried.len() >= SECRETS_MAX {
                return false;
            }
            self.tried.push(tenant);
        }
        self.is_signed(secret)
    }

    fn is_signed(&mut self, secret: &str) -> bool {
        if let Some((_, fits)) = self.fits.iter().find(|(known, _)| known == secret) {
            return *fits;
        }
        let fits = is_signed(secret, self.signature, self.body);
        self.fits.push((secret.to_owned(), fits));
        fits
    }
}

/// Whatever is full, a provider delivers again what is answered 503.
pub(super) fn again(failure: Failure) -> ApiError {
    let error = ApiError::from(failure);
    match error.status {
        StatusCode::TOO_MANY_REQUESTS => {
            let (status, code) = (StatusCode::SERVICE_UNAVAILABLE, "overloaded");
            ApiError { status, code, ..error }
        }
        _ => error,
    }
}

/// What signs the bodies of this channel's accounts that have no secret of their own: Instagram's
/// two kinds of logins belong to apps with a secret each.
fn fallback(app: &App, channel: Channel) -> Vec<&str> {
    let meta = &app.config.meta;
    let of_login = meta.instagram_app_secret.as_ref().filter(|_| channel == Channel::Instagram);
    meta.app_secret.iter().chain(of_login).map(|secret| secret.expose()).collect()
}

/// The accounts that a part with this name is for: the one that it names, or all of its business
/// account.
async fn accounts(
    app: &App,
    channel: Channel,
    name: &Meant<'_>,
) -> Result<Vec<Arc<Account>>, ApiError> {
    let waba = match name {
        Meant::Account(key) => {
            let account = app.tenants.account(channel, key).await?;
            return Ok(account.filter(|account| is_meant(account)).into_iter().collect());
        }
        Meant::Waba(waba) => waba,
        Meant::Test | Meant::Nobody => return Ok(Vec::new()),
    };
    let all = holders::all(app, Shared::Waba, waba).await?;
    // Who has a secret proves by it that it is meant, and takes nothing from those who have none.
    let (mut meant, mut shared): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|account| account.app_secret().is_some());
    // Only so many secrets are tried: first those of whom the provider has subscribed to it.
    meant.sort_by_key(|account| !account.is_subscribed());
    shared.retain(|account| !account.is_denied());
    if shared.iter().any(|account| account.tenant != shared[0].tenant) {
        // Where organizations disagree whose it is, the provider has delivered to the number.
        shared.retain(|account| account.phone.is_some());
    }
    meant.append(&mut shared);
    Ok(meant)
}

/// Whether what is of its key may be an account's. Anybody can name a key, and what the installation's
/// secret signs is for all its organizations: one that the provider has denied proves itself by a
/// secret of its own.
fn is_meant(account: &Account) -> bool {
    account.is_active && (account.app_secret().is_some() || !account.is_denied())
}

async fn bury(app: &App, reason: &str, raw: Vec<String>) -> Result<(), ApiError> {
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
