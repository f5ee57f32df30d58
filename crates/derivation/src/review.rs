//! All that is wrong with files of derivations, and where.
//!
//! The readers and the rules are those of [`crate::json::parse`], [`crate::aterm::parse`] and
//! [`crate::check_closure`], which tell of the first problem only; here all are kept, and looked up in the texts.

mod graph;
mod part;
mod rounds;
mod spot;
mod warnings;

use std::borrow::Cow;
use std::collections::HashSet;
use std::error::Error;

use serde_json::error::Category;
use store_path::{Name, StoreDir, StorePath};

use crate::check::OwnFile;
use crate::json::{JsonError, Problem, Stated};
use crate::{Derivation, aterm, json};
use part::Part;
use spot::At;

/// A file of derivations.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// What is in it.
    pub text: &'a [u8],
    /// How that is written.
    pub form: SourceForm,
}

/// How a file of derivations is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceForm {
    /// As JSON of any generation.
    Json,
    /// As a `.drv` file.
    Aterm {
        /// The derivation's name, which is not in the text.
        name: Name,
        /// Its path, if the file is called after one.
        path: Option<StorePath>,
    },
}

/// What is wrong, or worth a warning, at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the file cannot be used as it is.
    pub is_error: bool,
    /// Counted from 0, in bytes.
    pub offset: usize,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Which value of the JSON it is about.
    pub pointer: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl<'a> Source<'a> {
    /// Reads what can be read of the file, and finds out what needs no other file.
    pub fn read(self, store_dir: &StoreDir) -> ReadSource<'a> {
        self.read_by(aterm::skim, store_dir)
    }

    /// The same, but of a `.drv` file all is read.
    #[cfg(test)]
    pub(crate) fn read_whole(self, store_dir: &StoreDir) -> ReadSource<'a> {
        self.read_by(|_, _, _| None, store_dir)
    }

    fn read_by(
        self,
        skim: impl FnOnce(&'a [u8], &StoreDir, &Name) -> Skimmed<'a>,
        store_dir: &StoreDir,
    ) -> ReadSource<'a> {
        let (mut remarks, mut unread) = (Vec::new(), Unread::default());
        let stated = read(&self, skim, store_dir, &mut remarks, &mut unread);
        ReadSource { source: self, stated, remarks, unread }
    }
}

/// A file of derivations that has been read, the first half of a review: each file by itself.
pub struct ReadSource<'a> {
    source: Source<'a>,
    #[expect(clippy::vec_box, reason = "each is handed on by itself, several times")]
    stated: Vec<Box<Part<'a>>>,
    remarks: Vec<Remark>,
    unread: Unread,
}

/// Who works at the same time, such as threads: this crate starts none.
pub trait Workers {
    /// Does `lead`, while up to `most` others do `help`, which ends by itself once `lead` has. Returns when all have ended.
    fn together(&self, most: usize, help: impl Fn() + Sync, lead: impl FnOnce());
}

/// Returns what is to be said about each of some files, in the order of their texts.
///
/// Derivations may be inputs of each other across the files; other inputs are asked from `known`. What uses a
/// derivation with an error is not held against its own paths: they follow from that one's. What is found does not
/// depend on the order in which `workers` do their work.
pub fn review<E: Error + 'static>(
    files: Vec<ReadSource<'_>>,
    store_dir: &StoreDir,
    known: &mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    workers: &impl Workers,
) -> Vec<Vec<Finding>> {
    let count = files.len();
    let (mut sources, mut remarks) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut all = Vec::with_capacity(count);
    let mut unread = Unread::default();
    for (index, file) in files.into_iter().enumerate() {
        sources.push(file.source);
        remarks.push(file.remarks);
        all.extend(file.stated.into_iter().map(|mut part| {
            part.about.file = index;
            part
        }));
        unread.paths.extend(file.unread.paths);
        unread.has_more |= file.unread.has_more;
    }
    for (index, remark) in graph::remarks(all, &sources, store_dir, known, unread, workers) {
        remarks[index].push(remark);
    }
    let place = |(source, remarks)| spot::findings(source, store_dir, remarks);
    sources.iter().zip(remarks).map(place).collect()
}

