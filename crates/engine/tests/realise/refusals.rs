//! What is refused before anything is built.

use std::collections::{BTreeMap, BTreeSet};

use derivation::{Derivation, InputOutputs, Output};
use engine::{Error, ImportError, Missing, Selection, Wanted, plan};
use store_path::{Hash, HashAlgorithm, Method, StoreDir, StorePath};

use crate::world::{World, all_of, name, named, needing, out, script};

fn source(name: &str) -> StorePath {
    let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
    StoreDir::default().source_path(&name.parse().expect("a proper name"), &hash, &BTreeSet::new(), false)
}

fn refusal(world: &World, drv: &StorePath) -> Error {
    plan(&world.store, &[all_of(drv)]).expect_err("it has to be refused")
}

pub(crate) fn missing_sources_are_named_at_once() {
    let mut world = World::new();
    let (first, second) = (source("first.tar"), source("second.tar"));
    let there = world.store.add_text(&"there".parse().expect("a proper name"), b"", &BTreeSet::new());
    let there = there.expect("the scratch store can be written to");
    let mut with = |drv: Derivation, sources: &[&StorePath]| {
        let input_srcs = sources.iter().map(|source| (*source).clone()).collect();
        world.check(Derivation { input_srcs, ..drv })
    };
    let library = with(named("library", ""), &[&first, &there]);
    let program = with(needing(named("program", ""), &[library.path()]), &[&first, &second]);
    let given =
        [&program, &library].map(|checked| (Some(checked.path().clone()), checked.derivation().clone()));
    let error = engine::import(&world.store, given.to_vec()).expect_err("much is missing");
    let ImportError::Refused(Error::Missing { missing }) = &error else { panic!("{error:?}") };
    let (library, program) = (library.path().clone(), program.path().clone());
    let mut expected = [
        Missing { path: first, wanted_by: BTreeSet::from([library.clone(), program.clone()]) },
        Missing { path: second, wanted_by: BTreeSet::from([program.clone()]) },
    ];
    expected.sort_by(|left, right| left.path.cmp(&right.path));
    assert_eq!(missing[..], expected);
    let text = error.to_string();
    assert!(text.starts_with("2 paths are needed") && text.contains("-second.tar`, wanted by `"), "{text}");
    // None of them was added.
    assert_eq!(
        world.store.valid_among(&[library, program].into()).expect("the store answers"),
        BTreeSet::new()
    );
}

pub(crate) fn what_is_wanted_has_to_be_there() {
    let mut world = World::new();
    let absent = World::new().add(named("absent", ""));
    let present = world.add(named("present", ""));
    let wanted = [all_of(&present), all_of(&absent), Wanted::Path(source("asked-for"))];
    let error = plan(&world.store, &wanted).expect_err("two are missing");
    let Error::Missing { missing } = error else { panic!("{error:?}") };
    let missing: BTreeSet<StorePath> = missing.into_iter().map(|missing| missing.path).collect();
    assert_eq!(missing, BTreeSet::from([absent, source("asked-for")]));
}

pub(crate) fn derivations_without_known_outputs_are_refused_by_name() {
    let mut world = World::new();
    let with = |name: &str, output: Output| Derivation {
        outputs: BTreeMap::from([(out(), output)]),
        ..script(name, "exit 1")
    };
    let (method, algorithm) = (Method::Nar, HashAlgorithm::Sha256);
    let floating = world.add(with("floating", Output::Floating { method, algorithm }));
    let deferred = world.add(needing(named("deferred", ""), &[&floating]));
    let impure = world.add(with("impure", Output::Impure { method, algorithm }));
    let told = |world: &World, drv: &StorePath| refusal(world, drv).to_string();
    let ending = |drv: &StorePath| format!("is not supported yet: output `out` of `{drv}`");
    for (drv, kind) in
        [(&floating, "content-addressed"), (&deferred, "content-addressed"), (&impure, "impure")]
    {
        assert_eq!(told(&world, drv), format!("building {kind} derivations {}", ending(drv)));
    }
    let mut dynamic = named("dynamic", "");
    let nested = InputOutputs { outputs: BTreeSet::from([out()]), dynamic: BTreeMap::new() };
    let wanted = InputOutputs { outputs: BTreeSet::new(), dynamic: BTreeMap::from([(out(), nested)]) };
    dynamic.input_drvs.insert(floating.clone(), wanted);
    let dynamic = world.add(dynamic);
    assert_eq!(told(&world, &dynamic), format!("building dynamic derivations {}", ending(&dynamic)));
}

pub(crate) fn an_unknown_output_is_refused() {
    let mut world = World::new();
    let drv = world.add(named("single", ""));
    let outputs = Selection::Named(BTreeSet::from([name("doc")]));
    let error =
        plan(&world.store, &[Wanted::Outputs { drv: drv.clone(), outputs }]).expect_err("no such output");
    assert_eq!(error.to_string(), format!("the derivation `{drv}` has no output `doc`"));
}

pub(crate) fn a_path_that_is_no_derivation_is_refused() {
    let world = World::new();
    let text = world.store.add_text(&"text".parse().expect("a proper name"), b"text", &BTreeSet::new());
    let text = text.expect("the scratch store can be written to");
    assert_eq!(refusal(&world, &text).to_string(), format!("`{text}` is not a derivation"));
}
