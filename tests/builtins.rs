//! Builders that are part of `store`: what they make is what Nix makes, and they are builds like any other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::peer;
use crate::scene::{
    Run, Scene, derivation as fixture_derivation, has, has_nix, is_root, isolations, say, text,
};

fn derivation(name: &str, builder: &str, attributes: &Value, sources: &[String]) -> Value {
    json!({
        "name": name, "system": "builtin", "builder": builder, "args": [], "env": attributes,
        "inputSrcs": sources, "inputDrvs": {}, "outputs": { "out": {} },
    })
}

/// Makes a tree in the directory beside the store: files by their contents, symlinks by an arrow, directories by none.
fn tree(at: &Path, entries: &[(&str, &str)]) {
    for (name, contents) in entries {
        let path = at.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match contents.strip_prefix("-> ") {
            Some(to) => symlink(to, path).unwrap(),
            None if contents.is_empty() => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, contents).unwrap(),
        }
    }
}

/// Adds a tree to the store, and returns its path.
fn add(scene: &Scene, name: &str, entries: &[(&str, &str)]) -> String {
    tree(&scene.path(name), entries);
    scene.ok(&["add", &text(scene.path(name))])
}

/// The packages of the tests, in this order; `$c` in a text is the path of the third.
fn packages(scene: &Scene) -> Vec<String> {
    let c = add(scene, "c", &[("bin/c", "c"), ("bin/shared", "of c"), ("share/doc/c", "c")]);
    let a = add(
        scene,
        "a",
        &[
            ("bin/a", "a"),
            ("bin/shared", "of a"),
            ("share/man/man1/a.1", "a"),
            ("share/info/dir", "skipped"),
            ("share/info/a", "a"),
            ("only/deep/er", "a"),
            (".hidden", "skipped"),
            ("lib/x", "x"),
            ("lib64", "-> lib"),
            ("log", "skipped"),
            ("nix-support/propagated-user-env-packages", &format!("{c} {c}\n")),
            ("propagated-build-inputs", "skipped"),
        ],
    );
    let b = add(
        scene,
        "b",
        &[
            ("bin/b", "b"),
            ("bin/shared", "of b"),
            ("share/man/man1/b.1", "b"),
            ("share/man/man1/.hidden", "kept out"),
            ("lib/y", "y"),
            ("lib64/z", "z"),
            ("dangling", "-> nowhere"),
            ("perllocal.pod", "skipped"),
            ("manifest.json", "skipped"),
            ("empty", ""),
        ],
    );
    let file = add(scene, "file", &[]);
    let odd = add(scene, "odd", &[("bin", "a file"), ("lib", "-> share"), ("share/man/man1", "a file")]);
    let linked = add(
        scene,
        "linked",
        &[("bin", &format!("-> {c}/bin")), ("share", "-> elsewhere"), ("elsewhere/x", "x")],
    );
    vec![a, b, c, file, odd, linked]
}

/// A file has no directory to be made in.
fn prepare(scene: &Scene) {
    fs::write(scene.path("file"), "no package").unwrap();
}

/// What is wanted of which packages: whether active, its priority, and which outputs.
const ENVIRONMENTS: &[(&str, &str)] = &[
    ("nothing", ""),
    ("one", "true 5 1 $a"),
    ("both", "true 5 1 $a true 4 1 $b"),
    ("both-reversed", "true 4 1 $b true 5 1 $a"),
    ("other-wins", "true 5 1 $b true 4 1 $a"),
    ("several-outputs", "true 5 2 $b $c"),
    ("inactive", "false 5 1 $a true 5 1 $b"),
    ("no-directory", "true 5 1 $file true 5 1 $c"),
    ("negative", "true -10 1 $c true 5 1 $b"),
    ("collision", "true 5 1 $a true 5 1 $b"),
    ("collision-of-three", "true 5 1 $b true 6 1 $c true 6 1 $a"),
    ("file-under-directory", "true 5 1 $b true 4 1 $odd"),
    ("directory-under-file", "true 4 1 $b true 5 1 $odd"),
    ("links-to-directories", "true 5 1 $c true 4 1 $linked"),
    ("links-to-directories-first", "true 4 1 $a true 5 1 $linked"),
    ("twice", "true 5 1 $c true 6 1 $c"),
];

