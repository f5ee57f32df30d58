//! The plan of a sandbox that is not made.

use std::collections::BTreeSet;

use derivation::Derivation;
use sandbox::{Plan, Program};
use store_path::StorePath;

use crate::build::Context;
use crate::builtin;
use crate::failure::BuildFailure;
use crate::plan::{self, Outside};
use crate::request;
use crate::work::{Places, Work};

/// What a sandbox would be.
#[derive(Debug)]
pub struct Sketch {
    /// The plan, with names of the directories that would be made.
    pub plan: Plan,
    /// Inputs that are not in the store; what they in turn need is not in the plan.
    pub absent: BTreeSet<StorePath>,
}

/// Works out the sandbox of `derivation`, whose file would be `drv`, and makes nothing; `inputs` are what it takes in
/// itself, valid or not.
///
/// # Errors
/// A [`BuildFailure`] if it could not be built here.
pub fn sketch(
    context: &Context<'_>,
    drv: &StorePath,
    derivation: &Derivation,
    inputs: &BTreeSet<StorePath>,
) -> Result<Sketch, BuildFailure> {
    let request = request::check(drv, derivation, context)?;
    let Context { store, settings, host, .. } = *context;
    let failed = |source| BuildFailure::Store { drv: drv.clone(), source };
    let valid = store.valid_among(inputs).map_err(failed)?;
    let absent: BTreeSet<StorePath> = inputs.difference(&valid).cloned().collect();
    let mut seen = store.closure(&valid).map_err(failed)?;
    seen.extend(absent.iter().cloned());
    let scratch = store.location().real_store.join(format!("{drv}.chroot"));
    let top = settings.build_dir.clone().unwrap_or_else(|| store.location().builds()).join("nix-NEW");
    let fifo = settings.build_job_server.then(|| top.with_file_name("nix-JOBS").join("jobs"));
    let work = Work::new(context, &request, seen).with_fifo(fifo);
    // What it would be handed may be secret, and nobody runs it.
    let builtin =
        builtin::name(derivation).map(|name| Program::Function { name: name.to_owned(), input: Vec::new() });
    if !work.is_isolated() {
        let plan = plan::running(plan::open(settings, work.outline(&top)), builtin);
        return Ok(Sketch { plan, absent });
    }
    let places = Places {
        scratch: scratch.join("store"),
        build_dir: top.join("build"),
        tmp: top.join("tmp"),
        root: scratch.join("root"),
    };
    let user = host.users.as_ref().and_then(|users| users.first(request.ids()));
    if work.is_chroot() && user.is_none() {
        return Err(BuildFailure::ChrootNeedsRoot);
    }
    let user = user.map(|(ids, groups)| Outside { ids, groups });
    let outline = work.outline(&settings.sandbox_build_dir);
    let plan = plan::running(work.isolated(&places, user, outline, &[]), builtin);
    Ok(Sketch { plan, absent })
}
