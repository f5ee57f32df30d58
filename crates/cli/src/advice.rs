//! What to do next, for errors whose text cannot know it.

use std::io;

use anyhow::Error;
use derivation::json::JsonError;
use engine::{ImportError, Missing};
use nix::errno::Errno;

/// Returns a line to print after an error.
pub(crate) fn after(error: &Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(missing) = missing(cause) {
            return Some(about_missing(missing));
        }
        if let Some(JsonError::Syntax(_)) = cause.downcast_ref() {
            return Some(
                "correct the file at that place: JSON has names and texts in double quotes, no comments, no comma before \
                 a `}` or `]`, and `\\n` for the end of a line in a text",
            );
        }
        match cause.downcast_ref::<io::Error>()?.kind() {
            // Which one it is cannot be found out any more.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                "the disk is full: `store gc` deletes what nothing needs, `--store DIR` takes another disk",
            ),
            _ => about_limit(cause.downcast_ref()?),
        }
    })
}

fn missing<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a [Missing]> {
    let planning = match cause.downcast_ref() {
        Some(ImportError::Refused(error)) => Some(error),
        _ => cause.downcast_ref(),
    };
    match planning {
        Some(engine::Error::Missing { missing }) => Some(missing),
        _ => None,
    }
}

fn about_missing(missing: &[Missing]) -> &'static str {
    if missing.iter().any(|one| one.path.is_derivation()) {
        return "a file should have the derivations that its own need: \
                `nix show-derivation --recursive` prints them all";
    }
    "`store add FILE` puts a file there, `store add --manifest LIST` many with known paths"
}

/// Returns what to do where a limit of this process, or of its user, is in the way.
pub(crate) fn about_limit(cause: &io::Error) -> Option<&'static str> {
    match Errno::from_raw(cause.raw_os_error()?) {
        Errno::EMFILE => {
            Some("this process may not open more files: `ulimit -n` allows more, `--max-jobs` needs fewer")
        }
        Errno::EAGAIN => Some(
            "this user may not have more processes and threads: `ulimit -u` allows more, `--max-jobs` needs fewer",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_anywhere_in_the_chain_counts() {
        let full =
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).context("cannot add `x`").unwrap_err();
        assert!(after(&full).is_some_and(|advice| advice.starts_with("the disk is full")));
        let missing = || engine::Error::Missing { missing: Vec::new() };
        for error in [Error::from(missing()), Error::from(ImportError::Refused(missing()))] {
            assert!(after(&error.context("cannot build")).is_some_and(|advice| advice.contains("store add")));
        }
        let drv = "00000000000000000000000000000000-a.drv".parse().unwrap();
        let missing = vec![Missing { path: drv, wanted_by: BTreeSet::new() }];
        let error = Error::from(engine::Error::Missing { missing });
        assert!(after(&error).is_some_and(|advice| advice.contains("--recursive")));
        assert_eq!(after(&Error::msg("something else")), None);
    }
}
