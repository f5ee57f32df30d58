//! Recipes of the fixtures, and laws that hold for every one.
#![allow(clippy::disallowed_methods, reason = "tests read fixtures")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use store_path::StoreDir;
use test_support::{check, fixture, shared};

use crate::{ClosureError, Contents, Found, Input, Recipe, is_recipe, read_closure, schema};

static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());

/// Returns the JSON files in a directory and below it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => ahead.push(path),
                Some(extension) if extension == "json" => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

fn parse(text: &[u8]) -> Result<Recipe, crate::RecipeError> {
    Recipe::parse(text, &StoreDir::default())
}

/// Says that every input is something in the store.
fn found(recipe: &Recipe) -> BTreeMap<String, Found> {
    let inputs = recipe.inputs().iter();
    inputs
        .enumerate()
        .map(|(number, (name, input))| {
            let path = |name: &str| format!("{number:032}-{name}").parse().unwrap();
            let what = match input {
                Input::Source(source) => Found::Source(path(source.name.as_str())),
                Input::Stored(stored) if !stored.is_derivation() => Found::Source(stored.clone()),
                _ => Found::Derivation {
                    drv: path("input.drv"),
                    outputs: [("out", Some(path("input"))), ("dev", None), ("lib", Some(path("input-lib")))]
                        .map(|(name, path)| (name.to_owned(), path))
                        .into(),
                },
            };
            (name.clone(), what)
        })
        .collect()
}

fn complete(recipe: &Recipe) -> Value {
    recipe.complete(&StoreDir::default(), "x86_64-linux", &found(recipe)).unwrap()
}

/// What is wrong, with its causes, as it is printed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[test]
fn good_recipes_fulfil_the_schema_and_become_derivations() {
    let mut all = String::new();
    for directory in ["recipes/good/", "recipes/c-program/", "recipes/library/", "recipes/download/"] {
        for path in files(&fixture(directory)) {
            let text = fs::read(&path).unwrap();
            assert!(is_recipe(&text), "{}", path.display());
            let value = serde_json::from_slice(&text).unwrap();
            let wrong: Vec<String> = VALIDATOR.iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(wrong, [""; 0], "{}", path.display());
            let recipe = parse(&text).unwrap_or_else(|error| panic!("{}: {}", path.display(), chain(&error)));
            let derivation = complete(&recipe);
            assert!(!is_recipe(derivation.to_string().as_bytes()), "{}", path.display());
            let name = format!("{directory}{}", path.file_name().unwrap().display());
            writeln!(all, "{name}: {derivation:#}").unwrap();
        }
    }
    check("recipes/derivations.txt", all);
}

#[test]
fn bad_recipes_are_refused_by_their_place() {
    let mut all = String::new();
    for path in files(&fixture("recipes/bad/")) {
        let text = fs::read(&path).unwrap();
        assert!(is_recipe(&text), "{}", path.display());
        let error = match parse(&text) {
            Err(error) => chain(&error),
            Ok(_) => panic!("{} is no recipe", path.display()),
        };
        let value = serde_json::from_slice(&text).unwrap();
        let schema = if VALIDATOR.is_valid(&value) { "passes" } else { "fails" };
        writeln!(all, "{} ({schema} the schema)\n  {error}", path.file_name().unwrap().display()).unwrap();
    }
    check("recipes/refusals.txt", all);
}

#[test]
fn the_schema_is_as_printed() {
    check("recipes/schema.json", format!("{:#}\n", schema()));
    jsonschema::meta::validate(&schema()).unwrap();
}

#[test]
fn no_derivation_is_taken_for_a_recipe() {
    let mut all = files(&fixture("derivations/"));
    all.extend(files(&fixture("aterm/")));
    // Where the data of Nix are not there, that is said by whoever looks for them.
    if let Some(golden) = shared("corpus/nix-golden") {
        let has_builder = |path: &PathBuf| {
            let value: Option<Value> = serde_json::from_slice(&fs::read(path).unwrap()).ok();
            value.is_some_and(|value| value.get("builder").is_some() || value.get("derivations").is_some())
        };
        let derivations: Vec<PathBuf> = files(&golden).into_iter().filter(has_builder).collect();
        assert!(derivations.len() > 20, "{} derivations", derivations.len());
        all.extend(derivations);
    }
    for path in all {
        assert!(!is_recipe(&fs::read(&path).unwrap()), "{}", path.display());
    }
}

