//! Building once more, to compare what comes out with what is there.

use std::collections::BTreeMap;

use derivation::OutputName;
use local_store::{BuildId, LocalStore};
use store_path::{Hash, StorePath};

use crate::build::{Built, Context, Message, Order, attempt, begin, prepare};
use crate::divergence::{Diverged, Divergence};
use crate::failure::BuildFailure;
use crate::observe::Teller;
use crate::outputs::{Finished, Kept};
use crate::request::{self, Kind, Request};
use crate::work::Work;
use crate::{announce, history};

/// A build that is run to be compared, not to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Which one it is, from 1 on.
    pub number: usize,
    /// How many there are at most.
    pub of: usize,
}

/// What others are compared with.
struct Reference(BTreeMap<OutputName, Known>);

/// One output of it.
struct Known {
    path: StorePath,
    nar_hash: Hash,
}

/// Builds a derivation whose inputs are valid though its outputs are there, and compares. What is there is not touched,
/// and nothing is registered.
///
/// Outputs that are not valid are not compared. What follows from its contents is compared as if its own path were not
/// known.
///
/// # Errors
/// [`BuildFailure::NotDeterministic`] if something else came out, any other if it could not be found out.
pub fn check(
    context: &Context<'_>,
    order: &Order<'_>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Built, BuildFailure> {
    let request = request::check(order.drv, order.derivation, context)?;
    refuse_open(&request)?;
    announce::announced(context, order, &request, tell, |id, tell| {
        let _locks = begin(context, &request, tell)?;
        let valid = request.valid(context.store).map_err(|source| request.not_prepared(source))?;
        let reference = Reference::valid(context.store, &request, &valid)?;
        let exit = history::remembering(context.store, order.drv, tell, |tell| {
            let mut work = prepare(context, &request, tell)?;
            work.is_again = true;
            let finished = run(&work, Again { number: 1, of: 1 }, id, tell)?;
            compare(&work, &reference, &finished)?;
            Ok(finished.exit)
        })?;
        Built::new(context, &request, valid, Some(exit))
    })
}

/// What is made without isolation is made where what is valid lies.
fn refuse_open(request: &Request<'_>) -> Result<(), BuildFailure> {
    match request.is_isolated {
        true => Ok(()),
        false => Err(BuildFailure::NotComparable { drv: request.drv.clone() }),
    }
}

/// Runs the builder in a sandbox of its own. The slot of the build is needed until all is compared.
fn run(work: &Work<'_>, again: Again, id: &BuildId, tell: &mut Teller<'_>) -> Result<Finished, BuildFailure> {
    if again.of > 1 {
        tell(Message::Again(again));
    }
    let mut tell = |message: Message<'_>| match message {
        Message::Ran => {}
        message => tell(message),
    };
    attempt(work, &BTreeMap::new(), id, &mut tell)
}

impl Reference {
    /// What is in the store.
    fn valid(
        store: &LocalStore,
        request: &Request<'_>,
        valid: &BTreeMap<OutputName, StorePath>,
    ) -> Result<Self, BuildFailure> {
        if valid.is_empty() {
            return Err(BuildFailure::NothingToCompare { drv: request.drv.clone() });
        }
        let infos = store
            .path_infos(&valid.values().cloned().collect())
            .map_err(|source| request.not_prepared(source))?;
        let known = valid.iter().filter_map(|(name, path)| {
            let nar_hash = infos.get(path)?.nar_hash;
            Some((name.clone(), Known { path: path.clone(), nar_hash }))
        });
        Ok(Self(known.collect()))
    }
}

impl Known {
    /// A path that follows from the contents tells of them, whatever they say of the path.
    fn agrees(&self, kind: Kind, made: &Kept) -> bool {
        match kind {
            Kind::Known => made.info.nar_hash == self.nar_hash,
            Kind::Floating | Kind::Impure => made.info.path == self.path,
        }
    }
}

/// Holds what has been made against the reference.
fn compare(work: &Work<'_>, reference: &Reference, finished: &Finished) -> Result<(), BuildFailure> {
    let request = work.request;
    let mut diverged = Vec::new();
    for (name, known) in &reference.0 {
        if !known.agrees(request.kind, &finished.outputs[name]) {
            diverged.push(Diverged { output: name.clone(), path: known.path.clone() });
        }
    }
    if diverged.is_empty() {
        return Ok(());
    }
    let divergence = Box::new(Divergence { outputs: diverged });
    Err(BuildFailure::NotDeterministic { drv: request.drv.clone(), divergence })
}
