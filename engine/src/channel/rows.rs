//! Which channel does what in which way: a row for each in every table. What it does lies in its
//! folder.

use super::{Answered, Call, Channel, Outbound, Outcome, whatsapp};
use crate::account::Known;
use crate::resource::Invalid;
use crate::saying::{NewReaction, Saying};

impl Channel {
    /// Brings what is to be said into the form in which the channel takes it, or says what is wrong.
    pub fn check(self, saying: &mut Saying) -> Result<(), Invalid> {
        match self {
            Self::Whatsapp => whatsapp::check(saying),
            Self::Instagram | Self::Messenger | Self::Email => Err(self.says_nothing()),
        }
    }

    /// Says what is wrong with a reaction.
    pub fn check_reaction(self, reaction: &NewReaction) -> Result<(), Invalid> {
        match self {
            Self::Whatsapp => whatsapp::check_reaction(reaction),
            Self::Instagram | Self::Messenger | Self::Email => Err(self.says_nothing()),
        }
    }

    /// A message or a reaction as a request; `None` where none of the customer's handles is one that
    /// the channel knows. `key` is the account's.
    pub fn message(self, outbound: &Outbound, key: &str, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => whatsapp::message(outbound, key, token),
            Self::Instagram | Self::Messenger | Self::Email => None,
        }
    }

    /// Tells the customer that a message was read, and perhaps that somebody types an answer to it.
    pub fn read_mark(self, provider_id: &str, types: bool, key: &str, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => Some(whatsapp::read_mark(provider_id, types, key, token)),
            Self::Instagram | Self::Messenger | Self::Email => None,
        }
    }

    /// Asks what the provider knows of an account: whether the connection works.
    pub fn account(self, key: &str, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => Some(whatsapp::account(key, token)),
            Self::Instagram | Self::Messenger | Self::Email => None,
        }
    }

    /// What the provider says of an account that it answers for.
    pub fn known(self, body: &[u8]) -> Known {
        match self {
            Self::Whatsapp => whatsapp::known(body),
            Self::Instagram | Self::Messenger | Self::Email => Known::default(),
        }
    }

    /// What became of a send.
    pub fn outcome(self, answered: Answered) -> Outcome {
        match self {
            Self::Whatsapp | Self::Instagram | Self::Messenger | Self::Email => {
                whatsapp::outcome(answered)
            }
        }
    }

    fn says_nothing(self) -> Invalid {
        let message = format!("nothing can be sent on {} from here yet", self.as_str());
        Invalid::field("channel", message)
    }
}
