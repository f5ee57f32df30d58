//! `store narinfo` and `store realisation show`.

use std::fs::{self, File};

use test_support::fixture;

use crate::scene::{Scene, shell_derivation, text};

fn good(name: &str) -> String {
    text(fixture(&format!("binary-cache/good/{name}.narinfo")))
}

/// The first key of RFC 8032, which signed the fixture.
const PUBLIC: &str = "rfc-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const SECRET: &str =
    "rfc-1:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
const OTHER: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

#[test]
fn texts_become_json_and_come_back() {
    let scene = Scene::new();
    let file = good("signed");
    for version in ["1", "2", "3"] {
        let json = scene.ok(&["narinfo", "--json-format", version, &file]);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value.get("version").is_some(), version != "1", "{json}");
        let json = scene.write("info.json", json);
        let again = scene.ok(&["narinfo", "--public-key", PUBLIC, &json]) + "\n";
        assert_eq!(again, fs::read_to_string(&file).unwrap(), "version {version}");
    }
}

#[test]
fn what_is_not_signed_is_named() {
    let scene = Scene::new();
    let file = good("signed");
    let run = scene.run(&["narinfo", "--public-key", OTHER, &file]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("-tool-1.0` has no good signature by `cache.nixos.org-1`"), "{}", run.stderr);
    assert!(run.stdout.starts_with("StorePath: "), "it is printed all the same: {}", run.stdout);
    // Either of two keys is enough, and nobody has to vouch for a path that follows from its contents.
    scene.ok(&["narinfo", "--public-key", OTHER, "--public-key", PUBLIC, &file]);
    scene.ok(&["narinfo", "--public-key", OTHER, &good("content-addressed")]);

    let changed = fs::read_to_string(&file).unwrap().replace("NarSize: 120", "NarSize: 121");
    let run = scene.run(&["narinfo", "--public-key", PUBLIC, &scene.write("x.narinfo", changed)]);
    assert_eq!(run.code, Some(1));
    let lying = fs::read_to_string(good("content-addressed")).unwrap().replace("-hello.txt", "-other.txt");
    let run = scene.run(&["narinfo", &scene.write("x.narinfo", lying)]);
    assert!(
        run.code == Some(1) && run.stderr.contains("does not follow from its content address"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_path_of_the_store_can_be_signed() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let info = scene.write("info.json", scene.ok(&["path-info", "--json", &path]));
    let key = scene.write("secret", format!("{SECRET}\n"));
    let signed = scene.ok(&["narinfo", "--json", "--sign-with", &key, &info]);
    let signed = scene.write("signed.json", signed);
    scene.ok(&["narinfo", "--json", "--public-key", PUBLIC, &signed]);
    let said = scene.fails(1, &["narinfo", &signed]);
    assert!(said.contains("`URL` is not known"), "{said}");
    let input = File::open(&info).unwrap();
    let output = scene.command(&["narinfo", "--fingerprint", "-"]).stdin(input).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with(&format!("1;{path};sha256:")), "{printed}");
    let said = scene.fails(1, &["narinfo", "--sign-with", &info, &signed]);
    assert!(said.contains("cannot read the secret key in"), "{said}");
}

#[test]
fn a_file_that_is_wrong_is_refused_with_the_line() {
    let scene = Scene::new();
    let said = scene.fails(1, &["narinfo", &text(fixture("binary-cache/bad/twice.narinfo"))]);
    assert!(said.contains("twice.narinfo` says of paths: cannot read line 8, `NarSize: 121`"), "{said}");
    let said = scene.fails(1, &["narinfo", &scene.write("x.json", "{ \"info\": 7 }")]);
    assert!(said.contains("cannot read the field `info`: it should be an object"), "{said}");
    assert_eq!(scene.run(&["narinfo", "--public-key", "nonsense", &good("signed")]).code, Some(2));
}

#[test]
fn entries_of_the_build_trace_are_read_and_checked() {
    let scene = Scene::new();
    let entry = |name: &str| text(fixture(&format!("binary-cache/{name}.json")));
    let current = entry("nix-2.36/realisation/with-signature");
    let printed = scene.ok(&["realisation", "show", &current]);
    assert_eq!(
        printed,
        "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar.drv^foo g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv"
    );
    let json = scene.ok(&[
        "realisation",
        "show",
        "--json",
        &entry("nix-2.36/realisation/with-signature-unstructured"),
    ]);
    assert_eq!(json, scene.ok(&["realisation", "show", "--json", &current]));
    let legacy = scene.ok(&["realisation", "show", &entry("nix-2.32/realisation/simple")]);
    assert!(legacy.starts_with("sha256:ba7816bf") && legacy.contains("!foo g1w7"), "{legacy}");
    let said = scene.fails(1, &["realisation", "show", "/nix/store/00000000000000000000000000000000-x.drv"]);
    assert!(said.contains("there is no store that could know"), "{said}");
    let run = scene.run(&["realisation", "show", "--public-key", PUBLIC, &current]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no key that was given has signed"), "{}", run.stderr);
}

#[test]
fn a_store_tells_what_outputs_turned_out_to_be() {
    let scene = Scene::new();
    // What the builder finds in `out` is the place for its output.
    let place = "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9";
    let file = shell_derivation("floating", "echo hello > $out")
        .replace(r#""env": {}"#, &format!(r#""env": {{ "out": "{place}" }}"#))
        .replace(r#""out": {} }"#, r#""out": { "hashAlgo": "r:sha256" } }"#);
    let path = scene.ok(&["build", "--no-link", &scene.write("floating.json", file)]);
    let shown = scene.ok(&["realisation", "show", &path]);
    let base = path.strip_prefix("/nix/store/").unwrap();
    assert!(shown.ends_with(&format!("-floating.drv^out {base}")), "{shown}");
    let json = scene.ok(&["realisation", "show", "--json", &path]);
    let file = scene.write("trace.json", &json);
    assert_eq!(scene.ok(&["realisation", "show", "--json", &file]), json);
}
