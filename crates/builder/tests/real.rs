//! Builds for real, in scratch stores.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "real/addressed.rs"]
mod addressed;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use builder::{BuildFailure, Built, Context, Control, Follow, Host, Message, Order};
use derivation::{Checked, check_closure};
use local_store::{BuildId, LocalStore, Location, LockRequest, NewDerivation, Options, PathLock};
use sandbox::Launcher;
use settings::{Origin, Settings};
use store_path::StorePath;
use test_support::{Scratch, main_with_launcher, trials};

fn main() -> ExitCode {
    main_with_launcher(
        sandbox::launcher_main,
        trials![
            hello_is_built_and_registered,
            the_environment_is_exact,
            a_failing_builder_tells_its_last_lines,
            a_missing_output_is_named,
            a_wrong_hash_registers_nothing,
            another_system_is_refused_before_anything_is_made,
            zero_bytes_are_refused_where_no_program_can_have_them,
            references_are_found_and_rules_hold,
            a_failed_build_directory_is_kept_on_request,
            structured_attributes_come_as_files,
            a_build_without_isolation_is_warned_of,
            what_is_given_up_while_it_is_kept_is_removed,
            what_others_hold_open_does_not_become_valid,
            addressed::a_floating_output_that_refers_to_itself_gets_the_path_of_its_contents,
            addressed::what_was_deleted_is_built_again,
            addressed::outputs_that_refer_to_each_other_are_rewritten_in_order,
            addressed::a_circle_of_outputs_is_told,
            addressed::directories_programs_and_symlinks_can_be_floating,
            addressed::two_that_make_the_same_are_one_path,
            addressed::flat_and_text_outputs_refer_to_what_their_addresses_have_room_for,
            addressed::impure_outputs_are_built_each_time,
            addressed::a_floating_output_is_alone_and_an_impure_one_as_a_fixed_one,
            addressed::structured_attributes_name_scratch_paths,
            addressed::an_output_that_is_there_stays_when_others_are_made_again,
            addressed::every_kind_of_promise_is_kept,
            addressed::nix_gives_floating_outputs_the_same_paths,
        ],
    )
}

struct World {
    store: LocalStore,
    settings: Settings,
    launcher: Launcher,
    _scratch: Scratch,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new();
        let store = LocalStore::open(Location::below(scratch.path()), Options::default()).unwrap();
        let launcher = Launcher::start().unwrap();
        Self { store, settings: Settings::default(), launcher, _scratch: scratch }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.settings.set(key, value, &Origin::flag(key)).unwrap();
    }

    /// Puts the derivations of a JSON text into the store, inputs first.
    fn add(&self, json: &str) -> Vec<Checked> {
        let parsed = derivation::json::parse(json.as_bytes(), self.store.store_dir()).unwrap();
        let checked = check_closure(parsed, self.store.store_dir(), &mut |path: &StorePath| {
            Err(std::io::Error::other(path.to_string()))
        })
        .unwrap();
        for drv in &checked {
            let new = NewDerivation {
                path: drv.path().clone(),
                aterm: drv.aterm(),
                references: drv.derivation().references(),
                outputs: drv
                    .output_paths()
                    .into_iter()
                    .filter_map(|(name, path)| Some((name.to_string(), path?)))
                    .collect(),
            };
            self.store.add_derivations(&[new]).unwrap();
        }
        checked
    }

    fn build(&self, drv: &Checked) -> (Result<Built, BuildFailure>, String) {
        let host = Host::look(&self.settings, BTreeMap::new()).unwrap();
        let context = Context {
            store: &self.store,
            launcher: &self.launcher,
            settings: &self.settings,
            host: &host,
            on_failure: None,
        };
        let mut log = Vec::new();
        let order = Order {
            id: &BuildId::new(),
            drv: drv.path(),
            derivation: drv.derivation(),
            target: drv.path(),
            control: None,
        };
        let built = builder::build(&context, &order, &mut |message| {
            if let Message::Output(text) = message {
                log.extend_from_slice(text);
            }
        });
        (built, String::from_utf8_lossy(&log).into_owned())
    }

    fn build_script(&self, script: &str, more: &str) -> (Result<Built, BuildFailure>, String) {
        let script = serde_json::to_string(script).unwrap();
        let json = format!(
            r#"{{"name": "test", "outputs": {{"out": {{}}}}, "inputSrcs": [], "inputDrvs": {{}},
                "system": "{}", "builder": "/bin/sh", "args": ["-c", {script}], "env": {{"out": ""}} {more}}}"#,
            self.settings.system
        );
        self.build(&self.add(&json)[0])
    }

    fn read(&self, path: &StorePath) -> String {
        std::fs::read_to_string(self.store.real_path(path)).unwrap()
    }
}

