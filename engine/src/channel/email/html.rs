//! HTML of mails: what is kept of it, and what it says as a text.

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
/// More tags are not taken apart: where each lies in the one before, each looks through all of them.
const TAGS_MAX: usize = 10_000;
/// A page may become so many elements at most.
const ELEMENTS_MAX: usize = 1_000_000;

static CLEAN: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    // An inline image names a part of its mail.
    builder.add_url_schemes(["cid"]);
    builder
});

/// What can be shown of it: nothing that runs, nothing that loads by itself but images. `None`: too
/// much would come of it.
pub(super) fn sanitised(html: &str) -> Option<String> {
    is_tame(html).then(|| CLEAN.clean(html).to_string())
}

/// What can be read of a page.
pub fn text(html: &str) -> String {
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

/// Whether it becomes no more elements than it may: each paragraph opens again what is open.
fn is_tame(html: &str) -> bool {
    let bytes = html.as_bytes();
    let (mut tags, mut open) = (0_usize, HashSet::new());
    for at in memchr::memchr_iter(b'<', bytes) {
        let tag = &bytes[at + 1..];
        let name = tag.iter().take(8).take_while(|byte| byte.is_ascii_alphabetic()).count();
        if name == 0 {
            continue;
        }
        tags += 1;
        if FORMATTING.iter().any(|known| tag[..name].eq_ignore_ascii_case(known.as_bytes())) {
            let end = memchr::memchr(b'>', tag).unwrap_or(tag.len());
            open.insert(&tag[..end.min(1_024)]);
        }
        if tags > TAGS_MAX || tags.saturating_mul(1 + REPEATED * open.len()) > ELEMENTS_MAX {
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
    fn html_is_read_as_a_text() {
        let read = text(
            "<html><head><style>x{}</style></head><body><p>One &amp; two</p><p>Three<br>four</p></body></html>",
        );
        assert!(read.contains("One & two") && read.contains("Three\nfour"), "{read}");
        assert!(!read.contains("x{}"), "{read}");
    }
}
