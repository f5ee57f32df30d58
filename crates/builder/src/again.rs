//! Building once more, to compare what comes out with what is there.
//!
//! ```text
//! check      what is valid ─────────────────────┐
//!                                                compare ─► nothing, or a Divergence
//! repeated   what the first round left behind ──┘   ▲            │ kept, shown to the diff-hook
//!                                                   │            │ and, if things were changed on purpose:
//!            each other build, in a sandbox of its own ◄─────────┘ which of them matter, one by one
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use derivation::OutputName;
use local_store::{LocalStore, Until};
use settings::{Variation, Variations};
use store_path::{Digest, Hash, StorePath};

use crate::announce::Public;
use crate::attempt::attempt;
use crate::build::{Built, Context, Maker, Message, Order, begin, prepare};
use crate::compare;
use crate::divergence::{Blame, Diverged, Divergence};
use crate::failure::BuildFailure;
use crate::observe::Teller;
use crate::outputs::{self, Finished, Kept};
use crate::request::{self, Kind, Request};
use crate::vary::{self, NotVaried};
use crate::work::Work;
use crate::{announce, diff_hook, history};

/// A build that is run to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Which one it is, from 1 on.
    pub number: usize,
    /// How many there are at most; 0 where one is run to find out what makes a difference.
    pub of: usize,
    /// What is changed on purpose.
    pub varied: Vec<Variation>,
    /// What was to be changed, and cannot be.
    pub not_varied: Vec<NotVaried>,
}

/// What others are compared with.
struct Reference {
    outputs: BTreeMap<OutputName, Known>,
    /// Whether it is in the store.
    is_valid: bool,
}

/// One output of it.
struct Known {
    path: StorePath,
    nar_hash: Hash,
    tree: PathBuf,
    /// When it was made, in seconds since 1970.
    time: i64,
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
    let request = Request { control: order.control, ..request::check(order.drv, order.derivation, context)? };
    refuse_open(&request)?;
    announce::announced(context, order, &request, tell, |public, tell| {
        let _locks = begin(context, &request, tell)?;
        let valid = request.valid(context.store).map_err(|source| request.not_prepared(source))?;
        let reference = Reference::valid(context.store, &request, &valid)?;
        let exit =
            history::remembering(context.store, order.drv, &public.log, request.until(), tell, |tell| {
                let mut work = prepare(context, &request, tell)?;
                let mut last = None;
                let of = context.settings.repeat + 1;
                for number in 1..=of {
                    last = Some(compared(&mut work, &reference, (number, of), public, tell)?.exit);
                }
                Ok(last)
            })?;
        Built::new(context, &request, valid, exit.map_or(Maker::Meanwhile(None), Maker::Here))
    })
}

/// How often a derivation is built for each time that it is wanted. What is promised, or meant to differ, is built once.
pub(crate) fn rounds(work: &Work<'_>) -> usize {
    match work.request.derivation.is_fixed() || work.request.kind == Kind::Impure {
        true => 1,
        false => work.context.settings.repeat + 1,
    }
}

