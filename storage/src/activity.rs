//! What people changed of their organization, by month and newest first, for a year. It is written
//! with the change that it tells of ([`Settings`](crate::settings::Settings)).

use std::sync::Arc;
use std::time::Duration;

use engine::activity::Activity;
use engine::id::TenantId;
use engine::time::Timestamp;
use uuid::Uuid;

use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, month, month_of};
use crate::port::{Change, Key, Part, Scan, Store};
use crate::tables::{ACTIVITY, ACTIVITY_KEPT};

/// What all people did.
#[derive(Clone)]
pub struct Activities {
    store: Arc<dyn Store>,
}

/// Which part of a tenant's activity is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From then on.
    pub from: Timestamp,
    /// Before then.
    pub to: Timestamp,
    /// No more than so many, the newest.
    pub most: usize,
}

/// Nothing is of later than so: whoever asks for a later end asks for no more months.
const AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows of one read.
const PAGE: usize = 200;

impl Activities {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// A page of those that fit, newest first, and how many fit in all the span.
    pub async fn page(
        &self,
        tenant: TenantId,
        span: Span,
        fits: impl Fn(&Activity) -> bool,
        (skip, limit): (usize, usize),
        now: Timestamp,
    ) -> Result<(Vec<Activity>, usize), StoreError> {
        let from = span.from.max(now - ACTIVITY_KEPT);
        // Their time goes on where the clock goes back: a little ahead of now is now, too.
        let to = span.to.min(now + AHEAD);
        let (mut page, mut total, mut left) = (Vec::new(), 0, span.most);
        if from >= to {
            return Ok((page, total));
        }
        for month in (month(from)..=month(to)).rev() {
            let partition = vec![id(tenant.0), Part::Int(month)];
            let mut next = Some(Scan {
                after: Some(vec![id(first_of(to))]),
                until: Some(vec![id(before(first_of(from)))]),
                ..Scan::of(&ACTIVITY, partition, PAGE.min(left))
            });
            while let Some(scan) = next.take().filter(|_| left > 0) {
                let rows = self.store.scan(scan.clone()).await?;
                left = left.saturating_sub(rows.len());
                for row in &rows {
                    let activity: Activity = decode(&row.body)?;
                    if !fits(&activity) {
                        continue;
                    }
                    total += 1;
                    if total > skip && page.len() < limit {
                        page.push(activity);
                    }
                }
                next = scan.behind(&rows).map(|scan| Scan { limit: PAGE.min(left), ..scan });
            }
        }
        Ok((page, total))
    }
}

/// The row of one.
pub(crate) fn written(tenant: TenantId, activity: &Activity) -> Change {
    let month = Part::Int(month_of(activity.id.0));
    let key = Key::new(vec![id(tenant.0), month], vec![id(activity.id.0)]);
    Change::Put { table: &ACTIVITY, key, body: encode(activity), ttl: None }
}

/// No id of that time, or of later, is smaller.
fn first_of(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::from(u64::try_from(at.0).unwrap_or(0)) << 80)
}

