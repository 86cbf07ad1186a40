//! How webhooks of Meta's channels are read: item by item, each within bounds, ids and times in the
//! forms in which they come.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Amender, IdentityChange, Inbound};
use crate::conversation::AHEAD_MAX;
use crate::time::Timestamp;

/// Longer ids name nothing: those of providers have about a hundred bytes.
pub(super) const ID_BYTES_MAX: usize = 1024;

/// A provider puts a thousand changes into a body. Each takes memory before anybody has signed it.
pub(super) const CHANGES_MAX: usize = 10_000;
/// More items of a body are not taken apart: each may become a letter, however small it is.
pub(super) const ITEMS_MAX: usize = 10_000;

/// The longest emoji, of several parts that are joined, has fewer bytes.
pub(super) const EMOJI_BYTES_MAX: usize = 128;

/// Larger items are not read: the longest text takes a tenth of it.
pub(super) const ITEM_BYTES_MAX: usize = 256 << 10;

/// A thing as it was sent, unless it is larger: a value takes many times as much memory.
pub(super) fn value_of(sent: &RawValue) -> Option<Value> {
    let is_small = sent.get().len() <= ITEM_BYTES_MAX;
    is_small.then(|| serde_json::from_str(sent.get()).ok())?
}

/// What is wrong where [`has_long_id`] says so.
pub(super) const LONG_ID: &str = "an id in it is too long";

/// The same, where it is no longer than an id; of anything else no value is made.
pub(super) fn sent_text(sent: &RawValue) -> Option<String> {
    let sent = sent.get();
    if sent.len() > ID_BYTES_MAX + "\"\"".len() {
        return None;
    }
    let quoted = sent.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(plain) = quoted.filter(|quoted| !quoted.contains('\\')) {
        return (!plain.is_empty()).then(|| plain.to_owned());
    }
    text(&serde_json::from_str(sent).ok()?).filter(|id| id.len() <= ID_BYTES_MAX)
}

/// An id, which some senders write as a number.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Nothing was sent before 2009, nor more than a day from now.
pub(super) fn plausible(seconds: i64, now: Timestamp) -> Option<Timestamp> {
    is_plausible(Timestamp::from_secs(seconds), now)
}

fn is_plausible(at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let first = Timestamp::from_secs(1_230_768_000);
    (at >= first && at <= now + AHEAD_MAX).then_some(at)
}

/// Whatever is larger counts milliseconds: as seconds it would be the year 5138.
const SECONDS_MAX: i64 = 100_000_000_000;

/// Seconds or milliseconds, as text or number: which of both, its size tells.
pub(super) fn instant(value: &Value) -> Option<Timestamp> {
    let number: i64 = text(value)?.trim().parse().ok()?;
    Some(if number < SECONDS_MAX { Timestamp::from_secs(number) } else { Timestamp(number) })
}

/// The same, if that can be.
pub(super) fn moment(value: Option<&Value>, now: Timestamp) -> Option<Timestamp> {
    is_plausible(instant(value?)?, now)
}

/// What tells a message without an id apart: the account, and all that was sent of it.
pub(super) fn fingerprint(account: &str, raw: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(account);
    hash.update([0]);
    hash.update(raw);
    hex::encode(hash.finalize())
}

/// Reads one item: what is wrong with it is a dead letter, and costs its neighbours nothing. `kept`
/// is what the letter holds, from which it can be read again.
pub(super) fn item<T: DeserializeOwned>(
    raw: &RawValue,
    kept: impl FnOnce() -> String,
    wrong: &str,
    read: impl FnOnce(T) -> Result<Inbound, &'static str>,
) -> Inbound {
    let read = |value| Ok(vec![read(value)?]);
    items(raw, kept, wrong, read).pop().unwrap_or(Inbound::Ignored("nothing"))
}

/// The same where one that is sent may be several.
pub(super) fn items<T: DeserializeOwned>(
    raw: &RawValue,
    kept: impl FnOnce() -> String,
    wrong: &str,
    read: impl FnOnce(T) -> Result<Vec<Inbound>, &'static str>,
) -> Vec<Inbound> {
    let reason = if raw.get().len() > ITEM_BYTES_MAX {
        "it is larger than anything that a provider sends"
    } else if let Ok(value) = serde_json::from_str(raw.get()) {
        // A bug that one item meets is not its neighbours'.
        match catch_unwind(AssertUnwindSafe(|| read(value))) {
            Ok(Ok(items)) if items.iter().any(has_long_id) => LONG_ID,
            Ok(Ok(items)) => return items,
            Ok(Err(reason)) => reason,
            Err(_) => "the program fails when it reads it",
        }
    } else {
        wrong
    };
    vec![dead(reason, kept())]
}

pub(super) fn dead(reason: &str, raw: String) -> Inbound {
    Inbound::Dead { reason: reason.to_owned(), raw }
}

/// Ids become keys of the store, and are kept in memory.
pub(super) fn has_long_id(item: &Inbound) -> bool {
    let (ids, handles, author) = match item {
        Inbound::Message(message) => {
            let ids = [message.provider_id.as_deref(), message.reply_to.as_deref()];
            (ids, &message.from, message.author.as_ref())
        }
        Inbound::Receipt(receipt) => {
            ([Some(&*receipt.provider_id), None], &receipt.recipient, None)
        }
        Inbound::Echo(echo) => {
            ([Some(&*echo.provider_id), echo.reply_to.as_deref()], &echo.to, None)
        }
        Inbound::Amendment(amendment) => {
            let ids = [amendment.provider_id.as_deref(), Some(&*amendment.target)];
            let author = match &amendment.by {
                Amender::Author(author) => Some(author),
                Amender::Customer | Amender::Business => None,
            };
            (ids, &amendment.customer, author)
        }
        Inbound::Identity(change) => {
            let IdentityChange { of, previous, current, provider_id, .. } = change;
            let handles = of.iter().chain(previous).chain(current).map(|handle| &handle.value);
            return handles.chain(provider_id).any(|id| id.len() > ID_BYTES_MAX);
        }
        Inbound::Watermark(mark) => ([None, None], &mark.customer, None),
        Inbound::Ignored(_) | Inbound::Dead { .. } => return false,
    };
    let of_author = author.into_iter().flat_map(|author| &author.handles);
    let handles = handles.iter().chain(of_author).map(|handle| &*handle.value);
    ids.into_iter().flatten().chain(handles).any(|id| id.len() > ID_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::item;
    use crate::channel::Inbound;

    #[test]
    fn an_item_on_which_the_reader_panics_is_a_dead_letter() {
        let raw = RawValue::from_string("{}".to_owned()).unwrap();
        let read = |_: Value| panic!("a bug of the reader");
        let dead = item(&raw, || "kept".to_owned(), "wrong", read);
        let reason = "the program fails when it reads it".to_owned();
        assert_eq!(dead, Inbound::Dead { reason, raw: "kept".to_owned() });
    }
}
