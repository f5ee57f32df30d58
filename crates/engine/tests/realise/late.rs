//! Derivations whose outputs have their names from what is in them, and what needs those.

use std::collections::BTreeMap;

use derivation::{Derivation, Output};
use engine::Realised;
use store_path::{Hash, HashAlgorithm, Method, StoreDir, StorePath};

use crate::world::{Kind, World, named, out, reading, script, unknown};

/// `leaf` says something, `middle` repeats it and is content-addressed too, `top` repeats that and is not.
fn chain(world: &mut World, comment: &str, says: &str) -> [StorePath; 3] {
    let leaf = world.add(unknown(Kind::Floating, "leaf", &format!("# {comment}\necho {says} > $out")));
    let middle = world.add(reading(unknown(Kind::Floating, "middle", "echo middle >> $out"), &[&leaf]));
    let top = world.add(reading(script("top", "echo top >> $out"), &[&middle]));
    [leaf, middle, top]
}

fn path(realised: &Realised) -> &StorePath {
    let Realised::Outputs { outputs, .. } = realised else { panic!("only outputs have paths") };
    &outputs[&out()]
}

pub(crate) fn a_chain_is_built_and_known_afterwards() {
    let mut world = World::new();
    let [leaf, middle, top] = chain(&mut world, "", "leaf");
    let (report, told) = world.realise(&[&top, &leaf]);
    let told: Vec<&str> = told.iter().map(String::as_str).filter(|line| !line.contains(" does ")).collect();
    assert_eq!(
        told,
        [
            "plan 3",
            "start leaf",
            "built leaf",
            "resolved middle",
            "start middle",
            "built middle",
            "resolved top",
            "start top",
            "built top"
        ]
    );
    assert_eq!(report.built, [leaf.clone(), middle.clone(), top.clone()]);
    assert_eq!(world.contents(&report.realised[0]), "leaf\nmiddle\ntop\n");
    assert_eq!(world.contents(&report.realised[1]), "leaf\n");
    // What was built is asked for by the names that it had before.
    let (again, told) = world.realise(&[&top, &leaf, &middle]);
    assert_eq!(told, ["plan 0"]);
    assert_eq!(again.realised[..2], report.realised);
    let known = engine::known_outputs(&world.store, &top).expect("the store answers");
    assert_eq!(known, BTreeMap::from([(out(), path(&again.realised[0]).clone())]));
    let resolved =
        engine::resolved(&world.store, &middle).expect("the store answers").expect("its input is known");
    let deriver = world.store.path_info(path(&again.realised[2])).expect("the store answers");
    assert_eq!(deriver.and_then(|info| info.deriver), Some(resolved));
}

pub(crate) fn what_comes_out_the_same_rebuilds_nothing() {
    let mut world = World::new();
    let before = chain(&mut world, "one", "same");
    let (first, _) = world.realise(&before.each_ref());
    let [leaf, middle, top] = chain(&mut world, "two", "same");
    assert_ne!(before[2], top);
    let (report, told) = world.realise(&[&leaf, &middle, &top]);
    assert_eq!(told, ["plan 3", "start leaf", "built leaf", "unchanged middle", "unchanged top"]);
    assert_eq!((report.built, report.unchanged), (vec![leaf], vec![middle, top]));
    let paths =
        |realised: &[Realised]| realised.iter().map(|realised| path(realised).clone()).collect::<Vec<_>>();
    assert_eq!(paths(&report.realised), paths(&first.realised));
    // And a change that is one goes all the way.
    let changed = chain(&mut world, "two", "other");
    let (report, _) = world.realise(&[&changed[2]]);
    assert_eq!((report.built.len(), report.unchanged.len()), (3, 0));
}

/// What resolves without being built, and was built before, needs nothing that it was made from.
pub(crate) fn the_trace_answers_without_inputs() {
    let mut world = World::new();
    let input = world.add(named("input", ""));
    let user = reading_stated(&world, unknown(Kind::Floating, "user", "echo user >> $out"), &input);
    let user = world.add(user);
    let (report, _) = world.realise(&[&input, &user]);
    assert_eq!(report.built.len(), 2);
    let made = path(&report.realised[0]).clone();
    let resolved =
        engine::resolved(&world.store, &user).expect("the store answers").expect("its input is known");
    world.restart();
    world.store.delete(&[made, resolved], local_store::Keep::default()).expect("nothing else refers to it");
    let (report, told) = world.realise(&[&user]);
    assert_eq!(told, ["plan 0"]);
    assert_eq!(world.contents(&report.realised[0]), "input\nuser\n");
}

