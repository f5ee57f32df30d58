//! The build trace: what came out of derivations that were built before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use derivation::OutputName;
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::Error;

/// Returns what is known of the outputs of resolved derivations, by derivation.
pub(crate) fn outputs_of(
    store: &LocalStore,
    resolved: &BTreeSet<StorePath>,
) -> Result<HashMap<StorePath, BTreeMap<OutputName, StorePath>>, Error> {
    let mut traced: HashMap<StorePath, BTreeMap<OutputName, StorePath>> = HashMap::new();
    if resolved.is_empty() {
        return Ok(traced);
    }
    for realisation in store.realisations(resolved)? {
        // A name that no output can have is nobody's.
        if let Ok(name) = realisation.output.parse() {
            traced.entry(realisation.drv).or_default().insert(name, realisation.path);
        }
    }
    Ok(traced)
}
