//! Of a `.drv` file no more is read than paths depend on; what is said about it is the same as if all were.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use store_path::{Hash, HashAlgorithm, Method, Name, StoreDir, StorePath};

use super::review::Alone;
use crate::model::fixed_path;
use crate::{
    Derivation, Finding, InputOutputs, Output, OutputName, Source, SourceForm, aterm, check_closure, review,
};

/// What one of some derivations is like.
#[derive(Clone, Debug)]
struct Plan {
    /// Names of outputs, and of which kind they are.
    outputs: Vec<(&'static str, u8)>,
    /// Others by their numbers, which may come later; what is wanted of each, and how it is named.
    inputs: Vec<(usize, Vec<&'static str>, u8)>,
    env: BTreeMap<&'static str, &'static str>,
    given: Given,
    spoilt: Spoilt,
}

/// Under which path it is given.
#[derive(Clone, Copy, Debug)]
enum Given {
    Own,
    Label(usize),
    None,
    /// It lies in the store only.
    Stored,
}

#[derive(Clone, Debug)]
enum Spoilt {
    Not,
    Byte(Index, u8),
    Added(Index, u8),
    Cut(Index),
    /// A member of a list is put before the one before it.
    Swapped(Index),
    Twice(Index),
    /// Its variables are emptied.
    Emptied,
    /// Its paths are taken out.
    Open,
}

const NAMES: [&str; 4] = ["dev", "out", "o", "outx"];

fn plan() -> impl Strategy<Value = Plan> {
    let kind = prop_oneof![4 => Just(0_u8), 1 => Just(1), 3 => 2..6_u8];
    // Most are of one kind.
    let outputs = prop_oneof![
        4 => kind.prop_map(|kind| vec![("out", kind)]),
        3 => (vec(select(&NAMES[..]), 1..4), prop_oneof![3 => Just(0_u8), 1 => 0..5_u8])
            .prop_map(|(names, kind)| names.into_iter().map(|name| (name, kind)).collect()),
        1 => vec((select(&NAMES[..]), 0..6_u8), 0..3),
    ];
    let wanted = prop_oneof![5 => Just(vec!["out"]), 1 => vec(select(&NAMES[..]), 0..3)];
    let inputs = vec((0..6_usize, wanted, 0..10_u8), 0..3);
    let values = select(&["", "/nix/store", "a\"\\\n", "{\"a\":1}", "{"][..]);
    let variables = select(&["a", "dev", "out", "o", "ou", "outx", "zz", "__json", "\n"][..]);
    let env = proptest::collection::btree_map(variables, values, 0..5);
    let given = prop_oneof![
        6 => Just(Given::Own),
        2 => (0..6_usize).prop_map(Given::Label),
        1 => Just(Given::None),
        2 => Just(Given::Stored),
    ];
    let byte = select(&b"\\\"n\n\ta0,()[]z"[..]);
    let spoilt = prop_oneof![
        6 => Just(Spoilt::Not),
        1 => (any::<Index>(), byte.clone()).prop_map(|(place, byte)| Spoilt::Byte(place, byte)),
        1 => (any::<Index>(), byte).prop_map(|(place, byte)| Spoilt::Added(place, byte)),
        1 => any::<Index>().prop_map(Spoilt::Cut),
        1 => any::<Index>().prop_map(Spoilt::Swapped),
        1 => any::<Index>().prop_map(Spoilt::Twice),
        1 => Just(Spoilt::Emptied),
        1 => Just(Spoilt::Open),
    ];
    (outputs, inputs, env, given, spoilt).prop_map(|(outputs, inputs, env, given, spoilt)| Plan {
        outputs,
        inputs,
        env,
        given,
        spoilt,
    })
}

fn label(number: usize) -> StorePath {
    format!("{number:032}-n{number}.drv").parse().unwrap()
}

fn output(derivation: &Name, name: &OutputName, kind: u8) -> Output {
    let (method, algorithm) = (Method::Nar, HashAlgorithm::Sha256);
    match kind {
        0 | 1 => Output::Deferred,
        2 => Output::Floating { method, algorithm },
        3 => Output::Impure { method, algorithm },
        4 => Output::InputAddressed("0zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-x".parse().unwrap()),
        _ => {
            let (store_dir, hash) = (StoreDir::default(), Hash::of(algorithm, b""));
            let path = fixed_path(&store_dir, derivation, name, method, &hash).unwrap();
            Output::Fixed { method, hash, path }
        }
    }
}

fn derivation(number: usize, plan: &Plan, names: &[StorePath]) -> Derivation {
    let name: Name = format!("n{number}").parse().unwrap();
    let named = |(output_name, kind): &(&str, u8)| {
        let output_name = output_name.parse().unwrap();
        let output = output(&name, &output_name, *kind);
        (output_name, output)
    };
    let mut input_drvs = BTreeMap::new();
    let mut input_srcs = BTreeSet::new();
    for (input, wanted, how) in &plan.inputs {
        let path = match names.get(*input) {
            Some(path) => path.clone(),
            // Of those that come later only labels are known, and few are named.
            None if *how < 8 => continue,
            None => label(*input),
        };
        let wanted = InputOutputs {
            outputs: wanted.iter().map(|name| name.parse().unwrap()).collect(),
            ..Default::default()
        };
        match how % 5 {
            0 => drop(input_srcs.insert(path)),
            1 => {
                let dynamic = [("out".parse().unwrap(), wanted)].into_iter().collect();
                input_drvs.insert(path, InputOutputs { dynamic, ..Default::default() });
            }
            _ => drop(input_drvs.insert(path, wanted)),
        }
    }
    let env = plan.env.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let mut derivation = Derivation {
        name: name.clone(),
        outputs: plan.outputs.iter().map(named).collect(),
        input_drvs: input_drvs.into_iter().collect(),
        input_srcs,
        system: b"s".to_vec(),
        builder: b"b".to_vec(),
        args: vec![b"-c".to_vec(), b"\"$out\"\n".to_vec()],
        env: env.collect(),
    };
    // So that most are right before they are spoilt.
    if plan.outputs.iter().all(|(_, kind)| *kind == 0) {
        let empty = derivation.outputs.keys().map(|name| (name.as_str().as_bytes().to_vec(), Vec::new()));
        derivation.env.extend(empty.collect::<Vec<_>>());
    }
    derivation
}

fn spoil(text: &mut Vec<u8>, derivation: &Derivation, spoilt: &Spoilt) {
    let length = text.len();
    match spoilt {
        Spoilt::Not => {}
        Spoilt::Byte(place, byte) => text[place.index(length)] = *byte,
        Spoilt::Added(place, byte) => text.insert(place.index(length), *byte),
        Spoilt::Cut(place) => text.truncate(place.index(length)),
        Spoilt::Swapped(place) => swap(text, *place, |left, right| [right, b",", left].concat()),
        Spoilt::Twice(place) => swap(text, *place, |left, right| [left, b",", right, b",", right].concat()),
        Spoilt::Emptied | Spoilt::Open => {
            let mut open = derivation.clone();
            for (name, output) in &mut open.outputs.iter_mut() {
                if let Some(value) = open.env.get_mut(name.as_str().as_bytes()) {
                    value.clear();
                }
                if matches!((spoilt, &output), (Spoilt::Open, Output::InputAddressed(_))) {
                    *output = Output::Deferred;
                }
            }
            *text = aterm::print(&open, &StoreDir::default());
        }
    }
}

/// Writes two members that follow each other in another way.
fn swap(text: &mut Vec<u8>, place: Index, write: impl Fn(&[u8], &[u8]) -> Vec<u8>) {
    let pieces: Vec<&[u8]> = text.split(|byte| *byte == b'(').collect();
    if pieces.len() < 4 {
        return;
    }
    let at = 2 + place.index(pieces.len() - 3);
    let [left, right] = [pieces[at], pieces[at + 1]].map(|piece| piece.strip_suffix(b",").unwrap_or(piece));
    let end = right.iter().position(|byte| *byte == b')').map_or(right.len(), |end| end + 1);
    let (right, rest) = right.split_at(end);
    let middle = write(&[b"(", left].concat(), &[b"(", right].concat());
    let before = pieces[..at].join(&b'(');
    let after: Vec<u8> = pieces[at + 2..].iter().flat_map(|piece| [b"(", *piece].concat()).collect();
    *text = [before, middle, rest.to_vec(), after].concat();
}

struct Scene {
    store: BTreeMap<StorePath, Derivation>,
    files: Vec<(Vec<u8>, SourceForm)>,
}

fn scene(plans: &[Plan]) -> Scene {
    let store_dir = StoreDir::default();
    let mut all: BTreeMap<StorePath, Derivation> = BTreeMap::new();
    let (mut names, mut files, mut store) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (number, plan) in plans.iter().enumerate() {
        let raw = derivation(number, plan, &names);
        let known = &mut |path: &StorePath| all.get(path).cloned().ok_or_else(missing);
        let (own, derivation) = match check_closure(vec![(None, raw.clone())], &store_dir, known) {
            Ok(checked) => (checked[0].path().clone(), checked[0].derivation().clone()),
            Err(_) => (crate::own_path(&raw, &store_dir).unwrap(), raw),
        };
        let mut text = aterm::print(&derivation, &store_dir);
        spoil(&mut text, &derivation, &plan.spoilt);
        let path = match plan.given {
            Given::Own | Given::Stored => Some(own.clone()),
            Given::Label(number) => Some(label(number)),
            Given::None => None,
        };
        names.push(path.clone().unwrap_or_else(|| own.clone()));
        match plan.given {
            Given::Stored => drop(store.insert(own.clone(), derivation.clone())),
            _ => files.push((text, SourceForm::Aterm { name: derivation.name.clone(), path })),
        }
        // What names a label has the paths that follow from that, which are not right.
        all.insert(names[number].clone(), derivation.clone());
        all.insert(own, derivation);
    }
    Scene { store, files }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Scene {
    fn findings(&self, is_whole: bool) -> Vec<Vec<Finding>> {
        let store_dir = StoreDir::default();
        let sources = self.files.iter().map(|(text, form)| Source { text, form: form.clone() });
        let read = if is_whole { Source::read_whole } else { Source::read };
        let files = sources.map(|source| read(source, &store_dir)).collect();
        let known = &mut |path: &StorePath| self.store.get(path).cloned().ok_or_else(missing);
        review(files, &store_dir, known, &Alone)
    }
}

proptest! {

    #[test]
    fn the_same_is_said_of_what_is_read_in_part(plans in vec(plan(), 1..7)) {
        let scene = scene(&plans);
        prop_assert_eq!(scene.findings(false), scene.findings(true));
    }
}
