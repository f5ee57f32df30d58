//! What to do next, for errors whose text cannot know it.

use std::io;

use anyhow::Error;
use engine::ImportError;

/// Returns a line to print after an error.
pub(crate) fn after(error: &Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if lacks_paths(cause) {
            return Some(
                "`store add FILE` puts a file there, `store add --manifest LIST` many with known paths",
            );
        }
        if let Some(local_store::Error::NotValid { .. }) = cause.downcast_ref() {
            return Some("`--verbose` says where the store is, `--store DIR` takes another one");
        }
        about_file(cause.downcast_ref()?)
    })
}

fn lacks_paths(cause: &(dyn std::error::Error + 'static)) -> bool {
    let planning = match cause.downcast_ref() {
        Some(ImportError::Refused(error)) => Some(error),
        _ => cause.downcast_ref(),
    };
    matches!(planning, Some(engine::Error::Missing { .. }))
}

fn about_file(cause: &io::Error) -> Option<&'static str> {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "the disk is full: `store delete` removes what is not needed, `--store DIR` takes another disk",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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
        let path = "00000000000000000000000000000000-a".parse().unwrap();
        let absent = Error::from(local_store::Error::NotValid { path });
        assert!(after(&absent).is_some_and(|advice| advice.contains("`--store DIR`")));
        assert_eq!(after(&Error::msg("something else")), None);
    }
}
