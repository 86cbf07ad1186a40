//! Proofs that a post is from its account's provider: each in the way that the provider has.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::super::signature::sign;
use super::post::{Post, Provider};
use crate::time::Timestamp;

/// What a request carries beside its body that may prove it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proofs<'h> {
    /// `X-Email-Webhook-Signature`.
    pub signature: Option<&'h str>,
    /// `Authorization`.
    pub authorization: Option<&'h str>,
    /// `svix-id`, `svix-timestamp`, `svix-signature`.
    pub svix: Option<[&'h str; 3]>,
}

/// So many signatures of a header are looked at: a provider sends two while a secret changes.
const SIGNATURES_MAX: usize = 8;

impl Post<'_> {
    /// Whether the holder of this secret sent it. Signatures over a time count for so long: none of
    /// them says when a mail comes too late, since providers try for hours.
    pub fn is_proven(
        &self,
        proofs: &Proofs<'_>,
        body: &[u8],
        secret: &str,
        (now, age_max): (Timestamp, Duration),
    ) -> bool {
        if secret.is_empty() {
            return false;
        }
        let is_fresh = |seconds: &str| {
            let at = seconds.trim().parse::<i64>().ok().and_then(|s| s.checked_mul(1000));
            at.map(Timestamp).is_some_and(|at| at <= now + age_max && now <= at + age_max)
        };
        let signed = proofs.signature.is_some_and(|header| {
            let hex = header.trim();
            is_hex_of(hex.strip_prefix("sha256=").unwrap_or(hex), sign(secret, body))
        });
        signed
            || match self.provider {
                Provider::Mailgun => self.is_signed_by_mailgun(secret, is_fresh),
                Provider::Resend => {
                    proofs.svix.is_some_and(|svix| is_svix(svix, body, secret, is_fresh))
                }
                Provider::Sendgrid | Provider::Postmark => {
                    proofs.authorization.is_some_and(|header| is_basic(header, secret))
                }
                Provider::Generic => false,
            }
    }

    /// Mailgun signs a time and a token, not the mail.
    fn is_signed_by_mailgun(&self, secret: &str, is_fresh: impl Fn(&str) -> bool) -> bool {
        let field = |name| self.fields.text(name);
        let (Some(time), Some(token), Some(signature)) =
            (field("timestamp"), field("token"), field("signature"))
        else {
            return false;
        };
        is_hex_of(&signature, sign(secret, format!("{time}{token}").as_bytes())) && is_fresh(&time)
    }
}

fn is_hex_of(hex: &str, signature: [u8; 32]) -> bool {
    let mut claimed = [0; 32];
    hex::decode_to_slice(hex, &mut claimed).is_ok() && signature.ct_eq(&claimed).into()
}

/// Svix's headers: id, time and body are signed; of several signatures one has to fit.
fn is_svix(
    [id, time, signatures]: [&str; 3],
    body: &[u8],
    secret: &str,
    is_fresh: impl Fn(&str) -> bool,
) -> bool {
    let key = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = STANDARD.decode(key).unwrap_or_else(|_| secret.as_bytes().to_vec());
    let mut signed = format!("{id}.{time}.").into_bytes();
    signed.extend_from_slice(body);
    let expected = sign(&key, &signed);
    let mut fits = Choice::from(0);
    for signature in signatures.split(' ').take(SIGNATURES_MAX) {
        let Some(signature) = signature.strip_prefix("v1,") else { continue };
        let claimed = STANDARD.decode(signature).unwrap_or_default();
        fits |= expected.ct_eq(&claimed);
    }
    bool::from(fits) && is_fresh(time)
}

/// Basic authentication in the address that the provider calls: the secret is the password, or
/// name and password with a colon between them.
fn is_basic(header: &str, secret: &str) -> bool {
    let Some((scheme, credentials)) = header.split_once(' ') else { return false };
    let Ok(credentials) = STANDARD.decode(credentials.trim()) else { return false };
    let password = credentials.iter().position(|byte| *byte == b':').map_or(0, |at| at + 1);
    // As digests, so that neither length nor beginning can be measured.
    let expected = Sha256::digest(secret.as_bytes());
    let fits = expected.ct_eq(&Sha256::digest(&credentials[password..]))
        | expected.ct_eq(&Sha256::digest(&credentials));
    bool::from(fits) && scheme.eq_ignore_ascii_case("basic")
}
