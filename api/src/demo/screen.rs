//! The terminal: rows whose columns stay aligned in any script, on stderr.

use std::io::{self, IsTerminal, Write};

use engine::time::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The column of channels, on a wide and on a narrow terminal.
const VIA: usize = 9;
const VIA_NARROW: usize = 2;
/// The column of names, on a wide and on a narrow terminal.
const NAME: usize = 18;
const NAME_NARROW: usize = 10;
/// Below so many columns a terminal is narrow.
const NARROW: usize = 80;
/// A terminal narrower than this is written to as if it had so many columns.
const LEAST: usize = 40;

/// A colour or weight (ECMA-48, "Select graphic rendition").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Blue => "34",
            Self::Magenta => "35",
            Self::Cyan => "36",
        }
    }
}

/// One line of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    /// The channel's name.
    pub(super) via: &'static str,
    /// Whose conversation it is about.
    pub(super) who: String,
    /// At most two columns.
    pub(super) mark: &'static str,
    pub(super) style: Style,
    pub(super) text: String,
    /// What stays visible however long the text is.
    pub(super) tail: &'static str,
}

/// How wide it is, and whether it shows colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// None where nobody looks: nothing is cut then.
    width: Option<usize>,
    colour: bool,
}

impl Screen {
    /// The process's own, as it is now.
    pub(super) fn now() -> Self {
        let stderr = io::stderr();
        if !stderr.is_terminal() {
            return Self { width: None, colour: false };
        }
        let columns = rustix::termios::tcgetwinsize(&stderr).map_or(0, |size| size.ws_col);
        let width = match usize::from(columns) {
            0 => NARROW,
            columns => columns.max(LEAST),
        };
        Self { width: Some(width), colour: has_colours() }
    }

    /// A text in a style.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        match self.colour && !text.is_empty() {
            true => format!("\x1b[{}m{text}\x1b[0m", style.code()),
            false => text.to_owned(),
        }
    }

    /// A row as one line.
    pub(super) fn line(&self, row: &Row) -> String {
        let (via_width, name_width) = match self.width {
            Some(width) if width < NARROW => (VIA_NARROW, NAME_NARROW),
            _ => (VIA, NAME),
        };
        let via = format!("{:via_width$.via_width$}", row.via);
        let (name, used) = fit(&row.who, name_width);
        let name = format!("{name}{:1$}", "", name_width - used);
        let mark = format!("{}{:2$}", row.mark, "", 2_usize.saturating_sub(row.mark.width()));
        let time = clock(row.at);
        let before = time.width() + 2 + via_width + 2 + name_width + 2 + 2 + 1;
        let tail = row.tail.width() + if row.tail.is_empty() { 0 } else { 2 };
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(before + tail + 1));
        let (text, _) = fit(&row.text, room);
        let gap = if row.tail.is_empty() { "" } else { "  " };
        let text = match row.style {
            Style::Dim | Style::Blue => self.paint(Style::Dim, &text),
            _ => text,
        };
        format!(
            "{}  {}  {}  {} {text}{gap}{}",
            self.paint(Style::Dim, &time),
            self.paint(Style::Dim, &via),
            self.paint(Style::Bold, &name),
            self.paint(row.style, &mark),
            self.paint(Style::Green, row.tail),
        )
    }
}

/// Writes to stderr; without one there is nobody to tell.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether stderr shows colours: a terminal whose user did not switch them off (no-color.org).
pub fn has_colours() -> bool {
    let off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !off
}

/// The local time of day.
fn clock(at: Timestamp) -> String {
    let utc = chrono::DateTime::from_timestamp_millis(at.millis()).unwrap_or_default();
    utc.with_timezone(&chrono::Local).format("%H:%M:%S").to_string()
}

/// A text on one line in at most so many columns, and how many it takes.
pub(super) fn fit(text: &str, columns: usize) -> (String, usize) {
    let text = plain(text);
    let (kept, used) = match text.width() {
        width if width <= columns => (text, width),
        _ => cut(&text, columns.saturating_sub(1)),
    };
    match kept.chars().any(is_right_to_left) {
        // Isolated (UAX 9), so that it does not turn the columns around it.
        true => (format!("\u{2068}{kept}\u{2069}"), used),
        false => (kept, used),
    }
}

/// The longest beginning in so many columns, with an ellipsis. No mark is parted from its letter,
/// and no joined emoji ends in its joiner.
fn cut(text: &str, columns: usize) -> (String, usize) {
    let is_start = |c: char| c.width().unwrap_or(0) > 0;
    let ends = text.char_indices().filter(|(_, c)| is_start(*c)).map(|(at, _)| at);
    let fits = |end: &usize| text[..*end].width() <= columns;
    let end = ends.take_while(fits).last().unwrap_or(0);
    let kept = text[..end].trim_end_matches(|c: char| c == '\u{200d}' || c.is_whitespace());
    (format!("{kept}…"), kept.width() + 1)
}

/// Without what moves the cursor or turns the line.
fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let spaced: String =
        text.chars().filter(|c| !turns(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Screen = Screen { width: Some(100), colour: false };

    fn row(who: &str, text: &str) -> Row {
        let (who, text) = (who.to_owned(), text.to_owned());
        Row {
            at: Timestamp(0),
            via: "WhatsApp",
            who,
            mark: "→",
            style: Style::Cyan,
            text,
            tail: "✓",
        }
    }

    /// The column in which the mark stands.
    fn column(line: &str) -> usize {
        line.split_once('→').unwrap().0.width()
    }

    #[test]
    fn the_columns_stand_below_each_other_in_every_script() {
        let columns: Vec<_> =
            ["Grace Whitaker", "さくら 山本", "ليلى الخطيب", "अनन्या वर्मा", "Bärbel Ö"]
                .iter()
                .map(|name| column(&WIDE.line(&row(name, "Hi"))))
                .collect();
        assert!(columns.iter().all(|column| *column == columns[0]), "{columns:?}");
    }

    #[test]
    fn a_long_text_is_cut_to_the_width_and_its_ticks_stay() {
        for text in ["a".repeat(300), "予約の人数を変更".repeat(20), "🙏🏽 धन्यवाद ".repeat(30)]
        {
            let line = WIDE.line(&row("Grace", &text));
            assert!(line.width() < 100, "{line}");
            assert!(line.ends_with("…  ✓"), "{line}");
        }
    }

    #[test]
    fn right_to_left_text_is_isolated_and_nothing_in_a_text_moves_the_cursor() {
        let line = WIDE.line(&row("ليلى", "شكرا \u{202e}\x1b[2J\r\nok"));
        assert_eq!(line.matches('\u{2068}').count(), 2);
        assert_eq!(line.matches('\u{2069}').count(), 2);
        assert!(line.contains("[2J ok"), "{line}");
        assert!(!line.contains(['\x1b', '\r', '\n', '\u{202e}']), "{line}");
    }

    #[test]
    fn a_cut_parts_no_mark_from_its_letter_and_leaves_no_joiner() {
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), ("e\u{301}e\u{301}…".to_owned(), 3));
        assert_eq!(cut("ab 👩\u{200d}👩\u{200d}👧", 4).0, "ab…");
        assert_eq!(cut("漢字", 1), ("…".to_owned(), 1));
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_or_coloured() {
        let screen = Screen { width: None, colour: false };
        let line = screen.line(&row("Grace", &"a".repeat(4096)));
        assert!(line.contains(&"a".repeat(4096)) && !line.contains('\x1b'));
    }
}
