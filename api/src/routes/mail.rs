//! Where providers post mails. A mail counts if the proof of its account fits, and is answered when
//! it is durable.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use engine::account::Account;
use engine::channel::email::{self, Inbox, LeftBehind, NotAMail, Proofs, Received};
use engine::channel::{Channel, Inbound};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::webhooks::{again, delayed};
use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{self, bytes};
use crate::{mail_files, resend};

pub fn routes() -> Vec<Route> {
    let path = "/webhook/email";
    let example = json!({
        "from": "Mei Lin <mei@example.com>", "to": "shop@example.com", "subject": "My order",
        "text": "Where is it?", "message_id": "<1@example.com>",
    });
    vec![
        route(Method::POST, path, Access::EmailSignature, "Receive inbound email webhook", receive)
            .body::<PostedMail>(example),
    ]
}

/// A mail as the API has it. Posts of SendGrid, Postmark, Mailgun and Resend are taken, too.
#[derive(JsonSchema)]
#[schemars(rename = "EmailWebhook")]
#[expect(dead_code, reason = "it only tells the document what is read field by field")]
struct PostedMail {
    /// The sender; also as `Name <address>`.
    from: String,
    to: Option<String>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
    message_id: Option<String>,
    sender_name: Option<String>,
    in_reply_to: Option<String>,
    references: Option<String>,
    #[schemars(default)]
    attachments: Vec<Map<String, Value>>,
}

/// A request, kept for as long as it is worked on.
struct Posted {
    content_type: String,
    signature: Option<String>,
    authorization: Option<String>,
    svix: Option<[String; 3]>,
    body: extract::Received,
}

/// What became of a mail at one of its accounts.
enum Read {
    Mail(Box<Received>),
    /// It cannot be read.
    Dead(Box<Inbound>),
    NotProven,
    NoSender,
}

/// Of a mail that cannot be read so much is kept.
const KEPT_BYTES: usize = 64 << 10;
/// A mail is read for so many accounts.
const ACCOUNTS_MAX: usize = 100;

async fn receive(State(app): State<App>, request: Request) -> Result<(), ApiError> {
    delayed(&app, take(&app, request).await).await
}

async fn take(app: &App, request: Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let (content_type, signature) = (text(headers, "content-type"), text(headers, SIGNATURE));
    let authorization = text(headers, header::AUTHORIZATION.as_str());
    let svix = ["svix-id", "svix-timestamp", "svix-signature"].map(|name| text(headers, name));
    let svix = match svix {
        [Some(id), Some(time), Some(signature)] => Some([id, time, signature]),
        _ => None,
    };
    let content_type = content_type.unwrap_or_default();
    let body = bytes(request, app, app.config.limits.mail_body_bytes).await?;
    let posted = Arc::new(Posted { content_type, signature, authorization, svix, body });
    let Some(groups) = apart(app, &posted, Posted::recipients).await?? else { return Ok(()) };
    let mut meant = Vec::new();
    for group in &groups {
        meant = accounts(app, group).await?;
        if meant.len() > ACCOUNTS_MAX {
            return Err(too_many());
        }
        if !meant.is_empty() {
            break;
        }
    }
    let recipients = Arc::new(groups.concat());
    if meant.is_empty() {
        metrics::counter!("omnistream_mails_unknown_total").increment(1);
        return Ok(());
    }
    let (mut any, mut told) = (false, Vec::new());
    for account in meant {
        let (on, of) = (app.clone(), account.clone());
        let left = apart(app, &posted, move |posted| posted.left_behind(&on, &of)).await?;
        // What is made of a mail lies beside it in memory, so much at once, tenant by tenant: a
        // provider that is slow, or a tenant whose mails have many files, holds nobody else up.
        let (_fetched, sent) = match left {
            Some((left, token)) => {
                let turn = posted.unless_given_up(app.mail_fetches.take(account.tenant, 0)).await?;
                (Some(turn), resend::sent(app, &account, &left, &token).await?)
            }
            None => (None, None),
        };
        let _kept = posted.unless_given_up(app.mail_keeps.take(account.tenant, 0)).await?;
        let (on, of, to) = (app.clone(), account.clone(), recipients.clone());
        let item = match apart(app, &posted, move |posted| posted.read(&on, &of, &to, sent)).await?
        {
            // Its files are durable before it is: what is told of them is there.
            Read::Mail(received) => {
                let Received { mut message, files } = *received;
                mail_files::keep(app, &account, &mut message, files).await?;
                Inbound::Message(Box::new(message))
            }
            Read::Dead(item) => *item,
            Read::NotProven => continue,
            Read::NoSender => return Err(no_sender()),
        };
        told.push((account, vec![item]));
        any = true;
        posted.body.proven();
    }
    if !any {
        metrics::counter!("omnistream_webhooks_refused_total", "channel" => "email").increment(1);
        return Err(unproven());
    }
    let bytes = posted.body.len();
    drop(posted);
    for (account, mut items) in told {
        mark_own(app, &account, &mut items).await?;
        app.desk.ingest_body(&account, items, bytes).await.map_err(again)?;
    }
    Ok(())
}

/// Has this done with a mail where it holds nobody up, and with so many at once. What it has begun
/// goes on, also when whoever delivers has left.
async fn apart<T: Send + 'static>(
    app: &App,
    posted: &Arc<Posted>,
    work: impl FnOnce(&Posted) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let place = posted.unless_given_up(app.mails.clone().acquire_owned()).await?;
    let place = place.map_err(|_| ApiError::unavailable("the server stops; deliver it again"))?;
    let posted = posted.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work(&posted)
    });
    done.await
        .map_err(|_| ApiError::unavailable("this mail could not be read now; deliver it again"))
}

