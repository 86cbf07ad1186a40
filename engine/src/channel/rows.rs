//! Which channel does what in which way: a row for each in every table. What it does lies in its
//! folder.

use std::time::Duration;

use serde_json::Value;

use super::messaging::{self, Speaker};
use super::{
    Answered, Call, Channel, Handle, Located, Method, Missed, Opaque, Outbound, Outcome, Profile,
    Upload, email, login, whatsapp,
};
use crate::account::{Account, Known};
use crate::message::MessageKind;
use crate::registration::Registration;
use crate::resource::Invalid;
use crate::saying::{NewReaction, Saying};

/// For how long a customer may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Freely.
    pub free: Duration,
    /// By a person.
    pub by_people: Duration,
}

/// By what messages leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Requests to the provider's API.
    Api,
    /// Mails, by a mail server.
    Mail,
}

impl Channel {
    /// By what its messages leave.
    pub fn carrier(self) -> Carrier {
        match self {
            Self::Whatsapp | Self::Instagram | Self::Messenger => Carrier::Api,
            Self::Email => Carrier::Mail,
        }
    }

    /// Whether it says of all messages up to a time that they arrived, or were read.
    pub fn tells_by_time(self) -> bool {
        match self {
            Self::Instagram | Self::Messenger => true,
            Self::Whatsapp | Self::Email => false,
        }
    }

    /// Until when a person may answer a customer who wrote then, and until when anybody and anything
    /// may; `None`: always.
    pub fn window(self) -> Option<Window> {
        let day = Duration::from_secs(24 * 60 * 60);
        match self {
            Self::Whatsapp => Some(Window { free: day, by_people: day }),
            // Later than a day with the tag of a human agent.
            Self::Instagram | Self::Messenger => Some(Window { free: day, by_people: 7 * day }),
            Self::Email => None,
        }
    }

    /// Whether it has texts that are approved beforehand, and are sent outside of the window, too.
    pub fn has_templates(self) -> bool {
        self == Self::Whatsapp
    }

    /// Brings what is to be said into the form in which the channel takes it, or says what is wrong.
    pub fn check(self, saying: &mut Saying) -> Result<(), Invalid> {
        match self {
            Self::Whatsapp => whatsapp::check(saying),
            Self::Instagram | Self::Messenger => messaging::check(self, saying),
            Self::Email => email::check(saying),
        }
    }

    /// Says what is wrong with a reaction.
    pub fn check_reaction(self, reaction: &NewReaction) -> Result<(), Invalid> {
        match self {
            Self::Whatsapp => whatsapp::check_reaction(reaction),
            Self::Instagram | Self::Messenger => messaging::check_reaction(reaction),
            Self::Email => Err(Invalid::field("reaction", "cannot be sent by email")),
        }
    }

