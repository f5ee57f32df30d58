//! Who runs a build, so that a process number which was used again is not believed.
#![expect(clippy::disallowed_methods, reason = "looks at processes")]

use std::fs;

/// A process that builds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its number, as its process namespace counts.
    pub process: u32,
    /// The user it runs as.
    pub user: u32,
    /// When it was started, in clock ticks since the boot.
    pub(crate) started: u64,
    /// Which boot that was.
    pub(crate) boot: String,
    /// The process namespace.
    pub(crate) namespace: String,
}

impl Owner {
    pub(crate) fn this_process() -> Self {
        let process = std::process::id();
        Self {
            process,
            user: rustix::process::geteuid().as_raw(),
            started: started(process).unwrap_or_default(),
            boot: this_boot(),
            namespace: this_namespace(),
        }
    }

    /// Whether it cannot be looked at from here, since it is in another container.
    pub fn is_elsewhere(&self) -> bool {
        self.namespace != this_namespace()
    }

    /// Whether it lives, as far as can be seen from here.
    pub(crate) fn may_live(&self) -> bool {
        self.boot == this_boot() && (self.is_elsewhere() || started(self.process) == Some(self.started))
    }
}

fn this_boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim_end().to_owned()
}

fn this_namespace() -> String {
    let name = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Returns when a process was started.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    start_in(&String::from_utf8_lossy(&stat))
}

/// The 22nd field; the second one is a name that may itself contain blanks and parentheses.
fn start_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_hide_the_start() {
        let fields: Vec<String> = (4..=30).map(|field| field.to_string()).collect();
        assert_eq!(start_in(&format!("17 (a) R (1) S {}", fields.join(" "))), Some(22));
        assert_eq!(start_in("17 (sh) S 1"), None);
    }
}
