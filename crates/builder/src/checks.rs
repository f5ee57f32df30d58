//! What a derivation says about its outputs is held against them, before any becomes valid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use derivation::{OutputCheck, OutputName, Reference};
use local_store::LocalStore;
use store_path::{PathInfo, StorePath};

use crate::failure::BuildFailure;
use crate::request::Request;

/// How an output breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It refers to what it must not.
    Refers {
        /// Whether the rule says what is allowed, not what is forbidden.
        is_list_of_allowed: bool,
        /// Whether the rule is about all of the closure.
        is_of_closure: bool,
        /// From the output to what it must not refer to, the shortest way, for each of those.
        chains: Vec<Vec<StorePath>>,
    },
    /// It is too large.
    Size {
        /// Its size in bytes.
        size: u64,
        /// What was allowed.
        limit: u64,
    },
    /// Its closure is too large.
    ClosureSize {
        /// The size of the closure in bytes.
        size: u64,
        /// What was allowed.
        limit: u64,
        /// What is in the closure, with sizes, the largest first.
        members: Vec<(StorePath, u64)>,
    },
}

/// How many of what breaks a rule are told of.
const TOLD: usize = 8;

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size, limit } => write!(out, "it has {size} bytes, and may have {limit}"),
            Self::ClosureSize { size, limit, members } => {
                write!(out, "its closure has {size} bytes, and may have {limit}; the largest in it:")?;
                members
                    .iter()
                    .take(TOLD)
                    .try_for_each(|(path, size)| write!(out, "\n  {size} bytes: `{path}`"))
            }
            Self::Refers { is_list_of_allowed, is_of_closure, chains } => {
                let has = if *is_of_closure { "its closure has" } else { "it refers to" };
                let what =
                    if *is_list_of_allowed { "what the rule does not list" } else { "what the rule lists" };
                write!(out, "{has} {what}:")?;
                for chain in chains.iter().take(TOLD) {
                    let Some(last) = chain.last() else { continue };
                    write!(out, "\n  `{last}`")?;
                    if chain.len() > 2 {
                        let way: Vec<String> = chain.iter().map(|path| format!("`{path}`")).collect();
                        write!(out, ", by {}", way.join(" → "))?;
                    }
                }
                match chains.len().saturating_sub(TOLD) {
                    0 => Ok(()),
                    more => write!(out, "\n  and {more} more"),
                }
            }
        }
    }
}

/// Refuses outputs that break a rule of their derivation; `infos` are all of them, with their final paths.
pub(crate) fn check(
    store: &LocalStore,
    request: &Request<'_>,
    infos: &BTreeMap<OutputName, PathInfo>,
) -> Result<(), BuildFailure> {
    for (output, info) in infos {
        let Some(check) = request.options.output_checks.of(output) else { continue };
        let outputs = Outputs { store, request, infos };
        if let Some((rule, rejection)) = outputs.broken(info, check)? {
            return Err(BuildFailure::Rejected {
                drv: request.drv.clone(),
                output: output.clone(),
                rule,
                rejection: Box::new(rejection),
            });
        }
    }
    Ok(())
}

/// Where what an output refers to is found.
struct Outputs<'a> {
    store: &'a LocalStore,
    request: &'a Request<'a>,
    infos: &'a BTreeMap<OutputName, PathInfo>,
}

/// What is in a closure: by whom it was met first, and its size.
type Closure = BTreeMap<StorePath, (Option<StorePath>, u64)>;

