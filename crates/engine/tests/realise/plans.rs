//! What is planned, without building it.

use std::collections::BTreeSet;

use crate::world::{Kind, World, all_of, name, named, needing, out, script, unknown};
use derivation::{Checked, Output};
use engine::{Selection, Wanted, plan};
use store_path::StorePath;

pub(crate) fn only_what_is_wanted_counts() {
    let mut world = World::new();
    let mut two = script("two", "echo out > $out; echo dev > $dev");
    two.outputs.insert(name("dev"), Output::Deferred);
    let two = world.add(two);
    let (report, _) = world.realise(&[&two]);
    let [engine::Realised::Outputs { outputs, .. }] = &report.realised[..] else { panic!("{report:?}") };
    world.restart();
    world
        .store
        .delete(&[outputs[&name("dev")].clone()], local_store::Keep::default())
        .expect("nothing holds it");
    let user = world.add(needing(named("user", ""), &[&two]));
    let planned = |wanted| plan(&world.store, &[wanted]).expect("everything is there").to_build().len();
    let some =
        |output| Wanted::Outputs { drv: two.clone(), outputs: Selection::Named(BTreeSet::from([output])) };
    assert_eq!(planned(some(out())), 0);
    assert_eq!(planned(some(name("dev"))), 1);
    assert_eq!(planned(all_of(&two)), 1);
    // It needs `out` only, which is valid.
    assert_eq!(planned(all_of(&user)), 1);
}

pub(crate) fn a_plan_changes_nothing() {
    let mut world = World::new();
    let drv = world.add(named("never", ""));
    let before = world.store.all_valid().expect("the store answers");
    let plan = plan(&world.store, &[all_of(&drv), Wanted::Path(drv.clone())]).expect("everything is there");
    assert_eq!(plan.to_build().collect::<Vec<_>>(), [&drv]);
    assert_eq!(world.store.all_valid().expect("the store answers"), before);
}

/// Plans `tops` and checks that each of `count` derivations is planned once.
fn check_plan(world: &World, tops: &[StorePath], count: usize) {
    let wanted: Vec<Wanted> = tops.iter().map(all_of).collect();
    let plan = plan(&world.store, &wanted).expect("everything is there");
    assert_eq!(plan.to_build().len(), count);
    assert_eq!(plan.to_build().collect::<BTreeSet<_>>().len(), count);
}

pub(crate) fn a_chain_is_planned() {
    let mut world = World::new();
    let mut chain = vec![world.check(named("link-0", ""))];
    for number in 1..500 {
        let link = needing(named(&format!("link-{number}"), ""), &[chain[number - 1].path()]);
        chain.push(world.check(link));
    }
    let top = chain[499].path().clone();
    world.keep(chain);
    check_plan(&world, &[top], 500);
}

/// Nothing is known of any of them before the first one was built.
pub(crate) fn a_chain_that_is_known_late_is_planned() {
    let mut world = World::new();
    let mut chain = vec![world.check(unknown(Kind::Floating, "link-0", ""))];
    for number in 1..500 {
        let kind = if number % 2 == 0 {
            unknown(Kind::Floating, &format!("link-{number}"), "")
        } else {
            named(&format!("link-{number}"), "")
        };
        let link = needing(kind, &[chain[number - 1].path()]);
        chain.push(world.check(link));
    }
    let tops: Vec<StorePath> = [499, 250].map(|place: usize| chain[place].path().clone()).into();
    world.keep(chain);
    check_plan(&world, &tops, 500);
}

pub(crate) fn a_wide_closure_is_planned() {
    let mut world = World::new();
    let base = world.add(named("base", ""));
    let leaf = |number| needing(named(&format!("leaf-{number}"), ""), &[&base]);
    let leaves: Vec<Checked> = (1..1_000).map(|number| world.check(leaf(number))).collect();
    let tops: Vec<StorePath> = leaves.iter().map(|leaf| leaf.path().clone()).collect();
    world.keep(leaves);
    check_plan(&world, &tops, 1_000);
}
