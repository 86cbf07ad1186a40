//! What is kept of a mail's headers beside its message, and what an answer makes of them.

use super::head::may_be_sent;
use crate::channel::{Handle, InboundMessage};
use crate::contact::IdentityKind;
use crate::message::{MailHead, MessageRow};

/// Of the mails that one answers the first and the last are kept: so many (RFC 5322 sets no bound,
/// and chains grow).
const REFERENCES_MAX: usize = 20;

/// What is kept of a mail that came; `None`: it is none.
pub fn kept(message: &InboundMessage) -> Option<MailHead> {
    let topic = message.topic.as_ref()?;
    let address = message.from.iter().find(|from| from.kind == IdentityKind::Email);
    let address = address.map(|from| from.value.clone());
    // The likeliest stands first there.
    let references = bounded(topic.answers.iter().rev());
    Some(MailHead { address, references })
}

/// What an answer to this mail says in its headers. `is_meant`: whoever wrote it is to get the
/// answer, whether or not they are the thread's customer.
pub fn answer(to: &MessageRow, is_meant: bool) -> MailHead {
    let head = to.mail.clone().unwrap_or_default();
    let own = to.message.provider_message_id.iter();
    let references = bounded(head.references.iter().chain(own));
    MailHead { address: head.address.filter(|_| is_meant), references }
}

/// To whom a mail of ours goes, and who gets a copy: the customer, at the address from which they
/// wrote what it answers; if somebody else wrote that, to them, and the customer gets the copy.
pub fn recipients(head: Option<&MailHead>, customer: &[Handle]) -> (Vec<String>, Vec<String>) {
    let own = customer.iter().filter(|handle| handle.kind == IdentityKind::Email);
    let own: Vec<_> = own.map(|handle| handle.value.clone()).collect();
    let first = own.first().cloned();
    match head.and_then(|head| head.address.clone()) {
        Some(address) if own.contains(&address) => (vec![address], Vec::new()),
        Some(address) => (vec![address], first.into_iter().collect()),
        None => (first.into_iter().collect(), Vec::new()),
    }
}

fn bounded<'a>(ids: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for id in ids.filter(|id| may_be_sent(id)) {
        kept.retain(|known| known != id);
        kept.push(id.clone());
    }
    if kept.len() > REFERENCES_MAX {
        kept.drain(1..=kept.len() - REFERENCES_MAX);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{bounded, kept, recipients};
    use crate::channel::{Handle, InboundMessage, Topic};
    use crate::contact::IdentityKind;
    use crate::message::MailHead;

    fn email(value: &str) -> Handle {
        Handle { kind: IdentityKind::Email, value: value.to_owned() }
    }

    fn strings(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_chain_is_kept_from_its_oldest_to_what_was_answered() {
        let answers = strings(&["3@x", "2@x", "1@x", "<b>@x", "a b@x"]);
        let topic = Topic { own: "4@x".into(), answers, thread: None, first: "1@x".into() };
        let from = vec![email("mei@example.org")];
        let message = InboundMessage { from, topic: Some(topic), ..InboundMessage::default() };
        let head = kept(&message).unwrap();
        assert_eq!(head.references, ["1@x", "2@x", "3@x"]);
        assert_eq!(head.address.as_deref(), Some("mei@example.org"));
        assert_eq!(kept(&InboundMessage::default()), None);
    }

    #[test]
    fn of_a_long_chain_the_first_and_the_last_are_kept() {
        let ids: Vec<_> = (0..100).map(|n| format!("{n}@x")).collect();
        let short = bounded(ids.iter());
        assert_eq!((short.len(), short[0].as_str(), short[1].as_str()), (20, "0@x", "81@x"));
        assert_eq!(short[19], "99@x");
    }

    #[test]
    fn an_answer_goes_to_the_address_that_wrote_or_else_to_both() {
        let customer = [email("new@example.org"), email("old@example.org")];
        let to = |address: Option<&str>| {
            let head = MailHead { address: address.map(str::to_owned), references: Vec::new() };
            recipients(Some(&head), &customer)
        };
        assert_eq!(to(Some("old@example.org")), (strings(&["old@example.org"]), Vec::new()));
        let both = (strings(&["bo@example.org"]), strings(&["new@example.org"]));
        assert_eq!(to(Some("bo@example.org")), both);
        assert_eq!(to(None), (strings(&["new@example.org"]), Vec::new()));
        assert_eq!(recipients(None, &[]), (Vec::new(), Vec::new()));
    }
}
