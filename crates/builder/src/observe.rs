//! Which attempts at a build are observed, and what becomes of what was seen.

use std::collections::BTreeSet;

use sandbox::{Network, Observation, Plan, Scope, ScopePath};
use settings::{Explain, Variation};
use store_path::StorePath;

use crate::build::Message;
use crate::explain;
use crate::failure::BuildFailure;
use crate::request;
use crate::work::Work;

/// Hears what a build says.
pub(crate) type Teller<'a> = dyn FnMut(Message<'_>) + 'a;

/// Which attempt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Only,
    /// A second one follows if it fails.
    First,
    Second,
}

/// Runs `build`, and once more if it fails and what it lacked is to be found out then.
pub(crate) fn attempt<T>(
    work: &Work<'_>,
    tell: &mut Teller<'_>,
    build: &mut dyn FnMut(Turn, &mut Teller<'_>) -> Result<T, BuildFailure>,
) -> Result<T, BuildFailure> {
    // Without isolation, there is nothing to miss.
    if work.context.settings.explain != Explain::Retry || !work.is_isolated() {
        return build(Turn::Only, tell);
    }
    match build(Turn::First, tell) {
        Err(failure) if failure.may_be_a_lack() => {
            tell(Message::Warning(format!("{}; running it once more, observed", request::chain(&failure))));
            build(Turn::Second, tell)
        }
        other => other,
    }
}

/// What is to be seen of one attempt, if anything.
pub(crate) struct Observed {
    observation: Option<Observation>,
    is_told: bool,
}

impl Observed {
    pub(crate) fn new(work: &Work<'_>, turn: Turn) -> Result<Self, sandbox::Error> {
        let settings = work.context.settings;
        let is_told = settings.explain == Explain::Always || turn == Turn::Second;
        let backwards = work.varied.has(Variation::Order);
        let scope = || Scope {
            backwards,
            ..if is_told { explain::scope(work.context.store.store_dir(), &work.inside()) } else { unseen() }
        };
        let is_wanted = (is_told || backwards) && work.is_isolated();
        let observation = is_wanted.then(|| Observation::new(scope())).transpose()?;
        Ok(Self { observation, is_told })
    }

    pub(crate) fn observation(&self) -> Option<&Observation> {
        self.observation.as_ref()
    }

    /// Tells what was seen.
    pub(crate) fn explain(
        self,
        work: &Work<'_>,
        plan: &Plan,
        tell: &mut Teller<'_>,
    ) -> Result<(), BuildFailure> {
        let Some(observed) = self.observation.and_then(Observation::seen) else { return Ok(()) };
        if observed.unturned > 0 {
            let (drv, count) = (work.request.drv, observed.unturned);
            tell(Message::Warning(format!(
                "of `{drv}`, {count} reads of directories were not turned round, as nobody but the kernel can do them"
            )));
        }
        if !self.is_told {
            return Ok(());
        }
        let (store, request) = (work.context.store, work.request);
        let wanted = explain::wanted_paths(store.store_dir(), &observed);
        let lost = |source| BuildFailure::Store { drv: request.drv.clone(), source };
        let known: BTreeSet<StorePath> = request.outputs.values().chain(&work.inputs).cloned().collect();
        let surroundings = explain::Surroundings {
            store_dir: store.store_dir(),
            known: &known,
            valid: &store.valid_among(&wanted).map_err(lost)?,
            is_fixed: request.is_connected(),
            has_network: plan.network == Network::Host,
        };
        tell(Message::Explained(explain::explain(&observed, &surroundings)));
        Ok(())
    }
}

/// Where nothing that is absent is of interest.
fn unseen() -> Scope {
    Scope { never: vec![ScopePath("/".into())], ..Scope::default() }
}
