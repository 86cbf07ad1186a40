//! Webhooks of Meta's channels: a body is taken apart just far enough to know whose each part is,
//! and each part is read on its own once that is proven.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messaging::Introduction;
use super::whatsapp::{self, History};
use super::{Channel, Inbound, messaging};
use crate::account::Account;
use crate::consent::ContactNews;
use crate::news::News;
use crate::time::Timestamp;

/// Why a body cannot be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEnvelope {
    #[error("the body is not JSON")]
    NotJson,
    #[error("the body has no `object`")]
    NoObject,
    #[error("the body's `entry` is not a list")]
    NoEntries,
    #[error("the body has more changes than any provider puts into one")]
    TooManyChanges,
    #[error("nothing here understands `{0}`")]
    Unknown(String),
}

/// A part of a body that is for one account, or for all of a business account.
#[derive(Debug)]
pub enum Part<'a> {
    Whatsapp(whatsapp::Change<'a>),
    /// Of Messenger or Instagram.
    Messaging(messaging::Entry<'a>),
}

/// Whose a part is, as it says itself: nothing is believed before the account's signature fits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Meant<'p> {
    /// That of the account with this key.
    Account(&'p str),
    /// That of all numbers of a WhatsApp business account.
    Waba(String),
    /// Nobody's: it is a test of the provider's.
    Test,
    /// It does not say.
    Nobody,
}

/// What a part tells its account.
#[derive(Debug, Default)]
pub struct Read {
    pub items: Vec<Inbound>,
    pub of_contacts: Vec<ContactNews>,
    pub news: Vec<News>,
    /// The number that it came to, as digits, where it is said to be the account's.
    pub phone: Option<String>,
    pub history: History,
    /// Who turns out to be somebody of whom something was kept.
    pub introductions: Vec<Introduction>,
    /// References by which alone somebody is named, who may have been introduced before.
    pub references: Vec<String>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

/// The parts of a body, whichever of Meta's channels it comes from.
pub fn open(body: &[u8]) -> Result<Vec<Part<'_>>, NotAnEnvelope> {
    // Most are WhatsApp's and as they should be: that is seen by reading them at one go.
    if let Some(envelope) = whatsapp::open_regular(body) {
        return envelope.map(of_whatsapp);
    }
    let head: Head<'_> = serde_json::from_slice(body).map_err(|_| NotAnEnvelope::NotJson)?;
    let object = head.object.and_then(|object| serde_json::from_str::<String>(object.get()).ok());
    match object.ok_or(NotAnEnvelope::NoObject)?.as_str() {
        whatsapp::OBJECT => whatsapp::open(body).map(of_whatsapp),
        "instagram" => messaging(Channel::Instagram, body),
        "page" => messaging(Channel::Messenger, body),
        other => Err(NotAnEnvelope::Unknown(other.chars().take(64).collect())),
    }
}

fn of_whatsapp(envelope: whatsapp::Envelope<'_>) -> Vec<Part<'_>> {
    envelope.changes.into_iter().map(Part::Whatsapp).collect()
}

fn messaging(channel: Channel, body: &[u8]) -> Result<Vec<Part<'_>>, NotAnEnvelope> {
    Ok(messaging::open(channel, body)?.into_iter().map(Part::Messaging).collect())
}

/// The items of what was kept as a dead letter, as they are understood today.
pub fn reopen(account: &Account, raw: &str, now: Timestamp) -> Vec<Inbound> {
    let part = match account.channel {
        Channel::Whatsapp => whatsapp::reopen(raw).map(Part::Whatsapp),
        channel @ (Channel::Instagram | Channel::Messenger) => {
            messaging::reopen(channel, raw).map(Part::Messaging)
        }
        Channel::Email => None,
    };
    part.map(|part| part.items(now)).unwrap_or_default()
}

/// The items of a dead letter of somebody who is known by now, persons by the references that name
/// them; `None`: it is of nobody who is.
pub fn met(
    account: &Account,
    kept: &str,
    known: &BTreeMap<String, String>,
    now: Timestamp,
) -> Option<Vec<Inbound>> {
    match account.channel {
        channel @ (Channel::Instagram | Channel::Messenger) => {
            messaging::met(channel, kept, known, now)
        }
        Channel::Whatsapp | Channel::Email => None,
    }
}

impl Part<'_> {
    /// The channel that it comes from.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Whatsapp(_) => Channel::Whatsapp,
            Self::Messaging(entry) => entry.channel,
        }
    }

    /// Whose it is.
    pub fn meant(&self) -> Meant<'_> {
        match self {
            Self::Whatsapp(change) => match &change.phone_number_id {
                Some(number) => Meant::Account(number),
                None => whatsapp::waba(change).map_or(Meant::Nobody, Meant::Waba),
            },
            Self::Messaging(entry) if entry.is_test() => Meant::Test,
            Self::Messaging(entry) => entry.id.as_deref().map_or(Meant::Nobody, Meant::Account),
        }
    }

    /// As it was sent (JSON).
    pub fn raw(&self) -> &str {
        match self {
            Self::Whatsapp(change) => change.value.get(),
            Self::Messaging(entry) => entry.raw.get(),
        }
    }

    /// Its items. `now` tells which of the provider's times are plausible.
    fn items(&self, now: Timestamp) -> Vec<Inbound> {
        match self {
            Self::Whatsapp(change) => whatsapp::decode(change, now),
            Self::Messaging(entry) => entry.decode(now),
        }
    }

    /// All that it tells this account.
    pub fn read(&self, account: &Account, now: Timestamp) -> Read {
        let items = self.items(now);
        match self {
            Self::Whatsapp(change) => {
                // Only what comes from its own business account tells that it is of that.
                let is_own = change.entry_id.as_deref() == account.text("waba_id");
                Read {
                    items,
                    of_contacts: whatsapp::contact_news(change, now),
                    news: whatsapp::news(change, now),
                    phone: is_own.then(|| change.own_phone()).flatten(),
                    history: whatsapp::history(change, now),
                    ..Read::default()
                }
            }
            Self::Messaging(entry) => {
                let (introductions, references) = (entry.introductions(), entry.references());
                Read { items, introductions, references, ..Read::default() }
            }
        }
    }
}
