//! Words, as searching knows them: of any script, small letters and capitals alike, with accents and
//! without.

use std::ops::Range;

use icu_normalizer::{DecomposingNormalizer, DecomposingNormalizerBorrowed};

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is compared.
    pub folded: String,
    /// Where it stands, in bytes.
    pub at: Range<usize>,
}

/// What is longer is as good as its beginning, in characters.
pub const WORD_CHARS_MAX: usize = 64;

const DECOMPOSED: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizer::new_nfkd();

/// The words of a text, in order. In scripts that put no spaces between words each character is one,
/// so that any part of a sentence is found as a row of them.
pub fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let mut word: Option<Word> = None;
        let mut is_whole = false;
        while let Some((start, c)) = chars.peek().copied() {
            let end = start + c.len_utf8();
            // Most are plain letters behind another one.
            if let Some(word) = word.as_mut().filter(|_| !is_whole && c.is_ascii_alphanumeric()) {
                word.at.end = end;
                if word.folded.len() < WORD_CHARS_MAX || room(&word.folded) > 0 {
                    word.folded.push(c.to_ascii_lowercase());
                }
                chars.next();
                continue;
            }
            let folded = fold(c);
            let kind = kind(c, &folded);
            match (&mut word, kind) {
                (None, Kind::Mark | Kind::Between) => {}
                (None, Kind::Alone | Kind::Part) => {
                    is_whole = kind == Kind::Alone;
                    word = Some(Word { folded, at: start..end });
                }
                (Some(word), Kind::Mark) => word.at.end = end,
                (Some(word), Kind::Part) if !is_whole => {
                    word.at.end = end;
                    word.folded.extend(folded.chars().take(room(&word.folded)));
                }
                (Some(_), _) => return word,
            }
            chars.next();
        }
        word
    })
}

/// How many characters are still kept of a word that does not end.
fn room(folded: &str) -> usize {
    WORD_CHARS_MAX.saturating_sub(folded.chars().count())
}

/// What a character is to the words around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    /// A word by itself.
    Alone,
    /// It changes how the one before it looks or sounds.
    Mark,
    Between,
}

fn kind(c: char, folded: &str) -> Kind {
    if c.is_ascii() {
        return if folded.is_empty() { Kind::Between } else { Kind::Part };
    }
    if stands_alone(c) {
        return Kind::Alone;
    }
    match folded.chars().next() {
        None if c.is_alphanumeric() || is_mark(c) => Kind::Mark,
        None => Kind::Between,
        Some(first) if stands_alone(first) => Kind::Alone,
        Some(_) => Kind::Part,
    }
}

/// The parts of a character that count: small, without what stands above or below it.
fn fold(c: char) -> String {
    if c.is_ascii() {
        let small = c.to_ascii_lowercase();
        return if small.is_ascii_alphanumeric() { small.into() } else { String::new() };
    }
    // Syllables of Hangul would come apart into letters.
    if ('\u{AC00}'..='\u{D7A3}').contains(&c) {
        return c.into();
    }
    let small = DECOMPOSED.normalize_iter(c.to_lowercase());
    let mut folded = String::new();
    for c in small.flat_map(char::to_lowercase) {
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            'ς' => folded.push('σ'),
            c if !is_mark(c) && is_part(c) => folded.push(c),
            _ => {}
        }
    }
    folded
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || stands_alone(c) || is_joined(c)
}

/// Signs of scripts of India: no letters by themselves, and words fall apart without them. Beside
/// them stand the bars that end a sentence.
fn is_joined(c: char) -> bool {
    matches!(c, '\u{0900}'..='\u{0DFF}') && !matches!(c, '\u{0964}' | '\u{0965}' | '\u{0970}')
}

/// Accents, points of vowels that most people leave out, and what joins and stretches letters.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}'
        | '\u{20D0}'..='\u{20FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{FE20}'..='\u{FE2F}'
        | '\u{0591}'..='\u{05BD}' | '\u{05BF}' | '\u{05C1}'..='\u{05C7}'
        | '\u{0610}'..='\u{061A}' | '\u{0640}' | '\u{064B}'..='\u{065F}' | '\u{0670}'
        | '\u{06D6}'..='\u{06ED}' | '\u{3099}' | '\u{309A}'
        | '\u{00AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}'
        | '\u{1F3FB}'..='\u{1F3FF}')
}

