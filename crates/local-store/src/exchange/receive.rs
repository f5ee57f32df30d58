//! From a stream to the store.

use std::io::{self, BufReader, Read};

use binary_cache::stream::{Entry, Reader, StreamError};
use store_path::{Hash, HashAlgorithm, Name, PathInfo, StorePath};

use super::arrivals::Arrivals;
use super::batch::{Batch, Item, Tree};
use super::error::{Place, ReceiveError};
use super::unpack::{self, Small};
use crate::store::LocalStore;

/// How much is read from a pipe or a file at once.
const READ_LEN: usize = 1 << 18;

/// Archives up to this are unpacked from memory, by all processors; and only of longer ones more may be written to disk
/// than is wanted in the end.
const SMALL: u64 = 4 << 20;

/// Where in a stream the bytes begin that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its beginning.
    Beginning,
    /// After so many bytes, where a path begins, of a stream in the second format.
    At(u64),
}

impl LocalStore {
    /// Makes the paths in a stream valid, and returns how long that is.
    ///
    /// `arrivals` hears of each, in the order of the stream, once it is valid. After an error, those before are in the
    /// store all the same.
    pub fn import_stream(
        &self,
        source: impl Read,
        start: Start,
        arrivals: &mut dyn Arrivals,
    ) -> Result<u64, ReceiveError> {
        let anchor = self.anchor();
        self.temp_root(&anchor)?;
        let scratch = self.take_scratch(&anchor, None)?;
        let mut batch = Batch::new(self, scratch.store());
        let source = BufReader::with_capacity(READ_LEN, source);
        let outcome = Receiver::new(source, start, self)
            .and_then(|mut receiver| receiver.receive(&mut batch, arrivals));
        // What is wrong in the batch came earlier.
        batch.commit(arrivals)?;
        outcome
    }

    /// Returns a path whose digest keeps collectors from the scratch directory.
    fn anchor(&self) -> StorePath {
        let name: Name = "import".parse().expect("it is a name");
        let process = Hash::of(HashAlgorithm::Sha256, &std::process::id().to_le_bytes());
        self.store_dir().make_path("import", &process, &name)
    }
}

struct Receiver<R> {
    reader: Reader<R>,
    /// Where the current path begins.
    place: Place,
}

impl<R: Read> Receiver<R> {
    fn new(source: R, start: Start, store: &LocalStore) -> Result<Self, ReceiveError> {
        let store_dir = store.store_dir().clone();
        let place = |begins| Place { path: None, begins };
        match start {
            Start::Beginning => {
                let reader = Reader::new(source, store_dir)
                    .map_err(|source| ReceiveError::Stream { place: place(0), source })?;
                Ok(Self { reader, place: place(0) })
            }
            Start::At(offset) => {
                Ok(Self { reader: Reader::continued(source, store_dir, offset), place: place(offset) })
            }
        }
    }

    fn receive(&mut self, batch: &mut Batch<'_>, arrivals: &mut dyn Arrivals) -> Result<u64, ReceiveError> {
        loop {
            self.place = Place { path: None, begins: self.reader.offset() };
            let entry = self.reader.next().map_err(|source| self.broken(source))?;
            let item = match entry {
                None => break,
                Some(Entry::Present(info)) => self.present(*info, batch, arrivals)?,
                Some(Entry::Known(info)) => self.known(*info, batch)?,
                Some(Entry::Archive) => self.unknown(batch)?,
            };
            if batch.add(item) {
                batch.commit(arrivals)?;
            }
        }
        let end = self.reader.offset();
        let more = self.reader.archive().read(&mut [0]).map_err(|source| self.unreadable(source))?;
        if more == 0 { Ok(end) } else { Err(ReceiveError::More { end }) }
    }

