//! Kills, power cuts, lost syncs and full disks at every step: what was answered is there after
//! the restart, what was unknown is there whole or not at all, and neither changes any more.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::follower::Word;
use super::frame::Lsn;
use super::open::{Options, Parts, Why, recover};
use super::shared;
use super::simulated::Machine;
use super::tree;
use super::workload::{Dump, Model, NOW, Op, Source, job, seen};
use crate::error::StoreError;
use crate::seed::{Chance, seeds};

fn options() -> Options {
    Options {
        segment: 24 << 10,
        overlay: usize::MAX,
        reserve: 1 << 20,
        ..Options::new("", Arc::new(|| NOW))
    }
}

fn start(machine: &Machine) -> Result<Parts, Why> {
    recover(Arc::new(machine.clone()), Arc::new(machine.clone()), &options(), Box::new(|_| ()))
}

/// A store through its lives, and what is known of it.
struct Story {
    machine: Machine,
    chance: Chance,
    source: Source,
    /// What was answered.
    known: Vec<Op>,
    /// What was answered by `known` before the last group.
    before: usize,
    /// A group whose waiters were told that nobody knows.
    unknown: Vec<Op>,
    /// The last group that is certainly in the log.
    seen: Lsn,
    /// What happened, in words, for whoever looks for a fault.
    log: Vec<String>,
}

