//! What a running build uses: as its control groups count, where it has some, else as its processes do.

#![expect(clippy::disallowed_methods, reason = "reads what processes and control groups use")]

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::cgroup;
use crate::left_over::processes;

/// What a build has used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time of processors, of all its processes, also of those that have ended.
    pub cpu_time: Duration,
    /// Memory that its processes have now and that is in no file, in bytes; with what the kernel keeps for them, where
    /// a control group counts that.
    pub memory_bytes: u64,
    /// How many processes it has.
    pub processes: usize,
}

/// All processes of this machine at one moment: looked at once for any number of builds.
#[derive(Debug)]
pub struct Processes {
    seen: HashMap<u32, Seen>,
    children: HashMap<u32, Vec<u32>>,
}

/// A process as `/proc/<process>/stat` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    parent: u32,
    /// Of it and of its children that have ended, in clock ticks.
    ticks: u64,
}

impl Processes {
    /// Looks at every process there is.
    pub fn look() -> Self {
        let numbers = processes().into_iter().map(|process| process.as_raw_nonzero().get().unsigned_abs());
        Self::of(numbers.filter_map(|process| Some((process, look(process)?))).collect())
    }

    fn of(seen: HashMap<u32, Seen>) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (process, Seen { parent, .. }) in &seen {
            children.entry(*parent).or_default().push(*process);
        }
        Self { seen, children }
    }

    /// Returns what the build uses whose first process (or keeper) is `process`; nothing if that is gone.
    pub fn usage(&self, process: u32) -> Option<Usage> {
        let all = self.tree(process)?;
        let ticks = all.iter().filter_map(|process| self.seen.get(process)).map(|seen| seen.ticks).sum();
        let groups = cgroup::counted(process);
        let memory = || all.iter().map(|process| memory_bytes(*process)).sum();
        Some(Usage {
            cpu_time: groups.cpu_time.unwrap_or_else(|| duration(ticks)),
            memory_bytes: groups.memory_bytes.unwrap_or_else(memory),
            processes: all.len(),
        })
    }

    /// A process and all that descend from it.
    fn tree(&self, process: u32) -> Option<Vec<u32>> {
        self.seen.get(&process)?;
        let mut all = vec![process];
        let mut next = 0;
        // Numbers may have been used again while they were read, so a ring is possible.
        while next < all.len() && all.len() <= self.seen.len() {
            all.extend(self.children.get(&all[next]).into_iter().flatten());
            next += 1;
        }
        Some(all)
    }
}

fn look(process: u32) -> Option<Seen> {
    // A process chooses its name, which need not be text.
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    parse(&String::from_utf8_lossy(&stat))
}

/// The name, in parentheses, may itself contain blanks and parentheses.
fn parse(stat: &str) -> Option<Seen> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // Fields by the kernel's numbers, of which the first here is the third.
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    Some(Seen { parent: u32::try_from(number(4)?).ok()?, ticks })
}

fn duration(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

/// What a process has of memory that it shares with no file.
fn memory_bytes(process: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    own_pages(&pages).unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

fn own_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1);
    let (resident, shared): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    resident.checked_sub(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let stat = "17 (a) S (b) S 4 5 6 7 8 9 10 11 12 13 1 20 300 4000 18";
        assert_eq!(parse(stat), Some(Seen { parent: 4, ticks: 4321 }));
        assert_eq!(parse("17 (sh) S 4"), None);
        assert_eq!((own_pages("9 5 3 1 0 4 0"), own_pages("")), (Some(2), None));
    }

    #[test]
    fn a_build_is_all_that_descends_from_its_first_process() {
        let seen = |parent| Seen { parent, ticks: 1 };
        let processes = [(1, seen(0)), (5, seen(1)), (6, seen(5)), (7, seen(6)), (8, seen(1))];
        let processes = Processes::of(processes.into_iter().collect());
        assert_eq!(processes.tree(5), Some(vec![5, 6, 7]));
        assert_eq!(processes.tree(9), None);
    }

    #[test]
    fn a_ring_of_numbers_is_left() {
        let seen = |parent| Seen { parent, ticks: 1 };
        let processes = Processes::of([(5, seen(6)), (6, seen(5))].into_iter().collect());
        assert!(processes.tree(5).is_some());
    }

    #[test]
    fn this_process_has_used_something() {
        let busy = std::iter::repeat_n(1_u8, 64 << 20).collect::<Vec<_>>();
        let usage = Processes::look().usage(std::process::id()).unwrap();
        assert!(usage.memory_bytes >= busy.len() as u64, "{usage:?}");
        assert!(usage.processes >= 1, "{usage:?}");
    }
}
