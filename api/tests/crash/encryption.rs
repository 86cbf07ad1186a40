//! Mails of the real program leave encrypted, to servers that are what they say they are.
//!
//! `tls/` has an authority, and the certificate that it gave to 127.0.0.1, made in 2026 for a hundred
//! years by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
//! -subj "/CN=Authority of tests" -addext basicConstraints=critical,CA:TRUE -addext
//! keyUsage=critical,keyCertSign -keyout authority.key -out authority.pem`, then `openssl req -newkey ec
//! -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=mx.example.net" -keyout server.key -out
//! server.csr`, and `openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -days 36500
//! -extfile server.ext -out server.pem`, where `server.ext` is `subjectAltName=IP:127.0.0.1` and
//! `extendedKeyUsage=serverAuth`.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use simulator::{Encryption, MailServer, MailServerOptions};

use crate::desk::Desk;
use crate::program::Program;
use crate::world::{Channel, writes};

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/tls/authority.pem");
/// One who writes mails.
const CUSTOMER: usize = 3;

fn identity() -> Arc<ServerConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}

async fn mail_server(encryption: Encryption) -> MailServer {
    let login = Some(("shop".to_owned(), "s3cret".to_owned()));
    let options = MailServerOptions { login, encryption, ..MailServerOptions::default() };
    MailServer::start(options).await.unwrap()
}

/// An account of another inbox, by this server: how it is shown.
async fn connected(desk: &Desk, inbox: &str, url: &str) -> (Value, String) {
    let config = json!({"address": format!("{inbox}@example.com"), "smtp_url": url});
    let made = desk.connect(&json!({"channel": "email", "config": config})).await;
    (made["status"].clone(), made["status_detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_leave_encrypted_and_only_to_servers_that_are_what_they_say() {
    let plain = mail_server(Encryption::None).await;
    for encryption in [Encryption::StartTls(identity()), Encryption::Tls(identity())] {
        let mail = mail_server(encryption).await;
        let other_name = mail.url().replace("127.0.0.1", "localhost");
        let port = mail.address().port();
        let servers = format!("{}, localhost:{port}, {}", mail.address(), plain.address());
        let trusts = ("OMNISTREAM__MAIL__PRIVATE_SERVERS", &*servers);

        let directory = tempfile::tempdir().unwrap();
        let program = Program::start(directory.path(), &[trusts]).await;
        let desk = Desk::found(&program).await;
        let (status, detail) = connected(&desk, "a", &mail.url()).await;
        assert_eq!(status, "attention", "nobody knows its authority");
        assert!(detail.contains("certificate cannot be trusted"), "{detail}");
        drop(program);

        let directory = tempfile::tempdir().unwrap();
        let env = [trusts, ("SSL_CERT_FILE", AUTHORITY)];
        let program = Program::start(directory.path(), &env).await;
        let desk = Desk::found(&program).await;
        let (status, detail) = connected(&desk, "b", &other_name).await;
        assert_eq!(status, "attention", "it is of another name");
        assert!(detail.contains("certificate cannot be trusted"), "{detail}");
        let in_clear = plain.url().replace("smtp://", "smtps://");
        let (status, detail) = connected(&desk, "c", &in_clear).await;
        assert_eq!(status, "attention");
        assert!(detail.contains("no encryption comes about"), "{detail}");
        assert!(mail.letters().is_empty());

        let made = desk.connect(&Channel::Email.account(&mail.url())).await;
        assert_eq!(made["status"], "connected", "{made}");
        assert_eq!(desk.deliver(&writes(CUSTOMER, "0-0", None)).await, Some(true));
        assert_eq!(desk.say(CUSTOMER, "In stock.").await, Some(true));
        let letters = tokio::time::timeout(Duration::from_secs(60), mail.letters_when(1)).await;
        let raw = String::from_utf8(letters.expect("it comes")[0].raw.clone()).unwrap();
        assert!(raw.trim_end().ends_with("\r\n\r\nIn stock."), "{raw}");
    }
    assert!(plain.letters().is_empty());
}
