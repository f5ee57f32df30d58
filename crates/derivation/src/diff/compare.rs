//! Two derivations side by side.

use std::collections::BTreeSet;
use std::rc::Rc;

use litemap::LiteMap;
use serde_json::{Map, Value};
use store_path::{Placeholder, StorePath};

use super::pairing::{Item, Pairing, pair};
use super::rewriter::{Rewriter, Strangers};
use super::{Both, Cause, Change, OutputPaths, Side};
use crate::{Derivation, Output, OutputName};

/// What was found.
pub(super) struct Found {
    pub(super) causes: Vec<Cause>,
    /// Input derivations that differ and stand in the same place.
    pub(super) inputs: Vec<(StorePath, StorePath)>,
}

/// Asks for the output paths of an input.
type Outputs<'a, E> = &'a mut dyn FnMut(&StorePath) -> Result<Option<Rc<OutputPaths>>, E>;

pub(super) fn compare<E>(left: &Derivation, right: &Derivation, outputs: Outputs<'_, E>) -> Result<Found, E> {
    let inputs = pair(items(left, right, true, outputs)?, items(right, left, true, outputs)?);
    let sources = pair(items(left, right, false, outputs)?, items(right, left, false, outputs)?);
    let mut view = View::default();
    view.learn(&inputs, &sources, outputs)?;
    for (name, output) in &right.outputs {
        if let (Some(ours), Some(theirs)) = (left.outputs.get(name).and_then(Output::path), output.path()) {
            view.rewriter.add_path(theirs, ours);
        }
    }
    let mut causes = own_differences(left, right, &view);
    let pairs = inputs.pairs.iter().map(|(left, right)| (left.path.clone(), right.path.clone())).collect();
    push_inputs(left, right, inputs, sources, &mut causes);
    Ok(Found { causes, inputs: pairs })
}

/// Returns the inputs that only `of` has, derivations or sources.
fn items<E>(
    of: &Derivation,
    other: &Derivation,
    are_derivations: bool,
    outputs: Outputs<'_, E>,
) -> Result<Vec<Item>, E> {
    let mut inputs = Vec::new();
    if are_derivations {
        for (drv, wanted) in of.input_drvs.iter().filter(|(drv, _)| !other.input_drvs.contains_key(drv)) {
            inputs.push((drv.clone(), Some(wanted.clone()), mentions(drv, outputs)?));
        }
    } else {
        let only = of.input_srcs.difference(&other.input_srcs);
        inputs.extend(only.map(|path| (path.clone(), None, vec![digest(path)])));
    }
    Ok(Item::all(of, inputs))
}

/// Returns the digests and hashes by which texts mention a derivation and what it makes.
fn mentions<E>(drv: &StorePath, outputs: Outputs<'_, E>) -> Result<Vec<Vec<u8>>, E> {
    let mut digests = vec![digest(drv)];
    for (name, path) in outputs(drv)?.iter().flat_map(|paths| paths.iter()) {
        digests.push(match path {
            Some(path) => digest(path),
            None => Placeholder::of_output(drv, name.as_str()).to_string().into_bytes().split_off(1),
        });
    }
    Ok(digests)
}

fn digest(path: &StorePath) -> Vec<u8> {
    path.digest().to_string().into_bytes()
}

/// How texts have to be read so that only what is different by itself differs.
#[derive(Default)]
struct View {
    rewriter: Rewriter,
    /// What only the left mentions, and what only the right does.
    gone: Strangers,
    come: Strangers,
}

