//! The signed reply address: an address of the inbox whose tag names a thread, for answers that have
//! lost all ids.

use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::super::signature::sign;
use super::address::is_short;
use crate::id::ThreadId;

/// How many bytes of the signature stand in an address: whoever guesses has to send a mail each.
const SIGNATURE_BYTES: usize = 8;
/// Begins the tag of such an address.
const MARK: &str = "c.";
/// Small letters and digits: mail servers may change capitals.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The address of an inbox by which answers come to a thread. `None`: the inbox has a name so long
/// that none can stand behind it; answers are known by the mails that they name.
pub fn reply_address(key: &[u8], inbox: &str, thread: ThreadId) -> Option<String> {
    let (local, domain) = inbox.rsplit_once('@')?;
    let mut token = thread.0.as_bytes().to_vec();
    token.extend(signature(key, inbox, thread));
    Some(format!("{local}+{MARK}{}@{domain}", written(&token))).filter(|address| is_short(address))
}

/// The thread that an address of the inbox names, if it is one that was signed with this key.
pub fn replied_thread(key: &[u8], inbox: &str, address: &str) -> Option<ThreadId> {
    let (local, domain) = address.rsplit_once('@')?;
    // The inbox's own name may have a tag, too.
    let (name, tag) = local.rsplit_once('+')?;
    if !format!("{name}@{domain}").eq_ignore_ascii_case(inbox) {
        return None;
    }
    let token = read(tag.to_ascii_lowercase().strip_prefix(MARK)?)?;
    let (thread, signed) = token.split_at_checked(16)?;
    let thread = ThreadId(Uuid::from_slice(thread).ok()?);
    let is_ours: bool = signature(key, inbox, thread).ct_eq(signed).into();
    is_ours.then_some(thread)
}

fn signature(key: &[u8], inbox: &str, thread: ThreadId) -> [u8; SIGNATURE_BYTES] {
    let mut signed = b"reply address\0".to_vec();
    signed.extend(inbox.to_lowercase().as_bytes());
    signed.extend(thread.0.as_bytes());
    let mut short = [0; SIGNATURE_BYTES];
    short.copy_from_slice(&sign(key, &signed)[..SIGNATURE_BYTES]);
    short
}

/// In base 32.
fn written(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
    for byte in bytes {
        (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(DIGITS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(DIGITS[(held << (5 - bits) & 31) as usize]));
    }
    text
}

fn read(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for digit in text.bytes() {
        let digit = DIGITS.iter().position(|known| *known == digit)?;
        (held, bits) = (held << 5 | u32::try_from(digit).ok()?, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 255).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{replied_thread, reply_address};
    use crate::id::ThreadId;

    const INBOX: &str = "shop@example.com";

    #[test]
    fn a_reply_address_names_its_thread_in_any_case_and_only_on_its_inbox() {
        let thread = ThreadId(Uuid::from_u128(0x0198_7654_3210));
        let address = reply_address(b"key", INBOX, thread).unwrap();
        assert!(address.rsplit_once('@').unwrap().0.len() <= 64, "{address}");
        assert_eq!(replied_thread(b"key", INBOX, &address), Some(thread));
        assert_eq!(replied_thread(b"key", INBOX, &address.to_uppercase()), Some(thread));
        assert_eq!(replied_thread(b"other", INBOX, &address), None);
        assert_eq!(replied_thread(b"key", "help@example.com", &address), None);
        let moved = address.replace("shop+", "help+");
        assert_eq!(replied_thread(b"key", "help@example.com", &moved), None);
    }

    #[test]
    fn an_inbox_whose_name_has_a_tag_has_reply_addresses_too() {
        let (inbox, thread) = ("shop+help@example.com", ThreadId(Uuid::from_u128(7)));
        let address = reply_address(b"key", inbox, thread).unwrap();
        assert_eq!(replied_thread(b"key", inbox, &address), Some(thread));
        assert_eq!(replied_thread(b"key", INBOX, &address), None);
    }

    #[test]
    fn other_tags_name_nothing() {
        for address in [
            "shop@example.com",
            "shop+sale@example.com",
            "shop+c.@example.com",
            "shop+c.aaaa@example.com",
            "+",
            "",
        ] {
            assert_eq!(replied_thread(b"key", INBOX, address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn an_address_with_another_digit_names_nothing(
            thread in any::<u128>(), at in any::<prop::sample::Index>(), digit in 0_usize..32
        ) {
            let address = reply_address(b"key", INBOX, ThreadId(Uuid::from_u128(thread))).unwrap();
            prop_assert_eq!(replied_thread(b"key", INBOX, &address), Some(ThreadId(Uuid::from_u128(thread))));
            let (begin, end) = (address.find("c.").unwrap() + 2, address.find('@').unwrap());
            // The last digit has bits that mean nothing.
            let at = begin + at.index(end - begin - 1);
            let mut other = address.clone().into_bytes();
            other[at] = super::DIGITS[digit];
            let other = String::from_utf8(other).unwrap();
            prop_assume!(other != address);
            prop_assert_eq!(replied_thread(b"key", INBOX, &other), None);
        }
    }
}
