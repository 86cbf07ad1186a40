//! Turns: only so much is worked on at once, and who waits for a place gets the next one tenant by
//! tenant, each as many bytes. So a tenant that sends more than the machine takes fills its own
//! queue, and no commit is made of one tenant's work alone while others wait.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::id::TenantId;
use tokio::sync::oneshot;

/// Places for what is worked on. Clones are the same.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<State>>);

/// A place, until it is dropped.
pub struct Turn(Option<(Turns, TenantId)>);

struct State {
    free: usize,
    /// So many one tenant may hold: what it waits for may take long, and others go on.
    share: usize,
    held: HashMap<TenantId, usize>,
    /// What comes in, and what waited.
    live: Ring,
    waited: Ring,
    /// Places that what comes in was given one after the other.
    in_a_row: u32,
}

/// Whose turn it is, and where it is awaited.
type Next = (TenantId, oneshot::Sender<Turn>);

/// Who waits, in turn (deficit round robin).
#[derive(Default)]
struct Ring {
    order: VecDeque<TenantId>,
    tenants: HashMap<TenantId, Queue>,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<(usize, oneshot::Sender<Turn>)>,
    /// Bytes that it may still take in this round.
    credit: usize,
}

/// What a tenant may take in a round.
const ROUND_BYTES: usize = 4 * 1024;
/// What the smallest piece of work counts.
const WORK_BYTES: usize = 1024;
/// After so many places for what comes in, one is for what waited.
const LIVE_IN_A_ROW: u32 = 3;

impl Turns {
    /// So many places.
    pub fn new(places: usize) -> Self {
        let (live, waited, held) = (Ring::default(), Ring::default(), HashMap::new());
        // Where there are several, one at least is for the others.
        let share = places.saturating_sub((places / 4).max(1)).max(1);
        Self(Arc::new(Mutex::new(State { free: places, share, held, live, waited, in_a_row: 0 })))
    }

    /// A place for something that comes in.
    pub async fn take(&self, tenant: TenantId, bytes: usize) -> Turn {
        self.wait(|state| &mut state.live, tenant, bytes).await
    }

    /// A place for something that waited: while more comes in than there are places, one in four.
    pub async fn take_waited(&self, tenant: TenantId, bytes: usize) -> Turn {
        self.wait(|state| &mut state.waited, tenant, bytes).await
    }

    /// How many wait for a place, or did until they left.
    pub fn waiting(&self) -> usize {
        let state = self.state();
        let queues = state.live.tenants.values().chain(state.waited.tenants.values());
        queues.map(|queue| queue.waiters.len()).sum()
    }

    async fn wait(
        &self,
        ring: impl Fn(&mut State) -> &mut Ring,
        tenant: TenantId,
        bytes: usize,
    ) -> Turn {
        loop {
            let given = {
                let mut state = self.state();
                if state.free > 0 && state.may(tenant) {
                    state.hold(tenant);
                    return Turn(Some((self.clone(), tenant)));
                }
                let (give, given) = oneshot::channel();
                ring(&mut state).push(tenant, bytes.saturating_add(WORK_BYTES), give);
                given
            };
            // A place is given, never taken away.
            if let Ok(turn) = given.await {
                return turn;
            }
        }
    }

    fn give_back(&self, tenant: TenantId) {
        let mut state = self.state();
        state.leave(tenant);
        while state.free > 0
            && let Some((tenant, give)) = state.next()
        {
            state.hold(tenant);
            if let Err(mut turn) = give.send(Turn(Some((self.clone(), tenant)))) {
                // Whoever waited has gone.
                turn.0 = None;
                state.leave(tenant);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, tenant)) = self.0.take() {
            turns.give_back(tenant);
        }
    }
}

impl State {
    fn may(&self, tenant: TenantId) -> bool {
        self.held.get(&tenant).is_none_or(|held| *held < self.share)
    }

    fn hold(&mut self, tenant: TenantId) {
        self.free -= 1;
        *self.held.entry(tenant).or_default() += 1;
    }

    fn leave(&mut self, tenant: TenantId) {
        self.free += 1;
        if let Entry::Occupied(mut held) = self.held.entry(tenant) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn next(&mut self) -> Option<Next> {
        let Self { share, held, live, waited, in_a_row, .. } = self;
        let may = |tenant: TenantId| held.get(&tenant).is_none_or(|held| *held < *share);
        if *in_a_row < LIVE_IN_A_ROW
            && let Some(next) = live.next(may)
        {
            *in_a_row += 1;
            return Some(next);
        }
        *in_a_row = 0;
        waited.next(may).or_else(|| live.next(may))
    }
}

impl Ring {
    fn push(&mut self, tenant: TenantId, cost: usize, give: oneshot::Sender<Turn>) {
        let queue = self.tenants.entry(tenant).or_insert_with(|| {
            self.order.push_back(tenant);
            Queue { waiters: VecDeque::new(), credit: ROUND_BYTES }
        });
        // Those who gave up leave in their order, also while no place is given.
        while queue.waiters.front().is_some_and(|(_, give)| give.is_closed()) {
            queue.waiters.pop_front();
        }
        queue.waiters.push_back((cost, give));
    }

