//! Valid paths that are damaged get their contents back: from substituters or, if none has them, from another build.
//!
//! ```text
//! damaged ─► substituters ── those that nobody has ─► waves of builds: what one build takes comes in an earlier one
//! ```
//!
//! A path is replaced by what has the very hash that was registered, or not at all. What is built from damaged inputs
//! would be something else, so that is not tried.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use derivation::OutputName;
use local_store::{LocalStore, Reach, References, Until};
use settings::Settings;
use store_path::StorePath;
use substituter::{Fetch, Substituters};

use crate::enter::stoppable;
use crate::error::Error;
use crate::lookup::known_outputs;
use crate::plan::plan_repair;
use crate::report::{Event, Report};
use crate::run::{Context, carry_out};
use crate::wanted::{Selection, Wanted};

/// What became of damaged paths.
#[derive(Debug, Default)]
pub struct Repairs {
    /// Those that are whole again.
    pub repaired: BTreeMap<StorePath, Source>,
    /// Those that are as they were.
    pub unrepaired: BTreeMap<StorePath, Unrepaired>,
    /// What is wrong with substituters.
    pub warnings: Vec<String>,
    /// Whether it was given up before all was tried.
    pub stopped: bool,
}

/// Where the contents of a path came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This substituter.
    Fetched(PathBuf),
    /// This derivation, built once more.
    Built(StorePath),
}

/// Why a path could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum Unrepaired {
    /// Nothing has it, and nothing says how to make it.
    #[error("no substituter has it, and no valid derivation says how it was made")]
    NoSource,
    /// The only one who had it did not give it.
    #[error("it cannot be fetched, and no valid derivation says how it was made")]
    NotFetched {
        /// Why not.
        source: Box<substituter::Error>,
    },
    /// It cannot be built once more.
    #[error("`{drv}` cannot be built again")]
    NotPlanned {
        /// The derivation.
        drv: StorePath,
        /// Why not.
        source: Box<Error>,
    },
    /// The build failed, or gave something else. The failure was told as an event.
    #[error("building `{drv}` again did not give it")]
    NotBuilt {
        /// The derivation.
        drv: StorePath,
    },
    /// What its build takes in is damaged.
    #[error("its build takes in `{input}`, which could not be repaired")]
    Needs {
        /// That.
        input: StorePath,
    },
    /// It was not tried any more.
    #[error("all was stopped before it was tried")]
    Stopped,
}

/// Returns all that building what is wanted takes and gives, as far as it is valid: sources, derivations and outputs.
pub fn taken_in(store: &LocalStore, wanted: &[Wanted]) -> Result<BTreeSet<StorePath>, Error> {
    let starts: BTreeSet<StorePath> = wanted.iter().map(|wanted| wanted.start().clone()).collect();
    let mut paths = store.closure(&starts)?;
    let mut outputs = BTreeSet::new();
    for drv in paths.iter().filter(|path| path.is_derivation()) {
        outputs.extend(known_outputs(store, drv)?.into_values());
    }
    paths.extend(store.valid_among(&outputs)?);
    Ok(paths)
}

