//! `store sign`, `store key`, and builds that are signed, beside Nix.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::scene::{Run, Scene, has_nix, shell_derivation, text};

/// The first key of RFC 8032.
const PUBLIC: &str = "rfc-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const SECRET: &str =
    "rfc-1:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";

fn signatures(scene: &Scene, path: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_str(&scene.ok(&["path-info", "--json", path])).unwrap();
    let list = json[0]["signatures"].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Runs `nix`, which has to succeed, on the scene's store.
fn nix(scene: &Scene, arguments: &[&str], input: Option<&str>) -> String {
    let mut command = Command::new("nix");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("USER", "nobody").env("HOME", scene.path("home"));
    command.args(["--extra-experimental-features", "nix-command", "--store"]).arg(scene.root());
    for (name, value) in [("build-users-group", ""), ("substitute", "false"), ("substituters", "")] {
        command.args(["--option", name, value]);
    }
    if let Some(input) = input {
        command.stdin(File::open(input).unwrap());
    }
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_path_is_signed_and_believed() {
    let scene = Scene::new();
    let out = scene.build("chain").remove(0);
    let key = scene.write("secret", SECRET);
    scene.ok(&["sign", "-k", &key, &out]);
    let signed = signatures(&scene, &out);
    assert!(signed.len() == 1 && signed[0].starts_with("rfc-1:"), "{signed:?}");
    let info = scene.write("info.json", scene.ok(&["path-info", "--json", &out]));
    scene.ok(&["narinfo", "--json", "--public-key", PUBLIC, &info]);
    scene.ok(&["sign", "-k", &key, "--recursive", &out]);
    assert_eq!(signatures(&scene, &out), signed, "once is enough");
    for path in scene.ok(&["query", "--requisites", &out]).lines() {
        assert_eq!(signatures(&scene, path).len(), 1, "{path}");
    }
    let json = scene.ok(&["sign", "--json", "-k", &key, "--all"]);
    assert!(!json.contains(&out) && json.contains("rfc-1:"), "{json}");
}

#[test]
fn nix_signs_alike() {
    if !has_nix() {
        return;
    }
    let (ours, nixs) = (Scene::new(), Scene::new());
    for scene in [&ours, &nixs] {
        scene.build("chain");
        scene.write("secret", SECRET);
    }
    let path = ours.build("chain").remove(0);
    ours.ok(&["sign", "-k", "secret", "--recursive", &path]);
    nix(&nixs, &["store", "sign", "-k", &text(nixs.path("secret")), "--recursive", &path], None);
    for path in ours.ok(&["query", "--requisites", &path]).lines() {
        assert_eq!(signatures(&ours, path), signatures(&nixs, path), "{path}");
    }
    // And believes what we have signed.
    nix(
        &ours,
        &["store", "verify", "--sigs-needed", "1", "--trusted-public-keys", PUBLIC, "--recursive", &path],
        None,
    );
}

#[test]
fn keys_are_made_and_read_as_by_nix() {
    let scene = Scene::new();
    let secret = scene.ok(&["key", "generate", "k-1"]);
    assert!(secret.starts_with("k-1:") && secret.len() == 4 + 88, "a key of 64 bytes");
    assert_ne!(secret, scene.ok(&["key", "generate", "k-1"]));
    let file = scene.write("secret", &secret);
    let output = scene.command(&["key", "public"]).stdin(File::open(&file).unwrap()).output().unwrap();
    let public = String::from_utf8(output.stdout).unwrap();
    if has_nix() {
        assert_eq!(nix(&scene, &["key", "convert-secret-to-public"], Some(&file)), public.trim_end());
        scene.write("nixs", nix(&scene, &["key", "generate-secret", "--key-name", "n-1"], None));
        let theirs = File::open(scene.path("nixs")).unwrap();
        let output = scene.command(&["key", "public"]).stdin(theirs).output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"n-1:"));
    }
    let printed = scene.ok(&["key", "generate", "k-2", "--out", "made"]);
    assert!(printed.starts_with("k-2:") && printed.len() == 4 + 44, "{printed}");
    assert_eq!(fs::metadata(scene.path("made")).unwrap().permissions().mode() & 0o777, 0o600);
    let said = scene.fails(1, &["key", "generate", "k-2", "--out", "made"]);
    assert!(said.contains("cannot write the secret key to"), "{said}");
    for name in ["", "a:b", "a b"] {
        assert!(scene.fails(2, &["key", "generate", name]).contains("name"), "{name}");
    }
}

#[test]
fn a_secret_is_told_to_nobody() {
    let scene = Scene::new();
    let out = scene.build("hello").remove(0);
    let digits = SECRET.split_once(':').unwrap().1;
    for wrong in [digits.to_owned(), format!("k:{}", &digits[4..]), format!("k:{digits}x"), "k:".to_owned()] {
        let file = scene.write("secret", &wrong);
        let said = scene.fails(1, &["sign", "-k", &file, &out]);
        assert!(said.contains("cannot read the secret key in"), "{said}");
        assert!(!said.contains(&digits[8..20]), "{said}");
        let output = scene.command(&["key", "public"]).stdin(File::open(&file).unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&digits[8..20]));
    }
    let file = File::create(scene.path("open")).unwrap();
    fs::set_permissions(scene.path("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = scene.command(&["key", "generate", "k"]).stdout(file).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("chmod 600"));
    let said = scene.fails(1, &["sign", &out]);
    assert!(said.contains("there is no key to sign with"), "{said}");
}

#[test]
fn what_is_built_is_signed() {
    let scene = Scene::new();
    let key = scene.write("secret", SECRET);
    let file = scene.write("x.json", shell_derivation("x", "echo hello > $out"));
    let options = ["--option", "secret-key-files", &key];
    let out = scene.ok(&[&["build", "--no-link", &file], &options[..]].concat());
    let signed = signatures(&scene, &out);
    assert!(signed.len() == 1 && signed[0].starts_with("rfc-1:"), "{signed:?}");
    let info = scene.write("info.json", scene.ok(&["path-info", "--json", &out]));
    scene.ok(&["narinfo", "--json", "--public-key", PUBLIC, &info]);
    let drv = scene.ok(&["query", "--deriver", &out]);
    assert!(signatures(&scene, &drv).is_empty(), "nobody has to vouch for it");
    // Without the key nothing is built.
    let file = scene.write("y.json", shell_derivation("y", "echo hello > $out"));
    let options = ["--option", "secret-key-files", "/absent"];
    let said = scene.fails(1, &[&["build", "--no-link", &file], &options[..]].concat());
    assert!(said.contains("cannot read the secret key in `/absent`"), "{said}");
}

#[test]
fn a_key_that_cannot_be_written_whole_is_in_the_way_of_no_other() {
    let scene = Scene::new();
    let generate = ["key", "generate", "k-1", "--out", "secret"];
    let program = scene.command(&generate);
    // As on a full disk: files may have no bytes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0 && exec \"$0\" \"$@\""]).arg(program.get_program());
    let output =
        limited.args(program.get_args()).current_dir(scene.path("")).env("HOME", scene.path("home")).output();
    let run: Run = output.unwrap().into();
    assert!(run.code == Some(1) && run.stderr.contains("cannot write the secret key"), "{}", run.stderr);
    scene.ok(&generate);
}
