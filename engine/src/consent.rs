//! What a provider says of a customer beside messages: what they want to be sent, and what the
//! business calls them in its phone's book.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::Handle;
use crate::contact::Contact;
use crate::id::AccountId;
use crate::time::Timestamp;

/// Something that a provider says of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactNews {
    /// The customer's handles, in canonical order, never empty.
    pub of: Vec<Handle>,
    pub at: Option<Timestamp>,
    pub said: ContactSaid,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactSaid {
    /// They want no more of a kind of messages, or want them again.
    Wants { category: String, stopped: bool },
    /// The business calls them so in its phone's book; `None`: they are in it no more.
    Called { name: Option<String> },
}

/// What a customer last said about a kind of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    pub account: AccountId,
    /// E.g. `marketing`.
    pub category: String,
    /// They want no more of them.
    pub stopped: bool,
    pub at: Timestamp,
}

/// A kind of messages that a customer wants no more of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OptOut {
    /// The number from which they want no more.
    pub account_id: AccountId,
    /// E.g. `marketing`.
    pub category: String,
    pub since: Timestamp,
}

/// So many wishes of a customer are kept.
const WISHES_MAX: usize = 64;

impl Contact {
    /// Follows what the provider of an account says. Answers whether it changes anything.
    pub fn hear(
        &mut self,
        account: AccountId,
        at: Option<Timestamp>,
        said: &ContactSaid,
        now: Timestamp,
    ) -> bool {
        let changed = match said {
            ContactSaid::Wants { category, stopped } => {
                let (category, stopped) = (category.clone(), *stopped);
                self.wish(Wish { account, category, stopped, at: at.unwrap_or(now) })
            }
            ContactSaid::Called { name } => self.call(name.as_deref()),
        };
        if changed {
            self.rev += 1;
            self.updated_at = now;
        }
        changed
    }

    /// What they want no more of.
    pub fn opt_outs(&self) -> Vec<OptOut> {
        let stopped = self.wishes.iter().filter(|wish| wish.stopped);
        let shown = |Wish { account, category, at, .. }: Wish| OptOut {
            account_id: account,
            category,
            since: at,
        };
        stopped.cloned().map(shown).collect()
    }

    /// The newest wish of a kind counts, in whichever order they come.
    pub(crate) fn wish(&mut self, wish: Wish) -> bool {
        let is_same =
            |known: &Wish| (known.account, &known.category) == (wish.account, &wish.category);
        match self.wishes.iter().position(is_same) {
            Some(at) if self.wishes[at].at > wish.at || self.wishes[at] == wish => return false,
            Some(at) => self.wishes[at] = wish,
            None if self.wishes.len() >= WISHES_MAX => return false,
            None => self.wishes.push(wish),
        }
        true
    }

    /// The book's name stands above the one that customers give themselves, and below the desk's.
    fn call(&mut self, name: Option<&str>) -> bool {
        let before = (self.name.clone(), self.name_is_of_book);
        self.name_is_of_book = name.is_some();
        if let Some(name) = name.filter(|_| !self.name_is_ours) {
            self.name = Some(name.to_owned());
        }
        before != (self.name.clone(), self.name_is_of_book)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::ContactSaid;
    use crate::contact::{Contact, ContactPatch};
    use crate::id::{AccountId, ContactId, TenantId};
    use crate::resource::Change;
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const ACCOUNT: AccountId = AccountId(Uuid::from_u128(3));

    fn contact() -> Contact {
        Contact::new(ContactId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)), NOW)
    }

    fn wants(contact: &mut Contact, stopped: bool, secs: i64) -> bool {
        let said = ContactSaid::Wants { category: "marketing".to_owned(), stopped };
        contact.hear(ACCOUNT, Some(Timestamp::from_secs(secs)), &said, NOW)
    }

    #[test]
    fn the_newest_wish_counts_in_whichever_order_they_come() {
        let mut contact = contact();
        assert!(wants(&mut contact, true, 10));
        assert!(!wants(&mut contact, true, 10), "delivered again");
        assert_eq!(contact.opt_outs()[0].since, Timestamp::from_secs(10));
        assert!(wants(&mut contact, false, 20));
        assert!(!wants(&mut contact, true, 15), "late");
        assert_eq!(contact.opt_outs(), []);
    }

    #[test]
    fn the_book_s_name_stands_between_the_customer_s_and_the_desk_s() {
        let called = |name: Option<&str>| ContactSaid::Called { name: name.map(str::to_owned) };
        let mut contact = contact();
        contact.learn(&[], None, Some("noor ~"), NOW);
        assert!(contact.hear(ACCOUNT, None, &called(Some("Noor Haddad")), NOW));
        contact.learn(&[], None, Some("noor ~"), NOW);
        assert_eq!(contact.name.as_deref(), Some("Noor Haddad"));
        contact.hear(ACCOUNT, None, &called(None), NOW);
        contact.learn(&[], None, Some("noor ~"), NOW);
        assert_eq!(contact.name.as_deref(), Some("noor ~"));
        let ours = ContactPatch { name: Change::Set("Ms Haddad".into()), ..Default::default() };
        contact.patch(ours, NOW).unwrap();
        contact.hear(ACCOUNT, None, &called(Some("Noor Haddad")), NOW);
        assert_eq!(contact.name.as_deref(), Some("Ms Haddad"));
    }
}