fn environment(name: &str, wanted: &str, packages: &[String]) -> Value {
    let names = ["$a", "$b", "$c", "$file", "$odd", "$linked"];
    let words = wanted.split(' ').map(|word| match names.iter().position(|name| *name == word) {
        Some(position) => packages[position].as_str(),
        None => word,
    });
    let derivations = words.collect::<Vec<_>>().join(" ");
    let attributes = json!({ "derivations": derivations, "manifest": "/nix/store/manifest" });
    derivation(name, "builtin:buildenv", &attributes, packages)
}

fn build(scene: &Scene, derivation: &Value) -> Run {
    let file = scene.write("derivation.json", derivation.to_string());
    scene.run(&["build", "--no-link", "--print-build-logs", &file])
}

/// Adds a derivation to a store, and has Nix build it; returns the output, unless that fails.
fn build_by_nix(scene: &Scene, derivation: &Value) -> Option<String> {
    let drv = scene.ok(&["derivation", "add", &scene.write("derivation.json", derivation.to_string())]);
    let output = peer::nix_store_command(scene, &["--realise", &drv]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn dump(scene: &Scene, path: &str) -> Vec<u8> {
    scene.command(&["dump", &text(scene.real(path))]).output().unwrap().stdout
}

/// Makes sure that both make the same of a derivation, or both nothing; returns whether they do.
fn same(ours: &Scene, nixs: &Scene, derivation: &Value) -> bool {
    let run = build(ours, derivation);
    let by_nix = build_by_nix(nixs, derivation);
    assert_eq!(run.code == Some(0), by_nix.is_some(), "{derivation}: {}", run.stderr);
    let Some(path) = by_nix else { return false };
    assert_eq!(run.stdout.trim(), path);
    assert_eq!(dump(ours, &path), dump(nixs, &path), "{derivation}");
    let hash = nixs.ok(&["hash", "path", &text(nixs.real(&path))]);
    assert_eq!(ours.ok(&["hash", "path", &text(ours.real(&path))]), hash);
    let references = peer::nix_store(nixs, &["-q", "--references", &path]);
    assert_eq!(ours.ok(&["query", "--references", &path]), references.trim_end());
    true
}

#[test]
fn an_environment_is_to_the_byte_what_nix_makes() {
    if !has_nix() {
        return;
    }
    let (ours, nixs) = (Scene::new(), Scene::new());
    [&ours, &nixs].into_iter().for_each(prepare);
    let (packages, theirs) = (packages(&ours), packages(&nixs));
    assert_eq!(packages, theirs);
    let mut made = 0;
    for (name, wanted) in ENVIRONMENTS {
        made += usize::from(same(&ours, &nixs, &environment(name, wanted, &packages)));
    }
    assert_eq!((made, ENVIRONMENTS.len()), (13, 16), "some collide");
}

#[test]
fn an_environment_shows_what_its_packages_have() {
    let scene = Scene::new();
    prepare(&scene);
    let packages = packages(&scene);
    let make = |wanted: &str| build(&scene, &environment("env", wanted, &packages));
    let run = make("true 5 1 $a true 4 1 $b");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("skipping the dangling symlink"), "{}", run.stderr);
    let out = scene.real(run.stdout.trim());
    let link = |path: &str| fs::read_link(out.join(path)).map(text).ok();
    assert_eq!(link("bin/shared"), Some(format!("{}/bin/shared", packages[1])), "the lower number wins");
    assert_eq!(link("bin/c"), Some(format!("{}/bin/c", packages[2])), "it comes along with another one");
    assert_eq!(link("only"), Some(format!("{}/only", packages[0])), "nobody else has it");
    assert_eq!(link("share/man"), None, "both have it");
    assert_eq!(link("manifest.nix").as_deref(), Some("/nix/store/manifest"));
    for absent in ["log", ".hidden", "nix-support", "share/info/dir", "dangling", "manifest.json"] {
        assert!(fs::symlink_metadata(out.join(absent)).is_err(), "{absent}");
    }
    for (wanted, problem) in [
        ("true 5 1 $a true 5 1 $b", "have the same priority 5; give one of the packages another priority"),
        ("true 5 1 $b true 4 1 $odd", "collides with"),
        (
            "true many 1 $a",
            "the attribute `derivations` has `many` in the place of a priority, which is a number",
        ),
    ] {
        let run = make(wanted);
        assert!(run.code == Some(100) && run.stderr.contains(problem), "{}", run.stderr);
    }
}

#[test]
fn what_nix_instantiates_becomes_an_environment() {
    let scene = Scene::new();
    let run = scene.run(&["build", "--no-link", "--print-build-logs", &fixture_derivation("profile")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("as it is not a directory").count(), 3, "{}", run.stderr);
    let out = scene.real(run.stdout.trim());
    let manifest = fs::read_link(out.join("manifest.nix")).unwrap();
    assert!(text(manifest).ends_with("-bottom"));
    assert_eq!(fs::read_dir(out).unwrap().count(), 1);
}

/// Makes a tarball of a directory; nothing where `tar` cannot compress like that here.
fn tarball(scene: &Scene, compression: &str, directory: &str, names: &[&str]) -> Option<String> {
    let file = scene.path(format!("channel.tar{}", compression.replace("--", ".")));
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&file).arg("-C").arg(scene.path(directory)).args([
        "--owner=0",
        "--group=0",
        "--mtime=@1",
    ]);
    tar.args(["--sort=name"]).args((!compression.is_empty()).then_some(compression)).args(names);
    let made = tar.output().is_ok_and(|output| output.status.success());
    if !made {
        say(&format!("skipped: channels compressed by {compression}: `tar` cannot do that here"));
    }
    made.then(|| text(file))
}

fn channel(scene: &Scene, tarball: &str) -> Value {
    let src = scene.ok(&["add", tarball]);
    let attributes = json!({ "src": src, "channelName": "nixos" });
    derivation("channel", "builtin:unpack-channel", &attributes, &[src])
}

#[test]
fn a_channel_is_unpacked_as_nix_does_it() {
    if !has("tar") {
        return;
    }
    let scene = Scene::new();
    let long = format!("channels/nixos-22.05/{}/{}", "d".repeat(90), "n".repeat(120));
    let entries = [
        ("channels/nixos-22.05/default.nix", "{ }"),
        ("channels/nixos-22.05/sub/file", "text"),
        ("channels/nixos-22.05/link", "-> sub/file"),
        ("channels/nixos-22.05/empty", ""),
        (long.as_str(), "long"),
        ("channels/other", "one too many"),
    ];
    tree(scene.path("").as_path(), &entries);
    let compare = has_nix();
    for compression in ["", "--gzip", "--bzip2", "--xz", "--zstd"] {
        let Some(file) = tarball(&scene, compression, "channels", &["nixos-22.05"]) else { continue };
        let (ours, nixs) = (Scene::new(), Scene::new());
        let derivation = channel(&ours, &file);
        if compare {
            assert_eq!(derivation, channel(&nixs, &file));
            assert!(same(&ours, &nixs, &derivation), "{compression}");
        }
        let run = build(&ours, &derivation);
        assert_eq!(run.code, Some(0), "{compression}: {}", run.stderr);
        let out = ours.real(run.stdout.trim());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(out.join("nixos/link")).unwrap(), "text");
    }
    let file = tarball(&scene, "", "channels", &["nixos-22.05", "other"]).unwrap();
    let run = build(&scene, &channel(&scene, &file));
    assert!(run.code == Some(100) && run.stderr.contains("has 2 entries there"), "{}", run.stderr);
}

