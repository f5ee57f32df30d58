//! What has to be built, before anything is.

use std::collections::HashMap;

use derivation::Derivation;
use local_store::LocalStore;
use store_path::StorePath;

use crate::closure;
use crate::error::Error;
use crate::order;
use crate::wanted::{Realised, Wanted};

/// The builds that what is wanted takes, inputs first.
#[derive(Debug)]
pub struct Plan {
    pub(crate) builds: Vec<Build>,
    pub(crate) promises: Vec<Promise>,
}

/// One build of a plan.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) drv: StorePath,
    pub(crate) derivation: Derivation,
    /// The builds whose outputs it needs: places in the plan, each before this one.
    pub(crate) inputs: Vec<usize>,
}

/// What one wanted thing will be.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) realised: Realised,
    /// The build that keeps it; none if it is kept already.
    pub(crate) build: Option<usize>,
}

impl Plan {
    /// Returns the derivations that will be built, each after its inputs.
    pub fn to_build(&self) -> impl ExactSizeIterator<Item = &StorePath> {
        self.builds.iter().map(|build| &build.drv)
    }

    /// Returns what each wanted thing will be, in the order of the question.
    pub(crate) fn promised(&self) -> impl ExactSizeIterator<Item = &Realised> {
        self.promises.iter().map(|promise| &promise.realised)
    }
}

/// Finds out what has to be built for `wanted`, and changes nothing but this process's temporary roots.
///
/// Everything the plan relies on is rooted before its validity is asked, so that no collector takes it away
/// between the plan and the build.
pub fn plan(store: &LocalStore, wanted: &[Wanted]) -> Result<Plan, Error> {
    let explored = closure::explore(store, wanted)?;
    let promises = explored.promises(wanted)?;
    let tops = promises.iter().filter_map(|(_, drv)| drv.as_ref());
    let builds = order::inputs_first(explored.into_builds(), tops)?;
    let places: HashMap<&StorePath, usize> =
        builds.iter().enumerate().map(|(place, build)| (&build.drv, place)).collect();
    let promises = promises
        .into_iter()
        .map(|(realised, drv)| Promise { build: drv.and_then(|drv| places.get(&drv).copied()), realised })
        .collect();
    Ok(Plan { builds, promises })
}
