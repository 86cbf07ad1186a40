//! One message to its provider, once.

use std::time::Duration;

use engine::account::Account;
use engine::channel::{Answered, Carrier, Handle, Opaque, Outbound, Outcome, Outgoing, Slow};
use engine::id::MessageId;
use engine::message::{MessageError, MessageRow};
use engine::saying::{Saying, Source};
use tokio::time::Instant;

use super::files::{NotTaken, Taken, medium};
use super::line::Line;
use super::{Outbox, Slip};

/// A provider that nobody reaches is left alone for so long: it is the same for all of its messages.
const UNREACHED_RESTS: Duration = Duration::from_secs(10);

impl Outbox {
    /// Makes the request, and says how it ended.
    pub(super) async fn send(
        &self,
        slip: &Slip,
        message: MessageId,
        row: &MessageRow,
        line: &Line,
    ) -> Outcome {
        let (account, to) = match self.parties(slip).await {
            Ok(parties) => parties,
            Err(outcome) => return outcome,
        };
        let Some(what) = outgoing(message, row) else {
            return refused("no_content", "there is nothing that could be sent");
        };
        let opaque = Opaque {
            thread: slip.thread,
            conversation: slip.conversation,
            place: row.place,
            reaction: matches!(what, Outgoing::Reaction { .. }).then_some(message),
        };
        let is_late = slip.is_late(row.message.sender.kind, self.0.tenants.now());
        let mut outbound = Outbound { to, is_late, what, opaque };
        if account.channel.carrier() == Carrier::Mail {
            return Box::pin(self.mail(slip, &account, (row, &outbound), line)).await;
        }
        let file = medium(&mut outbound.what).map(|media| (media.kind, media.from.clone()));
        let mut was_known = false;
        if let Some((kind, Source::Stored(stored))) = &file {
            let left = Instant::now();
            match self.take(slip.tenant, &account, (*kind, stored)).await {
                Ok(Taken { from, is_known }) => {
                    was_known = is_known;
                    put(&mut outbound.what, from);
                }
                Err(NotTaken { outcome, wait }) => {
                    return self.noted((slip, &account), line, outcome, (left, wait)).await;
                }
            }
        }
        let outcome = self.request(slip, &account, &outbound, line).await;
        // It was refused: nothing was sent that would be sent twice.
        if let (Outcome::Refused { error }, Some((kind, file))) = (&outcome, &file)
            && account.channel.is_of_medium(&error.code)
            && let Some(from) =
                self.take_again(slip.tenant, &account, (*kind, file), was_known).await
        {
            put(&mut outbound.what, from);
            return self.request(slip, &account, &outbound, line).await;
        }
        outcome
    }

    /// One request, and how it ended.
    async fn request(
        &self,
        slip: &Slip,
        account: &Account,
        outbound: &Outbound,
        line: &Line,
    ) -> Outcome {
        let token = account.text("access_token").unwrap_or_default();
        let Some(call) = account.channel.message(outbound, &account.account_key, token) else {
            return refused("no_recipient", "the contact has no number or id on this channel");
        };
        if !(self.0.may_act)() {
            return taken_over();
        }
        let left = Instant::now();
        let answered = self.0.provider.perform(call).await;
        let wait = self.waits(&answered);
        let outcome = account.channel.outcome(answered, Some(outbound.opaque));
        self.noted((slip, account), line, outcome, (left, wait)).await
    }

    /// What an outcome says of others: how fast the account may send, and what it failed with.
    /// `account`: as it was for the request; `left`: when that did, and for how long the provider wants
    /// to be left alone.
    pub(super) async fn noted(
        &self,
        (slip, account): (&Slip, &Account),
        line: &Line,
        outcome: Outcome,
        (left, wait): (Instant, Duration),
    ) -> Outcome {
        let as_of = line.as_of();
        let outcome = match outcome {
            Outcome::AccountStopped { .. } if self.is_other_by_now(account).await => {
                ours("the account was changed while this was sent")
            }
            outcome => outcome,
        };
        match &outcome {
            Outcome::Sent { .. } => line.recover(),
            Outcome::Retry { slow: Slow::Account, .. } => line.slow(left, wait),
            Outcome::Retry { slow: Slow::Pair, .. } => line.slow_pair(slip.thread, wait),
            // It is in trouble, and says for how long.
            Outcome::Retry { .. } if !wait.is_zero() => line.rest(wait),
            // The account itself is told once the conversation has noted it.
            Outcome::AccountStopped { .. } => line.refuse(account.config.clone(), as_of),
            _ => {}
        }
        match &outcome {
            Outcome::Retry { slow: Slow::Ours, .. } => {}
            Outcome::Retry { error, .. }
            | Outcome::Refused { error }
            | Outcome::AccountStopped { error } => {
                line.failed(error.clone(), self.0.tenants.now());
            }
            Outcome::Sent { .. } | Outcome::Unknown { .. } => {}
        }
        count(&outcome);
        outcome
    }

