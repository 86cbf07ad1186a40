//! A machine whose plug can be pulled: a disk and a tree that keep of what was not synced
//! whatever the seed says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::Slice;

use super::disk::{Disk, DiskFile};
use super::tree::{Rows, Snapshot, Tree};
use super::value::Value;
use crate::error::StoreError;
use crate::port::Shape;
use crate::seed::Chance;

/// What is written whole or not at all: a sector.
const PAGE: usize = 512;

/// The machine. Clones are the same one.
#[derive(Clone)]
pub(super) struct Machine(Arc<Mutex<State>>);

struct State {
    chance: Chance,
    /// Steps until it stops; everything fails then.
    fuse: Option<u64>,
    /// How many of a thousand syncs of files fail.
    bad_syncs: u64,
    full: bool,
    /// Called before every step.
    look: Option<Arc<dyn Fn() + Send + Sync>>,
    files: Vec<Inode>,
    names: BTreeMap<u32, usize>,
    /// Which names are on the disk.
    durable_names: BTreeMap<u32, usize>,
    rows: Arc<BTreeMap<RowKey, Value>>,
    /// Of rows that were not synced: what they were, and everything since.
    unsynced: BTreeMap<RowKey, Vec<Option<Value>>>,
}

/// A key, by its shape.
type RowKey = (bool, Slice);

fn row_key(shape: Shape, key: Slice) -> RowKey {
    (shape == Shape::Appended, key)
}

#[derive(Clone, Default)]
struct Inode {
    cache: Vec<u8>,
    disk: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Inode {
    /// Brings one page to the disk, if its length is there yet.
    fn write_back(&mut self, page: usize) {
        let range = page * PAGE..((page + 1) * PAGE).min(self.cache.len());
        if self.disk.len() < range.end {
            self.disk.resize(range.end, 0);
        }
        self.disk[range.clone()].copy_from_slice(&self.cache[range]);
    }
}

impl Machine {
    /// A new one.
    pub(super) fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance: Chance::of(seed),
            fuse: None,
            bad_syncs: 0,
            full: false,
            look: None,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            rows: Arc::default(),
            unsynced: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops after so many steps.
    pub(super) fn stop_after(&self, steps: u64) {
        self.state().fuse = Some(steps);
    }

    /// Whether it has stopped.
    pub(super) fn stopped(&self) -> bool {
        self.state().fuse == Some(0)
    }

    /// Lets so many of a thousand syncs of files fail.
    pub(super) fn bad_syncs(&self, permille: u64) {
        self.state().bad_syncs = permille;
    }

    /// Has no space left, or has again.
    pub(super) fn full(&self, full: bool) {
        self.state().full = full;
    }

    /// Calls this before every step.
    pub(super) fn look(&self, look: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.state().look = look;
    }

    /// The process is gone; what the page cache has stays.
    pub(super) fn kill(&self) {
        self.state().fuse = None;
    }

    /// The power is gone: of what was not synced any part is left.
    pub(super) fn power_cut(&self) {
        let State { chance, fuse, files, names, durable_names, rows, unsynced, .. } =
            &mut *self.state();
        *fuse = None;
        let every: BTreeSet<u32> = names.keys().chain(durable_names.keys()).copied().collect();
        for number in every {
            let side = if chance.permille(500) { &*names } else { &*durable_names };
            match side.get(&number).copied() {
                Some(file) => durable_names.insert(number, file),
                None => durable_names.remove(&number),
            };
        }
        *names = durable_names.clone();
        for file in files {
            for page in std::mem::take(&mut file.dirty) {
                if chance.permille(500) {
                    file.write_back(page);
                }
            }
            file.cache = file.disk.clone();
        }
        let rows = Arc::make_mut(rows);
        for (key, mut values) in std::mem::take(unsynced) {
            match values.swap_remove(chance.index(values.len())) {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    /// The numbers of the files, and changes to a byte of one of them.
    pub(super) fn files(&self) -> Vec<(u32, usize)> {
        let state = self.state();
        state.names.iter().map(|(number, file)| (*number, state.files[*file].cache.len())).collect()
    }

    /// Damages a byte.
    pub(super) fn flip(&self, number: u32, at: usize) {
        let mut state = self.state();
        let file = state.names[&number];
        state.files[file].cache[at] ^= 1 << (at % 8);
    }

    /// The same state again, apart from this one.
    pub(super) fn copy(&self) -> Self {
        let state = self.state();
        let copy = Self::of(0);
        {
            let mut to = copy.state();
            to.chance = state.chance.clone();
            to.files = state.files.clone();
            to.names = state.names.clone();
            to.durable_names = state.durable_names.clone();
            to.rows = state.rows.clone();
            to.unsynced = state.unsynced.clone();
        }
        copy
    }

    /// Before each step: somebody may look, the machine may stop, a page may be written back.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let look = self.state().look.clone();
        if let Some(look) = look {
            look();
        }
        let mut state = self.state();
        if let Some(left) = &mut state.fuse {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the machine stopped"));
            }
        }
        if state.chance.permille(100) {
            let State { chance, files, .. } = &mut *state;
            for file in files {
                if let Some(page) = file.dirty.pop_first() {
                    file.write_back(page);
                    if chance.permille(500) {
                        break;
                    }
                }
            }
        }
        Ok(state)
    }
}

impl Disk for Machine {
    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.step()?.names.keys().copied().collect())
    }

