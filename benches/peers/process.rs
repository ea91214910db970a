//! CPU time and memory of the server that is measured: of some processes and all that they have started.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

/// A tick of the kernel's clock, as programs see it: a hundredth of a second on every Linux.
const TICK: u64 = 10_000_000;

/// Which processes.
#[derive(Debug, Default)]
pub struct Measured {
    pub processes: Vec<u32>,
    /// A control group that holds all of them: its counters are exact, and know of those that have ended.
    pub group: Option<PathBuf>,
}

/// CPU time in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub total: u64,
    pub user: u64,
    pub system: u64,
}

impl Cpu {
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Memory in KiB. Buffers in the kernel are not in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub processes: u64,
    pub resident: u64,
    pub proportional: u64,
}

impl Memory {
    pub fn report(self) -> Value {
        json!({"processes": self.processes, "rss_kib": self.resident, "pss_kib": self.proportional})
    }
}

impl Measured {
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    pub fn cpu(&self) -> Cpu {
        let counted = self
            .group
            .as_deref()
            .and_then(|group| cpuacct(group).or_else(|| cpu_stat(group)));
        counted.unwrap_or_else(|| {
            let mut cpu = Cpu::default();
            for process in self.tree() {
                add_process(&mut cpu, process);
            }
            cpu
        })
    }

    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for process in self.tree() {
            let Ok(text) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) else {
                continue;
            };
            memory.processes += 1;
            memory.resident += named(&text, "Rss:").unwrap_or_default();
            memory.proportional += named(&text, "Pss:").unwrap_or_default();
        }
        memory
    }

    /// The processes and everything below them.
    fn tree(&self) -> BTreeSet<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let process = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok());
            if let Some((process, fields)) = process.and_then(|process| Some((process, stat(process)?))) {
                children
                    .entry(number(&fields, 1) as u32)
                    .or_default()
                    .push(process);
            }
        }
        let mut waiting = self.processes.clone();
        let in_group = self
            .group
            .as_ref()
            .and_then(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
        waiting.extend(
            in_group
                .iter()
                .flat_map(|text| text.lines())
                .filter_map(|line| line.parse::<u32>().ok()),
        );
        let mut found = BTreeSet::new();
        while let Some(process) = waiting.pop() {
            if found.insert(process) {
                waiting.extend(children.get(&process).into_iter().flatten());
            }
        }
        found
    }
}

/// The counters of a group of version 1.
fn cpuacct(group: &Path) -> Option<Cpu> {
    let counter = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok();
    Some(Cpu {
        total: counter("cpuacct.usage")?,
        user: counter("cpuacct.usage_user")?,
        system: counter("cpuacct.usage_sys")?,
    })
}

/// The counters of a group of version 2, in microseconds.
fn cpu_stat(group: &Path) -> Option<Cpu> {
    let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let counter = |name: &str| named(&text, name).map(|microseconds| microseconds * 1000);
    Some(Cpu {
        total: counter("usage_usec")?,
        user: counter("user_usec")?,
        system: counter("system_usec")?,
    })
}

/// What one process has used: by the scheduler's exact figures for each thread that lives, and by ticks for what has ended.
fn add_process(cpu: &mut Cpu, process: u32) {
    let Some(fields) = stat(process) else {
        return;
    };
    let (user, system) = (
        number(&fields, 11) + number(&fields, 13),
        number(&fields, 12) + number(&fields, 14),
    );
    cpu.user += user * TICK;
    cpu.system += system * TICK;
    cpu.total += (number(&fields, 13) + number(&fields, 14)) * TICK;
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    for thread in threads {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let running = text
            .split(' ')
            .next()
            .and_then(|running| running.parse::<u64>().ok());
        cpu.total += running.unwrap_or_default();
    }
}

/// The fields of `/proc/PID/stat` from the third on, which is number 0.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn number(fields: &[String], at: usize) -> u64 {
    fields
        .get(at)
        .and_then(|field| field.parse().ok())
        .unwrap_or_default()
}

/// The number behind a word at the start of a line.
fn named(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_shows_in_the_cpu_time_and_memory_in_the_memory() {
        let own = Measured {
            processes: vec![std::process::id()],
            group: None,
        };
        let before = own.cpu();
        let start = Instant::now();
        let mut value = 0_u64;
        while own.cpu().since(before).total < 20_000_000 {
            value = std::hint::black_box(value.wrapping_mul(31).wrapping_add(7));
            assert!(start.elapsed() < Duration::from_secs(60), "work takes no time");
        }
        assert!(own.memory().proportional > 100);
        assert!(own.memory().processes >= 1);
    }
}
