//! Whether the links of equal files are what their names say.
#![expect(clippy::disallowed_methods, reason = "lists the links")]

use std::fs;
use std::io;

use store_path::{Hash, HashAlgorithm, HashSink};

use super::BATCH;
use crate::error::Error;
use crate::meter::Meter;
use crate::store::LocalStore;
use crate::threads::{on_each, processors};
use crate::until::Until;

/// A link of equal files that is not what its name says.
#[derive(Debug)]
pub struct BadLink {
    /// Its name in `.links`, which should be the hash of its archive.
    pub name: String,
    /// The hash that it has, or why it has none.
    pub computed: Result<Hash, Error>,
}

impl LocalStore {
    /// Hashes every link of equal files; they come in any order in batches, each of which is done by all threads.
    pub(super) fn verify_links(&self, until: Until<'_>, meter: &Meter<'_>) -> Result<Vec<BadLink>, Error> {
        let directory = self.location().links();
        let mut entries = fs::read_dir(&directory).map_err(Error::file("list", &directory))?;
        let mut bad = Vec::new();
        loop {
            let batch = entries.by_ref().take(BATCH).collect::<io::Result<Vec<_>>>();
            let batch = batch.map_err(Error::file("list", &directory))?;
            if batch.is_empty() || until.is_over() {
                break;
            }
            let names: Vec<String> =
                batch.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            bad.extend(
                on_each(&names, processors(), |name| self.verify_link(name, until, meter))
                    .into_iter()
                    .flatten(),
            );
        }
        bad.sort_by(|one: &BadLink, other| one.name.cmp(&other.name));
        Ok(bad)
    }

    fn verify_link(&self, name: &str, until: Until<'_>, meter: &Meter<'_>) -> Option<BadLink> {
        let place = self.location().links().join(name);
        let mut sink = until.pass(meter.count(HashSink::new(HashAlgorithm::Sha256)));
        let computed = match nar::dump(&place, &mut sink) {
            Ok(_) => Ok(sink.into_inner().into_inner().finish().0),
            // A collector takes away those that nothing else is linked to.
            Err(nar::DumpError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(_) if until.is_over() => return None,
            Err(source) => Err(source.into()),
        };
        let is_right = computed.as_ref().is_ok_and(|hash| hash.to_nix32() == name);
        (!is_right).then(|| BadLink { name: name.to_owned(), computed })
    }
}
