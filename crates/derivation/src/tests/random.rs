//! Whatever comes in: no panic, and nothing lost.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use store_path::{Digest, Hash, HashAlgorithm, Method, Name, StoreDir, StorePath};

use super::layouts;
use crate::json::{self, Format, PrintError};
use crate::{CheckError, ClosureError, Derivation, InputOutputs, Output, OutputName, aterm, check_closure};

fn name() -> impl Strategy<Value = Name> {
    "[a-z+_?=][a-zA-Z0-9+._?=-]{0,8}".prop_map(|name| name.parse().unwrap())
}

fn output_name() -> impl Strategy<Value = OutputName> {
    "[a-z]{1,3}".prop_map(|name| name.parse().unwrap())
}

fn path(suffix: &'static str) -> impl Strategy<Value = StorePath> {
    ("[0-9a-df-np-sv-z]{31}", name()).prop_map(move |(digest, name)| {
        // The first digit holds three bits less than the others.
        let digest: Digest = format!("0{digest}").parse().unwrap();
        StorePath::from_parts(digest, format!("{name}{suffix}").parse().unwrap())
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..12), "[a-z\"\\\\\n\r\t,()]{0,12}".prop_map(String::into_bytes)]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    any::<String>().prop_map(String::into_bytes)
}

fn output() -> impl Strategy<Value = Output> {
    let method = prop_oneof![Just(Method::Flat), Just(Method::Nar), Just(Method::Text), Just(Method::Git)];
    let algorithm = Just(HashAlgorithm::Sha256);
    prop_oneof![
        path("").prop_map(Output::InputAddressed),
        Just(Output::Deferred),
        (method.clone(), algorithm).prop_map(|(method, algorithm)| Output::Floating { method, algorithm }),
        (method, algorithm).prop_map(|(method, algorithm)| Output::Impure { method, algorithm }),
    ]
}

fn wanted() -> impl Strategy<Value = InputOutputs> {
    let leaf = vec(output_name(), 1..3).prop_map(|outputs| InputOutputs {
        outputs: outputs.into_iter().collect(),
        dynamic: Default::default(),
    });
    leaf.prop_recursive(3, 8, 2, |inner| {
        (vec(output_name(), 1..3), btree_map(output_name(), inner, 0..2)).prop_map(|(outputs, dynamic)| {
            InputOutputs { outputs: outputs.into_iter().collect(), dynamic: dynamic.into_iter().collect() }
        })
    })
}

fn derivation<S: Strategy<Value = Vec<u8>>>(value: fn() -> S) -> impl Strategy<Value = Derivation> {
    let system = "[a-z0-9_ \n\"\\\\-]{0,8}".prop_map(String::into_bytes);
    let inputs = (btree_map(path(".drv"), wanted(), 0..4), vec(path(""), 0..4));
    let program = (system, value(), vec(value(), 0..4), btree_map(value(), value(), 0..6));
    (name(), btree_map(output_name(), output(), 0..4), inputs, program).prop_map(
        |(name, outputs, (input_drvs, input_srcs), (system, builder, args, env))| Derivation {
            name,
            outputs: outputs.into_iter().collect(),
            input_drvs: input_drvs.into_iter().collect(),
            input_srcs: input_srcs.into_iter().collect::<BTreeSet<_>>(),
            system,
            builder,
            args,
            env: env.into_iter().collect(),
        },
    )
}

