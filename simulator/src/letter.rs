//! Mails that the business has sent, and what people and mail servers write back.

use std::io;

use serde_json::{Value, json};

use crate::signature::sign;

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The sender of the envelope.
    pub from: String,
    /// All of its recipients.
    pub to: Vec<String>,
    /// As it was sent.
    pub raw: Vec<u8>,
}

impl Letter {
    /// The first header of this name, its lines joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let raw = String::from_utf8_lossy(&self.raw);
        let mut found: Option<String> = None;
        for line in raw.split("\r\n").take_while(|line| !line.is_empty()) {
            if let Some(more) = line.strip_prefix([' ', '\t']) {
                if let Some(found) = &mut found {
                    found.push(' ');
                    found.push_str(more.trim_start());
                }
            } else if found.is_some() {
                break;
            } else if let Some((key, value)) = line.split_once(':')
                && key.eq_ignore_ascii_case(name)
            {
                found = Some(value.trim().to_owned());
            }
        }
        found
    }

    /// What somebody answers to it, in the reference's JSON. `id` tells it apart, e.g. `1@example.org`.
    pub fn answer(&self, by: &str, id: &str, text: &str) -> Value {
        let own = self.header("Message-ID").unwrap_or_default();
        let references = self.header("References").map(|before| format!("{before} {own}"));
        let subject = self.header("Subject").unwrap_or_default();
        let to = self.header("Reply-To").unwrap_or_else(|| self.from.clone());
        json!({
            "from": by, "to": to, "subject": subject, "text": text, "message_id": format!("<{id}>"),
            "in_reply_to": own, "references": references.unwrap_or_else(|| own.clone()),
        })
    }

    /// What a mail server writes of it that could not deliver it: as it was sent, as SendGrid posts
    /// it.
    pub fn bounce(&self, id: &str) -> Value {
        let (own, to) = (self.header("Message-ID").unwrap_or_default(), self.to.join(", "));
        let from = &self.from;
        let raw = [
            "From: Mail Delivery System <mailer-daemon@mx.example.net>",
            &format!("To: <{from}>"),
            "Subject: Undelivered Mail Returned to Sender",
            &format!("Message-ID: <{id}>"),
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            "Content-Type: multipart/report; report-type=delivery-status; boundary=\"part\"",
            "",
            "--part",
            "Content-Type: text/plain",
            "",
            "Your mail could not be delivered.",
            "--part",
            "Content-Type: message/delivery-status",
            "",
            "Reporting-MTA: dns; mx.example.net",
            "",
            &format!("Final-Recipient: rfc822; {to}"),
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: smtp; 550 5.1.1 there is nobody of this name",
            "",
            "--part",
            "Content-Type: text/rfc822-headers",
            "",
            &format!("From: <{from}>"),
            &format!("Message-ID: {own}"),
            "",
            "--part--",
            "",
        ]
        .join("\r\n");
        let envelope = json!({"from": "", "to": [from]}).to_string();
        json!({"email": raw, "envelope": envelope, "to": from})
    }
}

/// Posts mails to the business, as its provider does.
pub struct Postman {
    client: reqwest::Client,
    webhook_url: String,
    secret: Option<String>,
}

impl Postman {
    /// To this address, signed with the account's `webhook_secret` where it has one.
    ///
    /// # Errors
    /// When no client can be set up on this machine.
    pub fn new(webhook_url: impl Into<String>, secret: Option<String>) -> io::Result<Self> {
        // A second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().build().map_err(io::Error::other)?;
        Ok(Self { client, webhook_url: webhook_url.into(), secret })
    }

    /// Posts a mail. Answers the status.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn post(&self, mail: &Value) -> io::Result<u16> {
        let body = mail.to_string();
        let mut request = self.client.post(&self.webhook_url);
        if let Some(secret) = &self.secret {
            request = request.header("x-email-webhook-signature", sign(secret, body.as_bytes()));
        }
        let request = request.header("content-type", "application/json").body(body);
        let answer = request.send().await.map_err(io::Error::other)?;
        Ok(answer.status().as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::Letter;

    #[test]
    fn an_answer_goes_where_the_mail_says_and_names_what_it_answers() {
        let raw = "From: shop@example.com\r\nReply-To: shop+c.x@example.com\r\nMessage-ID: <2@x>\r\n\
                   References: <0@x>\r\n <1@x>\r\nSubject: Re: Boots\r\n\r\nReply-To: no\r\n";
        let (from, to) = ("shop@example.com".to_owned(), vec!["mei@example.org".to_owned()]);
        let letter = Letter { from, to, raw: raw.as_bytes().to_vec() };
        let answer = letter.answer("mei@example.org", "3@y", "Thanks");
        assert_eq!(answer["to"], "shop+c.x@example.com");
        assert_eq!(answer["references"], "<0@x> <1@x> <2@x>");
        assert_eq!(
            (&answer["in_reply_to"], &answer["subject"]),
            (&"<2@x>".into(), &"Re: Boots".into())
        );
        let bounce = letter.bounce("4@y");
        assert!(bounce["email"].as_str().unwrap().contains("Message-ID: <2@x>"));
    }
}
