//! Links that the provider is to fetch.

use url::{Host, Url};

/// The longest link, in characters.
const LINK_CHARS_MAX: usize = 2048;

/// What is wrong with a link, if anything: the provider fetches it, so it must lie where everybody
/// can reach it, and it must not tell where our own machines are.
pub fn link(text: &str) -> Option<&'static str> {
    if text.len() > LINK_CHARS_MAX {
        return Some("must have at most 2048 characters");
    }
    let Ok(url) = Url::parse(text) else {
        return Some("must be an address such as https://example.com/picture.jpg");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Some("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not hold a name or a password");
    }
    let is_public = match url.host() {
        Some(Host::Domain(name)) => is_public_name(name),
        Some(Host::Ipv4(address)) => is_public_v4(address.octets()),
        Some(Host::Ipv6(address)) => is_public_v6(address.segments()),
        None => false,
    };
    (!is_public).then_some("must lie on the public internet: the provider fetches it")
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let private = ["localhost", "local", "internal", "lan", "home", "corp", "home.arpa", "test"];
    name.contains('.') && !private.iter().any(|end| name.ends_with(&format!(".{end}")))
}

/// Outside the blocks of the IANA registry of special-purpose addresses (RFC 6890), multicast and
/// what is reserved.
fn is_public_v4([a, b, c, _]: [u8; 4]) -> bool {
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_public_v6(segments: [u16; 8]) -> bool {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4([a, b, c, d])
    };
    match segments {
        // Mapped and translated addresses of the older protocol.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Only global unicast, without the examples.
        [first, second, ..] => {
            (0x2000..=0x3fff).contains(&first) && (first, second) != (0x2001, 0xdb8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::link;

    #[test]
    fn a_link_lies_on_the_public_internet() {
        for good in [
            "https://example.com/a.jpg",
            "http://example.com:8080/a?b=c#d",
            "https://8.8.8.8/a",
            "https://[2606:4700::1111]/a",
            "https://b\u{fc}cher.example/a",
            "https://172.32.0.1/",
        ] {
            assert_eq!(link(good), None, "{good}");
        }
        for bad in [
            "",
            "example.com/a.jpg",
            "/a.jpg",
            "ftp://example.com/a",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://user@example.com/",
            "https://:secret@example.com/",
            "http://localhost/a",
            "http://a.localhost/a",
            "http://intranet/a",
            "http://printer.local/a",
            "http://metadata.google.internal/a",
            "http://localhost./a",
            "http://127.0.0.1/a",
            "http://2130706433/a",
            "http://0x7f.1/a",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.0.1/",
            "http://169.254.169.254/latest",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:db8::1]/",
        ] {
            assert!(link(bad).is_some(), "{bad}");
        }
        assert!(link(&format!("https://example.com/{}", "a".repeat(2048))).is_some());
    }
}
