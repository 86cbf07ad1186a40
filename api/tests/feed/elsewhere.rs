//! Where frames go that are written while a session rests: a socket without a network.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use actors::feed::Outlet;
use api::socket::Frame;

use crate::shop::{Known, Owners};

#[derive(Default)]
pub(crate) struct Elsewhere {
    /// Of one write it takes so many frames.
    takes: AtomicUsize,
    frames: Mutex<Frames>,
    known: Known,
}

#[derive(Default)]
struct Frames {
    unwritten: VecDeque<Frame>,
    /// Beside each, whose everything was then.
    written: Vec<(Frame, Owners)>,
    /// How many frames each write took.
    writes: Vec<usize>,
}

impl Elsewhere {
    pub(crate) fn new(known: Known) -> Self {
        Self { known, ..Self::default() }
    }

    pub(crate) fn takes(&self, frames: usize) {
        self.takes.store(frames, Ordering::Release);
    }

    /// What was written since it was asked last, and whose everything was then.
    pub(crate) fn written(&self) -> Vec<(Frame, Owners)> {
        std::mem::take(&mut self.frames.lock().unwrap().written)
    }

    /// What it did not take.
    pub(crate) fn unwritten(&self) -> VecDeque<Frame> {
        std::mem::take(&mut self.frames.lock().unwrap().unwritten)
    }

    /// How many frames each write took since it was asked last.
    pub(crate) fn writes(&self) -> Vec<usize> {
        std::mem::take(&mut self.frames.lock().unwrap().writes)
    }
}

impl Outlet<Frame> for Elsewhere {
    fn push(&self, frame: Frame) {
        self.frames.lock().unwrap().unwritten.push_back(frame);
    }

    fn write(&self) -> bool {
        let mut frames = self.frames.lock().unwrap();
        let taken = frames.unwritten.len().min(self.takes.load(Ordering::Acquire));
        let owners = Owners { of: self.known.lock().unwrap().clone(), ..Owners::default() };
        for _ in 0..taken {
            let frame = frames.unwritten.pop_front().unwrap();
            frames.written.push((frame, owners.clone()));
        }
        if taken > 0 {
            frames.writes.push(taken);
        }
        frames.unwritten.is_empty()
    }
}
