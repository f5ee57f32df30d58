//! The file that a cache has for each path.

use std::collections::BTreeSet;
use std::fmt::Write;

use store_path::{
    ContentAddress, ContentAddressError, Hash, HashAlgorithm, HashError, PathInfo, StoreDir, StoreDirError,
    StorePath, StorePathError,
};

/// What is known of a path, and where its archive can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// What is known of it wherever it is.
    pub info: PathInfo,
    /// Where the archive is, from the cache's root on. Always there in a file; not in every JSON.
    pub url: Option<String>,
    /// How the archive is compressed.
    pub compression: Option<String>,
    /// The hash of what is at the URL.
    pub file_hash: Option<Hash>,
    /// The length of what is at the URL.
    pub file_size: Option<u64>,
}

/// Why a text is not a [`NarInfo`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoError {
    /// One line is wrong.
    #[error("cannot read line {number}, `{line}`")]
    Line {
        /// Which one, from 1.
        number: usize,
        /// What it says.
        line: String,
        /// What is wrong with it.
        source: LineError,
    },
    /// It has to be there.
    #[error("there is no line `{field}: …`")]
    Missing {
        /// How the line would begin.
        field: &'static str,
    },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Each line is a name and a value.
    #[error("it has no `: ` in it")]
    Form,
    /// Everything in such a file is text.
    #[error("it is not UTF-8")]
    NotText,
    /// The last line has to end, or the file may have been cut.
    #[error("it does not end")]
    Unfinished,
    /// Which of the two counts?
    #[error("there is another line of this name")]
    Twice,
    /// Sizes are whole numbers, and no archive is empty.
    #[error("it should be a number of bytes, above 0")]
    Number,
    /// Archives are known by one algorithm only.
    #[error("cannot read the hash")]
    Hash(#[from] HashError),
    /// Not a full path in this store.
    #[error("cannot read the path")]
    Path(#[from] StoreDirError),
    /// Not the last component of a path in a store.
    #[error("cannot read the path")]
    BasePath(#[from] StorePathError),
    /// Not a content address.
    #[error("cannot read the content address")]
    ContentAddress(#[from] ContentAddressError),
}

/// A [`NarInfo`] that no file can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprintable {
    /// A file has to have it.
    #[error("`{field}` is not known")]
    Missing {
        /// How the line would begin.
        field: &'static str,
    },
    /// It would be read as more than one line.
    #[error("`{field}` is more than one line")]
    Lines {
        /// How the line would begin.
        field: &'static str,
    },
}

/// What old caches mean when they do not say: there was one compression only.
const UNSTATED_COMPRESSION: &str = "bzip2";
const UNKNOWN_DERIVER: &str = "unknown-deriver";

/// What has been read so far.
#[derive(Default)]
struct Lines {
    path: Option<StorePath>,
    url: Option<String>,
    compression: Option<String>,
    file_hash: Option<Hash>,
    file_size: Option<u64>,
    nar_hash: Option<Hash>,
    nar_size: Option<u64>,
    references: Option<BTreeSet<StorePath>>,
    deriver: Option<Option<StorePath>>,
    signatures: Vec<String>,
    content_address: Option<Option<ContentAddress>>,
}

impl NarInfo {
    /// Reads such a file.
    ///
    /// Lines of other names are passed over: caches have their own. Two of one name are refused, where Nix lets the last
    /// or the first count, since two programs might read two things.
    pub fn parse(text: &[u8], store_dir: &StoreDir) -> Result<Self, NarInfoError> {
        let mut lines = Lines::default();
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            lines.read(line, store_dir).map_err(|source| {
                let line = String::from_utf8_lossy(line).trim_end().chars().take(200).collect();
                NarInfoError::Line { number: index + 1, line, source }
            })?;
        }
        lines.finish()
    }

    /// Returns the text of such a file, as Nix writes it.
    pub fn print(&self, store_dir: &StoreDir) -> Result<String, Unprintable> {
        let mut text = String::new();
        let mut put = |field: &'static str, value: &str| {
            if value.contains('\n') {
                return Err(Unprintable::Lines { field });
            }
            writeln!(text, "{field}: {value}").expect("a string takes every line");
            Ok(())
        };
        put("StorePath", &store_dir.print(&self.info.path))?;
        put(
            "URL",
            self.url.as_deref().filter(|url| !url.is_empty()).ok_or(Unprintable::Missing { field: "URL" })?,
        )?;
        put("Compression", self.compression.as_deref().unwrap_or(UNSTATED_COMPRESSION))?;
        if let Some(hash) = &self.file_hash {
            put("FileHash", &hash.prefixed_nix32())?;
        }
        if let Some(size) = self.file_size {
            put("FileSize", &size.to_string())?;
        }
        put("NarHash", &self.info.nar_hash.prefixed_nix32())?;
        if self.info.nar_size == 0 {
            return Err(Unprintable::Missing { field: "NarSize" });
        }
        put("NarSize", &self.info.nar_size.to_string())?;
        let references: Vec<String> = self.info.references.iter().map(ToString::to_string).collect();
        put("References", &references.join(" "))?;
        if let Some(deriver) = &self.info.deriver {
            put("Deriver", &deriver.to_string())?;
        }
        for signature in &self.info.signatures {
            put("Sig", signature)?;
        }
        if let Some(address) = &self.info.content_address {
            put("CA", &address.to_string())?;
        }
        Ok(text)
    }
}

