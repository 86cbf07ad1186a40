//! Rows of the tree that lie close together: walked past in their order, which is a tenth of the work of
//! looking each one up.

use std::cmp::Ordering;
use std::iter::Peekable;

use super::overlay::Place;
use super::tree::{Rows, Snapshot};
use super::value::Value;
use crate::error::StoreError;

/// For each row that is wanted so many are walked past at most; behind them each is looked up.
const PAST: usize = 8;

/// A way past rows of one table.
pub(super) struct Walk<'a> {
    tree: &'a dyn Snapshot,
    /// What lies ahead; `None`: what is wanted does not rise, or lies too far apart.
    rows: Option<Peekable<Rows<'a>>>,
    left: usize,
}

impl<'a> Walk<'a> {
    /// To these places, one after the other.
    pub(super) fn over(tree: &'a dyn Snapshot, places: &[Place]) -> Self {
        let (left, mut rows) = (places.len() * PAST, None);
        if let [first, .., last] = places
            && places.is_sorted_by(|one, next| one.key < next.key)
        {
            let behind = [&*last.key, &[0]].concat();
            rows = Some(tree.rows(first.shape, &first.key, &behind, true).peekable());
        }
        Self { tree, rows, left }
    }

    /// What the tree has at the next place.
    pub(super) fn find(&mut self, place: &Place) -> Result<Option<Value>, StoreError> {
        while let Some(rows) = &mut self.rows {
            let Some(next) = rows.peek() else { return Ok(None) };
            let ahead = next.as_ref().map_or(Ordering::Less, |(key, _)| key.cmp(&place.key));
            match ahead {
                Ordering::Greater => return Ok(None),
                Ordering::Equal => return rows.next().transpose().map(|row| row.map(|row| row.1)),
                Ordering::Less if self.left == 0 => self.rows = None,
                Ordering::Less => {
                    self.left -= 1;
                    // One that is not wanted may be damaged: then each is looked up.
                    if rows.next().is_some_and(|row| row.is_err()) {
                        self.rows = None;
                    }
                }
            }
        }
        self.tree.get(place.shape, &place.key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fjall::Slice;

    use super::*;
    use crate::port::{Shape, Stamp};

    /// Rows, of which some are damaged; counts what is asked for.
    #[derive(Default)]
    struct Few {
        rows: BTreeMap<Vec<u8>, bool>,
        looked_up: AtomicUsize,
        walked: AtomicUsize,
    }

    fn read(key: &[u8], is_whole: bool) -> Result<Value, StoreError> {
        match is_whole {
            true => Ok(Value::row(Stamp(1), 0, key)),
            false => Err(StoreError::Corrupt("a row".into())),
        }
    }

    impl Snapshot for Few {
        fn get(&self, _: Shape, key: &[u8]) -> Result<Option<Value>, StoreError> {
            self.looked_up.fetch_add(1, Ordering::Relaxed);
            self.rows.get(key).map(|is_whole| read(key, *is_whole)).transpose()
        }

        fn rows<'a>(&'a self, _: Shape, low: &[u8], high: &[u8], _: bool) -> Rows<'a> {
            let rows = self.rows.range(low.to_vec()..high.to_vec());
            Box::new(rows.map(|(key, is_whole)| {
                self.walked.fetch_add(1, Ordering::Relaxed);
                Ok((Slice::from(key.as_slice()), read(key, *is_whole)?))
            }))
        }
    }

    fn every(nth: u16) -> Few {
        let rows =
            (0..1000).filter(|n| n % nth == 0).map(|n: u16| (n.to_be_bytes().to_vec(), true));
        Few { rows: rows.collect(), ..Few::default() }
    }

    fn wanted(all: impl IntoIterator<Item = u16>) -> Vec<Place> {
        let place = |n: u16| Place {
            shape: Shape::Overwritten,
            key: Slice::from(n.to_be_bytes().as_slice()),
            partition: 2,
        };
        all.into_iter().map(place).collect()
    }

    /// Finds what looking each one up finds.
    fn finds(tree: &Few, wanted: &[Place]) -> (usize, usize) {
        let mut walk = Walk::over(tree, wanted);
        for place in wanted {
            let known = tree.rows.get(&*place.key).map(|is_whole| read(&place.key, *is_whole));
            match (walk.find(place), known) {
                (Ok(found), Some(Ok(known))) => {
                    assert_eq!(
                        found.map(|found| found.body().to_vec()),
                        Some(known.body().to_vec())
                    );
                }
                (Ok(found), None) => assert!(found.is_none()),
                (found, known) => {
                    assert!(found.is_err() && known.is_some_and(|known| known.is_err()));
                }
            }
        }
        (tree.looked_up.load(Ordering::Relaxed), tree.walked.load(Ordering::Relaxed))
    }

    #[test]
    fn what_lies_side_by_side_is_walked_past() {
        assert_eq!(finds(&every(1), &wanted(200..300)), (0, 100));
        assert_eq!(
            finds(&every(3), &wanted(200..300)),
            (0, 33),
            "of which two in three are absent"
        );
        assert_eq!(finds(&every(1), &wanted((0..1000).step_by(5))).0, 0);
    }

    #[test]
    fn what_lies_too_far_apart_or_in_no_order_is_looked_up() {
        let (looked_up, walked) = finds(&every(1), &wanted((0..1000).step_by(50)));
        assert!(looked_up > 10 && walked <= 20 * (PAST + 1), "{looked_up}, {walked}");
        assert_eq!(finds(&every(1), &wanted([5, 3, 4])).0, 3);
        assert_eq!(finds(&every(1), &wanted([7])).0, 1);
        assert_eq!(finds(&every(1), &wanted([])), (0, 0));
    }

    #[test]
    fn what_is_damaged_is_in_the_way_of_nobody_else() {
        let mut tree = every(1);
        for damaged in [203, 206] {
            tree.rows.insert(u16::to_be_bytes(damaged).to_vec(), false);
        }
        finds(&tree, &wanted((200..300).step_by(2)));
        finds(&tree, &wanted(200..300));
    }
}
