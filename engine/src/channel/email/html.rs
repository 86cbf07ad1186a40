//! HTML of mails: what is kept of it, and what it says as a text.

mod size;

use std::collections::HashSet;
use std::sync::LazyLock;

use ammonia::Builder;
use mail_parser::decoders::html::html_to_text;

/// Elements that HTML opens again in every paragraph until they are closed (HTML Standard,
/// "reconstruct the active formatting elements").
const FORMATTING: [&str; 13] =
    ["b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"];
/// Of one that is repeated as it is, so many are opened again.
const REPEATED: usize = 3;
/// More elements are not taken apart: where each lies in the one before, each looks through all of
/// them.
const OPENED_MAX: usize = 10_000;
/// The same with what ends them: each end looks through all that are open, too.
const TAGS_MAX: usize = 2 * OPENED_MAX;
/// So many steps are made through what is to be opened again.
const STEPS_MAX: usize = 2_000_000;

/// Elements that stand on lines of their own.
const BLOCKS: [&str; 29] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "ol",
    "pre",
    "section",
    "table",
    "tr",
    "ul",
];
/// Stands where a line ends, unless it has just begun: no text of a page is spoiled by it.
const BREAK: char = '\u{1e}';

static CLEAN: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    // An inline image names a part of its mail.
    builder.add_url_schemes(["cid"]);
    builder
});

/// What can be shown of it: nothing that runs, nothing that loads by itself but images. `None`: too
/// much would come of it.
pub(super) fn sanitised(html: &str) -> Option<String> {
    (is_tame(html) && size::fits(html)).then(|| CLEAN.clean(html).to_string())
}

