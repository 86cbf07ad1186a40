//! Links that the provider is to fetch.

use core::net::IpAddr;

use url::{Host, Url};

/// The longest link, in characters.
const LINK_CHARS_MAX: usize = 2048;

/// Names that end so lead nowhere in public (RFC 6761, 6762, 7686, 8375, 9476; ICANN's list of names
/// that collide), or are what networks of one's own use.
const PRIVATE_ENDS: [&str; 16] = [
    "alt",
    "arpa",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "private",
    "svc",
    "test",
];
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// What is wrong with a link, if anything: the provider fetches it, so it must lie where everybody
/// can reach it, and it must not tell where our own machines are.
pub fn link(text: &str) -> Option<&'static str> {
    if text.len() > LINK_CHARS_MAX {
        return Some("must have at most 2048 characters");
    }
    // Readers of addresses do not agree on what these mean.
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Some("must not hold blanks, control characters or backslashes");
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
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        None => false,
    };
    let is_reachable = is_public && url.port() != Some(0);
    (!is_reachable).then_some("must lie on the public internet: the provider fetches it")
}

/// Whether a name, as the address has it (in lower case, in ASCII), can be one of the public internet.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut labels = name.split('.');
    let fits = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len());
    let is_private = labels.clone().next_back().is_none_or(|end| PRIVATE_ENDS.contains(&end));
    name.len() <= NAME_BYTES_MAX && name.contains('.') && labels.all(fits) && !is_private
}

/// Whether an address is one of the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address.octets()),
        IpAddr::V6(address) => is_public_v6(address.segments()),
    }
}

/// The same of the older protocol: outside the blocks of the IANA registry of special-purpose addresses (RFC 6890), multicast and
/// what is reserved.
fn is_public_v4([a, b, c, _]: [u8; 4]) -> bool {
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// The same of the newer protocol.
fn is_public_v6(segments: [u16; 8]) -> bool {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4([a, b, c, d])
    };
    match segments {
        // Mapped and translated addresses of the older protocol, and its tunnels.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Set apart: Teredo (an address of the older protocol, in disguise), hashes, benchmarks.
        [0x2001, 0..=0x1ff, ..] => false,
        // The examples.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Otherwise what is global unicast.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
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
            "https://192.88.98.1/",
            "https://[2001:200::1]/a",
            "https://example.com./a",
            "https://localhost.example.com/a",
            "https://mytest.com/a",
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
            "http://0x7f000001/a",
            "http://017700000001/a",
            "http://127.1/a",
            "http://%31%30.0.0.1/a",
            "http://\u{ff11}0.0.0.1/a",
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
            "http://[2001:0:4136:e378::1]/",
            "http://[2001:10::1]/",
            "http://[3fff::1]/",
            "http://[::7f00:1]/",
            "http://[64:ff9b:1::808:808]/",
            "http://[64:ff9b::a00:1]/",
            "http://[2002:a00:1::1]/",
            "http://[fec0::1]/",
            "http://[ff02::1]/",
            "http://192.88.99.1/",
            "http://db.localdomain/",
            "http://db.localhost/",
            "http://db.intranet/",
            "http://db.lan/",
            "http://db.home.arpa/",
            "http://api.default.svc/",
            "http://a.invalid/",
            "http://a.test/",
            "http://a.onion/",
            "http://a.LOCAL./",
            "http://home.arpa/",
            "http://a..example.com/",
            "http://.example.com/",
            "http://example.com../",
            "http://example.com:0/",
            "http://exam\tple.com/",
            "http://example.com/\u{0}",
            "http://example.com\\@10.0.0.1/",
            "http:\\\\example.com/",
        ] {
            assert!(link(bad).is_some(), "{bad}");
        }
        assert!(link(&format!("https://example.com/{}", "a".repeat(2048))).is_some());
        assert!(link(&format!("https://{}.example.com/", "a".repeat(64))).is_some());
        assert!(link(&format!("https://{}com/", "a.".repeat(126))).is_some());
    }
}