    /// The next of those who may.
    fn next(&mut self, may: impl Fn(TenantId) -> bool) -> Option<Next> {
        let mut passed = 0;
        while passed < self.order.len() {
            let tenant = *self.order.front()?;
            if !may(tenant) {
                passed += 1;
                self.order.rotate_left(1);
                continue;
            }
            passed = 0;
            let queue = self.tenants.entry(tenant).or_default();
            match queue.waiters.front() {
                None => {
                    self.order.pop_front();
                    self.tenants.remove(&tenant);
                }
                Some((_, give)) if give.is_closed() => drop(queue.waiters.pop_front()),
                Some((cost, _)) if *cost <= queue.credit => {
                    queue.credit -= cost;
                    return queue.waiters.pop_front().map(|(_, give)| (tenant, give));
                }
                Some(_) => {
                    queue.credit += ROUND_BYTES;
                    self.order.rotate_left(1);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use engine::id::TenantId;
    use futures_util::FutureExt;
    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::{Turn, Turns};

    fn tenant(n: u128) -> TenantId {
        TenantId(Uuid::from_u128(n))
    }

    /// All places taken, and who waits for the next; each tells its name when it has one.
    struct Queue {
        turns: Turns,
        taken: Vec<Turn>,
        waits: JoinSet<(&'static str, Turn)>,
    }

    impl Queue {
        async fn new(places: usize) -> Self {
            let (turns, mut taken) = (Turns::new(places), Vec::new());
            for place in 0..places {
                taken.push(turns.take(tenant(100 + place as u128), 0).await);
            }
            Self { turns, taken, waits: JoinSet::new() }
        }

        async fn wait(&mut self, name: &'static str, of: u128, bytes: usize, waited: bool) {
            let turns = self.turns.clone();
            self.waits.spawn(async move {
                let turn = match waited {
                    true => turns.take_waited(tenant(of), bytes).await,
                    false => turns.take(tenant(of), bytes).await,
                };
                (name, turn)
            });
            // On a runtime of one thread it has its place in the queue now.
            tokio::task::yield_now().await;
        }

        /// Gives one place back after the other, and answers who had it.
        async fn order(mut self) -> String {
            let mut order = String::new();
            drop(self.taken.drain(..));
            while let Some(had) = self.waits.join_next().await {
                order.push_str(had.unwrap().0);
            }
            order
        }
    }

    #[tokio::test]
    async fn who_comes_late_goes_between_those_of_a_tenant_that_has_many() {
        let mut queue = Queue::new(1).await;
        for _ in 0..20 {
            queue.wait("a", 1, 1_000, false).await;
        }
        for name in ["b", "b", "c"] {
            let of = if name == "b" { 2 } else { 3 };
            queue.wait(name, of, 1_000, false).await;
        }
        assert_eq!(queue.order().await, "aabbcaaaaaaaaaaaaaaaaaa");
    }

    #[tokio::test]
    async fn large_pieces_wait_for_as_many_rounds_as_they_are_large() {
        let mut queue = Queue::new(1).await;
        for _ in 0..2 {
            queue.wait("A", 1, 15_000, false).await;
        }
        for _ in 0..20 {
            queue.wait("b", 2, 1_000, false).await;
        }
        let order = queue.order().await;
        let before = |n| order.match_indices('A').nth(n).unwrap().0;
        assert!((4..=8).contains(&before(0)), "{order}");
        assert!((10..=18).contains(&before(1)), "{order}");
    }

    #[tokio::test]
    async fn what_waited_gets_one_place_in_four_while_more_comes_in() {
        let mut queue = Queue::new(1).await;
        for _ in 0..9 {
            queue.wait("l", 1, 0, false).await;
        }
        for _ in 0..5 {
            queue.wait("w", 1, 0, true).await;
        }
        assert_eq!(queue.order().await, "lllwlllwlllwww");
    }

    #[tokio::test]
    async fn one_tenant_does_not_hold_all_places() {
        let turns = Turns::new(8);
        let mut held = Vec::new();
        while let Some(turn) = turns.take(tenant(1), 0).now_or_never() {
            held.push(turn);
        }
        assert_eq!(held.len(), 6);
        let mut more = Box::pin(turns.take(tenant(1), 0));
        assert!(more.as_mut().now_or_never().is_none());
        held.extend(turns.take(tenant(2), 0).now_or_never());
        held.extend(turns.take(tenant(3), 0).now_or_never());
        assert_eq!(held.len(), 8, "there is room for others");
        held.pop();
        assert!(more.as_mut().now_or_never().is_none(), "not for more of the first");
        held.remove(0);
        assert!(more.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn whoever_gives_up_takes_no_place() {
        let mut queue = Queue::new(2).await;
        for name in ["a", "b", "c"] {
            queue.wait(name, 1, 0, false).await;
        }
        queue.waits.abort_all();
        while queue.waits.join_next().await.is_some() {}
        queue.wait("d", 1, 0, false).await;
        let turns = queue.turns.clone();
        assert_eq!(queue.order().await, "d");
        assert_eq!(turns.state().free, 2, "everything was given back");
    }
}
