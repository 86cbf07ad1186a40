//! Names that are being given. From the claim of a name until its holder is written it is held: to
//! everybody else a claim without its holder is one that was given up. Each name by itself: who
//! waits for a store, or for their turn, keeps nobody from other names.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::names::Name;
use tokio::sync::OwnedMutexGuard;

/// All names that are held or waited for.
#[derive(Default)]
pub struct Naming(Mutex<HashMap<Name, Lock>>);

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Names that are held, until this is dropped.
pub struct Holding<'n> {
    _names: Vec<One<'n>>,
}

/// A name that is held, or waited for.
struct One<'n> {
    naming: &'n Naming,
    name: Name,
    lock: Lock,
    held: Option<OwnedMutexGuard<()>>,
}

impl Naming {
    /// Holds these names. Whoever needs several asks for them at once: they are taken in one order, so
    /// that no two wait for each other.
    pub async fn hold(&self, names: impl IntoIterator<Item = Name>) -> Holding<'_> {
        let mut all = Vec::new();
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            let lock = self.locks().entry(name.clone()).or_default().clone();
            let mut one = One { naming: self, name, lock, held: None };
            one.held = Some(one.lock.clone().lock_owned().await);
            all.push(one);
        }
        Holding { _names: all }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<Name, Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.naming.locks();
        // The map's and this one: nobody else holds it or waits for it.
        if Arc::strong_count(&self.lock) == 2 {
            locks.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use storage::names::Name;

    use super::Naming;

    fn name(name: &str) -> Name {
        Name::global("email", name)
    }

    #[tokio::test]
    async fn a_name_is_held_by_one_and_others_are_not_waited_for() {
        let naming = Naming::default();
        let first = naming.hold([name("a"), name("b"), name("a")]).await;
        let mut second = pin!(naming.hold([name("c"), name("b")]));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(naming.hold([name("d")]).now_or_never().is_some());
        assert!(naming.hold([]).now_or_never().is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn two_who_need_the_same_names_do_not_wait_for_each_other() {
        let naming = Naming::default();
        let first = naming.hold([name("a")]).await;
        let mut one = pin!(naming.hold([name("a"), name("b")]));
        let mut other = pin!(naming.hold([name("b"), name("a")]));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        drop(first);
        assert!(one.now_or_never().is_some() && other.now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_is_left_of_names_that_nobody_holds_or_waits_for() {
        let naming = Naming::default();
        let held = naming.hold([name("a"), name("b")]).await;
        {
            let mut gives_up = pin!(naming.hold([name("a"), name("c")]));
            assert!(gives_up.as_mut().now_or_never().is_none());
            drop(held);
            assert_eq!(naming.locks().len(), 1, "one is still wanted");
        }
        assert!(naming.locks().is_empty());
    }
}
