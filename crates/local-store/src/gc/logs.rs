//! Logs of builds that nobody can ask for any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use store_path::{Digest, StorePath};

use super::census::Census;
use super::ledger::{Ledger, weigh};
use crate::error::Error;
use crate::open_file::remove_file;
use crate::store::LocalStore;
use crate::sweep::list;

/// The logs there are.
#[derive(Debug)]
pub(super) struct Logs(Vec<(PathBuf, Digest)>);

/// What became of those that are of no use.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    pub(super) logs: usize,
    pub(super) freed_bytes: u64,
    pub(super) failed: Vec<Error>,
}

impl Logs {
    /// Lists them. What is logged from then on is none of them.
    pub(super) fn list(log_dir: &Path) -> Result<Self, Error> {
        let mut logs = Vec::new();
        for shard in list(&log_dir.join("drvs"))? {
            let Some(start) = name(&shard).filter(|start| start.len() == 2 && shard.is_dir()) else {
                continue;
            };
            for log in list(&shard)? {
                let drv = name(&log).and_then(|rest| {
                    let rest = rest.strip_suffix(".bz2").unwrap_or(rest);
                    format!("{start}{rest}").parse::<StorePath>().ok()
                });
                logs.extend(drv.filter(StorePath::is_derivation).map(|drv| (log, *drv.digest())));
            }
        }
        Ok(Self(logs))
    }

    /// Removes, or with `is_rehearsal` only counts, those of derivations that are not in `known`.
    pub(super) fn forget(self, known: &HashSet<Digest>, is_rehearsal: bool) -> Forgotten {
        let mut done = Forgotten::default();
        for (log, _) in self.0.into_iter().filter(|(_, digest)| !known.contains(digest)) {
            let bytes = Ledger::default().note_all(&weigh(&log));
            match if is_rehearsal { Ok(()) } else { remove_file(&log) } {
                Ok(()) => {
                    done.logs += 1;
                    done.freed_bytes += bytes;
                }
                Err(error) => done.failed.push(error),
            }
        }
        done
    }
}

impl LocalStore {
    /// Returns the derivations whose logs are of use once all that is dead is gone: those that are alive, or made what is.
    pub(super) fn logged(&self, census: &Census) -> Result<HashSet<Digest>, Error> {
        let Census { graph, alive, wanted, .. } = census;
        let derivers =
            self.with_database(|database| Ok(database.derivers_in(graph, |path| alive.has(path))?))?;
        let derivations =
            graph.paths().filter(|path| alive.has(*path) && graph.name(*path).ends_with(".drv"));
        let derivations = derivations.map(|path| *graph.path(path).digest());
        Ok(derivers.into_iter().chain(derivations).chain(wanted.iter().copied()).collect())
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
