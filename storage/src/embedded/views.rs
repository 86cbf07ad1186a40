//! Readers against a follower that goes on one action at a time: each sees the rows as they were
//! at one lsn, and none later than that one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::follower;
use super::open::{Options, Parts, recover};
use super::overlay::View;
use super::shared::Shared;
use super::simulated::Machine;
use super::tree::{Fjall, Tree};
use super::workload::{Dump, Model, NOW, Source, job, seen};
use crate::seed::{Chance, seeds};

/// A reader who looks between any two actions.
struct Reader {
    shared: Arc<Shared>,
    /// What there is at each lsn.
    expected: BTreeMap<u64, Dump>,
    /// Views that were taken before, and are used still.
    held: Vec<Arc<View>>,
    looks: u64,
}

impl Reader {
    fn look(&mut self) {
        let view = self.shared.view.load_full();
        let last = self.held.last().map_or(0, |view| view.seen);
        assert!(last <= view.seen, "a reader went back from {last} to {}", view.seen);
        self.looks += 1;
        self.held.push(view);
        if self.held.len() > 8 {
            self.held.remove(usize::try_from(self.looks % 7).expect("small"));
        }
        let oldest = usize::try_from(self.looks).expect("small") % self.held.len();
        for view in [&self.held[oldest], &self.held[self.held.len() - 1]] {
            assert!(seen(view) == self.expected[&view.seen], "not what there was at {}", view.seen);
        }
    }
}

fn drive(seed: u64, tree: Arc<dyn Tree>, machine: &Machine, actions: usize) {
    let options = Options {
        segment: 24 << 10,
        overlay: usize::MAX,
        reserve: 0,
        ..Options::new("", Arc::new(|| NOW))
    };
    let disk = Arc::new(machine.clone());
    let parts = recover(disk, tree.clone(), &options, Box::new(|cause| panic!("{cause}")));
    let Parts { shared, mut writer, mut follower, .. } = parts.expect("an empty store opens");
    let model = Model::of([]);
    let reader = Arc::new(Mutex::new(Reader {
        shared: shared.clone(),
        expected: BTreeMap::from([(0, model.dump())]),
        held: vec![shared.view.load_full()],
        looks: 0,
    }));
    let looking = reader.clone();
    let look = move || looking.lock().expect("no reader was misled").look();
    machine.look(Some(Arc::new(look.clone())));
    let (mut source, mut chance) = (Source::of(seed), Chance::of(seed ^ 1));
    for _ in 0..actions {
        match chance.below(8) {
            0..4 => {
                let ops = source.group();
                ops.iter().for_each(|op| drop(model.run(op)));
                // A group that changes nothing has no lsn; the next one takes its place.
                let next = shared.view.load().seen + 1;
                reader.lock().expect("no reader").expected.insert(next, model.dump());
                let (jobs, waiting): (Vec<_>, Vec<_>) = ops.iter().map(job).unzip();
                writer.commit(jobs.into_iter());
                for answer in waiting {
                    answer.answer().expect("a machine that runs writes");
                }
            }
            4 => writer.seal(),
            5 | 6 => {
                if let Some(generation) = follower.sealed() {
                    follower::write(&*tree, &generation).expect("the tree takes it");
                    look();
                    follower.publish(&generation);
                }
            }
            _ => follower.sync().expect("the tree is synced"),
        }
        look();
    }
    machine.look(None);
}

#[test]
fn every_view_is_of_one_lsn_and_none_goes_back() {
    for seed in seeds(12, 4) {
        let machine = Machine::of(seed);
        drive(seed, Arc::new(machine.clone()), &machine, 100);
    }
}

#[test]
fn every_view_of_the_real_tree_is_of_one_lsn_and_none_goes_back() {
    for seed in seeds(2, 1) {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = Fjall::open(directory.path(), 1 << 20, 1 << 20, Arc::new(|| NOW));
        let tree = Arc::new(tree.expect("an empty tree opens"));
        drive(seed, tree, &Machine::of(seed), 100);
    }
}
