//! Outputs that are named by what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::{BuildFailure, Built};
use derivation::Checked;
use local_store::{LocalStore, Location, Options};
use serde_json::{Value, json};
use store_path::{
    ContentAddress, Hash, HashAlgorithm, Method, PathInfo, Realisation, StorePath, placeholder,
};
use test_support::Scratch;

use super::World;

/// The kind of most outputs here.
fn floating() -> Value {
    json!({"hashAlgo": "r:sha256"})
}

/// A derivation whose variables are named after its outputs, as Nix writes it.
fn text(world: &World, outputs: &Value, script: &str, more: &[(&str, Value)]) -> String {
    // A path that is promised is filled in.
    let variable = |(name, output): (&String, &Value)| match output.get("hash") {
        Some(_) => (name.clone(), String::new()),
        None => (name.clone(), placeholder(name)),
    };
    let mut env: BTreeMap<String, String> = outputs.as_object().unwrap().iter().map(variable).collect();
    let mut drv = json!({
        "name": "test", "outputs": outputs, "inputSrcs": [], "inputDrvs": {}, "system": world.settings.system,
        "builder": "/bin/sh", "args": ["-c", script],
    });
    for (key, value) in more {
        match value {
            Value::String(value) if key.starts_with('$') => {
                drop(env.insert(key[1..].to_owned(), value.clone()))
            }
            value => drv[*key] = value.clone(),
        }
    }
    drv["env"] = json!(env);
    drv.to_string()
}

fn add(world: &World, outputs: &Value, script: &str, more: &[(&str, Value)]) -> Checked {
    world.add(&text(world, outputs, script, more)).remove(0)
}

fn build(world: &World, outputs: &Value, script: &str) -> (Built, String) {
    let (built, log) = world.build(&add(world, outputs, script, &[]));
    (built.unwrap(), log)
}

fn info<'a>(built: &'a Built, output: &str) -> &'a PathInfo {
    &built.outputs[&output.parse().unwrap()]
}

fn realisations(world: &World, drv: &StorePath) -> Vec<Realisation> {
    world.store.realisations(&BTreeSet::from([drv.clone()])).unwrap()
}

/// A world with a program that makes directories, symlinks and programs, if the machine has one.
fn with_busybox() -> Option<World> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = found else {
        skip("no busybox on this machine");
        return None;
    };
    let mut world = World::new();
    world.set("build-chroot-dirs", &format!("/bin/sh={busybox} /bin/busybox={busybox}"));
    Some(world)
}

pub(super) fn a_floating_output_that_refers_to_itself_gets_the_path_of_its_contents() {
    let world = World::new();
    let script = "echo building; echo \"one $out two $out\" > $out";
    let (built, log) = build(&world, &json!({"out": floating()}), script);
    let made = info(&built, "out");
    assert_eq!((log.as_str(), made.path.name().as_str()), ("building\n", "test"));
    let full = world.store.store_dir().print(&made.path);
    assert_eq!(world.read(&made.path), format!("one {full} two {full}\n"));
    assert_eq!(made.references, BTreeSet::from([made.path.clone()]));
    // As spec and Nix have it: the archive with zeros in place of the digest, then where they are.
    let archive = |text: &str| {
        let mut bytes = Vec::new();
        let mut writer = nar::Writer::new(&mut bytes);
        writer.regular(false, text.len() as u64, &mut text.as_bytes()).unwrap();
        writer.finish().unwrap();
        bytes
    };
    let mut bytes = archive(&world.read(&made.path));
    let digest = made.path.digest().to_string();
    let places: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(digest.as_bytes())).collect();
    assert_eq!(places.len(), 2);
    places.iter().for_each(|at| bytes[*at..*at + 32].fill(0));
    places.iter().for_each(|at| bytes.extend_from_slice(format!("|{at}").as_bytes()));
    let address = ContentAddress { method: Method::Nar, hash: Hash::of(HashAlgorithm::Sha256, &bytes) };
    assert_eq!(made.content_address, Some(address));
    let path =
        world.store.store_dir().addressed_path(made.path.name(), &address, &BTreeSet::new(), true).unwrap();
    assert_eq!(path, made.path);
    let report = world.store.verify(true).unwrap();
    assert!(report.damaged.is_empty(), "{report:?}");
    assert_eq!(world.store.builds(&BTreeSet::from([path.clone()])).unwrap().len(), 1, "it is known how");
    // It is known now, and nothing runs.
    let drv = add(&world, &json!({"out": floating()}), script, &[]);
    let known = Realisation { drv: drv.path().clone(), output: "out".into(), path, signatures: vec![] };
    assert_eq!(realisations(&world, drv.path()), [known]);
    let (again, log) = world.build(&drv);
    assert_eq!((again.unwrap().outputs, log), (built.outputs, String::new()));
}

