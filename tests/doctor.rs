//! `store doctor`, here and on machines that forbid something.

use serde_json::Value;

use crate::confined;
use crate::scene::{Scene, derivation, program, text};

#[test]
fn this_machine_can_isolate_builds() {
    // The other tests rely on it: where something is missing, they are not skipped but fail, here first.
    let scene = Scene::new();
    let run = scene.run(&["doctor"]);
    let missing: Vec<_> = run.stdout.lines().filter(|line| line.starts_with("missing")).collect();
    // Whoever runs the tests may be in groups, which an ordinary user cannot leave, and a network helper may be missing.
    let known = ["groups, niceness, limits", "a network of their own for fixed-output builds"];
    let others = missing.iter().filter(|what| !known.iter().any(|known| what.contains(known)));
    assert_eq!(others.count(), 0, "{}{}", run.stdout, run.stderr);
    let code = if missing.is_empty() { 0 } else { 10 };
    assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
}

/// What is found by its key.
fn found(json: &str) -> Vec<(String, Value)> {
    let list: Vec<Value> = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    list.into_iter().map(|one| (one["key"].as_str().unwrap().to_owned(), one)).collect()
}

/// Asserts that builds cannot be isolated there, that the first thing that lacks is `key`, and that its remedy has
/// these words; and that a build is refused, too.
fn assert_remedy(words: &[&str], key: &str, remedy: &[&str]) -> Vec<(String, Value)> {
    let scene = Scene::new();
    let run = confined::run(&scene, words, &["doctor", "--json"]);
    assert_eq!(run.code, Some(11), "{words:?}: {}{}", run.stdout, run.stderr);
    let found = found(&run.stdout);
    let first = found.iter().find(|(_, one)| one["ok"] == false && one["needed"] == "always");
    let (lacking, one) = first.unwrap_or_else(|| panic!("{words:?}: {}", run.stdout));
    assert_eq!(lacking, key, "{words:?}: {}", run.stdout);
    for words in remedy {
        assert!(one["remedy"].as_str().unwrap().contains(words), "{words}: {one}");
    }
    let build = confined::run(&scene, words, &["build", "--no-link", &derivation("hello")]);
    assert!(matches!(build.code, Some(1 | 100)), "{words:?}: {}{}", build.stdout, build.stderr);
    assert_eq!(build.stdout, "");
    found
}

#[test]
fn every_key_is_told_wherever_it_runs() {
    let scene = Scene::new();
    let here: Vec<String> =
        found(&scene.run(&["doctor", "--json"]).stdout).into_iter().map(|(key, _)| key).collect();
    let wanted = "builder-ids user-namespace uid-map gid-map mount-namespace process-namespace network-namespace \
                  ipc-namespace host-name-namespace cgroup-namespace root loopback memory dev proc host-name filter \
                  uid-range subordinate-ids fixed-output-network limit-memory limit-processes limit-processor landlock keyring session shell store sandbox";
    assert_eq!(here, wanted.split(' ').collect::<Vec<_>>());
    for words in [&["user", "1000", "none", "user"][..], &["user", "0"]] {
        let there = confined::run(&scene, words, &["doctor", "--json"]);
        let there: Vec<String> = found(&there.stdout).into_iter().map(|(key, _)| key).collect();
        assert_eq!(there, here, "{words:?}");
    }
}

#[test]
fn where_user_namespaces_are_forbidden_the_setting_is_named() {
    let found = assert_remedy(
        &["user", "1000", "none", "user"],
        "user-namespace",
        &["sysctl user.max_user_namespaces=15000"],
    );
    let (_, proc) = found.iter().find(|(key, _)| key == "proc").unwrap();
    assert!(proc["cause"].as_str().unwrap().contains("not tried"), "{proc}");
}

#[test]
fn where_another_kind_is_forbidden_its_setting_is_named() {
    let words = ["user", "1000", "none", "net"];
    let found = assert_remedy(&words, "network-namespace", &["sysctl user.max_net_namespaces=15000"]);
    assert!(found.iter().any(|(key, one)| key == "ipc-namespace" && one["ok"] == true), "{found:?}");
}

#[test]
fn a_filter_around_it_is_named() {
    assert_remedy(
        &["refuse", "unshare"],
        "user-namespace",
        &["filter of system calls", "seccomp=unconfined"],
    );
}

#[test]
fn a_masked_proc_is_named_with_what_is_masked() {
    let words = ["user", "1000", "cover", "/proc/uptime"];
    assert_remedy(&words, "proc", &["/proc/uptime", "systempaths=unconfined", "-/proc"]);
}

#[test]
fn one_id_is_too_few_for_a_root() {
    let found = assert_remedy(&["user", "0"], "builder-ids", &["ordinary user"]);
    let cause = found[0].1["cause"].as_str().unwrap();
    // Where the host has accounts for builders, these are what is looked for first.
    let words = ["no user id is free", "ids that a builder cannot have here"];
    assert!(words.iter().any(|words| cause.contains(words)), "{cause}");
}

#[test]
fn where_apparmor_is_in_the_way_there_is_a_profile_for_this_program() {
    let setting = ["setting", "/proc/sys/kernel", "apparmor_restrict_unprivileged_userns"];
    let words = [&["user", "1000"], &setting[..], &["refuse", "unshare"]].concat();
    let program = text(program());
    let program = text(std::fs::canonicalize(program).unwrap());
    let profile = format!("profile store-builds \"{program}\" flags=(unconfined) {{\n  userns,");
    assert_remedy(&words, "user-namespace", &[&profile, "apparmor_parser --replace"]);
}

#[test]
fn where_nothing_can_be_written_there_is_no_place_for_a_store() {
    let scene = Scene::new();
    let place = text(scene.path(""));
    let run = confined::run(&scene, &["user", "1000", "read-only", &place], &["doctor", "--json"]);
    assert_eq!(run.code, Some(11), "{}{}", run.stdout, run.stderr);
    let found = found(&run.stdout);
    let (_, store) = found.iter().find(|(key, _)| key == "store").unwrap();
    assert!(store["remedy"].as_str().unwrap().contains("read-only"), "{store}");
    assert!(store["cause"].as_str().unwrap().contains(&place.trim_end_matches('/').to_owned()), "{store}");
}

#[test]
fn what_settings_do_without_is_no_reason_to_give_up() {
    let scene = Scene::new();
    let words = ["user", "1000", "cover", "/proc/uptime"];
    let without = ["--option", "build-chroot-dirs", "/dev -/proc"];
    let run = confined::run(&scene, &words, &[&["doctor"], &without[..]].concat());
    assert_eq!(run.code, Some(10), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("missing  a private /proc"), "{}", run.stdout);
    let hello = derivation("hello");
    let build = confined::run(&scene, &words, &[&["build", "--no-link", &hello], &without[..]].concat());
    assert_eq!(build.code, Some(0), "{}", build.stderr);
}

#[test]
fn the_doctor_leaves_nothing_behind() {
    let scene = Scene::new();
    scene.run(&["doctor"]);
    let left: Vec<_> =
        std::fs::read_dir(scene.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["home"]);
}
