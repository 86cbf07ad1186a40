//! What a thread's actor is ordered, and what its thread is made of.

use std::sync::Arc;

use engine::channel::Channel;
use engine::conversation::{Command, Envelope, Target, Thread};
use engine::fact::By;
use engine::id::{AccountId, ContactId, TenantId};
use tracing::Span;

use crate::permits::Permit;
use crate::reply::Reply;

/// A command for a thread, and who waits for it.
pub struct Order {
    pub envelope: Arc<Envelope>,
    /// What the thread is made of, if it is not there yet.
    pub origin: Option<Origin>,
    pub reply: Reply,
    pub permit: Permit,
    /// How often deciding it has panicked.
    pub(crate) panics: u8,
    /// It is what its thread is parked for, tried again.
    pub(crate) again: bool,
    /// Where it comes from, for the traces of what is done about it.
    pub(crate) span: Span,
}

/// What a thread is made of.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub tenant: TenantId,
    pub account: AccountId,
    pub channel: Channel,
    pub contact: ContactId,
}

impl Order {
    /// Of the engine itself, for a thread that is there.
    pub fn new(envelope: impl Into<Arc<Envelope>>, reply: Reply) -> Self {
        let (envelope, origin, permit) = (envelope.into(), None, Permit::own());
        let span = Span::current();
        Self { envelope, origin, reply, permit, panics: 0, again: false, span }
    }

    /// What the engine wants of a thread, whichever its case is by then; nobody waits for it.
    pub(crate) fn own(command: Command) -> Self {
        let (reply, _) = Reply::new();
        Self::new(envelope(By::System, command), reply)
    }
}

impl Origin {
    pub(super) fn fits(&self, thread: &Thread) -> bool {
        (self.tenant, self.account) == (thread.tenant, thread.account)
    }
}

/// What somebody who is no person wants of a thread, whichever its case is by then.
pub(crate) fn envelope(by: By, command: Command) -> Envelope {
    Envelope { target: Target::Current, by, viewer: None, key: None, command }
}
