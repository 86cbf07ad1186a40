//! One message as a mail, to its mail server, once.

use std::time::Duration;

use engine::account::Account;
use engine::channel::email::{self, Enclosure, Letter, Paper, Smtp};
use engine::channel::{Outbound, Outcome, Outgoing, Slow};
use engine::id::TenantId;
use engine::message::{MessageRow, SenderKind};
use engine::saying::{Mail, Media, Saying, Source};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use super::line::Line;
use super::send::{ours, refused, taken_over, unread};
use super::{Outbox, Slip};
use crate::downloads::NotRead;
use crate::mailer::Ready;
use crate::turns::Turn;

/// A mail whose server waits for its content.
struct Begun {
    ready: Ready,
    letter: Letter,
    /// Held until it has left.
    place: Option<Turn>,
}

/// A mail server in trouble is left alone for so long: it is the same for all of its mails.
const SERVER_RESTS: Duration = Duration::from_secs(60);

impl Outbox {
    /// Makes the mail and hands it over, and says how that ended.
    pub(super) async fn mail(
        &self,
        slip: &Slip,
        account: &Account,
        (row, outbound): (&MessageRow, &Outbound),
        line: &Line,
    ) -> Outcome {
        let left = Instant::now();
        // Until a server waits for the content, a stop leaves nothing unknown.
        let begun = tokio::select! {
            biased;
            begun = Box::pin(self.begun(slip, account, row, outbound)) => begun,
            () = self.stops() => Err(ours("the server stopped before the mail had left")),
        };
        let outcome = match begun {
            Ok(_) if !(self.0.may_act)() => taken_over(),
            Ok(Begun { ready, letter, place: _place }) => {
                let delivered = Box::pin(self.0.mailer.hand_over(ready, &letter)).await;
                email::outcome(delivered, &letter.id)
            }
            Err(outcome) => outcome,
        };
        let rests = match &outcome {
            Outcome::Retry { slow: Slow::Account, .. } => {
                SERVER_RESTS.min(self.0.options.throttle_wait)
            }
            _ => Duration::ZERO,
        };
        self.noted((slip, account), line, outcome, (left, rests)).await
    }

    async fn begun(
        &self,
        slip: &Slip,
        account: &Account,
        row: &MessageRow,
        outbound: &Outbound,
    ) -> Result<Begun, Outcome> {
        let smtp = Smtp::of(account);
        let smtp = smtp.ok_or_else(|| {
            refused("no_smtp", "the account has no `smtp_url` through which it could send")
        })?;
        let Outgoing::Message { saying: Saying::Mail(mail), .. } = &outbound.what else {
            return Err(refused("no_content", "there is nothing that could be sent"));
        };
        let (to, copies) = email::recipients(row.mail.as_ref(), &outbound.to);
        if to.is_empty() {
            return Err(refused("no_recipient", "the contact has no email address"));
        }
        let (place, files) = self.enclosed(slip.tenant, mail).await?;
        let inbox = &account.account_key;
        let domain = inbox.rsplit_once('@').map_or(inbox.as_str(), |(_, domain)| domain);
        let references = row.mail.as_ref().map_or(&[][..], |head| &head.references);
        let paper = Paper {
            from: inbox,
            name: account.text("sender_name"),
            to: &to,
            copies: &copies,
            reply_to: email::reply_address(&self.0.reply_key, inbox, slip.thread),
            id: outbound.opaque.mail_id(domain),
            references,
            at: row.message.created_at,
            is_automatic: row.message.sender.kind != SenderKind::Agent,
            mail,
        };
        let letter = email::compose(&paper, files);
        let letter = letter.map_err(|bad| refused("bad_address", &bad.to_string()))?;
        match self.0.mailer.begin(&smtp, &letter).await {
            Ok(ready) => Ok(Begun { ready, letter, place }),
            Err(ended) => Err(email::outcome(ended, &letter.id)),
        }
    }

    /// The files of a mail, and the place in which they lie in memory until it has left.
    async fn enclosed(
        &self,
        tenant: TenantId,
        mail: &Mail,
    ) -> Result<(Option<Turn>, Vec<Enclosure>), Outcome> {
        if mail.files.is_empty() {
            return Ok((None, Vec::new()));
        }
        let place = self.0.mailer.place(tenant).await;
        let (mut room, patience) = self.0.mailer.files();
        let gathering = async {
            let mut files = Vec::new();
            for file in &mail.files {
                let enclosed = self.enclosure(tenant, file, room).await?;
                room = room.saturating_sub(enclosed.bytes.len());
                files.push(enclosed);
            }
            Ok(files)
        };
        // Others wait for the place: all files together have so long.
        let files = timeout(patience, gathering).await;
        let files = files.unwrap_or_else(|_| Err(unread("the files did not come in time")))?;
        Ok((Some(place), files))
    }

    async fn enclosure(
        &self,
        tenant: TenantId,
        file: &Media,
        room: usize,
    ) -> Result<Enclosure, Outcome> {
        let too_large = || refused("too_large", "the files are larger than a mail may carry");
        let files = &self.0.files;
        let name = file.filename.clone();
        match &file.from {
            Source::Stored(stored) => {
                let failed = |_| ours("the file could not be read");
                let medium = files.media.get(tenant, stored.id).await.map_err(failed)?;
                let medium = medium.ok_or_else(|| refused("no_file", "the file is gone"))?;
                if medium.size > room as u64 {
                    return Err(too_large());
                }
                let mut pieces = files.media.read(&medium, 0..medium.size).await.map_err(failed)?;
                let mut bytes = Vec::with_capacity(usize::try_from(medium.size).unwrap_or(0));
                while let Some(piece) = pieces.next().await {
                    bytes.extend_from_slice(&piece.map_err(failed)?);
                }
                Ok(Enclosure { name, mime_type: medium.mime_type, bytes })
            }
            Source::Link(url) => {
                let download = files.downloads.of_link(url).await.map_err(not_had)?;
                let mime_type = download.mime_type().unwrap_or_default();
                let bytes = download.whole(room).await.map_err(not_had)?.ok_or_else(too_large)?;
                let name = name.or_else(|| named(url));
                Ok(Enclosure { name, mime_type, bytes })
            }
            Source::Provider(_) => Err(refused("no_file", "the file is not here")),
        }
    }
}

/// What becomes of a mail whose file cannot be had from its link.
fn not_had(why: NotRead) -> Outcome {
    match why {
        NotRead::Passing(_) => unread("the file could not be had from its link"),
        NotRead::Gone => refused("no_file", "the file is not at its link any more"),
        NotRead::Refused => refused("no_file", "the file's link is not for everybody"),
        NotRead::Moved => {
            refused("no_file", "the file's link leads on to another address; give that one")
        }
        NotRead::NoFile => refused("no_file", "the file's link leads to no file"),
        NotRead::Foreign => {
            refused("no_file", "the file's link leads to where none is fetched from")
        }
    }
}

/// The name that a link ends in.
fn named(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    engine::text::filename(path).filter(|name| name.contains('.'))
}
