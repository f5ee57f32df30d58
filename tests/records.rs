//! What is written down of a build: what kept it apart, what it took; and that nobody believes more than that.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use store_path::{Hash, HashAlgorithm};

use crate::peer::nix_store;
use crate::scene::{Scene, derivation, has_nix, is_root, say, shell_derivation};

/// What `path-info --json` says about one path.
fn info(scene: &Scene, path: &str) -> Value {
    let list: Value = serde_json::from_str(&scene.ok(&["path-info", "--json", path])).unwrap();
    list[0].clone()
}

fn state(scene: &Scene, path: &str) -> String {
    info(scene, path)["isolation"]["state"].as_str().unwrap().to_owned()
}

/// The digest of a file.
fn sha256(file: &str) -> String {
    Hash::of(HashAlgorithm::Sha256, &fs::read(file).unwrap()).to_base16()
}

/// Our own database.
fn records(scene: &Scene) -> PathBuf {
    scene.root().join("nix/var/nix/db/store.sqlite")
}

/// Changes bytes of our own database, which no process has open.
fn tamper(scene: &Scene, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(records(scene)).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "`{from}` is not in the database");
    places.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to.as_bytes()));
    fs::write(records(scene), bytes).unwrap();
}

/// Sets the version of our own database, which SQLite keeps in its header.
fn set_version(scene: &Scene, version: u32) {
    let mut bytes = fs::read(records(scene)).unwrap();
    bytes[60..64].copy_from_slice(&version.to_be_bytes());
    fs::write(records(scene), bytes).unwrap();
}

/// Builds a script of that name with some settings and returns its path.
fn build(scene: &Scene, name: &str, settings: &[(&str, &str)]) -> String {
    let file = scene.write(&format!("{name}.json"), shell_derivation(name, "echo hello > $out"));
    let mut arguments = vec!["build", "--no-link", &file];
    settings.iter().for_each(|(key, value)| arguments.extend(["--option", key, value]));
    scene.ok(&arguments)
}