/// Gives `damaged` paths, which are valid, their contents back.
///
/// # Errors
/// If the store cannot be read. What cannot be repaired is in the answer.
pub fn repair(
    context: &Context<'_>,
    damaged: &BTreeSet<StorePath>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Repairs, Error> {
    // One that fails is no reason to leave the others, and one build of each is enough.
    let settings = Settings { keep_going: true, repeat: 0, ..context.settings.clone() };
    let context = &Context { settings: &settings, ..*context };
    let mut repairs = Repairs::default();
    let mut not_fetched = refetch(context, damaged, &mut repairs)?;
    let rest: BTreeSet<StorePath> =
        damaged.iter().filter(|path| !repairs.repaired.contains_key(*path)).cloned().collect();
    let (makers, unmade) = makers(context.store, &rest)?;
    for path in unmade {
        let why = not_fetched
            .remove(&path)
            .map_or(Unrepaired::NoSource, |source| Unrepaired::NotFetched { source: Box::new(source) });
        repairs.unrepaired.insert(path, why);
    }
    rebuild(context, makers, &mut repairs, on_event)?;
    Ok(repairs)
}

/// Fetches those that somebody has, and returns why some could not be.
fn refetch(
    context: &Context<'_>,
    damaged: &BTreeSet<StorePath>,
    repairs: &mut Repairs,
) -> Result<BTreeMap<StorePath, substituter::Error>, Error> {
    let Context { store, launcher, settings, environment, .. } = *context;
    let Some(substituters) = Substituters::new(store, launcher, settings, environment) else {
        return Ok(BTreeMap::new());
    };
    stoppable(context, || {
        let mut not_fetched = BTreeMap::new();
        let warn = &mut |text| repairs.warnings.push(text);
        let had = substituters.have(damaged, warn);
        let offers = substituters.offers(&had, warn);
        let until = Until::readable(context.stop);
        for (path, offer) in offers {
            if until.is_over() {
                break;
            }
            // It stays while it is fetched, and the next start knows of the lock if this process dies.
            store.temp_root(&path)?;
            let _lock = store.lock(std::slice::from_ref(&path))?;
            let Some(info) = store.path_info(&path)? else { continue };
            let fetch = Fetch { path: path.clone(), offer, promised: None };
            let program = substituters.who(&fetch).to_owned();
            match substituters.fetch_again(&fetch, &info.nar_hash, until, &mut |_| {}) {
                Ok(()) => drop(repairs.repaired.insert(path, Source::Fetched(program))),
                Err(error) => drop(not_fetched.insert(path, error)),
            }
        }
        repairs.stopped = until.is_over();
        Ok(not_fetched)
    })?
}

/// Which output of which derivation a path is.
type Makers = BTreeMap<StorePath, (StorePath, OutputName)>;

/// Finds out what makes each of `paths`, and which of them nothing makes.
fn makers(store: &LocalStore, paths: &BTreeSet<StorePath>) -> Result<(Makers, Vec<StorePath>), Error> {
    let (mut makers, mut unmade) = (Makers::new(), Vec::new());
    for (path, info) in store.path_infos(paths)? {
        let mut drvs = store.derivers(&path)?;
        drvs.extend(info.deriver);
        let mut maker = None;
        for drv in store.valid_among(&drvs)? {
            // One that cannot be read makes nothing.
            let outputs = known_outputs(store, &drv).unwrap_or_default();
            maker = outputs.into_iter().find(|(_, output)| *output == path).map(|(name, _)| (drv, name));
            if maker.is_some() {
                break;
            }
        }
        match maker {
            Some(maker) => drop(makers.insert(path, maker)),
            None => unmade.push(path),
        }
    }
    Ok((makers, unmade))
}

fn rebuild(
    context: &Context<'_>,
    mut makers: Makers,
    repairs: &mut Repairs,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(), Error> {
    let needs = Needs::of(context.store, &makers)?;
    while !makers.is_empty() && !repairs.stopped {
        let lacking = needs.lacking(&makers, repairs);
        let is_next = |(_, (drv, _)): &(&StorePath, &(StorePath, OutputName))| !lacking.contains_key(drv);
        let wave: Vec<StorePath> = makers.iter().filter(is_next).map(|(path, _)| path.clone()).collect();
        if wave.is_empty() {
            break;
        }
        let wave: Makers = wave.iter().filter_map(|path| makers.remove_entry(path)).collect();
        build_wave(context, wave, repairs, on_event)?;
    }
    let mut lacking = needs.lacking(&makers, repairs);
    for (path, (drv, _)) in makers {
        let why = match lacking.remove(&drv) {
            Some(input) if !repairs.stopped => Unrepaired::Needs { input },
            _ => Unrepaired::Stopped,
        };
        repairs.unrepaired.insert(path, why);
    }
    Ok(())
}

/// What builds take in, directly or not.
struct Needs {
    /// The derivations that are built again, and what they refer to: inputs and sources.
    graph: References,
    /// What is referred to first.
    order: Vec<usize>,
    /// The damaged outputs of each derivation.
    made: BTreeMap<StorePath, Vec<StorePath>>,
}

impl Needs {
    fn of(store: &LocalStore, makers: &Makers) -> Result<Self, Error> {
        let mut made: BTreeMap<StorePath, Vec<StorePath>> = BTreeMap::new();
        for (path, (drv, _)) in makers {
            made.entry(drv.clone()).or_default().push(path.clone());
        }
        let graph = store.reference_graph(&made.keys().cloned().collect(), Reach::References)?;
        Ok(Self { order: graph.references_first(), graph, made })
    }

    /// Returns for each derivation that cannot be built yet something that it takes in and that is damaged still.
    fn lacking(&self, makers: &Makers, repairs: &Repairs) -> BTreeMap<StorePath, StorePath> {
        let is_open =
            |path: &&StorePath| makers.contains_key(*path) || repairs.unrepaired.contains_key(*path);
        let paths = self.graph.paths();
        let mut lacking: Vec<Option<&StorePath>> = vec![None; paths.len()];
        for place in &self.order {
            let others = self.graph.of(*place).iter().filter(|other| *other != place);
            let damaged = |other: &usize| {
                let made = self.made.get(&paths[*other]).into_iter().flatten();
                [&paths[*other]].into_iter().chain(made).find(is_open).or(lacking[*other])
            };
            lacking[*place] = others.clone().find_map(damaged);
        }
        let found = paths.iter().zip(lacking);
        found.filter_map(|(path, lacking)| Some((path.clone(), lacking?.clone()))).collect()
    }
}

fn build_wave(
    context: &Context<'_>,
    wave: Makers,
    repairs: &mut Repairs,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(), Error> {
    let mut outputs: BTreeMap<&StorePath, BTreeSet<OutputName>> = BTreeMap::new();
    for (drv, name) in wave.values() {
        outputs.entry(drv).or_default().insert(name.clone());
    }
    let (mut wanted, mut not_planned) = (Vec::new(), BTreeMap::new());
    for (drv, names) in outputs {
        let one = Wanted::Outputs { drv: drv.clone(), outputs: Selection::Named(names) };
        match plan_repair(context.store, std::slice::from_ref(&one)) {
            Ok(_) => wanted.push(one),
            Err(error) => drop(not_planned.insert(drv.clone(), error)),
        }
    }
    let report = match wanted.is_empty() {
        true => Report::default(),
        false => carry_out(context, None, plan_repair(context.store, &wanted)?, on_event)?,
    };
    repairs.stopped |= report.stopped;
    for (path, (drv, _)) in wave {
        if report.checked.contains(&drv) {
            repairs.repaired.insert(path, Source::Built(drv));
            continue;
        }
        let why = match not_planned.remove(&drv) {
            Some(error) => Unrepaired::NotPlanned { drv, source: Box::new(error) },
            None => Unrepaired::NotBuilt { drv },
        };
        repairs.unrepaired.insert(path, why);
    }
    Ok(())
}
