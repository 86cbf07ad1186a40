//! Each commit leaves a set of files, a segment; when several of about one size are there, they become
//! one.

use tantivy::index::SegmentMeta;
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};

/// Which segments become one.
#[derive(Debug)]
pub(super) struct Merges(LogMergePolicy);

/// Segments of more messages stay as they are: a merge takes time and memory for all that it reads.
const MERGED_MAX: usize = 250_000;
/// What is deleted leaves the files of the index when it is more than this part of a segment.
const DELETED_MAX: f32 = 0.1;

impl Default for Merges {
    fn default() -> Self {
        let mut by_size = LogMergePolicy::default();
        by_size.set_max_docs_before_merge(MERGED_MAX);
        by_size.set_del_docs_ratio_before_merge(DELETED_MAX);
        Self(by_size)
    }
}

impl MergePolicy for Merges {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        let mut merges = self.0.compute_merge_candidates(segments);
        let is_left = |segment: &&SegmentMeta| {
            let deleted = segment.num_deleted_docs() as f32 / segment.max_doc().max(1) as f32;
            segment.num_docs() as usize > MERGED_MAX && deleted > DELETED_MAX
        };
        // It is written again alone.
        merges.extend(segments.iter().filter(is_left).map(|of| MergeCandidate(vec![of.id()])));
        merges
    }
}