#[test]
fn a_download_is_the_derivation_of_nix() {
    let text = br#"{ "name": "x", "builder": "/bin/sh", "inputs": {
        "flat": { "fetch": "https://example.org/hello-1.0.tar.gz",
                  "hash": "sha256-O0brW3Oz0m9c0JWMF6nI6NxU9+cWTaRPXMoHh50Wn6o=" },
        "tool": { "fetch": "https://example.org/tool", "name": "tool-1", "executable": true,
                  "hash": "sha256-O0brW3Oz0m9c0JWMF6nI6NxU9+cWTaRPXMoHh50Wn6o=" } } }"#;
    let recipe = parse(text).unwrap();
    let made = recipe.inputs().values().map(|input| match input {
        Input::Fetch(fetch) => fetch.complete(),
        other => panic!("{other:?}"),
    });
    check("recipes/downloads.json", format!("{:#}\n", Value::from_iter(made)));
}

#[test]
fn outputs_that_are_not_there_are_told_by_their_place() {
    let text = br#"{ "name": "x", "builder": "/bin/sh", "inputs": { "a": "./a.json", "b": "./b" },
        "args": ["${a.doc}"], "env": { "B": "${b.out}" } }"#;
    let recipe = parse(text).unwrap();
    let refused = |recipe: &Recipe| {
        let found = found(recipe);
        chain(&recipe.complete(&StoreDir::default(), "x86_64-linux", &found).unwrap_err())
    };
    assert_eq!(
        refused(&recipe),
        "line 2, column 18 (`/args/0`): `a` has no output `doc`; there are `dev`, `lib`, `out`"
    );
    let text = String::from_utf8_lossy(text).replace("a.doc", "a.lib");
    assert_eq!(
        refused(&parse(text.as_bytes()).unwrap()),
        "line 2, column 45 (`/env/B`): `b` is a file or directory, which has no outputs; write `${b}`"
    );
    let text = br#"{ "name": "x", "builder": "/bin/sh", "inputs": { "a": { "recipe": "./a.json", "output": "doc" } } }"#;
    assert!(refused(&parse(text).unwrap()).contains("(`/inputs/a`): `a` has no output `doc`"));
    let nothing = recipe.complete(&StoreDir::default(), "x", &BTreeMap::new()).unwrap_err();
    assert!(chain(&nothing).contains("nothing is known about the input `a`"));
}

#[test]
fn what_is_large_or_deep_is_refused() {
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{ "name": "x", "builder": "/bin/sh", "structuredAttrs": {{ "x": {open}{close} }} }}"#)
    };
    assert!(parse(deep(90).as_bytes()).is_ok());
    for text in [deep(101), deep(100_000), " ".repeat(crate::MAX_BYTES + 1)] {
        assert!(chain(&parse(text.as_bytes()).unwrap_err()).contains("a recipe has at most 16777216 bytes"));
    }
    // Elsewhere nothing is walked into.
    let text = format!(r#"{{ "name": {}{}, "builder": "" }}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        chain(&parse(text.as_bytes()).unwrap_err())
            .ends_with("expected a text in double quotes, found a list")
    );
}

