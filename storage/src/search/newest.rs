//! Of all that fits, the newest: a bounded number, whatever the index finds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use engine::id::ConversationId;
use engine::message::Place;
use engine::time::Timestamp;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, ColumnValues};
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};
use uuid::Uuid;

use super::{Question, number};

/// Which are kept of the messages, or the contacts, that have the words.
pub(super) struct Newest {
    filter: Arc<Filter>,
    pub(super) limit: usize,
}

/// Where what was found lies: a message's conversation and place, or a contact. The later one is
/// greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    pub(super) at: Timestamp,
    pub(super) id: Uuid,
    pub(super) place: Place,
}

struct Filter {
    channel: Option<u64>,
    from: i64,
    to: i64,
    within: Option<HashSet<ConversationId>>,
}

/// The newest of one segment.
pub(super) struct OfSegment {
    filter: Arc<Filter>,
    limit: usize,
    kept: BinaryHeap<Reverse<Kept>>,
    at: Column<i64>,
    channel: Column<u64>,
    high: Column<u64>,
    low: Column<u64>,
    block: Column<u64>,
    ordinal: Column<u64>,
}

impl Newest {
    pub(super) fn of(question: &Question) -> Self {
        let filter = Filter {
            channel: question.channel.map(number),
            from: question.from.map_or(i64::MIN, |from| from.0),
            to: question.to.map_or(i64::MAX, |to| to.0),
            within: question.within.clone(),
        };
        Self { filter: Arc::new(filter), limit: question.limit }
    }

    pub(super) fn of_all(limit: usize) -> Self {
        let filter = Filter { channel: None, from: i64::MIN, to: i64::MAX, within: None };
        Self { filter: Arc::new(filter), limit }
    }
}

impl Collector for Newest {
    type Fruit = Vec<Kept>;
    type Child = OfSegment;

    fn for_segment(
        &self,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<OfSegment> {
        let columns = segment.fast_fields();
        Ok(OfSegment {
            filter: self.filter.clone(),
            limit: self.limit,
            kept: BinaryHeap::new(),
            at: columns.i64("at")?,
            channel: columns.u64("channel")?,
            high: columns.u64("high")?,
            low: columns.u64("low")?,
            block: columns.u64("block")?,
            ordinal: columns.u64("ordinal")?,
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<Vec<Kept>>) -> tantivy::Result<Vec<Kept>> {
        Ok(segments.into_iter().flatten().collect())
    }
}

impl SegmentCollector for OfSegment {
    type Fruit = Vec<Kept>;

    fn collect(&mut self, document: DocId, _: Score) {
        let at = self.at.values.get_val(document);
        if !(self.filter.from..self.filter.to).contains(&at) {
            return;
        }
        let oldest = self.kept.peek().filter(|_| self.kept.len() >= self.limit);
        if oldest.is_some_and(|Reverse(oldest)| at < oldest.at.0) {
            return;
        }
        let value = |column: &Column<u64>| column.values.get_val(document);
        if self.filter.channel.is_some_and(|channel| channel != value(&self.channel)) {
            return;
        }
        let id = Uuid::from_u64_pair(value(&self.high), value(&self.low));
        let is_in = |within: &HashSet<_>| within.contains(&ConversationId(id));
        if !self.filter.within.as_ref().is_none_or(is_in) {
            return;
        }
        let block = u32::try_from(value(&self.block)).unwrap_or(u32::MAX);
        let place = Place { block, ordinal: value(&self.ordinal) };
        self.kept.push(Reverse(Kept { at: Timestamp(at), id, place }));
        if self.kept.len() > self.limit {
            self.kept.pop();
        }
    }

    fn harvest(self) -> Vec<Kept> {
        self.kept.into_iter().map(|Reverse(kept)| kept).collect()
    }
}