/// The connected accounts of these addresses.
async fn accounts(app: &App, addresses: &[String]) -> Result<Vec<Arc<Account>>, ApiError> {
    let mut found: Vec<Arc<Account>> = Vec::new();
    for address in addresses {
        let mut account: Option<Arc<Account>> = None;
        for name in std::iter::once(address.clone()).chain(email::without_tag(address)) {
            let Some(other) = app.tenants.account(Channel::Email, &name).await? else { continue };
            // Of two organizations it is the one's that was there first: nobody takes another's mail by
            // naming it with a tag, or without.
            let goes_first = |known: &Arc<Account>| {
                known.tenant != other.tenant && other.created_at < known.created_at
            };
            if account.as_ref().is_none_or(goes_first) {
                account = Some(other);
            }
        }
        let Some(account) = account.filter(|account| account.is_active) else { continue };
        if found.iter().all(|known| known.id != account.id) {
            found.push(account);
        }
    }
    Ok(found)
}

/// A mail from one inbox of an organization to another is as one of a program: where programs
/// answer both, it would go round for ever.
async fn mark_own(app: &App, account: &Account, items: &mut [Inbound]) -> Result<(), ApiError> {
    for item in items {
        let Inbound::Message(message) = item else { continue };
        let from = message.from.first().map(|from| from.value.clone());
        let senders = accounts(app, from.as_slice()).await?;
        message.automatic |= senders.iter().any(|sender| sender.tenant == account.tenant);
    }
    Ok(())
}

impl Posted {
    /// Waits, as long as the mail need not make room for others.
    async fn unless_given_up<T>(&self, wait: impl Future<Output = T>) -> Result<T, ApiError> {
        tokio::select! {
            biased;
            given_up = self.body.given_up() => Err(given_up),
            done = wait => Ok(done),
        }
    }

    /// To whom the mail came; `None`: it is no mail.
    fn recipients(&self) -> Result<Option<Vec<Vec<String>>>, ApiError> {
        let post = email::open(&self.content_type, &self.body).map_err(|not| match not {
            NotAMail::UnknownType => ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                not.to_string(),
            ),
            NotAMail::Malformed(_) => {
                ApiError::new(StatusCode::BAD_REQUEST, "malformed", not.to_string())
            }
        })?;
        if post.is_other_news {
            return Ok(None);
        }
        if !post.may_have_sender() {
            return Err(no_sender());
        }
        post.recipients().ok_or_else(too_many).map(Some)
    }

    /// It, opened, if it is proven to be for an account.
    fn proven(&self, app: &App, account: &Account) -> Option<email::Post<'_>> {
        let time = (app.tenants.now(), app.config.limits.mail_proof_age);
        let post = email::open(&self.content_type, &self.body).ok()?;
        let is_of = |provider: &str| provider == post.provider.as_str();
        let is_proven = |secret: &str| self.is_proven(&post, secret, time);
        let counts = account.text("provider").is_none_or(is_of)
            && account.text("webhook_secret").is_none_or(is_proven);
        counts.then_some(post)
    }

    /// The mail that the provider has kept to itself, and the token that it asks for.
    fn left_behind(&self, app: &App, account: &Account) -> Option<(LeftBehind, String)> {
        let token = account.text("api_token")?.to_owned();
        Some((self.proven(app, account)?.left_behind()?, token))
    }

    /// What it tells an account, if it is proven to be for it; with the mail as it was sent, if it
    /// was asked for.
    fn read(
        &self,
        app: &App,
        account: &Account,
        recipients: &[String],
        sent: Option<Vec<u8>>,
    ) -> Read {
        let (limits, now) = (&app.config.limits, app.tenants.now());
        let Some(mut post) = self.proven(app, account) else { return Read::NotProven };
        post.sent = sent;
        let inbox = Inbox {
            address: &account.account_key,
            reply_key: &app.reply_key,
            text_bytes: limits.mail_text_bytes,
            html_bytes: limits.mail_html_bytes,
        };
        match email::read(&post, recipients, &inbox, now) {
            Ok(Some(received)) => Read::Mail(Box::new(received)),
            Ok(None) => Read::NoSender,
            Err(why) => {
                let kept = &self.body[..self.body.len().min(KEPT_BYTES)];
                let raw = String::from_utf8_lossy(kept).into_owned();
                Read::Dead(Box::new(Inbound::Dead { reason: why.to_string(), raw }))
            }
        }
    }

    fn is_proven(&self, post: &email::Post<'_>, secret: &str, time: (Timestamp, Duration)) -> bool {
        let proofs = Proofs {
            signature: self.signature.as_deref(),
            authorization: self.authorization.as_deref(),
            svix: self.svix.as_ref().map(|all| all.each_ref().map(String::as_str)),
        };
        post.is_proven(&proofs, &self.body, secret, time)
    }
}

const SIGNATURE: &str = "x-email-webhook-signature";

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn too_many() -> ApiError {
    ApiError::invalid("to", "names too many; name whom it was delivered to in the `envelope`")
}

fn no_sender() -> ApiError {
    ApiError::invalid("from", "must name the sender's address")
}

fn unproven() -> ApiError {
    let message = "the mail must be proven as its account's provider does, or be signed with the \
                   account's `webhook_secret` in `X-Email-Webhook-Signature`";
    ApiError::new(StatusCode::UNAUTHORIZED, "bad_signature", message)
}
