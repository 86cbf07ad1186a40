//! Of all that fits, the newest: a bounded number, whatever the index finds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
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

/// Which conversations are kept: those of the newest of these messages.
pub(super) struct Lately {
    filter: Arc<Filter>,
    limit: usize,
}

struct Filter {
    channel: Option<u64>,
    from: i64,
    to: i64,
    within: Option<HashSet<ConversationId>>,
}

/// What of a segment the filter is about.
struct Fitting {
    filter: Arc<Filter>,
    at: Column<i64>,
    channel: Column<u64>,
    high: Column<u64>,
    low: Column<u64>,
}

/// The newest of one segment.
pub(super) struct OfSegment {
    fitting: Fitting,
    limit: usize,
    kept: BinaryHeap<Reverse<Kept>>,
    block: Column<u64>,
    ordinal: Column<u64>,
}

/// Its conversations, each with its newest message.
pub(super) struct LatelyOfSegment {
    fitting: Fitting,
    limit: usize,
    kept: HashMap<ConversationId, i64>,
    /// As many have one that is not older.
    oldest: i64,
}

impl Filter {
    fn of(question: &Question) -> Arc<Self> {
        Arc::new(Self {
            channel: question.channel.map(number),
            from: question.from.map_or(i64::MIN, |from| from.0),
            to: question.to.map_or(i64::MAX, |to| to.0),
            within: question.within.clone(),
        })
    }
}

impl Fitting {
    fn new(filter: &Arc<Filter>, segment: &SegmentReader) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        Ok(Self {
            filter: filter.clone(),
            at: columns.i64("at")?,
            channel: columns.u64("channel")?,
            high: columns.u64("high")?,
            low: columns.u64("low")?,
        })
    }

    /// When a message was, and in which conversation, if it fits and is not older than this.
    fn of(&self, document: DocId, oldest: i64) -> Option<(i64, ConversationId)> {
        let at = self.at.values.get_val(document);
        if at < oldest || !(self.filter.from..self.filter.to).contains(&at) {
            return None;
        }
        let value = |column: &Column<u64>| column.values.get_val(document);
        if self.filter.channel.is_some_and(|channel| channel != value(&self.channel)) {
            return None;
        }
        let conversation = Uuid::from_u64_pair(value(&self.high), value(&self.low));
        let conversation = ConversationId(conversation);
        let is_in = |within: &HashSet<_>| within.contains(&conversation);
        self.filter.within.as_ref().is_none_or(is_in).then_some((at, conversation))
    }
}

impl Newest {
    pub(super) fn of(question: &Question) -> Self {
        Self { filter: Filter::of(question), limit: question.limit }
    }

    pub(super) fn of_all(limit: usize) -> Self {
        let filter = Filter { channel: None, from: i64::MIN, to: i64::MAX, within: None };
        Self { filter: Arc::new(filter), limit }
    }
}

impl Lately {
    pub(super) fn of(question: &Question, limit: usize) -> Self {
        Self { filter: Filter::of(question), limit }
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
            fitting: Fitting::new(&self.filter, segment)?,
            limit: self.limit,
            kept: BinaryHeap::new(),
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
        let oldest = self.kept.peek().filter(|_| self.kept.len() >= self.limit);
        let oldest = oldest.map_or(i64::MIN, |Reverse(oldest)| oldest.at.0);
        let Some((at, ConversationId(id))) = self.fitting.of(document, oldest) else { return };
        let value = |column: &Column<u64>| column.values.get_val(document);
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

impl Collector for Lately {
    type Fruit = Vec<ConversationId>;
    type Child = LatelyOfSegment;

    fn for_segment(
        &self,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<LatelyOfSegment> {
        let (fitting, kept) = (Fitting::new(&self.filter, segment)?, HashMap::new());
        Ok(LatelyOfSegment { fitting, limit: self.limit, kept, oldest: i64::MIN })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(
        &self,
        segments: Vec<HashMap<ConversationId, i64>>,
    ) -> tantivy::Result<Vec<ConversationId>> {
        let mut all = HashMap::new();
        for (conversation, at) in segments.into_iter().flatten() {
            keep(&mut all, conversation, at);
        }
        Ok(newest(all, self.limit).into_iter().map(|(_, conversation)| conversation).collect())
    }
}

impl SegmentCollector for LatelyOfSegment {
    type Fruit = HashMap<ConversationId, i64>;

    fn collect(&mut self, document: DocId, _: Score) {
        let Some((at, conversation)) = self.fitting.of(document, self.oldest) else { return };
        keep(&mut self.kept, conversation, at);
        // Now and then, so that it does not cost more than the search.
        if self.kept.len() > 2 * self.limit {
            let newest = newest(std::mem::take(&mut self.kept), self.limit);
            self.oldest = newest.iter().map(|(at, _)| *at).min().unwrap_or(self.oldest);
            self.kept = newest.into_iter().map(|(at, conversation)| (conversation, at)).collect();
        }
    }

    fn harvest(self) -> HashMap<ConversationId, i64> {
        self.kept
    }
}

fn keep(kept: &mut HashMap<ConversationId, i64>, conversation: ConversationId, at: i64) {
    let newest = kept.entry(conversation).or_insert(at);
    *newest = at.max(*newest);
}

/// The newest so many of them.
fn newest(all: HashMap<ConversationId, i64>, limit: usize) -> Vec<(i64, ConversationId)> {
    let mut all: Vec<_> = all.into_iter().map(|(conversation, at)| (at, conversation)).collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    all.truncate(limit);
    all
}