impl Story {
    fn of(seed: u64) -> Self {
        Self {
            machine: Machine::of(seed),
            chance: Chance::of(seed ^ 1),
            source: Source::of(seed ^ 2),
            known: Vec::new(),
            before: 0,
            unknown: Vec::new(),
            seen: 0,
            log: Vec::new(),
        }
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    /// Opens the store, which must have kept its word, or be stopped while it opens.
    fn open(&mut self) -> Option<Parts> {
        let parts = match start(&self.machine) {
            Ok(parts) => parts,
            Err(Why::Damaged(why)) => panic!("nothing is damaged, but {why}"),
            Err(why) => {
                self.tell(format!("not opened: {why:?}"));
                return None;
            }
        };
        let view = parts.shared.view.load();
        // What is seen does not tell: a group may clear nothing, and still keep what comes late out.
        if view.seen > self.seen {
            self.before = self.known.len();
            self.known.append(&mut self.unknown);
        }
        self.unknown.clear();
        self.seen = view.seen;
        let known = Model::of(&self.known).dump();
        assert!(seen(&view) == known, "a start found something else than there has to be");
        let top = self.known.iter().filter_map(|op| match op {
            Op::Apply(batch) if !batch.changes.is_empty() => Some(batch.stamp),
            _ => None,
        });
        assert!(top.max().is_none_or(|top| parts.top >= top), "the stamps went back");
        self.tell(format!("opened at {}", parts.shared.view.load().seen));
        Some(parts)
    }

    /// Lives until something breaks, or for so many actions.
    fn live(&mut self, mut parts: Parts, actions: usize) {
        let model = Model::of(&self.known);
        for _ in 0..actions {
            let done = match self.chance.below(20) {
                0..12 => self.write(&mut parts, &model),
                12..14 => {
                    parts.writer.seal();
                    Ok(())
                }
                14..17 => parts.follower.follow().map(drop),
                17 => parts.follower.sync(),
                18 => {
                    // Whether a spare was made is the writer's business.
                    let full = self.chance.permille(300);
                    self.machine.full(full);
                    parts.follower.spare();
                    Ok(())
                }
                _ => {
                    assert!(seen(&parts.shared.view.load()) == model.dump(), "a reader is misled");
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.tell(format!("ended: {error}"));
                break;
            }
        }
        if self.chance.permille(200) {
            // Closed in order, if the machine goes on so long.
            let closed = parts.follower.finish();
            self.tell(format!("closed: {closed:?}"));
        }
        self.machine.full(false);
    }

    fn write(&mut self, parts: &mut Parts, model: &Model) -> Result<(), StoreError> {
        let ops = self.source.group();
        let (jobs, waiting): (Vec<_>, Vec<_>) = ops.iter().map(job).unzip();
        let seen = parts.shared.view.load().seen;
        parts.writer.commit(jobs.into_iter());
        let answers: Vec<_> = waiting.into_iter().map(super::workload::Waiting::answer).collect();
        let failed = answers.iter().find_map(|answer| answer.clone().err());
        let Some(error) = failed else {
            for (op, answer) in ops.iter().zip(answers) {
                assert_eq!(answer.expect("not failed"), model.run(op), "{op:?}");
            }
            // A group that changes nothing is not in the log.
            self.seen = parts.shared.view.load().seen;
            if self.seen > seen {
                self.before = self.known.len();
            }
            self.known.extend(ops);
            return Ok(());
        };
        assert!(answers.iter().all(Result::is_err), "a group is answered as one");
        match error {
            StoreError::Unknown(_) => {
                self.unknown = ops;
                Err(error)
            }
            StoreError::Unavailable(_) if !self.machine.stopped() => Ok(()),
            StoreError::Unavailable(_) => Err(error),
            other => panic!("{other}"),
        }
    }
}

/// A whole story; answers what happened.
fn run(seed: u64) -> (Vec<String>, Dump) {
    let mut story = Story::of(seed);
    for _ in 0..24 {
        let most = if story.chance.permille(300) { 40 } else { 400 };
        story.machine.stop_after(1 + story.chance.below(most));
        let bad = if story.chance.permille(300) { 50 } else { 0 };
        story.machine.bad_syncs(bad);
        if let Some(parts) = story.open() {
            let actions = story.chance.index(120);
            story.live(parts, actions);
        }
        if story.chance.permille(500) {
            story.tell("killed");
            story.machine.kill();
        } else {
            story.tell("power cut");
            story.machine.power_cut();
        }
    }
    story.machine.bad_syncs(0);
    story.open().expect("a machine that runs opens");
    (story.log, Model::of(&story.known).dump())
}

/// Seeds that found something: a clearing of nothing whose outcome nobody knew, and that had happened.
const FOUND: [u64; 1] = [15_007_271_722_023_755_594];

#[test]
fn what_was_answered_survives_kills_and_power_cuts_at_every_step() {
    for seed in seeds(24, 8).chain(FOUND) {
        println!("TEST_SEED={seed}");
        run(seed);
    }
}

#[test]
fn a_story_replays_from_its_seed() {
    let (log, dump) = run(11);
    assert_eq!(run(11), (log, dump));
}

#[test]
fn damage_is_found_or_is_the_last_group() {
    let (mut stories, mut found) = (0, 0);
    for seed in seeds(10, 4) {
        stories += 1;
        let mut story = Story::of(seed);
        let parts = story.open().expect("an empty machine opens");
        let actions = 20 + story.chance.index(100);
        story.live(parts, actions);
        let all = Model::of(&story.known).dump();
        let but_one = Model::of(&story.known[..story.before]).dump();
        for _ in 0..40 {
            let machine = story.machine.copy();
            let files = machine.files();
            let (number, length) = files[story.chance.index(files.len())];
            machine.flip(number, story.chance.index(length));
            match start(&machine) {
                Ok(parts) => {
                    let dump = seen(&parts.shared.view.load());
                    assert!(dump == all || dump == but_one, "damage went unseen");
                }
                Err(Why::Damaged(_)) => found += 1,
                Err(why) => panic!("{why:?}"),
            }
        }
    }
    assert!(found > 0 || stories == 1, "some of it was seen");
}

#[test]
fn without_space_writes_are_refused_until_there_is_some() {
    let machine = Machine::of(1);
    let mut story = Story { machine: machine.clone(), ..Story::of(2) };
    let mut parts = story.open().expect("an empty machine opens");
    let model = Model::of([]);
    let refused = |parts: &Parts| parts.shared.counters.refused.load(Ordering::Relaxed);
    for _ in 0..20 {
        let before = refused(&parts);
        machine.full(true);
        // The disk does not always say in time that it is full.
        while refused(&parts) == before {
            story.write(&mut parts, &model).expect("nothing ends by it");
        }
        assert!(seen(&parts.shared.view.load()) == model.dump(), "what was refused is not there");
        machine.full(false);
        let (before, known) = (refused(&parts), story.known.len());
        story.write(&mut parts, &model).expect("it goes on");
        assert_eq!(refused(&parts), before);
        assert!(story.known.len() > known);
    }
    machine.power_cut();
    story.open().expect("and nothing is lost");
}

#[test]
fn a_failed_sync_ends_the_store_and_only_the_store() {
    let machine = Machine::of(1);
    let (disk, tree) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    let ended = Arc::new(AtomicUsize::new(0));
    let told = ended.clone();
    let on_fatal = move |_| {
        told.fetch_add(1, Ordering::Relaxed);
    };
    let parts = recover(disk, tree, &options(), Box::new(on_fatal));
    let Parts { shared, mut writer, mut follower, .. } = parts.expect("an empty machine opens");
    let mut source = Source::of(1);
    let mut write = || {
        // One that changes something, whatever is there.
        let ops = std::iter::from_fn(|| Some(source.group())).flatten();
        let op = ops.filter(|op| matches!(op, Op::Apply(batch) if batch.changes.len() > 2)).nth(20);
        let (job, waiting) = job(&op.expect("there are more"));
        writer.commit(std::iter::once(job));
        waiting.answer()
    };
    write().expect("written");
    let seen = shared.view.load().seen;
    machine.bad_syncs(1_000);
    assert!(matches!(write(), Err(StoreError::Unknown(_))), "it may be on the disk");
    assert_eq!(ended.load(Ordering::Relaxed), 1, "the process is told to end");
    assert!(matches!(write(), Err(StoreError::Unavailable(_))), "nothing is written any more");
    assert_eq!(shared.view.load().seen, seen, "nobody sees what is not durable");
    follower.finish().expect_err("it did not end well");
    let applied = tree::mark(&machine).expect("the tree can be read").applied;
    assert!(applied <= seen, "nor does the tree get it");
    assert_eq!(ended.load(Ordering::Relaxed), 1, "told once");
}

#[test]
fn a_disk_that_does_not_answer_ends_the_store() {
    let machine = Machine::of(1);
    let (disk, tree) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    let (tell, told) = channel();
    let on_fatal = Box::new(move |cause| drop(tell.send(cause)));
    let parts = recover(disk, tree, &options(), on_fatal).expect("an empty machine opens");
    let Parts { shared, writer, .. } = parts;
    let (answers, question) = channel::<()>();
    let question = Mutex::new(question);
    // Nobody answers before the other end is gone.
    machine.look(Some(Arc::new(move || drop(question.lock().map(|wait| wait.recv())))));
    let (jobs, waiting) = channel();
    let (words, _follower) = sync_channel(1);
    let (working, ended) = sync_channel(0);
    let (write, waits) = job(&Source::of(1).group()[0]);
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let _working = working;
            writer.run(&waiting, &AtomicUsize::new(1), &words);
        });
        let watched = &shared;
        threads.spawn(move || shared::watch(watched, Duration::from_millis(20), &ended));
        jobs.send(write).expect("the writer takes it");
        let cause = told.recv().expect("the process is told to end");
        assert!(cause.0.contains("a commit has taken longer than 20ms"), "{cause}");
        assert!(shared.alive().is_err(), "nothing is written any more");
        drop((answers, jobs));
    });
    assert!(waits.answer().is_ok(), "what was written in the end was answered");
}

#[test]
fn the_tree_is_synced_at_least_as_often_as_asked() {
    for (sync_every, synced) in [(Duration::ZERO, true), (Duration::from_secs(3_600), false)] {
        let machine = Machine::of(1);
        let (disk, tree) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
        let options = Options { sync_every, ..options() };
        let parts = recover(disk, tree, &options, Box::new(|_| ()));
        let Parts { shared, mut writer, mut follower, .. } = parts.expect("it opens");
        writer.commit(std::iter::once(job(&Source::of(1).group()[0]).0));
        writer.seal();
        let (speak, words) = sync_channel(1);
        speak.send(Word::Work).expect("there is room");
        let (jobs, _writer) = channel();
        assert!(matches!(follower.round(&words, &jobs), Ok(ControlFlow::Continue(()))));
        let (written, mark) = (shared.view.load().seen, tree::mark(&machine).expect("read"));
        assert_eq!((mark.applied, mark.durable), (written, if synced { written } else { 0 }));
    }
}
