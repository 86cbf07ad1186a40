//! What a mail says: all of it in one message.

use super::Media;
use super::new_message::{Asked, NewAttachment, NewKind, NewMessage, media, other_kind};
use crate::media::Medium;
use crate::resource::Invalid;

/// A mail: words in one form or in two, and files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mail {
    /// Where it is not given, that of what is answered.
    pub subject: Option<String>,
    pub text: Option<String>,
    pub html: Option<String>,
    pub files: Vec<Media>,
}

/// The most files of a mail.
pub const MAIL_FILES_MAX: usize = 20;

impl NewMessage {
    /// The mail that it asks for, with these files of ours that the caller may send.
    pub(super) fn mail(self, files: &[Medium]) -> Result<Asked, Invalid> {
        let attachments = self.attachments.unwrap_or_default();
        for (field, is_given) in [
            ("location", self.location.is_some()),
            ("contacts", self.contacts.is_some_and(|list| !list.is_empty())),
            ("interactive", self.interactive.is_some()),
            ("template", self.template.is_some()),
            ("reaction", self.reaction.is_some()),
        ] {
            if is_given {
                return Err(Invalid::field(field, "cannot be sent by email"));
            }
        }
        match self.kind {
            None | Some(NewKind::Text) => {}
            Some(kind) if kind.field() == "attachments" && !attachments.is_empty() => {}
            Some(_) => return Err(other_kind("text")),
        }
        if self.text.is_none() && self.html.is_none() && attachments.is_empty() {
            return Err(Invalid::field("text", "is required"));
        }
        if attachments.len() > MAIL_FILES_MAX {
            let message = format!("must have at most {MAIL_FILES_MAX} entries");
            return Err(Invalid::field("attachments", message));
        }
        let file = |(n, attachment): (usize, NewAttachment)| {
            let named = |id| files.iter().find(|medium| medium.id == id)?.filename.clone();
            let name = attachment.media_id.and_then(named);
            let file = media(attachment, n, files)?;
            Ok(Media { filename: file.filename.clone().or(name), ..file })
        };
        let files = attachments.into_iter().enumerate().map(file).collect::<Result<_, _>>()?;
        let mail = Mail { subject: self.subject, text: self.text, html: self.html, files };
        Ok(Asked::Message { saying: super::Saying::Mail(mail), reply_to: self.reply_to_message_id })
    }
}
