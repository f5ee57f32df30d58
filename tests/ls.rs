//! `store ls` and `store cat`.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::scene::{Scene, has_nix};

/// A tree in the store that has something of every kind, and its path.
fn tree(scene: &Scene) -> String {
    let tree = scene.path("tree");
    std::fs::create_dir_all(tree.join("bin/sub")).unwrap();
    scene.write("tree/bin/run", "#!/bin/sh\n");
    scene.write("tree/readme", "hello\n");
    std::fs::set_permissions(tree.join("bin/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../readme", tree.join("bin/sub/inside")).unwrap();
    symlink("../../readme", tree.join("bin/sub/up")).unwrap();
    symlink("/etc/passwd", tree.join("outside")).unwrap();
    scene.ok(&["add", tree.to_str().unwrap()])
}

#[test]
fn lists_as_nix_does() {
    let scene = Scene::new();
    let path = tree(&scene);
    assert_eq!(scene.ok(&["ls", &path]), "./bin\n./outside\n./readme");
    assert_eq!(scene.ok(&["ls", "-d", &path]), ".");
    let long = scene.ok(&["ls", "-lR", &path]);
    let expected = "\
dr-xr-xr-x                    0 ./bin
-r-xr-xr-x                   10 ./bin/run
dr-xr-xr-x                    0 ./bin/sub
lrwxrwxrwx                    0 ./bin/sub/inside -> ../readme
lrwxrwxrwx                    0 ./bin/sub/up -> ../../readme
lrwxrwxrwx                    0 ./outside -> /etc/passwd
-r--r--r--                    6 ./readme";
    assert_eq!(long, expected);
    assert_eq!(scene.ok(&["ls", &format!("{path}/bin/run")]), "run");
    assert_eq!(scene.ok(&["ls", &format!("{path}/outside")]), "outside");
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&scene.ok(&[&["ls", "--json", &path], arguments].concat())).unwrap()
    };
    let near = json!({ "type": "directory", "entries": { "bin": {}, "outside": {}, "readme": {} } });
    assert_eq!(json(&[]), near);
    let all = json(&["-R"]);
    let entries = &all["entries"];
    assert_eq!(entries["readme"], json!({ "type": "regular", "size": 6 }));
    assert_eq!(
        entries["bin"]["entries"]["run"],
        json!({ "type": "regular", "size": 10, "executable": true })
    );
    assert_eq!(entries["outside"], json!({ "type": "symlink", "target": "/etc/passwd" }));
}

#[test]
fn lists_the_same_as_nix() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let path = tree(&scene);
    let bin = format!("{path}/bin");
    let file = format!("{path}/readme");
    let nix = |arguments: &[&str]| {
        let mut command = std::process::Command::new("nix");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("USER", "nobody").env("HOME", scene.path("home"));
        command.args(["--extra-experimental-features", "nix-command", "--option", "build-users-group", ""]);
        let output = command.arg("--store").arg(scene.root()).arg("store").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for asked in [&path, &bin, &file] {
        for flags in [&[][..], &["-l"], &["-R"], &["-l", "-R"], &["-d"], &["-l", "-d"]] {
            let arguments = [&["ls", asked], flags].concat();
            assert_eq!(scene.run(&arguments).stdout, nix(&arguments), "{arguments:?}");
        }
        for flags in [&["--json"][..], &["--json", "-R"]] {
            let arguments = [&["ls", asked], flags].concat();
            let [ours, nixs] = [scene.ok(&arguments), nix(&arguments)];
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(parse(&ours), parse(&nixs), "{arguments:?}");
        }
    }
    assert_eq!(scene.run(&["cat", &file]).stdout, nix(&["cat", &file]));
}

#[test]
fn nothing_leads_out_of_the_path() {
    let scene = Scene::new();
    let path = tree(&scene);
    let cat = |below: &str| scene.run(&["cat", &format!("{path}/{below}")]);
    assert_eq!((cat("readme").stdout, cat("bin/sub/up").stdout), ("hello\n".into(), "hello\n".into()));
    for below in ["outside", "bin/sub/inside", "absent", "bin", "readme/x"] {
        let run = cat(below);
        assert_eq!((run.code, &*run.stdout), (Some(1), ""), "{below}");
        assert!(run.stderr.contains("store: "), "{below}: {}", run.stderr);
    }
    assert!(cat("outside").stderr.contains("leads out of its store path, to `/etc/passwd`"));
}

#[test]
fn a_link_and_the_real_place_name_the_same() {
    let scene = Scene::new();
    let path = tree(&scene);
    symlink(scene.real(&path), scene.path("result")).unwrap();
    let real = format!("{}/readme", scene.real(&path).display());
    for file in ["result/readme", "result/bin/../readme", &real, &format!("{path}/readme")] {
        assert_eq!(scene.run(&["cat", file]).stdout, "hello\n", "{file}");
    }
    let outside = scene.write("plain", "x");
    let said = scene.fails(1, &["cat", &outside]);
    assert!(said.contains("is not in the store at"), "{said}");
    let absent = "/nix/store/00000000000000000000000000000000-absent/file";
    assert!(scene.fails(1, &["ls", absent]).contains("not valid"));
    assert_eq!(scene.run(&["cat", "--json", &path]).code, Some(2), "bytes have no JSON");
}
