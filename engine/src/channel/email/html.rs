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

/// What it says.
pub(super) fn text(html: &str) -> String {
    let text = html_to_text(html);
    let mut kept = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines().map(str::trim) {
        blank = if line.is_empty() { blank + 1 } else { 0 };
        if blank < 2 {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept.trim().to_owned()
}

/// The name in a tag, behind its `<`, and whether it is one that closes; no name: it is no tag.
fn name_of(tag: &str) -> (bool, &str) {
    let (is_end, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
    let is_tag = tag.starts_with(|c: char| c.is_ascii_alphabetic());
    let end = tag.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(tag.len());
    (is_end, if is_tag { &tag[..end] } else { "" })
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
}
