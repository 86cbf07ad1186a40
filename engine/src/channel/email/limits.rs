//! What a mail may say, looked at before anything is stored.

use super::html;
use crate::resource::Invalid;
use crate::saying::{Mail, Saying, Source, link};
use crate::text;

/// The longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 255;
/// The longest text, in characters.
const TEXT_CHARS_MAX: usize = 65_536;
/// The longest HTML, in bytes.
const HTML_BYTES_MAX: usize = 262_144;

/// Brings a mail into the form in which it is sent, or says what is wrong.
pub(in crate::channel) fn check(saying: &mut Saying) -> Result<(), Invalid> {
    match saying {
        Saying::Text(text) => {
            let text = Some(std::mem::take(text));
            *saying = Saying::Mail(Mail { text, ..Mail::default() });
        }
        Saying::Media(media) => {
            let (text, files) = (media.caption.take(), vec![media.clone()]);
            *saying = Saying::Mail(Mail { text, files, ..Mail::default() });
        }
        _ => {}
    }
    let mail = match saying {
        Saying::Mail(mail) => mail,
        Saying::Text(_) | Saying::Media(_) => return Err(not_here("text")),
        Saying::Location(_) => return Err(not_here("location")),
        Saying::Contacts(_) => return Err(not_here("contacts")),
        Saying::Interactive(_) => return Err(not_here("interactive")),
        Saying::Template(_) => return Err(not_here("template")),
    };
    if let Some(subject) = &mail.subject {
        if let Some(wrong) = text::wrong(subject, SUBJECT_CHARS_MAX) {
            return Err(Invalid::field("subject", wrong));
        }
        if subject.contains(char::is_control) || super::one_line(subject).is_none() {
            return Err(Invalid::field("subject", "must be one line, without control characters"));
        }
    }
    if let Some(wrong) = mail.text.as_ref().and_then(|said| text::wrong(said, TEXT_CHARS_MAX)) {
        return Err(Invalid::field("text", wrong));
    }
    check_html(mail)?;
    for (n, file) in mail.files.iter_mut().enumerate() {
        if file.caption.is_some() {
            let message = "is not shown in a mail; write it into the `text`";
            return Err(Invalid::field(format!("attachments[{n}].caption"), message));
        }
        if let Source::Link(url) = &file.from
            && let Some(wrong) = link(url)
        {
            return Err(Invalid::field(format!("attachments[{n}].url"), wrong));
        }
        if let Some(name) = &mut file.filename {
            let wrong = "must be the name of a file";
            let path = || format!("attachments[{n}].filename");
            *name = text::filename(name).ok_or_else(|| Invalid::field(path(), wrong))?;
        }
    }
    Ok(())
}

/// Only what can be shown of it is sent, and a text beside it.
fn check_html(mail: &mut Mail) -> Result<(), Invalid> {
    let Some(page) = &mail.html else { return Ok(()) };
    let wrong = |message: String| Err(Invalid::field("html", message));
    if page.len() > HTML_BYTES_MAX {
        return wrong(format!("must have at most {HTML_BYTES_MAX} bytes"));
    }
    let Some(clean) = html::sanitised(page) else {
        return wrong("has more elements than can be looked at; make it simpler".to_owned());
    };
    let read = html::text(&clean);
    let shows = text::wrong(&read, usize::MAX).is_none() || clean.contains("<img");
    if !shows {
        return wrong("must show something".to_owned());
    }
    if mail.text.is_none() && !read.is_empty() {
        mail.text = Some(read);
    }
    mail.html = Some(clean);
    Ok(())
}

fn not_here(field: &str) -> Invalid {
    Invalid::field(field, "cannot be sent by email")
}