impl Outputs<'_> {
    /// Sizes first, then references, then closures; in that order, as Nix does.
    fn broken(
        &self,
        info: &PathInfo,
        check: &OutputCheck,
    ) -> Result<Option<(&'static str, Rejection)>, BuildFailure> {
        if let Some(limit) = check.max_size.filter(|limit| info.nar_size > *limit) {
            return Ok(Some(("maxSize", Rejection::Size { size: info.nar_size, limit })));
        }
        let needs_closure = check.max_closure_size.is_some()
            || check.allowed_requisites.is_some()
            || !check.disallowed_requisites.is_empty();
        let closure = if needs_closure { self.closure(info)? } else { Closure::new() };
        if let Some(limit) = check.max_closure_size
            && let Some(rejection) = too_large(&closure, limit)
        {
            return Ok(Some(("maxClosureSize", rejection)));
        }
        let ignores = |path: &&StorePath| !(check.ignore_self_refs && **path == info.path);
        let rules = [
            ("allowedReferences", check.allowed_references.as_ref(), true, false),
            ("allowedRequisites", check.allowed_requisites.as_ref(), true, true),
            ("disallowedReferences", Some(&check.disallowed_references), false, false),
            ("disallowedRequisites", Some(&check.disallowed_requisites), false, true),
        ];
        for (rule, listed, is_list_of_allowed, is_of_closure) in rules {
            let Some(listed) = listed else { continue };
            let listed = self.paths(listed)?;
            let is_wrong = |path: &&StorePath| listed.contains(path) != is_list_of_allowed;
            let chains: Vec<Vec<StorePath>> = match is_of_closure {
                true => closure
                    .keys()
                    .filter(ignores)
                    .filter(is_wrong)
                    .map(|path| chain(&closure, path))
                    .collect(),
                false => {
                    let wrong = info.references.iter().filter(is_wrong);
                    wrong.map(|path| vec![info.path.clone(), path.clone()]).collect()
                }
            };
            if !chains.is_empty() {
                return Ok(Some((rule, Rejection::Refers { is_list_of_allowed, is_of_closure, chains })));
            }
        }
        Ok(None)
    }

    /// The paths of what a rule names.
    fn paths(&self, references: &BTreeSet<Reference>) -> Result<BTreeSet<StorePath>, BuildFailure> {
        let mut paths = BTreeSet::new();
        for reference in references {
            match reference {
                Reference::Own(output) => paths.extend(self.infos.get(output).map(|info| info.path.clone())),
                Reference::Other(object) => {
                    paths.insert(self.request.path_of(self.store, object)?);
                }
            }
        }
        Ok(paths)
    }

    /// What `info` needs, itself included, found level by level: through the other new outputs, and what is valid.
    fn closure(&self, info: &PathInfo) -> Result<Closure, BuildFailure> {
        let new: BTreeMap<&StorePath, &PathInfo> =
            self.infos.values().map(|info| (&info.path, info)).collect();
        let mut closure = Closure::from([(info.path.clone(), (None, info.nar_size))]);
        let mut level = vec![info.clone()];
        while !level.is_empty() {
            let mut old = BTreeMap::new();
            let mut next = Vec::new();
            for info in &level {
                for reference in info.references.iter().filter(|path| !closure.contains_key(*path)) {
                    match new.get(reference) {
                        // The same one may be met from two sides.
                        Some(found) => next.push((info.path.clone(), (*found).clone())),
                        None => {
                            old.entry(reference.clone()).or_insert_with(|| info.path.clone());
                        }
                    }
                }
            }
            let infos = self.store.path_infos(&old.keys().cloned().collect());
            let infos =
                infos.map_err(|source| BuildFailure::Store { drv: self.request.drv.clone(), source })?;
            next.extend(infos.into_iter().filter_map(|(path, info)| Some((old.get(&path)?.clone(), info))));
            level.clear();
            for (from, info) in next {
                if !closure.contains_key(&info.path) {
                    closure.insert(info.path.clone(), (Some(from), info.nar_size));
                    level.push(info);
                }
            }
        }
        Ok(closure)
    }
}

fn too_large(closure: &Closure, limit: u64) -> Option<Rejection> {
    let size = closure.values().map(|(_, size)| size).sum();
    if size <= limit {
        return None;
    }
    let mut members: Vec<_> = closure.iter().map(|(path, (_, size))| (path.clone(), *size)).collect();
    members.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    members.truncate(TOLD);
    Some(Rejection::ClosureSize { size, limit, members })
}

/// The way from the beginning of the closure to `path`.
fn chain(closure: &Closure, path: &StorePath) -> Vec<StorePath> {
    let mut chain: Vec<StorePath> =
        std::iter::successors(Some(path), |path| closure.get(*path)?.0.as_ref()).cloned().collect();
    chain.reverse();
    chain
}
