//! Why two graphs differ: each reason once, and nothing that follows from another.

use std::collections::BTreeMap;
use std::convert::Infallible;

use store_path::{Hash, HashAlgorithm, StoreDir, StorePath};

use crate::{Cause, Change, Checked, Derivation, Diff, Side, check_closure, diff, graph, json};

/// Derivations by their paths, and where each label led.
#[derive(Default)]
struct Shelf {
    drvs: BTreeMap<StorePath, Derivation>,
}

impl Shelf {
    /// Adds a derivation called `name` that needs the `out` of `inputs`; fields of `more` replace its own.
    fn add(&mut self, name: &str, inputs: &[&Checked], more: serde_json::Value) -> Checked {
        let store_dir = StoreDir::default();
        let outs: Vec<String> = inputs.iter().map(|input| store_dir.print(&out(input))).collect();
        let drvs: serde_json::Map<_, _> =
            inputs.iter().map(|input| (store_dir.print(input.path()), serde_json::json!(["out"]))).collect();
        let mut value = serde_json::json!({
            "name": name, "system": "x", "builder": "/bin/sh", "args": ["-c", "true"], "inputSrcs": [],
            "inputDrvs": drvs, "env": { "inputs": outs.join(" ") }, "outputs": { "out": {} },
        });
        for (field, new) in more.as_object().unwrap() {
            match (value.get_mut(field).and_then(|old| old.as_object_mut()), new.as_object()) {
                (Some(old), Some(new)) if field == "env" => old.extend(new.clone()),
                _ => value[field] = new.clone(),
            }
        }
        let stated = json::parse(value.to_string().as_bytes(), &store_dir).unwrap();
        let mut known = |path: &StorePath| Ok::<_, Infallible>(self.drvs[path].clone());
        let checked = check_closure(stated, &store_dir, &mut known).unwrap().remove(0);
        self.drvs.insert(checked.path().clone(), checked.derivation().clone());
        checked
    }

    fn diff(&self, left: &Checked, right: &Checked) -> Diff {
        let mut known = |path: &StorePath| Ok::<_, Infallible>(self.drvs.get(path).cloned());
        diff(left.path(), right.path(), &mut known).unwrap()
    }

    /// Returns the name and the causes of each pair that differs by itself.
    fn causes(&self, left: &Checked, right: &Checked) -> Vec<(String, Vec<Cause>)> {
        let found = self.diff(left, right);
        let pair = |place: usize| {
            let pair = &found.pairs()[place];
            (pair.left.name().to_string(), pair.causes.clone())
        };
        found.differing().map(pair).collect()
    }
}

fn out(checked: &Checked) -> StorePath {
    checked.output_paths().values().next().unwrap().clone().unwrap()
}

fn change(left: &str, right: &str) -> Change {
    Change { left: Some(left.into()), right: Some(right.into()) }
}

fn variable(name: &str, left: &str, right: &str) -> Cause {
    Cause::Variable { name: name.into(), value: change(left, right) }
}

fn env(name: &str, value: &str) -> serde_json::Value {
    serde_json::json!({ "env": { name: value } })
}

/// Adds a diamond whose bottom says `word`, and returns the top.
fn diamond(shelf: &mut Shelf, word: &str) -> Checked {
    let bottom = shelf.add("bottom", &[], env("word", word));
    let left = shelf.add("left", &[&bottom], env("x", ""));
    let right = shelf.add("right", &[&bottom], env("x", ""));
    shelf.add("top", &[&left, &right], env("x", ""))
}

#[test]
fn a_reason_is_told_once_with_the_way_to_it() {
    let mut shelf = Shelf::default();
    let (old, new) = (diamond(&mut shelf, "hello"), diamond(&mut shelf, "goodbye"));
    let found = shelf.diff(&old, &new);
    assert_eq!(found.differing().count(), 1);
    let mut place = found.differing().next();
    let mut way = Vec::new();
    while let Some(pair) = place.map(|place| &found.pairs()[place]) {
        assert!(pair.changes_outputs);
        way.push(pair.left.name().to_string());
        place = pair.parent;
    }
    assert_eq!(way, ["bottom.drv", "left.drv", "top.drv"]);
    assert_eq!(found.pairs().len(), 4, "each pair is looked at once");
    let causes = shelf.causes(&old, &new);
    assert_eq!(causes, [("bottom.drv".to_owned(), vec![variable("word", "hello", "goodbye")])]);
    assert_eq!(shelf.diff(&old, &old), Diff::default());
}

