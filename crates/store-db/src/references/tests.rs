//! Against a reading of the same graph that is as plain as can be.

use std::collections::{BTreeMap, BTreeSet};

use store_path::{Hash, HashAlgorithm, PathInfo, StoreDir, StorePath};
use test_support::{Random, Scratch};

use crate::{Db, Error, Options, Part, Reach, References};

fn path(number: usize) -> StorePath {
    let hash = Hash::of(HashAlgorithm::Sha256, &number.to_le_bytes());
    StoreDir::default().make_path("test", &hash, &format!("p{number}").parse().unwrap())
}

type Plain = BTreeMap<StorePath, BTreeSet<StorePath>>;

/// A graph in which each path may refer to earlier ones and to itself.
fn random(seed: u64, count: usize) -> Plain {
    let mut random = Random::seeded(seed);
    let mut plain = Plain::new();
    for number in 0..count {
        let wanted = random.below(4);
        let references = (0..wanted).map(|_| path(random.below(number + 1))).collect();
        plain.insert(path(number), references);
    }
    plain
}

fn database(scratch: &Scratch, plain: &Plain) -> Db {
    let options = Options { wal: true, synchronous: true };
    let mut db = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), options).unwrap();
    let infos: Vec<PathInfo> = plain
        .iter()
        .map(|(path, references)| PathInfo {
            path: path.clone(),
            nar_hash: Hash::of(HashAlgorithm::Sha256, b""),
            nar_size: 8 * path.to_string().len() as u64,
            references: references.clone(),
            deriver: None,
            registration_time: 1,
            ultimate: false,
            signatures: Vec::new(),
            content_address: None,
        })
        .collect();
    let result: Result<(), Error> = db.transaction(|transaction| transaction.register(&infos));
    result.unwrap();
    db
}

fn within(plain: &Plain, paths: &BTreeSet<StorePath>, reach: Reach) -> BTreeSet<StorePath> {
    let mut all = paths.clone();
    loop {
        let next: BTreeSet<StorePath> = match reach {
            Reach::Only => BTreeSet::new(),
            Reach::References => all.iter().flat_map(|path| plain[path].clone()).collect(),
            Reach::Referrers => {
                plain.iter().filter(|(_, to)| !to.is_disjoint(&all)).map(|(from, _)| from.clone()).collect()
            }
        };
        let before = all.len();
        all.extend(next);
        if all.len() == before {
            return all;
        }
    }
}

fn edges(graph: &References) -> Plain {
    let paths = graph.paths();
    let of = |place: usize| graph.of(place).iter().map(|other| paths[*other].clone()).collect();
    (0..paths.len()).map(|place| (paths[place].clone(), of(place))).collect()
}

#[test]
fn holds_what_is_within_reach_and_all_between() {
    for seed in 0..20 {
        let (scratch, plain) = (Scratch::new(), random(seed, 30));
        let db = database(&scratch, &plain);
        let asked = BTreeSet::from([path(7), path(20), path(29)]);
        for reach in [Reach::Only, Reach::References, Reach::Referrers] {
            let graph = db.reference_graph(&asked, reach).unwrap();
            let nodes = within(&plain, &asked, reach);
            let expected: Plain = nodes
                .iter()
                .map(|path| (path.clone(), plain[path].intersection(&nodes).cloned().collect()))
                .collect();
            assert_eq!(edges(&graph), expected, "{seed} {reach:?}");
            for (place, path) in graph.paths().iter().enumerate() {
                assert_eq!(graph.nar_size(place), 8 * path.to_string().len() as u64);
                assert_eq!(graph.place(path), Some(place));
            }
        }
    }
}

#[test]
fn what_is_not_valid_has_no_place() {
    let (scratch, plain) = (Scratch::new(), random(1, 3));
    let db = database(&scratch, &plain);
    let graph = db.reference_graph(&BTreeSet::from([path(0), path(9)]), Reach::References).unwrap();
    assert_eq!((graph.paths(), graph.place(&path(9))), (&[path(0)][..], None));
    assert!(db.reference_graph(&BTreeSet::new(), Reach::References).unwrap().paths().is_empty());
}

