//! Options as Nix reads and prints them, and what is wrong with those that nobody can read.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::error::Error as _;
use std::fs;

use serde_json::{Value, json};
use store_path::{Name, Placeholder, StoreDir, StorePath, placeholder};
use test_support::shared;

use super::*;
use crate::{Derivation, aterm, json as drv_json};

/// Reads what was printed, and prints what was read.
fn assert_both_directions(derivation: &Derivation, printed: &Value, case: &str) {
    let options = derivation.options(&StoreDir::default()).unwrap();
    let read: OptionsJson = serde_json::from_value(printed.clone()).unwrap();
    assert_eq!(read, OptionsJson::of(&options).unwrap(), "{case}");
    assert_eq!(options.to_json().unwrap(), *printed, "{case}");
}

#[test]
fn nix_reads_the_same_and_prints_the_same() {
    let Some(data) = shared("corpus/nix-golden/master/src/libstore-tests/data/derivation") else { return };
    for (kind, name, options) in [
        ("ia", "advanced-attributes", "all_set"),
        ("ia", "advanced-attributes-defaults", "defaults"),
        ("ia", "advanced-attributes-structured-attrs", "structuredAttrs_all_set"),
        ("ia", "advanced-attributes-structured-attrs-defaults", "structuredAttrs_defaults"),
        ("ca", "advanced-attributes", "all_set"),
        ("ca", "advanced-attributes-structured-attrs", "structuredAttrs_all_set"),
    ] {
        let data = data.join(kind);
        let printed = fs::read(data.join(format!("derivation-options/{options}.json"))).unwrap();
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        let drv_name: Name = name.parse().unwrap();
        let text = fs::read(data.join(format!("{name}.drv"))).unwrap();
        let from_text = aterm::parse(&text, &StoreDir::default(), &drv_name).unwrap();
        assert_both_directions(&from_text, &printed, name);
        let text = fs::read(data.join(format!("{name}.json"))).unwrap();
        let from_json = drv_json::parse(&text, &StoreDir::default()).unwrap().remove(0).1;
        assert_both_directions(&from_json, &printed, name);
    }
}

#[test]
fn fixtures_ask_for_everything() {
    for name in ["variables", "structured", "placeholders", "nothing", "nothing-structured"] {
        let file = test_support::read(&format!("options/{name}.json"));
        let derivation = drv_json::parse(&file, &StoreDir::default()).unwrap().remove(0).1;
        let options = derivation.options(&StoreDir::default()).unwrap().to_json().unwrap();
        let text = serde_json::to_string_pretty(&options).unwrap() + "\n";
        test_support::check(&format!("options/{name}.options.json"), text);
        assert_both_directions(&derivation, &options, name);
    }
}

/// A derivation with two outputs, and an input of which only a placeholder is known.
fn derivation(env: &[(&str, &[u8])]) -> Derivation {
    let json = json!({
        "name": "x", "system": "s", "builder": "/b", "outputs": { "out": {}, "dev": {} },
        "inputDrvs": { INPUT: ["lib"] },
    });
    let mut derivation =
        drv_json::parse(json.to_string().as_bytes(), &StoreDir::default()).unwrap().remove(0).1;
    derivation.env.extend(env.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())));
    derivation
}

const INPUT: &str = "/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep.drv";
const PATH: &str = "/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo";

fn read(env: &[(&str, &[u8])]) -> Result<Options, String> {
    let told = |error: OptionError| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let derivation = derivation(env);
    let options = derivation.options(&StoreDir::default()).map_err(told)?;
    options.check_outputs(&derivation).map_err(told)?;
    Ok(options)
}

fn structured(attributes: Value) -> Result<Options, String> {
    read(&[("__json", attributes.to_string().as_bytes())])
}