#[test]
fn every_field_is_a_reason() {
    let mut shelf = Shelf::default();
    let plain = shelf.add("one", &[], env("gone", "1"));
    let other = serde_json::json!({ "name": "two", "system": "y", "builder": "/bin/bash",
        "args": ["-e", "-c", "true"], "env": { "come": "2" } });
    let mut other = shelf.add("one", &[], other);
    let causes = &shelf.causes(&plain, &other)[0].1;
    let absent = |left: Option<&str>, right: Option<&str>| Change {
        left: left.map(Into::into),
        right: right.map(Into::into),
    };
    assert!(
        matches!(&causes[0], Cause::Name { left, right } if left.as_str() == "one" && right.as_str() == "two")
    );
    assert!(matches!(&causes[1], Cause::System(both) if both.left == b"x" && both.right == b"y"));
    assert!(matches!(&causes[2], Cause::Builder(both) if both.right == b"/bin/bash"));
    assert_eq!(causes[3], Cause::Argument { number: 1, value: absent(None, Some("-e")) });
    assert_eq!(causes[4], Cause::Variable { name: b"come".into(), value: absent(None, Some("2")) });
    assert_eq!(causes[5], Cause::Variable { name: b"gone".into(), value: absent(Some("1"), None) });
    assert_eq!(causes.len(), 6, "`out` follows: {causes:?}");

    other = shelf.add("one", &[], serde_json::json!({ "outputs": { "out": { "hashAlgo": "r:sha256" } } }));
    let causes = &shelf.causes(&plain, &other)[0].1;
    assert!(causes.iter().any(|cause| matches!(cause, Cause::Output { .. })), "{causes:?}");
}

