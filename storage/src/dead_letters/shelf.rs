//! What is known in memory of one tenant's letters, and which of them leave for one more.

use std::collections::VecDeque;

use uuid::Uuid;

use super::{DeadLetter, Source};

/// How much is kept of one tenant, and of the installation.
#[derive(Clone, Copy, Debug)]
pub struct LetterLimits {
    pub letters: usize,
    pub bytes: usize,
}

/// What is known of one tenant's letters, oldest first.
#[derive(Default)]
pub(super) struct Shelf {
    letters: VecDeque<Label>,
    bytes: usize,
}

/// What is known of one.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) id: Uuid,
    pub(super) bytes: u32,
    pub(super) source: Source,
}

/// What a letter takes beside its texts.
const LETTER_BYTES: usize = 256;

impl Shelf {
    pub(super) fn add(&mut self, label: Label) {
        self.bytes += label.bytes as usize;
        let at = self.letters.partition_point(|other| other.id < label.id);
        self.letters.insert(at, label);
    }

    pub(super) fn remove(&mut self, letter: Uuid) {
        let Some(at) = self.letters.iter().position(|label| label.id == letter) else { return };
        if let Some(label) = self.letters.remove(at) {
            self.bytes -= label.bytes as usize;
        }
    }

    /// Oldest first.
    pub(super) fn letters(&self) -> impl DoubleEndedIterator<Item = &Label> {
        self.letters.iter()
    }

    pub(super) fn drop_those(&mut self, is_gone: impl Fn(&Label) -> bool) {
        if self.letters.iter().any(&is_gone) {
            self.letters.retain(|label| !is_gone(label));
            self.bytes = self.letters.iter().map(|label| label.bytes as usize).sum();
        }
    }

    /// What has to leave for one more; `None`: what can leave makes too little room.
    pub(super) fn surplus(&self, more: Label, limits: LetterLimits) -> Option<Vec<Uuid>> {
        let (mut count, mut bytes) = (self.letters.len() + 1, self.bytes + more.bytes as usize);
        let mut leaving = Vec::new();
        let mut may_leave = self.letters.iter().filter(|label| !label.source.parks());
        while count > limits.letters || bytes > limits.bytes {
            let label = may_leave.next()?;
            (count, bytes) = (count - 1, bytes - label.bytes as usize);
            leaving.push(label.id);
        }
        Some(leaving)
    }
}

impl Label {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        let bytes = letter.raw.len() + letter.reason.len() + LETTER_BYTES;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { id: letter.id, bytes, source: letter.source }
    }
}
