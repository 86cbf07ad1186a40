//! A mail, whichever way it came.

use super::address::Mailbox;
use super::head::Head;
use super::mime::Unreadable;

/// A mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mail {
    pub(super) head: Head,
    /// The first sender.
    pub(super) from: Option<Mailbox>,
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    /// As it came.
    pub(super) html: Option<String>,
    /// Its own part of its text, where the provider has told it apart.
    pub(super) visible: Option<String>,
    pub(super) files: Vec<File>,
    /// The provider's id of the post.
    pub(super) posted_id: Option<String>,
    /// Why no more of it is read than its head.
    pub(super) unreadable: Option<Unreadable>,
}

/// A file that a mail carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub name: Option<String>,
    /// As the mail says it.
    pub mime_type: Option<String>,
    /// By which the mail's HTML shows it, without `<>`.
    pub content_id: Option<String>,
    /// The mail's HTML shows it.
    pub is_inline: bool,
    pub bytes: Vec<u8>,
    /// Where it can be fetched, where it did not come along.
    pub url: Option<String>,
    /// The provider's id of it, where it did not come along.
    pub provider_id: Option<String>,
    /// How large it is said to be, where it did not come along.
    pub size: Option<u64>,
}

/// The most files of one mail that are listed.
pub(super) const FILES_MAX: usize = 100;