#[test]
fn an_unknown_builder_is_told_with_those_that_there_are() {
    let scene = Scene::new();
    let run = build(&scene, &derivation("x", "builtin:nothing", &json!({}), &[]));
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    let all = "there is no builder `builtin:nothing` in `store`; there are `builtin:buildenv`, `builtin:fetchurl`, \
               `builtin:unpack-channel`";
    assert!(run.stderr.contains(all), "{}", run.stderr);
    let mut foreign = derivation("x", "/bin/sh", &json!({}), &[]);
    let run = build(&scene, &foreign);
    assert!(run.code == Some(100) && run.stderr.contains("it is for `builtin`"), "{}", run.stderr);
    foreign["builder"] = json!("builtin:buildenv");
    let run = build(&scene, &foreign);
    assert!(run.stderr.contains("the attribute `derivations` is missing"), "{}", run.stderr);
}

#[test]
fn a_failure_is_looked_into_as_any_other() {
    let empty = derivation("env", "builtin:buildenv", &json!({}), &[]);
    for isolation in isolations() {
        let scene = Scene::new();
        let file = scene.write("env.json", empty.to_string());
        let options = ["--option", "build-isolation", isolation];
        let run = scene.run(&[&["build", "--no-link", "--keep-failed", &file], &options[..]].concat());
        assert_eq!(run.code, Some(100), "{}", run.stderr);
        assert!(run.stderr.contains("> error: the attribute `derivations` is missing"), "{}", run.stderr);
        assert!(run.stderr.contains("its build directory is"), "{}", run.stderr);
        let drv = scene.ok(&["derivation", "add", &file]);
        assert!(scene.ok(&["log", &drv]).contains("the attribute `derivations` is missing"));
    }
    let scene = Scene::new();
    let file = scene.write("env.json", empty.to_string());
    assert!(scene.ok(&["sandbox", "show", &file]).ends_with("call builtin:buildenv"));
    let shown: Value = serde_json::from_str(&scene.ok(&["--json", "sandbox", "show", &file])).unwrap();
    assert_eq!(shown["plan"]["program"], json!({ "function": "builtin:buildenv" }));
    let run = scene.run(&["sandbox", "enter", &file]);
    assert!(run.stderr.contains("its builder, builtin:buildenv, is part of `store`"), "{}", run.stderr);
    let run = scene.run(&["sandbox", "run", &file, "--", "/bin/sh", "-c", "echo $builder $PWD"]);
    assert_eq!(run.stdout.trim(), "/build", "{}", run.stderr);
}