/// The only output of `drv`, as the trace has it.
fn path_of(world: &World, drv: &StorePath) -> StorePath {
    realisations(world, drv).remove(0).path
}

pub(super) fn what_was_deleted_is_built_again() {
    let world = World::new();
    let drv = add(&world, &json!({"out": floating()}), "echo building; echo $out > $out", &[]);
    let (first, _) = world.build(&drv);
    let path = info(&first.unwrap(), "out").path.clone();
    // Whoever has built it keeps it; another process does not.
    let other = LocalStore::open(world.store.location().clone(), Options::default()).unwrap();
    let World { store, settings, launcher, _scratch } = world;
    drop(store);
    other.delete(std::slice::from_ref(&path), local_store::Keep::default()).unwrap();
    let world = World { store: other, settings, launcher, _scratch };
    assert_eq!(realisations(&world, drv.path()), []);
    let (again, log) = world.build(&drv);
    assert_eq!((info(&again.unwrap(), "out").path.clone(), log.as_str()), (path, "building\n"));
}

pub(super) fn outputs_that_refer_to_each_other_are_rewritten_in_order() {
    let world = World::new();
    let outputs = json!({"aaa": floating(), "out": floating(), "zzz": floating()});
    let script = "echo \"$zzz\" > $out; echo \"$out $zzz $aaa\" > $aaa; echo last > $zzz";
    let (built, _) = build(&world, &outputs, script);
    let [aaa, out, zzz] = ["aaa", "out", "zzz"].map(|name| info(&built, name));
    let full = |info: &PathInfo| world.store.store_dir().print(&info.path);
    assert_eq!(world.read(&out.path), format!("{}\n", full(zzz)));
    assert_eq!(world.read(&aaa.path), format!("{} {} {}\n", full(out), full(zzz), full(aaa)));
    assert_eq!(out.references, BTreeSet::from([zzz.path.clone()]));
    assert_eq!(aaa.references, [aaa, out, zzz].map(|info| info.path.clone()).into());
    assert!(world.store.verify(true).unwrap().damaged.is_empty());
    // What refers to nothing has the path of any tree with these contents.
    fs::write(world._scratch.join("last"), "last\n").unwrap();
    let added = world.store.add_path(zzz.path.name(), &world._scratch.join("last")).unwrap();
    assert_eq!(added.path, zzz.path);
}

pub(super) fn a_circle_of_outputs_is_told() {
    let world = World::new();
    let outputs = json!({"dev": floating(), "lib": floating(), "out": floating()});
    let drv = add(&world, &outputs, "echo $dev > $out; echo $out > $dev; echo $dev > $lib", &[]);
    let failure = world.build(&drv).0.unwrap_err();
    let BuildFailure::OutputCycle { output, other, .. } = &failure else { panic!("{failure}") };
    let mut pair = [output.as_str(), other.as_str()];
    pair.sort_unstable();
    assert_eq!(pair, ["dev", "out"]);
    assert_eq!(world.store.all_valid().unwrap(), BTreeSet::from([drv.path().clone()]));
}

pub(super) fn directories_programs_and_symlinks_can_be_floating() {
    let Some(world) = with_busybox() else { return };
    let tree = "/bin/busybox mkdir -p $out/bin; echo $out > $out/bin/x; \
        /bin/busybox chmod 755 $out/bin/x; /bin/busybox ln -s $out/bin/x $out/link";
    let (built, _) = build(&world, &json!({"out": floating()}), tree);
    let made = &info(&built, "out").path;
    let (full, real) = (world.store.store_dir().print(made), world.store.real_path(made));
    assert_eq!(fs::read_link(real.join("link")).unwrap(), PathBuf::from(format!("{full}/bin/x")));
    assert_eq!(fs::read_to_string(real.join("bin/x")).unwrap(), format!("{full}\n"));
    let mode =
        |path: &Path| std::os::unix::fs::MetadataExt::mode(&fs::symlink_metadata(path).unwrap()) & 0o7777;
    assert_eq!((mode(&real), mode(&real.join("bin/x"))), (0o555, 0o555));
    let (built, _) = build(&world, &json!({"out": floating()}), "/bin/busybox ln -s $out $out");
    let made = &info(&built, "out").path;
    assert_eq!(
        fs::read_link(world.store.real_path(made)).unwrap().to_str().unwrap(),
        world.store.store_dir().print(made)
    );
    assert!(world.store.verify(true).unwrap().damaged.is_empty());
    let program = "echo > $out; /bin/busybox chmod 755 $out";
    let flat = add(&world, &json!({"out": {"hashAlgo": "sha256"}}), program, &[]);
    assert!(matches!(world.build(&flat).0.unwrap_err(), BuildFailure::NotFlat { .. }));
}

