//! What this machine can give to builds.

#![expect(clippy::disallowed_methods, reason = "the kernel tells of it in files")]

use std::fs;
use std::path::Path;

use crate::cgroup::{self, Controller, Version, counter};

/// Returns how many bytes of memory there are for new programs: of the machine, or of the control group that this process
/// is in, if that leaves less. None if nothing tells.
pub fn available_memory() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let groups = cgroup::own_groups(
        &read(Path::new("/proc/self/mountinfo")),
        &read(Path::new("/proc/self/cgroup")),
        Controller::Memory,
    );
    let of_groups = groups.iter().filter_map(|(version, group)| left_in(*version, group, &read));
    of_groups.chain(of_machine(&read(Path::new("/proc/meminfo")))).min()
}

fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What a group and those above it have left. What it keeps of files only to have them at hand can be given back.
fn left_in(version: Version, group: &Path, read: &dyn Fn(&Path) -> String) -> Option<u64> {
    let (limit, used, files) = match version {
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        Version::Two => ("memory.max", "memory.current", "inactive_file"),
    };
    let number = |group: &Path, file: &str| read(&group.join(file)).trim().parse::<u64>().ok();
    // Above the top of the mount there are no such files.
    let left = |group: &Path| {
        let limit = number(group, limit)?;
        let files = counter(&read(&group.join("memory.stat")), files).unwrap_or(0);
        Some(limit.saturating_sub(number(group, used)?.saturating_sub(files)))
    };
    group.ancestors().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_is_free() {
        assert_eq!(of_machine("MemTotal:  8 kB\nMemAvailable:    3 kB\n"), Some(3072));
        assert_eq!(of_machine("MemTotal:  8 kB\n"), None);
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn the_tightest_group_counts_and_what_it_can_give_back_is_free() {
        let files = |path: &Path| {
            let text = match path.to_str().unwrap() {
                "/g/a/memory.max" => "max\n",
                "/g/a/memory.current" => "50\n",
                "/g/memory.max" => "1000\n",
                "/g/memory.current" => "900\n",
                "/g/memory.stat" => "anon 600\ninactive_file 200\n",
                _ => "",
            };
            text.to_owned()
        };
        assert_eq!(left_in(Version::Two, Path::new("/g/a"), &files), Some(300));
        assert_eq!(left_in(Version::Two, Path::new("/h"), &files), None, "no limit");
        let older = |path: &Path| {
            let text = match path.to_str().unwrap() {
                "/g/memory.limit_in_bytes" => "100",
                "/g/memory.usage_in_bytes" => "200",
                _ => "",
            };
            text.to_owned()
        };
        assert_eq!(left_in(Version::One, Path::new("/g"), &older), Some(0));
    }
}