/// What can be read of a page.
pub fn text(html: &str) -> String {
    let text = html_to_text(&plain(html));
    let mut kept = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.split('\n') {
        let mut lines: Vec<&str> = line.split(BREAK).map(str::trim).collect();
        // Where the last one has just begun, the line's end ends an empty one.
        let last = lines.pop().unwrap_or_default();
        let lines = lines.into_iter().filter(|line| !line.is_empty());
        for line in lines.chain([last]) {
            blank = if line.is_empty() { blank + 1 } else { 0 };
            if blank < 2 {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept.trim().to_owned()
}

/// A page with marks where its lines end, for a reader that knows only few and plain tags.
fn plain(html: &str) -> String {
    let mut plain = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
            continue;
        }
        let (is_end, name) = name_of(rest);
        if name.is_empty() {
            match rest.strip_prefix(['!', '?', '/']) {
                Some(odd) => rest = odd.split_once('>').map_or("", |(_, behind)| behind),
                None => plain.push_str("&lt;"),
            }
            continue;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        rest = end_of_tag(rest.as_bytes()).map_or("", |end| &rest[end + 1..]);
        if is("script") || is("style") {
            rest = if is_end { rest } else { behind_raw(rest, name) };
        } else if BLOCKS.iter().any(|known| is(known)) {
            plain.push(BREAK);
        } else if is("td") || is("th") {
            plain.push(' ');
        } else {
            let slash = if is_end { "/" } else { "" };
            plain.extend(["<", slash, name, ">"]);
        }
    }
    plain.push_str(rest);
    plain
}

/// What comes behind the end of an element in which no tag counts but its end.
fn behind_raw<'h>(html: &'h str, name: &str) -> &'h str {
    for at in memchr::memchr_iter(b'<', html.as_bytes()) {
        let rest = &html[at + 1..];
        let (is_end, found) = name_of(rest);
        if is_end && found.eq_ignore_ascii_case(name) {
            return end_of_tag(rest.as_bytes()).map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

/// The name in a tag, behind its `<`, and whether it is one that closes; no name: it is no tag.
fn name_of(tag: &str) -> (bool, &str) {
    let (is_end, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
    let is_tag = tag.starts_with(|c: char| c.is_ascii_alphabetic());
    let end = tag.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(tag.len());
    (is_end, if is_tag { &tag[..end] } else { "" })
}

/// Where the `>` of a tag is (HTML Standard, 13.2.5.8 to 13.2.5.40): one within the quotes of a
/// value is none.
fn end_of_tag(tag: &[u8]) -> Option<usize> {
    #[derive(Clone, Copy)]
    enum In {
        TagName,
        Space,
        Name,
        Equals,
        Bare,
        Quotes(u8),
    }
    let mut within = In::TagName;
    for (at, byte) in tag.iter().enumerate() {
        let is_space = byte.is_ascii_whitespace();
        within = match (within, byte) {
            (In::Quotes(quote), byte) if quote == *byte => In::Space,
            (In::Quotes(_), _) => within,
            (_, b'>') => return Some(at),
            (In::TagName, b'/') if at == 0 => In::TagName,
            (In::TagName | In::Name, b'/') => In::Space,
            (In::TagName | In::Bare, _) if is_space => In::Space,
            (In::TagName | In::Bare, _) => within,
            (In::Space, b'/') => In::Space,
            (In::Space, _) if is_space => In::Space,
            (In::Space, _) => In::Name,
            (In::Name, b'=') => In::Equals,
            (In::Name, _) => In::Name,
            (In::Equals, b'"' | b'\'') => In::Quotes(*byte),
            (In::Equals, _) if is_space => In::Equals,
            (In::Equals, _) => In::Bare,
        };
    }
    None
}

/// Whether it can be looked at without very many steps.
fn is_tame(html: &str) -> bool {
    let (mut tags, mut opened, mut again) = (0_usize, 0_usize, HashSet::new());
    for at in memchr::memchr_iter(b'<', html.as_bytes()) {
        let tag = &html[at + 1..];
        let (is_end, name) = name_of(tag);
        if name.is_empty() {
            continue;
        }
        tags += 1;
        opened += usize::from(!is_end);
        if !is_end && FORMATTING.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            let tag = &tag[..tag.floor_char_boundary(1_024)];
            again.insert(&tag[..tag.find('>').unwrap_or(tag.len())]);
        }
        let steps = tags.saturating_mul(1 + REPEATED * again.len());
        if opened > OPENED_MAX || tags > TAGS_MAX || steps > STEPS_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{is_tame, sanitised, text};

    #[test]
    fn nothing_that_runs_is_kept() {
        let evil = concat!(
            "<p onclick=\"steal()\">Hi</p><script>steal()</script><style>p{}</style>",
            "<a href=\"javascript:steal()\">x</a><iframe src=\"https://e.example\"></iframe>",
            "<img src=\"data:image/svg+xml,<svg onload=steal()>\"><form action=\"/x\"><input></form>",
            "<svg><script>steal()</script></svg><base href=\"https://e.example\">",
        );
        let clean = sanitised(evil).unwrap().to_lowercase();
        for gone in
            ["steal", "script", "onclick", "iframe", "style", "form", "svg", "data:", "base"]
        {
            assert!(!clean.contains(gone), "{gone} in {clean}");
        }
        assert!(clean.contains("<p>hi</p>"), "{clean}");
    }

    #[test]
    fn inline_images_links_and_quotes_are_kept() {
        let kept = sanitised(
            "<blockquote>a<img src=\"cid:1@x\"></blockquote><a href=\"https://x.example\">b</a>",
        );
        let kept = kept.unwrap();
        assert!(kept.contains("cid:1@x") && kept.contains("<blockquote>"), "{kept}");
        assert!(kept.contains("https://x.example") && kept.contains("noopener"), "{kept}");
    }

    #[test]
    fn what_would_become_very_much_is_not_taken_apart() {
        let bold: String = (0..20_000).map(|n| format!("<b a{n}>")).collect();
        assert!(!is_tame(&format!("{bold}{}", "<p>".repeat(5_000))));
        let nested = |n| "<div>".repeat(n);
        assert!(is_tame(&nested(2_000)) && sanitised(&nested(2_000)).is_some());
        assert!(!is_tame(&nested(20_000)));
        let letter = "<p><b>a</b> <font color=red>b</font></p>".repeat(2_000);
        assert!(is_tame(&letter));
    }

    #[test]
    fn ends_without_a_beginning_are_counted_too() {
        assert!(!is_tame(&format!("{}{}", "<span>".repeat(9_990), "</q>".repeat(60_000))));
    }

    #[test]
    fn what_is_opened_again_does_not_multiply_a_page() {
        let long = "y".repeat(50_000);
        let paragraphs = |first: &str| format!("<p>{first}z{}", "<p>x".repeat(300));
        for first in [
            format!("<a href=\"https://x.example/{long}\">"),
            format!("<b title=\"{long}\">"),
            // Alike as far as anybody would look.
            (0..3).map(|n| format!("<b title=\"{}{n}\">", &long[..2_000])).collect(),
        ] {
            let page = paragraphs(&first);
            let clean = sanitised(&page);
            assert!(clean.is_none_or(|clean| clean.len() < 3_000_000), "{}", page.len());
        }
        let letter = paragraphs("<a href=\"https://x.example/a?b=c\"><b style=\"color:red\">");
        assert!(sanitised(&letter).is_some());
        let link =
            |n| format!("<div><a href=\"https://x.example/{n}{}\">b</a></div>", &long[..300]);
        let news: String = (0..500).map(link).collect();
        assert!(sanitised(&news).unwrap().matches("https://x.example/").count() == 500);
    }

    #[test]
    fn html_is_read_as_a_text() {
        let read = text(
            "<html><head><style>x{}</style></head><body><p>One &amp; two</p><p>Three<br>four</p></body></html>",
        );
        assert!(read.contains("One & two") && read.contains("Three\nfour"), "{read}");
        assert!(!read.contains("x{}"), "{read}");
    }

    #[test]
    fn what_stands_on_lines_of_its_own_is_read_so() {
        for (page, lines) in [
            ("<div>Hello</div><div>World</div>", "Hello\nWorld"),
            ("<div dir=\"ltr\">Hello<div>World</div></div>", "Hello\nWorld"),
            ("<div>One</div><div><br></div><div>Two</div>", "One\n\nTwo"),
            ("<div>One<br style=\"x\"></div><div>Two</div>", "One\nTwo"),
            ("<ul><li>One</li>\n<li>Two</li></ul>End", "One\nTwo\nEnd"),
            ("<h1>Title</h1>Text", "Title\nText"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><th>c<th>d</table>", "a b\nc d"),
            ("<p class=\"x\">One</p><p>Two</p>", "One\nTwo"),
            ("a <b>bold</b>, b", "a bold, b"),
            ("1 < 2 <3", "1 < 2 <3"),
            ("<a title=\"a > b\">link</a>", "link"),
        ] {
            assert_eq!(text(page), lines, "{page}");
        }
    }

    #[test]
    fn what_is_no_text_is_not_read() {
        for page in [
            "<style type=\"text/css\">p > a {x: \"</p>\"}</style>Hi",
            "<STYLE>p{}</Style >Hi",
            "<script src='x>y'>if (a<b) x()</script>Hi",
            "<!-- <style> </p> -->Hi",
            "<head profile=\"x\"><title>T</title></head><body>Hi</body>",
            "Hi<style>p{}",
            "Hi<script",
        ] {
            assert_eq!(text(page), "Hi", "{page}");
        }
    }
}