#[test]
fn structured_attributes_are_told_one_by_one() {
    let mut shelf = Shelf::default();
    let dep = [shelf.add("dep", &[], env("x", "1")), shelf.add("dep", &[], env("x", "2"))];
    let attributes = |word: &str, dep: &Checked| {
        env("__json", &format!(r#"{{"dep":"{}","words":["{word}"]}}"#, StoreDir::default().print(&out(dep))))
    };
    let old = shelf.add("a", &[&dep[0]], attributes("old", &dep[0]));
    let new = shelf.add("a", &[&dep[1]], attributes("new", &dep[1]));
    let expected = Cause::Attribute { name: "words".to_owned(), value: change(r#"["old"]"#, r#"["new"]"#) };
    assert_eq!(shelf.causes(&old, &new)[0], ("a.drv".to_owned(), vec![expected]));
}

#[test]
fn inputs_of_one_name_are_paired_by_their_use() {
    let mut shelf = Shelf::default();
    let mut make = |first: &str, second: &str| {
        let inputs = [
            shelf.add("fix.patch", &[], env("text", first)),
            shelf.add("fix.patch", &[], env("text", second)),
        ];
        let full = |input: &Checked| StoreDir::default().print(&out(input));
        let uses = serde_json::json!({ "env": { "inputs": "", "early": full(&inputs[0]), "late": full(&inputs[1]) } });
        shelf.add("user", &[&inputs[0], &inputs[1]], uses)
    };
    let (old, new) = (make("a", "b"), make("c", "d"));
    let mut found: Vec<Cause> = shelf.causes(&old, &new).into_iter().flat_map(|(_, causes)| causes).collect();
    found.sort_by_key(|cause| format!("{cause:?}"));
    assert_eq!(found, [variable("text", "a", "c"), variable("text", "b", "d")]);
}

#[test]
fn another_version_is_the_same_input_and_another_thing_is_not() {
    let mut shelf = Shelf::default();
    let libs = ["zlib-1.2", "zlib-1.3.1", "bzip2-1.0"].map(|name| shelf.add(name, &[], env("name", name)));
    let users = [0, 1, 2].map(|lib| shelf.add("user", &[&libs[lib]], env("flag", "on")));
    let causes = shelf.causes(&users[0], &users[1]);
    assert_eq!(causes.len(), 1);
    assert!(matches!(&causes[0].1[..], [Cause::Name { .. }]), "{causes:?}");
    let causes = shelf.causes(&users[0], &users[2]);
    let input = |side, lib: usize| Cause::Input { side, drv: libs[lib].path().clone() };
    assert_eq!(causes, [("user.drv".to_owned(), vec![input(Side::Left, 0), input(Side::Right, 2)])]);
}

#[test]
fn a_download_made_differently_changes_no_outputs() {
    let mut shelf = Shelf::default();
    let mut make = |url: &str, flag: &str| {
        let hash = Hash::of(HashAlgorithm::Sha256, b"x").to_base16();
        let fixed = serde_json::json!({ "out": { "hashAlgo": "sha256", "hash": hash } });
        let source = shelf.add("source", &[], serde_json::json!({ "outputs": fixed, "env": { "url": url } }));
        shelf.add("user", &[&source], env("flag", flag))
    };
    let (first, mirrored, changed) = (make("a", ""), make("b", ""), make("b", "-O2"));
    let found = shelf.diff(&first, &mirrored);
    assert!(found.pairs().iter().all(|pair| !pair.changes_outputs));
    assert_eq!(shelf.causes(&first, &mirrored), [("source.drv".to_owned(), vec![variable("url", "a", "b")])]);
    // What matters comes first.
    let names: Vec<String> = shelf.causes(&first, &changed).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["user.drv", "source.drv"]);
}

#[test]
fn inputs_with_unknown_paths_are_compared_by_their_placeholders() {
    let mut shelf = Shelf::default();
    let mut make = |word: &str| {
        let floating =
            serde_json::json!({ "outputs": { "out": { "hashAlgo": "r:sha256" } }, "env": { "word": word } });
        let lib = shelf.add("lib", &[], floating);
        let place = store_path::Placeholder::of_output(lib.path(), "out").to_string();
        let drvs = serde_json::json!({ StoreDir::default().print(lib.path()): ["out"] });
        shelf.add(
            "user",
            &[],
            serde_json::json!({ "inputDrvs": drvs, "env": { "lib": format!("-L{place}/lib") } }),
        )
    };
    let (old, new) = (make("a"), make("b"));
    assert_eq!(shelf.causes(&old, &new), [("lib.drv".to_owned(), vec![variable("word", "a", "b")])]);
}

#[test]
fn what_is_not_at_hand_is_said() {
    let mut shelf = Shelf::default();
    let (old, new) = (diamond(&mut shelf, "a"), diamond(&mut shelf, "b"));
    shelf.drvs.retain(|path, _| path.name().as_str() != "bottom.drv");
    let causes = shelf.causes(&old, &new);
    assert!(
        matches!(&causes[..], [(name, absent)] if name == "bottom.drv" && matches!(absent[..], [Cause::Absent { .. }]))
    );
}

/// Deeper than a stack, and with two ways to each level.
#[test]
fn depth_costs_no_stack() {
    let mut shelf = Shelf::default();
    let bottoms = ["a", "b"].map(|word| shelf.add("level-0", &[], env("word", word)));
    let mut tops = bottoms.map(|bottom| bottom.path().clone());
    let template = shelf.add("level", &[], env("x", "")).derivation().clone();
    for level in 1..20_000_u64 {
        tops = tops.map(|below| {
            let mut drv = template.clone();
            let outputs = ["out".parse().unwrap()].into_iter().collect();
            let wanted = crate::InputOutputs { outputs, ..Default::default() };
            drv.input_drvs = [(below, wanted)].into_iter().collect();
            // As good as a true one: nothing here looks at where a path comes from.
            let text = crate::aterm::print(&drv, &StoreDir::default());
            let hash = Hash::of(HashAlgorithm::Sha256, &text);
            let name = format!("level-{level}.drv").parse().unwrap();
            let path = StoreDir::default().text_path(&name, &hash, &drv.references());
            shelf.drvs.insert(path.clone(), drv);
            path
        });
    }
    let mut known = |path: &StorePath| Ok::<_, Infallible>(shelf.drvs.get(path).cloned());
    let found = diff(&tops[0], &tops[1], &mut known).unwrap();
    assert_eq!((found.pairs().len(), found.differing().count()), (20_000, 1));
    let all = graph([tops[0].clone()], None, &mut known).unwrap();
    assert_eq!((all.nodes.len(), all.roots), (20_000, 1));
    let near = graph([tops[0].clone()], Some(2), &mut known).unwrap();
    assert_eq!(near.nodes.len(), 3);
    assert!(near.nodes[2].inputs.is_empty() && near.nodes[2].known.is_some());
}
