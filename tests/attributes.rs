//! What derivations ask of their builder, seen from inside real builds: one test at least for each attribute.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use test_support::fixture;

use crate::failures;
use crate::peer::nix_store;
use crate::scene::{Scene, has, has_nix, is_root, say, text};

/// A derivation that runs a script, with attributes in its variables or, if `structured`, in `__json`.
pub(crate) fn derivation(name: &str, script: &str, structured: bool, attributes: &Value) -> Value {
    let mut derivation = json!({
        "name": name, "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", script],
        "outputs": { "out": {} }, "inputSrcs": [], "inputDrvs": {}, "env": {},
    });
    derivation["env"] = match structured {
        true => json!({ "__json": attributes.to_string() }),
        false => attributes.clone(),
    };
    derivation
}

/// Builds it and returns what its output holds.
pub(crate) fn build(scene: &Scene, derivation: &Value, options: &[&str]) -> String {
    let file = scene.write("attributes.json", derivation.to_string());
    let path = scene.ok(&[&["build", "--no-link", &file], options].concat());
    fs::read_to_string(scene.real(path.lines().next().unwrap())).unwrap()
}

/// Fails to build it and returns what was said.
pub(crate) fn refused(scene: &Scene, code: i32, derivation: &Value, options: &[&str]) -> String {
    let file = scene.write("attributes.json", derivation.to_string());
    scene.fails(code, &[&["build", "--no-link", &file], options].concat())
}

/// Puts a file into the store and returns its path.
pub(crate) fn source(scene: &Scene, name: &str, text: &str) -> String {
    let file = scene.write(name, text);
    scene.ok(&["add", &file])
}

/// Prints a file as it is, by what every shell has built in.
const PRINT: &str =
    r#"print() { while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done < "$1"; }; "#;

fn printing(script: &str) -> String {
    format!("{PRINT}{{ {script}; }} > $out")
}

/// The placeholder of an output called `out`.
const OUT: &str = "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9";

