//! Temporary roots of all processes, which they write into files that they hold locked.
#![expect(clippy::disallowed_methods, reason = "temporary roots are files")]

use std::fs;
use std::io::Write;
use std::path::Path;

use rustix::fs::FlockOperation;
use store_path::StorePath;

use super::kind::{Process, Root};
use super::list;
use crate::error::Error;
use crate::open_file::{open_lock_file, remove_file, try_lock};
use crate::store::LocalStore;

impl LocalStore {
    /// Returns what processes are about to use; it need not be valid yet.
    pub(super) fn temporary_roots(&self) -> Result<Vec<(StorePath, Root)>, Error> {
        let mut roots = Vec::new();
        for file in list(&self.location().state_dir.join("temproots"))? {
            self.read_temp_roots(&file, &mut roots)?;
        }
        Ok(roots)
    }

    fn read_temp_roots(&self, file: &Path, roots: &mut Vec<(StorePath, Root)>) -> Result<(), Error> {
        let mut opened = open_lock_file(file)?;
        if try_lock(&opened, file, FlockOperation::NonBlockingLockShared)? {
            // Its process is gone. A new one with that number may be waiting for this file: Nix learns from
            // its size that it is not the one on disk any more.
            opened.write_all(b"d").map_err(Error::file("write", file))?;
            return remove_file(file);
        }
        let text = fs::read(file).map_err(Error::file("read", file))?;
        // The word of whoever writes just now may be without an end yet.
        let ended = text.iter().rposition(|byte| *byte == 0).map_or(&[][..], |end| &text[..end]);
        let paths = ended.split(|byte| *byte == 0).filter_map(|path| self.store_dir().parse(path).ok());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let number = name.split('-').next().and_then(|number| number.parse().ok());
        let root = Root::Temporary(Process::named(number.unwrap_or_default()));
        roots.extend(paths.map(|path| (path, root.clone())));
        Ok(())
    }
}
