//! What is searched for, what a message is found by, and where in it that stands.

pub mod contact;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use crate::channel::email;
use crate::message::Message;
use crate::words::{Word, is_alone, words};

/// What somebody searches for: all of it has to be in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub phrases: Vec<Phrase>,
}

/// Words that stand one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    pub words: Vec<String>,
    /// It is one word, and those that begin with it are meant, too.
    pub begins: bool,
}

/// A part of a text that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "HighlightPart")]
pub struct Part {
    pub text: String,
    /// It is what was searched for.
    #[serde(rename = "match")]
    pub is_match: bool,
}

/// Of shorter words too many others are the beginning of.
const BEGINNING_CHARS: usize = 3;
/// So much of a text stands before what was found in it, and so much is shown, in characters.
const BEFORE_CHARS: usize = 40;
const SHOWN_CHARS: usize = 240;
/// A text is found by so many of its words.
pub const WORDS_MAX: usize = 10_000;

impl Wanted {
    /// Of what somebody typed: nothing in it has a meaning but letters and digits. What stands between
    /// two spaces is a phrase.
    pub fn of(typed: &str) -> Self {
        let phrases = typed.split_whitespace().map(|typed| {
            let words: Vec<_> = words(typed).map(|word| word.folded).collect();
            let begins = words.len() == 1
                && !is_alone(&words[0])
                && words[0].chars().count() >= BEGINNING_CHARS;
            Phrase { words, begins }
        });
        Self { phrases: phrases.filter(|phrase| !phrase.words.is_empty()).collect() }
    }

    /// How many words it has.
    pub fn words(&self) -> usize {
        self.phrases.iter().map(|phrase| phrase.words.len()).sum()
    }

    /// The texts in which something of it stands, each cut to the first place, in parts. A mail's page
    /// mostly says what its text says: it is shown where nothing else is.
    pub fn highlights(&self, message: &Message) -> Vec<Vec<Part>> {
        let found: Vec<_> = parts(message).filter_map(|text| self.highlight(text)).collect();
        if !found.is_empty() {
            return found;
        }
        page(message).and_then(|page| self.highlight(&page)).into_iter().collect()
    }

    fn highlight(&self, text: &str) -> Option<Vec<Part>> {
        let words: Vec<_> = words(text).take(WORDS_MAX).collect();
        let mut found = vec![false; words.len()];
        for phrase in &self.phrases {
            let length = phrase.words.len();
            for at in 0..(words.len() + 1).saturating_sub(length) {
                if phrase.stands(&words[at..at + length]) {
                    found[at..at + length].fill(true);
                }
            }
        }
        let first = words[found.iter().position(|found| *found)?].at.start;
        let found = words.iter().zip(&found).filter(|(_, found)| **found);
        Some(cut(text, first, found.map(|(word, _)| word)))
    }
}

impl Phrase {
    fn stands(&self, words: &[Word]) -> bool {
        self.words.iter().zip(words).all(|(wanted, word)| match self.begins {
            true => word.folded.starts_with(wanted),
            false => word.folded == *wanted,
        })
    }
}

/// The texts by which a message is found: all that people read of it.
pub fn texts(message: &Message) -> impl Iterator<Item = Cow<'_, str>> {
    parts(message).map(Cow::Borrowed).chain(page(message).map(Cow::Owned))
}

/// What it says, and the names in what it carries.
fn parts(message: &Message) -> impl Iterator<Item = &str> {
    let carried = message.attachments.iter().flat_map(|attachment| {
        let texts = [
            &attachment.caption,
            &attachment.filename,
            &attachment.name,
            &attachment.organization,
            &attachment.address,
        ];
        texts.into_iter().flatten()
    });
    // A caption is its message's text, too.
    let of_its_own = carried.filter(|text| message.text.as_ref() != Some(*text));
    message.subject.iter().chain(&message.text).chain(of_its_own).map(String::as_str)
}

/// What can be read of a mail's page, where that is not its text anyway.
fn page(message: &Message) -> Option<String> {
    let page = email::visible(message.html.as_deref()?);
    (message.text.as_ref() != Some(&page)).then_some(page)
}

/// A text around its first word that was found, in parts.
fn cut<'a>(text: &str, first: usize, found: impl Iterator<Item = &'a Word>) -> Vec<Part> {
    let before = text[..first].char_indices().rev().take(BEFORE_CHARS).last();
    let start = before.map_or(first, |(at, _)| at);
    let end =
        text[start..].char_indices().nth(SHOWN_CHARS).map_or(text.len(), |(at, _)| start + at);
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |text: &str, is_match: bool| match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.is_match == is_match => last.text.push_str(text),
        _ => parts.push(Part { text: text.to_owned(), is_match }),
    };
    if start > 0 {
        add("…", false);
    }
    let mut at = start;
    for word in found {
        let (from, to) = (word.at.start.min(end), word.at.end.min(end));
        add(&text[at..from], false);
        add(&text[from..to], true);
        at = to;
    }
    add(&text[at..end], false);
    if end < text.len() {
        add("…", false);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{Part, Phrase, SHOWN_CHARS, Wanted};

    fn shown(typed: &str, text: &str) -> Option<String> {
        let shown = |part: Part| match part.is_match {
            true => format!("[{}]", part.text),
            false => part.text,
        };
        Some(Wanted::of(typed).highlight(text)?.into_iter().map(shown).collect())
    }

    fn phrase(words: &[&str], begins: bool) -> Phrase {
        Phrase { words: words.iter().map(|word| (*word).to_owned()).collect(), begins }
    }

    #[test]
    fn what_stands_between_spaces_is_a_phrase_and_signs_mean_nothing() {
        let wanted = Wanted::of("  HARGA +don't \"价格\" AND ke -( *");
        let phrases = [
            phrase(&["harga"], true),
            phrase(&["don", "t"], false),
            phrase(&["价", "格"], false),
            phrase(&["and"], true),
            phrase(&["ke"], false),
        ];
        assert_eq!(wanted.phrases, phrases);
        assert_eq!(wanted.words(), 7);
        assert_eq!(Wanted::of("*:?~^ \"\"").words(), 0);
    }

    #[test]
    fn what_was_found_is_shown_as_it_is_written() {
        assert_eq!(shown("harga", "Berapa HARGANYA?").unwrap(), "Berapa [HARGANYA]?");
        assert_eq!(shown("cafe", "Le Café, un cafe").unwrap(), "Le [Café], un [cafe]");
        assert_eq!(shown("价格", "请问价格多少").unwrap(), "请问[价格]多少");
        assert_eq!(shown("格价", "请问价格多少"), None);
        assert_eq!(shown("ha", "Berapa harganya"), None);
        assert_eq!(shown("<b>", "a <b> c").unwrap(), "a <[b]> c");
    }

    #[test]
    fn a_long_text_is_cut_around_the_first_place() {
        let text = format!("{}Ångström {}", "é ".repeat(300), "手机 ".repeat(300));
        let shown = shown("angstrom", &text).unwrap();
        assert!(shown.starts_with("…é ") || shown.starts_with("… é"), "{shown}");
        assert!(shown.contains("[Ångström] 手机") && shown.ends_with('…'), "{shown}");
        assert!(shown.chars().count() <= SHOWN_CHARS + 4, "{shown}");
    }
}