#[test]
fn what_is_absent_is_not_what_is_empty() {
    let check = |options: Options| match options.output_checks {
        OutputChecks::All(check) => check,
        OutputChecks::Each(mut checks) => checks.remove("out").unwrap(),
    };
    let absent = check(read(&[]).unwrap());
    assert_eq!((absent.allowed_references, absent.allowed_requisites), (None, None));
    let empty = check(read(&[("allowedReferences", b" \n"), ("allowedRequisites", b"")]).unwrap());
    assert_eq!(empty.allowed_references, Some(BTreeSet::new()));
    assert_eq!(empty.allowed_requisites, Some(BTreeSet::new()));
    let absent = check(structured(json!({ "outputChecks": { "out": {} } })).unwrap());
    assert_eq!(absent.allowed_references, None);
    let empty = check(structured(json!({ "outputChecks": { "out": { "allowedReferences": [] } } })).unwrap());
    assert_eq!(empty.allowed_references, Some(BTreeSet::new()));
}

#[test]
fn a_flag_is_the_word_1_or_the_value_true() {
    for (value, is_set) in [("1", true), ("", false), ("true", false), ("11", false), ("0", false)] {
        let options = read(&[("preferLocalBuild", value.as_bytes()), ("allowSubstitutes", value.as_bytes())]);
        let options = options.unwrap();
        assert_eq!((options.prefer_local_build, options.allow_substitutes), (is_set, is_set), "{value:?}");
    }
    let options = structured(json!({ "allowSubstitutes": false, "__noChroot": true })).unwrap();
    assert!(!options.allow_substitutes && options.no_chroot && !options.prefer_local_build);
    // A variable beside structured attributes is just a variable.
    let json = json!({}).to_string();
    assert!(!read(&[("__json", json.as_bytes()), ("__noChroot", b"1")]).unwrap().no_chroot);
}

#[test]
fn outputs_and_inputs_are_known_by_their_placeholders() {
    let drv: StorePath = INPUT.rsplit('/').next().unwrap().parse().unwrap();
    let lib = Placeholder::of_output(&drv, "lib").to_string();
    let own = placeholder("dev");
    let graph = format!("a {lib}/share/x b {PATH}/bin");
    let rule = format!("{own} out {lib} {PATH}");
    let options =
        read(&[("exportReferencesGraph", graph.as_bytes()), ("disallowedReferences", rule.as_bytes())]);
    let json = options.unwrap().to_json().unwrap();
    let foreign = json!({ "drvPath": drv.to_string(), "output": "lib" });
    let path = PATH.rsplit('/').next().unwrap();
    assert_eq!(json["exportReferencesGraph"], json!({ "a": [foreign], "b": [path] }));
    let own = |output: &str| json!({ "drvPath": "self", "output": output });
    let expected = json!([own("dev"), own("out"), path, foreign]);
    assert_eq!(json["outputChecks"]["forAllOutputs"]["disallowedReferences"], expected);
}

#[test]
fn nested_lists_of_graphs_are_flattened_and_other_forms_passed_over() {
    let options = structured(json!({ "exportReferencesGraph": { "g": [[PATH], []], "h": PATH } })).unwrap();
    let path = PATH.rsplit('/').next().unwrap();
    assert_eq!(options.to_json().unwrap()["exportReferencesGraph"], json!({ "g": [path], "h": [path] }));
    let options = structured(json!({ "exportReferencesGraph": ["g", PATH] })).unwrap();
    assert!(options.exports.is_empty());
    assert_eq!(options.warnings.len(), 1, "{:?}", options.warnings);
}

