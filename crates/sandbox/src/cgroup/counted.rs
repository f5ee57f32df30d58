//! What control groups count of builds that run.
#![expect(clippy::disallowed_methods, reason = "control groups are directories")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::PREFIX;
use super::controller::{Controller, Version, places};

/// What the groups of a running build count, as far as it has some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Time of processors until now.
    pub(crate) cpu_time: Option<Duration>,
    /// Memory now, in bytes.
    pub(crate) memory_bytes: Option<u64>,
}

/// Returns what the groups of `process` count, if they are those of a build.
pub(crate) fn counted(process: u32) -> Counted {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let groups = read(Path::new(&format!("/proc/{process}/cgroup")));
    // Most builds have none, and then nothing more has to be read.
    if !groups.contains(PREFIX) {
        return Counted::default();
    }
    let mounts = read(Path::new("/proc/self/mountinfo"));
    let is_own = |place: &Path| {
        place.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
    };
    let mut counted = Counted::default();
    for controller in [Controller::Memory, Controller::Cpu] {
        let places = mounts.lines().flat_map(|mount| places(mount, &groups, controller));
        let Some((version, place)) = { places }.find(|(_, place)| is_own(place)) else { continue };
        match (controller, version) {
            (Controller::Memory, Version::One) => {
                counted.memory_bytes = read(&place.join("memory.usage_in_bytes")).trim().parse().ok();
            }
            (Controller::Memory, Version::Two) => {
                counted.memory_bytes = read(&place.join("memory.current")).trim().parse().ok();
            }
            (Controller::Cpu, Version::Two) => {
                let micros = counter(&read(&place.join("cpu.stat")), "usage_usec");
                counted.cpu_time = micros.map(Duration::from_micros);
            }
            // That counts in another hierarchy, in which builds have no group.
            _ => {}
        }
    }
    counted
}

/// The number behind a word at the beginning of a line.
pub(crate) fn counter(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_whole_words() {
        let text = "oom 7\noom_kill_disable 0\noom_kill 3\n";
        assert_eq!(counter(text, "oom_kill"), Some(3));
        assert_eq!(counter("oom_kill x\n", "oom_kill"), None);
    }
}
