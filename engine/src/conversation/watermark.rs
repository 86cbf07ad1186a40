//! What a provider says of all messages of ours up to a time: each of them gets so far, those too
//! that turn out later to be of before it.

use super::inbound::at;
use super::turn::{Progress, Turn};
use super::{Context, Conversation, Decision, Marks, Refused, State, UNSEEN_KEPT, Unseen};
use crate::channel::Watermark;
use crate::fact::Fact;
use crate::message::{MessageStatus, Place};
use crate::time::Timestamp;

/// All messages of ours up to a time got further. What is said of the future says no more than that
/// it was so by now.
pub(super) fn raise(
    state: &State,
    mark: &Watermark,
    context: &Context<'_>,
) -> Result<Decision, Refused> {
    let case = state.case.as_ref().ok_or(Refused::NotFound)?;
    let mut turn = at(state, context, case.id)?;
    let up_to = mark.up_to.min(context.now);
    if case.marks.of(mark.status) < Some(up_to) {
        turn.record(Fact::Watermarked { status: mark.status, up_to });
    }
    for place in case.unseen_up_to(up_to) {
        turn.let_marks_in(place)?;
    }
    Ok(turn.done(None))
}

impl Turn<'_> {
    /// A message of ours gets as far as was said of all up to its time, once it is known to have
    /// been taken.
    pub(super) fn let_marks_in(&mut self, place: Place) -> Result<(), Refused> {
        let unseen = self.head.unseen.iter().find(|unseen| unseen.place == place);
        let Some(&Unseen { at, .. }) = unseen else { return Ok(()) };
        let Some((status, up_to)) = self.head.marks.reach(at) else { return Ok(()) };
        self.raise(place, status, Some(up_to))
    }

    /// The provider says when it had taken a message of ours, though it was known before that it had.
    pub(super) fn taken(&mut self, place: Place, at: Timestamp) -> Result<(), Refused> {
        let unseen = self.head.unseen.iter().find(|unseen| unseen.place == place);
        if unseen.is_none_or(|unseen| unseen.at == at) {
            return Ok(());
        }
        self.record(Fact::Taken { place, at });
        self.let_marks_in(place)
    }

    /// Who has read a message has read those that had left before it.
    pub(super) fn read_along(
        &mut self,
        before: &[Place],
        at: Option<Timestamp>,
    ) -> Result<(), Refused> {
        for place in before {
            self.raise(*place, MessageStatus::Read, at)?;
        }
        Ok(())
    }

    /// A message that the provider has taken gets so far.
    fn raise(
        &mut self,
        place: Place,
        status: MessageStatus,
        at: Option<Timestamp>,
    ) -> Result<(), Refused> {
        // Those of an earlier case are not looked up.
        let Ok(row) = self.row(place) else { return Ok(()) };
        let now = row.message.status;
        if now < MessageStatus::Sent || now == MessageStatus::Failed || now >= status {
            return Ok(());
        }
        self.progress(place, None, Progress { status, at, error: None })
    }
}

impl Conversation {
    /// The messages of ours that had left by then and were not seen.
    pub(super) fn unseen_up_to(&self, at: Timestamp) -> Vec<Place> {
        let left = self.unseen.iter().filter(|unseen| unseen.at <= at);
        left.map(|unseen| unseen.place).collect()
    }

    /// The messages of ours that had left before this one and were not seen.
    pub(super) fn unseen_before(&self, place: Place) -> Vec<Place> {
        let this = self.unseen.iter().find(|unseen| unseen.place == place);
        let mut before = this.map(|this| self.unseen_up_to(this.at)).unwrap_or_default();
        before.retain(|other| *other != place);
        before
    }

    /// A message of ours left.
    pub(super) fn left(&mut self, place: Place, at: Timestamp) {
        if !self.channel.tells_by_time() {
            return;
        }
        self.unseen.retain(|unseen| unseen.place != place);
        if self.unseen.len() == UNSEEN_KEPT {
            self.unseen.remove(0);
        }
        self.unseen.push(Unseen { place, at });
    }

    /// A message of ours got so far; the provider itself says when it had taken it.
    pub(super) fn got_to(&mut self, place: Place, status: MessageStatus, at: Option<Timestamp>) {
        match status {
            MessageStatus::Sent => {
                let unseen = self.unseen.iter_mut().find(|unseen| unseen.place == place);
                if let (Some(unseen), Some(at)) = (unseen, at) {
                    unseen.at = at;
                }
            }
            MessageStatus::Failed | MessageStatus::Read | MessageStatus::Played => {
                self.unseen.retain(|unseen| unseen.place != place);
            }
            _ => {}
        }
    }

    /// All of ours up to then got so far.
    pub(super) fn mark(&mut self, status: MessageStatus, up_to: Timestamp) {
        let mark = match status {
            MessageStatus::Read => &mut self.marks.read,
            _ => &mut self.marks.delivered,
        };
        *mark = (*mark).max(Some(up_to));
    }
}

impl Marks {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(&self, status: MessageStatus) -> Option<Timestamp> {
        match status {
            MessageStatus::Read => self.read,
            _ => self.delivered,
        }
    }

    /// How far one got that left then, and up to when that was said.
    fn reach(&self, at: Timestamp) -> Option<(MessageStatus, Timestamp)> {
        let of = |status, mark: Option<Timestamp>| Some((status, mark.filter(|mark| at <= *mark)?));
        of(MessageStatus::Read, self.read).or_else(|| of(MessageStatus::Delivered, self.delivered))
    }
}