fn out(built: &Built) -> &StorePath {
    &built.outputs[&"out".parse().unwrap()].path
}

fn hello_is_built_and_registered() {
    let world = World::new();
    let (built, log) = world.build_script("echo building; echo hello > $out", "");
    let built = built.unwrap();
    assert_eq!(log, "building\n");
    assert_eq!(world.read(out(&built)), "hello\n");
    assert!(world.store.is_valid(out(&built)).unwrap());
    let report = world.store.verify(true).unwrap();
    assert!(report.damaged.is_empty(), "{report:?}");
    // The second time nothing runs.
    let (again, log) = world.build_script("echo building; echo hello > $out", "");
    assert_eq!((again.unwrap().outputs, log), (built.outputs, String::new()));
}

fn the_environment_is_exact() {
    let mut world = World::new();
    world.set("cores", "3");
    let script = "while read -r line; do echo \"$line\"; done < /proc/self/environ | { IFS= read -r -d '' x 2>/dev/null; :; }; \
        export -p; pwd; echo $0; umask";
    let (built, log) = world.build_script(&format!("{script}; : > $out"), "");
    let built = built.unwrap();
    for line in [
        "PATH='/path-not-set'",
        "HOME='/homeless-shelter'",
        "NIX_STORE='/nix/store'",
        "NIX_BUILD_CORES='3'",
        "NIX_BUILD_TOP='/build'",
        "TMPDIR='/build'",
        "TEMPDIR='/build'",
        "TMP='/build'",
        "TEMP='/build'",
        "PWD='/build'",
        "NIX_LOG_FD='2'",
        "TERM='xterm-256color'",
    ] {
        assert!(log.contains(line), "no {line} in\n{log}");
    }
    assert!(log.contains(&format!("out='{}'", world.store.store_dir().print(out(&built)))), "{log}");
    assert!(log.ends_with("/build\nsh\n0022\n"), "{log}");
    assert!(!log.contains("NIX_OUTPUT_CHECKED"), "{log}");
}

fn a_failing_builder_tells_its_last_lines() {
    let world = World::new();
    let script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; done; echo half > $out; exit 3";
    let failure = world.build_script(script, "").0.unwrap_err();
    assert!(failure.to_string().contains("it returned 3"), "{failure}");
    assert_eq!(failure.log_tail().len(), 25);
    assert_eq!(failure.log_tail().last().unwrap(), "line 60");
    assert_eq!(world.store.all_valid().unwrap().len(), 1, "only the derivation itself is valid");
    let failure = world.build_script("kill -9 $$; : 2", "").0.unwrap_err();
    // The first process of a namespace cannot kill itself with a signal from inside.
    assert!(matches!(failure, BuildFailure::NoOutput { .. }), "{failure}");
}

fn a_missing_output_is_named() {
    let world = World::new();
    let failure = world.build_script("echo nothing", "").0.unwrap_err();
    assert!(failure.to_string().contains("did not make its output `out` at `/nix/store/"), "{failure}");
}

