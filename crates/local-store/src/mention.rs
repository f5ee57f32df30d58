//! Where in its files a store path refers to others.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use store_path::{RefFinder, StorePath};

use crate::error::Error;
use crate::inside::{FileKind, Found};
use crate::store::LocalStore;

/// How much of a file is searched in one go.
const PIECE: usize = 1 << 20;

/// How many bytes before and from a digest on are shown of what is around it.
const BEFORE: u64 = 32;
const AFTER: usize = 96;

/// Where a path refers to another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Some of the places: at most one for each file, in the order of names.
    pub some: Vec<Mention>,
    /// How many files there are with any.
    pub files: usize,
    /// How many places there are in all.
    pub places: usize,
}

/// A place where a path refers to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The file, below the path; nothing if the path is one file itself.
    pub file: PathBuf,
    /// Where it is there, the first time.
    pub spot: Spot,
    /// How many places there are in this file.
    pub places: usize,
}

/// Where a digest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// In the contents of a regular file.
    Contents {
        /// At which byte it begins.
        offset: u64,
        /// What is just before it.
        before: Vec<u8>,
        /// What begins with it.
        after: Vec<u8>,
    },
    /// In what a symlink says, which is this.
    Target(OsString),
    /// In the name of the file.
    Name,
}

impl LocalStore {
    /// Returns where in the files of `path` the digests of `others` stand, for each of them: at most `most` places.
    ///
    /// All files are read once. What a symlink leads to is not looked at.
    pub fn mentions(
        &self,
        path: &StorePath,
        others: &[&StorePath],
        most: usize,
    ) -> Result<Vec<Mentions>, Error> {
        let finder = RefFinder::new(others.iter().copied());
        let found = vec![Mentions::default(); others.len()];
        let mut search = Search { finder, most, found, buffer: vec![0; PIECE] };
        let top = self.look_into(path, Path::new(""), false)?;
        // What is still to be searched, the next one last.
        let mut left = vec![(top, PathBuf::new())];
        while let Some((here, below)) = left.pop() {
            search.node(&here, &below)?;
            if here.kind()? == FileKind::Directory {
                let entries = here.entries()?.into_iter().rev();
                left.extend(entries.map(|entry| {
                    let below = below.join(entry.name());
                    (entry, below)
                }));
            }
        }
        Ok(search.found)
    }
}

struct Search {
    finder: RefFinder,
    most: usize,
    found: Vec<Mentions>,
    buffer: Vec<u8>,
}

impl Search {
    fn node(&mut self, here: &Found, below: &Path) -> Result<(), Error> {
        // The name of the path itself is no reference of its.
        if let Some(name) = below.file_name() {
            let named = self.search(name.as_bytes());
            self.note(below, named, |_| Ok(Spot::Name)).map_err(Error::file("read", below))?;
        }
        match here.kind()? {
            FileKind::Directory => Ok(()),
            FileKind::Symlink { target } => {
                let named = self.search(target.as_bytes());
                let spot = |_| Ok(Spot::Target(target.clone()));
                self.note(below, named, spot).map_err(Error::file("read", below))
            }
            FileKind::Regular { .. } => {
                let mut file = here.open()?;
                let failed = |error| Error::file::<io::Error>("read", here.path())(error);
                let found = self.search_file(&mut file).map_err(failed)?;
                let spot = |offset| contents(&file, offset);
                self.note(below, found, spot).map_err(Error::file("read", here.path()))
            }
        }
    }

    /// Returns for each of the others how often it is there and where first.
    fn search(&mut self, bytes: &[u8]) -> Vec<(usize, u64, usize)> {
        let mut firsts = Firsts::default();
        self.finder.restart();
        self.finder.look(bytes, |other, offset| firsts.add(other, offset));
        firsts.0
    }

    fn search_file(&mut self, file: &mut File) -> io::Result<Vec<(usize, u64, usize)>> {
        let mut firsts = Firsts::default();
        self.finder.restart();
        loop {
            let length = match file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if length == 0 {
                return Ok(firsts.0);
            }
            self.finder.look(&self.buffer[..length], |other, offset| firsts.add(other, offset));
        }
    }

    fn note(
        &mut self,
        file: &Path,
        found: Vec<(usize, u64, usize)>,
        spot: impl Fn(u64) -> io::Result<Spot>,
    ) -> io::Result<()> {
        for (other, offset, places) in found {
            let mentions = &mut self.found[other];
            mentions.files += 1;
            mentions.places += places;
            if mentions.some.len() < self.most {
                mentions.some.push(Mention { file: file.to_owned(), spot: spot(offset)?, places });
            }
        }
        Ok(())
    }
}

/// Of each digest: which, where first, and how often. There are few in one file.
#[derive(Default)]
struct Firsts(Vec<(usize, u64, usize)>);

impl Firsts {
    fn add(&mut self, other: usize, offset: u64) {
        match self.0.iter_mut().find(|(known, ..)| *known == other) {
            Some((_, _, places)) => *places += 1,
            None => self.0.push((other, offset, 1)),
        }
    }
}

fn contents(file: &File, offset: u64) -> io::Result<Spot> {
    let start = offset.saturating_sub(BEFORE);
    let before = read_at(file, start, usize::try_from(offset - start).unwrap_or(0))?;
    Ok(Spot::Contents { offset, before, after: read_at(file, offset, AFTER)? })
}

/// Reads so many bytes, or those that there are.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn finds_contents_links_and_names() {
        let (_scratch, store) = scratch_store();
        let [path, a, b, c] = ["path", "a", "b", "c"].map(some_path);
        let real = store.real_path(&path);
        fs::create_dir_all(real.join("bin")).unwrap();
        let text = format!("#!/nix/store/{a}/bin/sh\nexec /nix/store/{a}/x /nix/store/{b}/x\n");
        fs::write(real.join("bin/run"), &text).unwrap();
        // Across two pieces.
        let mut large = vec![b'x'; PIECE - 10];
        large.extend_from_slice(b.to_string().as_bytes());
        fs::write(real.join("large"), &large).unwrap();
        symlink(format!("/nix/store/{a}/lib"), real.join("lib")).unwrap();
        fs::write(real.join(a.to_string()), "").unwrap();
        let [of_a, of_b, of_c] = &store.mentions(&path, &[&a, &b, &c], 9).unwrap()[..] else { panic!() };
        assert_eq!((of_a.files, of_a.places, of_b.files, of_b.places), (3, 4, 2, 2));
        assert_eq!(*of_c, Mentions::default());
        let spot = |mentions: &Mentions, file: &str| {
            mentions.some.iter().find(|one| one.file == Path::new(file)).unwrap().spot.clone()
        };
        let Spot::Contents { offset, before, after } = spot(of_a, "bin/run") else { panic!() };
        assert_eq!((offset, &before[..]), (13, &b"#!/nix/store/"[..]));
        assert!(after.starts_with(a.to_string().as_bytes()));
        assert_eq!(spot(of_a, "lib"), Spot::Target(format!("/nix/store/{a}/lib").into()));
        assert_eq!(spot(of_a, &a.to_string()), Spot::Name);
        let Spot::Contents { offset, .. } = spot(of_b, "large") else { panic!() };
        assert_eq!(offset, PIECE as u64 - 10);
        let few = store.mentions(&path, &[&a], 1).unwrap();
        assert_eq!((few[0].some.len(), few[0].files), (1, 3));
    }
}
