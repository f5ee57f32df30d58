//! Derivations that builds make.

use std::collections::BTreeSet;

use derivation::{Derivation, InputOutputs, Link, Output, OutputNames, aterm};
use engine::{Report, Selection, Wanted};
use store_path::{Placeholder, StoreDir, StorePath};

use crate::world::{Kind, World, all_of, copy, named, out, reading, script, unknown};

/// A build whose output is the derivation `inner`; what that refers to, it takes in.
fn maker(world: &World, inner: &Derivation) -> Derivation {
    let text = aterm::print(inner, &StoreDir::default());
    maker_of(world, &format!("{}.drv", inner.name), Kind::Text, &text, inner.references())
}

/// The text is in a file, as in the maker itself what stands for the outputs of `inner` would be its own.
fn maker_of(
    world: &World,
    name: &str,
    kind: Kind,
    text: &[u8],
    references: BTreeSet<StorePath>,
) -> Derivation {
    let source = world.store.add_text(&"text".parse().expect("a proper name"), text, &references);
    let source = source.expect("the scratch store can be written to");
    let full = StoreDir::default().print(&source);
    let script = format!("read -r line < {full} || :; printf %s \"$line\" > $out");
    Derivation { input_srcs: BTreeSet::from([source]), ..unknown(kind, name, &script) }
}

fn file(drv: &StorePath) -> Link {
    Link { drv: drv.clone(), through: Vec::new(), output: out() }
}

fn made(drv: &StorePath) -> Wanted {
    Wanted::Made { file: file(drv), outputs: Selection::All }
}

/// A derivation that repeats what the derivation that `maker` makes says.
fn user(maker: &StorePath) -> Derivation {
    let inner = Placeholder::of_output(maker, "out").and_its_output("out");
    let mut user = script("user", &(copy(&inner) + "echo user >> $out"));
    let wanted = InputOutputs { outputs: [out()].into_iter().collect(), dynamic: Default::default() };
    let wanted =
        InputOutputs { outputs: OutputNames::default(), dynamic: [(out(), wanted)].into_iter().collect() };
    user.input_drvs.insert(maker.clone(), wanted);
    user
}

fn realise(world: &World, wanted: &[Wanted]) -> (Report, Vec<String>) {
    let (report, mut told) = world.realise_wanted(wanted);
    told.retain(|line| !line.contains(" does "));
    (report, told)
}

pub(crate) fn what_a_build_makes_is_built() {
    let mut world = World::new();
    let inner = unknown(Kind::Floating, "inner", "echo inner > $out");
    let outer = maker(&world, &inner);
    let outer = world.add(outer);
    let (report, told) = realise(&world, &[made(&outer)]);
    assert_eq!(
        told,
        ["plan 1", "start inner", "built inner", "found inner for inner: 1", "start inner", "built inner"]
    );
    assert_eq!(world.contents(&report.realised[0]), "inner\n");
    let (again, told) = realise(&world, &[made(&outer)]);
    assert_eq!(told, ["plan 0"]);
    assert_eq!(again.realised, report.realised);
    let found = engine::made(&world.store, &file(&outer)).expect("the store answers");
    let engine::Realised::Outputs { drv, .. } = &again.realised[0] else { panic!("{again:?}") };
    assert_eq!(found.as_ref(), Some(drv));
}

pub(crate) fn it_is_an_input_like_any_other() {
    let mut world = World::new();
    let inner = unknown(Kind::Floating, "inner", "echo inner > $out");
    let outer = maker(&world, &inner);
    let outer = world.add(outer);
    let user = world.add(user(&outer));
    let (report, _) = realise(&world, &[all_of(&user)]);
    assert!(report.failures.is_empty(), "{report:?}");
    assert_eq!(world.contents(&report.realised[0]), "inner\nuser\n");
    assert_eq!(report.built.len(), 3);
    assert_eq!(realise(&world, &[all_of(&user)]).1, ["plan 0"]);
}

pub(crate) fn what_makes_may_be_made_itself() {
    let mut world = World::new();
    let inner = unknown(Kind::Floating, "inner", "echo inner > $out");
    let outer = maker(&world, &inner);
    let outermost = maker(&world, &outer);
    let outermost = world.add(outermost);
    let wanted = Wanted::Made { file: file(&outermost).and_its_output(out()), outputs: Selection::All };
    let (report, told) = realise(&world, std::slice::from_ref(&wanted));
    assert!(report.failures.is_empty(), "{report:?}");
    assert_eq!(world.contents(&report.realised[0]), "inner\n");
    assert_eq!(told.iter().filter(|line| line.starts_with("found ")).count(), 2, "{told:?}");
    assert_eq!(realise(&world, &[wanted]).1, ["plan 0"]);
}

pub(crate) fn what_it_takes_is_built_too() {
    let mut world = World::new();
    let base = world.add(named("base", ""));
    let late = world.add(reading(unknown(Kind::Floating, "late", "echo late >> $out"), &[&base]));
    let inner = reading(unknown(Kind::Floating, "inner", "echo inner >> $out"), &[&late]);
    let outer = maker(&world, &inner);
    let outer = world.add(outer);
    let (report, told) = realise(&world, &[made(&outer)]);
    assert!(report.failures.is_empty(), "{report:?}");
    assert!(told.contains(&"found inner for inner: 3".to_owned()), "{told:?}");
    assert!(world.contents(&report.realised[0]).ends_with("late\ninner\n"));
}

