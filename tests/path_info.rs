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
