//! How an integration account is: what the provider says when it is asked, and how sending goes.

use actors::outbox::Sending;
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use engine::account::{Account, AccountStatus, Throughput};
use engine::id::AccountId;
use engine::message::MessageError;
use engine::news::Notice;
use engine::permission::Permission;
use engine::resource::Resource;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::Id;
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/api/integrations/accounts/{id}/health",
            Access::Permission(Permission::IntegrationsManage),
            "Fetch WhatsApp account health from Meta Graph API",
            health,
        )
        .lasts()
        .answers::<Health>(200),
    ]
}

/// How an account is, as of now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AccountHealth")]
struct Health {
    account_id: AccountId,
    status: AccountStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<String>,
    /// Messages are taken, and sent.
    can_send: bool,
    /// The provider would refuse every message: none is sent.
    paused: bool,
    /// When that is over by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_until: Option<Timestamp>,
    token: Token,
    /// When the access token ends, where the provider tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<Timestamp>,
    /// Absent where nothing had to be done when it was connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<RegistrationView>,
    provider: Provider,
    sending: Pace,
    /// How many people may be written to first in a day, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    messaging_limit: Option<String>,
    /// What the provider said of the account lately, the newest first.
    notices: Vec<Notice>,
}

/// How far the account is subscribed and registered at its provider.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct RegistrationView {
    /// Its webhooks are delivered.
    subscribed: bool,
    /// It may send.
    registered: bool,
    /// The provider's words about what could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Asked from then on, this tries to register it again; a change of the config does at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<Timestamp>,
}

/// What the provider made of the access token: `unknown` where its answer does not tell.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Token {
    Valid,
    Refused,
    Unknown,
}

/// What the provider answered.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(inline)]
struct Provider {
    /// The number, as the provider writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_phone_number: Option<String>,
    /// The name that customers see.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_name: Option<String>,
    /// What customers think of its messages, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_rating: Option<String>,
    /// `standard` or `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    throughput: Option<&'static str>,
    /// Its words, where it does not answer for the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How sending goes, as far as this process has sent.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Pace {
    /// Messages a second, as the provider lets them through.
    per_second: f64,
    /// Conversations whose next message waits.
    waiting: usize,
    /// How long the first of them is due.
    oldest_waiting_ms: u64,
    /// Requests that the provider is answering.
    under_way: usize,
    /// The provider wants to be left alone until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_until: Option<Timestamp>,
    /// The last message that the provider did not take, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct LastError {
    code: String,
    message: String,
    at: Timestamp,
}

async fn health(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AccountId>,
) -> Result<Json<Health>, ApiError> {
    let gone = || ApiError::not_found(Account::NAME);
    let account = state(&app, &caller).await?.accounts.get(&id).cloned().ok_or_else(gone)?;
    let (account, said) = app.outbox.check(account).await?.ok_or_else(gone)?;
    let now = app.tenants.now();
    let token = match &said {
        Ok(_) => Token::Valid,
        Err(trouble) if trouble.of_token => Token::Refused,
        Err(_) => Token::Unknown,
    };
    let provider = match said {
        Ok(known) => Provider {
            display_phone_number: known.phone,
            verified_name: known.name,
            quality_rating: known.quality,
            throughput: known.throughput.map(|throughput| match throughput {
                Throughput::Standard => "standard",
                Throughput::High => "high",
            }),
            error: None,
        },
        Err(trouble) => Provider { error: Some(trouble.words), ..Provider::default() },
    };
    let (status, status_detail) = account.shown_standing(app.config.limits.token_warning, now);
    let registration = account.registration.as_ref().map(|registration| RegistrationView {
        subscribed: registration.subscribed,
        registered: registration.registered,
        error: account.unregistered().map(str::to_owned),
        next_try_at: registration.next_try(false, now),
    });
    Ok(Json(Health {
        account_id: account.id,
        status,
        status_detail,
        token_expires_at: account.token_until,
        registration,
        can_send: account.can_send(now),
        paused: account.is_paused(now),
        paused_until: account.paused_until.filter(|until| now < *until),
        token,
        provider,
        sending: Pace::of(app.outbox.sending(&account), now),
        messaging_limit: account.heard.messaging_limit.clone(),
        notices: account.heard.notices.clone(),
    }))
}

impl Pace {
    fn of(sending: Sending, now: Timestamp) -> Self {
        let Sending { per_second, waiting, oldest, under_way, rests, last_error } = sending;
        let error = |(MessageError { code, message }, at)| LastError { code, message, at };
        Self {
            per_second,
            waiting,
            oldest_waiting_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            under_way,
            throttled_until: (!rests.is_zero()).then(|| now + rests),
            last_error: last_error.map(error),
        }
    }
}