/// The derivations that are there but cannot be read: they are not missing.
#[derive(Debug, Default)]
struct Unread {
    paths: HashSet<StorePath>,
    /// Whether there may be more.
    has_more: bool,
}

/// A finding whose place is not known yet.
struct Remark {
    is_error: bool,
    at: At,
    message: String,
}

impl Remark {
    fn error(at: At, error: &dyn Error) -> Self {
        Self { is_error: true, at, message: chain(error) }
    }
}

fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What paths depend on in a `.drv` file, where that is enough.
type Skimmed<'a> = Option<(Derivation<Cow<'a, [u8]>>, aterm::Layout)>;

/// Reads what can be read of a file; `skim` says of a `.drv` file what is enough, if it is.
///
/// A derivation's own file is at hand where it is the file that was read.
#[expect(clippy::vec_box, reason = "each is handed on by itself, several times")]
fn read<'a>(
    source: &Source<'a>,
    skim: impl FnOnce(&'a [u8], &StoreDir, &Name) -> Skimmed<'a>,
    store_dir: &StoreDir,
    remarks: &mut Vec<Remark>,
    unread: &mut Unread,
) -> Vec<Box<Part<'a>>> {
    match &source.form {
        SourceForm::Json => {
            let (stated, problems) = json::examine(source.text, store_dir);
            remarks.extend(problems.iter().map(|error| json_remark(source.text, error)));
            problems.iter().for_each(|error| unread.add_json(error, store_dir));
            if stated.is_empty() && problems.is_empty() {
                let message = "there is no derivation in it".to_owned();
                remarks.push(Remark { is_error: true, at: At::Offset(0), message });
            }
            let part = |(path, derivation): Stated| Part::new((path, derivation.held(Cow::Owned)), None);
            stated.into_iter().map(part).collect()
        }
        SourceForm::Aterm { name, path } => {
            let skimmed = skim(source.text, store_dir, name);
            let skimmed = skimmed.map(|(derivation, layout)| (derivation, Some(layout)));
            match skimmed.map_or_else(|| aterm::examine(source.text, store_dir, name), Ok) {
                Ok((derivation, layout)) => {
                    let own = OwnFile::read(&derivation, store_dir, source.text, layout);
                    vec![Part::new((path.clone(), derivation), own)]
                }
                Err(problems) => {
                    let remark =
                        |error: &aterm::ParseError| Remark::error(At::Offset(error.offset), &error.problem);
                    remarks.extend(problems.iter().map(remark));
                    unread.has_more |= path.is_none();
                    unread.paths.extend(path.clone());
                    Vec::new()
                }
            }
        }
    }
}

impl Unread {
    fn add_json(&mut self, error: &JsonError, store_dir: &StoreDir) {
        match error {
            JsonError::Syntax(_) => self.has_more = true,
            JsonError::Field { place, .. } => {
                let key = place.derivation.as_ref();
                let path = |key: &String| store_dir.parse(key.as_bytes()).ok().or_else(|| key.parse().ok());
                self.paths.extend(key.and_then(path));
            }
        }
    }
}

fn json_remark(text: &[u8], error: &JsonError) -> Remark {
    match error {
        JsonError::Syntax(error) => {
            let message = error.to_string();
            // The place is told otherwise.
            let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
            let at = At::Offset(spot::offset(text, error.line(), error.column()));
            let message = match error.classify() {
                Category::Syntax | Category::Eof => format!("this is not JSON: {message}"),
                Category::Io | Category::Data => message.to_owned(),
            };
            Remark { is_error: true, at, message }
        }
        JsonError::Field { place, problem } => {
            let at_name = matches!(problem, Problem::Unknown | Problem::Twice);
            Remark::error(At::Names { names: place.names(), at_name }, problem)
        }
    }
}
