//! By what a contact is found: words of its name, its numbers from both ends, addresses, tags.

use std::collections::BTreeSet;

use super::Phrase;
use crate::contact::{Contact, IdentityKind};
use crate::phone;
use crate::words::{is_alone, words};

/// What somebody looks for among contacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Its name has these words.
    Name(Phrase),
    /// It has this sign.
    Is(String),
    /// It has a sign that begins so.
    Begins(String),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// Of fewer digits too many numbers are the beginning or the end of.
const DIGITS_MIN: usize = 3;
/// A country's code has from one to so many digits.
const COUNTRY_DIGITS_MAX: usize = 3;
/// No address is longer.
const EMAIL_BYTES_MAX: usize = 254;

// What a sign is stands before it.
const NUMBER: char = '+';
/// A number from its end.
const END: char = '-';
const ADDRESS: char = '=';
const DOMAIN: char = '@';
const TAG: char = '#';

impl Sought {
    /// One of a name, a number and an address. `None`, here and below: it is nothing of that.
    pub fn of(typed: &str) -> Option<Self> {
        let ways = [Self::name(typed), Self::phone(typed), Self::email(typed)];
        let ways: Vec<_> = ways.into_iter().flatten().collect();
        (!ways.is_empty()).then_some(Self::Any(ways))
    }

    /// Words of a name in any order, each or its beginning. Of scripts without spaces any part.
    pub fn name(typed: &str) -> Option<Self> {
        let mut phrases = Vec::new();
        for typed in typed.split_whitespace() {
            let words: Vec<_> = words(typed).map(|word| word.folded).collect();
            for row in words.chunk_by(|one, next| is_alone(one) && is_alone(next)) {
                let phrase = Phrase { words: row.to_vec(), begins: !is_alone(&row[0]) };
                phrases.push(Self::Name(phrase));
            }
        }
        (!phrases.is_empty()).then_some(Self::All(phrases))
    }

    /// A number, its beginning or its end, however it is written: with its country's code, with two
    /// zeros before that, or with one zero instead of it.
    pub fn phone(typed: &str) -> Option<Self> {
        // As in +44 (0)20 7946 0958.
        let typed = typed.replace("(0)", " ");
        let digits: String = words(&typed).map(|word| word.folded).collect();
        if digits.len() < DIGITS_MIN || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let abroad = digits.strip_prefix("00").filter(|number| number.len() >= DIGITS_MIN);
        let number = phone::comparable(abroad.unwrap_or(&digits));
        Some(Self::Any(vec![Self::Begins(from_start(&number)), Self::Begins(from_end(&number))]))
    }

    /// An address, its domain, or how one of them begins.
    pub fn email(typed: &str) -> Option<Self> {
        let typed = typed.trim().to_lowercase();
        let says_something = typed.contains(char::is_alphanumeric);
        if !says_something || typed.len() > EMAIL_BYTES_MAX || typed.contains(char::is_whitespace) {
            return None;
        }
        let address = Self::Begins(format!("{ADDRESS}{typed}"));
        Some(match typed.find('@') {
            Some(0) => Self::Begins(typed),
            Some(_) => address,
            None => Self::Any(vec![address, Self::Begins(format!("{DOMAIN}{typed}"))]),
        })
    }

    /// A tag, as it is written.
    pub fn tag(typed: &str) -> Option<Self> {
        let tag = typed.trim();
        (!tag.is_empty()).then(|| Self::Is(format!("{TAG}{tag}")))
    }

    /// How many words of a name are in it.
    pub fn words(&self) -> usize {
        match self {
            Self::Name(phrase) => phrase.words.len(),
            Self::Is(_) | Self::Begins(_) => 0,
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::words).sum(),
        }
    }
}

/// By what a contact is found beside its name: all its numbers and addresses, also those that are
/// its no more, and its tags.
pub fn signs(contact: &Contact) -> BTreeSet<String> {
    let of = |kind| contact.identities.iter().filter(move |identity| identity.kind == kind);
    let mut signs = BTreeSet::new();
    for written in of(IdentityKind::Phone).map(|identity| &*identity.value) {
        for number in [written, &phone::comparable(written)] {
            signs.extend([from_start(number), from_end(number)]);
            // Where it is at home it is dialled so.
            let own = (1..=COUNTRY_DIGITS_MAX).filter_map(|code| number.get(code..));
            signs.extend(own.map(|own| from_start(&format!("0{own}"))));
        }
    }
    let written = of(IdentityKind::Email).map(|identity| &identity.value);
    for address in written.chain(&contact.email) {
        let address = address.to_lowercase();
        signs.extend(address.rsplit_once('@').map(|(_, domain)| format!("{DOMAIN}{domain}")));
        signs.insert(format!("{ADDRESS}{address}"));
    }
    signs.extend(contact.tags.iter().map(|tag| format!("{TAG}{tag}")));
    signs
}

fn from_start(number: &str) -> String {
    format!("{NUMBER}{number}")
}

