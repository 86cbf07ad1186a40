//! The entries of a body: opened just far enough to know which account each is for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::event::{Around, decode};
use super::introduction::{self, Introduction};
use crate::channel::reading::{CHANGES_MAX, ITEMS_MAX, dead, item, items as items_of, sent_text};
use crate::channel::webhook::NotAnEnvelope;
use crate::channel::{Channel, Inbound};
use crate::time::Timestamp;

/// What happened to one account.
#[derive(Debug)]
pub struct Entry<'a> {
    pub channel: Channel,
    /// The page, or the professional account of Instagram.
    pub id: Option<String>,
    /// As it was sent (JSON).
    pub raw: &'a RawValue,
    contents: Option<Contents<'a>>,
}

/// What is in an entry, each part as it was sent.
#[derive(Debug, Deserialize)]
struct Contents<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messaging: Vec<&'a RawValue>,
    /// The same, while another app answers the person.
    #[serde(borrow, default)]
    standby: Vec<&'a RawValue>,
    /// What happens in public.
    #[serde(borrow, default)]
    changes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    entry: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change {
    field: Option<String>,
}

/// The id of an entry that Meta's dashboard sends as a test.
const TEST: &str = "0";

/// Opens a body of this channel. An entry that is not what it should be is one that nobody can read,
/// so that it is not lost.
pub fn open(channel: Channel, body: &[u8]) -> Result<Vec<Entry<'_>>, NotAnEnvelope> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| NotAnEnvelope::NotJson)?;
    let entries: Vec<&RawValue> = body
        .entry
        .and_then(|entry| serde_json::from_str(entry.get()).ok())
        .ok_or(NotAnEnvelope::NoEntries)?;
    if entries.len() > CHANGES_MAX {
        return Err(NotAnEnvelope::TooManyChanges);
    }
    let (mut items, mut opened) = (0, Vec::with_capacity(entries.len()));
    for raw in entries {
        let mut entry = one(channel, raw);
        items += entry.contents.as_ref().map_or(0, Contents::items);
        entry.contents = entry.contents.filter(|_| items <= ITEMS_MAX);
        opened.push(entry);
    }
    Ok(opened)
}

/// Opens one entry again that was kept.
pub fn reopen(channel: Channel, raw: &str) -> Option<Entry<'_>> {
    let entry = one(channel, serde_json::from_str(raw).ok()?);
    entry.contents.is_some().then_some(entry)
}

/// The items of what was kept of somebody who is known by now; `None`: it is of nobody who is.
pub fn met(
    channel: Channel,
    kept: &str,
    known: &BTreeMap<String, String>,
    now: Timestamp,
) -> Option<Vec<Inbound>> {
    let told = introduction::told(kept, known)?;
    Some(reopen(channel, &told)?.decode(now))
}

fn one(channel: Channel, raw: &RawValue) -> Entry<'_> {
    let contents = serde_json::from_str::<Contents<'_>>(raw.get()).ok();
    let id = match &contents {
        Some(contents) => contents.id,
        None => serde_json::from_str::<Id<'_>>(raw.get()).ok().and_then(|entry| entry.id),
    };
    Entry { channel, id: id.and_then(sent_text), raw, contents }
}

impl Entry<'_> {
    /// Whether it is a test of Meta's dashboard, and about nobody.
    pub fn is_test(&self) -> bool {
        self.id.as_deref() == Some(TEST)
    }

    /// Its items, each on its own. `now` tells which of the provider's times are plausible.
    pub fn decode(&self, now: Timestamp) -> Vec<Inbound> {
        let Some(contents) = &self.contents else {
            let wrong = "the entry is not what an entry should be";
            return vec![dead(wrong, self.raw.get().to_owned())];
        };
        let account = self.id.as_deref().unwrap_or_default();
        let around = Around { channel: self.channel, account, now };
        let mut items = Vec::new();
        for (list, events) in [("messaging", &contents.messaging), ("standby", &contents.standby)] {
            for raw in events {
                let kept = || self.kept_alone(list, raw);
                let wrong = "the event is not what an event should be";
                items
                    .extend(items_of(raw, kept, wrong, |event| decode(&event, raw.get(), &around)));
            }
        }
        items.extend(contents.changes.iter().map(|raw| {
            let kept = || self.kept_alone("changes", raw);
            item(raw, kept, "the change is not what a change should be", |change: Change| {
                Ok(Inbound::Ignored(in_public(change.field.as_deref().ok_or("it has no field")?)))
            })
        }));
        if items.is_empty() {
            items.push(Inbound::Ignored("nothing"));
        }
        items
    }

    /// Who turns out to be whom in it.
    pub fn introductions(&self) -> Vec<Introduction> {
        let events = self.contents.iter().flat_map(|contents| &contents.messaging);
        events.filter_map(|event| introduction::of(event)).collect()
    }

    /// The references by which alone it names somebody.
    pub fn references(&self) -> Vec<String> {
        let events = self.contents.iter().flat_map(|contents| &contents.messaging);
        events.filter_map(|event| introduction::reference_alone(event)).collect()
    }

    /// Of it one item of one of its lists.
    fn kept_alone(&self, list: &str, item: &RawValue) -> String {
        format!(r#"{{"id":{},"{list}":[{}]}}"#, json!(self.id), item.get())
    }
}

/// What is told apart of what happens in public, when it is counted.
fn in_public(field: &str) -> &'static str {
    match field {
        "comments" | "live_comments" => "comment",
        "mentions" | "mention" => "mention",
        "feed" | "group_feed" => "feed",
        _ => "event",
    }
}

impl Contents<'_> {
    fn items(&self) -> usize {
        self.messaging.len() + self.standby.len() + self.changes.len()
    }
}
