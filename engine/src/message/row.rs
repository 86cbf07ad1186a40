//! A message as it is stored: where its row lies, what it said before, and who reacted to it.

use serde::{Deserialize, Serialize, Serializer};

use super::{Content, Message, Reaction, Sender, bytes};
use crate::id::{MediaId, MessageId};
use crate::time::Timestamp;

/// Where a message's row lies in its conversation: `block` is that of the first seq of the commit
/// that made it. It stands in nearly everything that is stored, many times in a head, and is written
/// as its two numbers; it is read with their names, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Place {
    pub block: u32,
    /// The message's own number in its conversation, from 1.
    pub ordinal: u64,
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.block, self.ordinal).serialize(to)
    }
}

/// A message as it is stored: with its place, and what only the engine needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageRow {
    pub message: Message,
    pub place: Place,
    /// What the provider sent, where the engine does not understand it (JSON).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// How often a send was begun.
    #[serde(default)]
    pub attempts: u32,
    /// What it said before, oldest first: as it came, and the newest edits but the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Version>,
    /// Where its newest content lies once more, since the fact that brought it became durable
    /// before this row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Place>,
    /// The last reaction of each person, taken back ones too: what is older changes nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reacted: Vec<Reacted>,
    /// The desk's newest reaction, until nothing is to be heard of it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reacting: Option<Reacting>,
    /// Of a mail: what its headers say beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailHead>,
}

/// What is kept of a mail's headers, for the answers to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailHead {
    /// The address of whoever wrote it; of one of ours, of whoever it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The ids of the mails that it answers, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
}

/// What a message said at some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// When it was changed to this; `None`: as it came.
    pub at: Option<Timestamp>,
    pub content: Content,
}

/// A reaction as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reacted {
    pub sender: Sender,
    /// `None`: taken back.
    pub emoji: Option<String>,
    pub at: Timestamp,
}

/// A reaction of the desk, on its way or sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reacting {
    /// Its own id: it is no message, and is sent like one.
    pub id: MessageId,
    pub sender: Sender,
    /// `None`: taken back.
    pub emoji: Option<String>,
    /// What there was before, and is again if this one fails later.
    pub before: Option<String>,
    /// The provider's id, once it was taken.
    pub provider_id: Option<String>,
}

/// So many earlier versions of a message are kept: the first, and the newest ones.
pub const VERSIONS_MAX: usize = 10;
/// So many people's reactions to one message are kept.
pub const REACTIONS_MAX: usize = 256;

impl MessageRow {
    /// One that is new.
    pub fn new(message: Message, place: Place) -> Self {
        let (earlier, reacted) = (Vec::new(), Vec::new());
        let (raw, content, reacting, mail) = (None, None, None, None);
        Self { message, place, raw, attempts: 0, earlier, content, reacted, reacting, mail }
    }

