//! Bodies of which nobody knows yet whose they are: they hold so many bytes at most, and when more
//! come, the one that began first is given up. So whoever sends slowly, or never ends, makes room
//! for those whose bodies come and are proven at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All bodies that are not proven.
pub struct Unproven {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of all together.
    bytes: usize,
    next: u64,
    /// In the order in which they began.
    bodies: BTreeMap<u64, Body>,
}

struct Body {
    bytes: usize,
    cut: Arc<Notify>,
}

/// One body's part, until it is dropped.
pub struct Claim {
    unproven: Arc<Unproven>,
    n: u64,
    cut: Arc<Notify>,
}

impl Unproven {
    /// At most so many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// A body begins.
    pub fn begin(self: &Arc<Self>) -> Claim {
        let cut = Arc::new(Notify::new());
        let mut held = self.held();
        let n = held.next;
        held.next += 1;
        held.bodies.insert(n, Body { bytes: 0, cut: cut.clone() });
        Claim { unproven: self.clone(), n, cut }
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.held().bytes
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// So many bytes more have come. Where they are too many, the oldest are given up.
    pub fn grow(&self, bytes: usize) {
        let mut held = self.unproven.held();
        // One that was given up is no longer there.
        let Some(body) = held.bodies.get_mut(&self.n) else { return };
        body.bytes += bytes;
        held.bytes += bytes;
        while held.bytes > self.unproven.most
            && let Some((_, oldest)) = held.bodies.pop_first()
        {
            held.bytes -= oldest.bytes;
            oldest.cut.notify_one();
        }
    }

    /// Returns when the body is given up.
    pub async fn given_up(&self) {
        self.cut.notified().await;
    }

    /// The body is proven: it counts no more here.
    pub fn leave(&self) {
        let mut held = self.unproven.held();
        if let Some(body) = held.bodies.remove(&self.n) {
            held.bytes -= body.bytes;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::{Claim, Unproven};

    fn is_cut(claim: &Claim) -> bool {
        claim.given_up().now_or_never().is_some()
    }

    #[test]
    fn who_began_first_makes_room() {
        let unproven = Unproven::new(100);
        let (slow, slower, fast) = (unproven.begin(), unproven.begin(), unproven.begin());
        slow.grow(30);
        slower.grow(60);
        fast.grow(10);
        assert!(!is_cut(&slow) && !is_cut(&slower) && !is_cut(&fast));
        fast.grow(20);
        assert!(is_cut(&slow) && !is_cut(&slower) && !is_cut(&fast));
        assert_eq!(unproven.bytes(), 90);
        slow.grow(1_000);
        assert_eq!(unproven.bytes(), 90, "it counts no more");
        slower.grow(20);
        assert!(is_cut(&slower), "who grows is the oldest itself");
        drop((slow, slower, fast));
        assert_eq!(unproven.bytes(), 0);
    }
}
