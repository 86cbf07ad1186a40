//! Which thread a message is for on a channel where one customer has several, and several people
//! write in one: mails.

use engine::account::Account;
use engine::channel::{Author, InboundMessage, Opaque, Topic};
use storage::StoreError;

use super::Ingress;
use crate::failure::Failure;
use crate::identity::Owner;

impl Ingress {
    /// Which thread a message is for: that of what it answers, that of the signed address to which
    /// it was written, or that of its customer which begins as it says. What was said once of a
    /// message stays: it is delivered again to the same thread, and what answers it goes there, too.
    pub(super) async fn of_topic(
        &self,
        account: &Account,
        message: &mut InboundMessage,
        topic: &Topic,
    ) -> Result<Option<Owner>, Failure> {
        let Some(sender) = message.from.first() else { return Ok(None) };
        let owner = match self.identities.of_message(account, &topic.own).await? {
            Some(owner) => owner,
            None => {
                let name = message.name.as_deref();
                let found = match self.answered(account, topic).await? {
                    Some(owner) => owner,
                    None => self.identities.of_topic(account, sender, &topic.first, name).await?,
                };
                self.identities.claim_message(account, &topic.own, found).await?
            }
        };
        let name = message.name.as_deref();
        let writer = self.identities.person(account, sender, name).await?;
        if writer != self.identities.root(owner.contact).await? {
            let (handles, contact) = (message.from.clone(), Some(writer));
            message.author = Some(Author { handles, name: message.name.take(), contact });
        }
        Ok(Some(owner))
    }

    /// The thread of the first that is known of what a message answers.
    async fn answered(
        &self,
        account: &Account,
        topic: &Topic,
    ) -> Result<Option<Owner>, StoreError> {
        for id in &topic.answers {
            let owner = match Opaque::of_mail(id) {
                Some(ours) => self.of_thread(account, ours.thread).await?,
                None => self.identities.of_message(account, id).await?,
            };
            if owner.is_some() {
                return Ok(owner);
            }
            // A server on the way may have given it another id, which only its message knows.
            if let Some(owner) = self.of_message(account, id).await? {
                return Ok(Some(owner));
            }
        }
        match topic.thread {
            Some(thread) => self.of_thread(account, thread).await,
            None => Ok(None),
        }
    }
}