impl View {
    fn learn<E>(&mut self, inputs: &Pairing, sources: &Pairing, outputs: Outputs<'_, E>) -> Result<(), E> {
        for (left, right) in inputs.pairs.iter().chain(&sources.pairs) {
            self.rewriter.add_path(&right.path, &left.path);
        }
        for (left, right) in &inputs.pairs {
            let (ours, theirs) = (outputs(&left.path)?, outputs(&right.path)?);
            let (Some(ours), Some(theirs)) = (ours, theirs) else {
                self.gone.add_outputs_of(&left.path);
                // Told in the words of the left, as far as those are known.
                self.come.add_outputs_of(&left.path);
                self.come.add_outputs_of(&right.path);
                continue;
            };
            for (name, theirs) in &*theirs {
                self.learn_output(name, (&left.path, ours.get(name)), (&right.path, theirs));
            }
        }
        for item in &inputs.left {
            self.gone.add(mentions(&item.path, outputs)?);
        }
        for item in &inputs.right {
            self.come.add(mentions(&item.path, outputs)?);
        }
        self.gone.add(sources.left.iter().map(|item| digest(&item.path)));
        self.come.add(sources.right.iter().map(|item| digest(&item.path)));
        Ok(())
    }

    fn learn_output(
        &mut self,
        name: &OutputName,
        (left_drv, left): (&StorePath, Option<&Option<StorePath>>),
        (right_drv, right): (&StorePath, &Option<StorePath>),
    ) {
        match (left, right) {
            (Some(Some(left)), Some(right)) => self.rewriter.add_path(right, left),
            (Some(None), None) => {
                let placeholder = |drv| Placeholder::of_output(drv, name.as_str());
                self.rewriter.add_placeholder(&placeholder(right_drv), &placeholder(left_drv));
            }
            _ => {}
        }
    }

    /// Returns the two values of a text if they differ by themselves.
    fn change(&self, left: Option<&[u8]>, right: Option<&[u8]>) -> Option<Change> {
        let right = right.map(|right| self.rewriter.apply(right));
        if left == right.as_deref() {
            return None;
        }
        if let (Some(left), Some(right)) = (left, &right)
            && !(self.gone.is_empty() && self.come.is_empty())
            && self.gone.words_without(left) == self.come.words_without(right)
        {
            return None;
        }
        Some(Change { left: left.map(<[u8]>::to_vec), right })
    }

    fn both(&self, left: &[u8], right: &[u8]) -> Option<Both> {
        let change = self.change(Some(left), Some(right))?;
        Some(Both { left: change.left?, right: change.right? })
    }
}

/// Returns what differs in the derivations themselves.
fn own_differences(left: &Derivation, right: &Derivation, view: &View) -> Vec<Cause> {
    let mut causes = Vec::new();
    if left.name != right.name {
        causes.push(Cause::Name { left: left.name.clone(), right: right.name.clone() });
    }
    causes.extend(view.both(&left.system, &right.system).map(Cause::System));
    causes.extend(view.both(&left.builder, &right.builder).map(Cause::Builder));
    causes.extend(arguments(&left.args, &right.args, view));
    let names: BTreeSet<&Vec<u8>> = left.env.keys().chain(right.env.keys()).collect();
    for name in names {
        let (ours, theirs) = (left.env.get(name), right.env.get(name));
        let value = view.change(ours.map(Vec::as_slice), theirs.map(Vec::as_slice));
        let Some(value) = value else { continue };
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if name == b"__json" => {
                causes.extend(
                    attributes(ours, theirs, view)
                        .unwrap_or_else(|| vec![Cause::Variable { name: name.clone(), value }]),
                );
            }
            // It is told already.
            _ if name == b"name" && is_own_name(ours, left) && is_own_name(theirs, right) => {}
            _ => causes.push(Cause::Variable { name: name.clone(), value }),
        }
    }
    causes.extend(outputs(&left.outputs, &right.outputs));
    causes
}

fn is_own_name(value: Option<&Vec<u8>>, derivation: &Derivation) -> bool {
    value.is_some_and(|value| value == derivation.name.as_str().as_bytes())
}