/// Builds so many times, and returns what came out first.
///
/// # Errors
/// [`BuildFailure::NotDeterministic`] if something else came out later, unless that is to be a warning.
pub(crate) fn repeated(
    work: &mut Work<'_>,
    valid: &BTreeMap<OutputName, StorePath>,
    public: &Public,
    tell: &mut Teller<'_>,
) -> Result<Finished, BuildFailure> {
    refuse_open(work.request)?;
    let mut first = attempt(work, valid, public, &mut |message| pass_on(message, tell))?;
    // Others are to have it meanwhile, the next round among them.
    first.prepared.user = None;
    let reference = Reference::of(&first, valid);
    let of = rounds(work);
    for number in 2..=of {
        match compared(work, &reference, (number, of), public, tell) {
            Ok(_) => {}
            Err(failure @ BuildFailure::NotDeterministic { .. })
                if !work.context.settings.enforce_determinism =>
            {
                tell(Message::Warning(request::chain(&failure)));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(first)
}

/// What is made without isolation is made where what is valid lies.
pub(crate) fn refuse_open(request: &Request<'_>) -> Result<(), BuildFailure> {
    match request.is_isolated {
        true => Ok(()),
        false => Err(BuildFailure::NotComparable { drv: request.drv.clone() }),
    }
}

/// Builds once more, and returns what came out if it is the same.
fn compared(
    work: &mut Work<'_>,
    reference: &Reference,
    (number, of): (usize, usize),
    public: &Public,
    tell: &mut Teller<'_>,
) -> Result<Finished, BuildFailure> {
    let (varied, not_varied) = vary::possible(work, &work.context.settings.vary);
    let again = Again { number, of, varied: varied.iter().collect(), not_varied };
    if of > 1 || !work.context.settings.vary.is_empty() {
        tell(Message::Again(again));
    }
    let finished = run(work, varied.clone(), public, tell)?;
    if reference.agrees(work.request.kind, &finished) {
        return Ok(finished);
    }
    work.varied = varied.clone();
    let mut divergence = divergence(work, reference, &finished, tell)?;
    work.varied = Variations::default();
    drop(finished);
    divergence.blame = blame(work, reference, &varied, public, tell)?;
    let (drv, divergence) = (work.request.drv.clone(), Box::new(divergence));
    Err(BuildFailure::NotDeterministic { drv, divergence })
}

/// Runs the builder in a sandbox of its own, with something changed.
fn run(
    work: &mut Work<'_>,
    varied: Variations,
    public: &Public,
    tell: &mut Teller<'_>,
) -> Result<Finished, BuildFailure> {
    (work.is_again, work.varied) = (true, varied);
    let finished = attempt(work, &BTreeMap::new(), public, &mut |message| pass_on(message, tell));
    (work.is_again, work.varied) = (false, Variations::default());
    finished
}

/// The slot of the build is needed until all is compared.
fn pass_on(message: Message<'_>, tell: &mut Teller<'_>) {
    if !matches!(message, Message::Ran) {
        tell(message);
    }
}

/// Finds out which of the changes make a difference, by making one at a time.
fn blame(
    work: &mut Work<'_>,
    reference: &Reference,
    varied: &Variations,
    public: &Public,
    tell: &mut Teller<'_>,
) -> Result<Option<Blame>, BuildFailure> {
    if varied.is_empty() {
        return Ok(None);
    }
    let mut differs = |varied: Variations, tell: &mut Teller<'_>| {
        tell(Message::Again(Again { varied: varied.iter().collect(), ..Again::default() }));
        let finished = run(work, varied, public, tell)?;
        Ok(!reference.agrees(work.request.kind, &finished))
    };
    if differs(Variations::default(), tell)? {
        return Ok(Some(Blame::Itself));
    }
    let mut these: Vec<Variation> = varied.iter().collect();
    if these.len() > 1 {
        let mut guilty = Vec::new();
        for variation in these {
            if differs(Variations::only(variation), tell)? {
                guilty.push(variation);
            }
        }
        these = guilty;
    }
    Ok(Some(if these.is_empty() { Blame::Together } else { Blame::These(these) }))
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
            let info = infos.get(path)?;
            let (tree, time) = (store.place_of(path), info.registration_time);
            Some((name.clone(), Known { path: path.clone(), nar_hash: info.nar_hash, tree, time }))
        });
        Ok(Self { outputs: known.collect(), is_valid: true })
    }

    /// What has been made and is not registered.
    fn of(first: &Finished, valid: &BTreeMap<OutputName, StorePath>) -> Self {
        let new = first.outputs.iter().filter(|(name, _)| !valid.contains_key(*name));
        let known = new.map(|(name, Kept { info, tree })| {
            let (path, nar_hash, time) = (info.path.clone(), info.nar_hash, info.registration_time);
            (name.clone(), Known { path, nar_hash, tree: tree.clone(), time })
        });
        Self { outputs: known.collect(), is_valid: false }
    }

    fn agrees(&self, kind: Kind, finished: &Finished) -> bool {
        self.outputs.iter().all(|(name, known)| known.agrees(kind, &finished.outputs[name]))
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

/// Looks at what differs, and keeps it if somebody wants to look at it, too.
fn divergence(
    work: &Work<'_>,
    reference: &Reference,
    finished: &Finished,
    tell: &mut Teller<'_>,
) -> Result<Divergence, BuildFailure> {
    let mut outputs = Vec::new();
    for (name, known) in &reference.outputs {
        let made = &finished.outputs[name];
        if !known.agrees(work.request.kind, made) {
            outputs.push(diverged(work, reference, finished, (name, known, made), tell)?);
        }
    }
    Ok(Divergence { outputs, blame: None })
}

fn diverged(
    work: &Work<'_>,
    reference: &Reference,
    finished: &Finished,
    (name, known, made): (&OutputName, &Known, &Kept),
    tell: &mut Teller<'_>,
) -> Result<Diverged, BuildFailure> {
    let store = work.context.store;
    let tree = with_paths_of(reference, finished, made, work.request.until());
    let clues = vary::clues(work, [known.time, outputs::now()]);
    let comparison = compare::compare(&known.tree, &tree, &clues)?;
    let keep = |tree: &PathBuf, suffix: &str| {
        let kept = store.keep_beside(tree, &known.path, suffix);
        kept.map(Some).map_err(|source| BuildFailure::Store { drv: work.request.drv.clone(), source })
    };
    let (mut kept_first, mut kept, mut said) = (None, None, Vec::new());
    // As Nix does, what the hook is shown stays.
    if work.context.settings.keeps_failed() || diff_hook::is_wanted(work) {
        kept = keep(&tree, ".check")?;
        // Nobody else keeps what it was compared with, unless that becomes valid.
        if !reference.is_valid && work.context.settings.enforce_determinism {
            kept_first = keep(&known.tree, ".check-first")?;
        }
    }
    if let Some(kept) = &kept {
        let before = kept_first.as_ref().unwrap_or(&known.tree);
        said = diff_hook::run(work, finished, before, kept, tell);
    }
    Ok(Diverged { output: name.clone(), path: known.path.clone(), comparison, kept_first, kept, said })
}

/// Returns what has been made with the paths in it that the reference has, where those follow from what is in them: they
/// differ in any case, wherever they stand.
fn with_paths_of(reference: &Reference, finished: &Finished, made: &Kept, until: Until<'_>) -> PathBuf {
    let path_of = |(name, known): (&OutputName, &Known)| -> (Digest, Digest) {
        (*finished.outputs[name].info.path.digest(), *known.path.digest())
    };
    let rewrites: Vec<(Digest, Digest)> =
        reference.outputs.iter().map(path_of).filter(|(from, to)| from != to).collect();
    if rewrites.is_empty() {
        return made.tree.clone();
    }
    let target = finished.prepared.made().aside.join(format!("{}.compared", made.info.path));
    match local_store::rewrite_tree(&made.tree, &target, &rewrites, until) {
        Ok(_) => target,
        // Rewritten names may have to be in another order. They are shown as they are then.
        Err(_) => made.tree.clone(),
    }
}
