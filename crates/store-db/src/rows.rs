//! From rows to values: the text in a row is checked like any other input.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::path::Path;

use store_path::{Hash, PathInfo, StoreDir, StorePath};

use crate::error::{Cause, Error};

/// The columns of `ValidPaths` that make a [`PathInfo`], in the order [`RawInfo::read`] takes them.
pub(crate) const INFO_COLUMNS: &str =
    "v.path, v.hash, v.registrationTime, v.deriver, v.narSize, v.ultimate, v.sigs, v.ca";

/// A row of `ValidPaths` before its text is parsed.
pub(crate) struct RawInfo {
    path: String,
    hash: String,
    registration_time: i64,
    deriver: Option<String>,
    nar_size: Option<i64>,
    ultimate: Option<bool>,
    signatures: Option<String>,
    content_address: Option<String>,
}

impl RawInfo {
    pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            path: row.get(0)?,
            hash: row.get(1)?,
            registration_time: row.get(2)?,
            deriver: row.get(3)?,
            nar_size: row.get(4)?,
            ultimate: row.get(5)?,
            signatures: row.get(6)?,
            content_address: row.get(7)?,
        })
    }

    /// Parses the row; the references are in another table.
    pub(crate) fn parse(self, reader: &Reader<'_>) -> Result<PathInfo, Error> {
        let deriver = self.deriver.filter(|text| !text.is_empty());
        let nar_hash = Hash::parse(&self.hash, None).map_err(reader.bad("hash", &self.hash))?;
        let content_address = self.content_address.filter(|text| !text.is_empty());
        let parse_address = |text: String| text.parse().map_err(reader.bad("content address", &text));
        Ok(PathInfo {
            path: reader.path(&self.path)?,
            nar_hash,
            nar_size: self.nar_size.unwrap_or(0).unsigned_abs(),
            references: BTreeSet::new(),
            deriver: deriver.map(|text| reader.path(&text)).transpose()?,
            registration_time: self.registration_time,
            ultimate: self.ultimate.unwrap_or(false),
            signatures: words(self.signatures.as_deref().unwrap_or("")),
            content_address: content_address.map(parse_address).transpose()?,
        })
    }
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What it takes to parse a row and to say where a bad one is.
pub(crate) struct Reader<'a> {
    pub(crate) database: &'a Path,
    pub(crate) store_dir: &'a StoreDir,
}

impl Reader<'_> {
    pub(crate) fn path(&self, text: &str) -> Result<StorePath, Error> {
        self.store_dir.parse(text).map_err(self.bad("path", text))
    }

    pub(crate) fn bad<E: Into<Cause>>(&self, column: &'static str, text: &str) -> impl Fn(E) -> Error {
        let (path, text) = (self.database.to_owned(), text.to_owned());
        move |source| Error::Row { path: path.clone(), column, text: text.clone(), source: source.into() }
    }
}

/// A list of paths as one bound value: base names need no escaping in JSON.
pub(crate) fn json_list<'a>(paths: impl IntoIterator<Item = &'a StorePath>) -> String {
    let mut list = String::from("[");
    for path in paths {
        if list.len() > 1 {
            list.push(',');
        }
        let _: fmt::Result = write!(list, "\"{path}\"");
    }
    list.push(']');
    list
}
