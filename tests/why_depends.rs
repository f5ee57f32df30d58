//! `store why-depends`.

use serde_json::Value;

use crate::scene::{Scene, derivation};

fn name(path: &str) -> &str {
    &path["/nix/store/".len() + 33..]
}

/// The paths of the diamond: top, left, right, bottom.
fn diamond(scene: &Scene) -> [String; 4] {
    let top = scene.build("diamond").remove(0);
    let all = scene.ok(&["query", "-R", &top]);
    ["top", "left", "right", "bottom"].map(|wanted| {
        all.lines().find(|line| name(line) == wanted).unwrap_or_else(|| panic!("{wanted}: {all}")).to_owned()
    })
}

#[test]
fn tells_the_way_and_the_byte() {
    let scene = Scene::new();
    let [top, left, right, bottom] = diamond(&scene);
    let run = scene.run(&["why-depends", &top, &bottom]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines: Vec<_> = run.stdout.lines().collect();
    let middle = if lines[1].contains(&left) { &left } else { &right };
    assert_eq!((lines[0], lines[1]), (&*top, &*format!("└───{middle}")));
    assert!(run.stderr.contains("1 way leads there, too; `--all` shows them"), "{}", run.stderr);
    assert!(lines.iter().any(|line| *line == format!("    └───{bottom}")), "{}", run.stdout);
    // What it says is true.
    let json: Value = serde_json::from_str(&scene.ok(&["why-depends", "--json", &top, &bottom])).unwrap();
    assert_eq!((&json["ways"], json["shortest"].as_array().unwrap().len()), (&2.into(), 3));
    for reference in json["references"].as_array().unwrap() {
        let [from, to] = ["from", "to"].map(|key| reference[key].as_str().unwrap());
        assert!(!reference["some"].as_array().unwrap().is_empty(), "{reference}");
        for place in reference["some"].as_array().unwrap() {
            let file = scene.real(from).join(place["file"].as_str().unwrap());
            let file = if place["file"] == "" { scene.real(from) } else { file };
            let bytes = std::fs::read(file).unwrap();
            let offset = usize::try_from(place["offset"].as_u64().unwrap()).unwrap();
            let digest = &to["/nix/store/".len()..][..32];
            assert_eq!(&bytes[offset..offset + 32], digest.as_bytes(), "{place}");
        }
    }
}

#[test]
fn all_ways_show_each_path_once() {
    let scene = Scene::new();
    let [top, left, right, bottom] = diamond(&scene);
    let run = scene.run(&["why-depends", "--all", "--places", "0", &top, &bottom]);
    let shown: Vec<_> =
        run.stdout.lines().map(|line| line.trim_start_matches(['│', '├', '└', '─', ' '])).collect();
    let mut middles = [&*left, &*right];
    middles.sort_unstable();
    assert_eq!(shown, [&*top, middles[0], &bottom, middles[1], &bottom]);
    let run = scene.run(&["why-depends", "--all", "--limit", "2", &top, &bottom]);
    assert_eq!(run.stdout.lines().count() - 1, 2 + run.stdout.matches(" at byte ").count(), "{}", run.stdout);
    assert!(run.stderr.contains("2 more references are on the way"), "{}", run.stderr);
}

#[test]
fn derivations_stand_for_what_they_make_where_that_is_meant() {
    let scene = Scene::new();
    let [top, .., bottom] = diamond(&scene);
    let drv = scene.ok(&["derivation", "add", &derivation("diamond")]);
    let deriver = scene.ok(&["query", "--deriver", &bottom]);
    let ways = |from: &str, to: &str| {
        let json: Value = serde_json::from_str(&scene.ok(&["why-depends", "--json", from, to])).unwrap();
        let shortest = json["shortest"].as_array().unwrap();
        [&shortest[0], &shortest[shortest.len() - 1]].map(|path| path.as_str().unwrap().to_owned())
    };
    assert_eq!(ways(&drv, &bottom), [top.clone(), bottom.clone()]);
    assert_eq!(ways(&top, &deriver), [top.clone(), bottom.clone()]);
    assert_eq!(ways(&drv, &deriver), [drv.clone(), deriver.clone()], "what it takes to build it");
    assert_eq!(ways(&top, &top), [top.clone(), top]);
}

#[test]
fn says_when_there_is_no_way() {
    let scene = Scene::new();
    let [top, .., bottom] = diamond(&scene);
    let said = scene.fails(1, &["why-depends", &bottom, &top]);
    assert!(said.contains(&format!("`{bottom}` does not depend on `{top}`")), "{said}");
    let run = scene.run(&["why-depends", "--json", &bottom, &top]);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &json["depends"]), (Some(1), &false.into()));
}

#[test]
fn where_a_link_and_a_name_refer_to_something() {
    let scene = Scene::new();
    let bottom = scene.ok(&["add", &scene.write("bottom", "x")]);
    let script =
        format!("mkdir $out; ln -s {bottom} $out/link; echo > $out/{}", &bottom["/nix/store/".len()..]);
    let file = shell(&scene, &script, &bottom);
    let top = scene.ok(&["build", "--no-link", &file]);
    let text = scene.ok(&["why-depends", &top, &bottom]);
    assert!(text.contains(&format!("`link` links to `{bottom}`")), "{text}");
    assert!(text.contains("the name of `"), "{text}");
}

/// Returns a file with a derivation that runs a script with busybox's tools, and may refer to a source.
fn shell(scene: &Scene, script: &str, source: &str) -> String {
    let text = crate::scene::shell_derivation("top", &format!("PATH=/bin; {script}"));
    let text = text.replace("\"inputSrcs\": []", &format!("\"inputSrcs\": [\"{source}\"]"));
    scene.write("top.json", text)
}