/// Tries what cannot be taken for a derivation; returns what is said of it.
fn refused(name: &str, kind: Kind, text: &[u8]) -> String {
    let mut world = World::new();
    world.set("keep-going", "true");
    let outer = maker_of(&world, name, kind, text, BTreeSet::new());
    let outer = world.add(outer);
    let user = world.add(user(&outer));
    let (report, _) = realise(&world, &[all_of(&user), made(&outer)]);
    assert_eq!(report.built.iter().collect::<Vec<_>>(), [&outer], "{report:?}");
    assert!(report.realised.is_empty());
    let blocked: Vec<_> = report.blocked.iter().map(|blocked| (&blocked.drv, &blocked.by)).collect();
    assert_eq!(blocked, [(&user, &outer)]);
    let [failure] = &report.failures[..] else { panic!("{report:?}") };
    assert_eq!(failure.drv, outer);
    let mut told = failure.error.to_string();
    let mut source = std::error::Error::source(&failure.error);
    while let Some(cause) = source {
        told += &format!(": {cause}");
        source = cause.source();
    }
    // What is known to be wrong is told before anything is built.
    let error = engine::plan(&world.store, &[all_of(&user)]).map(drop).expect_err("it is no derivation");
    assert!(told.contains(&error.to_string()), "{told}, and then {error}");
    told
}

pub(crate) fn what_is_no_derivation_is_refused() {
    let inner = aterm::print(&unknown(Kind::Floating, "inner", ""), &StoreDir::default());
    for (name, kind, text, expected) in [
        ("inner.drv", Kind::Text, &b"hello"[..], "cannot understand the derivation"),
        ("inner.drv", Kind::Text, &inner[..inner.len() - 1], "cannot understand the derivation"),
        ("inner.drv", Kind::Floating, &inner, "not content-addressed as a text"),
        ("inner", Kind::Text, &inner, "its name does not end in `.drv`"),
    ] {
        let told = refused(name, kind, text);
        assert!(told.contains(expected), "{name}: {told}");
    }
}

/// Nobody has checked what a builder writes: it could say that its output is that of somebody else.
pub(crate) fn what_others_own_is_refused() {
    let theirs: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-theirs".parse().expect("a proper path");
    let full = StoreDir::default().print(&theirs);
    let mut evil = script("theirs", "echo mine > $out");
    evil.outputs.insert(out(), Output::InputAddressed(theirs));
    evil.env.insert(b"out".to_vec(), full.into_bytes());
    let text = aterm::print(&evil, &StoreDir::default());
    let told = refused("theirs.drv", Kind::Text, &text);
    assert!(told.contains("but should have"), "{told}");
    // What nothing refers to may be gone when it is needed.
    let absent: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-absent.drv".parse().expect("a proper path");
    let needy = reading(unknown(Kind::Floating, "needy", ""), &[&absent]);
    let text = aterm::print(&needy, &StoreDir::default());
    let told = refused("needy.drv", Kind::Text, &text);
    assert!(told.contains("as an input, but its file does not refer to that"), "{told}");
}

pub(crate) fn a_failure_inside_blocks_its_users() {
    let mut world = World::new();
    world.set("keep-going", "true");
    let outer = maker(&world, &unknown(Kind::Floating, "inner", "exit 4"));
    let outer = world.add(outer);
    let user = world.add(user(&outer));
    let other = world.add(named("other", ""));
    let (report, _) = realise(&world, &[all_of(&user), made(&outer), all_of(&other)]);
    let inner = engine::made(&world.store, &file(&outer)).expect("the store answers").expect("it was made");
    assert_eq!(report.failures.iter().map(|failure| &failure.drv).collect::<Vec<_>>(), [&inner]);
    let blocked: Vec<_> = report.blocked.iter().map(|blocked| (&blocked.drv, &blocked.by)).collect();
    assert_eq!(blocked, [(&user, &inner)]);
    assert_eq!(world.contents(&report.realised[0]), "other\n");
    // Asked for once more, what failed before is planned, and tried, again.
    let (report, told) = realise(&world, &[all_of(&user)]);
    assert_eq!((told[0].as_str(), report.failures.len()), ("plan 2", 1));
}

/// What is made anew each time can be told by somebody outside who waits for it.
pub(crate) fn what_waits_for_itself_is_given_up() {
    let mut world = World::new();
    let derive = |input: &str| {
        format!(
            r#"Derive([("out","","r:sha256","impure")],[("{input}",["out"])],[],"x86_64-linux","/bin/sh",[],[])"#
        )
    };
    let told = world.add(unknown(
        Kind::ImpureText,
        "told.drv",
        "read -r line < /told || :; printf %s \"$line\" > $out",
    ));
    let text = derive("%s");
    let script = format!("printf '{text}' {} > $out", Placeholder::of_output(&told, "out"));
    let maker = world.add(crate::world::needing(unknown(Kind::ImpureText, "made.drv", &script), &[&told]));
    let mut waiting = unknown(Kind::Impure, "waiting", "exit 1");
    waiting.input_drvs = user(&maker).input_drvs;
    let waiting = world.add(waiting);
    let file = world.write("told", &derive(&StoreDir::default().print(&waiting)));
    world.set("build-chroot-dirs", &format!("/dev /proc /told={file}"));
    let (report, _) = realise(&world, &[all_of(&waiting)]);
    let [failure] = &report.failures[..] else { panic!("{report:?}") };
    let cause = std::error::Error::source(&failure.error).expect("a reason is given").to_string();
    assert!(cause.contains("needs its own outputs"), "{cause}");
    assert_eq!(report.built, [told, maker]);
    assert!(report.blocked.iter().any(|blocked| blocked.drv == waiting), "{report:?}");
    assert_eq!(report.not_started, []);
}
