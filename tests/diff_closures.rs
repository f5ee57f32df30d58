//! `store diff-closures`.

use serde_json::Value;

use crate::query_peer::Chance;
use crate::scene::{Scene, has_nix};

#[test]
fn tells_packages_that_came_and_went() {
    let scene = Scene::new();
    let [before, after] = ["one-1.0", "one-2.0-rc"].map(|name| scene.ok(&["add", &scene.write(name, name)]));
    let run = scene.run(&["diff-closures", &before, &after]);
    assert_eq!((run.code, &*run.stdout), (Some(0), "one: 1.0 → 2.0\n"), "{}", run.stderr);
    assert!(run.stderr.contains("1 path of"), "{}", run.stderr);
    let json: Value = serde_json::from_str(&scene.ok(&["diff-closures", "--json", &before, &after])).unwrap();
    let one = &json["packages"]["one"];
    assert_eq!((&one["versionsBefore"][0], &one["versionsAfter"][0]), (&"1.0".into(), &"2.0".into()));
    assert_eq!(json["before"]["closurePaths"], 1);
    assert_eq!(scene.ok(&["diff-closures", &before, &before]), "");
}

#[test]
fn tells_what_nix_tells() {
    if !has_nix() {
        return;
    }
    let mut told = 0;
    for seed in 20..22 {
        let mut chance = Chance::new(seed, 24);
        let all: Vec<_> = chance.outputs.keys().cloned().collect();
        for _ in 0..8 {
            let [before, after] = [0, 0].map(|_| all[chance.random.below(all.len())].clone());
            let mut command = std::process::Command::new("nix");
            command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
            command.env("USER", "nobody").env("HOME", chance.scene.path("home"));
            command.args([
                "--extra-experimental-features",
                "nix-command",
                "--option",
                "build-users-group",
                "",
            ]);
            command.arg("--store").arg(chance.scene.root());
            let nixs = command.args(["store", "diff-closures", &before, &after]).output().unwrap();
            assert!(nixs.status.success(), "{}", String::from_utf8_lossy(&nixs.stderr));
            let nixs = String::from_utf8(nixs.stdout).unwrap();
            let plain = ["\u{1b}[31;1m", "\u{1b}[32;1m", "\u{1b}[0m"]
                .iter()
                .fold(nixs, |text, code| text.replace(code, ""));
            let ours = chance.scene.run(&["diff-closures", &before, &after]).stdout;
            assert_eq!(ours, plain, "{before} {after}");
            told += ours.lines().count();
        }
    }
    assert!(told > 16, "most of them differ: {told}");
}