proptest! {
    #[test]
    fn the_text_holds_everything(derivation in derivation(bytes)) {
        let text = aterm::print(&derivation, &StoreDir::default());
        let read = aterm::parse(&text, &StoreDir::default(), &derivation.name);
        // Where it is not clear what is escaped, nothing is seen.
        let is_clear = !text.iter().any(|byte| b"\n\r\t".contains(byte));
        prop_assert_eq!(layouts::is_seen(&text, &derivation.name), is_clear);
        prop_assert_eq!(read.unwrap(), derivation);
    }

    #[test]
    fn json_holds_everything_that_is_text(derivation in derivation(text)) {
        let store_dir = StoreDir::default();
        let path: StorePath = format!("00000000000000000000000000000000-{}.drv", derivation.name).parse().unwrap();
        for format in Format::ALL {
            let printed = match json::print(format, &store_dir, &[(path.clone(), &derivation)]) {
                Ok(printed) => printed,
                // A later form can hold it.
                Err(PrintError::Lacked { .. }) if format.or_later([&derivation]) > format => continue,
                Err(error) => panic!("{error}"),
            };
            let read = json::parse(printed.as_bytes(), &store_dir).unwrap();
            prop_assert_eq!(read, vec![(Some(path.clone()), derivation.clone())]);
        }
    }

    #[test]
    fn spoilt_text_never_panics(derivation in derivation(bytes), place: prop::sample::Index, byte: u8, cut: bool) {
        let mut text = aterm::print(&derivation, &StoreDir::default());
        let place = place.index(text.len());
        if cut { text.truncate(place) } else { text[place] = byte }
        layouts::is_seen(&text, &derivation.name);
        if let Ok(read) = aterm::parse(&text, &StoreDir::default(), &derivation.name) {
            let printed = aterm::print(&read, &StoreDir::default());
            prop_assert_eq!(aterm::parse(&printed, &StoreDir::default(), &derivation.name).unwrap(), read);
        }
    }

    #[test]
    fn spoilt_json_never_panics(derivation in derivation(text), place: prop::sample::Index, byte in "[\\[\\]{}\":,a0]") {
        let store_dir = StoreDir::default();
        let path: StorePath = format!("00000000000000000000000000000000-{}.drv", derivation.name).parse().unwrap();
        let mut text = json::print(Format::Nix2_18, &store_dir, &[(path, &derivation)]).unwrap().into_bytes();
        let place = place.index(text.len());
        text[place] = byte.as_bytes()[0];
        if let Ok(read) = json::parse(&text, &store_dir) {
            let _ = check_closure(read, &store_dir, &mut nothing);
        }
    }
}

fn nothing(_: &StorePath) -> Result<Derivation, std::io::Error> {
    Err(std::io::ErrorKind::NotFound.into())
}

fn shell(name: &str) -> Derivation {
    Derivation {
        name: name.parse().unwrap(),
        outputs: [("out".parse().unwrap(), Output::Deferred)].into_iter().collect(),
        input_drvs: Default::default(),
        input_srcs: BTreeSet::new(),
        system: b"x86_64-linux".to_vec(),
        builder: b"/bin/sh".to_vec(),
        args: Vec::new(),
        env: Default::default(),
    }
}

fn label(number: usize) -> StorePath {
    format!("{number:032}-x.drv").parse().unwrap()
}

fn want_out() -> InputOutputs {
    InputOutputs { outputs: ["out".parse().unwrap()].into_iter().collect(), dynamic: Default::default() }
}

#[test]
fn nesting_does_not_use_up_the_stack() {
    let store_dir = StoreDir::default();
    let open = "[".repeat(1_000_000);
    assert!(json::parse(open.as_bytes(), &store_dir).is_err());
    assert!(json::parse(format!("{{\"env\":{open}").as_bytes(), &store_dir).is_err());
    assert!(json::parse("{\"derivations\":".repeat(1_000_000).as_bytes(), &store_dir).is_err());
    let mut deep = shell("deep");
    deep.env.insert(b"__json".to_vec(), open.clone().into_bytes());
    assert!(deep.options(&store_dir).is_err());
    let dynamic = format!("DrvWithVersion(\"xp-dyn-drv\",[],[(\"{}/{}\",", store_dir, label(1));
    let dynamic = dynamic + &"([],[(\"out\",".repeat(100_000);
    assert!(aterm::parse(dynamic.as_bytes(), &store_dir, &deep.name).is_err());
}