    fn create(&self, number: u32) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.step()?;
        let file = state.files.len();
        state.files.push(Inode::default());
        state.names.insert(number, file);
        Ok(Box::new(Open { machine: self.clone(), file }))
    }

    fn open(&self, number: u32) -> io::Result<Box<dyn DiskFile>> {
        let file = *self.step()?.names.get(&number).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { machine: self.clone(), file }))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        self.step()?.names.remove(&number);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.step()?;
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<u64> {
        // Not always told in time.
        let mut state = self.step()?;
        let hidden = state.chance.permille(300);
        Ok(if state.full && !hidden { 0 } else { 1 << 30 })
    }

    fn salt(&self) -> io::Result<u64> {
        Ok(self.step()?.chance.number())
    }
}

struct Open {
    machine: Machine,
    file: usize,
}

impl DiskFile for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.machine.step()?.files[self.file].cache.len() as u64)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.machine.step()?;
        let at = usize::try_from(at).expect("a small file");
        let held = state.files[self.file].cache.get(at..at + bytes.len());
        bytes.copy_from_slice(held.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let stopped = self.machine.step().err();
        let mut state = self.machine.state();
        let at = usize::try_from(at).expect("a small file");
        let grows = state.files[self.file].cache.len() < at + bytes.len();
        if state.full && grows {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Stopped in the middle: a part of it is in the page cache, by whole sectors.
        let whole = at + bytes.len();
        let end = match stopped {
            Some(_) => (at + state.chance.index(bytes.len() + PAGE)) / PAGE * PAGE,
            None => whole,
        };
        let end = end.clamp(at, whole);
        let file = &mut state.files[self.file];
        file.cache.resize(file.cache.len().max(end), 0);
        file.cache[at..end].copy_from_slice(&bytes[..end - at]);
        file.dirty.extend(at / PAGE..end.div_ceil(PAGE));
        stopped.map_or(Ok(()), Err)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.machine.step()?;
        let bad = state.bad_syncs;
        let State { chance, files, .. } = &mut *state;
        let file = &mut files[self.file];
        let bad = chance.permille(bad);
        // After a failure the pages count as clean, wherever they are.
        for page in std::mem::take(&mut file.dirty) {
            if !bad || chance.permille(500) {
                file.write_back(page);
            }
        }
        if bad {
            return Err(io::Error::other("the disk lost pages"));
        }
        file.disk.resize(file.cache.len(), 0);
        Ok(())
    }
}

impl Tree for Machine {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(At(self.state().rows.clone()))
    }

    fn write(&self, rows: Vec<(Shape, Slice, Option<Slice>)>) -> Result<(), StoreError> {
        let mut state = self.step().map_err(stopped)?;
        let State { rows: held, unsynced, .. } = &mut *state;
        let held = Arc::make_mut(held);
        for (shape, key, value) in rows {
            let value = value.map(Value::read).transpose()?;
            let key = row_key(shape, key);
            let was = match value.clone() {
                Some(value) => held.insert(key.clone(), value),
                None => held.remove(&key),
            };
            unsynced.entry(key).or_insert_with(|| vec![was]).push(value);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.step().map_err(stopped)?.unsynced.clear();
        Ok(())
    }
}

fn stopped(error: io::Error) -> StoreError {
    StoreError::Unavailable(error.to_string().into())
}

struct At(Arc<BTreeMap<RowKey, Value>>);

impl Snapshot for At {
    fn get(&self, shape: Shape, key: &[u8]) -> Result<Option<Value>, StoreError> {
        Ok(self.0.get(&row_key(shape, key.into())).cloned())
    }

    fn rows<'a>(&'a self, shape: Shape, low: &[u8], high: &[u8], rising: bool) -> Rows<'a> {
        let rows = self.0.range(row_key(shape, low.into())..row_key(shape, high.into()));
        let rows = rows.map(|((_, key), value)| Ok((key.clone(), value.clone())));
        if rising { Box::new(rows) } else { Box::new(rows.rev()) }
    }
}
