//! A store that misbehaves as a real one may: a test, or a seed, decides each call's fate.
//!
//! Three ways to decide: by a function of the call ([`Faulty::new`]), by a seed
//! ([`Faulty::seeded`]; on a runtime of one thread the same seed gives the same run), or write by
//! write as the test goes on ([`Faulty::stepped`]).

mod fate;
mod stepped;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::fate::{Fate, Odds, Write};
use self::fate::{Outcome, land, unknown};
pub use self::stepped::{Held, Late, Writes};
use crate::error::StoreError;
use crate::port::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Store, Swap, Table};
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
