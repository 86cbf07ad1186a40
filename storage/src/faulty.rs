//! A store that misbehaves as a real one may: a test, or a seed, decides each call's fate.
//!
//! Three ways to decide: by a function of the call ([`Faulty::new`]), by a seed
//! ([`Faulty::seeded`]; on a runtime of one thread the same seed gives the same run), or write by
//! write as the test goes on ([`Faulty::stepped`]).

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::port::{Batch, Change, Claim, Guarantees, Key, Pending, Row, Scan, Store, Swap, Table};
use crate::seed::Chance;

/// A store over another that does with each call what was decided for it.
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    guarantees: Guarantees,
}

struct Plan {
    decide: Decide,
    late: Vec<(usize, Write)>,
    history: Vec<Fate>,
}

enum Decide {
    By(Box<dyn FnMut(&Call<'_>) -> Fate + Send>),
    Asking(mpsc::UnboundedSender<Held>),
}

/// What becomes of a call. A read is only ever done, slow or unavailable: every other fate makes
/// it unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As the store below does it.
    Done,
    /// The same, after this time.
    Slow(Duration),
    /// Answered as unavailable, not written.
    Unavailable,
    /// Answered as unknown, written.
    Applied,
    /// Answered as unknown, never written.
    Lost,
    /// Answered as unknown; of a batch only the changes to its first partitions, so many, are
    /// written. A claim or a swap is lost.
    Torn(usize),
    /// Answered as unknown; written before the call that many calls later, or by
    /// [`Faulty::land`] or [`Late::land`].
    Late(usize),
}

/// A call whose fate is to be decided.
#[derive(Debug)]
pub enum Call<'a> {
    /// A read of one row.
    Get(&'static Table, &'a Key),
    /// A read of several rows.
    Scan(&'a Scan),
    /// A write.
    Write(&'a Write),
}

/// A write, with all that it takes to do it.
#[derive(Clone, Debug)]
pub enum Write {
    /// The argument of [`Store::apply`].
    Apply(Batch),
    /// The arguments of [`Store::claim`].
    Claim { table: &'static Table, key: Key, body: Vec<u8>, ttl: Option<Duration> },
    /// The arguments of [`Store::swap`].
    Swap { table: &'static Table, key: Key, expected: Option<Vec<u8>>, body: Option<Vec<u8>> },
}

/// How often a seeded store misbehaves: of a thousand calls, how many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// [`Fate::Slow`], up to `slowest`.
    pub slow: u64,
    /// The longest time that a slow call takes.
    pub slowest: Duration,
    /// [`Fate::Unavailable`].
    pub unavailable: u64,
    /// [`Fate::Applied`].
    pub applied: u64,
    /// [`Fate::Lost`].
    pub lost: u64,
    /// [`Fate::Torn`].
    pub torn: u64,
    /// [`Fate::Late`], by one to eight calls.
    pub late: u64,
}

enum Outcome {
    Applied,
    Claimed(Claim),
    Swapped(Swap),
}

impl Faulty {
    /// `decide` is asked about every call, in the order of the calls.
    pub fn new(
        inner: Arc<dyn Store>,
        decide: impl FnMut(&Call<'_>) -> Fate + Send + 'static,
    ) -> Self {
        Self::with(inner, Decide::By(Box::new(decide)))
    }

    /// The seed decides, with these odds.
    pub fn seeded(inner: Arc<dyn Store>, seed: u64, odds: Odds) -> Self {
        let mut chance = Chance::of(seed);
        Self::new(inner, move |_| odds.draw(&mut chance))
    }

    /// The test decides about every write; reads are done as they come.
    pub fn stepped(inner: Arc<dyn Store>) -> (Self, Writes) {
        let (ask, asked) = mpsc::unbounded_channel();
        (Self::with(inner, Decide::Asking(ask)), Writes(asked))
    }

    fn with(inner: Arc<dyn Store>, decide: Decide) -> Self {
        let plan = Plan { decide, late: Vec::new(), history: Vec::new() };
        let guarantees = Guarantees { atomic: false, settled: false };
        Self { inner, plan: Mutex::new(plan), guarantees }
    }

    /// It promises what the store below promises: no fate that tears or delays is to be decided.
    pub fn promising_as_below(self) -> Self {
        Self { guarantees: self.inner.guarantees(), ..self }
    }

    /// The fates so far, to be replayed by [`Faulty::new`].
    pub fn history(&self) -> Vec<Fate> {
        self.plan().history.clone()
    }

    /// Lets all late writes land now, in their order. Answers how many.
    pub async fn land(&self) -> usize {
        let late = std::mem::take(&mut self.plan().late);
        let late: Vec<_> = late.into_iter().map(|(_, write)| write).collect();
        land(&late, &*self.inner).await;
        late.len()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a call; with it come the late writes that land before it.
    fn turn(&self, call: &Call<'_>) -> (Fate, Vec<Write>) {
        let mut plan = self.plan();
        let fate = match &mut plan.decide {
            Decide::By(decide) => decide(call),
            Decide::Asking(_) => Fate::Done,
        };
        plan.history.push(fate);
        let now = plan.history.len();
        let due = plan.late.extract_if(.., |(at, _)| *at <= now).map(|(_, write)| write).collect();
        if let (Fate::Late(calls), Call::Write(write)) = (fate, call) {
            plan.late.push((now.saturating_add(calls), (*write).clone()));
        }
        (fate, due)
    }

    async fn read<T>(
        &self,
        (fate, due): (Fate, Vec<Write>),
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        land(&due, &*self.inner).await;
        match fate {
            Fate::Done => read.await,
            Fate::Slow(time) => {
                tokio::time::sleep(time).await;
                read.await
            }
            _ => Err(StoreError::Unavailable("as decided".into())),
        }
    }

    /// Started at once and on its own: dropping the answer does not stop it.
    fn write<'a, T: 'a>(
        &'a self,
        write: Write,
        expect: fn(Outcome) -> Option<T>,
    ) -> Pending<'a, T> {
        let asking = match &self.plan().decide {
            Decide::Asking(ask) => Some(ask.clone()),
            Decide::By(_) => None,
        };
        let (answer, answered) = oneshot::channel();
        if let Some(ask) = asking {
            let held = Held { write, inner: self.inner.clone(), answer };
            // Without a test that asks any more the answer is dropped, which is an answer, too.
            let _ = ask.send(held);
        } else {
            let (fate, due) = self.turn(&Call::Write(&write));
            let inner = self.inner.clone();
            tokio::spawn(async move {
                land(&due, &*inner).await;
                let _ = answer.send(write.meet(fate, &*inner).await);
            });
        }
        Box::pin(async move {
            let outcome = answered.await.unwrap_or_else(|_| unknown())?;
            Ok(expect(outcome).expect("a write is answered by its own outcome"))
        })
    }
}

async fn land(late: &[Write], store: &dyn Store) {
    for write in late {
        // Whom the answer was for was told long ago that it is unknown.
        let _ = write.run(store).await;
    }
}

fn unknown<T>() -> Result<T, StoreError> {
    Err(StoreError::Unknown("as decided".into()))
}

impl Write {
    async fn run(&self, store: &dyn Store) -> Result<Outcome, StoreError> {
        match self.clone() {
            Self::Apply(batch) => store.apply(batch).await.map(|()| Outcome::Applied),
            Self::Claim { table, key, body, ttl } => {
                store.claim(table, key, body, ttl).await.map(Outcome::Claimed)
            }
            Self::Swap { table, key, expected, body } => {
                store.swap(table, key, expected, body).await.map(Outcome::Swapped)
            }
        }
    }

    async fn meet(&self, fate: Fate, store: &dyn Store) -> Result<Outcome, StoreError> {
        match fate {
            Fate::Done => self.run(store).await,
            Fate::Slow(time) => {
                tokio::time::sleep(time).await;
                self.run(store).await
            }
            Fate::Unavailable => Err(StoreError::Unavailable("as decided".into())),
            Fate::Applied => self.run(store).await.and_then(|_| unknown()),
            Fate::Lost | Fate::Late(_) => unknown(),
            Fate::Torn(partitions) => {
                if let Some(part) = self.first(partitions) {
                    part.run(store).await?;
                }
                unknown()
            }
        }
    }

    /// The changes of a batch to its first partitions.
    fn first(&self, partitions: usize) -> Option<Self> {
        let Self::Apply(batch) = self else { return None };
        let (mut seen, mut changes) = (Vec::new(), Vec::new());
        for change in &batch.changes {
            let place = match change {
                Change::Put { table, key, .. } | Change::Delete { table, key } => {
                    (table.number, &key.partition)
                }
                Change::Clear { table, partition } => (table.number, partition),
            };
            if !seen.contains(&place) {
                seen.push(place);
            }
            if seen.iter().position(|other| *other == place) < Some(partitions) {
                changes.push(change.clone());
            }
        }
        Some(Self::Apply(Batch { stamp: batch.stamp, changes }))
    }
}

impl Odds {
    /// What becomes of the next call.
    pub fn draw(&self, chance: &mut Chance) -> Fate {
        let mut at = chance.below(1_000);
        let mut falls_in = |odds: u64| {
            let hit = at < odds;
            at = at.saturating_sub(odds);
            hit
        };
        let fates = [self.slow, self.unavailable, self.applied, self.lost, self.torn, self.late];
        match fates.into_iter().position(&mut falls_in) {
            Some(0) => {
                let most = u64::try_from(self.slowest.as_micros()).unwrap_or(u64::MAX);
                Fate::Slow(Duration::from_micros(chance.below(most.saturating_add(1))))
            }
            Some(1) => Fate::Unavailable,
            Some(2) => Fate::Applied,
            Some(3) => Fate::Lost,
            Some(4) => Fate::Torn(chance.index(4)),
            Some(_) => Fate::Late(1 + chance.index(8)),
            None => Fate::Done,
        }
    }
}

impl Store for Faulty {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        let turn = self.turn(&Call::Get(table, key));
        Box::pin(self.read(turn, async move { self.inner.get(table, key).await }))
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        let turn = self.turn(&Call::Scan(&scan));
        Box::pin(self.read(turn, async move { self.inner.scan(scan).await }))
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        self.write(Write::Apply(batch), |outcome| match outcome {
            Outcome::Applied => Some(()),
            _ => None,
        })
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        self.write(Write::Claim { table, key, body, ttl }, |outcome| match outcome {
            Outcome::Claimed(claim) => Some(claim),
            _ => None,
        })
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        self.write(Write::Swap { table, key, expected, body }, |outcome| match outcome {
            Outcome::Swapped(swap) => Some(swap),
            _ => None,
        })
    }

    /// Nothing beyond the port: what was unknown may land at any time, batches may tear.
    fn guarantees(&self) -> Guarantees {
        self.guarantees
    }
}

/// The writes of a stepped store, in the order of the calls.
pub struct Writes(mpsc::UnboundedReceiver<Held>);

impl Writes {
    /// The next write, as soon as there is one; `None` when the store was dropped.
    pub async fn next(&mut self) -> Option<Held> {
        self.0.recv().await
    }

    /// The next write if there is one.
    pub fn try_next(&mut self) -> Option<Held> {
        self.0.try_recv().ok()
    }
}

/// A write that waits for its fate. Dropped, it is lost and unknown.
pub struct Held {
    /// What it would do.
    pub write: Write,
    inner: Arc<dyn Store>,
    answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl Held {
    /// Gives it this fate and answers its caller; `None` unless it is [`Fate::Late`], which
    /// lands when the test says so.
    pub async fn meet(self, fate: Fate) -> Option<Late> {
        let outcome = self.write.meet(fate, &*self.inner).await;
        // A caller who no longer waits is none to be told.
        let _ = self.answer.send(outcome);
        let late = Late { write: self.write, inner: self.inner };
        matches!(fate, Fate::Late(_)).then_some(late)
    }
}

/// A write that was answered as unknown and is still on its way.
pub struct Late {
    write: Write,
    inner: Arc<dyn Store>,
}

impl Late {
    /// Lets it land.
    pub async fn land(self) {
        land(&[self.write], &*self.inner).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use engine::time::Timestamp;

    use super::{Fate, Faulty, Odds, Write};
    use crate::error::StoreError;
    use crate::memory::Memory;
    use crate::port::{Batch, Change, Claim, Key, Part, Stamp, Store};
    use crate::tables::{NAMES, THREADS};

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(Arc::new(|| Timestamp(0))))
    }

    fn key(n: u8) -> Key {
        Key::new(vec![Part::Uuid([n; 16])], vec![])
    }

    fn batch(stamp: i64, rows: &[u8]) -> Batch {
        let put = |n: &u8| Change::Put {
            table: &THREADS,
            key: key(*n),
            body: stamp.to_string().into_bytes(),
            ttl: None,
        };
        Batch { stamp: Stamp(stamp), changes: rows.iter().map(put).collect() }
    }

    async fn row(store: &dyn Store, n: u8) -> Option<String> {
        let body = store.get(&THREADS, &key(n)).await.expect("read");
        body.map(|body| String::from_utf8(body).expect("text"))
    }

    #[tokio::test]
    async fn each_fate_is_what_it_says() {
        let below = memory();
        let mut fates = [
            Fate::Unavailable,
            Fate::Lost,
            Fate::Applied,
            Fate::Torn(1),
            Fate::Late(2),
            Fate::Done,
            Fate::Late(usize::MAX),
            Fate::Done,
        ]
        .into_iter();
        let faulty = Faulty::new(below.clone(), move |_| fates.next().expect("a fate"));
        let refused = faulty.apply(batch(1, &[1])).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))));
        let lost = faulty.apply(batch(2, &[1])).await;
        assert!(matches!(lost, Err(StoreError::Unknown(_))));
        assert_eq!(row(&*below, 1).await, None);
        let applied = faulty.apply(batch(3, &[1])).await;
        assert!(matches!(applied, Err(StoreError::Unknown(_))));
        assert_eq!(row(&*below, 1).await.as_deref(), Some("3"));
        let torn = faulty.apply(batch(4, &[1, 2])).await;
        assert!(matches!(torn, Err(StoreError::Unknown(_))));
        assert_eq!(row(&*below, 1).await.as_deref(), Some("4"));
        assert_eq!(row(&*below, 2).await, None, "half of it is missing");
        let late = faulty.apply(batch(5, &[3])).await;
        assert!(matches!(late, Err(StoreError::Unknown(_))));
        assert_eq!(row(&faulty, 3).await, None, "not yet");
        let never = faulty.apply(batch(6, &[4])).await;
        assert!(matches!(never, Err(StoreError::Unknown(_))));
        assert_eq!(row(&*below, 3).await.as_deref(), Some("5"), "two calls later it is there");
        assert_eq!(row(&faulty, 4).await, None);
        assert_eq!(faulty.land().await, 1);
        assert_eq!(row(&*below, 4).await.as_deref(), Some("6"));
        assert_eq!(faulty.history().len(), 8);
    }

    #[tokio::test]
    async fn a_test_decides_write_by_write() {
        let below = memory();
        let (faulty, mut writes) = Faulty::stepped(below.clone());
        let test = async {
            let held = writes.next().await.expect("a write");
            assert!(matches!(&held.write, Write::Apply(batch) if batch.stamp == Stamp(1)));
            assert_eq!(row(&*below, 1).await, None, "it waits");
            assert!(held.meet(Fate::Done).await.is_none());
            let held = writes.next().await.expect("a write");
            held.meet(Fate::Late(0)).await.expect("it can land")
        };
        let calls = async {
            faulty.apply(batch(1, &[1])).await.expect("done");
            faulty.apply(batch(2, &[1])).await
        };
        let (late, unknown) = tokio::join!(test, calls);
        assert!(matches!(unknown, Err(StoreError::Unknown(_))));
        assert_eq!(row(&faulty, 1).await.as_deref(), Some("1"));
        late.land().await;
        assert_eq!(row(&faulty, 1).await.as_deref(), Some("2"));
        let claim = faulty.claim(&NAMES, name(), vec![], None);
        assert!(writes.try_next().is_some(), "the test lets go of it");
        assert!(matches!(claim.await, Err(StoreError::Unknown(_))));
        let (claim, ()) = tokio::join!(faulty.claim(&NAMES, name(), vec![], None), async {
            writes.next().await.expect("a write").meet(Fate::Done).await;
        });
        assert_eq!(claim.expect("done"), Claim::Won);
    }

    fn name() -> Key {
        let text = |text: &'static str| Part::Text(text.into());
        Key::new(vec![Part::Uuid([0; 16]), text("kind"), text("name")], vec![])
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_replays() {
        let odds = Odds {
            slow: 200,
            slowest: Duration::from_secs(1),
            unavailable: 100,
            applied: 100,
            lost: 100,
            torn: 100,
            late: 100,
        };
        let run = async |seed| {
            let below = memory();
            let faulty = Faulty::seeded(below.clone(), seed, odds);
            for stamp in 0..200_i64 {
                let rows = [stamp.to_le_bytes()[0] % 7, 8];
                // Whatever the fate: it is the state that is compared.
                let _ = faulty.apply(batch(stamp, &rows)).await;
            }
            let mut rows = Vec::new();
            for n in 0..9 {
                rows.push(row(&*below, n).await);
            }
            (faulty.history(), rows)
        };
        let first = run(7).await;
        assert_eq!(first, run(7).await);
        assert_ne!(first, run(8).await);
        for fate in [Fate::Done, Fate::Unavailable, Fate::Applied, Fate::Lost, Fate::Torn(1)] {
            assert!(first.0.contains(&fate), "{fate:?} was drawn");
        }
    }
}