/// The shortfalls of a path that was built with less, all of which `verify --isolated` and `log --about` tell.
fn shortfalls(scene: &Scene, path: &str) -> String {
    let isolation = info(scene, path)["isolation"].clone();
    assert_eq!(isolation["state"], "less", "{isolation}");
    let verify = scene.run(&["verify", "--isolated"]);
    assert_eq!(verify.code, Some(1), "{}", verify.stderr);
    let line = verify.stdout.lines().find(|line| line.starts_with(path)).unwrap();
    let about = scene.ok(&["log", "--about", path]);
    let all = isolation["shortfalls"].as_array().unwrap();
    for one in all.iter().map(|one| one.as_str().unwrap()) {
        assert!(line.contains(one), "{line}: {one}");
        assert!(about.contains(&format!("less: {one}\n")), "{about}: {one}");
    }
    all.iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_build_by_default_is_isolated_and_everything_about_it_is_told() {
    let scene = Scene::new();
    let path = build(&scene, "default", &[]);
    let info = info(&scene, &path);
    let isolation = &info["isolation"];
    assert_eq!(isolation["state"], "isolated", "{isolation}");
    assert_eq!(isolation["given"]["namespaces"].as_array().unwrap().len(), 7, "{isolation}");
    assert_eq!(isolation["given"]["network"], "loopback");
    let filter = isolation["given"]["filter"].as_str().unwrap();
    let shell = isolation["shown"].as_array().unwrap().iter().find(|one| one["target"] == "/bin/sh").unwrap();
    let digest = shell["sha256"].as_str().unwrap();
    assert_eq!(digest, sha256(shell["source"].as_str().unwrap()));
    assert_eq!(shell["setting"], "sandbox-shell");
    let build = &info["build"];
    assert_eq!(build["derivation"].as_str().unwrap(), scene.ok(&["query", "--deriver", &path]));
    assert!(build["wallSeconds"].as_f64().unwrap() > 0.0, "{build}");
    assert!(build["peakMemoryBytes"].as_u64().unwrap() > 0, "{build}");
    assert!(build["started"].as_f64().unwrap() > 1.7e9, "{build}");
    let about = scene.ok(&["log", "--about", &path]);
    for told in
        [filter, digest, "loopback only", "mounts locked", "in the kernel", "KiB to disks", " UTC from "]
    {
        assert!(about.contains(told), "{about}: {told}");
    }
    let uid = isolation["uid"].as_u64().unwrap();
    assert!(about.contains(&format!("{uid} on the host")), "{about}");
    if is_root() {
        assert_ne!(uid, 0);
    }
    let json: Value = serde_json::from_str(&scene.ok(&["log", "--about", "--json", &path])).unwrap();
    assert_eq!((&json[0]["isolation"], &json[0]["build"]), (isolation, build));
    let drv = scene.ok(&["query", "--deriver", &path]);
    assert_eq!(scene.ok(&["log", "--about", &drv]), about, "of a derivation, what was made from it");
    assert_eq!(scene.ok(&["verify", "--isolated"]), "");
}

#[test]
fn every_setting_that_weakens_a_build_shows() {
    let scene = Scene::new();
    let cases = [
        ("unfiltered", ("filter-syscalls", "false"), "no filter of system calls"),
        ("privileges", ("allow-new-privileges", "true"), "programs may gain privileges"),
        ("nested", ("nested-user-namespaces", "true"), "it could make user namespaces of its own"),
        ("dirs", ("build-chroot-dirs", "/dev /proc /shown=/usr"), "it saw `/usr` of the host as `/shown`"),
    ];
    for (name, setting, shortfall) in cases {
        let path = build(&scene, name, &[setting]);
        assert_eq!(shortfalls(&scene, &path), shortfall);
    }
    let fixed =
        scene.ok(&["build", "--no-link", "--option", "fod-network", "host", &derivation("fixed-output")]);
    assert_eq!(shortfalls(&scene, &fixed), "the network is the host's");
    // Only the build that has the host's network is shown the host's files about it.
    let shown = info(&scene, &fixed)["isolation"]["shown"].to_string();
    assert!(shown.contains("/etc/hosts") || !PathBuf::from("/etc/hosts").exists(), "{shown}");
    let report = scene.run(&["verify", "--isolated", "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["less"].as_array().unwrap().len(), 5, "{report}");
    assert_eq!((&report["isolated"], &report["unknown"]), (&0.into(), &Value::Array(Vec::new())));
}

#[test]
fn a_program_of_the_host_that_is_listed_is_named_with_its_digest() {
    let scene = Scene::new();
    let program = scene.c_program("probe", "int main(void) { return 0; }");
    let path = build(&scene, "probing", &[("build-chroot-dirs", &format!("/dev /proc /probe={program}"))]);
    assert!(shortfalls(&scene, &path).contains("of the host as `/probe`"));
    let shown = info(&scene, &path)["isolation"]["shown"].clone();
    let probe = shown.as_array().unwrap().iter().find(|one| one["target"] == "/probe").unwrap().clone();
    assert_eq!(probe["sha256"], sha256(&program));
}

#[test]
fn chroot_shows_as_what_it_is() {
    if !is_root() {
        return say("skipped: `build-isolation = chroot` is for root");
    }
    let scene = Scene::new();
    let path = build(&scene, "chrooted", &[("build-isolation", "chroot")]);
    let told = shortfalls(&scene, &path);
    assert!(told.contains("network"), "{told}");
    assert_eq!(info(&scene, &path)["isolation"]["given"]["scheme"], "chroot");
}

#[test]
fn limits_are_told_and_those_that_could_not_be_had() {
    let scene = Scene::new();
    let path = build(&scene, "limited", &[("max-build-memory", "300M"), ("use-cgroups", "false")]);
    let about = scene.ok(&["log", "--about", &path]);
    assert!(about.contains("limited      memory to 314572800 bytes by each process"), "{about}");
    assert!(about.contains("not limited  memory of all processes together: "), "{about}");
    assert_eq!(state(&scene, &path), "isolated", "limits keep others safe; they let nothing in");
}

#[test]
fn what_was_added_needs_no_isolation() {
    let scene = Scene::new();
    let file = scene.write("source", "text");
    let added = scene.ok(&["add", &file]);
    assert_eq!(scene.ok(&["add", &file]), added);
    assert_eq!(state(&scene, &added), "source");
    let drv = scene.ok(&["derivation", "add", &derivation("hello")]);
    assert_eq!(state(&scene, &drv), "text");
    assert!(!records(&scene).exists(), "nothing was built, and looking makes nothing");
    assert_eq!(scene.ok(&["verify", "--isolated"]), "");
}

#[test]
fn a_record_ends_with_its_path_and_is_not_believed_in_its_next_life() {
    let scene = Scene::new();
    let file = scene.write("fixed", "the same everywhere\n");
    let hash = scene.ok(&["hash", "path", "--format", "base16", &file]);
    let promised = format!(r#""out": {{ "hashAlgo": "r:sha256", "hash": "{hash}" }}"#);
    let json =
        shell_derivation("fixed", "echo the same everywhere > $out").replace(r#""out": {}"#, &promised);
    let drv = scene.write("fixed.json", json);
    let fixed = scene.ok(&["build", "--no-link", &drv]);
    assert_eq!(state(&scene, &fixed), "isolated");
    // As if the record had been committed and its path never: nobody has forgotten it.
    let stale = fs::read(records(&scene)).unwrap();
    scene.ok(&["delete", &fixed]);
    assert_ne!(fs::read(records(&scene)).unwrap(), stale, "it went with its path");
    fs::write(records(&scene), &stale).unwrap();
    scene.ok(&["verify", "--isolated"]);
    assert_eq!(scene.ok(&["add", &file]), fixed);
    assert_eq!(state(&scene, &fixed), "source", "it was added, and whatever was built before is gone");
    assert!(info(&scene, &fixed).get("build").is_none());
    scene.ok(&["delete", &fixed]);
    fs::write(records(&scene), &stale).unwrap();
    assert_eq!(scene.ok(&["build", "--no-link", &drv]), fixed);
    assert_eq!(state(&scene, &fixed), "isolated");
    scene.ok(&["verify", "--isolated"]);
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_isolated() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let good = fs::read(records(&scene)).unwrap();
    let unknown = |because: &str| {
        let isolation = info(&scene, &path)["isolation"].clone();
        assert_eq!(isolation["state"], "unknown", "{because}: {isolation}");
        assert!(isolation["why"].as_str().unwrap().contains(because), "{because}: {isolation}");
        let verify = scene.run(&["verify", "--isolated"]);
        assert_eq!(verify.code, Some(1));
        assert!(verify.stdout.starts_with(&format!("{path}: unknown: ")), "{}", verify.stdout);
        assert!(scene.ok(&["log", "--about", &path]).contains("unknown: "));
        isolation
    };
    tamper(&scene, r#""unprivileged":true"#, r#""unprivileged":nope"#);
    let raw = unknown("cannot be read")["raw"].clone();
    assert!(raw.as_str().unwrap().contains(r#""unprivileged":nope"#), "shown as it is: {raw}");
    fs::write(records(&scene), &good).unwrap();
    let filter = info(&scene, &path)["isolation"]["given"]["filter"].to_string();
    tamper(&scene, &filter, &format!("{:1$}", "null", filter.len()));
    unknown("contradicts itself");
    fs::write(records(&scene), &good).unwrap();
    set_version(&scene, 99);
    unknown("has version 99");
    fs::write(records(&scene), "x".repeat(good.len())).unwrap();
    unknown("not a database");
    fs::remove_file(records(&scene)).unwrap();
    unknown("no record");
    fs::write(records(&scene), &good).unwrap();
    assert_eq!(state(&scene, &path), "isolated");
}

#[test]
fn who_only_asks_leaves_a_database_of_an_earlier_version_as_it_is() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    set_version(&scene, 1);
    let before = fs::read(records(&scene)).unwrap();
    assert_eq!(state(&scene, &path), "isolated");
    for asked in [&["ps"][..], &["log", "--failed"], &["query", "--roots", &path], &["du", &path]] {
        scene.ok(asked);
    }
    scene.ok(&["gc", "--dry-run", "--older-than", "1d"]);
    assert_eq!(state(&scene, &path), "isolated");
    assert!(fs::read(records(&scene)).unwrap() == before, "not a byte has changed");
}

#[test]
fn nothing_is_built_that_could_not_be_recorded_and_all_else_goes_on() {
    let scene = Scene::new();
    let hello = scene.build("hello").remove(0);
    set_version(&scene, 99);
    let said = scene.fails(100, &["build", "--no-link", &derivation("two-outputs")]);
    assert!(said.contains("version 99") && said.contains("knows versions up to"), "{said}");
    assert!(said.contains("becomes valid without a record"), "{said}");
    let run = scene.run(&["verify", "--contents"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains("version 99"), "{}", run.stdout);
    assert_eq!(scene.ok(&["path-info", &hello]), hello);
    let file = scene.write("source", "text");
    scene.ok(&["add", &file]);
    scene.ok(&["delete", &hello]);
    // Moving it away is the remedy.
    fs::rename(records(&scene), scene.path("away")).unwrap();
    assert_eq!(state(&scene, &scene.build("two-outputs")[0]), "isolated");
}

#[test]
fn many_processes_record_at_once() {
    let scene = Scene::new();
    let start = |number: usize| -> Child {
        let file = scene.write(
            &format!("many-{number}.json"),
            shell_derivation(&format!("many-{number}"), "echo hello > $out"),
        );
        let mut command = scene.command(&["build", "--no-link", &file]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..8).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout).unwrap();
        assert_eq!(state(&scene, path.trim()), "isolated");
    }
    scene.ok(&["verify", "--isolated"]);
}

#[test]
fn nix_takes_no_notice_and_what_it_registers_is_unknown() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    nix_store(&scene, &["--verify", "--check-contents"]);
    let archive = scene.path("archive");
    fs::write(&archive, nix(&scene, &["--export", &path], Stdio::null())).unwrap();
    // Nix takes it away and brings it back; nothing was said to us.
    nix_store(&scene, &["--delete", &path]);
    assert_eq!(scene.ok(&["verify", "--isolated"]), "");
    nix(&scene, &["--import"], fs::File::open(&archive).unwrap().into());
    assert_eq!(state(&scene, &path), "unknown", "the same path, but who knows how it was made");
    nix_store(&scene, &["--verify", "--check-contents"]);
    scene.ok(&["delete", &path]);
    assert_eq!(scene.build("hello").remove(0), path);
    assert_eq!(state(&scene, &path), "isolated");
    nix_store(&scene, &["--verify", "--check-contents"]);
}

/// What `nix-store` prints, which need not be text.
fn nix(scene: &Scene, arguments: &[&str], input: Stdio) -> Vec<u8> {
    let mut command = Command::new("nix-store");
    command.arg("--store").arg(scene.root()).args(arguments).stdin(input);
    let output = command.env("HOME", scene.path("home")).env("USER", "nobody").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