#[test]
fn what_is_not_json_is_told_by_its_place() {
    let refused = |text: &[u8]| chain(&parse(text).unwrap_err());
    assert_eq!(refused(b"{\n  \"name\" }"), "line 2, column 10: this is not JSON: expected `:`");
    assert_eq!(refused(b"{\n  \"\xff\" }"), "line 2, column 4: this is not JSON: the text is not UTF-8");
    let lone = refused(br#"{ "name": "x", "builder": "\ud800" }"#);
    assert!(lone.starts_with("line 1, column 27 (`/builder`): this is not JSON: "), "{lone}");
}

/// Reads a closure out of files that are not there.
fn closure(files: &[(&str, &str)]) -> Result<Vec<crate::File>, ClosureError> {
    let files: BTreeMap<&Path, &str> = files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
    let mut read = |path: &Path| {
        let path: PathBuf = path.components().filter(|part| part.as_os_str() != ".").collect();
        let text = files.get(&*path).ok_or(io::ErrorKind::NotFound)?;
        Ok((path, text.as_bytes().to_owned()))
    };
    read_closure(Path::new("/r/app.json"), &StoreDir::default(), &mut read)
}

fn needing(inputs: &str) -> String {
    format!(r#"{{ "name": "x", "builder": "/bin/sh", "inputs": {{ {inputs} }} }}"#)
}

#[test]
fn inputs_come_first_and_once() {
    let app = needing(r#""a": "./a.json", "b": "./b.json", "c": "./././a.json", "d": "./d" "#);
    let b = needing(r#""a": "./a.json", "old": "./old.json" "#);
    let files = closure(&[
        ("/r/app.json", &app),
        ("/r/a.json", &needing("")),
        ("/r/b.json", &b),
        ("/r/old.json", r#"{"inputDrvs": {}}"#),
    ])
    .unwrap();
    let paths: Vec<&str> = files.iter().filter_map(|file| file.path.to_str()).collect();
    assert_eq!(paths, ["/r/a.json", "/r/old.json", "/r/b.json", "/r/app.json"]);
    assert!(matches!(files[1].contents, Contents::Other(_)));
    let Contents::Recipe(_, inputs) = &files[3].contents else { panic!("it is one") };
    let inputs: Vec<(&str, usize)> = inputs.iter().map(|(name, index)| (&**name, *index)).collect();
    assert_eq!(inputs, [("a", 0), ("b", 2), ("c", 0)]);
}

#[test]
fn recipes_that_need_each_other_are_named() {
    let files: &[(&str, &str)] = &[
        ("/r/app.json", &needing(r#""a": "./a.json""#)),
        ("/r/a.json", &needing(r#""b": "./b.json""#)),
        ("/r/b.json", &needing(r#""a": "./a.json""#)),
    ];
    let error = closure(files).unwrap_err().to_string();
    assert_eq!(error, "these recipes need each other: `/r/a.json` → `/r/b.json` → `/r/a.json`");
    let own = closure(&[("/r/app.json", &needing(r#""me": "./app.json""#))]).unwrap_err();
    assert_eq!(own.to_string(), "the recipe `/r/app.json` has itself as an input");
    let absent = closure(&[("/r/app.json", &needing(r#""a": "./a.json""#))]).unwrap_err();
    assert_eq!(
        absent.to_string(),
        "cannot read `/r/a.json`, an input of `/r/app.json`, line 1, column 55 (`/inputs/a`)"
    );
}

#[test]
fn a_long_chain_is_no_deep_one() {
    let name =
        |number: usize| if number == 0 { "/r/app.json".to_owned() } else { format!("/r/{number}.json") };
    let texts: Vec<(String, String)> = (0..20_000)
        .map(|number| (name(number), needing(&format!(r#""next": "./{}.json""#, number + 1))))
        .chain([(name(20_000), needing(""))])
        .collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (&**path, &**text)).collect();
    assert_eq!(closure(&files).unwrap().len(), 20_001);
}

/// Texts with anything in them, and mostly with what means something.
fn template() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("${src}".to_owned()),
        Just("${lib}".to_owned()),
        Just("${lib.dev}".to_owned()),
        Just("${out}".to_owned()),
        Just("$${".to_owned()),
        Just("$".to_owned()),
        "[^${\0]{0,6}",
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn attribute() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        template().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

fn recipe() -> impl Strategy<Value = Value> {
    let outputs = prop_oneof![
        Just(json!(["out"])),
        Just(json!(["out", "doc"])),
        Just(json!({ "out": { "hash": "" } })),
        Just(json!({ "out": { "hashAlgo": "sha256", "method": "nar" }, "b": { "hashAlgo": "sha256" } })),
    ];
    let env = proptest::collection::btree_map("[A-Z]{1,3}", template(), 0..4);
    let attributes = proptest::option::of(proptest::collection::btree_map("[a-z]{1,4}", attribute(), 0..4));
    let args = proptest::collection::vec(template(), 0..4);
    let builder = template().prop_map(|text| format!("/{text}"));
    (builder, args, env, attributes, outputs).prop_map(|(builder, args, env, attributes, outputs)| {
        let mut recipe = json!({
            "name": "x", "builder": builder, "args": args, "outputs": outputs,
            "inputs": { "src": "./src", "lib": { "recipe": "./lib.json", "output": "lib" },
                        "web": { "fetch": "https://example.org/a", "hash": "" } },
        });
        match attributes {
            Some(attributes) => recipe["structuredAttrs"] = Value::from_iter(attributes),
            None => recipe["env"] = Value::from_iter(env),
        }
        recipe
    })
}

/// Returns the same value with the fields of every object in another order.
fn turned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.iter().rev().map(|(name, value)| (name.clone(), turned(value))).collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items.iter().map(turned).collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn the_order_of_fields_changes_nothing(value in recipe()) {
        let one = complete(&parse(value.to_string().as_bytes()).unwrap());
        let mut other = turned(&value);
        // The names of outputs are a set, too.
        if let Some(outputs) = other["outputs"].as_array_mut() {
            outputs.reverse();
        }
        let other = complete(&parse(format!("{other:#}").as_bytes()).unwrap());
        prop_assert_eq!(one.to_string(), other.to_string());
    }

    #[test]
    fn what_is_read_fulfils_the_schema(value in recipe()) {
        prop_assert!(VALIDATOR.is_valid(&value));
    }

    #[test]
    fn nothing_panics(text in "[{}\\[\\]\":, a-z$./\\\\]{0,60}") {
        let _ = (is_recipe(text.as_bytes()), parse(text.as_bytes()).is_ok());
    }
}
