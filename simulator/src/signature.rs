//! `X-Hub-Signature-256`: HMAC-SHA256 over the bytes on the wire, keyed with the app secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header's value: `sha256=` and 64 lower-case hex digits.
pub fn sign(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(mac(secret, body).finalize().into_bytes()))
}

/// Whether `header` is the signature of `body`.
pub fn verify(secret: &str, body: &[u8], header: &str) -> bool {
    let given = header.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok());
    given.is_some_and(|given| mac(secret, body).verify_slice(&given).is_ok())
}

fn mac(secret: &str, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    mac.expect("HMAC takes keys of any length").chain_update(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_rfc_4231_case_2() {
        let header = sign("Jefe", b"what do ya want for nothing?");
        assert_eq!(
            header,
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(verify("Jefe", b"what do ya want for nothing?", &header));
        assert!(!verify("Jefe", b"what do ya want for nothing!", &header));
        assert!(!verify("Jefe", b"", "sha256=xyz"));
    }
}
