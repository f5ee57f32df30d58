//! Temporary roots of all processes, which they write into files that they hold locked.
#![expect(clippy::disallowed_methods, reason = "temporary roots are files")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};
use store_path::StorePath;

use super::kind::{Process, Root};
use super::{FoundRoots, list};
use crate::error::Error;
use crate::open_file::try_lock;
use crate::store::LocalStore;

impl LocalStore {
    /// Adds what processes are about to use, which need not be valid yet. Nothing is written: who was dead is swept later.
    pub(super) fn temporary_roots(&self, found: &mut FoundRoots) -> Result<(), Error> {
        for file in list(&self.location().state_dir.join("temproots"))? {
            match self.read_temp_roots(&file) {
                Ok(roots) => found.roots.extend(roots),
                Err(error) => found.unreadable.push(error),
            }
        }
        Ok(())
    }

    fn read_temp_roots(&self, path: &Path) -> Result<Vec<(StorePath, Root)>, Error> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = match File::options().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(Error::file("open", path))?,
        };
        if try_lock(&file, path, FlockOperation::NonBlockingLockShared)? {
            // Its process is gone.
            return Ok(Vec::new());
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(Error::file("read", path))?;
        // The word of whoever writes just now may be without an end yet.
        let ended = text.iter().rposition(|byte| *byte == 0).map_or(&[][..], |end| &text[..end]);
        let paths = ended.split(|byte| *byte == 0).filter_map(|path| self.store_dir().parse(path).ok());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.split('-').next().and_then(|number| number.parse().ok());
        let root = Root::Temporary(Process::named(number.unwrap_or_default()));
        Ok(paths.map(|path| (path, root.clone())).collect())
    }
}