fn a_wrong_hash_registers_nothing() {
    let world = World::new();
    let json = format!(
        r#"{{"name": "fixed", "outputs": {{"out": {{"hashAlgo": "sha256", "hash":
            "0000000000000000000000000000000000000000000000000000000000000000"}}}}, "inputSrcs": [],
            "inputDrvs": {{}}, "system": "{}", "builder": "/bin/sh",
            "args": ["-c", "echo $NIX_OUTPUT_CHECKED > $out"], "env": {{"out": ""}}}}"#,
        world.settings.system
    );
    let drv = &world.add(&json)[0];
    let failure = world.build(drv).0.unwrap_err();
    // Where no network could be had here, that is told around it.
    let failure = failure.itself();
    let BuildFailure::Hash { specified, got, .. } = failure else { panic!("{failure}") };
    let text = failure.to_string();
    assert!(text.contains(&specified.to_sri()) && text.contains(&got.to_sri()), "{text}");
    assert_eq!(world.store.all_valid().unwrap().len(), 1);
}

fn another_system_is_refused_before_anything_is_made() {
    let mut world = World::new();
    let (system, _) = (world.settings.system.clone(), world.set("system", "vax-vms"));
    world.set("extra-platforms", "");
    let json = format!(
        r#"{{"name": "x", "outputs": {{"out": {{}}}}, "inputSrcs": [], "inputDrvs": {{}}, "system": "{system}",
            "builder": "/bin/sh", "args": [], "env": {{"out": ""}}}}"#
    );
    let failure = world.build(&world.add(&json)[0]).0.unwrap_err();
    assert!(matches!(failure, BuildFailure::System { .. }), "{failure}");
    let entries = std::fs::read_dir(&world.store.location().real_store).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        names.filter(|name| !name.starts_with('.')).count(),
        1,
        "only the derivation's own file is there"
    );
}

fn zero_bytes_are_refused_where_no_program_can_have_them() {
    let world = World::new();
    let build = |args: &str, env: &str| {
        let json = format!(
            r#"{{"name": "x", "outputs": {{"out": {{}}}}, "inputSrcs": [], "inputDrvs": {{}}, "system": "{}",
                "builder": "/bin/sh", "args": ["-c", "echo x > $out{args}"], "env": {{"out": "", {env}}}}}"#,
            world.settings.system
        );
        world.build(&world.add(&json)[0]).0
    };
    for (args, env, named) in [
        ("\\u0000", r#""a": """#, "the builder or"),
        ("", r#""a": "x\u0000y""#, "`a`"),
        ("", r#""b\u0000": """#, "`b\\0`"),
    ] {
        let failure = build(args, env).unwrap_err();
        assert!(matches!(failure, BuildFailure::Attribute { .. }), "{failure}");
        assert!(failure.to_string().contains(named), "{failure}");
    }
    build("", r#""a": "x\u0000y", "passAsFile": "a""#).unwrap();
}

fn references_are_found_and_rules_hold() {
    let world = World::new();
    let source = world.store.add_text(&"source".parse().unwrap(), b"x", &Default::default()).unwrap();
    let full = world.store.store_dir().print(&source);
    let srcs = format!(r#", "inputSrcs": ["{full}"]"#);
    let json = |script: &str, env: &str| {
        format!(
            r#"{{"name": "refers", "outputs": {{"out": {{}}}}, "inputDrvs": {{}} {srcs}, "system": "{}",
                "builder": "/bin/sh", "args": ["-c", "{script}"], "env": {{"out": "" {env}}}}}"#,
            world.settings.system
        )
    };
    let script = format!("echo {full} $out > $out");
    let built = world.build(&world.add(&json(&script, ""))[0]).0.unwrap();
    let info = &built.outputs[&"out".parse().unwrap()];
    assert_eq!(info.references, [source.clone(), info.path.clone()].into());
    let forbid = format!(r#", "disallowedRequisites": "{full}""#);
    let failure = world.build(&world.add(&json(&script, &forbid))[0]).0.unwrap_err();
    assert!(matches!(failure, BuildFailure::Rejected { rule: "disallowedRequisites", .. }), "{failure}");
}

fn a_failed_build_directory_is_kept_on_request() {
    let mut world = World::new();
    world.set("keep-failed", "true");
    let failure = world.build_script("echo trace > left; exit 1", "").0.unwrap_err();
    let kept = failure.kept().unwrap();
    assert_eq!(std::fs::read_to_string(kept.join("left")).unwrap(), "trace\n");
}

fn structured_attributes_come_as_files() {
    let world = World::new();
    let attributes = r#"{"greeting": "it's", "list": ["a", "b"], "builder": "/bin/sh"}"#;
    let json = serde_json::to_string(attributes).unwrap();
    let script = "read -r line < $NIX_ATTRS_JSON_FILE; echo \\\"$line\\\"; \
        while read -r line; do echo \\\"sh: $line\\\"; done < $NIX_ATTRS_SH_FILE; echo env ${greeting-unset}";
    let drv = format!(
        r#"{{"name": "structured", "outputs": {{"out": {{}}}}, "inputSrcs": [], "inputDrvs": {{}}, "system": "{}",
            "builder": "/bin/sh", "args": ["-c", "{script}"], "env": {{"__json": {json}, "out": ""}}}}"#,
        world.settings.system
    );
    let (_, log) = world.build(&world.add(&drv)[0]);
    let line = log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no JSON in {log}"));
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["greeting"], "it's");
    assert!(value["outputs"]["out"].as_str().unwrap().ends_with("-structured"));
    assert!(log.contains("sh: declare -a list=('a' 'b' )\n") && log.ends_with("env unset\n"), "{log}");
}

