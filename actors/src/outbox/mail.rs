//! One message as a mail, to its mail server, once.

use std::time::Duration;

use engine::account::Account;
use engine::channel::email::{self, Enclosure, Paper, Smtp};
use engine::channel::{Outbound, Outcome, Outgoing};
use engine::id::TenantId;
use engine::message::{MessageRow, SenderKind};
use engine::saying::{Mail, Media, Saying, Source};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::line::Line;
use super::send::{refused, unread};
use super::{Outbox, Slip};

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
        let ended = self.mailed(slip, account, row, outbound).await;
        let outcome = ended.unwrap_or_else(|outcome| outcome);
        self.noted(slip, line, outcome, (left, Duration::ZERO))
    }

    async fn mailed(
        &self,
        slip: &Slip,
        account: &Account,
        row: &MessageRow,
        outbound: &Outbound,
    ) -> Result<Outcome, Outcome> {
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
        // Files lie in memory until their mail has left.
        let (place, most) = match mail.files.is_empty() {
            true => (None, 0),
            false => {
                let (turn, most) = self.0.mailer.place(slip.tenant).await;
                (Some(turn), most)
            }
        };
        let files = self.enclosed(slip.tenant, mail, most).await?;
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
        let delivered = Box::pin(self.0.mailer.deliver(&smtp, &letter)).await;
        drop(place);
        Ok(email::outcome(delivered, &letter.id))
    }

    /// The bytes of a mail's files, at most so many.
    async fn enclosed(
        &self,
        tenant: TenantId,
        mail: &Mail,
        most: u64,
    ) -> Result<Vec<Enclosure>, Outcome> {
        let (mut files, mut room) = (Vec::new(), most);
        for file in &mail.files {
            let enclosed = self.enclosure(tenant, file, room).await?;
            room = room.saturating_sub(enclosed.bytes.len() as u64);
            files.push(enclosed);
        }
        Ok(files)
    }

    async fn enclosure(
        &self,
        tenant: TenantId,
        file: &Media,
        room: u64,
    ) -> Result<Enclosure, Outcome> {
        let too_large = || refused("too_large", "the files are larger than a mail may carry");
        let files = &self.0.files;
        let name = file.filename.clone();
        match &file.from {
            Source::Stored(stored) => {
                let failed = |_| unread("the file could not be read");
                let medium = files.media.get(tenant, stored.id).await.map_err(failed)?;
                let medium = medium.ok_or_else(|| refused("no_file", "the file is gone"))?;
                if medium.size > room {
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
                let failed = |_| unread("the file could not be had from its link");
                let mut download = files.downloads.of_link(url).await.map_err(failed)?;
                let mime_type = download.mime_type().unwrap_or_default();
                let mut bytes = Vec::new();
                while let Some(piece) = download.next().await.map_err(failed)? {
                    if (bytes.len() + piece.len()) as u64 > room {
                        return Err(too_large());
                    }
                    bytes.extend_from_slice(&piece);
                }
                let name = name.or_else(|| named(url));
                Ok(Enclosure { name, mime_type, bytes })
            }
            Source::Provider(_) => Err(refused("no_file", "the file is not here")),
        }
    }
}

/// The name that a link ends in.
fn named(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    engine::text::filename(path).filter(|name| name.contains('.'))
}