pub(super) fn two_that_make_the_same_are_one_path() {
    let world = World::new();
    let outputs = json!({"out": floating()});
    let first = add(&world, &outputs, "echo first; echo same > $out", &[]);
    let second = add(&world, &outputs, "echo second; echo same > $out", &[]);
    let (made, _) = world.build(&first);
    let (again, log) = world.build(&second);
    let (made, again) = (made.unwrap(), again.unwrap());
    assert_eq!((log.as_str(), &made.outputs), ("second\n", &again.outputs), "the first one stays");
    assert_eq!(path_of(&world, first.path()), path_of(&world, second.path()));
    assert_eq!(info(&again, "out").deriver.as_ref(), Some(first.path()));
    assert_eq!(world.build(&second).1, "", "it is known what the second one makes");
    let left: Vec<_> = fs::read_dir(&world.store.location().real_store).unwrap().flatten().collect();
    let left = left.iter().filter(|entry| entry.file_name().to_string_lossy().contains("rewritten"));
    assert_eq!(left.count(), 0);
}

pub(super) fn flat_and_text_outputs_refer_to_what_their_addresses_have_room_for() {
    let world = World::new();
    let input = world.store.add_text(&"input".parse().unwrap(), b"x", &BTreeSet::new()).unwrap();
    let full = world.store.store_dir().print(&input);
    let sources = [("inputSrcs", json!([full]))];
    let make = |kind: &str, script: &str| {
        world.build(&add(&world, &json!({"out": {"hashAlgo": kind}}), script, &sources)).0
    };
    let flat = make("sha1", "echo flat > $out").unwrap();
    let made = info(&flat, "out");
    let address = ContentAddress { method: Method::Flat, hash: Hash::of(HashAlgorithm::Sha1, b"flat\n") };
    assert_eq!(made.content_address, Some(address));
    let none = BTreeSet::new();
    let path = |address| world.store.store_dir().addressed_path(made.path.name(), &address, &none, false);
    assert_eq!(path(address), Some(made.path.clone()));
    let git = make("git:sha1", "echo hello > $out").unwrap();
    let hash = Hash::parse("sha1:ce013625030ba8dba906f756967f9e9ca394464a", None).unwrap();
    assert_eq!(info(&git, "out").content_address, Some(ContentAddress { method: Method::Git, hash }));
    let text = make("text:sha256", &format!("echo {full} > $out")).unwrap();
    assert_eq!(info(&text, "out").references, BTreeSet::from([input.clone()]));
    // The same as a text that was added.
    let contents = format!("{full}\n");
    let added = world.store.add_text(&"test".parse().unwrap(), contents.as_bytes(), &BTreeSet::from([input]));
    assert_eq!(info(&text, "out").path, added.unwrap());
    for (kind, script, what) in [
        ("sha256", format!("echo {full} > $out"), "-input`"),
        ("r:sha512", "echo $out > $out".to_owned(), "refers to itself"),
        ("text:sha256", "echo $out > $out".to_owned(), "nothing but other paths"),
        ("git:sha1", format!("echo {full} > $out"), "by `git`"),
    ] {
        let failure = make(kind, &script).unwrap_err();
        assert!(matches!(failure, BuildFailure::Unaddressable { .. }), "{failure}");
        assert!(failure.to_string().contains(what), "{failure}");
    }
    assert!(world.store.verify(true).unwrap().damaged.is_empty());
}

