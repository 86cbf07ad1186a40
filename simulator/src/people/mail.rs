//! What a simulated customer can do by mail, and what their provider posts of it.

use serde_json::json;

use super::Person;
use super::act::{Act, Deeds};

/// The most characters of a subject.
const SUBJECT: usize = 60;

impl Person {
    /// Does it by a mail to this address, or says why that cannot be.
    pub(super) fn act_by_mail(&mut self, inbox: &str, act: &Act) -> Result<Deeds, String> {
        match act {
            Act::Pause { .. } | Act::AwaitAnswer => Ok(Deeds::default()),
            Act::Text { text, .. } => Ok(self.mails(inbox, text)),
            _ => Err("that cannot be done by mail".to_owned()),
        }
    }

    /// A mail that goes on with what they wrote last.
    fn mails(&mut self, inbox: &str, text: &str) -> Deeds {
        let name = self.sender.phone.clone().unwrap_or_default();
        let id = format!("{}@customers.example", self.id_like("m."));
        let last = self.written.back();
        let begun = last.and_then(|last| last.content["subject"].as_str());
        let subject = begun.map_or_else(|| beginning(text), str::to_owned);
        let mut mail = json!({
            "from": format!("{} <{name}@customers.example>", self.sender.name),
            "to": inbox,
            "subject": subject,
            "text": text,
            "message_id": format!("<{id}>"),
        });
        if let Some(last) = last {
            let last = format!("<{}>", last.id);
            mail["subject"] = json!(format!("Re: {subject}"));
            (mail["in_reply_to"], mail["references"]) = (json!(last), json!(last));
        }
        self.remember(&id, json!({"subject": subject}));
        Deeds { webhooks: vec![mail], opens_window: true, ids: vec![id], ..Deeds::default() }
    }
}

/// The first line of a text, as far as it fits.
fn beginning(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(SUBJECT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::people::{Business, Who};

    #[test]
    fn each_mail_answers_the_one_before_under_the_subject_of_the_first() {
        let mut person = Person::new(1, &Who::with_phone("mail7", "Ines"));
        let inbox = Business::Inbox("shop@example.com".to_owned());
        let mut mails = |text: &str| -> Value {
            let act = Act::Text { text: text.to_owned(), quote: false };
            person.act_at(&inbox, &act, 7).unwrap().webhooks.remove(0)
        };
        let (first, second) = (mails("Boots\nI have a question"), mails("Anybody?"));
        assert_eq!(
            (&first["from"], &first["subject"]),
            (&json!("Ines <mail7@customers.example>"), &json!("Boots"))
        );
        assert_eq!(
            (&second["in_reply_to"], &second["subject"]),
            (&first["message_id"], &json!("Re: Boots"))
        );
        assert!(person.act_at(&inbox, &Act::Delete, 7).is_err());
    }
}
