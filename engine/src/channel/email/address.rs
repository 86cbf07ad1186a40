//! Addresses of mails: read from headers and fields, and compared.

use mail_parser::{HeaderName, MessageParser};

/// An address with the name that stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// As it is compared: in small letters.
    pub address: String,
    pub name: Option<String>,
}

/// Of a list of addresses no more is read: who writes to many is named by the envelope.
pub(super) const LIST_BYTES_MAX: usize = 64 << 10;
/// The longest address (RFC 5321, 4.5.3.1: 64 and 255 bytes).
const ADDRESS_BYTES_MAX: usize = 320;

/// The addresses of a header or a field, in order. What is none is left out.
pub(super) fn addresses(list: &str) -> Vec<Mailbox> {
    let list = &list[..list.floor_char_boundary(LIST_BYTES_MAX)];
    let list = list.replace(['\r', '\n', '\0'], " ");
    let header = format!("From: {list}\r\n\r\n");
    let parser = MessageParser::new().header_address(HeaderName::From).default_header_ignore();
    let Some(parsed) = parser.parse_headers(header.as_bytes()) else { return Vec::new() };
    let Some(from) = parsed.from() else { return Vec::new() };
    let mailbox = |of: &mail_parser::Addr<'_>| {
        let address = normal(of.address.as_deref()?)?;
        let name = of.name.as_deref().and_then(super::one_line);
        Some(Mailbox { address, name })
    };
    from.iter().filter_map(mailbox).collect()
}

/// An address as it is compared, if it is one.
pub fn normal(address: &str) -> Option<String> {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let address = address.trim_matches(blank).trim_start_matches('<').trim_end_matches('>');
    let (local, domain) = address.rsplit_once('@')?;
    let odd = |c: char| blank(c) || "<>,;\"".contains(c);
    let fits = !local.is_empty() && !domain.is_empty() && address.len() <= ADDRESS_BYTES_MAX;
    (fits && !address.contains(odd)).then(|| address.to_lowercase())
}

/// The addresses without what stands behind a `+`, the nearest first: all come to one inbox, and the
/// name of an inbox may have one, too.
pub fn without_tag(address: &str) -> impl Iterator<Item = String> {
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    let last = local.rsplit_once('+').map(|(name, _)| name);
    let first = local.split_once('+').map(|(name, _)| name).filter(|name| last != Some(*name));
    let names = [last, first].into_iter().flatten().filter(|name| !name.is_empty());
    names.map(move |name| format!("{name}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::{addresses, normal, without_tag};

    #[test]
    fn names_may_hold_what_separates_addresses() {
        let read = addresses("\"Lin, Mei\" <Mei@Example.com>, other@example.com");
        let read: Vec<_> = read.iter().map(|m| (m.address.as_str(), m.name.as_deref())).collect();
        assert_eq!(read, [("mei@example.com", Some("Lin, Mei")), ("other@example.com", None)]);
    }

    #[test]
    fn encoded_names_and_groups_are_read() {
        let read = addresses("=?utf-8?B?TcO8bGxlcg==?= <m@example.com>");
        assert_eq!(read[0].name.as_deref(), Some("Müller"));
        let read = addresses("Team: a@example.com, b@example.com;");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        for wrong in ["", "nobody", "@example.com", "a@", "a b@example.com", "a@b\r\nBcc: c@d"] {
            assert_eq!(normal(wrong), None, "{wrong}");
        }
        assert!(addresses("undisclosed-recipients:;").is_empty());
        let injected = addresses("a@example.com\r\nBcc: b@example.com");
        assert!(injected.iter().all(|read| !read.address.contains(['\r', '\n'])));
    }

    #[test]
    fn a_tag_falls_back_to_the_name_before_it() {
        let names = |address| without_tag(address).collect::<Vec<_>>();
        assert_eq!(names("shop+x@example.com"), ["shop@example.com"]);
        assert_eq!(names("shop+x+y@example.com"), ["shop+x@example.com", "shop@example.com"]);
        assert_eq!(names("a+b+c+d@x"), ["a+b+c@x", "a@x"]);
        for without in ["shop@example.com", "+x@example.com", "+", ""] {
            assert!(names(without).is_empty(), "{without}");
        }
    }
}
