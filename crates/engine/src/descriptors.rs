//! How many builds at once the limit on open files allows.

use std::num::NonZeroUsize;

use nix::sys::resource::{Resource, getrlimit};

/// So many files are open besides those of builds: databases, locks of the store, the launcher, what may stop it all.
const BESIDES: u64 = 30;

/// So many a slot takes: a build that runs, with its locks, user, directories, log, output and process, and one whose
/// outputs are being kept meanwhile. Measured 17.
const PER_SLOT: u64 = 18;

/// Returns how many slots this process may have files for, at least one.
pub(crate) fn slots() -> NonZeroUsize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(NonZeroUsize::MAX, |(soft, _)| slots_of(soft))
}

/// Returns what is to be said if there are fewer slots than those that were asked for.
pub(crate) fn shortfall(asked: NonZeroUsize) -> Option<String> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let slots = slots_of(soft);
    (slots < asked).then(|| {
        format!(
            "no more than {slots} at once of the {asked} builds that `max-jobs` allows, as this process may not \
             open more than {soft} files: `ulimit -n` allows more"
        )
    })
}

fn slots_of(files: u64) -> NonZeroUsize {
    let slots = usize::try_from(files.saturating_sub(BESIDES) / PER_SLOT).unwrap_or(usize::MAX);
    NonZeroUsize::new(slots).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_build_is_always_tried() {
        let slots = [0, 30, 64, 256, 1024, u64::MAX].map(|files| slots_of(files).get());
        assert_eq!(slots[..5], [1, 1, 1, 12, 55]);
        assert!(slots[5] > 1 << 40);
    }
}
