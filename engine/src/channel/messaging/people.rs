//! Who an event is about: of the two whom it names, the one who is not the business.

use serde_json::Value;

use crate::channel::reading::text;
use crate::channel::{Channel, Handle};
use crate::contact::IdentityKind;

/// The two whom an event names.
pub(super) struct Parties {
    /// The customer, if that can be said.
    pub customer: Vec<Handle>,
    /// The business itself did it.
    pub by_business: bool,
    /// Both are the business.
    pub is_self: bool,
}

/// Of an event of this account. With `is_echo` the business has sent it, whatever id it goes by.
pub(super) fn parties(channel: Channel, account: &str, event: &Value, is_echo: bool) -> Parties {
    let id = |who: &str| event.get(who).and_then(|who| text(who.get("id")?));
    let (sender, recipient) = (id("sender"), id("recipient"));
    let is_business = |id: &Option<String>| id.as_deref() == Some(account);
    let by_business = is_echo || is_business(&sender);
    let is_self = sender.is_some() && sender == recipient;
    let customer = match (by_business, is_business(&recipient)) {
        (false, _) => sender,
        (true, false) => recipient,
        // It names the business twice, or its other id.
        (true, true) => sender.filter(|id| id != account),
    };
    let handle = |value| Handle { kind: kind(channel), value };
    Parties { customer: customer.into_iter().map(handle).collect(), by_business, is_self }
}

/// What a person's id is on this channel.
pub(super) fn kind(channel: Channel) -> IdentityKind {
    match channel {
        Channel::Instagram => IdentityKind::Igsid,
        _ => IdentityKind::Psid,
    }
}
