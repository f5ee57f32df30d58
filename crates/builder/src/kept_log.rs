//! Reading the log that an earlier build left.

#![expect(clippy::disallowed_methods, reason = "reads the log files of builds")]

use std::fs::File;
use std::io::{self, Read};

use bzip2::read::MultiBzDecoder;
use local_store::Location;
use store_path::StorePath;

use crate::follow::Follow;

/// Opens the log of the last build of `drv`, also of one that is still running; none if no log was kept.
///
/// It is decompressed while it is read. The store need not be open, so it works for whoever may read its logs.
pub fn open_log(location: &Location, drv: &StorePath) -> io::Result<Option<Box<dyn Read>>> {
    let path = location.log_path(drv);
    // A finished log is compressed under another name before this one goes, so this order misses none.
    if let Some(file) = found(File::open(&path))? {
        return Ok(Some(Box::new(file)));
    }
    match (found(File::open(path.with_added_extension("bz2")))?, &location.lower) {
        (Some(file), _) => Ok(Some(Box::new(MultiBzDecoder::new(file)))),
        // What was built below was not built here, as a rule.
        (None, Some(lower)) => open_log(lower, drv),
        (None, None) => Ok(None),
    }
}

impl Follow {
    /// Returns the log, if it was finished and compressed before there was anything to follow.
    pub fn missed(&self) -> io::Result<Option<Box<dyn Read>>> {
        let Some(file) = found(File::open(self.path.with_added_extension("bz2")))? else { return Ok(None) };
        let is_ours = file.metadata()?.modified()? >= self.since;
        Ok(is_ours.then(|| -> Box<dyn Read> { Box::new(MultiBzDecoder::new(file)) }))
    }
}

fn found(result: io::Result<File>) -> io::Result<Option<File>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
