//! A stream as one subscriber follows it: whether every event comes once and in order, whatever
//! happens to sockets and servers meanwhile.

use std::collections::{BTreeMap, BTreeSet};

/// A stream, and how far it was followed.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    pub(super) stream: String,
    /// Names the run of offsets.
    pub(super) epoch: String,
    /// Where following it began: all that came later was told.
    pub(super) start: u64,
    /// Up to where it is known.
    pub(super) last: u64,
    /// Offsets that were passed over, and may still come late.
    missing: BTreeSet<u64>,
    /// Messages of the run that were told, in that order: where each lies and its number.
    pub(super) told: Vec<(u64, u64)>,
    /// Whether it has begun.
    pub(super) begun: bool,
}

/// How a server broke its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It came again.
    Doubled,
    /// It came after a later one.
    OutOfOrder,
}

/// So many offsets of a gap are remembered: more come back no more one by one.
const GAP_MAX: u64 = 10_000;

impl Follow {
    /// A stream that is followed from now on.
    pub(super) fn new(stream: String) -> Self {
        let (missing, told) = (BTreeSet::new(), Vec::new());
        Self { stream, epoch: String::new(), start: 0, last: 0, missing, told, begun: false }
    }

    /// The same stream from here on.
    pub(super) fn anew(&self, start: u64) -> Self {
        let mut again = Self::new(self.stream.clone());
        again.began(&self.epoch, start);
        again
    }

    /// It begins here; what was told of another run of offsets does not count any more.
    pub(super) fn began(&mut self, epoch: &str, offset: u64) {
        epoch.clone_into(&mut self.epoch);
        (self.start, self.last, self.begun) = (offset, offset, true);
        self.missing.clear();
        self.told.clear();
    }

    /// It goes on from here, as a server says. Answers what is wrong if it was to go on from elsewhere;
    /// then it begins here.
    pub(super) fn goes_on(&mut self, epoch: &str, offset: u64) -> Result<(), String> {
        if self.begun && epoch == self.epoch && offset == self.last {
            return Ok(());
        }
        let run = if epoch == self.epoch { "" } else { " of another run of offsets" };
        let wrong = format!("was gone on with from {offset}{run} instead of {}", self.last);
        let wrong = self.begun.then_some(wrong);
        self.began(epoch, offset);
        wrong.map_or(Ok(()), Err)
    }

    /// An event came, perhaps with a message that is new by it.
    pub(super) fn event(&mut self, offset: u64, message: Option<u64>) -> Result<(), Wrong> {
        let wrong = match offset {
            _ if offset > self.last => {
                let gap = self.last + 1..offset;
                self.missing.extend(gap.take(GAP_MAX as usize));
                self.last = offset;
                None
            }
            _ if self.missing.remove(&offset) => Some(Wrong::OutOfOrder),
            _ => return Err(Wrong::Doubled),
        };
        self.told.extend(message.map(|n| (offset, n)));
        wrong.map_or(Ok(()), Err)
    }

    /// Offsets up to this one exist, and show nothing.
    pub(super) fn skip(&mut self, offset: u64) {
        self.last = self.last.max(offset);
    }

    /// Events that were passed over and never came.
    pub(super) fn missing(&self) -> u64 {
        self.missing.len() as u64
    }

    /// What was told of a conversation beside what is there of the run: where each message lies, and
    /// its number.
    pub(super) fn compare(&self, there: &[(u64, u64)]) -> Compared {
        let told: BTreeMap<u64, u64> = self.told.iter().map(|(seq, n)| (*n, *seq)).collect();
        let mut compared = Compared::default();
        let mut known = BTreeSet::new();
        for (seq, n) in there.iter().filter(|(seq, _)| *seq > self.start) {
            known.insert(*n);
            match told.get(n) {
                None => compared.lost.push(*n),
                Some(place) if place != seq => compared.out_of_order.push(*n),
                Some(_) => {}
            }
        }
        compared.invented = told.into_keys().filter(|n| !known.contains(n)).collect();
        compared
    }
}

