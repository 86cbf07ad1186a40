//! The files of one message, tried once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::account::Account;
use engine::channel::{Located, Missed};
use engine::conversation::{Command, Fetched, Target};
use engine::id::MediaId;
use engine::media::{self, Medium, Origin, Stored, is_sha256};
use engine::message::{Attachment, MessageError, MessageRow};
use sha2::{Digest, Sha256};
use storage::StoreError;
use storage::conversations::Unfetched;
use storage::media::{Draft, Incoming, NotStored, as_declared};
use tokio::time::sleep;

use super::Fetcher;
use crate::downloads::{Download, NotRead};
use crate::failure::Failure;

/// What is left to be fetched of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Something,
}

/// A file in its message, and how often an address of it was asked for in this try.
#[derive(Clone, Copy)]
struct Asked<'a> {
    row: &'a MessageRow,
    file: &'a Attachment,
    addresses: usize,
}

/// Why a file was not fetched.
enum NotFetched {
    /// It is to be tried again.
    Again(&'static str),
    /// The same, but not for long.
    AgainSoon(MessageError),
    /// It cannot be had.
    Never(MessageError),
}

/// How often each file was said to be gone, or came damaged.
pub(super) type Missing = HashMap<String, usize>;

/// The provider keeps the files of webhooks for so long (Cloud API reference, "Media").
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What the provider says to be gone, or what comes damaged, is tried so often: it may be too early.
const TRIES_MAX: usize = 3;
/// How often an address that is over is asked for anew in one try.
const ADDRESSES: usize = 2;
/// Waits between attempts to hand something to a conversation.
const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_secs(10);

impl Fetcher {
    /// Tries each of a message's files that is awaited.
    pub(super) async fn attempt(&self, one: &Unfetched, missed: &mut Missing) -> Left {
        let parts = &self.0.parts;
        let Ok(row) = parts.conversations.row(one.conversation, one.place).await else {
            return Left::Something;
        };
        let awaited = row.iter().flat_map(|row| &row.message.attachments);
        let awaited: Vec<_> = awaited.filter(|file| file.is_wanted()).collect();
        let Some(row) = row.as_ref().filter(|_| !awaited.is_empty()) else { return Left::Nothing };
        let mut left = Left::Nothing;
        for file in awaited {
            let Some(id) = file.source().map(Cow::into_owned) else { continue };
            let fetched = self.fetched(one, row, file, &id).await;
            let missed = missed.entry(id.clone()).or_default();
            let Some(outcome) = self.judged(fetched, row, missed) else {
                left = Left::Something;
                continue;
            };
            if !self.tell(one, id, outcome).await {
                left = Left::Something;
            }
        }
        left
    }

    /// What is told of a file; `None`: it is tried again.
    fn judged(
        &self,
        fetched: Result<Medium, NotFetched>,
        row: &MessageRow,
        missed: &mut usize,
    ) -> Option<Result<Medium, MessageError>> {
        let is_over = self.0.parts.tenants.now().since(row.message.created_at) >= KEPT;
        match fetched {
            Ok(medium) => Some(Ok(medium)),
            Err(NotFetched::Never(error)) => Some(Err(error)),
            Err(NotFetched::AgainSoon(error)) => {
                *missed += 1;
                (*missed >= TRIES_MAX).then_some(Err(error))
            }
            Err(NotFetched::Again(reason)) if is_over => Some(Err(error("too_late", reason))),
            Err(NotFetched::Again(reason)) => {
                tracing::debug!(reason, "a file is fetched again later");
                None
            }
        }
    }

