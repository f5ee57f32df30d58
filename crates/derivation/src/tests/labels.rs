//! Derivations that are given under labels, with some of their inputs in the store.

use std::collections::{BTreeSet, HashMap};
use std::io;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use store_path::{StoreDir, StorePath};

use super::review::reviewed_with;
use crate::{
    Checked, ClosureError, Derivation, Finding, Source, SourceForm, aterm, check_closure, json as reader,
};

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In the store, as are its inputs.
    Stored,
    /// Without a path for its output.
    Open,
    /// A download, with its path.
    Download,
    /// With a path that is not right.
    Wrong,
}

/// What is given, and what the store has.
#[derive(Default)]
struct Scene {
    store: HashMap<StorePath, Derivation>,
    list: Map<String, Value>,
    /// The path of each, or its label.
    names: Vec<(Kind, String)>,
}

impl Scene {
    fn known(&self, path: &StorePath) -> io::Result<Derivation> {
        self.store.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn checked(&self, text: &[u8]) -> Result<Vec<Checked>, ClosureError<io::Error>> {
        let list = reader::parse(text, &StoreDir::default()).unwrap();
        check_closure(list, &StoreDir::default(), &mut |path| self.known(path))
    }

    /// Adds one that needs those before it with these numbers, some of them as sources.
    fn add(&mut self, kind: Kind, inputs: &[(usize, bool)], label: usize) {
        let number = self.names.len();
        let may_name = |(input, _): &&(usize, bool)| {
            *input < number && (kind != Kind::Stored || self.names[*input].0 == Kind::Stored)
        };
        let (mut drvs, mut sources) = (Map::new(), BTreeSet::new());
        for (input, as_source) in inputs.iter().filter(may_name) {
            let name = &self.names[*input].1;
            match as_source {
                true => drop(sources.insert(name.clone())),
                false => drop(drvs.insert(name.clone(), json!(["out"]))),
            }
        }
        let mut derivation = json!({ "name": format!("n{number}"), "system": "s", "builder": "b", "args": ["-c", ""],
            "outputs": { "out": {} }, "env": { "a": "b" }, "inputDrvs": drvs, "inputSrcs": sources });
        let store_dir = StoreDir::default();
        let promise = json!({ "out": { "hashAlgo": "sha256", "hash": HASH } });
        let name = match kind {
            Kind::Stored => {
                let checked = self.checked(derivation.to_string().as_bytes()).unwrap().remove(0);
                self.store.insert(checked.path().clone(), checked.derivation().clone());
                store_dir.print(checked.path())
            }
            _ => format!("{store_dir}/{label:032}-n{number}.drv"),
        };
        if kind == Kind::Download {
            let alone =
                json!({ "name": format!("n{number}"), "system": "s", "builder": "b", "outputs": promise });
            let checked = self.checked(alone.to_string().as_bytes()).unwrap().remove(0);
            derivation["outputs"] = promise;
            derivation["outputs"]["out"]["path"] = json!(out(&checked));
            derivation["env"]["out"] = json!(out(&checked));
        }
        if kind == Kind::Wrong {
            let path = format!("{store_dir}/{label:032}-n{number}");
            derivation["outputs"]["out"]["path"] = json!(path);
            derivation["env"]["out"] = json!(path);
        }
        if kind != Kind::Stored {
            self.list.insert(name.clone(), derivation);
        }
        self.names.push((kind, name));
    }

    /// Whether one of them is in the list.
    fn names_a_label(&self, inputs: &[(usize, bool)]) -> bool {
        inputs.iter().filter_map(|(input, _)| self.names.get(*input)).any(|(kind, _)| *kind != Kind::Stored)
    }

    /// Returns what is said about all that is given, and whether it is right together. The same is said of `.drv` files, of
    /// which no more is read than has to be.
    fn findings(&self) -> (Vec<Finding>, bool) {
        let text = Value::Object(self.list.clone()).to_string();
        let source = Source { text: text.as_bytes(), form: SourceForm::Json };
        let found = reviewed_with(&[source], &|path| self.known(path)).concat();
        let of_files = self.of_files(&text);
        assert_eq!(sorted(errors(&found)), sorted(errors(&of_files)));
        (found, self.checked(text.as_bytes()).is_ok())
    }

    fn of_files(&self, json: &str) -> Vec<Finding> {
        let store_dir = StoreDir::default();
        let files =
            reader::parse(json.as_bytes(), &store_dir).unwrap().into_iter().map(|(path, derivation)| {
                let text = aterm::print(&derivation, &store_dir);
                (text, SourceForm::Aterm { name: derivation.name, path })
            });
        let files: Vec<_> = files.collect();
        let sources: Vec<_> = files.iter().map(|(text, form)| Source { text, form: form.clone() }).collect();
        reviewed_with(&sources, &|path| self.known(path)).concat()
    }
}

fn out(checked: &Checked) -> String {
    let paths = checked.output_paths();
    StoreDir::default().print(paths.values().next().unwrap().as_ref().unwrap())
}

fn errors(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| finding.is_error).map(|finding| finding.message.as_str()).collect()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

/// That follows from all of the text, with the path in place of the label.
#[test]
fn what_names_a_label_has_the_paths_that_follow_from_all_of_it() {
    let mut scene = Scene::default();
    scene.add(Kind::Open, &[], 0);
    scene.add(Kind::Wrong, &[(0, false)], 1);
    let (found, is_right) = scene.findings();
    let [message] = errors(&found)[..] else { panic!("{found:?}") };
    assert!(!is_right && message.contains("but should have"), "{message}");
}

/// What a label stands for is found out late where an input is in the store, and whoever names it has to wait.
#[test]
fn a_download_waits_for_what_it_names() {
    for as_source in [false, true] {
        let mut scene = Scene::default();
        scene.add(Kind::Stored, &[], 0);
        scene.add(Kind::Open, &[(0, false)], 1);
        scene.add(Kind::Download, &[(1, as_source)], 2);
        let (found, is_right) = scene.findings();
        assert!(is_right && errors(&found).is_empty(), "{found:?}");
    }
}

#[test]
fn what_names_something_wrong_is_not_held_against_its_own_path() {
    let mut scene = Scene::default();
    scene.add(Kind::Stored, &[], 0);
    scene.add(Kind::Wrong, &[(0, false)], 1);
    scene.add(Kind::Download, &[(1, false)], 2);
    let (found, is_right) = scene.findings();
    assert!(!is_right && errors(&found).len() == 1, "{found:?}");
}

proptest! {
    #[test]
    fn whatever_is_in_the_store_all_are_right_or_wrong_for_both(
        parts in vec((0..8, vec((0..7_usize, any::<bool>()), 0..4)), 1..8),
        labels in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let mut scene = Scene::default();
        for ((kind, inputs), label) in parts.iter().zip(labels) {
            let kind = match kind {
                0..3 => Kind::Stored,
                // Only who names a label may have a path that follows from one.
                5..7 if scene.names_a_label(inputs) => Kind::Download,
                7 if label == 0 => Kind::Wrong,
                _ => Kind::Open,
            };
            scene.add(kind, inputs, label);
        }
        prop_assume!(!scene.list.is_empty());
        let (found, is_right) = scene.findings();
        prop_assert_eq!(errors(&found).is_empty(), is_right, "{:?}", found);
    }
}