/// Ten times as long as would fit on a test's stack, were each link a call.
#[test]
fn long_chains_do_not_use_up_the_stack() {
    const LENGTH: usize = 20_000;
    let chain = (0..LENGTH).rev().map(|number| {
        let mut derivation = shell("x");
        if number > 0 {
            derivation.input_drvs.insert(label(number - 1), want_out());
        }
        (Some(label(number)), derivation)
    });
    let store_dir = StoreDir::default();
    let none = &mut |_: &StorePath| -> Result<Derivation, Infallible> { panic!("all are there") };
    let checked = check_closure(chain.collect(), &store_dir, none).unwrap();
    assert_eq!(checked.len(), LENGTH);
    // The same chain in a store, of which only the end is given.
    let stored: BTreeMap<_, _> = checked.into_iter().map(|drv| (drv.path().clone(), drv)).collect();
    let inputs: BTreeSet<_> = stored.values().flat_map(|drv| drv.derivation().input_drvs.keys()).collect();
    let end = stored.keys().find(|path| !inputs.contains(path)).unwrap();
    let known = &mut |path: &StorePath| Ok::<_, Infallible>(stored[path].derivation().clone());
    let list = vec![(Some(end.clone()), stored[end].derivation().clone())];
    assert_eq!(check_closure(list, &store_dir, known).unwrap()[0].path(), end);
}

#[test]
fn circles_are_refused() {
    let store_dir = StoreDir::default();
    let circle = |number: usize| {
        let mut derivation = shell("x");
        derivation.input_drvs.insert(label((number + 1) % 3), want_out());
        (Some(label(number)), derivation)
    };
    let given = check_closure((0..3).map(circle).collect(), &store_dir, &mut nothing);
    assert!(matches!(given, Err(ClosureError::Cycle { .. })));
    let mut stored = |path: &StorePath| {
        let number = (0..3).find(|number| label(*number) == *path).unwrap();
        Ok::<_, Infallible>(circle(number).1)
    };
    let mut start = shell("x");
    start.input_drvs.insert(label(0), want_out());
    let known = check_closure(vec![(None, start)], &store_dir, &mut stored);
    assert!(matches!(known, Err(ClosureError::Cycle { .. })));
}

#[test]
fn paths_that_are_not_their_own_are_refused() {
    let store_dir = StoreDir::default();
    let first = check_closure(vec![(None, shell("x"))], &store_dir, &mut nothing).unwrap().remove(0);
    let wrong = vec![(Some(label(0)), first.derivation().clone())];
    let Err(ClosureError::Path { stated, computed }) = check_closure(wrong, &store_dir, &mut nothing) else {
        panic!("nothing was left out, so the path could have been right");
    };
    assert_eq!((stated, computed), (store_dir.print(&label(0)), store_dir.print(first.path())));
}

#[test]
fn rules_of_outputs_are_kept() {
    let refuse = |outputs: Vec<(&str, Output)>| {
        let mut derivation = shell("x");
        derivation.outputs =
            outputs.into_iter().map(|(name, output)| (name.parse().unwrap(), output)).collect();
        match check_closure(vec![(None, derivation)], &StoreDir::default(), &mut nothing) {
            Err(ClosureError::Check { source, .. }) => source,
            other => panic!("it breaks a rule: {other:?}"),
        }
    };
    let hash = Hash::of(HashAlgorithm::Sha1, b"");
    let fixed = Output::Fixed { method: Method::Flat, hash, path: label(0) };
    let floating = |algorithm| Output::Floating { method: Method::Nar, algorithm };
    assert!(matches!(refuse(vec![]), CheckError::NoOutputs));
    let mixed = refuse(vec![("a", Output::Deferred), ("b", Output::InputAddressed(label(0)))]);
    assert!(matches!(mixed, CheckError::MixedOutputs { .. }));
    let mixed = refuse(vec![("a", floating(HashAlgorithm::Sha1)), ("b", floating(HashAlgorithm::Sha256))]);
    assert!(matches!(mixed, CheckError::MixedOutputs { .. }));
    assert!(matches!(refuse(vec![("dev", fixed.clone())]), CheckError::FixedOutput { .. }));
    assert!(matches!(
        refuse(vec![("a", fixed.clone()), ("out", fixed.clone())]),
        CheckError::FixedOutput { .. }
    ));
    assert!(matches!(refuse(vec![("out", fixed)]), CheckError::OutputPath { .. }));
    let text = Output::Floating { method: Method::Text, algorithm: HashAlgorithm::Sha1 };
    assert!(matches!(refuse(vec![("out", text)]), CheckError::TextAlgorithm { .. }));
}