    async fn fetched(
        &self,
        one: &Unfetched,
        row: &MessageRow,
        file: &Attachment,
        provider_media_id: &str,
    ) -> Result<Medium, NotFetched> {
        let parts = &self.0.parts;
        let id = id_of(one, row, provider_media_id);
        // It may have been stored before the last stop, and not told.
        if let Some(medium) = parts.media.get(one.tenant, id).await.map_err(store)? {
            return Ok(medium);
        }
        let state = parts.tenants.state(one.tenant).await.map_err(store)?;
        let account = state.and_then(|state| state.accounts.get(&one.account).cloned());
        let account = account.ok_or_else(|| never("no_account", "the channel account is gone"))?;
        let mut addresses = 0;
        loop {
            addresses += 1;
            let asked = Asked { row, file, addresses };
            match self.download(one, &account, asked).await? {
                Some((incoming, mime_type)) => {
                    let Unfetched { account, conversation, place, .. } = *one;
                    let (place, provider_media_id) = (Some(place), provider_media_id.to_owned());
                    let draft = Draft {
                        id,
                        mime_type,
                        filename: file.filename.clone(),
                        origin: Origin::Fetched { account, conversation, place, provider_media_id },
                        at: parts.tenants.now(),
                    };
                    return incoming.keep(draft).await.map_err(not_stored);
                }
                // The address was over: there is a new one.
                None if addresses < ADDRESSES => {}
                // Elsewhere the provider knows no other.
                None if file.url_expires => {
                    let message = "the address of the file is over";
                    return Err(NotFetched::AgainSoon(error("expired", message)));
                }
                None => return Err(NotFetched::Again("the address of the file is over")),
            }
        }
    }

    /// All bytes of a file, as the provider says they are, with its type; `None`: its address is
    /// over.
    async fn download(
        &self,
        one: &Unfetched,
        account: &Arc<Account>,
        asked: Asked<'_>,
    ) -> Result<Option<(Incoming, String)>, NotFetched> {
        let (parts, file) = (&self.0.parts, asked.file);
        let token = account.text("access_token").unwrap_or_default();
        let located = self.located(account, asked).await?;
        if located.size.is_some_and(|size| size > parts.options.bytes) {
            return Err(too_large());
        }
        let download = match file.url_expires {
            true => parts.downloads.of_address(&located.url).await,
            false => parts.downloads.of_provider(&located.url, token).await,
        };
        let download = match download {
            Ok(download) => download,
            Err(NotRead::Gone) => return Ok(None),
            Err(NotRead::Foreign) => {
                tracing::warn!(account = %account.id, "a file lies on none of `meta.media_hosts`");
                return Err(never("foreign", "the file lies where none is fetched from"));
            }
            Err(NotRead::Refused) => {
                let reason = "the file is refused; check the account's access token";
                return Err(NotFetched::Again(reason));
            }
            Err(NotRead::Passing(reason)) => return Err(NotFetched::Again(reason)),
            Err(NotRead::Moved | NotRead::NoFile) => {
                return Err(NotFetched::Again("where the file lies something else is answered"));
            }
        };
        let incoming = self.whole(one, download).await?;
        let hash = incoming.sha256();
        let said = [file.sha256.as_deref(), located.sha256.as_deref()];
        let is_whole = located.size.is_none_or(|size| size == incoming.size())
            && said.into_iter().flatten().all(|said| is_sha256(said, &hash))
            && incoming.size() > 0;
        if !is_whole {
            let message = "the file did not come as the provider says it is";
            return Err(NotFetched::AgainSoon(error("damaged", message)));
        }
        let content = incoming.mime_type();
        let mime_type = as_declared(content, file.mime_type.as_deref());
        Ok(Some((incoming, mime_type.unwrap_or_else(|_| content.to_owned()))))
    }

    /// Where a file can be had: at the address that came with it, and then where the provider says.
    async fn located(
        &self,
        account: &Account,
        Asked { row, file, addresses }: Asked<'_>,
    ) -> Result<Located, NotFetched> {
        let provider = &self.0.parts.provider;
        let token = account.text("access_token").unwrap_or_default();
        let url = file.url.clone().filter(|_| file.url_expires);
        let located = match url {
            Some(url) if addresses == 1 => Ok(Located { url, sha256: None, size: None }),
            Some(_) => {
                let over = || NotFetched::AgainSoon(error("expired", "the file's address is over"));
                let message = row.message.provider_message_id.as_deref().unwrap_or_default();
                let asked = account.channel.relocate(message, token).ok_or_else(over)?;
                let files = row.message.attachments.iter();
                let n = files.take_while(|one| !std::ptr::eq(*one, file)).count();
                account.channel.relocated(provider.perform(asked).await, n)
            }
            None => {
                let id = file.provider_media_id.as_deref().unwrap_or_default();
                let asked = account.channel.locate(id, token);
                let asked = asked.ok_or_else(|| never("no_file", "the provider names no file"))?;
                account.channel.located(provider.perform(asked).await)
            }
        };
        located.map_err(|missed| match missed {
            Missed::Passing(error) => {
                tracing::debug!(code = error.code, "the provider does not tell where a file is");
                NotFetched::Again("the provider does not tell where the file is")
            }
            Missed::Gone(error) => NotFetched::AgainSoon(error),
        })
    }

