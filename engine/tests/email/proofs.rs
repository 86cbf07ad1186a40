//! Who may post: each provider's own proof.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::channel::email::{Proofs, open};
use engine::channel::signature::sign;
use serde_json::json;

use super::{FORM, NOW, form};

const AGE: (engine::time::Timestamp, Duration) = (NOW, Duration::from_secs(300));

fn hex_of(secret: &str, signed: &[u8]) -> String {
    hex::encode(sign(secret, signed))
}

#[test]
fn the_api_s_signature_is_taken_with_and_without_its_name() {
    let body = br#"{"from":"a@example.org"}"#;
    let post = open("application/json", body).unwrap();
    let proven = |header: &str, secret: &str| {
        post.is_proven(&Proofs { signature: Some(header), ..Proofs::default() }, body, secret, AGE)
    };
    let good = hex_of("s", body);
    assert!(proven(&good, "s") && proven(&format!("sha256={good}"), "s"));
    for wrong in ["", "sha256=", &good[1..], &hex_of("t", body), &format!("sha1={good}")] {
        assert!(!proven(wrong, "s"), "{wrong}");
    }
    assert!(!proven(&hex_of("", body), ""), "no secret proves nothing");
    assert!(!post.is_proven(&Proofs::default(), body, "s", AGE));
}

#[test]
fn mailgun_s_signature_counts_while_it_is_fresh() {
    let proven = |seconds: i64, secret: &str, token: &str| {
        let (time, signed) = (seconds.to_string(), format!("{seconds}t0ken"));
        let signature = hex_of(secret, signed.as_bytes());
        let fields: [(&str, &[u8]); 5] = [
            ("timestamp", time.as_bytes()),
            ("token", token.as_bytes()),
            ("signature", signature.as_bytes()),
            ("body-plain", b"x"),
            ("from", b"a@example.org"),
        ];
        let body = form(&fields);
        open(FORM, &body).unwrap().is_proven(&Proofs::default(), &body, "key", AGE)
    };
    let now = NOW.0 / 1000;
    assert!(proven(now, "key", "t0ken") && proven(now - 299, "key", "t0ken"));
    assert!(!proven(now - 301, "key", "t0ken") && !proven(now + 301, "key", "t0ken"));
    assert!(!proven(now, "other", "t0ken") && !proven(now, "key", "token"));
    assert!(!proven(i64::MAX, "key", "t0ken"));
}

#[test]
fn resend_s_signatures_count_while_they_are_fresh() {
    let body = json!({"type": "email.received", "data": {"from": "a@example.org"}}).to_string();
    let (body, key) = (body.as_bytes(), b"a key of svix");
    let secret = format!("whsec_{}", STANDARD.encode(key));
    let proven = |seconds: i64, id: &str, prefix: &str| {
        let time = seconds.to_string();
        let signed = [format!("m1.{time}.").as_bytes(), body].concat();
        let signature = format!("v1,AAAA {prefix}{}", STANDARD.encode(sign(key, &signed)));
        let proofs = Proofs { svix: Some([id, &time, &signature]), ..Proofs::default() };
        open("application/json", body).unwrap().is_proven(&proofs, body, &secret, AGE)
    };
    let now = NOW.0 / 1000;
    assert!(proven(now, "m1", "v1,"));
    assert!(
        !proven(now - 301, "m1", "v1,") && !proven(now, "m2", "v1,") && !proven(now, "m1", "v2,")
    );
}

#[test]
fn a_password_counts_where_the_provider_can_only_send_that() {
    let proven = |body: &[u8], credentials: &str, secret: &str| {
        let header = format!("Basic {}", STANDARD.encode(credentials));
        let proofs = Proofs { authorization: Some(&header), ..Proofs::default() };
        open("application/json", body).unwrap().is_proven(&proofs, body, secret, AGE)
    };
    let postmark = br#"{"From":"a@example.org","To":"b@example.com"}"#;
    assert!(
        proven(postmark, "hook:s3cret", "s3cret") && proven(postmark, "hook:s3cret", "hook:s3cret")
    );
    assert!(
        !proven(postmark, "hook:other", "s3cret")
            && !proven(postmark, "other:s3cret", "hook:s3cret")
    );
    assert!(
        !proven(br#"{"from":"a@example.org"}"#, "hook:s3cret", "s3cret"),
        "the API's own has a signature"
    );
}
