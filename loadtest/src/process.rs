//! What a process of this machine costs, as far as the machine says (Linux).

use std::collections::HashMap;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Ticks a second in which Linux counts, on every machine.
const TICKS: u64 = 100;

/// Processor time, of the program itself and of the kernel for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

fn of_stat(path: &str) -> Option<Cpu> {
    let stat = std::fs::read_to_string(path).ok()?;
    // The name, in brackets, may have spaces in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).flat_map(str::parse::<u64>);
    let mut time = || ticks.next().map(|ticks| Duration::from_millis(ticks * 1000 / TICKS));
    Some(Cpu { user: time()?, system: time()? })
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { user: self.user + more.user, system: self.system + more.system }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        let user = self.user.saturating_sub(less.user);
        Self { user, system: self.system.saturating_sub(less.system) }
    }
}

impl Cpu {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// The processor time that each thread of this program has taken so far.
pub(crate) fn threads() -> HashMap<u32, Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    ids.filter_map(|id| Some((id, of_stat(&format!("/proc/self/task/{id}/stat"))?.total())))
        .collect()
}

/// The thread that asks.
pub(crate) fn this_thread() -> Option<u32> {
    std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

/// The processor time that a process has taken so far.
pub(crate) fn cpu(pid: u32) -> Option<Cpu> {
    of_stat(&format!("/proc/{pid}/stat"))
}

/// The memory that a process holds, in bytes.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The processor time that generator and server have taken so far.
pub(crate) struct Cost {
    pub(crate) generator: Option<Cpu>,
    pub(crate) server: Option<Cpu>,
}

impl Cost {
    pub(crate) fn now(server: Option<u32>) -> Self {
        let generator = cpu(std::process::id());
        Self { generator, server: server.and_then(cpu) }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let since = |now: Option<Cpu>, before: Option<Cpu>| {
            now.zip(before).map(|(now, before)| now - before)
        };
        let generator = since(self.generator, before.generator);
        Self { generator, server: since(self.server, before.server) }
    }
}
