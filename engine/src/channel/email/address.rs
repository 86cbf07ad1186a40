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
const LOCAL_BYTES_MAX: usize = 64;

/// The addresses of a header or a field, in order. What is none is left out.
pub(super) fn addresses(list: &str) -> Vec<Mailbox> {
    let list = &list[..list.floor_char_boundary(LIST_BYTES_MAX)];
    let list = list.replace(['\r', '\n', '\0'], " ");
    let (strict, lower) = (strictly(&list), list.to_lowercase());
    let quotes = list.matches('"').count() - list.matches("\\\"").count();
    let is_closed = list.matches('(').count() == list.matches(')').count();
    let is_there = |read: &Mailbox| lower.contains(&read.address);
    if quotes.is_multiple_of(2) && is_closed && !strict.is_empty() && strict.iter().all(is_there) {
        return strict;
    }
    let plain = plainly(&list);
    if plain.is_empty() { strict } else { plain }
}

/// As RFC 5322 has them (3.4).
fn strictly(list: &str) -> Vec<Mailbox> {
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

/// As programs write them that put a name before an address as it is: in `5" pipes <a@example.com>` a
/// quotation begins that never ends.
fn plainly(list: &str) -> Vec<Mailbox> {
    let mailbox = |item: &str| {
        let (name, address) = item.rsplit_once('<').unwrap_or(("", item));
        let address = normal(address.split('>').next()?)?;
        Some(Mailbox { address, name: super::one_line(name) })
    };
    list.split([',', ';']).filter_map(mailbox).collect()
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

/// Whether mails can be sent by it: nobody writes to a longer name.
pub(super) fn is_short(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(local, _)| local.len() <= LOCAL_BYTES_MAX)
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
    fn a_quotation_or_a_remark_that_never_ends_hides_no_address() {
        let read =
            |list| addresses(list).into_iter().map(|m| (m.address, m.name)).collect::<Vec<_>>();
        let one = |address: &str, name: &str| vec![(address.to_owned(), Some(name.to_owned()))];
        assert_eq!(read("5\" Pipes <Info@example.com>"), one("info@example.com", "5\" Pipes"));
        assert_eq!(read("Mei :( <mei@example.com>"), one("mei@example.com", "Mei :("));
        assert_eq!(read("Foo <bar> <a@example.com>"), one("a@example.com", "Foo <bar>"));
        let both = read("\"Foo <a@example.com>, shop@example.com");
        let both: Vec<_> = both.iter().map(|(address, _)| address).collect();
        assert_eq!(both, ["a@example.com", "shop@example.com"]);
        let quoted = read("\"Mei <old@example.com>\" <mei@example.com>");
        assert_eq!(quoted, one("mei@example.com", "Mei <old@example.com>"));
        let inner = read("\"Lin, \\\" Mei\" <mei@example.com>");
        assert_eq!(inner, one("mei@example.com", "Lin, \" Mei"));
        assert_eq!(read("a@example.com; b@example.com").len(), 2);
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
