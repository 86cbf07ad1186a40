//! What a process of this machine costs, as far as the machine says (Linux).

use std::time::Duration;

/// Ticks a second in which Linux counts, on every machine.
const TICKS: u64 = 100;

/// Processor time, of the program itself and of the kernel for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// The processor time that a process has taken so far.
pub(crate) fn cpu(pid: u32) -> Option<Cpu> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have spaces in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).flat_map(str::parse::<u64>);
    let mut time = || ticks.next().map(|ticks| Duration::from_millis(ticks * 1000 / TICKS));
    Some(Cpu { user: time()?, system: time()? })
}

impl Cpu {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
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
            now.zip(before).map(|(now, before)| Cpu {
                user: now.user.saturating_sub(before.user),
                system: now.system.saturating_sub(before.system),
            })
        };
        let generator = since(self.generator, before.generator);
        Self { generator, server: since(self.server, before.server) }
    }
}
