//! What is refused before anything is built.

use std::collections::BTreeSet;

use derivation::Derivation;
use engine::{Error, ImportError, Missing, Selection, Wanted, plan};
use store_path::{Hash, HashAlgorithm, StoreDir, StorePath};

use crate::world::{Kind, World, all_of, name, named, needing, unknown};

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

/// Whoever is made anew each time would make whoever takes it in another one each time.
pub(crate) fn impure_inputs_of_pure_derivations_are_refused() {
    let mut world = World::new();
    let impure = world.add(unknown(Kind::Impure, "impure", "exit 1"));
    let floating = world.add(needing(unknown(Kind::Floating, "floating", "exit 1"), &[&impure]));
    let deferred = world.add(needing(named("deferred", ""), &[&floating]));
    let by_address = world.add(needing(named("by-address", ""), &[&impure]));
    for (asked, drv) in [(&floating, &floating), (&deferred, &floating), (&by_address, &by_address)] {
        let told = refusal(&world, asked).to_string();
        assert!(
            told.starts_with(&format!("the derivation `{drv}` takes in the impure `{impure}`")),
            "{told}"
        );
    }
    let chained = world.add(needing(unknown(Kind::Impure, "chained", "exit 1"), &[&impure]));
    assert_eq!(plan(&world.store, &[all_of(&chained)]).expect("impure ones may").to_build().len(), 2);
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