    async fn whole(&self, one: &Unfetched, mut file: Download) -> Result<Incoming, NotFetched> {
        let parts = &self.0.parts;
        if file.announced().is_some_and(|bytes| bytes > parts.options.bytes) {
            return Err(too_large());
        }
        let (object, most) = (parts.tenants.id(), parts.options.bytes);
        let mut incoming = parts.media.begin(one.tenant, object, most).await.map_err(not_stored)?;
        loop {
            match file.next().await {
                Ok(Some(piece)) => incoming.write(&piece).await.map_err(not_stored)?,
                Ok(None) => return Ok(incoming),
                Err(NotRead::Passing(reason)) => return Err(NotFetched::Again(reason)),
                Err(_) => return Err(NotFetched::Again("the file broke off")),
            }
        }
    }

    /// Tells a conversation what became of a file. Where its message does not wait for it any more
    /// the file goes. Answers whether it was told.
    async fn tell(
        &self,
        one: &Unfetched,
        provider_media_id: String,
        outcome: Result<Medium, MessageError>,
    ) -> bool {
        let Some(desk) = self.0.desk.get() else { return false };
        let stored: Result<Stored, MessageError> =
            outcome.as_ref().map(Medium::stored).map_err(MessageError::clone);
        let command =
            Command::Fetched(Fetched { place: one.place, provider_media_id, outcome: stored });
        let target = Target::Conversation(one.conversation);
        let mut wait = PATIENCE;
        let changed = loop {
            match desk.tell(one.thread, target, command.clone()).await {
                Ok(answer) => break answer.changed,
                Err(Failure::Refused(_)) => break false,
                Err(Failure::Stopping | Failure::Panicked) => return false,
                Err(Failure::Busy { .. } | Failure::Unavailable | Failure::Parked) => {
                    sleep(wait).await;
                    wait = (wait * 2).min(PATIENCE_MAX);
                }
            }
        };
        match outcome {
            Ok(medium) if !changed => self.remove(one.tenant, medium.id).await.is_ok(),
            _ => true,
        }
    }
}

/// The id of a file is that of its place: what is stored twice, because a stop came in between, is
/// one.
fn id_of(one: &Unfetched, row: &MessageRow, provider_media_id: &str) -> MediaId {
    let mut hash = Sha256::new();
    for part in [one.account.0, one.conversation.0, row.message.id.0] {
        hash.update(part.as_bytes());
    }
    hash.update(provider_media_id.as_bytes());
    media::id_of(hash)
}

fn error(code: &str, message: &str) -> MessageError {
    MessageError { code: code.to_owned(), message: message.to_owned() }
}

fn never(code: &str, message: &str) -> NotFetched {
    NotFetched::Never(error(code, message))
}

fn too_large() -> NotFetched {
    never("too_large", "the file is larger than files may be here")
}

fn store(failed: StoreError) -> NotFetched {
    tracing::warn!(error = %failed, "a file cannot be stored now");
    NotFetched::Again("the store cannot take the file now")
}

fn not_stored(error: NotStored) -> NotFetched {
    match error {
        NotStored::TooLarge => too_large(),
        NotStored::Full => {
            NotFetched::Again("the organization's files take all the room they have")
        }
        NotStored::Taken => NotFetched::Again("another file is being stored in its place"),
        NotStored::Store(error) => store(error),
    }
}
