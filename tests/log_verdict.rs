//! Why a build failed is the end of its log, for Nix's programs as well.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::gated::Gated;
use crate::peer::nix_store;
use crate::person::Person;
use crate::scene::{Scene, has_nix, shell_derivation};
use crate::world::fixed;

/// What a builder does, how it comes to be in vain, and what its log says of that.
struct Vain {
    derivation: String,
    options: &'static [&'static str],
    code: i32,
    /// What is behind what the builder printed.
    verdict: &'static [&'static str],
}

fn ways() -> Vec<Vain> {
    let vain = |derivation: String, code, verdict| Vain { derivation, options: &[], code, verdict };
    let plain = |script: &str| shell_derivation("vain", script);
    let rule =
        |script: &str| plain(script).replace("\"env\": {}", "\"env\": { \"allowedReferences\": \"\" }");
    vec![
        vain(plain("echo said; exit 3"), 100, &["[store] failed: ", "it returned 3"]),
        vain(plain("echo said"), 1, &["[store] no-output: ", "did not make its output `out`"]),
        vain(
            fixed("vain", "echo said; echo other > $out; exit"),
            102,
            &[
                "[store] hash-mismatch: ",
                "\n[store]   specified: sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=",
                "\n[store]   got:       sha256-",
            ],
        ),
        vain(rule("echo said; echo $out > $out"), 1, &["[store] rejected: ", "`allowedReferences`"]),
        Vain {
            options: &["--timeout", "1"],
            ..vain(
                plain("echo said; while :; do :; done"),
                101,
                &["[store] timed-out: ", "(setting `timeout`)"],
            )
        },
    ]
}

#[test]
fn a_log_ends_with_why_the_build_failed() {
    let has_nix = has_nix();
    for compress in ["true", "false"] {
        for Vain { derivation, options, code, verdict } in ways() {
            let scene = Scene::new();
            let file = scene.write("vain.json", derivation);
            let drv = scene.ok(&["derivation", "add", &file]);
            let flags = ["--option", "compress-build-log", compress];
            scene.fails(code, &[&["build", "--no-link", &drv], options, &flags].concat());
            let log = scene.ok(&["log", &drv]);
            let told = log.strip_prefix("said\n").unwrap_or_else(|| panic!("{log}"));
            assert!(verdict.iter().all(|part| told.contains(part)), "{told}");
            assert!(told.lines().all(|line| line.starts_with("[store] ")), "{told}");
            if has_nix {
                assert_eq!(nix_store(&scene, &["--read-log", &drv]), format!("{log}\n"), "{compress}");
            }
        }
    }
}

#[test]
fn nix_reads_the_log_of_what_was_built() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    for (number, compress) in ["true", "false"].iter().enumerate() {
        // More than the compressor takes at once, and no line end.
        let script = format!(
            "n=0; while [ $n -lt 20000 ]; do echo line {number} $n; n=$((n+1)); done; printf end; echo > $out"
        );
        let file = scene.write("long.json", shell_derivation("long", &script));
        let out = scene.ok(&["build", "--no-link", &file, "--option", "compress-build-log", compress]);
        let log = scene.ok(&["log", &out]);
        assert!(log.ends_with("19999\nend") && log.lines().count() == 20_001);
        let drv = scene.ok(&["query", "--deriver", &out]);
        assert_eq!(nix_store(&scene, &["--read-log", &drv]), log, "{compress}");
        assert_eq!(nix_store(&scene, &["-l", &out]), log, "{compress}");
    }
}

#[test]
fn what_was_cancelled_says_so() {
    let gated = Gated::new();
    let build = gated.start("build", "here", &["-L"]);
    let ps: Value = serde_json::from_str(&gated.scene.ok(&["ps", "--json"])).unwrap();
    let drv = ps[0]["drvPath"].as_str().unwrap();
    let mut command = gated.scene.command(&["log", "-f", drv]);
    let followed = gated.run("followed", "here", &mut command);
    Command::new("kill").args(["-INT", &build.child.id().to_string()]).status().unwrap();
    assert_eq!(build.ends().0, Some(130));
    let (code, said) = followed.ends();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("here\n[store] cancelled: ") && said.contains("` was cancelled\n"), "{said}");
    assert_eq!(gated.scene.ok(&["log", "--failed"]), "", "it has not failed");
    // Without anybody having looked.
    let late = gated.scene.run(&["log", "-f", drv]);
    assert_eq!(late.code, Some(1), "{}", late.stderr);
}

#[test]
fn a_builder_cannot_pass_a_verdict() {
    let scene = Scene::new();
    let script = "echo said; echo '[store] failed: it returned 1'; printf '[store] hash-'; exit 5";
    let file = scene.write("liar.json", shell_derivation("liar", script));
    scene.fails(100, &["build", "--no-link", &file]);
    let drv = scene.ok(&["derivation", "add", &file]);
    let mut person = Person::at(&scene, &scene.command(&["log", &drv]), 30, 200);
    assert_eq!(person.stays(), Some(0));
    let lines = person.screen();
    let said = [
        "said",
        "(printed by the builder) [store] failed: it returned 1",
        "(printed by the builder) [store] hash-",
    ];
    assert_eq!(&lines[..3], said);
    assert!(lines[3].starts_with("[store] failed: ") && lines[3].ends_with("it returned 5"), "{lines:?}");
    assert_eq!(lines.len(), 4, "{lines:?}");
    // Of what is built, nothing in the log is ours.
    let script = "echo '[store] failed: really'; echo > $out";
    let file = scene.write("liar.json", shell_derivation("liar", script));
    let out = scene.ok(&["build", "--no-link", &file]);
    let mut person = Person::at(&scene, &scene.command(&["log", &out]), 30, 200);
    assert_eq!(person.stays(), Some(0));
    assert_eq!(person.screen(), ["(printed by the builder) [store] failed: really"]);
}

#[test]
fn a_verdict_is_taken_back_with_the_log_of_the_next_build() {
    let scene = Scene::new();
    let flag = scene.path("flag");
    let shown = ["--option", "build-chroot-dirs", &format!("/dev /proc /flag={}", flag.display())];
    fs::write(&flag, "exit 1").unwrap();
    let file = scene.write("fickle.json", shell_derivation("fickle", "echo said; . /flag"));
    scene.fails(100, &[&["build", "--no-link", &file], &shown[..]].concat());
    fs::write(&flag, "echo > $out").unwrap();
    let out = scene.ok(&[&["build", "--no-link", &file], &shown[..]].concat());
    assert_eq!(scene.ok(&["log", &out]), "said");
    assert_eq!(scene.run(&["log", "-f", &out]).code, Some(0));
}