fn from_end(number: &str) -> String {
    [END].into_iter().chain(number.chars().rev()).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Sought, signs};
    use crate::channel::Handle;
    use crate::contact::{Contact, Identity, IdentityKind};
    use crate::id::{AccountId, ContactId, TenantId};
    use crate::search::Phrase;
    use crate::time::Timestamp;

    fn contact(handles: &[(IdentityKind, &str)]) -> Contact {
        let (id, tenant) = (ContactId(Uuid::from_u128(3)), TenantId(Uuid::from_u128(1)));
        let mut contact = Contact::new(id, tenant, Timestamp(0));
        let account = AccountId(Uuid::from_u128(2));
        let of = |(kind, value): &(_, &str)| {
            Identity::of(&Handle { kind: *kind, value: (*value).to_owned() }, account)
        };
        contact.identities = handles.iter().map(of).collect();
        contact
    }

    /// Whether one of these signs is sought.
    fn fits(sought: &Sought, contact: &Contact) -> bool {
        let signs = signs(contact);
        match sought {
            Sought::Name(_) => false,
            Sought::Is(sign) => signs.contains(sign),
            Sought::Begins(sign) => signs.iter().any(|known| known.starts_with(sign)),
            Sought::All(parts) => parts.iter().all(|part| fits(part, contact)),
            Sought::Any(parts) => parts.iter().any(|part| fits(part, contact)),
        }
    }

    #[test]
    fn a_number_is_found_by_its_beginning_and_its_end_however_it_is_written() {
        let contact = contact(&[(IdentityKind::Phone, "6281234567890")]);
        for typed in [
            "6281234567890",
            "+62 812-3456-7890",
            "0062 812",
            "+62 (0)812 3456",
            "0812 34",
            "081234567890",
            "7890",
            "(3456) 7890",
            "６２８１",
        ] {
            assert!(fits(&Sought::phone(typed).unwrap(), &contact), "{typed}");
        }
        for typed in ["3456", "7891", "628123456789012", "0813", "00628 9"] {
            assert!(!fits(&Sought::phone(typed).unwrap(), &contact), "{typed}");
        }
        for none in ["", "62", "+-()", "812 x", "1e9"] {
            assert_eq!(Sought::phone(none), None, "{none}");
        }
    }

    #[test]
    fn a_number_that_is_written_in_two_ways_is_found_by_both() {
        let (with, without) = ("5511987654321", "551187654321");
        for (stored, typed) in [(with, with), (with, without), (without, with), (without, without)]
        {
            let contact = contact(&[(IdentityKind::Phone, stored)]);
            assert!(fits(&Sought::phone(typed).unwrap(), &contact), "{stored} by {typed}");
        }
    }

    #[test]
    fn an_address_is_found_by_itself_by_how_it_begins_and_by_its_domain() {
        let mut contact = contact(&[(IdentityKind::Email, "Zoe.Quill@example.com")]);
        contact.email = Some("z@corp.example".to_owned());
        for typed in
            ["ZOE.quill@Example.com", "zoe", " zoe.quill@", "@example.com", "example.com", "@corp"]
        {
            assert!(fits(&Sought::email(typed).unwrap(), &contact), "{typed}");
        }
        for typed in ["quill", "oe", "@xample.com", "zoe@example.com", "+zoe"] {
            assert!(!fits(&Sought::email(typed).unwrap(), &contact), "{typed}");
        }
        let long = "x".repeat(255);
        for none in ["", "@", "zoe quill", &long] {
            assert_eq!(Sought::email(none), None, "{none}");
        }
    }

    #[test]
    fn a_tag_is_found_as_it_is_written_and_nothing_else_is() {
        let mut contact = contact(&[]);
        contact.tags = vec!["Big spender".to_owned(), "@x".to_owned()];
        assert!(fits(&Sought::tag(" Big spender ").unwrap(), &contact));
        for typed in ["big spender", "Big", "spender"] {
            assert!(!fits(&Sought::tag(typed).unwrap(), &contact), "{typed}");
        }
        assert!(!fits(&Sought::email("@x").unwrap(), &contact));
        assert_eq!(Sought::tag(" "), None);
    }

    #[test]
    fn words_of_a_name_are_its_beginnings_but_in_scripts_without_spaces() {
        let name = |words: &[&str], begins| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Sought::Name(Phrase { words, begins })
        };
        let all = |names: &[Sought]| Some(Sought::All(names.to_vec()));
        assert_eq!(Sought::name(" Zoë Q"), all(&[name(&["zoe"], true), name(&["q"], true)]));
        assert_eq!(Sought::name("O'Br"), all(&[name(&["o"], true), name(&["br"], true)]));
        assert_eq!(Sought::name("小明"), all(&[name(&["小", "明"], false)]));
        assert_eq!(
            Sought::name("王小 A明"),
            all(&[name(&["王", "小"], false), name(&["a"], true), name(&["明"], false)])
        );
        assert_eq!(Sought::name("?! *"), None);
        assert_eq!(Sought::name("a b 明").unwrap().words(), 3);
    }

    #[test]
    fn what_is_typed_may_be_a_name_a_number_or_an_address() {
        let ways = |typed| match Sought::of(typed) {
            Some(Sought::Any(ways)) => ways.len(),
            _ => 0,
        };
        assert_eq!([ways("zoe"), ways("zoe quill"), ways("+62 812"), ways("812")], [2, 1, 2, 3]);
        assert_eq!(Sought::of(" ?"), None);
    }
}
