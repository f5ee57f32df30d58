//! How many files this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Allows as many as may be: each path that is deleted has a lock, which is an open file, and shells allow 1024. Builds have
/// a limit of their own.
pub(crate) fn raise_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it cannot be had, most commands do with fewer, and say it otherwise.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
