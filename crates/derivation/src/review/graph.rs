//! The rules, over all derivations of all files.

use std::collections::HashMap;
use std::error::Error;

use store_path::{StoreDir, StorePath};

use super::spot::{At, Spot};
use super::warnings::{self, Before};
use super::{Lent, Remark, Source, Unread, chain};
use crate::check::OwnFile;
use crate::closure::{Closure, Order, cycle, order};
use crate::{CheckError, ClosureError, Derivation, InputError};

/// Returns remarks, each with the file that it is about.
///
/// An input that cannot be had may be in a part that is `unread`, and then is not told of.
pub(super) fn remarks<'a, E: Error + 'static>(
    all: Vec<(Lent<'a>, (usize, Option<OwnFile<'a>>))>,
    sources: &[Source<'_>],
    store_dir: &StoreDir,
    known: &mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    unread: Unread,
) -> Vec<(usize, Remark)> {
    let (stated, rest): (Vec<Lent<'_>>, Vec<_>) = all.into_iter().unzip();
    let (files, mut own_files): (Vec<usize>, Vec<_>) = rest.into_iter().unzip();
    let mut given = HashMap::new();
    for (index, (path, _)) in stated.iter().enumerate() {
        if let Some(path) = path {
            given.entry(path.clone()).or_insert(index);
        }
    }
    let Order { order, circular, is_input } = order(&stated, &given);
    let mut remarks = Vec::new();
    let mut bad = unread.paths;
    for index in circular {
        let error: ClosureError<E> = cycle(&stated[index], store_dir);
        let at = At::Part(stated[index].0.clone(), Spot::Whole);
        remarks.push((files[index], Remark::error(at, &error)));
        bad.extend(stated[index].0.clone());
    }
    let mut closure = Closure::new(store_dir, known);
    // A download is right or wrong by itself.
    closure.needs_inputs_of_fixed = false;
    let mut waiting: Vec<Option<Lent<'_>>> = stated.into_iter().map(Some).collect();
    for index in order {
        let (path, derivation) = waiting[index].take().expect("the order names each once");
        let other_bytes = || warnings::other_bytes(&sources[files[index]], store_dir);
        // A consequence of what has been told.
        if derivation.input_drvs.keys().any(|input| bad.contains(input)) {
            bad.extend(path);
            remarks.extend(other_bytes().map(|remark| (files[index], remark)));
            continue;
        }
        let before = Before::of(&derivation);
        match closure.settle(path.clone(), derivation, own_files[index].take()) {
            Ok(settled) => {
                let warnings = warnings::of(path.as_ref(), &before, &settled, store_dir);
                remarks.extend(warnings.into_iter().map(|remark| (files[index], remark)));
                // What was filled in is not in the file either.
                if !settled.text.is(sources[files[index]].text) {
                    remarks.extend(other_bytes().map(|remark| (files[index], remark)));
                }
                if is_input[index] {
                    settled.tell(&mut closure.modulo);
                } else {
                    closure.put_by(settled);
                }
            }
            Err(problems) => {
                bad.extend(path.clone());
                remarks.extend(other_bytes().map(|remark| (files[index], remark)));
                let is_told = |error: &&ClosureError<E>| {
                    !unread.has_more || !matches!(error, ClosureError::Input { .. })
                };
                let remark = |error| (files[index], remark(path.as_ref(), error, store_dir));
                remarks.extend(problems.iter().filter(is_told).map(remark));
            }
        }
    }
    remarks
}

fn remark<E: Error + 'static>(
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
