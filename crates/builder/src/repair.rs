//! Building once more what is damaged, to put what comes out in its place.

use std::collections::{BTreeMap, BTreeSet};

use derivation::OutputName;
use local_store::Verification;
use store_path::StorePath;

use crate::attempt::attempt;
use crate::build::{Built, Context, Maker, Message, Order, begin, prepare};
use crate::failure::BuildFailure;
use crate::observe::Teller;
use crate::outputs::Finished;
use crate::request::{self, Kind, Request};
use crate::{again, announce, control, history};

/// Builds a derivation whose inputs are valid though its outputs are, and replaces those of them that are damaged.
///
/// What is not damaged is not touched, and if nothing is, nothing is built. Nothing is registered: what is put in place is
/// what was registered, to the byte.
///
/// # Errors
/// [`BuildFailure::Unrepaired`] if something else came out, any other if it could not be found out.
pub fn repair(
    context: &Context<'_>,
    order: &Order<'_>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Built, BuildFailure> {
    let request = Request { control: order.control, ..request::check(order.drv, order.derivation, context)? };
    again::refuse_open(&request)?;
    announce::announced(context, order, &request, tell, |public, tell| {
        let _locks = begin(context, &request, tell)?;
        let valid = request.valid(context.store).map_err(|source| request.not_prepared(source))?;
        let damaged = damaged(context, &request, &valid)?;
        if damaged.is_empty() {
            return Built::new(context, &request, valid, Maker::Meanwhile(None));
        }
        let exit =
            history::remembering(context.store, order.drv, &public.log, request.until(), tell, |tell| {
                let mut work = prepare(context, &request, tell)?;
                work.is_again = true;
                let finished = attempt(&work, &BTreeMap::new(), public, tell)?;
                replace(context, &request, &damaged, &finished, tell)?;
                Ok(finished.exit)
            })?;
        Built::new(context, &request, valid, Maker::Here(exit))
    })
}

/// Returns those outputs that are not what they should be, now that nobody else repairs them.
fn damaged(
    context: &Context<'_>,
    request: &Request<'_>,
    valid: &BTreeMap<OutputName, StorePath>,
) -> Result<BTreeMap<OutputName, StorePath>, BuildFailure> {
    let paths: BTreeSet<StorePath> = valid.values().cloned().collect();
    let what = Verification { paths: Some(&paths), until: request.until(), ..true.into() };
    let report = context.store.verify(what).map_err(|source| request.not_prepared(source))?;
    request.refuse_given_up()?;
    let damaged: BTreeSet<StorePath> = report.damaged.into_iter().map(|(path, _)| path).collect();
    let damaged = valid.iter().filter(|(_, path)| damaged.contains(*path));
    Ok(damaged.map(|(name, path)| (name.clone(), path.clone())).collect())
}

/// Puts what was made in the place of what is damaged: all of it or, if something differs, nothing.
fn replace(
    context: &Context<'_>,
    request: &Request<'_>,
    damaged: &BTreeMap<OutputName, StorePath>,
    finished: &Finished,
    tell: &mut Teller<'_>,
) -> Result<(), BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let in_order: BTreeSet<&StorePath> = damaged.values().collect();
    // The locks of paths that were known are held already.
    let _locks = match request.kind {
        Kind::Known => None,
        Kind::Floating | Kind::Impure => {
            Some(control::lock_made(context.store, request, &in_order.into_iter().collect::<Vec<_>>(), tell)?)
        }
    };
    let infos = context.store.path_infos(&damaged.values().cloned().collect()).map_err(failed)?;
    let mut trees = Vec::new();
    for (name, path) in damaged {
        let made = &finished.outputs[name];
        // Somebody may have deleted it.
        let Some(info) = infos.get(path) else { continue };
        if made.info.path != *path || made.info.nar_hash != info.nar_hash {
            let (valid, got) = (Box::new(info.nar_hash), Box::new(made.info.nar_hash));
            return Err(BuildFailure::Unrepaired {
                drv: request.drv.clone(),
                path: path.clone(),
                valid,
                got,
            });
        }
        trees.push((path, &made.tree));
    }
    trees.into_iter().try_for_each(|(path, tree)| context.store.replace(path, tree)).map_err(failed)
}