    /// Whether its token or password, say, is another since: what was refused of the old one says
    /// nothing of the new one.
    async fn is_other_by_now(&self, account: &Account) -> bool {
        let now = self.account(account.tenant, account.id).await;
        now.is_ok_and(|now| now.is_some_and(|now| now.config != account.config))
    }

    /// For how long the provider wants to be left alone, within bounds.
    pub(super) fn waits(&self, answered: &Answered) -> Duration {
        let wait = match answered {
            Answered::With { wait, .. } => wait.unwrap_or_default(),
            Answered::NotSent(_) => UNREACHED_RESTS,
            Answered::PerhapsSent(_) => Duration::ZERO,
        };
        wait.min(self.0.options.throttle_wait)
    }

    /// The account that sends, and the handles of whom it is for.
    async fn parties(
        &self,
        slip: &Slip,
    ) -> Result<(std::sync::Arc<Account>, Vec<Handle>), Outcome> {
        let account = self.account(slip.tenant, slip.account).await;
        let account = account.map_err(|_| ours("the account could not be read"))?;
        let account = account.filter(|account| account.is_active);
        let account = account.ok_or_else(|| {
            refused("account_inactive", "the channel account is gone or not active")
        })?;
        let contact = self.0.contacts.current(slip.contact).await;
        let contact = contact.map_err(|_| ours("the contact could not be read"))?;
        let contact = contact.ok_or_else(|| refused("no_recipient", "the contact is gone"))?;
        let to = contact.handles(account.id);
        Ok((account, to))
    }
}

/// The provider has the file of what is sent from there.
fn put(what: &mut Outgoing, from: Source) {
    if let Some(media) = medium(what) {
        media.from = from;
    }
}

/// What is sent: the row's message, or a reaction to it.
fn outgoing(message: MessageId, row: &MessageRow) -> Option<Outgoing> {
    if row.message.id == message {
        let reply_to = row.message.reply_to.clone();
        return Some(Outgoing::Message { saying: Saying::of(&row.content())?, reply_to });
    }
    let reacting = row.reacting.as_ref().filter(|reacting| reacting.id == message)?;
    let message = row.message.provider_message_id.clone()?;
    Some(Outgoing::Reaction { message, emoji: reacting.emoji.clone() })
}

pub(super) fn refused(code: &str, message: &str) -> Outcome {
    Outcome::Refused { error: MessageError::new(code, message) }
}

/// Nothing was sent, for a reason of ours: the message is tried again for days, however often.
pub(super) fn ours(message: &str) -> Outcome {
    Outcome::Retry { error: MessageError::new("unavailable", message), slow: Slow::Ours }
}

/// Nothing was sent: whoever serves now finds it begun, and says so.
pub(super) fn taken_over() -> Outcome {
    ours("another process serves this now")
}

/// Nothing was sent, and it will pass.
pub(super) fn unread(message: &str) -> Outcome {
    Outcome::Retry { error: MessageError::new("unavailable", message), slow: Slow::Message }
}

fn count(outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Sent { .. } => "sent",
        Outcome::Retry { slow: Slow::Message | Slow::Ours, .. } => "retry",
        Outcome::Retry { .. } => "throttled",
        Outcome::Refused { .. } => "refused",
        Outcome::AccountStopped { .. } => "account_stopped",
        Outcome::Unknown { .. } => "unknown",
    };
    metrics::counter!("omnistream_sends_total", "outcome" => outcome).increment(1);
}