#[test]
fn a_builder_of_ours_holds_no_more_than_a_program_does() {
    // Where it would hold the log of another build open, that build would not end.
    let web = crate::web::Web::new(|_| crate::web::Answer::promising(9, "200 OK", "", "x").stalling());
    let scene = Scene::new();
    let hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let mut fetch = derivation("fetch", "builtin:fetchurl", &json!({ "url": web.url("/") }), &[]);
    fetch["outputs"]["out"] = json!({ "hashAlgo": "sha256", "hash": hash });
    let file = scene.write("fetch.json", fetch.to_string());
    let mut child = scene
        .command(&["build", "--no-link", "--option", "fod-network", "host", &file])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let limit = std::time::Duration::from_secs(30);
    assert!(crate::processes::within(limit, || !web.asked().is_empty()));
    let builder = crate::processes::descendants(child.id()).into_iter().rfind(|process| {
        fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|status| {
            status.contains("NSpid:")
                && status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        })
    });
    let builder = builder.expect("the first process of the sandbox");
    if is_root() {
        let mut open: Vec<String> = fs::read_dir(format!("/proc/{builder}/fd"))
            .unwrap()
            .flatten()
            .map(|entry| text(fs::read_link(entry.path()).unwrap()))
            .collect();
        // The log twice, the output, the connection.
        open.retain(|file| !file.starts_with("pipe:") && file != "/null");
        assert_eq!(open.iter().filter(|file| file.starts_with("socket:")).count(), 1, "{open:?}");
        assert_eq!(open.len(), 2, "{open:?}");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