    /// What it says.
    pub fn content(&self) -> Content {
        let Message { kind, text, attachments, payload, .. } = &self.message;
        let Message { visible_text, subject, html, .. } = &self.message;
        Content {
            kind: *kind,
            text: text.clone(),
            visible_text: visible_text.clone(),
            subject: subject.clone(),
            html: html.clone(),
            attachments: attachments.clone(),
            payload: payload.clone(),
            raw: self.raw.clone(),
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let Message { text, visible_text, subject, html, payload, attachments, .. } = &self.message;
        let earlier = self.earlier.iter().map(|version| version.content.bytes());
        let texts = [text, visible_text, subject, html, payload, &self.raw];
        let references = self.mail.iter().flat_map(|mail| &mail.references).map(String::len);
        bytes(&texts, attachments) + earlier.sum::<usize>() + references.sum::<usize>()
    }

    /// The files of ours that it shows, or showed before it was changed.
    pub fn media(&self) -> Vec<MediaId> {
        let earlier = self.earlier.iter().flat_map(|version| &version.content.attachments);
        let all = self.message.attachments.iter().chain(earlier);
        all.filter_map(|attachment| attachment.media_id).collect()
    }

    /// Says this from now on.
    pub fn say(&mut self, content: Content) {
        let Content { kind, text, visible_text, subject, html, attachments, payload, raw } =
            content;
        let message = &mut self.message;
        (message.visible_text, message.subject, message.html) = (visible_text, subject, html);
        (message.kind, message.text, message.payload) = (kind, text, payload);
        message.attachments = attachments;
        self.raw = raw;
    }

    /// Its author changed it at some time, not after deleting it. All orders of the same edits end
    /// the same.
    pub(crate) fn edit(&mut self, at: Timestamp, content: Option<Content>) {
        let newest = self.message.edited_at.is_none_or(|edited| at >= edited);
        if let Some(content) = content.filter(|_| self.message.deleted_at.is_none()) {
            if newest {
                let before = Version { at: self.message.edited_at, content: self.content() };
                self.earlier.push(before);
                self.say(content);
            } else {
                let behind = self.earlier.iter().rposition(|version| version.at <= Some(at));
                let place = behind.map_or(0, |behind| behind + 1);
                self.earlier.insert(place, Version { at: Some(at), content });
            }
            if self.earlier.len() > VERSIONS_MAX {
                // The second: the first is what was said.
                self.earlier.remove(1);
            }
        }
        self.message.edited_at = self.message.edited_at.max(Some(at));
    }

    /// Its author deleted it: all that was said is gone, where the customer came from, and what
    /// others thought of it.
    pub(crate) fn delete(&mut self, at: Timestamp) {
        let kind = self.message.kind;
        self.say(Content { kind, ..Content::default() });
        // What is said to have been changed later never was, whichever comes first. A provider's times
        // are seconds: one holds both.
        let edits = self.earlier.drain(..).filter_map(|version| version.at);
        let edits = edits.chain(self.message.edited_at);
        self.message.edited_at = edits.filter(|edited| *edited <= at).max();
        self.reacted.clear();
        self.message.reactions.clear();
        self.message.referral = None;
        (self.reacting, self.message.reaction_error) = (None, None);
        (self.message.deleted_at, self.content) = (Some(at), None);
    }

    /// Whether a reaction changes anything: the last one of a person counts.
    pub fn would_take(&self, reaction: &Reacted) -> bool {
        let mut known = self.reacted.iter();
        self.message.deleted_at.is_none()
            && match known.find(|known| known.sender.is_one_with(&reaction.sender)) {
                Some(known) => known.at <= reaction.at && known != reaction,
                None => self.reacted.len() < REACTIONS_MAX,
            }
    }

    /// The emoji of this person, or of whoever is one with them.
    pub(crate) fn emoji_of(&self, sender: &Sender) -> Option<&str> {
        let known = self.reacted.iter().find(|known| known.sender.is_one_with(sender))?;
        known.emoji.as_deref()
    }

    /// Takes a reaction, or that one is taken back.
    pub(crate) fn react(&mut self, reaction: Reacted) {
        if !self.would_take(&reaction) {
            return;
        }
        self.reacted.retain(|known| !known.sender.is_one_with(&reaction.sender));
        let behind = self.reacted.iter().rposition(|known| known.at <= reaction.at);
        self.reacted.insert(behind.map_or(0, |behind| behind + 1), reaction);
        let shown = |reacted: &Reacted| {
            let Reacted { sender, emoji, .. } = reacted.clone();
            emoji.map(|emoji| Reaction { emoji, sender })
        };
        self.message.reactions = self.reacted.iter().filter_map(shown).collect();
    }
}

/// How many seqs a block of a conversation's log holds. A commit lies whole in the block of its
/// first seq.
pub const BLOCK_SEQS: u64 = 512;

/// The block of a commit whose first fact has this seq.
pub fn block_of(first_seq: u64) -> u32 {
    u32::try_from(first_seq / BLOCK_SEQS).unwrap_or(u32::MAX)
}
