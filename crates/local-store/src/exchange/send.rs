//! From the store to a stream.

use std::collections::BTreeSet;
use std::io::{self, Write};

use binary_cache::stream::Format;
use store_db::Reach;
use store_path::{HashAlgorithm, HashSink, PathInfo, StorePath};

use crate::add::hash_tree;
use crate::error::Error;
use crate::store::LocalStore;

impl LocalStore {
    /// Writes `paths`, all of them valid, to a stream: first what others refer to, otherwise by name, as Nix does.
    ///
    /// With `from`, that many bytes are left out at the beginning, and what lies wholly before is not read either. The same
    /// paths give the same stream, as long as none of them is deleted.
    ///
    /// # Errors
    /// [`Error::Hash`] if a path is not what was registered. What was written until then has no end, so that nobody takes
    /// it for whole.
    pub fn export(
        &self,
        paths: &BTreeSet<StorePath>,
        format: Format,
        from: u64,
        sink: &mut impl Write,
    ) -> Result<(), Error> {
        // From now on none of them is collected.
        self.temp_roots(&paths.iter().cloned().collect::<Vec<_>>())?;
        let graph = self.reference_graph(paths, Reach::Only)?;
        let infos = self.path_infos(paths)?;
        let failed = |source| Error::Send { source };
        let mut out = Skip { sink, left: from };
        out.write_all(&format.start()).map_err(failed)?;
        for place in graph.references_first() {
            if let Some(info) = infos.get(&graph.paths()[place]) {
                self.send(info, format, &mut out)?;
            }
        }
        out.write_all(&format.end()).and_then(|()| out.flush()).map_err(failed)
    }

    fn send(&self, info: &PathInfo, format: Format, out: &mut Skip<'_, impl Write>) -> Result<(), Error> {
        let sized;
        let info = match info.nar_size {
            // An old database does not know the size, which has to stand before the archive.
            0 => {
                sized = PathInfo { nar_size: hash_tree(&self.place_of(&info.path))?.1, ..info.clone() };
                &sized
            }
            _ => info,
        };
        let (before, after) = (format.before(info), format.after(info, self.store_dir()));
        let length = (before.len() + after.len()) as u64 + info.nar_size;
        if out.left >= length {
            out.left -= length;
            return Ok(());
        }
        let failed = |source| Error::Send { source };
        out.write_all(&before).map_err(failed)?;
        let mut tee = Tee { hash: HashSink::new(HashAlgorithm::Sha256), out };
        let tree = self.place_of(&info.path);
        nar::dump(&tree, &mut tee)?;
        let (computed, _) = tee.hash.finish();
        if computed != info.nar_hash {
            let (stated, computed) = (Box::new(info.nar_hash), Box::new(computed));
            return Err(Error::Hash { file: tree, stated, computed });
        }
        out.write_all(&after).map_err(failed)
    }
}

/// Leaves out the beginning of what is written.
struct Skip<'sink, W> {
    sink: &'sink mut W,
    /// How many bytes are still to be left out.
    left: u64,
}

impl<W: Write> Write for Skip<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= skipped as u64;
        match &bytes[skipped..] {
            [] => Ok(skipped),
            rest => Ok(skipped + self.sink.write(rest)?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Hashes what is written.
struct Tee<'out, W> {
    hash: HashSink,
    out: &'out mut W,
}

impl<W: Write> Write for Tee<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.write_all(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use binary_cache::stream::{Entry, Reader};

    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};

    #[test]
    fn what_others_refer_to_comes_first() {
        let (_scratch, store) = scratch_store();
        let names = [("a", &["c", "b"][..]), ("b", &["c"]), ("c", &["c"]), ("d", &[]), ("e", &["a"])];
        let infos: Vec<PathInfo> =
            names.iter().map(|(name, references)| placed(&store, name, references)).collect();
        store.register(&infos).unwrap();
        let mut stream = Vec::new();
        let paths = infos.into_iter().map(|info| info.path).collect();
        store.export(&paths, Format::Nario, 0, &mut stream).unwrap();
        let mut reader = Reader::new(&stream[..], store.store_dir().clone()).unwrap();
        let mut sent = Vec::new();
        while let Some(Entry::Known(info)) = reader.next().unwrap() {
            io::copy(&mut reader.archive().take(info.nar_size), &mut io::sink()).unwrap();
            sent.push(info.path);
        }
        assert_eq!(sent.len(), 5);
        let place = |name: &str| sent.iter().position(|path| *path == some_path(name)).unwrap();
        for (name, references) in names {
            assert!(references.iter().all(|other| place(other) <= place(name)), "{name}");
        }
    }

    #[test]
    fn the_beginning_can_be_left_out() {
        let (_scratch, store) = scratch_store();
        let infos = [placed(&store, "a", &[]), placed(&store, "b", &["a"])];
        store.register(&infos).unwrap();
        let paths: BTreeSet<StorePath> = infos.iter().map(|info| info.path.clone()).collect();
        for format in [Format::Nix, Format::Nario] {
            let export = |from: u64| {
                let mut bytes = Vec::new();
                store.export(&paths, format, from, &mut bytes).unwrap();
                bytes
            };
            let whole = export(0);
            for from in 0..=whole.len() {
                assert_eq!(export(from as u64), whole[from..], "{format:?} from {from}");
            }
            assert_eq!(export(u64::MAX), b"");
        }
    }

    #[test]
    fn what_has_changed_is_not_sent() {
        let (_scratch, store) = scratch_store();
        let info = placed(&store, "a", &[]);
        store.register(std::slice::from_ref(&info)).unwrap();
        #[allow(clippy::disallowed_methods, reason = "the test damages it")]
        std::fs::write(store.real_path(&info.path), "b").unwrap();
        let mut bytes = Vec::new();
        let error = store.export(&[info.path].into(), Format::Nario, 0, &mut bytes).unwrap_err();
        assert!(matches!(error, Error::Hash { .. }), "{error}");
        assert!(!bytes.ends_with(&Format::Nario.end()), "it has no end");
    }
}
