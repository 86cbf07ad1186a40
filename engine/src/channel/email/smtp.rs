//! How an account's mails leave: the mail server that its config names.

use std::borrow::Cow;
use std::fmt;

use url::{Host, Url};

use crate::account::Account;

/// A mail server, as an address `smtps://name:password@host:port` or `smtp://...` names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// Name and password, where it asks for one.
    pub login: Option<(String, String)>,
}

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// From its first byte.
    Tls,
    /// Once it is there (STARTTLS), before anything is said.
    StartTls,
}

/// What must stand under `smtp_url`.
const MUST: &str = "must be `smtps://name:password@host` or `smtp://name:password@host:587`, the \
                    name and the password with %-signs for what is no letter or digit";

impl Smtp {
    /// Of an address.
    pub fn read(url: &str) -> Result<Self, &'static str> {
        let parsed = Url::parse(url).map_err(|_| MUST)?;
        let (security, usual) = match parsed.scheme() {
            "smtps" => (Security::Tls, 465),
            "smtp" => (Security::StartTls, 587),
            _ => return Err(MUST),
        };
        let is_bare = matches!(parsed.path(), "" | "/")
            && parsed.query().is_none()
            && parsed.fragment().is_none();
        let host = match parsed.host().filter(|_| is_bare).ok_or(MUST)? {
            Host::Domain(name) => name.to_lowercase(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(MUST);
        }
        let login = match (parsed.username(), parsed.password()) {
            ("", None) => None,
            (name, Some(password)) if !name.is_empty() => {
                Some((decoded(name).ok_or(MUST)?, decoded(password).ok_or(MUST)?))
            }
            _ => return Err(MUST),
        };
        Ok(Self { host, port: parsed.port().unwrap_or(usual), security, login })
    }

    /// An account's; `None`: it only takes mails.
    pub fn of(account: &Account) -> Option<Self> {
        Self::read(account.text("smtp_url")?).ok()
    }
}

/// A part of an address without its %-signs, if it is a text of one line.
fn decoded(part: &str) -> Option<String> {
    // What means something in a form means itself here.
    let part = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let (decoded, _) = form_urlencoded::parse(part.as_bytes()).next()?;
    (!decoded.contains(char::is_control)).then(|| Cow::into_owned(decoded))
}

impl fmt::Debug for Smtp {
    /// Without its login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}", self.security, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::{Security, Smtp};

    #[test]
    fn an_address_names_the_server_and_the_login() {
        let smtp =
            Smtp::read("smtps://shop%40example.com:p%C3%A4ss%2F+1&x=2@Mail.Example.com").unwrap();
        assert_eq!((smtp.host.as_str(), smtp.port), ("mail.example.com", 465));
        assert_eq!(smtp.security, Security::Tls);
        assert_eq!(
            smtp.login,
            Some(("shop@example.com".to_owned(), "p\u{e4}ss/+1&x=2".to_owned()))
        );
        let smtp = Smtp::read("smtp://127.0.0.1:8025").unwrap();
        assert_eq!((smtp.host.as_str(), smtp.port, smtp.login), ("127.0.0.1", 8025, None));
        assert_eq!(Smtp::read("smtp://mail.example.com").unwrap().port, 587);
    }

    #[test]
    fn a_server_is_shown_without_its_login() {
        let smtp = Smtp::read("smtp://shop:s3cret@mail.example.com").unwrap();
        assert!(!format!("{smtp:?}").contains("s3cret"));
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for wrong in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://mail.example.com/path",
            "smtp://mail.example.com?tls=none",
            "smtp://name@mail.example.com",
            "smtp://:password@mail.example.com",
            "smtp://a:b%0d%0aQUIT@mail.example.com",
            "smtp://mail.exa%0d%0ample.com",
            "smtp://mail.example.com:0x",
        ] {
            assert!(Smtp::read(wrong).is_err(), "{wrong}");
        }
    }
}
