//! The machine on which a run was made: a figure means little without it (Linux).

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};
#[cfg(target_os = "linux")]
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::time::sleep;

/// A machine, and how busy it was. What it does not say is empty, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpus: usize,
    pub model: String,
    pub memory_bytes: Option<u64>,
    pub kernel: String,
    /// The share of its processors that did nothing before the run began.
    pub idle_before: Option<f64>,
}

impl Machine {
    /// This one, watched for a while to see how busy it is.
    pub async fn look(watch: Duration) -> Self {
        let before = fs::read_to_string("/proc/stat").unwrap_or_default();
        sleep(watch).await;
        let after = fs::read_to_string("/proc/stat").unwrap_or_default();
        let of = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            model: model(&of("/proc/cpuinfo")).unwrap_or_default(),
            memory_bytes: memory(&of("/proc/meminfo")),
            kernel: of("/proc/sys/kernel/osrelease").trim().to_owned(),
            idle_before: idle(&before, &after),
        }
    }
}

/// The calling thread runs as soon as it has something to do, whatever else the machine does, as if it
/// had one of its own: for who waits for a time, or is timed. Whether it may: as a rule only root; who may
/// not stays in line, and its run tells if it was late.
pub(crate) fn go_first() -> bool {
    // A niceness would be a share of the processors, not a place in line.
    #[cfg(target_os = "linux")]
    let may = set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
    )
    .is_ok();
    #[cfg(not(target_os = "linux"))]
    let may = false;
    may
}

fn model(cpuinfo: &str) -> Option<String> {
    let named = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut models = named.filter(|(name, _)| name.trim() == "model name");
    models.next().map(|(_, model)| model.trim().to_owned())
}

fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The share of all processors' time between two readings in which they were idle.
fn idle(before: &str, after: &str) -> Option<f64> {
    let ((all_before, idle_before), (all, idle)) = (times(before)?, times(after)?);
    let all = all.checked_sub(all_before).filter(|&all| all > 0)?;
    Some((idle.saturating_sub(idle_before) as f64 / all as f64).min(1.0))
}

/// All time of all processors, and of it what they were idle or waited for a disk.
fn times(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Time of guests is in the first two already.
    let times: Vec<u64> = line.split_whitespace().take(8).flat_map(str::parse).collect();
    let idle = times.get(3)? + times.get(4)?;
    Some((times.iter().sum(), idle))
}

#[cfg(test)]
mod tests {
    use super::{Machine, go_first, idle, memory, model};
    use std::time::Duration;

    #[tokio::test]
    async fn this_machine_has_processors_and_memory() {
        let machine = Machine::look(Duration::ZERO).await;
        assert!(machine.cpus > 0);
        if cfg!(target_os = "linux") {
            assert!(machine.memory_bytes > Some(1 << 20) && !machine.kernel.is_empty());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_may_go_first_is_not_in_line_any_more() {
        let may = std::thread::spawn(|| {
            let may = go_first();
            // The 41st field is the policy, of which 1 is first come, first served; a name may hold spaces.
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let policy = stat.rsplit(')').next().unwrap().split_whitespace().nth(38);
            assert_eq!(policy, Some(if may { "1" } else { "0" }));
            may
        });
        // In a container root may be denied it, too.
        let may = may.join().unwrap();
        println!("goes first: {may}");
    }

    #[test]
    fn idle_is_what_neither_programs_nor_the_kernel_took_between_two_readings() {
        let before = "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n";
        let after = "cpu  130 5 110 845 5 3 2 0 9 0\ncpu0 1 1 1 1\n";
        assert_eq!(idle(before, after), Some(0.5));
        for (before, after) in [(before, before), ("", after), (before, "cpu  1 2\n")] {
            assert_eq!(idle(before, after), None);
        }
    }

    #[test]
    fn what_is_not_told_is_none() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Fast: One\n").as_deref(),
            Some("Fast: One")
        );
        assert_eq!(model("processor\t: 0\n"), None);
        assert_eq!(memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(memory("MemTotal: many\n"), None);
    }
}