pub(super) fn impure_outputs_are_built_each_time() {
    let world = World::new();
    let outputs = json!({"out": {"hashAlgo": "r:sha256", "impure": true}});
    let script = "echo \"building ${NIX_OUTPUT_CHECKED-unchecked} ${GIVEN-none}\"; echo $out > $out";
    let drv = add(&world, &outputs, script, &[("$impureEnvVars", json!("GIVEN"))]);
    let (first, first_log) = world.build(&drv);
    let (second, second_log) = world.build(&drv);
    let (first, second) = (first.unwrap(), second.unwrap());
    // The caller has no such variable: empty, as in Nix. A floating output is given none at all.
    assert_eq!((first_log.as_str(), second_log.as_str()), ("building unchecked \n", "building unchecked \n"));
    assert!(first.maker.usage().is_some() && second.maker.usage().is_some());
    assert_eq!(first.outputs, second.outputs);
    assert_eq!(realisations(&world, drv.path()), []);
    let floating = add(&world, &json!({"out": floating()}), script, &[("$impureEnvVars", json!("GIVEN"))]);
    assert_eq!(world.build(&floating).1, "building unchecked none\n");
}

pub(super) fn a_floating_output_is_alone_and_an_impure_one_as_a_fixed_one() {
    let mut world = World::new();
    world.set("fod-network", "host");
    let script = "while read -r name rest; do echo ${name%%:*}; done \
        < /proc/self/net/dev > $out";
    let interfaces = |outputs: Value| {
        let (built, _) = build(&world, &outputs, script);
        world.read(&info(&built, "out").path).lines().skip(2).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let host: BTreeSet<String> = fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect();
    assert_eq!(interfaces(json!({"out": floating()})), BTreeSet::from(["lo".to_owned()]));
    assert_eq!(interfaces(json!({"out": {"hashAlgo": "r:sha256", "impure": true}})), host);
}

pub(super) fn structured_attributes_name_scratch_paths() {
    let world = World::new();
    let script = "read -r x < $NIX_ATTRS_JSON_FILE || :; x=${x#*\\\"outputs\\\":\\{\\\"out\\\":\\\"}; x=${x%%\\\"*}; \
        echo \"made at $x\" > $x";
    let drv = add(&world, &json!({"out": floating()}), script, &[("$__json", json!("{}"))]);
    let built = world.build(&drv).0.unwrap();
    let made = info(&built, "out");
    assert_eq!(world.read(&made.path), format!("made at {}\n", world.store.store_dir().print(&made.path)));
}

pub(super) fn an_output_that_is_there_stays_when_others_are_made_again() {
    let world = World::new();
    let outputs = json!({"dev": floating(), "out": floating()});
    // Another one each time.
    let script = "read -r x < /proc/sys/kernel/random/uuid; echo $x > $out; echo \"$out $x\" > $dev";
    let drv = add(&world, &outputs, script, &[]);
    let first = world.build(&drv).0.unwrap();
    let (dev, out) = (info(&first, "dev").path.clone(), info(&first, "out").path.clone());
    let other = LocalStore::open(world.store.location().clone(), Options::default()).unwrap();
    let World { store, settings, launcher, _scratch } = world;
    drop(store);
    other.delete(std::slice::from_ref(&dev), local_store::Keep::default()).unwrap();
    let world = World { store: other, settings, launcher, _scratch };
    let second = world.build(&drv).0.unwrap();
    assert_eq!(info(&second, "out").path, out);
    assert_ne!(info(&second, "dev").path, dev);
    assert_eq!(info(&second, "dev").references, BTreeSet::from([out.clone()]));
    assert!(world.read(&info(&second, "dev").path).starts_with(&world.store.store_dir().print(&out)));
}

pub(super) fn every_kind_of_promise_is_kept() {
    let world = World::new();
    let mut archive = Vec::new();
    let mut writer = nar::Writer::new(&mut archive);
    writer.regular(false, 6, &mut &b"hello\n"[..]).unwrap();
    writer.finish().unwrap();
    use HashAlgorithm::{Blake3, Md5, Sha1, Sha256, Sha512};
    let mut cases = Vec::new();
    for algorithm in [Md5, Sha1, Sha256, Sha512, Blake3] {
        cases.push((Method::Flat, Hash::of(algorithm, b"hello\n")));
        cases.push((Method::Nar, Hash::of(algorithm, &archive)));
    }
    cases.push((Method::Text, Hash::of(Sha256, b"hello\n")));
    cases.extend([Sha1, Sha256].map(|algorithm| (Method::Git, Hash::of(algorithm, b"blob 6\0hello\n"))));
    for (method, hash) in cases {
        let promise = |hash: &Hash| {
            let hex = hash.prefixed_base16();
            let (_, digits) = hex.split_once(':').unwrap();
            json!({"out": {"hashAlgo": format!("{}{}", method.prefix(), hash.algorithm()), "hash": digits}})
        };
        let drv = add(&world, &promise(&hash), "echo hello > $out", &[]);
        let built = world.build(&drv).0.unwrap_or_else(|failure| panic!("{method} {hash}: {failure}"));
        let made = info(&built, "out");
        assert_eq!(made.content_address, Some(ContentAddress { method, hash }));
        let wrong = Hash::of(hash.algorithm(), b"something else");
        let failure = world.build(&add(&world, &promise(&wrong), "echo hello > $out", &[])).0.unwrap_err();
        let BuildFailure::Hash { specified, got, .. } = failure.itself() else { panic!("{failure}") };
        assert_eq!((*specified, *got), (wrong, hash), "{method}");
    }
    let report = world.store.verify(true).unwrap();
    assert!(report.damaged.is_empty(), "{report:?}");
}

pub(super) fn nix_gives_floating_outputs_the_same_paths() {
    if !is_root() {
        return skip("an ordinary user's Nix may have no sandbox here");
    }
    let mut version = Command::new("nix-store");
    let Ok(output) = version.arg("--version").env("HOME", "/").output() else { return skip("no nix-store") };
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    // Later ones leave the offsets of references out, or have another table.
    if !version.contains(" 2.8") {
        return skip(&format!("the paths of `{}` are other ones", version.trim()));
    }
    let Some(world) = with_busybox() else { return };
    let tree = "/bin/busybox mkdir $out; echo $out > $out/self; /bin/busybox ln -s $out/self $out/link";
    let cases = [
        (json!({"out": floating()}), "echo plain > $out"),
        (json!({"out": {"hashAlgo": "sha256"}}), "echo flat > $out"),
        (json!({"out": {"hashAlgo": "r:sha1"}}), "echo sha1 > $out"),
        (json!({"out": floating()}), "echo \"$out and $out\" > $out"),
        (json!({"out": floating()}), tree),
        (json!({"dev": floating(), "out": floating()}), "echo $out > $dev; echo $out > $out"),
        (json!({"dev": floating(), "out": floating()}), "echo $dev > $out; echo plain > $dev"),
    ];
    for (outputs, script) in cases {
        let drv = add(&world, &outputs, script, &[]);
        let built = world.build(&drv).0.unwrap();
        let ours: BTreeSet<String> =
            built.outputs.values().map(|info| world.store.store_dir().print(&info.path)).collect();
        let theirs = World::new();
        theirs.add(&text(&theirs, &outputs, script, &[]));
        // Nix makes tables of its own at first, and wants to be alone with the store for that.
        let World { store, _scratch: scratch, .. } = theirs;
        drop(store);
        let realised = nix(&scratch, &["--realise", &world.store.store_dir().print(drv.path())]);
        let theirs = LocalStore::open(Location::below(scratch.path()), Options::default()).unwrap();
        assert_eq!(realised.lines().map(str::to_owned).collect::<BTreeSet<_>>(), ours, "{script}");
        for info in built.outputs.values() {
            let same = theirs.path_info(&info.path).unwrap().unwrap();
            assert_eq!(
                (same.nar_hash, &same.references, same.content_address),
                (info.nar_hash, &info.references, info.content_address)
            );
        }
        assert!(theirs.verify(true).unwrap().damaged.is_empty());
    }
    // And it takes what is here for what it is, table of the trace and all.
    let World { store, _scratch: scratch, .. } = world;
    drop(store);
    nix(&scratch, &["--verify", "--check-contents"]);
}

fn nix(scratch: &Scratch, arguments: &[&str]) -> String {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    let root = scratch.path().to_str().unwrap();
    let output = Command::new("nix-store")
        .env("HOME", scratch.join("home"))
        .args(["--store", root, "--option", "build-users-group", "", "--option", "substitute", "false"])
        .args(["--option", "sandbox", "true", "--option", "experimental-features", "ca-derivations"])
        .args(["--option", "sandbox-paths", &format!("/bin/sh={busybox} /bin/busybox={busybox}")])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nix-store {arguments:?}: {errors}");
    assert!(!errors.contains("error"), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn skip(why: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {why}\n").as_bytes());
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}
