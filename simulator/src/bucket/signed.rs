//! Whether a request is signed as S3 wants it (AWS Signature Version 4): the signature is made again.

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::BucketOptions;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is wrong with it, in S3's words.
pub(super) fn check(
    options: &BucketOptions,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    body: &[u8],
) -> Result<(), &'static str> {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fields = header("authorization").strip_prefix(ALGORITHM).ok_or("AccessDenied")?;
    let field = |name: &str| fields.split(',').find_map(|one| one.trim().strip_prefix(name));
    let malformed = "AuthorizationHeaderMalformed";
    let credential = field("Credential=").ok_or(malformed)?;
    let (key, scope) = credential.split_once('/').ok_or(malformed)?;
    let (date, place) = scope.split_once('/').ok_or(malformed)?;
    let names = field("SignedHeaders=").ok_or(malformed)?;
    if key != options.access_key_id {
        return Err("InvalidAccessKeyId");
    }
    if place != format!("{}/s3/aws4_request", options.region) {
        return Err(malformed);
    }
    let hash = hex::encode(Sha256::digest(body));
    if header("x-amz-content-sha256") != hash {
        return Err("XAmzContentSHA256Mismatch");
    }
    let signed: String =
        names.split(';').map(|name| format!("{name}:{}\n", header(name).trim())).collect();
    let canonical = format!("{method}\n{}\n{}\n{signed}\n{names}\n{hash}", uri.path(), query(uri));
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        header("x-amz-date"),
        hex::encode(Sha256::digest(canonical))
    );
    let first = format!("AWS4{}", options.secret_access_key).into_bytes();
    let steps = [date, &options.region, "s3", "aws4_request", &to_sign];
    let signature = steps.iter().fold(first, |key, step| mac(&key, step));
    let is_it = field("Signature=").is_some_and(|given| given == hex::encode(signature));
    is_it.then_some(()).ok_or("SignatureDoesNotMatch")
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

/// The query as it is signed: sorted, and coded in one way.
fn query(uri: &Uri) -> String {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut pairs: Vec<_> =
        pairs.map(|(name, value)| format!("{}={}", coded(&name), coded(&value))).collect();
    pairs.sort();
    pairs.join("&")
}

fn coded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}
