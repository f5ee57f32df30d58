//! `store path-info`.

use crate::scene::Scene;

#[test]
fn tells_what_is_known() {
    let scene = Scene::new();
    let file = scene.write("hello.txt", "hello");
    let path = scene.ok(&["add", &file]);
    let json = scene.ok(&["path-info", "--json", &path]);
    assert!(json.contains("\"narSize\": 120"), "{json}");
    assert!(json.contains("\"references\": []"), "{json}");
    let real = scene.ok(&["path-info", "--real-path", &path]);
    assert_eq!(real, scene.real(&path).to_str().unwrap());
}

#[test]
fn recursive_adds_what_it_needs() {
    let scene = Scene::new();
    let path = scene.build("self").remove(0);
    let diamond = scene.build("diamond").remove(0);
    let all = scene.ok(&["path-info", "--recursive", &path, &diamond]);
    assert!(all.contains(&path) && all.contains("-left") && all.contains("-bottom"), "{all}");
}

#[test]
fn a_path_that_is_not_valid_is_an_error_that_names_it() {
    let scene = Scene::new();
    scene.build("hello");
    let absent = "/nix/store/00000000000000000000000000000000-absent";
    let said = scene.fails(1, &["path-info", absent]);
    assert!(said.contains("00000000000000000000000000000000-absent"), "{said}");
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_looking_into_it() {
    let scene = Scene::new();
    for command in [&["path-info", "/nix/store"][..], &["verify"], &["query", "--references", "/nix/store"]] {
        let said = scene.fails(1, command);
        assert!(said.contains("there is no store at `"), "{said}");
    }
    assert!(!scene.root().exists());
}

#[test]
fn nix_s_json_has_three_versions() {
    let scene = Scene::new();
    let path = scene.build("hello").remove(0);
    let base = path.strip_prefix("/nix/store/").unwrap();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let arguments = [&["path-info", &path, "--json-format"], arguments].concat();
        serde_json::from_str(&scene.ok(&arguments)).unwrap()
    };
    let one = json(&["1"]);
    assert!(one[&path]["deriver"].as_str().unwrap().starts_with("/nix/store/"), "{one}");
    for version in [2, 3] {
        let value = json(&[&version.to_string()]);
        assert_eq!((&value["version"], &value["storeDir"]), (&version.into(), &"/nix/store".into()));
        let info = &value["info"][base];
        assert!(info["deriver"].as_str().unwrap().ends_with("-hello.drv"), "{value}");
        assert_eq!(info["narHash"], one[&path]["narHash"]);
    }
    let pure = json(&["3", "--pure"]);
    assert!(pure["info"][base].get("registrationTime").is_none(), "{pure}");
    assert_eq!(scene.run(&["path-info", "--pure", &path]).code, Some(2));
}

#[test]
fn sizes_with_all_that_is_needed() {
    let scene = Scene::new();
    let top = scene.build("diamond").remove(0);
    let requisites = scene.ok(&["query", "-R", &top]);
    let paths: Vec<&str> = requisites.lines().collect();
    let size = |path: &str| -> u64 { scene.ok(&["query", "--size", path]).parse().unwrap() };
    let sum: u64 = paths.iter().map(|path| size(path)).sum();
    let line = scene.ok(&["path-info", "-sS", &top]);
    assert_eq!(line, format!("{top}\t{:>11}\t{sum:>11}", size(&top)));
    let listed = scene.ok(&["path-info", "-rS", &top]);
    let bottom = listed.lines().find(|line| line.contains("-bottom")).unwrap();
    assert!(bottom.ends_with(&format!("\t{:>11}", size(paths[0]))), "{listed}");
    let short = scene.ok(&["path-info", "-Sh", &top]);
    assert!(short.ends_with(&format!("\t{:6.1} ", sum as f64)), "{short:?}");
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&scene.ok(&[&["path-info", "-S", &top], arguments].concat())).unwrap()
    };
    assert_eq!(json(&["--json"])[0]["closureSize"], sum);
    assert_eq!(json(&["--json-format", "1"])[&top]["closureSize"], sum);
    let base = top.strip_prefix("/nix/store/").unwrap();
    assert_eq!(json(&["--json-format", "3"])["info"][base]["closureSize"], sum);
}

#[test]
fn all_paths_and_who_vouches_for_them() {
    let scene = Scene::new();
    let added = scene.ok(&["add", &scene.write("file", "x")]);
    let built = scene.build("hello").remove(0);
    let all = scene.ok(&["path-info", "--all", "--sigs"]);
    let line = |path: &str| all.lines().find(|line| line.starts_with(path)).unwrap();
    assert!(line(&built).ends_with("\tultimate"), "{all}");
    assert!(line(&added).contains("\tca:fixed:r:sha256:") || line(&added).contains("ca:fixed:"), "{all}");
    assert_eq!(scene.run(&["path-info", "--all", &added]).code, Some(2));
    assert_eq!(scene.run(&["path-info"]).code, Some(2));
    assert!(scene.ok(&["path-info", "--help"]).contains("Example"));
}

#[test]
fn a_file_stands_for_what_was_built_from_it() {
    let scene = Scene::new();
    let recipe = r#"{ "name": "x", "builder": "/bin/sh", "args": ["-ec", "echo > ${out}; echo > ${dev}"], "outputs": ["out", "dev"] }"#;
    let file = scene.write("recipe.json", recipe);
    scene.ok(&["add", &file]);
    for verb in [&["path-info", &file][..], &["log", "--about", &file]] {
        let said = scene.fails(1, verb);
        assert!(said.contains("in the store") && !said.contains("store add"), "{said}");
    }
    let built = scene.ok(&["build", "--no-link", &format!("{file}^out,dev")]);
    let mut paths: Vec<&str> = built.lines().collect();
    paths.sort_unstable();
    let told = scene.ok(&["path-info", &file]);
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(told, paths);
    let about = scene.ok(&["log", "--about", &file]);
    assert!(paths.iter().all(|path| about.contains(path)), "{about}");
    assert!(scene.fails(1, &["path-info", &scene.write("text", "no recipe")]).contains("text"));
}