fn before(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use engine::activity::{Activity, Thing};
    use engine::id::{ActivityId, AgentId, TenantId};
    use engine::resource::SettingKind;
    use engine::time::Timestamp;
    use uuid::{Builder, Uuid};

    use super::{Activities, Span};
    use crate::memory::Memory;
    use crate::port::{Stamp, Store};
    use crate::settings::{SettingChange, SettingRow, Settings};
    use crate::tables::ACTIVITY_KEPT;

    const OURS: TenantId = TenantId(Uuid::from_u128(1));
    /// 2026-11-30, an hour before the month ends.
    const START: Timestamp = Timestamp(1_796_079_600_000);

    /// A minute apart: a month ends among them.
    fn at(n: u64) -> Timestamp {
        START + Duration::from_secs(n * 60)
    }

    fn activity(n: u64) -> Activity {
        let millis = u64::try_from(at(n).0).unwrap();
        let id = ActivityId(Builder::from_unix_timestamp_millis(millis, &[9; 10]).into_uuid());
        let thing = Thing { kind: "role".to_owned(), id: Uuid::nil(), name: Some(n.to_string()) };
        let by = AgentId(Uuid::from_u128(u128::from(n % 2)));
        Activity::new(id, (by, "Ana".to_owned()), thing, "updated")
    }

    async fn filled(count: u64) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| START)));
        let settings = Settings::new(store.clone());
        for n in 0..count {
            let row = SettingRow::new(SettingKind::Role, Uuid::nil(), &n);
            let changes = vec![SettingChange::Put(row), SettingChange::Note(activity(n))];
            settings.change(OURS, changes, Stamp(i64::try_from(n).unwrap())).await.unwrap();
        }
        store
    }

    fn span(from: u64, to: u64, most: usize) -> Span {
        Span { from: at(from), to: at(to), most }
    }

    /// The numbers of a page, and how many there are.
    async fn page(
        store: &Arc<dyn Store>,
        span: Span,
        of: Option<u64>,
        window: (usize, usize),
    ) -> (Vec<String>, usize) {
        let by = of.map(|of| AgentId(Uuid::from_u128(u128::from(of))));
        let fits = |one: &Activity| by.is_none_or(|by| by == one.by);
        let all = Activities::new(store.clone());
        let (page, total) = all.page(OURS, span, fits, window, at(1_000)).await.unwrap();
        (page.into_iter().filter_map(|one| one.thing.name).collect(), total)
    }

    #[tokio::test]
    async fn activity_comes_newest_first_over_months_by_page_by_time_and_as_it_fits() {
        let store = filled(500).await;
        let (some, total) = page(&store, span(0, 1_000, 10_000), None, (0, 3)).await;
        assert_eq!((some, total), (["499", "498", "497"].map(str::to_owned).into(), 500));
        let (some, total) = page(&store, span(0, 1_000, 10_000), None, (300, 2)).await;
        assert_eq!((some, total), (["199", "198"].map(str::to_owned).into(), 500));
        let (some, total) = page(&store, span(58, 62, 10_000), None, (0, 10)).await;
        let around_the_end_of_the_month = ["61", "60", "59", "58"].map(str::to_owned).into();
        assert_eq!((some, total), (around_the_end_of_the_month, 4));
        let (some, total) = page(&store, span(58, 62, 10_000), Some(0), (1, 10)).await;
        assert_eq!((some, total), (vec!["58".to_owned()], 2));
        assert_eq!(page(&store, span(62, 62, 10_000), None, (0, 9)).await, (Vec::new(), 0));
    }

    #[tokio::test]
    async fn no_more_is_looked_at_than_is_said_and_what_lies_behind_is_found_by_its_time() {
        let store = filled(500).await;
        let (some, total) = page(&store, span(0, 1_000, 300), None, (298, 10)).await;
        assert_eq!((some, total), (["201", "200"].map(str::to_owned).into(), 300));
        let (some, total) = page(&store, span(0, 200, 300), None, (0, 1)).await;
        assert_eq!((some, total), (vec!["199".to_owned()], 200));
    }

    #[tokio::test]
    async fn a_repeat_of_what_was_perhaps_written_tells_it_once_and_a_year_later_it_is_gone() {
        let store = filled(3).await;
        let again = vec![SettingChange::Note(activity(2))];
        Settings::new(store.clone()).change(OURS, again, Stamp(99)).await.unwrap();
        assert_eq!(page(&store, span(0, 1_000, 10), None, (0, 0)).await.1, 3);
        let (all, late) = (Activities::new(store.clone()), START + ACTIVITY_KEPT);
        let ever = Span { from: Timestamp(0), to: Timestamp(i64::MAX), most: 10 };
        let kept = all.page(OURS, ever, |_| true, (0, 9), late + Duration::from_secs(90)).await;
        assert_eq!(kept.unwrap().1, 1, "the two of more than a year ago are not told any more");
        let other = TenantId(Uuid::from_u128(2));
        let none = all.page(other, ever, |_| true, (0, 9), at(1_000)).await.unwrap();
        assert_eq!(none, (Vec::new(), 0));
    }
}
