//! The rules, over one derivation.
//!
//! Nothing here changes what is shared, so any number can be looked at at once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::convert::Infallible;
use std::error::Error;

use store_path::{StoreDir, StorePath};

use super::spot::{At, Spot};
use super::warnings::{self, Before};
use super::{Remark, Source, SourceForm, chain};
use crate::check::{OwnFile, Settled};
use crate::closure::{Ground, MOST};
use crate::modulo::Known;
use crate::{CheckError, ClosureError, Derivation, InputError, aterm};

/// A derivation that is to be looked at. It is in a box, as it is handed on a lot.
pub(super) struct Part<'a> {
    pub(super) about: About,
    /// As much of it as the rules ask for, if its own file is at hand.
    pub(super) derivation: Derivation<Cow<'a, [u8]>>,
    pub(super) own: Option<OwnFile<'a>>,
    /// Whether it is an input of another one in the list.
    pub(super) is_input: bool,
}

impl<'a> Part<'a> {
    /// What was read, of which it is not known yet where it belongs.
    pub(super) fn new(
        (path, derivation): (Option<StorePath>, Derivation<Cow<'a, [u8]>>),
        own: Option<OwnFile<'a>>,
    ) -> Box<Self> {
        Box::new(Self { about: About { place: 0, file: 0, path }, derivation, own, is_input: false })
    }
}

/// Which derivation it is.
pub(super) struct About {
    /// Its place in an order in which inputs come first.
    pub(super) place: usize,
    pub(super) file: usize,
    /// The path it is given under.
    pub(super) path: Option<StorePath>,
}

/// What was found out about a derivation.
pub(super) struct Found<'a> {
    pub(super) about: About,
    pub(super) remarks: Vec<Remark>,
    pub(super) verdict: Verdict<'a>,
}

pub(super) enum Verdict<'a> {
    /// It is right, and what others in the list need to know of it.
    Input(StorePath, Known),
    /// It is right, and no other in the list names it as its input.
    Last(Box<Settled<'a, Cow<'a, [u8]>>>),
    Bad,
}

/// What is known while derivations are looked at.
pub(super) struct Shared<'s> {
    pub(super) ground: &'s Ground<'s>,
    /// Those with an error, and what uses them.
    pub(super) bad: &'s HashSet<StorePath>,
    pub(super) store_dir: &'s StoreDir,
    pub(super) sources: &'s [Source<'s>],
}

impl Shared<'_> {
    /// Whether all that a derivation names is known by now, and none is one of those that wait for something.
    pub(super) fn may_look<B>(&self, derivation: &Derivation<B>, late: &HashSet<StorePath>) -> bool {
        let mut named = derivation.input_drvs.keys().chain(&derivation.input_srcs);
        let waits = !late.is_empty() && named.any(|path| late.contains(path));
        !waits && self.ground.missing(derivation).is_empty()
    }

    /// Whether what is wrong with it has been told of already, as that of an input.
    pub(super) fn is_consequence<B>(&self, derivation: &Derivation<B>) -> bool {
        !self.bad.is_empty() && derivation.input_drvs.keys().any(|input| self.bad.contains(input))
    }

    /// Looks at one of which all inputs are known, or bad.
    pub(super) fn look<'a>(&self, part: Box<Part<'a>>) -> Found<'a> {
        let Part { about, derivation, own, is_input } = *part;
        if self.is_consequence(&derivation) {
            return self.bad(about, Vec::new());
        }
        let derivation = match self.ground.has_label(&derivation) {
            // Its file will be another one, for which all of it is needed.
            true => self.whole(&about).unwrap_or(derivation),
            false => derivation,
        };
        let before = Before::of(&derivation);
        let mut settled = match self.ground.settle::<_, Infallible>(about.path.as_ref(), derivation, own) {
            Ok(settled) => settled,
            Err(problems) => {
                let remark = |error| remark(about.path.as_ref(), error, self.store_dir);
                let remarks = most(problems.iter().map(remark));
                return self.bad(about, remarks);
            }
        };
        let mut remarks = most(warnings::of(about.path.as_ref(), &before, &settled, self.store_dir));
        // What was filled in is not in the file either.
        if !settled.text.is(self.sources[about.file].text) {
            remarks.extend(self.other_bytes(&about));
        }
        let verdict = if is_input {
            let known = settled.known(self.store_dir);
            Verdict::Input(settled.path, known)
        } else {
            settled.trim();
            Verdict::Last(Box::new(settled))
        };
        Found { about, remarks, verdict }
    }

    /// Says what is wrong with one whose paths cannot be known.
    pub(super) fn bad<'a>(&self, about: About, remarks: Vec<Remark>) -> Found<'a> {
        let remarks = self.other_bytes(&about).into_iter().chain(remarks).collect();
        Found { about, remarks, verdict: Verdict::Bad }
    }

    /// Reads all of what is in a `.drv` file.
    fn whole(&self, about: &About) -> Option<Derivation<Cow<'static, [u8]>>> {
        let Source { text, form: SourceForm::Aterm { name, .. } } = &self.sources[about.file] else {
            return None;
        };
        aterm::parse(text, self.store_dir, name).ok().map(|derivation| derivation.held(Cow::Owned))
    }

    fn other_bytes(&self, about: &About) -> Option<Remark> {
        warnings::other_bytes(&self.sources[about.file], self.store_dir)
    }
}

/// Leaves out what is too much to tell, and says so where the first of that would be.
pub(super) fn most(mut remarks: impl Iterator<Item = Remark>) -> Vec<Remark> {
    let mut told: Vec<Remark> = remarks.by_ref().take(MOST).collect();
    told.extend(remarks.next().map(|first| Remark {
        message: format!("there is more, but only the first {MOST} problems of a derivation are told"),
        ..first
    }));
    told
}

/// Returns what a problem of the derivation given under `path` is told as.
pub(super) fn remark<E: Error + 'static>(
    path: Option<&StorePath>,
    error: &ClosureError<E>,
    store_dir: &StoreDir,
) -> Remark {
    let at = |spot| At::Part(path.cloned(), spot);
    match error {
        ClosureError::Check { source, .. } => Remark::error(at(spot(source)), source),
        ClosureError::Input { path: input, source, .. } => {
            let input_spot = store_dir.parse(input.as_bytes()).map_or(Spot::Whole, Spot::Input);
            let cause = chain(source);
            let message = format!("its input `{input}` is not at hand, so no path can be computed: {cause}");
            Remark { is_error: true, at: at(input_spot), message }
        }
        other => Remark::error(at(Spot::Whole), other),
    }
}

/// Returns the part that has to be changed.
fn spot(error: &CheckError) -> Spot {
    match error {
        CheckError::NoOutputs | CheckError::Name(_) => Spot::Whole,
        CheckError::MixedOutputs { second: output, .. }
        | CheckError::FixedOutput { output }
        | CheckError::TextAlgorithm { output }
        | CheckError::OutputPath { output, .. }
        | CheckError::TooEarly { output, .. } => Spot::Output(output.clone()),
        CheckError::Variable { output, .. } | CheckError::NoVariable { output, .. } => {
            Spot::Variable(output.clone())
        }
        CheckError::NotDerivation { input }
        | CheckError::NothingWanted { input }
        | CheckError::Input(InputError::Missing { input } | InputError::NoOutput { input, .. }) => {
            Spot::Input(input.clone())
        }
    }
}
