//! What a user is called.

use nix::unistd::{Uid, User};

/// Returns the name of a user, or its number where it has none.
pub(crate) fn of(user: u32) -> String {
    let known = User::from_uid(Uid::from_raw(user)).ok().flatten();
    known.map_or_else(|| user.to_string(), |known| known.name)
}
