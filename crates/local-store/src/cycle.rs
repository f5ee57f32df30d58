//! Circles of references: none of their paths could ever be deleted, so none may become valid.

use std::collections::{BTreeMap, BTreeSet};

use store_path::{PathInfo, StorePath};

use crate::error::Error;

/// References among the paths that are registered together, those of a path to itself left out.
type Graph<'infos> = BTreeMap<&'infos StorePath, BTreeSet<&'infos StorePath>>;

/// Refuses paths that refer to each other in a circle; a path may refer to itself.
pub(crate) fn refuse_cycles(infos: &[PathInfo]) -> Result<(), Error> {
    let own: BTreeSet<&StorePath> = infos.iter().map(|info| &info.path).collect();
    let inside = |info: &'_ PathInfo| {
        let others = info.references.iter().filter(|path| **path != info.path);
        others.filter_map(|path| own.get(path).copied()).collect::<BTreeSet<_>>()
    };
    let mut graph: Graph<'_> = infos.iter().map(|info| (&info.path, inside(info))).collect();
    remove_acyclic(&mut graph);
    match a_circle(&graph) {
        Some((path, reference)) => Err(Error::Cycle(Box::new((path.clone(), reference.clone())))),
        None => Ok(()),
    }
}

/// Removes, again and again, what refers to nothing that is left.
fn remove_acyclic(graph: &mut Graph<'_>) {
    let mut referrers: BTreeMap<&StorePath, Vec<&StorePath>> = BTreeMap::new();
    for (path, references) in graph.iter() {
        references.iter().for_each(|reference| referrers.entry(reference).or_default().push(path));
    }
    let mut ready: Vec<&StorePath> =
        graph.iter().filter(|(_, references)| references.is_empty()).map(|(path, _)| *path).collect();
    while let Some(done) = ready.pop() {
        graph.remove(done);
        for referrer in referrers.remove(done).unwrap_or_default() {
            let Some(references) = graph.get_mut(referrer) else { continue };
            references.remove(done);
            if references.is_empty() {
                ready.push(referrer);
            }
        }
    }
}

/// Returns two neighbours on a circle: all that is left refers to something that is left.
fn a_circle<'infos>(graph: &Graph<'infos>) -> Option<(&'infos StorePath, &'infos StorePath)> {
    let next = |path: &StorePath| graph.get(path).and_then(|references| references.first().copied());
    let mut path = *graph.keys().next()?;
    let mut met = BTreeSet::new();
    while met.insert(path) {
        path = next(path)?;
    }
    Some((path, next(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::some_path;
    use store_path::{Hash, HashAlgorithm};

    fn info(name: &str, references: &[&str]) -> PathInfo {
        PathInfo {
            path: some_path(name),
            nar_hash: Hash::of(HashAlgorithm::Sha256, b""),
            nar_size: 0,
            references: references.iter().map(|name| some_path(name)).collect(),
            deriver: None,
            registration_time: 0,
            ultimate: false,
            signatures: Vec::new(),
            content_address: None,
        }
    }

    #[test]
    fn what_ends_is_no_circle() {
        let fine = [info("a", &["a", "elsewhere"]), info("b", &["a", "b"]), info("c", &["a", "b"])];
        refuse_cycles(&fine).unwrap();
    }

    #[test]
    fn two_on_the_circle_are_named() {
        let circle = [info("tail", &["a"]), info("a", &["b", "leaf"]), info("b", &["a"]), info("leaf", &[])];
        let Error::Cycle(pair) = refuse_cycles(&circle).unwrap_err() else { panic!("another error") };
        let expected = BTreeSet::from([some_path("a"), some_path("b")]);
        assert_eq!(BTreeSet::from([pair.0, pair.1]), expected);
    }
}