/// The path of the input is known, so it is what stands in the script.
fn reading_stated(world: &World, mut derivation: Derivation, input: &StorePath) -> Derivation {
    let path = engine::known_outputs(&world.store, input).expect("the store answers").remove(&out());
    let path = StoreDir::default().print(&path.expect("it is stated"));
    let script = derivation.args.pop().expect("the script is the last argument");
    derivation.args.push([format!("read line < {path}; echo $line > $out\n").into_bytes(), script].concat());
    crate::world::needing(derivation, &[input])
}

pub(crate) fn a_fixed_output_may_take_it_in() {
    let mut world = World::new();
    let hash = Hash::of(HashAlgorithm::Sha256, b"leaf\nfixed\n");
    let fixed = |world: &mut World, comment: &str| {
        let leaf = world.add(unknown(Kind::Floating, "leaf", &format!("# {comment}\necho leaf > $out")));
        let mut fixed = reading(script("fixed", "echo fixed >> $out"), &[&leaf]);
        let path = StoreDir::default().fixed_path(&fixed.name, Method::Flat, &hash);
        fixed.outputs.insert(out(), Output::Fixed { method: Method::Flat, hash, path });
        world.add(fixed)
    };
    let first = fixed(&mut world, "one");
    let (report, _) = world.realise(&[&first]);
    assert_eq!(report.built.len(), 2, "{report:?}");
    assert_eq!(world.contents(&report.realised[0]), "leaf\nfixed\n");
    // It keeps its promise however its input is made.
    let other = fixed(&mut world, "two");
    assert_eq!(world.realise(&[&other]).1, ["plan 0"]);
}

pub(crate) fn two_that_resolve_to_one_are_built_once() {
    let mut world = World::new();
    let first = chain(&mut world, "one", "same");
    let second = chain(&mut world, "two", "same");
    let (report, _) = world.realise(&[&first[1], &second[1]]);
    assert_eq!((report.built.len(), report.unchanged.len()), (3, 1), "{report:?}");
    assert_eq!(path(&report.realised[0]), path(&report.realised[1]));
}

pub(crate) fn a_failure_blocks_those_that_wait_to_be_resolved() {
    let mut world = World::new();
    world.set("keep-going", "true");
    let leaf = world.add(unknown(Kind::Floating, "leaf", "exit 3"));
    let middle = world.add(reading(unknown(Kind::Floating, "middle", ""), &[&leaf]));
    let top = world.add(reading(script("top", ""), &[&middle]));
    let other = world.add(unknown(Kind::Floating, "other", "echo other > $out"));
    let (report, _) = world.realise(&[&top, &other]);
    assert_eq!(report.failures.iter().map(|failure| &failure.drv).collect::<Vec<_>>(), [&leaf]);
    let blocked: Vec<_> = report.blocked.iter().map(|blocked| (&blocked.drv, &blocked.by)).collect();
    assert_eq!(blocked, [(&middle, &leaf), (&top, &leaf)]);
    assert_eq!(report.built, [other]);
    assert_eq!(report.realised.len(), 1);
    assert_eq!(world.contents(&report.realised[0]), "other\n");
}

pub(crate) fn what_fails_is_known_by_the_name_that_was_asked_for() {
    let mut world = World::new();
    let leaf = world.add(unknown(Kind::Floating, "leaf", "echo leaf > $out"));
    let middle = world.add(reading(unknown(Kind::Floating, "middle", "echo so far; exit 3"), &[&leaf]));
    let (report, told) = world.realise(&[&middle]);
    assert!(told.contains(&"middle> so far".to_owned()), "{told:?}");
    let [failure] = &report.failures[..] else { panic!("{report:?}") };
    assert_eq!(failure.drv, middle);
    // What was built is in the store, to be looked at, and its log is under its own name.
    let resolved = failure.resolved.clone().expect("it was resolved");
    assert!(world.store.is_valid(&resolved).expect("the store answers"));
    assert_eq!(engine::resolved(&world.store, &middle).expect("the store answers"), Some(resolved.clone()));
    assert!(builder::open_log(world.store.location(), &resolved).expect("it can be read").is_some());
    assert_eq!(failure.error.log_tail(), ["so far"]);
}