/// Numbers of messages with which something is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// There, and not told.
    pub(super) lost: Vec<u64>,
    /// Told, and not there.
    pub(super) invented: Vec<u64>,
    /// Told in another place than where they lie.
    pub(super) out_of_order: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::{Compared, Follow, Wrong};

    fn follow() -> Follow {
        let mut follow = Follow::new("c:1".to_owned());
        follow.began("e", 10);
        follow
    }

    #[test]
    fn events_in_order_are_right_and_skips_leave_no_gap() {
        let mut follow = follow();
        assert_eq!(follow.event(11, Some(1)), Ok(()));
        follow.skip(14);
        assert_eq!(follow.event(15, None), Ok(()));
        assert_eq!((follow.last, follow.missing()), (15, 0));
        // A skip behind what is known says nothing.
        follow.skip(12);
        assert_eq!(follow.last, 15);
    }

    #[test]
    fn an_event_that_comes_again_is_doubled_and_is_told_once() {
        let mut follow = follow();
        assert_eq!(follow.event(11, Some(1)), Ok(()));
        assert_eq!(follow.event(11, Some(1)), Err(Wrong::Doubled));
        assert_eq!(follow.event(9, None), Err(Wrong::Doubled));
        assert_eq!(follow.told, [(11, 1)]);
    }

    #[test]
    fn two_that_are_swapped_are_out_of_order_and_none_is_missing() {
        let mut follow = follow();
        assert_eq!(follow.event(12, Some(2)), Ok(()));
        assert_eq!(follow.missing(), 1);
        assert_eq!(follow.event(11, Some(1)), Err(Wrong::OutOfOrder));
        assert_eq!(follow.missing(), 0);
        assert_eq!(follow.event(11, Some(1)), Err(Wrong::Doubled));
        assert_eq!(follow.compare(&[(11, 1), (12, 2)]), Compared::default());
    }

    #[test]
    fn what_was_told_is_compared_with_what_is_there_since_it_began() {
        let mut follow = follow();
        for (offset, n) in [(11, 1), (12, 2), (13, 3)] {
            assert_eq!(follow.event(offset, Some(n)), Ok(()));
        }
        assert_eq!(follow.compare(&[(4, 0), (11, 1), (12, 2), (13, 3)]), Compared::default());
        let compared = follow.compare(&[(11, 1), (13, 3), (14, 4)]);
        assert_eq!((compared.lost, compared.invented), (vec![4], vec![2]));
        let swapped = follow.compare(&[(11, 2), (12, 1), (13, 3)]);
        assert_eq!(swapped, Compared { out_of_order: vec![2, 1], ..Compared::default() });
    }

    #[test]
    fn a_stream_goes_on_from_where_it_was_and_from_nowhere_else() {
        let mut follow = Follow::new("c:1".to_owned());
        assert_eq!(follow.goes_on("e", 10), Ok(()));
        assert_eq!(follow.event(15, Some(1)), Ok(()));
        assert_eq!(follow.goes_on("e", 15), Ok(()));
        assert_eq!((follow.start, follow.missing()), (10, 4));
        let wrong = follow.goes_on("e", 20).unwrap_err();
        assert_eq!(wrong, "was gone on with from 20 instead of 15");
        assert_eq!((follow.start, follow.last, follow.missing()), (20, 20, 0));
        let wrong = follow.goes_on("f", 20).unwrap_err();
        assert_eq!(wrong, "was gone on with from 20 of another run of offsets instead of 20");
    }

    #[test]
    fn another_run_of_offsets_begins_anew() {
        let mut follow = follow();
        assert_eq!(follow.event(13, Some(1)), Ok(()));
        follow.began("f", 3);
        assert_eq!(follow.event(4, Some(2)), Ok(()));
        assert_eq!((follow.missing(), follow.told.as_slice()), (0, &[(4, 2)][..]));
        let again = follow.anew(3);
        assert_eq!((again.start, again.last, again.epoch.as_str()), (3, 3, "f"));
    }
}
