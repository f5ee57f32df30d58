//! Steps by name, at which a test has this process killed or told that the disk has failed.
//!
//! A step stands where something has just been done that a crash could part from what comes next. Each is in
//! `FAILPOINTS`, so that a test can go through all of them (`cargo xtask crash`, `tests/crash.rs`). Only programs with
//! debug assertions have any of this: in others, [`reach`] is nothing.

#[cfg(debug_assertions)]
pub use armed::{arm, reach};

/// Reaches a step, at which nothing happens without debug assertions.
#[cfg(not(debug_assertions))]
#[inline]
pub fn reach(_name: &'static str) -> Result<(), crate::error::Error> {
    Ok(())
}

#[cfg(debug_assertions)]
mod armed {
    #![expect(clippy::disallowed_methods, reason = "tells a test in a file which steps were reached")]

    use std::fs::File;
    use std::io::Write;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::io::Errno;
    use rustix::process::{Signal, getpid, kill_process};

    use crate::error::Error;

    /// The name of every step there is, in order.
    const FAILPOINTS: &[&str] = &[
        "add.copied",
        "add.locked",
        "add.placed",
        "build.canonical",
        "build.checked",
        "build.ended",
        "build.hashed",
        "build.kept",
        "build.locked",
        "build.placed",
        "build.prepared",
        "build.registered",
        "build.started",
        "dead.swept",
        "delete.committed",
        "delete.forgotten",
        "delete.locked",
        "delete.removed",
        "delete.reserve",
        "delete.rows",
        "directory.made",
        "directory.removed",
        "failure.recorded",
        "gc.committed",
        "gc.forgotten",
        "gc.locked",
        "gc.planned",
        "gc.removed",
        "gc.reserve",
        "lock.removed",
        "lock.taken",
        "log.begun",
        "log.closed",
        "migrate.locked",
        "migrate.upgraded",
        "open.layout",
        "open.locked",
        "open.schema",
        "open.schema-written",
        "open.tables",
        "optimise.aside",
        "optimise.linked",
        "optimise.renamed",
        "optimise.replaced",
        "place.cleared",
        "place.moved",
        "register.committed",
        "register.placed",
        "register.recorded",
        "register.rows",
        "register.synced",
        "repair.aside",
        "repair.exchanged",
        "repair.forgotten",
        "repair.metadata",
        "repair.synced",
        "root.aside",
        "root.auto",
        "root.link",
        "root.locked",
        "root.relocated",
        "scratch.cleaned",
        "scratch.made",
        "scratch.marked",
        "scratch.removed",
        "scratch.unmarked",
        "sync.file",
        "temproot.claimed",
        "temproot.written",
        "text.aside",
        "text.written",
    ];

    /// What a test has asked for.
    enum Armed {
        /// Each step that is reached is written down.
        Trace(File),
        Fail(Failpoint),
    }

    /// What happens where.
    struct Failpoint {
        name: &'static str,
        /// How often the step is reached until then.
        left: AtomicU32,
        kind: Kind,
    }

    #[derive(Clone, Copy)]
    enum Kind {
        Kill,
        Fail(Errno),
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Has something happen when this process reaches a step.
    ///
    /// `NAME[:NTH]=kill|eio|enospc`, where the first time is 1; or `trace=FILE`, to which each step that is reached is
    /// added as a line.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn arm(text: &str) -> Result<(), String> {
        let armed = match text.strip_prefix("trace=") {
            Some(file) => {
                let opened = File::options().append(true).create(true).open(file);
                Armed::Trace(opened.map_err(|error| format!("cannot write `{file}`: {error}"))?)
            }
            None => Armed::Fail(parse(text).ok_or_else(|| {
                format!("`{text}` is not NAME[:NTH]=kill|eio|enospc; names are {}", FAILPOINTS.join(", "))
            })?),
        };
        ARMED.set(armed).map_err(|_| "a failpoint is armed already".to_owned())
    }

    fn parse(text: &str) -> Option<Failpoint> {
        let (place, kind) = text.split_once('=')?;
        let (name, nth) = place.split_once(':').unwrap_or((place, "1"));
        let name = FAILPOINTS.iter().copied().find(|known| *known == name)?;
        let kind = match kind {
            "kill" => Kind::Kill,
            "eio" => Kind::Fail(Errno::IO),
            "enospc" => Kind::Fail(Errno::NOSPC),
            _ => return None,
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some(Failpoint { name, left: AtomicU32::new(nth), kind })
    }

    /// Reaches a step: nothing happens, unless a test has asked for it.
    ///
    /// # Errors
    /// As if the system had refused something.
    pub fn reach(name: &'static str) -> Result<(), Error> {
        debug_assert!(FAILPOINTS.contains(&name), "`{name}` is not among the names of steps");
        match ARMED.get() {
            None => Ok(()),
            // A line is written in one piece.
            Some(Armed::Trace(file)) => {
                let mut file = file;
                file.write_all(format!("{name}\n").as_bytes())
                    .map_err(Error::file("write down the step", Path::new(name)))
            }
            Some(Armed::Fail(failpoint)) => failpoint.reached(name),
        }
    }

    impl Failpoint {
        fn reached(&self, name: &str) -> Result<(), Error> {
            let count_down =
                || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if name != self.name || count_down() != Ok(1) {
                return Ok(());
            }
            match self.kind {
                Kind::Kill => loop {
                    // Nothing of ours runs after that, whichever thread this is.
                    let _ = kill_process(getpid(), Signal::KILL);
                },
                Kind::Fail(errno) => Err(Error::file("go on after the step", Path::new(name))(errno)),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::collections::BTreeSet;

        use super::*;

        #[test]
        fn every_step_in_the_source_is_in_the_list() {
            let mut found = BTreeSet::new();
            if !test_support::project_root().join("crates/local-store/src").is_dir() {
                // Where a user runs copies of the tests, the sources may be closed to that user.
                eprintln!("skipped: the sources are not beside this copy of the test");
                return;
            }
            for name in ["local-store", "builder", "engine", "cli", "substituter"] {
                let source = test_support::project_root().join("crates").join(name).join("src");
                collect(&source, &mut found);
            }
            let known: BTreeSet<String> = FAILPOINTS.iter().map(ToString::to_string).collect();
            assert_eq!(found, known);
            assert!(FAILPOINTS.is_sorted());
        }

        fn collect(directory: &Path, found: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    collect(&path, found);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    // Not this test's own text.
                    let calls = text.split(concat!("reach", "(\"")).skip(1);
                    found.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
                }
            }
        }

        #[test]
        fn what_cannot_be_meant_is_refused() {
            for text in
                ["", "register.synced", "register.synced=later", "nowhere=kill", "register.synced:0=eio"]
            {
                assert!(arm(text).is_err_and(|error| error.contains("register.synced")), "{text}");
            }
            assert!(parse("register.synced:3=enospc").is_some_and(|one| one.left.into_inner() == 3));
        }
    }
}