#[test]
fn references_come_first() {
    for seed in 0..20 {
        let (scratch, plain) = (Scratch::new(), random(seed, 40));
        let graph = database(&scratch, &plain)
            .reference_graph(&plain.keys().cloned().collect(), Reach::Only)
            .unwrap();
        let order = graph.references_first();
        let mut seen = BTreeSet::new();
        for place in order {
            assert!(graph.of(place).iter().all(|other| seen.contains(other) || *other == place));
            assert!(seen.insert(place));
        }
        assert_eq!(seen.len(), plain.len());
        let mut orders = graph.orders();
        for place in 0..graph.paths().len() {
            let mut order = orders.of(place);
            order.sort_unstable();
            assert_eq!(order, graph.of(place));
        }
    }
}

#[test]
fn a_long_chain_needs_no_stack() {
    let chain: Vec<usize> = (0..100_000).collect();
    let nodes = chain.iter().map(|number| (path(*number), 8)).collect();
    let edges: Vec<_> = chain.windows(2).map(|pair| (pair[1], pair[0])).collect();
    let graph = References::new(nodes, &edges);
    let order = graph.references_first();
    assert_eq!((order.len(), graph.paths()[order[0]].clone()), (100_000, path(0)));
}

#[test]
fn sizes_of_closures_are_sums() {
    let (scratch, plain) = (Scratch::new(), random(3, 150));
    let graph =
        database(&scratch, &plain).reference_graph(&plain.keys().cloned().collect(), Reach::Only).unwrap();
    let places: Vec<usize> = (0..graph.paths().len()).rev().collect();
    let closures: Vec<_> = places
        .iter()
        .map(|place| BTreeSet::from([graph.paths()[*place].clone()]))
        .map(|path| within(&plain, &path, Reach::References))
        .collect();
    let sum =
        |closure: &BTreeSet<StorePath>| closure.iter().map(|path| 8 * path.to_string().len() as u64).sum();
    let weights = graph.by_archives();
    assert_eq!(weights.closures(&places), closures.iter().map(sum).collect::<Vec<u64>>());
    let some = [3, 40, 149, 70];
    let of = |number: usize| closures[places.len() - 1 - number].clone();
    let shared = some.map(|number| {
        let others = some.iter().filter(|other| **other != number).flat_map(|other| of(*other));
        sum(&of(number).intersection(&others.collect()).cloned().collect())
    });
    assert_eq!(weights.shared_closures(&some), shared);
}

/// Whether a path goes when `given` goes: it is that, or nothing but what goes refers to it.
fn goes(plain: &Plain, held: &BTreeSet<StorePath>, given: &StorePath) -> BTreeSet<StorePath> {
    let mut gone = BTreeSet::from([given.clone()]);
    loop {
        let referrers = |path: &StorePath| {
            plain.iter().filter(|(from, to)| *from != path && to.contains(path)).collect::<Vec<_>>()
        };
        let is_free = |path: &&StorePath| {
            let referrers = referrers(path);
            !held.contains(*path)
                && !referrers.is_empty()
                && referrers.iter().all(|(from, _)| gone.contains(*from))
        };
        let next: Vec<_> =
            plain.keys().filter(|path| !gone.contains(*path)).filter(is_free).cloned().collect();
        if next.is_empty() {
            return gone;
        }
        gone.extend(next);
    }
}

