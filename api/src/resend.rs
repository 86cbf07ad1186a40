//! Mails that Resend has kept to itself: its webhooks tell only that one came.

use std::time::Duration;

use actors::downloads::NotRead;
use engine::account::{Account, AccountStatus, Trouble};
use engine::channel::email::LeftBehind;
use serde::Deserialize;
use tokio::time::timeout;

use crate::app::App;
use crate::error::ApiError;

/// Where a mail lies, as Resend answers; what else it says is in the mail.
#[derive(Deserialize)]
struct Told {
    raw: Raw,
}

#[derive(Deserialize)]
struct Raw {
    download_url: String,
}

/// What Resend does not have so soon after a mail came it may have later.
const EARLY: Duration = Duration::from_secs(10 * 60);
/// Somebody gives the account a token that counts, or its mails are shown without their text. Resend
/// delivers again after 5 and after 10 hours at the latest.
const TO_BE_MENDED: Duration = Duration::from_secs(6 * 3600);

/// A mail as it was sent; `None`: it cannot be had. What passes is an error: the webhook is delivered
/// again.
pub async fn sent(
    app: &App,
    account: &Account,
    left: &LeftBehind,
    token: &str,
) -> Result<Option<Vec<u8>>, ApiError> {
    let fetched =
        timeout(app.config.limits.mail_fetch_timeout, fetched(app, &left.id, token)).await;
    let why = match fetched.unwrap_or(Err(NotRead::Passing("Resend did not answer in time"))) {
        Ok(mail) => return Ok(mail),
        Err(why) => why,
    };
    if why == NotRead::Refused {
        is_refused(app, account).await?;
    }
    // Of a mail that does not say when it came nothing is awaited.
    let age = left.came_at.map(|at| app.tenants.now().since(at));
    let is_younger = |than: Duration| age.is_some_and(|age| age < than);
    let passes = match why {
        // It is Resend that names the link, and it names another one the next time.
        NotRead::Passing(_) | NotRead::Moved | NotRead::NoFile => true,
        NotRead::Refused => is_younger(TO_BE_MENDED),
        NotRead::Gone => is_younger(EARLY),
        NotRead::Foreign => false,
    };
    if passes {
        return Err(ApiError::unavailable(
            "the mail cannot be had from Resend now; deliver it again",
        ));
    }
    tracing::warn!(%why, "a mail cannot be had from Resend; it is shown without its text");
    Ok(None)
}

async fn fetched(app: &App, id: &str, token: &str) -> Result<Option<Vec<u8>>, NotRead> {
    let most = app.config.limits.mail_body_bytes;
    let told = app.downloads.of_resend(&format!("emails/receiving/{id}"), token).await?;
    // It repeats the mail's texts.
    let Some(told) = told.whole(most).await? else { return too_large() };
    let told = tokio::task::spawn_blocking(move || serde_json::from_slice::<Told>(&told)).await;
    let Ok(Ok(Told { raw })) = told else { return Err(NotRead::Gone) };
    let mail = app.downloads.of_link(&raw.download_url).await;
    // The link is for everybody, for a while.
    let mail = mail.map_err(|why| if why == NotRead::Refused { NotRead::Gone } else { why })?;
    match mail.whole(most).await? {
        Some(mail) => Ok(Some(mail)),
        None => too_large(),
    }
}

fn too_large() -> Result<Option<Vec<u8>>, NotRead> {
    tracing::warn!("a mail at Resend is larger than `limits.mail_body_bytes`; it has no text here");
    Ok(None)
}

/// An account whose token does not count wants attention, if nothing else is the matter with it.
async fn is_refused(app: &App, account: &Account) -> Result<(), ApiError> {
    let words = "Resend refuses the `api_token`; give the account one that may read mails";
    let change = |account: &mut Account, now| {
        let is_well = account.status == AccountStatus::Connected && !account.is_paused(now);
        if is_well {
            let words = words.to_owned();
            account.stands(Err(Trouble { words, ..Trouble::default() }));
        }
        is_well
    };
    app.tenants.change_account(account.tenant, account.id, change).await?;
    Ok(())
}