/// Whoever has the host's network can pass an open file on; here, somebody opens it while it is made.
fn what_others_hold_open_does_not_become_valid() {
    let mut world = World::new();
    world.set("fod-network", "host");
    let stop = AtomicBool::new(false);
    let (built, mut held) = std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let store = &world.store.location().real_store;
            while !stop.load(Ordering::Relaxed) {
                let scratch =
                    std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path().join("store"));
                for directory in scratch.filter(|directory| directory.is_dir()) {
                    let Ok(entries) = std::fs::read_dir(&directory) else { continue };
                    let output = entries.flatten().map(|entry| entry.path()).find(|path| {
                        path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b"-test"))
                    });
                    if let Some(file) = output.and_then(|path| File::options().write(true).open(path).ok()) {
                        std::fs::write(directory.join("go"), "").unwrap();
                        return Some(file);
                    }
                }
            }
            None
        });
        let script =
            serde_json::to_string("echo hello > $out; until [ -e /nix/store/go ]; do :; done").unwrap();
        let json = format!(
            r#"{{"name": "test", "inputSrcs": [], "inputDrvs": {{}}, "system": "{}", "builder": "/bin/sh",
                "outputs": {{"out": {{"hashAlgo": "sha256", "hash": "{HELLO}"}}}},
                "args": ["-c", {script}], "env": {{"out": ""}}}}"#,
            world.settings.system
        );
        let (built, _) = world.build(&world.add(&json)[0]);
        stop.store(true, Ordering::Relaxed);
        (built.unwrap(), holder.join().unwrap().expect("the output was there while it was made"))
    });
    held.write_all(b"evil!").unwrap();
    assert_eq!(world.read(out(&built)), "hello\n");
    assert!(world.store.verify(true).unwrap().damaged.is_empty());
}

/// The SHA-256 of `hello` on a line.
const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// Only a store whose files are where their names say can be built in without a sandbox.
fn a_build_without_isolation_is_warned_of() {
    let mut world = World::new();
    world.set("build-use-chroot", "false");
    let failure = world.build_script("echo > $out", "").0.unwrap_err();
    assert!(failure.to_string().contains("only a sandbox can show them at `/nix/store`"), "{failure}");
    world.store = where_it_says(&world.store);
    let (built, warnings) = build_open(&world, "open", "");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("without isolation (`build-use-chroot = false`)"), "{warnings:?}");
    let state_dir = world.store.location().state_dir.to_str().unwrap().to_owned();
    let seen = world.read(out(&built));
    assert!(seen.starts_with(&state_dir), "{seen}");
    // `relaxed` lets out what asks for it, and that is not forgotten.
    world.set("build-use-chroot", "relaxed");
    let (built, warnings) = build_open(&world, "asks", r#", "__noChroot": "1""#);
    assert!(warnings[0].contains("it asks for that by `__noChroot`"), "{warnings:?}");
    assert!(world.read(out(&built)).starts_with(&state_dir));
    let infos = world.store.path_infos(&[out(&built).clone()].into()).unwrap();
    let info = infos.values().next().unwrap();
    let records = world.store.builds(&[info.path.clone()].into()).unwrap();
    assert!(matches!(builder::isolated(info, records.get(&info.path)), builder::Isolated::Less(..)));
}