#[test]
fn what_goes_is_what_only_the_gone_refer_to() {
    for seed in 0..12 {
        let (scratch, plain) = (Scratch::new(), random(seed, 40));
        let all = plain.keys().cloned().collect();
        let graph = database(&scratch, &plain).reference_graph(&all, Reach::Only).unwrap();
        let paths = graph.paths();
        let roots: BTreeSet<_> = paths.iter().step_by(9).cloned().collect();
        let held: Vec<bool> = paths.iter().map(|path| roots.contains(path)).collect();
        // A part for each pair of neighbours, every third of which has a name elsewhere.
        let parts: Vec<_> = (1..paths.len())
            .map(|place| Part { bytes: 1 << 20, places: vec![place - 1, place], elsewhere: place % 3 == 0 })
            .collect();
        let own: Vec<u64> = (0..paths.len()).map(|place| place as u64 + 1).collect();
        let weights = graph.by(own, parts.clone());
        let each = weights.freed_with_each(&held);
        for (place, path) in paths.iter().enumerate() {
            let gone = goes(&plain, &roots, path);
            let is_gone: Vec<bool> = paths.iter().map(|path| gone.contains(path)).collect();
            assert_eq!(weights.gone_with(&[place], &held), is_gone, "{seed} {path}");
            let own: u64 =
                (0..paths.len()).filter(|place| is_gone[*place]).map(|place| place as u64 + 1).sum();
            let shared =
                parts.iter().filter(|part| !part.elsewhere && part.places.iter().all(|at| is_gone[*at]));
            assert_eq!(weights.freed(&is_gone), own + (shared.count() << 20) as u64, "{seed} {path}");
            assert_eq!(each[place], weights.freed(&is_gone), "{seed} {path}");
        }
    }
}

#[test]
fn a_long_chain_is_weighed_in_little_time() {
    let count = 100_000_usize;
    let nodes = (0..count).map(|number| (path(number), 1)).collect();
    let edges: Vec<_> = (2..count).flat_map(|number| [(number, number - 1), (number, number - 2)]).collect();
    let graph = References::new(nodes, &edges);
    let freed = graph.by_archives().freed_with_each(&vec![false; count]);
    let [top, second] = [count - 1, count - 2].map(|number| graph.place(&path(number)).unwrap());
    assert_eq!((freed[top], freed[second]), (count as u64, 1));
}

/// Counts ways one by one.
fn count(graph: &References, from: usize, goals: &[usize]) -> u64 {
    if goals.contains(&from) {
        return 1;
    }
    graph.of(from).iter().filter(|other| **other != from).map(|other| count(graph, *other, goals)).sum()
}

#[test]
fn ways_are_counted_and_the_shortest_goes_first() {
    for seed in 0..10 {
        let (scratch, plain) = (Scratch::new(), random(seed, 25));
        let all = plain.keys().cloned().collect();
        let graph = database(&scratch, &plain).reference_graph(&all, Reach::Only).unwrap();
        let goals = [path(2), path(5)].map(|path| graph.place(&path).unwrap());
        let ways = graph.ways_to(&goals);
        for place in 0..graph.paths().len() {
            assert_eq!(ways.count(place), count(&graph, place, &goals), "{seed}");
            let (mut steps, mut here) = (0, place);
            while let Some(next) = ways.next(here).first() {
                (steps, here) = (steps + 1, *next);
            }
            assert_eq!(ways.steps(place), goals.contains(&here).then_some(steps), "{seed}");
        }
    }
}

#[test]
fn more_ways_than_can_be_counted_cost_nothing() {
    // Two paths on each level, each of which refers to both of the level below.
    let nodes = (0..2000).map(|number| (path(number), 8)).collect();
    let edges: Vec<_> = (2..2000)
        .flat_map(|number| [number / 2 * 2 - 2, number / 2 * 2 - 1].map(|below| (number, below)))
        .collect();
    let graph = References::new(nodes, &edges);
    let [top, bottom] = [1999, 0].map(|number| graph.place(&path(number)).unwrap());
    let ways = graph.ways_to(&[bottom]);
    assert_eq!((ways.steps(top), ways.count(top)), (Some(999), u64::MAX));
}
