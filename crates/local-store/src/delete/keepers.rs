//! Why paths stay: the roots that keep them, each with the shortest way to them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use store_db::{Keepers, References, Tie};
use store_path::StorePath;

use crate::roots::Root;

/// So many roots are named for a path, the nearest first; the others are counted.
const MOST_ROOTS: usize = 10;

/// For so many paths all roots are looked for; that they stay is known of the others.
const MOST_PATHS: usize = 100;

/// A path that is not deleted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The path.
    pub path: StorePath,
    /// Roots that need it, those with the shortest chain first.
    pub keepers: Vec<Keeper>,
    /// How many roots need it besides.
    pub others: usize,
    /// If no root needs it: a path that refers to it and is not deleted either.
    pub referrer: Option<StorePath>,
}

/// A root that needs a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The root.
    pub root: Root,
    /// From the path that it is a root of to the one that it needs; each keeps the next, and none is left out.
    pub chain: Vec<Link>,
}

/// A path of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The path.
    pub path: StorePath,
    /// By what the one before it keeps it; nothing for the first.
    pub tie: Option<Tie>,
}

/// What of some paths is wanted, and what is not.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What stays, in order.
    pub(super) kept: Vec<Kept>,
    /// What may go, and without leaving a reference to it behind.
    pub(super) unwanted: BTreeSet<StorePath>,
}

/// Judges `paths`, of which `keepers` has the valid ones and all that keeps them.
pub(super) fn judge(keepers: &Keepers, paths: &BTreeSet<StorePath>, roots: &[(StorePath, Root)]) -> Verdict {
    let graph = keepers.references();
    let keeping = Keeping::new(keepers, roots);
    let alive = keeping.reached(keeping.rooted.keys().copied(), |_| true);
    let stays = |place: &usize| alive[*place] || !paths.contains(&graph.paths()[*place]);
    // What nothing needs keeps others only by referring to them, as those would be valid without what they refer to.
    let staying = keeping.reached((0..graph.paths().len()).filter(stays), |tie| tie == Tie::Reference);
    let mut verdict = Verdict::default();
    for path in paths {
        let kept = |keepers, others, referrer| Kept { path: path.clone(), keepers, others, referrer };
        match graph.place(path) {
            Some(place) if alive[place] => {
                let (keepers, others) =
                    if verdict.kept.len() < MOST_PATHS { keeping.keepers(place) } else { (Vec::new(), 0) };
                verdict.kept.push(kept(keepers, others, None));
            }
            Some(place) if staying[place] => {
                let is_referrer = |(user, tie): &&(usize, Tie)| *tie == Tie::Reference && staying[*user];
                let referrer = keeping.users[place].iter().find(is_referrer);
                let referrer = referrer.map(|(user, _)| graph.paths()[*user].clone());
                verdict.kept.push(kept(Vec::new(), 0, referrer));
            }
            // A path that is being made is not valid yet, and may be wanted all the same.
            None if roots.iter().any(|(root, _)| root == path) => {
                let keepers = roots.iter().filter(|(root, _)| root == path);
                let chain = || vec![Link { path: path.clone(), tie: None }];
                let keepers = keepers.map(|(_, root)| Keeper { root: root.clone(), chain: chain() });
                verdict.kept.push(kept(keepers.collect(), 0, None));
            }
            _ => {
                verdict.unwanted.insert(path.clone());
            }
        }
    }
    verdict
}

/// A graph with its roots, to be walked in both directions.
struct Keeping<'a> {
    keepers: &'a Keepers,
    graph: &'a References,
    rooted: HashMap<usize, Vec<&'a Root>>,
    /// What keeps each path, itself left out.
    users: Vec<Vec<(usize, Tie)>>,
}

impl<'a> Keeping<'a> {
    fn new(keepers: &'a Keepers, roots: &'a [(StorePath, Root)]) -> Self {
        let graph = keepers.references();
        let mut rooted: HashMap<_, Vec<_>> = HashMap::new();
        for (path, root) in roots {
            if let Some(place) = graph.place(path) {
                rooted.entry(place).or_default().push(root);
            }
        }
        let mut users = vec![Vec::new(); graph.paths().len()];
        for user in 0..users.len() {
            let others = keepers.kept_by(user).filter(|(used, _)| *used != user);
            others.for_each(|(used, tie)| users[used].push((user, tie)));
        }
        Self { keepers, graph, rooted, users }
    }

    /// Returns for each path whether one of `starts` is it or keeps it, by such ties as count.
    fn reached(&self, starts: impl Iterator<Item = usize>, counts: impl Fn(Tie) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.users.len()];
        let mut ahead: Vec<usize> = starts.collect();
        while let Some(place) = ahead.pop() {
            if !std::mem::replace(&mut reached[place], true) {
                let kept = self.keepers.kept_by(place).filter(|(_, tie)| counts(*tie));
                ahead.extend(kept.map(|(kept, _)| kept));
            }
        }
        reached
    }

    /// Goes up from `place`, nearest first, and tells the roots on the way; some of them, and how many more there are.
    fn keepers(&self, place: usize) -> (Vec<Keeper>, usize) {
        let (mut keepers, mut others) = (Vec::new(), 0);
        // Where the way from each path to `place` goes on, and by what.
        let mut towards: HashMap<usize, (usize, Tie)> = HashMap::new();
        let mut ahead = VecDeque::from([place]);
        while let Some(here) = ahead.pop_front() {
            for root in self.rooted.get(&here).into_iter().flatten() {
                if keepers.len() == MOST_ROOTS {
                    others += 1;
                    continue;
                }
                keepers.push(Keeper { root: (*root).clone(), chain: self.chain(here, place, &towards) });
            }
            for (user, tie) in self.users[here].iter().filter(|(user, _)| *user != place) {
                towards.entry(*user).or_insert_with(|| {
                    ahead.push_back(*user);
                    (here, *tie)
                });
            }
        }
        (keepers, others)
    }

    fn chain(&self, from: usize, to: usize, towards: &HashMap<usize, (usize, Tie)>) -> Vec<Link> {
        let link = |place: usize, tie| Link { path: self.graph.paths()[place].clone(), tie };
        let mut here = from;
        let mut chain = vec![link(here, None)];
        while here != to {
            let (next, tie) = towards[&here];
            here = next;
            chain.push(link(here, Some(tie)));
        }
        chain
    }
}
