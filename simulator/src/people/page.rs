//! What a simulated customer can do on Messenger and Instagram, and the webhooks that tell of it.

use serde_json::{Value, json};

use super::act::{Act, Deeds};
use super::{Business, Person};
use crate::bodies::{Object, Page};

/// How ids of messages begin there.
const ID: &str = "m_";

impl Person {
    /// Does it to this business at `at_ms` (milliseconds since 1970), or says why that cannot be.
    pub(crate) fn act_at(
        &mut self,
        business: &Business,
        act: &Act,
        at_ms: i64,
    ) -> Result<Deeds, String> {
        match business {
            Business::Number(account) => self.act(account, act, at_ms / 1000),
            Business::Page(page) => self.act_on_page(page, act, at_ms),
            Business::Inbox(address) => self.act_by_mail(address, act),
        }
    }

    fn act_on_page(&mut self, page: &Page, act: &Act, at_ms: i64) -> Result<Deeds, String> {
        match act {
            Act::Pause { .. } | Act::AwaitAnswer => Ok(Deeds::default()),
            Act::Text { text, quote } => {
                let mut message = json!({"text": text});
                if let Some(heard) = self.heard.back().filter(|_| *quote) {
                    message["reply_to"] = json!({"mid": heard.id});
                }
                Ok(self.says(page, message, at_ms))
            }
            Act::Press { choice } => {
                let heard = self.heard.iter().rev().find(|heard| !heard.choices.is_empty());
                let heard = heard.ok_or("no message of the business has buttons")?;
                let chosen =
                    heard.choices.get(*choice).cloned().ok_or("there are fewer choices")?;
                Ok(match chosen.get("payload") {
                    Some(_) => self.tells_page(page, json!({"postback": chosen}), at_ms),
                    None => self.says(page, chosen, at_ms),
                })
            }
            Act::React { emoji } => {
                let heard = self.heard.back().ok_or("the business has written nothing yet")?;
                self.reacted = Some(heard.id.clone());
                let part = json!({"mid": heard.id, "action": "react", "emoji": emoji});
                Ok(self.amends(page, json!({"reaction": part}), at_ms))
            }
            Act::Unreact => {
                let id = self.reacted.take().ok_or("there is no reaction to take back")?;
                let part = json!({"mid": id, "action": "unreact"});
                Ok(self.amends(page, json!({"reaction": part}), at_ms))
            }
            Act::Edit { text } => {
                let own = self.written.back_mut().ok_or("there is no message to edit")?;
                own.content["text"] = json!(text);
                let part = json!({"mid": own.id, "text": text, "num_edit": 1});
                Ok(self.amends(page, json!({"message_edit": part}), at_ms))
            }
            Act::Delete if page.object == Object::Instagram => {
                let own = self.written.pop_back().ok_or("there is no message to delete")?;
                let part = json!({"mid": own.id, "is_deleted": true});
                Ok(self.amends(page, json!({"message": part}), at_ms))
            }
            _ => Err("that cannot be done on this channel".to_owned()),
        }
    }

    /// A message of their own.
    fn says(&mut self, page: &Page, mut message: Value, at_ms: i64) -> Deeds {
        let id = self.id_like(ID);
        message["mid"] = json!(id);
        self.remember(&id, message.clone());
        let webhooks = vec![page.event(self.page_id(), at_ms, json!({"message": message}))];
        Deeds { webhooks, opens_window: true, ids: vec![id], ..Deeds::default() }
    }

    /// Something else that counts as a message.
    fn tells_page(&mut self, page: &Page, mut part: Value, at_ms: i64) -> Deeds {
        let id = self.id_like(ID);
        part["postback"]["mid"] = json!(id);
        let webhooks = vec![page.event(self.page_id(), at_ms, part)];
        Deeds { webhooks, opens_window: true, ids: vec![id], ..Deeds::default() }
    }

    /// Something about another message.
    fn amends(&self, page: &Page, part: Value, at_ms: i64) -> Deeds {
        Deeds { webhooks: vec![page.event(self.page_id(), at_ms, part)], ..Deeds::default() }
    }

    fn page_id(&self) -> &str {
        self.sender.phone.as_deref().unwrap_or(&self.sender.name)
    }
}

/// What a message of a page can be answered with by a touch: a quick reply is a message, a button a
/// postback.
pub(super) fn choices(message: &Value) -> Vec<Value> {
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let reply =
        |one: &Value| json!({"text": one["title"], "quick_reply": {"payload": one["payload"]}});
    let replies = list(&message["quick_replies"]);
    let buttons = list(&message["attachment"]["payload"]["buttons"]);
    let pressed = buttons
        .iter()
        .filter(|button| button["type"] == "postback")
        .map(|button| json!({"title": button["title"], "payload": button["payload"]}));
    replies.iter().map(reply).chain(pressed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Sent;
    use crate::people::Who;

    #[test]
    fn what_is_done_on_a_page_is_told_as_an_event_between_both() {
        let mut person = Person::new(1, &Who::with_phone("8100", "Ines"));
        let page = Page::new(Object::Instagram, "5001");
        let business = Business::from(page);
        let mut act = |act: &Act| {
            let deeds = person.act_at(&business, act, 7).unwrap();
            let event = deeds.webhooks[0]["entry"][0]["messaging"][0].clone();
            assert_eq!((&event["sender"]["id"], &event["timestamp"]), (&json!("8100"), &json!(7)));
            (event, deeds.ids)
        };
        let (said, ids) = act(&Act::Text { text: "Hi".into(), quote: false });
        assert_eq!(
            (&said["message"]["text"], &said["message"]["mid"]),
            (&json!("Hi"), &json!(ids[0]))
        );
        let (edited, _) = act(&Act::Edit { text: "Hello".into() });
        assert_eq!(edited["message_edit"]["mid"], json!(ids[0]));
        let (gone, _) = act(&Act::Delete);
        assert_eq!(gone["message"], json!({"mid": ids[0], "is_deleted": true}));
        let replies = json!([{"content_type": "text", "title": "Yes", "payload": "y"}]);
        let content = json!({"text": "Is it?", "quick_replies": replies});
        person.hear(&Sent { kind: "text".into(), wamid: "m_9".into(), content, ..Sent::default() });
        assert_eq!(person.choices(), 1);
        let pressed = person.act_at(&business, &Act::Press { choice: 0 }, 7).unwrap();
        let message = &pressed.webhooks[0]["entry"][0]["messaging"][0]["message"];
        assert_eq!(
            (&message["text"], &message["quick_reply"]["payload"]),
            (&json!("Yes"), &json!("y"))
        );
        let loved = person.act_at(&business, &Act::React { emoji: "❤️".into() }, 7).unwrap();
        assert_eq!(loved.webhooks[0]["entry"][0]["messaging"][0]["reaction"]["mid"], "m_9");
        assert!(person.act_at(&business, &Act::Order, 7).is_err(), "nothing is ordered there");
    }
}
