//! What a person sees first: where everything is, who may log in, and lines to paste.

use std::path::Path;

use super::cast::{ADMIN, APP_SECRET, PHONE_NUMBER_ID, Person, TEAM};
use super::screen::{Screen, Style, tell};

/// Where everything is.
pub(super) struct Banner<'a> {
    /// `http://ADDRESS:PORT`.
    pub(super) url: &'a str,
    pub(super) metrics: &'a str,
    pub(super) data: &'a Path,
    /// The directory goes at the end.
    pub(super) temporary: bool,
}

impl Banner<'_> {
    /// Shows it.
    pub(super) fn show(&self) {
        let screen = Screen::now();
        let head = |text: &str| screen.paint(Style::Bold, text);
        let faint = |text: &str| screen.paint(Style::Dim, text);
        let (url, metrics) = (self.url, self.metrics);
        let data = match self.temporary {
            true => format!(
                "{}  {}",
                self.data.display(),
                faint("(gone at the end; --data DIR keeps it)")
            ),
            false => self.data.display().to_string(),
        };
        tell("");
        tell(&head(
            "OmniStream, a demo: customers write on four channels, a team answers, all of it simulated",
        ));
        tell("");
        tell(&format!("  api        {url}/api"));
        tell(&format!("  docs       {url}/docs"));
        tell(&format!("  metrics    {metrics}/metrics"));
        tell(&format!("  data       {data}"));
        tell("");
        tell(&head("Logins"));
        for Person { role, email, password, .. } in std::iter::once(&ADMIN).chain(&TEAM) {
            tell(&format!("  {role:<11}{email:<23}{password}"));
        }
        tell("");
        tell(&head("To paste into another terminal, in this order"));
        for (what, lines) in self.lines() {
            tell(&faint(&format!("  # {what}")));
            lines.iter().for_each(|line| tell(&format!("  {line}")));
        }
    }

    fn lines(&self) -> [(&'static str, Vec<String>); 4] {
        let url = self.url;
        let Person { email, password, .. } = ADMIN;
        let json = "-H 'content-type: application/json'";
        let bearer = "-H \"authorization: Bearer $TOKEN\"";
        let text = r#"{"from":"15550009993","id":"wamid.'$(date +%s)'","type":"text","text":{"body":"Hello from a shell"}}"#;
        let contact = r#"{"wa_id":"15550009993","profile":{"name":"You"}}"#;
        let value = format!(
            r#"{{"metadata":{{"phone_number_id":"{PHONE_NUMBER_ID}"}},"contacts":[{contact}],"messages":[{text}]}}"#
        );
        let change = format!(r#"{{"field":"messages","value":{value}}}"#);
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"9001","changes":[{change}]}}]}}"#
        );
        [
            (
                "log in; the token is good for an hour",
                vec![format!(
                    r#"TOKEN=$(curl -s {url}/api/auth/login {json} -d '{{"email":"{email}","password":"{password}"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')"#
                )],
            ),
            (
                "list conversations, the newest first",
                vec![format!("curl -s '{url}/api/conversations?per_page=3' {bearer}")],
            ),
            (
                "answer the newest on WhatsApp",
                vec![
                    format!(
                        r#"ID=$(curl -s '{url}/api/conversations?per_page=100' {bearer} | sed 's/"contact_channel":"whatsapp".*//; s/.*"id":"\([^"]*\)".*/\1/')"#
                    ),
                    format!(
                        r#"curl -s "{url}/api/conversations/$ID/messages" {bearer} {json} -d '{{"text":"Hello from curl"}}'"#
                    ),
                ],
            ),
            (
                "write as a customer: a webhook, signed",
                vec![
                    format!("BODY='{body}'"),
                    format!(
                        r#"SIGNATURE=$(printf %s "$BODY" | openssl dgst -sha256 -hmac {APP_SECRET} | sed 's/.*= *//')"#
                    ),
                    format!(
                        r#"curl -s -w '%{{http_code}}\n' {url}/webhook {json} -H "x-hub-signature-256: sha256=$SIGNATURE" -d "$BODY""#
                    ),
                ],
            ),
        ]
    }
}
