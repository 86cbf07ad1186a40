//! Meta's proofs: the signature of a webhook body, and the handshake that subscribes to webhooks
//! (Graph API, "Webhooks: getting started").

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whether `header` (the value of `X-Hub-Signature-256`: `sha256=` and 64 hex digits) signs these
/// raw bytes with this secret. Takes the same time whatever is wrong with the digits.
pub fn is_signed(secret: &str, header: &str, body: &[u8]) -> bool {
    let Some(hex) = header.strip_prefix("sha256=") else { return false };
    let mut claimed = [0; 32];
    if secret.is_empty() || hex::decode_to_slice(hex, &mut claimed).is_err() {
        return false;
    }
    sign(secret, body).ct_eq(&claimed).into()
}

/// HMAC-SHA256 of the raw bytes.
pub fn sign(secret: impl AsRef<[u8]>, body: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_ref());
    let mut mac = mac.expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

/// The query of a verification request, and the answer to it.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    pub mode: Option<&'a str>,
    pub verify_token: Option<&'a str>,
    pub challenge: Option<&'a str>,
}

impl<'a> Handshake<'a> {
    /// The challenge, to be sent back as it is, if the token is one of `known`. Tokens are compared
    /// as digests, so that neither their length nor their beginning can be measured.
    pub fn answer<'t>(&self, known: impl IntoIterator<Item = &'t str>) -> Option<&'a str> {
        let token = Sha256::digest(self.verify_token?.as_bytes());
        let mut fits = subtle::Choice::from(0);
        for known in known {
            fits |= token.ct_eq(&Sha256::digest(known.as_bytes()))
                & subtle::Choice::from(u8::from(!known.is_empty()));
        }
        (bool::from(fits) && self.mode == Some("subscribe")).then_some(self.challenge).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::{Handshake, is_signed, sign};
    use proptest::prelude::*;

    fn header(secret: &str, body: &[u8]) -> String {
        format!("sha256={}", hex::encode(sign(secret, body)))
    }

    #[test]
    fn a_known_signature_is_accepted() {
        // RFC 4231, test case 2.
        let header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(is_signed("Jefe", header, b"what do ya want for nothing?"));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for header in ["", "sha256=", "sha1=00", "sha256=zz", "5bdcc146", "sha256=5bdcc146"] {
            assert!(!is_signed("Jefe", header, b"x"), "{header}");
        }
        assert!(!is_signed("", &header("", b"x"), b"x"), "nobody has an empty secret");
    }

    #[test]
    fn a_handshake_is_answered_only_with_a_known_token() {
        let ask = |mode, token| Handshake {
            mode: Some(mode),
            verify_token: Some(token),
            challenge: Some("0017"),
        };
        assert_eq!(ask("subscribe", "b").answer(["a", "b"]), Some("0017"));
        assert_eq!(ask("subscribe", "c").answer(["a", "b"]), None);
        assert_eq!(ask("unsubscribe", "b").answer(["a", "b"]), None);
        assert_eq!(ask("subscribe", "").answer([""]), None, "no token is no proof");
    }

    proptest! {
        #[test]
        fn any_other_body_secret_or_signature_is_refused(
            secret in "[a-z]{1,20}", body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>()
        ) {
            let good = header(&secret, &body);
            prop_assert!(is_signed(&secret, &good, &body));
            let other_secret = format!("{secret}x");
            prop_assert!(!is_signed(&other_secret, &good, &body));
            let mut other = body.clone();
            other[at.index(body.len())] ^= 1;
            prop_assert!(!is_signed(&secret, &good, &other));
        }
    }
}
