//! Which build an argument means: the id that `store ps` prints, a derivation, something that is built from one, or a file
//! with derivations, as `store build` takes one.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use local_store::{BuildId, LocalStore, Location, RunningBuild, running_builds};
use store_path::StorePath;

use crate::derivations_at_hand::AtHand;
use crate::derivers;
use crate::session::Session;
use crate::store_argument;

/// So many builds are named to whoever has named one that is not there.
const MOST_NAMED: usize = 8;

/// What an argument means.
#[derive(Debug)]
pub(crate) struct Named {
    /// The builds that run or wait, the oldest first; several if more than one process wants the same.
    pub(crate) running: Vec<RunningBuild>,
    /// The derivations it may be about, the likeliest first; logs are kept under their names. Of a running build, its
    /// own.
    pub(crate) drvs: Vec<StorePath>,
}

/// Finds out what BUILD on a command line means.
///
/// Without the `store`, an output is known only if a running build names it beforehand, and a derivation that has
/// been resolved is another one.
///
/// # Errors
/// If `word` is neither the id of a build that runs or waits, nor leads to a path of the store, nor is a file with
/// derivations; then it is said what runs.
pub(crate) fn find(session: &Session, store: Option<&LocalStore>, word: &Path) -> Result<Named> {
    let location = session.location()?;
    let all = running_builds(&location)?;
    if let Some(id) = word.to_str().and_then(BuildId::parse)
        && let Some(build) = all.iter().find(|build| build.id == id)
    {
        return Ok(Named { drvs: vec![build.drv.clone()], running: vec![build.clone()] });
    }
    let place = session.absolute(word);
    let paths = match store_argument::resolve(&location, &place) {
        Ok(path) => vec![path],
        Err(_) if place.is_file() => of_file(session, &place).with_context(|| not_among(word, &all))?,
        Err(error) => return Err(not_found(&location, &all, word, &error)),
    };
    let mut drvs = Vec::new();
    for path in &paths {
        drvs.extend(candidates(store, path)?);
    }
    let is_meant = |build: &RunningBuild| {
        drvs.contains(&build.drv) || build.outputs.values().any(|out| paths.contains(out))
    };
    let running: Vec<RunningBuild> = all.into_iter().filter(is_meant).collect();
    for build in &running {
        if !drvs.contains(&build.drv) {
            drvs.push(build.drv.clone());
        }
    }
    Ok(Named { running, drvs })
}

/// Returns the derivations that a file is for: of those in it, the ones that no other one there uses.
fn of_file(session: &Session, file: &Path) -> Result<Vec<StorePath>> {
    AtHand::new(session)?.take(session, file)
}

fn not_among(word: &Path, all: &[RunningBuild]) -> String {
    format!("`{}` does not name a build; {}", word.display(), what_runs(all))
}

/// Says which builds there are, for whoever has named another one.
pub(crate) fn what_runs(builds: &[RunningBuild]) -> String {
    if builds.is_empty() {
        return "no build is running".to_owned();
    }
    let name = |build: &RunningBuild| {
        let name = build.drv.name().as_str();
        format!("`{}` ({})", build.id, name.strip_suffix(".drv").unwrap_or(name))
    };
    let named: Vec<String> = builds.iter().take(MOST_NAMED).map(name).collect();
    let rest = builds.len() - named.len();
    let more = if rest > 0 { format!(" and {rest} more, see `store ps`") } else { String::new() };
    format!("what runs: {}{more}", named.join(", "))
}

/// Returns the derivations that a path may be about.
fn candidates(store: Option<&LocalStore>, path: &StorePath) -> Result<Vec<StorePath>> {
    let Some(store) = store else {
        return Ok(if path.is_derivation() { vec![path.clone()] } else { Vec::new() });
    };
    let mut drvs = derivers::of(store, path)?;
    // What is built may be what it resolves to.
    if path.is_derivation() && store.is_valid(path)? {
        drvs.extend(engine::resolved(store, path)?.filter(|resolved| resolved != path));
    }
    Ok(drvs)
}

fn not_found(location: &Location, all: &[RunningBuild], word: &Path, why: &anyhow::Error) -> anyhow::Error {
    let (shown, runs) = (word.display(), what_runs(all));
    let is_path = word.components().count() > 1 || word.symlink_metadata().is_ok();
    if is_path {
        return anyhow!("{why:#}; it does not name a build: {runs}");
    }
    let store = location.real_store.display();
    anyhow!("no build in the store at `{store}` is called `{shown}`, nor is there such a file; {runs}")
}
