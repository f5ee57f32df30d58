//! One build from its lock to its registration.

use std::collections::BTreeMap;

use derivation::{Derivation, OutputName};
use local_store::{BuildId, LocalStore, Wait};
use sandbox::{Exit, Launcher, Notice};
use settings::Settings;
use store_path::{PathInfo, StorePath};

use crate::again::{self, Again};
use crate::announce;
use crate::attempt::{attempt, remove_open};
use crate::control::{Control, Locks};
use crate::explain::Explanation;
use crate::failure::BuildFailure;
use crate::host::Host;
use crate::inside::OnFailure;
use crate::job_server::JobServer;
use crate::observe::Teller;
use crate::post_build_hook::run_post_build_hook;
use crate::request::{self, Request};
use crate::work::Work;
use crate::{canary, control, history};

/// What every build shares.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where inputs come from and outputs go.
    pub store: &'a LocalStore,
    /// Starts builders.
    pub launcher: &'a Launcher,
    /// How to build.
    pub settings: &'a Settings,
    /// What the settings mean on this host.
    pub host: &'a Host,
    /// Who may step into the sandbox of a build that has failed.
    pub on_failure: Option<OnFailure<'a>>,
}

/// One build that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// By what name others speak of the build.
    pub id: &'a BuildId,
    /// The file of the derivation.
    pub drv: &'a StorePath,
    /// The derivation.
    pub derivation: &'a Derivation,
    /// The derivation that somebody has asked for, which is this one or needs it.
    pub target: &'a StorePath,
    /// Who may give it up; if nobody may, the call waits for locks by itself.
    pub control: Option<&'a dyn Control>,
}

/// What a build says while it runs.
#[derive(Debug)]
pub enum Message<'a> {
    /// Nothing is done yet, as it waits for that.
    Waiting(Wait),
    /// Its builder has ended, and nothing is kept yet, as it waits for that.
    WaitingToKeep(Wait),
    /// Its builder runs.
    Running {
        /// By what name others speak of the build.
        id: BuildId,
        /// The first process of the builder, or its keeper.
        process: u32,
    },
    /// The builder printed this.
    Output(&'a [u8]),
    /// Something that does not end the build and that the user should know.
    Warning(String),
    /// A step of setting its sandbox up or taking it down.
    Detail(sandbox::Detail),
    /// What the builder, which was observed, looked for in vain.
    Explained(Explanation),
    /// The builder has ended well and left every output; what is left to do is to keep them.
    Ran,
    /// It is run once more, to compare what comes out.
    Again(Again),
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The outputs, all valid now.
    pub outputs: BTreeMap<OutputName, PathInfo>,
    /// Who has made them.
    pub maker: Maker,
}

/// Who has made something.
#[derive(Clone, Copy, Debug)]
pub enum Maker {
    /// This call, with a builder that used that much.
    Here(Exit),
    /// Another machine.
    Elsewhere,
    /// Another process, while this one waited or was about to begin; with its number, if it is known for sure.
    Meanwhile(Option<u32>),
}

impl Maker {
    /// What the builder used, if it was one of this call.
    pub fn usage(&self) -> Option<Exit> {
        if let Self::Here(usage) = self { Some(*usage) } else { None }
    }
}

/// Builds a derivation whose inputs are valid, and registers its outputs.
///
/// It is resolved, so that all it takes is in its `input_srcs`; or the paths of all outputs that it takes are
/// known. What a floating output has turned out to be is in the build trace then
/// ([`LocalStore::realisations`]); if all of them are there already, nothing is built. Impure outputs are built
/// each time, and are never in the trace.
///
/// Whoever builds the same at the same time, in this process or another, waits for the other's lock and
/// then finds the outputs valid.
///
/// # Errors
/// A [`BuildFailure`]; then no output was registered, save if that says otherwise ([`BuildFailure::PostBuildHook`]).
pub fn build(
    context: &Context<'_>,
    order: &Order<'_>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Built, BuildFailure> {
    let request = Request { control: order.control, ..request::check(order.drv, order.derivation, context)? };
    let built = announce::announced(context, order, &request, tell, |public, tell| {
        let locks = begin(context, &request, tell)?;
        request.reach("build.locked")?;
        let failed = |source| request.not_prepared(source);
        let valid = request.valid(context.store).map_err(failed)?;
        if valid.len() == request.outputs.len() {
            let by = locks.maker(context.store, &valid);
            return Built::new(context, &request, valid, Maker::Meanwhile(by));
        }
        // Not after hours of building.
        context.store.check_records().map_err(failed)?;
        let (exit, made) =
            history::remembering(context.store, order.drv, &public.log, request.until(), tell, |tell| {
                let mut work = prepare(context, &request, tell)?;
                let finished = match again::rounds(&work) {
                    1 => attempt(&work, &valid, public, tell),
                    _ => again::repeated(&mut work, &valid, public, tell),
                };
                let kept = finished.and_then(|finished| Ok((finished.exit, finished.keep(&work, tell)?)));
                if kept.is_err() && request.until().is_over() {
                    remove_open(context, &request, &valid)?;
                }
                kept
            })?;
        Built::new(context, &request, made, Maker::Here(exit))
    })?;
    if built.maker.usage().is_some() {
        run_post_build_hook(context, order.drv, &built.outputs, tell)?;
    }
    Ok(built)
}

/// Takes the locks of what is built, and says what is to be said of the derivation.
pub(crate) fn begin(
    context: &Context<'_>,
    request: &Request<'_>,
    tell: &mut Teller<'_>,
) -> Result<Locks, BuildFailure> {
    for warning in &request.options.warnings {
        tell(Message::Warning(format!("of `{}`, {warning}", request.drv)));
    }
    control::lock(context.store, request, tell)
}

/// Finds out what builds of it see, and makes sure that sandboxes hold.
pub(crate) fn prepare<'a>(
    context: &'a Context<'a>,
    request: &'a Request<'a>,
    tell: &mut Teller<'_>,
) -> Result<Work<'a>, BuildFailure> {
    let inputs = request::input_closure(request, context.store)?;
    if request.is_isolated {
        canary::prove(context, request.drv, request.control, tell)?;
    }
    let job_server = JobServer::of(context, request.drv)?;
    Ok(Work::new(context, request, inputs).with_job_server(job_server))
}

impl Built {
    /// What is valid at these paths.
    pub(crate) fn new(
        context: &Context<'_>,
        request: &Request<'_>,
        paths: BTreeMap<OutputName, StorePath>,
        maker: Maker,
    ) -> Result<Self, BuildFailure> {
        let lost = |source| BuildFailure::Store { drv: request.drv.clone(), source };
        let infos = context.store.path_infos(&paths.values().cloned().collect()).map_err(lost)?;
        let outputs = paths.into_iter().filter_map(|(name, path)| Some((name, infos.get(&path)?.clone())));
        Ok(Self { outputs: outputs.collect(), maker })
    }
}

impl From<Notice> for Message<'_> {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Warning(warning) => Self::Warning(request::chain(&warning)),
            Notice::Detail(detail) => Self::Detail(detail),
        }
    }
}
