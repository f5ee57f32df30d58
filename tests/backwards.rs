//! `store build --check --vary=order`: directories are read from the last entry to the first.

use std::fs;

use crate::content_addressed::add;
use crate::scene::{Run, Scene, say};

const READS: &str = include_str!("../fixtures/cli/reads.c");

/// Files in `many`, whose numbers are 45,150 together, and one in `few`.
const FILES: &str =
    "mkdir many few; : > few/7; i=0; while test $i -lt 300; do i=$((i+1)); : > many/$i; done; ";

/// Adds a build that has the program `/reads`, builds it, and builds it once more with directories read backwards.
fn twice(scene: &Scene, name: &str, script: &str) -> (String, Run) {
    let shown = format!("/dev /proc /reads={}", scene.c_program("reads", READS));
    let drv = add(scene, name, &format!("{FILES}{script}"), "{}", &[]);
    let build = ["build", "--no-link", "--option", "build-chroot-dirs", &shown, &drv];
    let out = scene.ok(&build);
    let text = fs::read_to_string(scene.real(&out)).unwrap();
    (text, scene.run(&[&build[..], &["--check", "--vary=order"]].concat()))
}

/// However a directory is read, nothing is lost, nothing comes twice, and it is the right one.
#[test]
fn a_directory_that_is_read_backwards_is_whole() {
    let scene = Scene::new();
    let ways = ["all", "little", "nowhere", "edge", "apart", "again"];
    let script = format!("for way in {}; do /reads $way >> $out; done", ways.join(" "));
    let (text, run) = twice(&scene, "whole", &script);
    assert_eq!(text, ways.map(|way| format!("{way}: 45150\n")).concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let (_, run) = twice(&scene, "order", "/reads list many > $out");
    assert_eq!(run.code, Some(104), "{}", run.stderr);
    assert!(!run.stderr.contains("turned round"), "{}", run.stderr);
}

/// What it lists depends on who reads it, and that must not be somebody on the host.
#[test]
fn what_the_kernel_lists_is_left_to_it() {
    let (_, run) =
        twice(&Scene::new(), "kernel", "/reads list /proc/sys/net > $out; /reads list /proc/self >> $out");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_32_bit_program_reads_as_always_and_that_is_told() {
    let (text, run) = twice(&Scene::new(), "narrow", "/reads narrow > $out");
    if text == "narrow: -1\n" {
        say("skipped: no 32-bit programs here");
        return;
    }
    assert_eq!((text.as_str(), run.code), ("narrow: 45150\n", Some(0)), "{}", run.stderr);
    assert!(run.stderr.contains(" reads of directories were not turned round"), "{}", run.stderr);
}
