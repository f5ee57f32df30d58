//! Derivations that are made anew each time.

use derivation::Output;
use store_path::{Hash, HashAlgorithm, Method, StoreDir};

use crate::world::{Kind, World, reading, script, unknown};

const TIME: &str = "read line < /proc/uptime; echo $line > $out";

pub(crate) fn it_is_made_anew_each_time_and_once() {
    let mut world = World::new();
    let impure = world.add(unknown(Kind::Impure, "impure", TIME));
    let users = ["first", "second"]
        .map(|name| world.add(reading(unknown(Kind::Impure, name, "echo user >> $out"), &[&impure])));
    let [first, second] = &users;
    let (report, _) = world.realise(&[&impure, first, second]);
    assert_eq!(report.built, [impure.clone(), first.clone(), second.clone()]);
    // Both were given what was made once.
    let says = |index: usize| world.contents(&report.realised[index]);
    assert_eq!((says(1), says(2)), (says(0) + "user\n", says(0) + "user\n"));
    let (report, _) = world.realise(&[first]);
    assert_eq!(report.built, [impure.clone(), first.clone()]);
    assert!(engine::known_outputs(&world.store, &impure).expect("the store answers").is_empty());
}

pub(crate) fn what_is_promised_may_take_it_in() {
    let mut world = World::new();
    let impure = world.add(unknown(Kind::Impure, "impure", "echo always > $out"));
    let mut fixed = reading(script("fixed", ""), &[&impure]);
    let hash = Hash::of(HashAlgorithm::Sha256, b"always\n");
    let path = StoreDir::default().fixed_path(&fixed.name, Method::Flat, &hash);
    fixed
        .outputs
        .insert("out".parse().expect("a proper name"), Output::Fixed { method: Method::Flat, hash, path });
    let fixed = world.add(fixed);
    let (report, _) = world.realise(&[&fixed]);
    assert_eq!(report.built, [impure, fixed.clone()]);
    assert_eq!(world.realise(&[&fixed]).1, ["plan 0"]);
}
