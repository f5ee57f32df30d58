//! From the store to a stream.

use std::borrow::Cow;
use std::cmp::Ordering;
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
    /// With `from`, that many bytes are left out at the beginning, and what lies before is not read either. A path has to
    /// begin there, or the end of the stream: nobody could go on elsewhere. The same paths give the same stream, as long as
    /// none of them is deleted.
    ///
    /// # Errors
    /// [`Error::NoBeginning`] if none does; [`Error::Hash`] if a path is not what was registered. What was written until
    /// then has no end, so that nobody takes it for whole.
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
        let in_order = graph.references_first().into_iter();
        let mut rest: Vec<&PathInfo> =
            in_order.filter_map(|place| infos.get(&graph.paths()[place])).collect();
        if from > 0 {
            let sent = self.sent_before(from, &rest, format)?;
            rest.drain(..sent);
        } else {
            sink.write_all(&format.start()).map_err(failed)?;
        }
        for info in rest {
            self.send(&*self.sized(info)?, format, sink)?;
        }
        sink.write_all(&format.end()).and_then(|()| sink.flush()).map_err(failed)
    }

    /// Returns how many of `infos` stand before the byte `from` of their stream, where the next one begins, or the end.
    fn sent_before(&self, from: u64, infos: &[&PathInfo], format: Format) -> Result<usize, Error> {
        let (mut begins, mut before) = (format.start().len() as u64, 0);
        for (sent, info) in infos.iter().enumerate() {
            match begins.cmp(&from) {
                Ordering::Less => before = begins,
                Ordering::Equal => return Ok(sent),
                Ordering::Greater => return Err(Error::NoBeginning { from, before, after: Some(begins) }),
            }
            let info = self.sized(info)?;
            let around = format.before(&info).len() + format.after(&info, self.store_dir()).len();
            begins += around as u64 + info.nar_size;
        }
        match begins.cmp(&from) {
            Ordering::Equal => Ok(infos.len()),
            Ordering::Less => Err(Error::NoBeginning { from, before: begins, after: None }),
            Ordering::Greater => Err(Error::NoBeginning { from, before, after: Some(begins) }),
        }
    }

    /// Adds the size of an archive, which an old database does not know, and which has to stand before the archive.
    fn sized<'info>(&self, info: &'info PathInfo) -> Result<Cow<'info, PathInfo>, Error> {
        if info.nar_size > 0 {
            return Ok(Cow::Borrowed(info));
        }
        let nar_size = hash_tree(&self.place_of(&info.path))?.1;
        Ok(Cow::Owned(PathInfo { nar_size, ..info.clone() }))
    }

    fn send(&self, info: &PathInfo, format: Format, out: &mut impl Write) -> Result<(), Error> {
        let (before, after) = (format.before(info), format.after(info, self.store_dir()));
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
                store.export(&paths, format, from, &mut bytes).map(|()| bytes)
            };
            let whole = export(0).unwrap();
            let end = whole.len() - format.end().len();
            let mut begins = BTreeSet::from([0, format.start().len(), end]);
            for from in 0..=whole.len() + 1 {
                match export(from as u64) {
                    Ok(rest) => {
                        assert_eq!(rest, whole[from..], "{format:?} from {from}");
                        begins.insert(from);
                    }
                    Err(Error::NoBeginning { before, after, .. }) => {
                        assert!(
                            before < from as u64 && after.is_none_or(|after| after > from as u64),
                            "{from}"
                        );
                        for begin in [Some(before), after].into_iter().flatten() {
                            assert!(export(begin).is_ok(), "{format:?}: {begin} is told for {from}");
                        }
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            let starts = format.start().len();
            assert_eq!(begins.len(), if starts == 0 { 3 } else { 4 }, "{format:?}: {begins:?}");
            assert!(export(u64::MAX).is_err());
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