/// A store whose files are where it says.
fn where_it_says(store: &LocalStore) -> LocalStore {
    let store_dir = store_path::StoreDir::new(store.location().real_store.to_str().unwrap()).unwrap();
    let location = Location { store_dir, ..store.location().clone() };
    LocalStore::open(location, Options::default()).unwrap()
}

/// Somebody who may give up builds, and waits for no lock.
#[derive(Debug)]
struct Somebody(PipeReader);

impl Control for Somebody {
    fn given_up(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn wait(
        &self,
        _: LockRequest,
        _: Option<Follow>,
        _: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<PathLock>, local_store::Error> {
        Ok(None)
    }

    fn wait_to_keep(&self, _: LockRequest) -> Result<Option<PathLock>, local_store::Error> {
        Ok(None)
    }
}

fn what_is_given_up_while_it_is_kept_is_removed() {
    for is_isolated in [true, false] {
        let mut world = World::new();
        if !is_isolated {
            world.set("build-use-chroot", "false");
            world.store = where_it_says(&world.store);
        }
        let json = format!(
            r#"{{"name": "unwanted", "outputs": {{"out": {{}}}}, "inputSrcs": [], "inputDrvs": {{}}, "system": "{}",
                "builder": "/bin/sh", "args": ["-c", "echo made > $out"], "env": {{"out": ""}}}}"#,
            world.settings.system
        );
        let drv = &world.add(&json)[0];
        let host = Host::look(&world.settings, BTreeMap::new()).unwrap();
        let World { store, launcher, settings, .. } = &world;
        let context = Context { store, launcher, settings, host: &host, on_failure: None };
        let (word, mut speaker) = std::io::pipe().unwrap();
        let control = Some(&Somebody(word) as &dyn Control);
        let (id, derivation) = (BuildId::new(), drv.derivation());
        let order = Order { id: &id, drv: drv.path(), derivation, target: drv.path(), control };
        let built = builder::build(&context, &order, &mut |message| {
            if let Message::Ran = message {
                speaker.write_all(b"!").unwrap();
            }
        });
        assert!(matches!(built, Err(BuildFailure::GivenUp { .. })), "{built:?}");
        let output = drv.output_paths().into_values().flatten().next().unwrap();
        assert!(!store.real_path(&output).exists() && !store.is_valid(&output).unwrap());
    }
}

/// Builds something in a store whose files are where it says, and returns what was warned of.
fn build_open(world: &World, name: &str, env: &str) -> (Built, Vec<String>) {
    let drv = &world.add(&format!(
        r#"{{"name": "{name}", "outputs": {{"out": {{}}}}, "inputSrcs": [], "inputDrvs": {{}}, "system": "{}",
            "builder": "/bin/sh", "args": ["-c", "echo $NIX_BUILD_TOP > $out"], "env": {{"out": "" {env}}}}}"#,
        world.settings.system
    ))[0];
    let host = Host::look(&world.settings, BTreeMap::new()).unwrap();
    let context = Context {
        store: &world.store,
        launcher: &world.launcher,
        settings: &world.settings,
        host: &host,
        on_failure: None,
    };
    let mut warnings = Vec::new();
    let order = Order {
        id: &BuildId::new(),
        drv: drv.path(),
        derivation: drv.derivation(),
        target: drv.path(),
        control: None,
    };
    let built = builder::build(&context, &order, &mut |message| {
        if let Message::Warning(text) = message {
            warnings.push(text);
        }
    });
    (built.unwrap(), warnings)
}