/// Chinese, Japanese, Korean (whose words carry their endings), Thai, Lao, Khmer, Burmese, emoji.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{2FDF}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{3096}'
        | '\u{30A1}'..='\u{30FA}' | '\u{30FC}' | '\u{3105}'..='\u{312F}' | '\u{3131}'..='\u{318E}'
        | '\u{31A0}'..='\u{31BF}' | '\u{31F0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFD}'
        | '\u{0E01}'..='\u{0E3A}' | '\u{0E40}'..='\u{0E4E}' | '\u{0E81}'..='\u{0ECE}'
        | '\u{1000}'..='\u{1049}' | '\u{1780}'..='\u{17D3}'
        | '\u{2600}'..='\u{27BF}' | '\u{1F1E6}'..='\u{1F1FF}' | '\u{1F300}'..='\u{1F3FA}'
        | '\u{1F400}'..='\u{1FAFF}')
}

/// Whether a word is a part of a sentence that has no spaces: it is only what it is, not the beginning
/// of others.
pub fn is_alone(word: &str) -> bool {
    word.chars().next().is_some_and(stands_alone)
}

#[cfg(test)]
mod tests {
    use super::{WORD_CHARS_MAX, words};

    fn folded(text: &str) -> Vec<String> {
        words(text).map(|word| word.folded).collect()
    }

    #[test]
    fn words_are_small_and_without_accents() {
        assert_eq!(folded("Berapa HARGANYA, kak?"), ["berapa", "harganya", "kak"]);
        assert_eq!(folded("Café à Łódź, Straße, Ærø"), ["cafe", "a", "lodz", "strasse", "aero"]);
        assert_eq!(folded("Tiếng Việt Đà Nẵng"), ["tieng", "viet", "da", "nang"]);
        assert_eq!(folded("İstanbul ISPARTA ıspanak"), ["istanbul", "isparta", "ispanak"]);
        assert_eq!(folded("ΣΊΣΥΦΟΣ Ёлка"), ["σισυφοσ", "елка"]);
        assert_eq!(folded("ｆｕｌｌ Ｗｉｄｔｈ ﬁne №5"), ["full", "width", "fine", "no5"]);
    }

    #[test]
    fn an_accent_of_its_own_belongs_to_the_letter_before_it() {
        assert_eq!(folded("cafe\u{301} cafés"), ["cafe", "cafes"]);
        assert_eq!(folded("مَرْحَبًا"), ["مرحبا"]);
        assert_eq!(folded("soft\u{AD}hyphen"), ["softhyphen"]);
        assert_eq!(folded("\u{301}\u{301}"), [""; 0]);
    }

    #[test]
    fn scripts_without_spaces_come_apart_into_characters() {
        assert_eq!(folded("请问价格？"), ["请", "问", "价", "格"]);
        assert_eq!(folded("iPhone手机15"), ["iphone", "手", "机", "15"]);
        assert_eq!(folded("ｶﾞス"), ["カ", "ス"]);
        assert_eq!(folded("가격은 얼마"), ["가", "격", "은", "얼", "마"]);
        assert_eq!(folded("ราคา"), ["ร", "า", "ค", "า"]);
        assert_eq!(folded("ok👍🏽!"), ["ok", "👍"]);
    }

    #[test]
    fn words_of_india_stay_whole() {
        assert_eq!(folded("नमस्ते दुनिया।"), ["नमस्ते", "दुनिया"]);
    }

    #[test]
    fn what_stands_between_words_is_no_part_of_them() {
        assert_eq!(
            folded("don't_stop (foo-bar) a.b@c.id"),
            ["don", "t", "stop", "foo", "bar", "a", "b", "c", "id"]
        );
        assert_eq!(folded(" \n\u{0}*?~\"+-"), [""; 0]);
    }

    #[test]
    fn a_word_says_where_it_stands() {
        let text = "Où? Cafe\u{301}, 手机";
        let all: Vec<_> = words(text).map(|word| &text[word.at]).collect();
        assert_eq!(all, ["Où", "Cafe\u{301}", "手", "机"]);
    }

    #[test]
    fn a_word_that_does_not_end_is_as_good_as_its_beginning() {
        let long = "x".repeat(10_000);
        let all: Vec<_> = words(&long).collect();
        assert_eq!((all.len(), all[0].folded.len()), (1, WORD_CHARS_MAX));
        assert_eq!(all[0].at, 0..10_000);
    }
}
