//! Texts that people write for people: they show something, and hold nothing that is no text.

/// What is wrong with a text of 1 to so many characters, if anything.
pub fn wrong(text: &str, most: usize) -> Option<String> {
    let chars = text.chars().count();
    if chars == 0 || chars > most {
        return Some(format!("must have 1 to {most} characters"));
    }
    if let Some(wrong) = controls(text) {
        return Some(wrong.to_owned());
    }
    let is_blank = text.chars().all(is_blank);
    is_blank.then(|| "must show something: it has only characters that cannot be seen".to_owned())
}

/// What is wrong with a text that may be empty, or of any length, if anything.
pub fn controls(text: &str) -> Option<&'static str> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    text.contains(is_control)
        .then_some("must not hold control characters other than line breaks and tabs")
}

/// The first so many characters of a text.
pub fn beginning(text: &str, chars: usize) -> &str {
    // Nothing has more characters than bytes.
    if text.len() <= chars {
        return text;
    }
    let end = text.char_indices().nth(chars).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// File names are cut behind so many characters.
const FILENAME_CHARS_MAX: usize = 255;

/// The name of a file without a path, without anything that does not show.
pub fn filename(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let shown: String = last.chars().filter(|c| !c.is_control() && !turns(*c)).collect();
    let shown: String = shown.trim().chars().take(FILENAME_CHARS_MAX).collect();
    (!shown.is_empty() && !shown.chars().all(|c| c == '.')).then_some(shown)
}

/// Marks that turn the direction of writing: with them `gpj.exe` reads like a picture.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character alone shows nothing: blanks, and what Unicode says may be ignored where it
/// is not known (joiners, marks of direction, variation selectors, tags, fillers).
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn a_text_shows_something_and_holds_no_controls() {
        for good in [
            "a",
            "two\r\nlines\tand a tab",
            " a ",
            "\u{200f}\u{5d0}",
            "❤\u{fe0f}",
            "\u{1f468}\u{200d}\u{1f469}",
        ] {
            assert_eq!(wrong(good, 30), None, "{good:?}");
        }
        for bad in [
            "",
            " \n\t",
            "\u{a0}\u{3000}",
            "\u{200b}",
            "\u{202e}\u{202c}",
            "\u{2066} \u{2069}",
            "\u{feff}",
            "\u{2060}\u{ad}",
            "\u{3164}",
            "\u{2800}",
            "\u{fe0f}",
            "\u{0}",
            "a\u{0}",
            "a\u{1b}[0m",
            "\u{7f}a",
            "a\u{85}",
        ] {
            assert!(wrong(bad, 30).is_some(), "{bad:?}");
        }
        let long = "a".repeat(31);
        assert!(wrong(&long, 30).is_some_and(|wrong| wrong.contains("1 to 30")));
    }
}
