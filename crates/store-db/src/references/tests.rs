//! Against a reading of the same graph that is as plain as can be.

use std::collections::{BTreeMap, BTreeSet};

use store_path::{Hash, HashAlgorithm, PathInfo, StoreDir, StorePath};
use test_support::{Random, Scratch};

use crate::{Db, Error, Options, Reach, References};

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
    let expected: Vec<u64> = places
        .iter()
        .map(|place| BTreeSet::from([graph.paths()[*place].clone()]))
        .map(|path| within(&plain, &path, Reach::References))
        .map(|closure| closure.iter().map(|path| 8 * path.to_string().len() as u64).sum())
        .collect();
    assert_eq!(graph.closure_sizes(&places), expected);
}
