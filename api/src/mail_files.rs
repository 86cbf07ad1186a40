//! The files of mails: kept before their mail is answered, and known again when it is delivered
//! again.

use actors::tenants::Tenants;
use engine::account::Account;
use engine::channel::InboundMessage;
use engine::channel::email::{self, Carried};
use engine::id::MediaId;
use engine::media::{self, Medium, Origin};
use engine::message::{Attachment, MessageError};
use sha2::{Digest, Sha256};
use storage::media::{Draft, Media, NotStored, as_declared};

use crate::app::App;
use crate::error::ApiError;

/// Keeps the files of a mail, as many as may be, and says in the message what became of each. When
/// this fails nothing was told, and the mail is to be delivered again.
pub async fn keep(
    app: &App,
    account: &Account,
    message: &mut InboundMessage,
    files: Vec<Carried>,
) -> Result<(), ApiError> {
    let mail = message.provider_id.clone().or_else(|| message.dedup.clone()).unwrap_or_default();
    for (n, Carried { attachment, bytes }) in files.into_iter().enumerate() {
        let Some(shown) = message.content.attachments.get(attachment) else { continue };
        let kept = match n < app.config.limits.mail_files {
            true => {
                one((&app.media, &app.tenants), account, (&mail, attachment), shown, &bytes).await
            }
            false => Err(NotKept::Never(MessageError::new(
                "too_many",
                "the mail has more files than are kept",
            ))),
        };
        let kept = match kept {
            Ok(medium) => Ok(medium.stored()),
            Err(NotKept::Never(error)) => Err(error),
            Err(NotKept::Later(error)) => return Err(error),
        };
        email::keep(&mut message.content, attachment, kept);
    }
    Ok(())
}

/// Why a file is not kept.
enum NotKept {
    /// It will pass.
    Later(ApiError),
    Never(MessageError),
}

async fn one(
    (media, tenants): (&Media, &Tenants),
    account: &Account,
    (mail, attachment): (&str, usize),
    shown: &Attachment,
    bytes: &[u8],
) -> Result<Medium, NotKept> {
    let id = id_of(account, mail, attachment, bytes);
    let later = |error: storage::StoreError| NotKept::Later(error.into());
    // The mail was delivered before.
    if let Some(medium) = media.get(account.tenant, id).await.map_err(later)? {
        return Ok(medium);
    }
    let size = bytes.len() as u64;
    let mut incoming = media.begin(account.tenant, tenants.id(), size).await.map_err(not_kept)?;
    incoming.write(bytes).await.map_err(not_kept)?;
    let content = incoming.mime_type();
    let mime_type = as_declared(content, shown.mime_type.as_deref());
    let draft = Draft {
        id,
        mime_type: mime_type.unwrap_or_else(|_| content.to_owned()),
        filename: shown.filename.clone(),
        origin: Origin::Mailed { account: account.id, mail: mail.to_owned() },
        at: tenants.now(),
    };
    incoming.keep(draft).await.map_err(not_kept)
}

/// The id of a file is that of its place in its mail and of its content: what is delivered again is
/// the same file, and who writes under the id of another's mail writes no file of it.
fn id_of(account: &Account, mail: &str, attachment: usize, bytes: &[u8]) -> MediaId {
    let mut hash = Sha256::new();
    hash.update(account.id.0.as_bytes());
    hash.update((mail.len() as u64).to_le_bytes());
    hash.update(mail);
    hash.update((attachment as u64).to_le_bytes());
    hash.update(bytes);
    media::id_of(hash)
}

fn not_kept(failed: NotStored) -> NotKept {
    match failed {
        NotStored::Full => {
            let message = "the organization's files take all the room they have";
            NotKept::Never(MessageError::new("full", message))
        }
        NotStored::TooLarge | NotStored::Taken => {
            NotKept::Never(MessageError::new("damaged", "the file could not be kept as it came"))
        }
        NotStored::Store(failed) => NotKept::Later(failed.into()),
    }
}
