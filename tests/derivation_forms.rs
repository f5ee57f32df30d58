//! `store derivation show --format`, `store derivation convert` and `store derivation check`.

use std::fs::{self, File};

use test_support::{fixture, read};

use crate::failures::check;
use crate::scene::{Run, Scene, derivation, text};

/// What is done to no store leaves none behind.
fn no_store(scene: &Scene) {
    assert!(!scene.root().exists(), "a store was made at `{}`", scene.root().display());
}

#[test]
fn show_prints_the_form_that_is_asked_for() {
    let scene = Scene::new();
    let show = |form: &str| scene.ok(&["derivation", "show", "--format", form, &derivation("hello")]);
    assert_eq!(show("nix-2.9"), scene.ok(&["derivation", "show", &derivation("hello")]));
    assert!(show("nix-2.3").contains("\"platform\": \"x86_64-linux\""));
    assert!(show("nix-2.24").contains("\"name\": \"hello\",\n    \"outputs\""));
    assert!(show("v4").ends_with("\"version\": 4\n}"));
    assert!(show("aterm").starts_with("Derive([(\"out\",\"/nix/store/"));
    let refusal = scene.fails(2, &["derivation", "show", "--format", "nix-3", &derivation("hello")]);
    assert!(refusal.contains("there is no form `nix-3`"), "{refusal}");
    let refusal = scene.fails(1, &["derivation", "show", "--format", "nix-2.3", &derivation("floating")]);
    assert!(refusal.contains("`nix-2.3`, which has no outputs named by their contents"), "{refusal}");
    let refusal = scene.fails(1, &["derivation", "show", "--format", "aterm", &derivation("chain")]);
    assert!(refusal.contains("holds one derivation"), "{refusal}");
}

/// Every form leads back to the first, by way of every other.
#[test]
fn convert_loses_nothing() {
    let scene = Scene::new();
    let first = String::from_utf8(read("derivations/diamond.json")).unwrap();
    let mut last = derivation("diamond");
    for form in [
        "nix-2.3", "nix-2.12", "v4", "nix-2.18", "v3", "nix-2.30", "nix-2.23", "nix-2.15", "nix-2.4",
        "nix-2.8",
    ] {
        let file = text(scene.path(format!("{form}.json")));
        scene.ok(&["derivation", "convert", "--format", form, "--output", &file, &last]);
        last = file;
    }
    assert_eq!(fs::read_to_string(last).unwrap(), first);
    no_store(&scene);
}

/// Files named after their paths hold all that a map holds.
#[test]
fn convert_goes_by_way_of_drv_files() {
    let scene = Scene::new();
    let directory = text(scene.path("drvs"));
    fs::create_dir(&directory).unwrap();
    scene.ok(&["derivation", "convert", "--format", "aterm", "--output", &directory, &derivation("chain")]);
    let mut files: Vec<String> =
        fs::read_dir(&directory).unwrap().map(|entry| text(entry.unwrap().path())).collect();
    assert_eq!(files.len(), 4);
    files.sort();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let back = scene.ok(&[&["derivation", "convert", "--format", "nix-2.8"], &files[..]].concat());
    assert_eq!(back + "\n", String::from_utf8(read("derivations/chain.json")).unwrap());
    scene.ok(&[&["derivation", "check"], &files[..1]].concat());
    no_store(&scene);
}

#[test]
fn convert_reads_standard_input_and_prints_one_alone() {
    let scene = Scene::new();
    let run = |arguments: &[&str]| -> Run {
        let stdin = File::open(fixture("aterm/nix-2.24/structured-attrs.json")).unwrap();
        scene.command(&[&["derivation", "convert"], arguments].concat()).stdin(stdin).output().unwrap().into()
    };
    let alone = run(&["-", "--bare", "--format", "nix-2.24"]);
    assert_eq!(alone.stdout.into_bytes(), read("aterm/nix-2.24/structured-attrs.json"), "{}", alone.stderr);
    let aterm = run(&["-", "--format", "aterm"]);
    assert_eq!(aterm.stdout.into_bytes(), read("aterm/nix-2.24/structured-attrs.drv"), "{}", aterm.stderr);
    let refusal = scene.fails(1, &["derivation", "convert", "--bare", &derivation("chain")]);
    assert!(refusal.contains("`--bare` is for one derivation, and these are 4"), "{refusal}");
}

#[test]
fn check_says_all_at_once() {
    let scene = Scene::new();
    for name in ["many.json", "rules.json", "open.json", "bad.drv", "broken.json"] {
        scene.write(name, read(&format!("review/{name}")));
    }
    check(
        &scene,
        "check-derivations",
        &scene.run(&["derivation", "check", "many.json", "rules.json", "bad.drv"]),
    );
    check(&scene, "check-warnings", &scene.run(&["derivation", "check", "open.json"]));
    check(&scene, "check-json", &scene.run(&["derivation", "check", "--json", "broken.json"]));
    check(&scene, "check-nothing", &scene.run(&["derivation", "check", &derivation("diamond")]));
    no_store(&scene);
}

/// What no file has, the store may.
#[test]
fn check_finds_inputs_in_the_store() {
    let scene = Scene::new();
    let chain = scene.ok(&["derivation", "show", &derivation("chain")]);
    let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&chain).unwrap();
    map.retain(|path, _| path.ends_with("link-4.drv"));
    let file = scene.write("last.json", serde_json::Value::Object(map).to_string());
    let run = scene.run(&["derivation", "check", &file]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("link-3.drv` is not at hand"), "{}", run.stdout);
    scene.ok(&["derivation", "add", &derivation("chain")]);
    assert_eq!(scene.ok(&["derivation", "check", &file]), "");
}

/// A file of zeros takes no space and would take all memory.
#[test]
fn enormous_files_are_not_read() {
    let scene = Scene::new();
    let enormous = |name: &str, head: &str| {
        let file = scene.write(name, head);
        File::options().write(true).open(&file).unwrap().set_len(1 << 30).unwrap();
        file
    };
    for (file, says) in [
        (enormous("map.json", "{"), "longer than 512 MiB"),
        (enormous("x.drv", "Derive("), "longer than 64 MiB"),
        (enormous("zeros", ""), "it is not text"),
        ("/dev/zero".to_owned(), "it is not text"),
    ] {
        for verb in ["check", "convert", "add"] {
            let refusal = scene.fails(1, &["derivation", verb, &file]);
            assert!(refusal.contains(says), "{verb} {file}: {refusal}");
        }
    }
}

/// Whatever takes a file of derivations takes stdin, and says the same.
#[test]
fn derivations_may_come_from_stdin() {
    let scene = Scene::new();
    let file = fixture("derivations/diamond.json");
    let other = fixture("derivations/chain.json");
    let [file, other] = [file, other].map(|file| file.to_str().unwrap().to_owned());
    for (verb, more) in [("show", None), ("graph", None), ("outputs", None), ("diff", Some(&*other))] {
        let with = |file| [Some("derivation"), Some(verb), more, Some(file)].into_iter().flatten().collect();
        let (named, piped): (Vec<&str>, Vec<&str>) = (with(&file), with("-"));
        let stdin = File::open(&file).unwrap();
        let said: Run = scene.command(&piped).stdin(stdin).output().unwrap().into();
        let expected = scene.run(&named);
        assert!(!said.stdout.is_empty(), "{verb}: {}", said.stderr);
        assert_eq!((said.code, said.stdout), (expected.code, expected.stdout), "{verb}");
    }
}