#[test]
fn variables_pass_as_files_under_a_digest_of_their_names() {
    let scene = Scene::new();
    let script =
        printing(r#"print "$textPath"; echo "${text-unset} $textPath ${other-none}"; print "$whatPath""#);
    let attributes =
        json!({ "passAsFile": "text \t what absent", "text": format!("a {OUT}/x\nb"), "what": "" });
    let built = build(&scene, &derivation("passed", &script, false, &attributes), &[]);
    let path = scene.ok(&["build", "--no-link", &text_of(&scene)]);
    let lines: Vec<&str> = built.lines().collect();
    assert_eq!(lines[..2], [format!("a {path}/x"), "b".to_owned()], "{built}");
    assert!(lines[2].starts_with("unset /build/.attr-") && lines[2].ends_with(" none"), "{built}");
    assert_eq!(lines[2].len(), "unset /build/.attr- none".len() + 52);
    assert_eq!(lines.len(), 3);
}

fn text_of(scene: &Scene) -> String {
    text(scene.path("attributes.json"))
}

#[test]
fn structured_attributes_are_files_and_nothing_else() {
    let scene = Scene::new();
    let attributes = json!({
        "text": "it's", "number": 3, "on": true, "list": ["a", OUT], "map": { OUT: format!("{OUT}/bin") },
        "passAsFile": ["text"],
    });
    let script = format!(
        "{PRINT} {{ echo ${{visible-unset}}; print $NIX_ATTRS_SH_FILE; echo $NIX_ATTRS_JSON_FILE $NIX_ATTRS_SH_FILE; \
         print $NIX_ATTRS_JSON_FILE; }} > {OUT}"
    );
    let mut drv = derivation("structured", &script, true, &attributes);
    drv["env"]["visible"] = json!("no");
    let file = scene.write("structured.json", drv.to_string());
    let path = scene.ok(&["build", "--no-link", &file]);
    let built = fs::read_to_string(scene.real(&path)).unwrap();
    let (shell, rest) = built.split_once("/build/.attrs.json /build/.attrs.sh\n").unwrap();
    let expected = format!(
        "unset\ndeclare -a list=('a' '{path}' )\ndeclare -A map=(['{path}']='{path}/bin' )\ndeclare number=3\ndeclare on=1\n\
         declare -A outputs=(['out']='{path}' )\ndeclare -a passAsFile=('text' )\ndeclare text='it'\\''s'\n"
    );
    assert_eq!(shell, expected);
    let json = format!(
        "{{\"list\":[\"a\",\"{path}\"],\"map\":{{\"{path}\":\"{path}/bin\"}},\"number\":3,\"on\":true,\
         \"outputs\":{{\"out\":\"{path}\"}},\"passAsFile\":[\"text\"],\"text\":\"it's\"}}\n"
    );
    assert_eq!(rest, json);
}

#[test]
fn placeholders_stand_in_builders_arguments_and_variables() {
    let scene = Scene::new();
    let script = r#"echo "$0 $1 $where" > $1"#;
    let mut drv = derivation("placed", script, false, &json!({ "where": format!("in {OUT}/lib") }));
    drv["args"] = json!(["-c", script, OUT, OUT]);
    let built = build(&scene, &drv, &[]);
    let path = scene.ok(&["build", "--no-link", &text_of(&scene)]);
    assert_eq!(built, format!("{path} {path} in {path}/lib\n"));
    drv["builder"] = json!(OUT);
    let said = refused(&scene, 100, &drv, &[]);
    assert!(said.contains("/nix/store/") && !said.contains(OUT), "the builder is a path: {said}");
}

/// An object that refers to a source, and that source.
fn pair(scene: &Scene) -> (Value, String, String) {
    let leaf = source(scene, "leaf", "leaf");
    let mut drv = derivation("branch", &format!("echo {leaf} > $out"), false, &json!({}));
    drv["inputSrcs"] = json!([leaf]);
    let file = scene.write("branch.json", drv.to_string());
    let path = scene.ok(&["build", "--no-link", &file]);
    let drv = scene.ok(&["derivation", "add", &file]);
    (json!({ drv: ["out"] }), path, leaf)
}

#[test]
fn closures_are_told_of_in_the_older_form() {
    let scene = Scene::new();
    let (inputs, branch, leaf) = pair(&scene);
    let graph = format!("graph {branch}/below/it two.txt\n{leaf}");
    let script = printing("print graph; echo; print two.txt");
    let mut drv = derivation("graphs", &script, false, &json!({ "exportReferencesGraph": graph }));
    drv["inputDrvs"] = inputs;
    let mut both = [format!("{branch}\n\n1\n{leaf}\n"), format!("{leaf}\n\n0\n")];
    both.sort();
    assert_eq!(build(&scene, &drv, &[]), format!("{}{}\n{leaf}\n\n0\n", both[0], both[1]));
}

#[test]
fn a_closure_with_derivations_holds_what_they_made() {
    let scene = Scene::new();
    let (inputs, branch, leaf) = pair(&scene);
    let drv_path = inputs.as_object().unwrap().keys().next().unwrap().clone();
    let graph = format!("graph {drv_path}");
    let mut drv =
        derivation("deep", &printing("print graph"), false, &json!({ "exportReferencesGraph": graph }));
    drv["inputDrvs"] = inputs;
    drv["inputSrcs"] = json!([drv_path]);
    let built = build(&scene, &drv, &[]);
    for path in [&branch, &leaf, &drv_path] {
        assert!(built.lines().any(|line| line == path), "{path}: {built}");
    }
}

#[test]
fn closures_are_told_of_in_structured_attributes() {
    let scene = Scene::new();
    let (inputs, branch, leaf) = pair(&scene);
    let attributes = json!({ "exportReferencesGraph": { "graph": [[branch]], "one": leaf } });
    let script = format!("{PRINT} print $NIX_ATTRS_JSON_FILE > {OUT}");
    let mut drv = derivation("graphs", &script, true, &attributes);
    drv["inputDrvs"] = inputs;
    let built: Value = serde_json::from_str(&build(&scene, &drv, &[])).unwrap();
    assert_eq!(built["exportReferencesGraph"], attributes["exportReferencesGraph"]);
    let graph = built["graph"].as_array().unwrap();
    let of = |path: &str| graph.iter().find(|entry| entry["path"] == path).unwrap();
    let info: Value = serde_json::from_str(&scene.ok(&["path-info", "--json", &branch])).unwrap();
    let (branch_entry, leaf_entry) = (of(&branch), of(&leaf));
    let size = branch_entry["narSize"].as_u64().unwrap();
    let leaf_size = leaf_entry["narSize"].as_u64().unwrap();
    assert_eq!(branch_entry["narSize"], info[0]["narSize"]);
    assert_eq!(branch_entry["closureSize"], size + leaf_size);
    assert_eq!(branch_entry["references"], json!([leaf]));
    assert_eq!(branch_entry["valid"], true);
    assert!(branch_entry["narHash"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(branch_entry["narHash"].as_str().unwrap().len(), "sha256:".len() + 52);
    assert!(branch_entry.get("ca").is_none());
    assert!(leaf_entry["ca"].as_str().unwrap().starts_with("fixed:r:sha256:"), "{leaf_entry}");
    assert_eq!(built["one"], json!([leaf_entry]));
    assert_eq!(branch_entry.as_object().unwrap().len(), 6);
}

#[test]
fn a_closure_that_cannot_be_seen_is_not_told_of() {
    let scene = Scene::new();
    let leaf = source(&scene, "leaf", "leaf");
    for (structured, attribute) in
        [(false, json!(format!("graph {leaf}"))), (true, json!({ "graph": [leaf] }))]
    {
        let attributes = json!({ "exportReferencesGraph": attribute });
        let said = refused(&scene, 100, &derivation("unseen", "", structured, &attributes), &[]);
        assert!(said.contains("for `graph`, which is not in the closure of its inputs"), "{said}");
    }
}

#[test]
fn variables_of_the_caller_are_for_fixed_outputs_only() {
    let scene = Scene::new();
    let attributes =
        json!({ "impureEnvVars": "FROM_OUTSIDE ABSENT", "ABSENT": "inside", "FROM_OUTSIDE": "inside" });
    let script = r#"printf %s "$FROM_OUTSIDE,$ABSENT,$NIX_OUTPUT_CHECKED" > $out"#;
    let run = |drv: &Value| {
        let file = scene.write("impure.json", drv.to_string());
        let arguments = ["build", "--no-link", &file, "--option", "fod-network", "none"];
        let mut command = scene.command(&arguments);
        crate::scene::Run::from(command.env("FROM_OUTSIDE", "outside").output().unwrap())
    };
    let mut drv = derivation("impure", script, false, &attributes);
    let plain = run(&drv);
    assert_eq!(fs::read_to_string(scene.real(plain.stdout.trim_end())).unwrap(), "inside,inside,");
    // The digest of `outside,,1`.
    let hash = store_path::Hash::of(store_path::HashAlgorithm::Sha256, b"outside,,1").to_base16();
    drv["outputs"]["out"] = json!({ "hashAlgo": "sha256", "hash": hash });
    let fixed = run(&drv);
    assert_eq!(fixed.code, Some(0), "{}", fixed.stderr);
}

#[test]
fn what_is_wanted_of_the_host_is_shown_where_that_is_allowed() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("host/dir")).unwrap();
    let file = scene.write("host/dir/file", "of the host\n");
    let deps = format!("{file} {file}-absent");
    let script = printing(&format!(
        "print {file}; echo {}/*; (echo x > {file}) 2> /dev/null || echo kept",
        text(scene.path("host/dir"))
    ));
    let drv = derivation("wants", &script, false, &json!({ "__impureHostDeps": deps }));
    let said = refused(&scene, 100, &drv, &[]);
    assert!(said.contains(&format!("`{file}`")) && said.contains("`allowed-impure-host-deps`"), "{said}");
    let host = text(scene.path("host"));
    // A prefix is a directory, not the beginning of a name.
    let beside = format!("{host}/di");
    refused(&scene, 100, &drv, &["--option", "allowed-impure-host-deps", &beside]);
    let built = build(&scene, &drv, &["--option", "allowed-impure-host-deps", &host]);
    assert_eq!(built, format!("of the host\n{file}\nkept\n"));
    // And it is not forgotten that this build saw it.
    let path =
        scene.ok(&["build", "--no-link", &text_of(&scene), "--option", "allowed-impure-host-deps", &host]);
    let info: Value = serde_json::from_str(&scene.ok(&["path-info", "--json", &path])).unwrap();
    let isolation = &info[0]["isolation"];
    assert_eq!(isolation["state"], "less", "{isolation}");
    assert!(isolation["shortfalls"].to_string().contains(&file), "{isolation}");
    for wrong in ["usr/share", "/", "/usr/../etc/passwd"] {
        let drv = derivation("wants", "", false, &json!({ "__impureHostDeps": wrong }));
        let said = refused(&scene, 100, &drv, &["--option", "allowed-impure-host-deps", "/"]);
        assert!(said.contains(&format!("`{wrong}` of the host")), "{said}");
    }
}

#[test]
fn who_asks_not_to_be_in_a_sandbox_is_refused_or_let_out() {
    let scene = Scene::new();
    let drv = derivation("outside", "echo hello > $out", false, &json!({ "__noChroot": "1" }));
    let file = scene.write("outside.json", drv.to_string());
    let run = scene.run(&["build", "--no-link", &file]);
    failures::check(&scene, "no-chroot", &run);
    // The files of this store are elsewhere, and only a sandbox can show them where they belong.
    let said = refused(&scene, 100, &drv, &["--option", "sandbox", "relaxed"]);
    assert!(said.contains("only a sandbox can show them"), "{said}");
    // Who does not ask for it is isolated under `relaxed` too.
    let inside = derivation("inside", "echo $PWD > $out", false, &json!({ "__noChroot": "" }));
    assert_eq!(build(&scene, &inside, &["--option", "sandbox", "relaxed"]), "/build\n");
    let mut structured =
        derivation("inside", &format!("echo $PWD > {OUT}"), true, &json!({ "__noChroot": false }));
    assert_eq!(build(&scene, &structured, &["--option", "sandbox", "relaxed"]), "/build\n");
    structured["env"]["__json"] = json!(r#"{"__noChroot":"1"}"#);
    let said = refused(&scene, 100, &structured, &[]);
    assert!(said.contains("`__noChroot` should be true or false, not a string"), "{said}");
}

#[test]
fn features_are_required_and_kvm_comes_with_its_device() {
    let scene = Scene::new();
    let script = "if [ -c /dev/kvm ]; then echo device; else echo none; fi > $out";
    for (structured, attribute) in [(false, json!("kvm benchmark")), (true, json!(["kvm", "benchmark"]))] {
        let script = script.replace("$out", OUT);
        let drv = derivation("kvm", &script, structured, &json!({ "requiredSystemFeatures": attribute }));
        let said = refused(&scene, 100, &drv, &[]);
        assert!(said.contains("it requires the system feature `kvm`"), "{said}");
        let features =
            ["--option", "system-features", "kvm benchmark", "--option", "use-subordinate-ids", "false"];
        let expected = if Path::new("/dev/kvm").exists() { "device\n" } else { "none\n" };
        if expected == "none\n" {
            say("this machine has no /dev/kvm: only its absence is tested");
        }
        assert_eq!(build(&scene, &drv, &features), expected);
    }
}

#[test]
fn what_is_for_other_builders_is_read_and_passed_over() {
    let scene = Scene::new();
    let attributes = json!({
        "__sandboxProfile": "(allow default)", "__darwinAllowLocalNetworking": "1", "preferLocalBuild": "1",
        "allowSubstitutes": "", "outputHashMode": "flat", "__contentAddressed": "1", "__impure": "1",
    });
    let script = "echo $preferLocalBuild > $out";
    assert_eq!(build(&scene, &derivation("local", script, false, &attributes), &[]), "1\n");
}

#[test]
fn attributes_without_effect_are_warned_of() {
    let scene = Scene::new();
    let attributes = json!({ "allowedReferences": [], "outputChecks": { "lib": {} } });
    let drv = derivation("warned", &format!("echo {OUT} > {OUT}"), true, &attributes);
    let file = scene.write("warned.json", drv.to_string());
    failures::check(&scene, "attributes-without-effect", &scene.run(&["build", "--no-link", &file]));
}

#[test]
fn options_are_shown_as_they_were_read() {
    let scene = Scene::new();
    for (name, transcript) in [
        ("variables", "options-variables"),
        ("structured", "options-structured"),
        ("placeholders", ""),
        ("nothing", "options-nothing"),
        ("nothing-structured", "options-nothing-structured"),
    ] {
        let file = text(fixture(&format!("options/{name}.json")));
        // An input that is not in the store.
        let input = "/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep.drv";
        if name == "placeholders" {
            let said = scene.fails(1, &["derivation", "options", &file]);
            assert!(said.contains(input.rsplit('/').next().unwrap()), "{said}");
            continue;
        }
        let shown = scene.ok(&["derivation", "options", "--json", &file]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let expected = fs::read(fixture(&format!("options/{name}.options.json"))).unwrap();
        assert_eq!(shown, serde_json::from_slice::<Value>(&expected).unwrap(), "{name}");
        let run = scene.run(&["derivation", "options", &file]);
        failures::check(&scene, transcript, &run);
    }
}

#[test]
fn what_cannot_be_read_is_told_by_its_place() {
    let scene = Scene::new();
    let wrong = json!({ "outputChecks": { "out": { "maxSize": "1M" } } });
    let file = scene.write("wrong.json", derivation("wrong", "", true, &wrong).to_string());
    failures::check(&scene, "wrong-attribute", &scene.run(&["derivation", "options", &file]));
    let said = scene.fails(100, &["build", "--no-link", &file]);
    assert!(
        said.contains("`outputChecks.out.maxSize` should be a whole number of bytes, not a string"),
        "{said}"
    );
}

/// Builds one derivation that uses most attributes with Nix and with this program, and compares all there is.
#[test]
fn nix_gives_its_builder_the_same() {
    let scene = Scene::new();
    if !has_nix() || !has("busybox") {
        return;
    }
    if !is_root() {
        return say("skipped: an ordinary user's Nix may have no sandbox here");
    }
    let leaf = source(&scene, "leaf", "leaf");
    let attributes = json!({
        "text": "it's \"é\"\t\u{1}", "n": [1, 2.5, -3, 3000000000u64], "large": 3000000000u64, "small": 1.5e-7,
        "whole": 2.0, "nothing": null, "on": true, "off": false, "nested": { "a": ["b"] }, "map": { OUT: OUT },
    });
    let script =
        format!("{PRINT} {{ print /build/.attrs.json; print /build/.attrs.sh; echo {leaf}; }} > {OUT}");
    let mut drv = derivation("same", &script, true, &attributes);
    drv["inputSrcs"] = json!([leaf]);
    let file = scene.write("attributes.json", drv.to_string());
    let drv = scene.ok(&["derivation", "add", &file]);
    let path = scene.ok(&["build", "--no-link", &file]);
    let ours = fs::read_to_string(scene.real(&path)).unwrap();
    scene.ok(&["delete", &path]);
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    let shell = ["--option", "sandbox-paths", &format!("/bin/sh={busybox}"), "--option", "sandbox", "true"];
    nix_store(&scene, &[&["--realise", &drv][..], &shell].concat());
    let theirs = fs::read_to_string(scene.real(&path)).unwrap();
    assert_eq!(ours, theirs);
}
