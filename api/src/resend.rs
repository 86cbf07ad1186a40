//! Mails that Resend has kept to itself: its webhooks tell only that one came.

use actors::downloads::{Download, NotRead};
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;

/// The largest answer that tells where a mail lies: it repeats the mail's texts.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The mail with this id as it was sent; `None`: it cannot be had. What passes is an error: the
/// webhook is delivered again.
pub async fn sent(app: &App, id: &str, token: &str) -> Result<Option<Vec<u8>>, ApiError> {
    let told = app.downloads.of_resend(&format!("emails/receiving/{id}"), token).await;
    let Some(told) = had(whole(told, ANSWER_BYTES_MAX).await)? else { return Ok(None) };
    let told: Value = serde_json::from_slice(&told).unwrap_or_default();
    let Some(url) = told.pointer("/raw/download_url").and_then(Value::as_str) else {
        return Ok(None);
    };
    let mail = app.downloads.of_link(url).await;
    had(whole(mail, app.config.limits.mail_body_bytes).await)
}

/// All of a download; `None`: it is larger.
async fn whole(
    download: Result<Download, NotRead>,
    most: usize,
) -> Result<Option<Vec<u8>>, NotRead> {
    let (mut download, mut all) = (download?, Vec::new());
    while let Some(piece) = download.next().await? {
        if all.len() + piece.len() > most {
            return Ok(None);
        }
        all.extend_from_slice(&piece);
    }
    Ok(Some(all))
}

fn had(read: Result<Option<Vec<u8>>, NotRead>) -> Result<Option<Vec<u8>>, ApiError> {
    match read {
        Ok(whole) => Ok(whole),
        Err(why @ (NotRead::Foreign | NotRead::Gone | NotRead::Refused)) => {
            tracing::warn!(%why, "a mail cannot be had from Resend; it is shown without its text");
            Ok(None)
        }
        Err(NotRead::Passing(_)) => {
            let message = "the mail cannot be had from Resend now; deliver it again";
            Err(ApiError::unavailable(message))
        }
    }
}