impl Lines {
    fn read(&mut self, line: &[u8], store_dir: &StoreDir) -> Result<(), LineError> {
        let line = line.strip_suffix(b"\n").ok_or(LineError::Unfinished)?;
        let line = str::from_utf8(line).map_err(|_| LineError::NotText)?;
        let (name, value) = match line.split_once(':') {
            // What ends with the colon has no value; editors take the space away.
            Some((name, "")) => (name, ""),
            Some((name, value)) => (name, value.strip_prefix(' ').ok_or(LineError::Form)?),
            None => return Err(LineError::Form),
        };
        let text = || Ok(value.to_owned());
        match name {
            "StorePath" => once(&mut self.path, || Ok(store_dir.parse(value)?)),
            "URL" => once(&mut self.url, text),
            "Compression" => once(&mut self.compression, text),
            "FileHash" => once(&mut self.file_hash, || Ok(Hash::parse(value, None)?)),
            "FileSize" => once(&mut self.file_size, || value.parse().map_err(|_| LineError::Number)),
            "NarHash" => once(&mut self.nar_hash, || Ok(Hash::parse(value, Some(HashAlgorithm::Sha256))?)),
            "NarSize" => once(&mut self.nar_size, || nonzero(value)),
            "References" => once(&mut self.references, || references(value)),
            "Deriver" => once(&mut self.deriver, || deriver(value)),
            "CA" => once(&mut self.content_address, || address(value)),
            "Sig" => {
                self.signatures.push(value.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<NarInfo, NarInfoError> {
        let missing = |field| NarInfoError::Missing { field };
        let mut signatures = self.signatures;
        // Nix keeps them as a set.
        signatures.sort();
        signatures.dedup();
        let info = PathInfo {
            path: self.path.ok_or_else(|| missing("StorePath"))?,
            nar_hash: self.nar_hash.ok_or_else(|| missing("NarHash"))?,
            nar_size: self.nar_size.ok_or_else(|| missing("NarSize"))?,
            references: self.references.unwrap_or_default(),
            deriver: self.deriver.flatten(),
            registration_time: 0,
            ultimate: false,
            signatures,
            content_address: self.content_address.flatten(),
        };
        let compression = self.compression.filter(|name| !name.is_empty());
        Ok(NarInfo {
            info,
            url: Some(self.url.filter(|url| !url.is_empty()).ok_or_else(|| missing("URL"))?),
            compression: Some(compression.unwrap_or_else(|| UNSTATED_COMPRESSION.to_owned())),
            file_hash: self.file_hash,
            file_size: self.file_size.filter(|size| *size > 0),
        })
    }
}

fn once<T>(place: &mut Option<T>, read: impl FnOnce() -> Result<T, LineError>) -> Result<(), LineError> {
    if place.replace(read()?).is_some() { Err(LineError::Twice) } else { Ok(()) }
}

fn nonzero(value: &str) -> Result<u64, LineError> {
    value.parse().ok().filter(|size| *size > 0).ok_or(LineError::Number)
}

fn references(value: &str) -> Result<BTreeSet<StorePath>, LineError> {
    value.split(' ').filter(|base| !base.is_empty()).map(|base| Ok(base.parse()?)).collect()
}

fn deriver(value: &str) -> Result<Option<StorePath>, LineError> {
    if matches!(value, "" | UNKNOWN_DERIVER) { Ok(None) } else { Ok(Some(value.parse()?)) }
}

fn address(value: &str) -> Result<Option<ContentAddress>, LineError> {
    if value.is_empty() { Ok(None) } else { Ok(Some(value.parse()?)) }
}