    /// Makes sure that what the other side has left out is here.
    fn present(
        &mut self,
        info: PathInfo,
        batch: &mut Batch<'_>,
        arrivals: &mut dyn Arrivals,
    ) -> Result<Item, ReceiveError> {
        self.place.path = Some(info.path.clone());
        if batch.holds(&info.path) {
            batch.commit(arrivals)?;
        }
        let absent = |here| ReceiveError::Absent { place: self.place.clone(), here };
        let present = batch.store.path_info(&info.path)?.ok_or_else(|| absent("not in this store"))?;
        if present.nar_hash != info.nar_hash {
            return Err(absent("something else here: its archive has another hash"));
        }
        Ok(self.item(info, None, Tree::Here))
    }

    /// Reads an archive of which everything is stated.
    fn known(&mut self, info: PathInfo, batch: &mut Batch<'_>) -> Result<Item, ReceiveError> {
        self.place.path = Some(info.path.clone());
        let (size, hash) = (info.nar_size, info.nar_hash);
        let tree = if batch.holds(&info.path) || batch.store.is_valid(&info.path)? {
            self.pass_over(size)?;
            Tree::Here
        } else if size <= SMALL {
            let mut bytes = Vec::new();
            self.reader.archive().take(size).read_to_end(&mut bytes).map_err(|e| self.unreadable(e))?;
            if (bytes.len() as u64) < size {
                return Err(self.unreadable(io::ErrorKind::UnexpectedEof.into()));
            }
            Tree::Archive(bytes)
        } else {
            let place = batch.next_place();
            let mut archive = self.reader.archive().take(size);
            let unpacked = unpack::from_stream(&mut archive, place, &self.place)?;
            check_size(archive.limit(), size, &self.place)?;
            unpacked
        };
        Ok(self.item(info, Some(hash), tree))
    }

    /// Reads an archive, and then which path that was.
    fn unknown(&mut self, batch: &mut Batch<'_>) -> Result<Item, ReceiveError> {
        let small = unpack::read_small(self.reader.archive(), SMALL as usize)
            .map_err(|source| ReceiveError::Archive { place: self.place.clone(), source })?;
        let tree = match small {
            Small::Whole(bytes) => Tree::Archive(bytes),
            Small::Beginning(bytes) => {
                let mut archive = bytes.chain(self.reader.archive());
                unpack::from_stream(&mut archive, batch.next_place(), &self.place)?
            }
        };
        let trailer = self.reader.trailer().map_err(|source| self.broken(source))?;
        let trailer = trailer.expect("it follows each archive whose path is not stated before");
        self.place.path = Some(trailer.path.clone());
        let is_here = batch.holds(&trailer.path) || batch.store.is_valid(&trailer.path)?;
        let info = PathInfo {
            path: trailer.path,
            // Until it is unpacked.
            nar_hash: Hash::of(HashAlgorithm::Sha256, b""),
            nar_size: 0,
            references: trailer.references,
            deriver: trailer.deriver,
            registration_time: 0,
            ultimate: false,
            signatures: Vec::new(),
            content_address: None,
        };
        let tree = if is_here { tree.discard()? } else { tree };
        Ok(self.item(info, None, tree))
    }

    /// Reads an archive that is not wanted.
    fn pass_over(&mut self, size: u64) -> Result<(), ReceiveError> {
        let mut archive = self.reader.archive().take(size);
        let failed = |source| ReceiveError::Archive { place: self.place.clone(), source };
        let mut events = nar::Reader::new(&mut archive);
        while events.next().map_err(failed)?.is_some() {}
        check_size(archive.limit(), size, &self.place)
    }

    fn item(&self, info: PathInfo, stated: Option<Hash>, tree: Tree) -> Item {
        Item { info, stated, tree, place: self.place.clone(), end: self.reader.offset() }
    }

    fn broken(&self, source: StreamError) -> ReceiveError {
        ReceiveError::Stream { place: self.place.clone(), source }
    }

    fn unreadable(&self, source: io::Error) -> ReceiveError {
        self.broken(StreamError { offset: self.reader.offset(), wrong: source.into() })
    }
}

/// Refuses an archive that has ended with `left` of the `stated` bytes to come.
fn check_size(left: u64, stated: u64, place: &Place) -> Result<(), ReceiveError> {
    match left {
        0 => Ok(()),
        _ => Err(ReceiveError::Size { place: place.clone(), stated }),
    }
}
