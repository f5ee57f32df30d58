//! Headers in directories that a compiler has given up.
//!
//! Compilers look once whether the directories are there that they search for headers, and leave out those that are
//! not: what a build misses in `/usr/include` is never asked for there. But it is in the directories that are left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::book::Entry;
use crate::observation::How;

/// Headers that are looked for in such directories, those that were asked for last.
const MOST_HEADERS: usize = 1000;

/// Where headers might be that were `missed` elsewhere. Most are not there.
pub(super) fn missed(missed: &[Entry]) -> Vec<Entry> {
    let given_up: BTreeSet<&Path> =
        missed.iter().map(|entry| &*entry.path).filter(|path| is_place(path)).collect();
    let asked = missed.iter().rev().filter(|entry| entry.how == How::Open).take(MOST_HEADERS);
    let places = |entry: &'_ Entry| -> Vec<Entry> {
        let Some(name) = name(&entry.path) else { return Vec::new() };
        let at = |place: &&Path| Entry {
            path: place.join(&name),
            by: entry.by.clone(),
            needed_by: None,
            ..*entry
        };
        given_up.iter().map(at).collect()
    };
    asked.flat_map(places).collect()
}

/// Whether that is where compilers look for headers: a directory of this name, or one for an architecture in it.
/// Whoever finds one does not need the others less.
pub(super) fn is_place(path: &Path) -> bool {
    let is = |path: &Path| path.file_name().is_some_and(|name| name == "include");
    is(path) || path.parent().is_some_and(is) && path.extension().is_none()
}

/// What comes after the last directory for headers: the name as the source has it.
fn name(path: &Path) -> Option<PathBuf> {
    let place = path.ancestors().skip(1).find(|path| path.ends_with("include"))?;
    path.strip_prefix(place).ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, how: How) -> Entry {
        Entry { path: path.into(), how, by: "cc1".to_owned(), needed_by: None, misses: 1, last: 7 }
    }

    #[test]
    fn a_header_is_looked_for_where_the_compiler_does_not_look_any_more() {
        let missed = missed(&[
            entry("/usr/include/x86_64-linux-gnu", How::Look),
            entry("/usr/include", How::Look),
            entry("/usr/lib/gcc/14/include/sys/types.h", How::Open),
            entry("/usr/lib/gcc/14/libz.so", How::Open),
        ]);
        let paths: Vec<_> = missed.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/usr/include/sys/types.h", "/usr/include/x86_64-linux-gnu/sys/types.h"]);
        assert_eq!((missed[0].by.as_str(), missed[0].last), ("cc1", 7));
    }
}
