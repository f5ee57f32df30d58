//! `store du`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::query_peer::Chance;
use crate::scene::{Scene, derivation, has_nix};

fn json(scene: &Scene, arguments: &[&str]) -> Value {
    serde_json::from_str(&scene.ok(&[&["du", "--json"], arguments].concat())).unwrap()
}

fn sizes(scene: &Scene, path: &str) -> BTreeMap<String, u64> {
    let size = |path: &str| scene.ok(&["query", "--size", path]).parse().unwrap();
    scene.ok(&["query", "-R", path]).lines().map(|path| (path.to_owned(), size(path))).collect()
}

#[test]
fn tells_what_goes_with_a_path() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let sizes = sizes(&scene, &top);
    let sum: u64 = sizes.values().sum();
    let all = json(&scene, &[&top]);
    let row = &all["paths"][0];
    assert_eq!(
        (&row["size"], &row["closureSize"], &row["frees"]),
        (&sizes[&top].into(), &sum.into(), &sum.into())
    );
    assert_eq!((&row["referrers"], &row["roots"]), (&0.into(), &0.into()));
    let left = sizes.keys().find(|path| path.ends_with("-left")).unwrap();
    let right = sizes.keys().find(|path| path.ends_with("-right")).unwrap();
    let bottom = sizes.keys().find(|path| path.ends_with("-bottom")).unwrap();
    let both = json(&scene, &[left, right]);
    let row = &both["paths"][0];
    assert_eq!((row["path"].as_str(), &row["frees"]), (Some(&**left), &sizes[left].into()), "{both}");
    assert_eq!((&row["common"], &row["shared"]), (&sizes[bottom].into(), &sizes[bottom].into()));
    assert_eq!(row["referrers"], 1);
    let together = sizes[left] + sizes[right] + sizes[bottom];
    assert_eq!((&both["together"]["frees"], &both["together"]["paths"]), (&together.into(), &3.into()));
}

#[test]
fn roots_hold_what_they_lead_to() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "-R", &top]);
    let bottom = requisites.lines().next().unwrap();
    let link = scene.root().join("nix/var/nix/gcroots/bottom");
    std::os::unix::fs::symlink(bottom, link).unwrap();
    let sizes = sizes(&scene, &top);
    let row = &json(&scene, &[&top])["paths"][0];
    assert_eq!(row["frees"], sizes.values().sum::<u64>() - sizes[bottom]);
    assert_eq!(json(&scene, &[bottom])["paths"][0]["roots"], 1);
}

#[test]
fn text_is_a_table() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let text = scene.ok(&["du", "--bytes", &top]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SIZE", "CLOSURE", "FREES", "USERS", "PATH"]);
    assert_eq!((lines.len(), lines[1][4]), (2, &*top));
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    let text = scene.ok(&["du", &drv, &top]);
    assert!(text.lines().nth(1).unwrap().ends_with(&drv) && text.contains("COMMON"), "{text}");
    assert!(text.lines().last().unwrap().contains("together, with all"), "{text}");
    let all = scene.ok(&["du", "--all", "--sort", "path"]);
    let shown: Vec<_> = all.lines().skip(1).map(|line| line.split_whitespace().last().unwrap()).collect();
    let mut sorted = shown[..shown.len() - 1].to_vec();
    sorted.sort_unstable();
    assert_eq!(shown[..shown.len() - 1], sorted);
}

#[test]
fn a_file_with_two_names_counts_once_on_disk() {
    let scene = Scene::new();
    let text = "x".repeat(20_000);
    let [one, other] = ["one", "two"].map(|name| {
        let tree = scene.path(name);
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("file"), &text).unwrap();
        std::fs::write(tree.join(name), name).unwrap();
        scene.ok(&["add", tree.to_str().unwrap()])
    });
    let before = json(&scene, &["--real", &one, &other]);
    let real = |path: &str| scene.real(path).join("file");
    // As `store optimise` makes it, but for the modes of directories, which root alone may overlook.
    let link = scene.root().join("nix/store/.links/file");
    std::fs::hard_link(real(&one), &link).unwrap();
    let directory = scene.real(&other);
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&directory, mode).unwrap();
    };
    mode(0o755);
    std::fs::remove_file(real(&other)).unwrap();
    std::fs::hard_link(&link, real(&other)).unwrap();
    mode(0o555);
    let after = json(&scene, &["--real", &one, &other]);
    assert_eq!(after["sizes"], "disk");
    let number = |value: &Value| value.as_u64().unwrap();
    let blocks = {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&link).unwrap().blocks() * 512
    };
    assert_eq!(number(&before["together"]["size"]) - number(&after["together"]["size"]), blocks);
    assert_eq!(after["paths"][0]["size"], before["paths"][0]["size"]);
    // The file stays as long as one of the two does.
    assert_eq!(number(&before["paths"][0]["frees"]) - number(&after["paths"][0]["frees"]), blocks);
    assert_eq!(after["together"]["frees"], after["together"]["size"]);
}

/// What goes with a path, found by taking away what nothing refers to again and again.
fn plain(outputs: &BTreeMap<String, Vec<String>>, roots: &BTreeSet<String>, path: &str) -> BTreeSet<String> {
    let mut gone = BTreeSet::from([path.to_owned()]);
    loop {
        let is_free = |path: &&String| {
            let mut referrers =
                outputs.iter().filter(|(from, to)| from != path && to.contains(path)).peekable();
            !gone.contains(*path)
                && !roots.contains(*path)
                && referrers.peek().is_some()
                && referrers.all(|(from, _)| gone.contains(from))
        };
        let next: Vec<String> = outputs.keys().filter(is_free).cloned().collect();
        if next.is_empty() {
            return gone;
        }
        gone.extend(next);
    }
}

#[test]
fn frees_what_a_plain_reading_frees() {
    if !has_nix() {
        return;
    }
    for seed in 40..43 {
        let chance = Chance::new(seed, 24);
        let scene = &chance.scene;
        let roots: BTreeSet<String> = chance.outputs.keys().step_by(7).cloned().collect();
        for (number, root) in roots.iter().enumerate() {
            let link = scene.root().join(format!("nix/var/nix/gcroots/root-{number}"));
            std::os::unix::fs::symlink(root, link).unwrap();
        }
        let all = json(scene, &["--all"]);
        let size_of: BTreeMap<&str, u64> = all["paths"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["path"].as_str().unwrap(), row["size"].as_u64().unwrap()))
            .collect();
        let rows = all["paths"].as_array().unwrap();
        let mut frees: Vec<u64> = rows.iter().map(|row| row["frees"].as_u64().unwrap()).collect();
        assert!(frees.is_sorted_by(|one, other| one >= other));
        frees.clear();
        for row in rows {
            let path = row["path"].as_str().unwrap();
            if chance.outputs.contains_key(path) {
                let gone = plain(&chance.outputs, &roots, path);
                let expected: u64 = gone.iter().map(|path| size_of[&**path]).sum();
                assert_eq!(row["frees"], expected, "{seed} {path}");
                let alone = json(scene, &[path]);
                assert_eq!(alone["paths"][0]["frees"], expected, "{seed} {path}");
                assert_eq!(alone["together"]["frees"], expected, "{seed} {path}");
                frees.push(expected);
            }
        }
        assert!(frees.len() > 10);
    }
}
