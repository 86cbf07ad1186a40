//! The contacts of a tenant, as lists show them: which of them are shown their rows alone say, so all are read,
//! a piece at a time and in turn, and those of one page are kept.

use engine::contact::Contact;
use engine::id::TenantId;
use engine::time::Timestamp;
use storage::StoreError;
use storage::keys::month;

use super::Desk;

/// Lists that are read at once; the others wait, the tenants in turn.
pub(super) const LISTINGS: usize = 2;
/// At most so many contacts are listed.
const LISTED_MAX: usize = 10_000;
/// So many are in memory at once for one list.
const PIECE: usize = 500;

impl Desk {
    /// A page of a tenant's contacts that were made since then, newest first, and how many there are among
    /// the newest.
    pub async fn contacts(
        &self,
        tenant: TenantId,
        since: Timestamp,
        (skip, limit): (usize, usize),
    ) -> Result<(Vec<Contact>, usize), StoreError> {
        let mut turn = self.listings.take(tenant, 0).await;
        let (contacts, now) = (&self.world.contacts, self.world.clock.now());
        let (mut page, mut total) = (Vec::new(), 0);
        for month in (month(since)..=month(now)).rev() {
            let ids = contacts.list(tenant, month, None, LISTED_MAX - total).await?;
            for piece in ids.chunks(PIECE) {
                let (read, held) = contacts.all(piece.to_vec(), turn).await?;
                turn = held;
                for contact in read.into_iter().filter(Contact::is_listed) {
                    if total >= skip && page.len() < limit {
                        page.push(contact);
                    }
                    total += 1;
                }
            }
            if total == LISTED_MAX {
                break;
            }
        }
        Ok((page, total))
    }
}