    /// A message or a reaction as a request; `None` where none of the customer's handles is one that
    /// the channel knows, or it leaves as a mail. `key` is the account's.
    pub fn message(self, outbound: &Outbound, key: &str, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => whatsapp::message(outbound, key, token),
            Self::Instagram | Self::Messenger => {
                messaging::message(Speaker { channel: self, key, token }, outbound)
            }
            Self::Email => None,
        }
    }

    /// Tells the customer with these handles that a message was read, and perhaps that somebody types
    /// an answer to it.
    pub fn read_marks(
        self,
        (to, provider_id): (&[Handle], &str),
        types: bool,
        key: &str,
        token: &str,
    ) -> Vec<Call> {
        match self {
            Self::Whatsapp => vec![whatsapp::read_mark(provider_id, types, key, token)],
            Self::Instagram | Self::Messenger => {
                messaging::read_marks(Speaker { channel: self, key, token }, to, types)
            }
            Self::Email => Vec::new(),
        }
    }

    /// Whether the provider says who a customer is when it is asked, rather than with their messages.
    pub fn has_profiles(self) -> bool {
        match self {
            Self::Instagram | Self::Messenger => true,
            Self::Whatsapp | Self::Email => false,
        }
    }

    /// Asks who the customer with these handles is; `None` where that is not told.
    pub fn profile(self, account: &Account, of: &[Handle]) -> Option<Call> {
        self.has_profiles().then(|| messaging::profile(self.speaker(account), of))?
    }

    /// Who they are, as the answer says.
    pub fn profiled(self, answered: Answered) -> Profile {
        messaging::profiled(answered)
    }

    /// Asks where a file can be had that a message carries; `None` where its id is none.
    pub fn locate(self, provider_media_id: &str, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => whatsapp::locate(provider_media_id, token),
            Self::Instagram | Self::Messenger | Self::Email => None,
        }
    }

    /// Where it can be had.
    pub fn located(self, answered: Answered) -> Result<Located, Missed> {
        match self {
            Self::Whatsapp | Self::Instagram | Self::Messenger | Self::Email => {
                whatsapp::located(answered)
            }
        }
    }

    /// Asks where the files of a message can be had now, whose addresses are over; `None` where that
    /// is not told.
    pub fn relocate(self, message: &str, token: &str) -> Option<Call> {
        match self {
            Self::Instagram | Self::Messenger => {
                messaging::relocate(Speaker { channel: self, key: "", token }, message)
            }
            Self::Whatsapp | Self::Email => None,
        }
    }

    /// Where the file can be had that is the `n`th of its message.
    pub fn relocated(self, answered: Answered, n: usize) -> Result<Located, Missed> {
        messaging::relocated(answered, n)
    }

    /// Takes a file of this type to the provider, to be sent as this kind; `None` where it is sent
    /// along with its message, or lent by a link.
    pub fn upload(
        self,
        (kind, mime_type): (MessageKind, &str),
        key: &str,
        token: &str,
    ) -> Option<Upload> {
        match self {
            Self::Whatsapp => Some(whatsapp::upload(mime_type, key, token)),
            Self::Messenger => {
                messaging::upload(Speaker { channel: self, key, token }, kind, mime_type)
            }
            Self::Instagram | Self::Email => None,
        }
    }

    /// Whether the provider fetches files of ours itself, by a link.
    pub fn is_lent(self) -> bool {
        self == Self::Instagram
    }

    /// What a file is known by that the provider has: its content, and what it is sent as where that
    /// was said with it.
    pub fn uploaded_mark(self, sha256: &str, kind: MessageKind) -> String {
        match self {
            Self::Messenger => format!("{sha256} {}", kind.as_str()),
            Self::Whatsapp | Self::Instagram | Self::Email => sha256.to_owned(),
        }
    }

    /// The provider's id of a file that was taken there; or what becomes of the message.
    pub fn uploaded(self, answered: Answered) -> Result<String, Outcome> {
        match self {
            Self::Messenger => whatsapp::uploaded_as("attachment_id", answered),
            Self::Whatsapp | Self::Instagram | Self::Email => whatsapp::uploaded(answered),
        }
    }

    /// Whether an error of this code says that the provider could not use a message's file.
    pub fn is_of_medium(self, code: &str) -> bool {
        match self {
            Self::Whatsapp => whatsapp::is_of_medium(code),
            Self::Messenger => messaging::is_of_medium(code),
            Self::Instagram | Self::Email => false,
        }
    }

    /// Asks what the provider knows of an account: whether the connection works.
    pub fn account(self, key: &str, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => Some(whatsapp::account(key, token)),
            Self::Instagram | Self::Messenger => {
                Some(messaging::account(Speaker { channel: self, key, token }))
            }
            Self::Email => None,
        }
    }

    /// Has the webhooks of an account delivered to us; `None` where nothing has to be asked for that.
    pub fn subscribe(self, account: &Account) -> Option<Call> {
        let text = |key| account.text(key).unwrap_or_default();
        match self {
            Self::Whatsapp => Some(whatsapp::subscribe(text("waba_id"), text("access_token"))),
            Self::Instagram | Self::Messenger => {
                Some(messaging::subscription(self.speaker(account), Method::Post))
            }
            Self::Email => None,
        }
    }

    /// Ends that for an account alone; `None` where others share it.
    pub fn unsubscribe(self, account: &Account) -> Option<Call> {
        match self {
            Self::Messenger => Some(messaging::subscription(self.speaker(account), Method::Delete)),
            Self::Whatsapp | Self::Instagram | Self::Email => None,
        }
    }

    /// Registers an account, so that it may send; `None` where it may.
    pub fn register(self, account: &Account) -> Option<Call> {
        let text = |key| account.text(key).unwrap_or_default();
        match self {
            Self::Whatsapp => {
                Some(whatsapp::register(&account.account_key, text("pin"), text("access_token")))
            }
            Self::Instagram | Self::Messenger | Self::Email => None,
        }
    }

    /// Whether an account is heard by the subscription of a page, whichever that is: so is one of
    /// Instagram with a page's token.
    pub fn is_of_page(self, account: &Account) -> bool {
        self == Self::Instagram && !self.speaker(account).is_login()
    }

    /// How far an account is subscribed and registered before anything was asked for; `None` where
    /// nothing has to be.
    pub fn unregistered(self) -> Option<Registration> {
        match self {
            Self::Whatsapp => Some(Registration::default()),
            Self::Instagram | Self::Messenger => {
                Some(Registration { registered: true, ..Registration::default() })
            }
            Self::Email => None,
        }
    }

    /// Asks when an access token ends; `None` where it is not told.
    pub fn token(self, token: &str) -> Option<Call> {
        match self {
            Self::Whatsapp => Some(whatsapp::token(token)),
            Self::Instagram | Self::Messenger => {
                let from = Speaker { channel: self, key: "", token };
                (!from.is_login()).then(|| whatsapp::token(token))
            }
            Self::Email => None,
        }
    }

    /// Asks for a token that ends later instead of one that ends soon; `None` where there is none.
    pub fn renewed(self, token: &str) -> Option<Call> {
        let from = Speaker { channel: self, key: "", token };
        from.is_login().then(|| login::instagram_refresh(token))
    }

    /// An account of Messenger or Instagram, as it speaks.
    pub fn speaker(self, account: &Account) -> Speaker<'_> {
        let token = account.text("access_token").unwrap_or_default();
        Speaker { channel: self, key: &account.account_key, token }
    }

    /// What the provider says of an account that it answers for.
    pub fn known(self, said: &Value) -> Known {
        match self {
            Self::Whatsapp => whatsapp::known(said),
            Self::Instagram | Self::Messenger => messaging::known(said),
            Self::Email => Known::default(),
        }
    }

    /// What became of a request, of a send with what went along.
    pub fn outcome(self, answered: Answered, opaque: Option<Opaque>) -> Outcome {
        match self {
            Self::Whatsapp | Self::Email => whatsapp::outcome(answered),
            Self::Instagram | Self::Messenger => messaging::outcome(answered, opaque),
        }
    }

    /// Whether an error of this code says that the account's token or login does not count.
    pub fn is_of_token(self, code: &str) -> bool {
        match self {
            Self::Whatsapp | Self::Instagram | Self::Messenger => whatsapp::is_of_token(code),
            Self::Email => email::is_of_login(code),
        }
    }
}