/// Returns the arguments that differ, without those that both begin or end with.
fn arguments(left: &[Vec<u8>], right: &[Vec<u8>], view: &View) -> Vec<Cause> {
    let is_same = |(left, right): &(&Vec<u8>, &Vec<u8>)| view.change(Some(left), Some(right)).is_none();
    let head = left.iter().zip(right).take_while(is_same).count();
    let (left, right) = (&left[head..], &right[head..]);
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(is_same).count();
    let (left, right) = (&left[..left.len() - tail], &right[..right.len() - tail]);
    let argument = |place: usize| {
        let at = |list: &[Vec<u8>]| list.get(place).cloned();
        let (left, right) = (at(left), at(right));
        let value = view.change(left.as_deref(), right.as_deref())?;
        Some(Cause::Argument { number: head + place + 1, value })
    };
    (0..left.len().max(right.len())).filter_map(argument).collect()
}

/// Returns the structured attributes that differ, if both texts are objects and any does.
fn attributes(left: &[u8], right: &[u8], view: &View) -> Option<Vec<Cause>> {
    let read = |text| serde_json::from_slice::<Map<String, Value>>(text).ok();
    let (left, right) = (read(left)?, read(right)?);
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let cause = |name: &String| {
        let print = |value: Option<&Value>| value.map(|value| value.to_string().into_bytes());
        let value = view.change(print(left.get(name)).as_deref(), print(right.get(name)).as_deref())?;
        Some(Cause::Attribute { name: name.clone(), value })
    };
    let causes: Vec<Cause> = names.into_iter().filter_map(cause).collect();
    (!causes.is_empty()).then_some(causes)
}

fn outputs(left: &LiteMap<OutputName, Output>, right: &LiteMap<OutputName, Output>) -> Vec<Cause> {
    let names: BTreeSet<&OutputName> = left.keys().chain(right.keys()).collect();
    let cause = |name: &OutputName| {
        let (left, right) = (left.get(name), right.get(name));
        let is_same = match (left, right) {
            (Some(left), Some(right)) => promise_alike(left, right),
            _ => false,
        };
        (!is_same).then(|| Cause::Output { name: name.clone(), left: left.cloned(), right: right.cloned() })
    };
    names.into_iter().filter_map(cause).collect()
}

/// Whether two outputs are alike but for their paths. Whether a path is known already follows from inputs.
fn promise_alike(left: &Output, right: &Output) -> bool {
    match (left, right) {
        (Output::Fixed { method, hash, .. }, Output::Fixed { method: other, hash: others, .. }) => {
            (method, hash) == (other, others)
        }
        (Output::InputAddressed(_) | Output::Deferred, Output::InputAddressed(_) | Output::Deferred) => true,
        (left, right) => left == right,
    }
}

fn push_inputs(
    left: &Derivation,
    right: &Derivation,
    inputs: Pairing,
    sources: Pairing,
    causes: &mut Vec<Cause>,
) {
    let mut wanted = |drv: &StorePath, ours, theirs| {
        if ours != theirs {
            causes.push(Cause::Wanted { drv: drv.clone(), left: ours, right: theirs });
        }
    };
    for (drv, ours) in &left.input_drvs {
        if let Some(theirs) = right.input_drvs.get(drv) {
            wanted(drv, ours.clone(), theirs.clone());
        }
    }
    for (ours, theirs) in inputs.pairs {
        wanted(&ours.path, ours.wanted.unwrap_or_default(), theirs.wanted.unwrap_or_default());
    }
    let input = |side, item: Item| Cause::Input { side, drv: item.path };
    causes.extend(inputs.left.into_iter().map(|item| input(Side::Left, item)));
    causes.extend(inputs.right.into_iter().map(|item| input(Side::Right, item)));
    let pairs = sources.pairs.into_iter().map(|(ours, theirs)| (Some(ours.path), Some(theirs.path)));
    let left = sources.left.into_iter().map(|item| (Some(item.path), None));
    let right = sources.right.into_iter().map(|item| (None, Some(item.path)));
    causes.extend(pairs.chain(left).chain(right).map(|(left, right)| Cause::Source { left, right }));
}
