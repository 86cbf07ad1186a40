//! Files that messages carry: what became of those that are fetched from the provider.

use super::turn::Turn;
use super::{Decision, Fetched, Refused};
use crate::fact::Fact;

/// A file was fetched, or cannot be had. Where its message does not wait for it any more, since it
/// says something else or was deleted, nothing changes.
pub(super) fn fetched(mut turn: Turn<'_>, fetched: &Fetched) -> Result<Decision, Refused> {
    let Fetched { place, provider_media_id, outcome } = fetched;
    let row = turn.row(*place)?;
    let message = row.message.id;
    if row.message.wanted().any(|wanted| wanted == *provider_media_id) {
        let (stored, error) = (outcome.as_ref().ok().cloned(), outcome.as_ref().err().cloned());
        let (place, provider_media_id) = (*place, provider_media_id.clone());
        turn.record(Fact::Fetched { message, place, provider_media_id, stored, error });
    }
    Ok(turn.done(Some(*place)))
}
