//! Two processes want the same: one builds, the other waits, says for what, and takes over if the first one dies.

use std::process::Command;

use crate::gated::Gated;
use crate::processes::{SOON, descendants, within};
use crate::scene::shell_derivation;

#[test]
fn the_second_one_says_what_it_waits_for_and_shows_the_log() {
    let gated = Gated::new();
    let first = gated.start("first", "here", &["-L"]);
    let second = gated.start("second", "gated> here", &["-L"]);
    let said = second.said();
    assert!(said.contains(&format!("process {}, `", first.child.id())), "{said}");
    assert!(said.contains("-gated.lock`") && said.contains(" since 20"), "{said}");
    let ps = gated.scene.ok(&["ps"]);
    assert!(ps.contains(&format!(" of process {}", first.child.id())), "{ps}");
    let process = first.child.id();
    gated.open();
    let ((first, _), (second, said)) = (first.ends(), second.ends());
    assert_eq!((first, second), (Some(0), Some(0)), "{said}");
    assert!(said.contains("gated> there"), "{said}");
    assert!(said.contains(&format!("-gated.drv was built by process {process} meanwhile")), "{said}");
    assert_eq!(gated.scene.ok(&["ps", "--json"]), "[]");
}

#[test]
fn whoever_waits_takes_over_from_one_that_is_killed() {
    let gated = Gated::new();
    let mut first = gated.start("first", "here", &["-L"]);
    let second = gated.start("second", "gated> here", &["-L"]);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    // Its own builder is at the gate then, and the other one is not any more.
    assert!(within(SOON, || second.said().matches("gated> here").count() == 2), "{}", second.said());
    gated.open();
    let (code, said) = second.ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("gated> there"), "{said}");
    assert_eq!(gated.scene.ok(&["ps", "--json"]), "[]");
}

#[test]
fn waiting_ends_with_ctrl_c() {
    let gated = Gated::new();
    let first = gated.start("first", "here", &["-L"]);
    let mut second = gated.start("second", "waiting for", &[]);
    let all = descendants(second.child.id());
    Command::new("kill").args(["-INT", &second.child.id().to_string()]).status().unwrap();
    // Within a second on a machine that does nothing else.
    assert!(within(SOON, || second.child.try_wait().unwrap().is_some()), "{all:?}");
    let (code, said) = second.ends();
    assert_eq!(code, Some(130), "{said}");
    gated.open();
    assert_eq!(first.ends().0, Some(0));
}

#[test]
fn others_go_first_while_one_waits() {
    let gated = Gated::new();
    let other = gated.scene.write("other.json", shell_derivation("other", "echo > $out"));
    let first = gated.start("first", "here", &["-L"]);
    let second = gated.start("second", "waiting for", &[&other, "-j1"]);
    assert!(second.says("-other.drv in "), "{}", second.said());
    gated.open();
    assert_eq!((first.ends().0, second.ends().0), (Some(0), Some(0)));
}

#[test]
fn a_lock_of_another_program_is_waited_for() {
    let gated = Gated::new();
    let drv = gated.scene.ok(&["derivation", "add", &gated.file]);
    let out = gated.scene.ok(&["query", "--outputs", &drv]);
    let lock = format!("{}.lock", gated.scene.real(&out).display());
    let mut holder = Command::new("flock").args([&lock, "sleep", "1000"]).spawn().unwrap();
    let is_held =
        || Command::new("flock").args(["--nonblock", &lock, "true"]).status().unwrap().code() == Some(1);
    assert!(within(SOON, is_held));
    let second = gated.start("second", "waiting for", &["-L"]);
    // The program, or what it has started, which has the lock as well.
    let pids: Vec<u32> = [vec![holder.id()], descendants(holder.id())].concat();
    let said = second.said();
    assert!(pids.iter().any(|pid| said.contains(&format!("process {pid}, `"))), "{pids:?}: {said}");
    descendants(holder.id()).iter().for_each(|process| {
        Command::new("kill").arg(process.to_string()).status().unwrap();
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    gated.open();
    assert_eq!(second.ends().0, Some(0));
}