#[test]
fn attributes_in_the_wrong_place_are_told_of() {
    let options = structured(json!({
        "allowedReferences": [], "disallowedRequisites": 7, "maxSize": 1, "passAsFile": ["x"],
        "outputChecks": { "lib": {}, "out": {} },
    }));
    let warnings = options.unwrap().warnings.join("\n");
    for told in [
        "`outputChecks.OUTPUT.allowedReferences`",
        "`outputChecks.OUTPUT.disallowedRequisites`",
        "`outputChecks.OUTPUT.maxSize`",
        "`passAsFile`",
        "`outputChecks.lib`",
    ] {
        assert!(warnings.contains(told), "{told}: {warnings}");
    }
    assert_eq!(warnings.lines().count(), 5, "{warnings}");
    let options =
        read(&[("outputChecks", b""), ("unsafeDiscardReferences", b"1"), ("allowedReferences", b"")]);
    let options = options.unwrap();
    assert_eq!(options.warnings.len(), 2, "{:?}", options.warnings);
    assert!(options.unsafe_discard_references.is_empty());
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    for (attributes, told) in [
        (json!({ "__noChroot": "1" }), "`__noChroot` should be true or false, not a string"),
        (
            json!({ "requiredSystemFeatures": "kvm" }),
            "`requiredSystemFeatures` should be a list of strings, not a string",
        ),
        (json!({ "impureEnvVars": ["A", 1] }), "`impureEnvVars[1]` should be a string, not 1"),
        (json!({ "__sandboxProfile": ["x"] }), "`__sandboxProfile` should be a string, not a list"),
        (json!({ "outputChecks": [] }), "`outputChecks` should be an object, not a list"),
        (json!({ "outputChecks": { "out": true } }), "`outputChecks.out` should be an object, not true"),
        (
            json!({ "outputChecks": { "out": { "maxSize": -1 } } }),
            "`outputChecks.out.maxSize` should be a whole number of bytes, not -1",
        ),
        (
            json!({ "outputChecks": { "dev": { "maxClosureSize": 1.5 } } }),
            "`outputChecks.dev.maxClosureSize` should be",
        ),
        (
            json!({ "outputChecks": { "out": { "allowedReferences": null } } }),
            "`outputChecks.out.allowedReferences` should be a list of strings, not null",
        ),
        (
            json!({ "outputChecks": { "out": { "allowedRequisites": ["lib"] } } }),
            "`outputChecks.out.allowedRequisites` names the output `lib`, which there is not; its outputs are `dev`, `out`",
        ),
        (
            json!({ "outputChecks": { "out": { "disallowedReferences": ["out", "/nix/x"] } } }),
            "`outputChecks.out.disallowedReferences` names `/nix/x`, which is neither",
        ),
        (
            json!({ "unsafeDiscardReferences": { "out": 1 } }),
            "`unsafeDiscardReferences.out` should be true or false, not 1",
        ),
        (
            json!({ "exportReferencesGraph": { "g": [[PATH, {}]] } }),
            "`exportReferencesGraph.g[0][1]` should be a path or a list of paths, not an object",
        ),
        (json!({ "exportReferencesGraph": { "g": ["/etc"] } }), "`exportReferencesGraph` at `g`: "),
        (json!([]), "structured attributes in the variable `__json`: "),
    ] {
        let error = structured(attributes.clone()).expect_err(told);
        assert!(error.contains(told), "{attributes}: {error}");
    }
    let graph = |text: &str| read(&[("exportReferencesGraph", text.as_bytes())]).expect_err("it is wrong");
    assert!(graph("a").contains("odd number of words: it ends with the file `a`"));
    assert!(graph(&format!("../a {PATH}")).contains("file name `../a`"));
    assert!(graph(&format!("1a {PATH}")).contains("file name `1a`"));
    assert!(graph("a dev").contains("`exportReferencesGraph` at `a`: "));
    assert!(graph("a /nix/store").contains("`exportReferencesGraph` at `a`: "));
    let rule = read(&[("disallowedRequisites", b"lib")]).expect_err("it is no output");
    assert!(
        rule.contains("`disallowedRequisites` names the output `lib`, which there is not; its outputs are"),
        "{rule}"
    );
}

#[test]
fn what_is_not_text_is_kept_and_not_printed_as_json() {
    let options = read(&[("impureEnvVars", b"A\xff B")]).unwrap();
    assert_eq!(options.impure_env_vars.len(), 2);
    assert!(matches!(options.to_json(), Err(OptionError::NotText { attribute: "impureEnvVars", .. })));
}
