//! Paths that some releases of Nix would compute instead of ours.

use std::collections::BTreeMap;

use store_path::{NameError, StoreDir, StorePath};

use crate::aterm::Text;
use crate::model::Bytes;
use crate::modulo::Replaced;
use crate::{Derivation, Output, OutputName};

/// Why releases of Nix disagree about the paths of a derivation's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// Two inputs have one hash, so that they become one input in the text that is hashed. Which outputs are wanted
    /// of that: those wanted of either, or only those wanted of the last.
    Collision,
    /// A variable that is named after an output is absent, and is set once the path is known. Whether it is in the
    /// text that is hashed; if it is not, the same release computes another path when it looks again.
    AbsentVariable,
}

impl Disagreement {
    /// Returns which releases compute other paths than we do.
    pub fn releases(self) -> &'static str {
        match self {
            Self::Collision => "Nix up to 2.7, and 2.35",
            Self::AbsentVariable => "a Nix that fills in paths itself (`nix derivation add`)",
        }
    }
}

/// What some releases of Nix make of a derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Why they differ, and which they are.
    pub disagreement: Disagreement,
    /// The path that each output has there.
    pub outputs: BTreeMap<OutputName, StorePath>,
}

/// Asked before absent variables are set.
pub(super) fn without_variables<B: Bytes>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
    text: &Text<'_>,
) -> Result<Option<Elsewhere>, NameError> {
    let is_absent = |(name, output): (&OutputName, &Output)| {
        *output == Output::Deferred && !derivation.env.contains_key(name.as_str().as_bytes())
    };
    if !derivation.outputs.iter().any(is_absent) {
        return Ok(None);
    }
    outputs(derivation, store_dir, replaced, text, Disagreement::AbsentVariable)
}

/// Asked once all paths are settled.
pub(super) fn after_collision<B: Bytes>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
    text: &Text<'_>,
) -> Result<Option<Elsewhere>, NameError> {
    let is_named_by_inputs = |output: &Output| matches!(output, Output::InputAddressed(_));
    match replaced.last_wins() {
        Some(other) if derivation.outputs.values().all(is_named_by_inputs) => {
            outputs(derivation, store_dir, &other, text, Disagreement::Collision)
        }
        _ => Ok(None),
    }
}

fn outputs<B: Bytes>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
    text: &Text<'_>,
    disagreement: Disagreement,
) -> Result<Option<Elsewhere>, NameError> {
    let Some(hash) = replaced.output_hash(text) else { return Ok(None) };
    let path = |name: &OutputName| {
        let path = store_dir.output_path(name.as_str(), &hash, &derivation.name)?;
        Ok((name.clone(), path))
    };
    let outputs = derivation.outputs.keys().map(path).collect::<Result<_, NameError>>()?;
    Ok(Some(Elsewhere { disagreement, outputs }))
}

#[cfg(test)]
mod tests {
    use store_path::StoreDir;

    use super::*;
    use crate::{Checked, InputOutputs, Modulo, check, json};

    fn parse(json: &str) -> Derivation {
        json::parse(json.as_bytes(), &StoreDir::default()).unwrap().remove(0).1
    }

    fn fixed(modulo: &mut Modulo, way: &str) -> Checked {
        let json = format!(
            r#"{{ "name": "source", "system": "s", "builder": "{way}", "outputs": {{ "out": {{ "hashAlgo": "md5",
                "hash": "00000000000000000000000000000000" }} }} }}"#
        );
        check(parse(&json), modulo).unwrap()
    }

    fn with_inputs(name: &str, outputs: &[&str], inputs: &[(&Checked, &[&str])]) -> Derivation {
        let mut derivation = parse(&format!(
            r#"{{ "name": "{name}", "system": "s", "builder": "b", "outputs": {{ "out": {{}} }} }}"#
        ));
        derivation.outputs = outputs.iter().map(|name| (name.parse().unwrap(), Output::Deferred)).collect();
        derivation.env = outputs.iter().map(|name| (name.as_bytes().to_vec(), Vec::new())).collect();
        let wanted = |names: &[&str]| InputOutputs {
            outputs: names.iter().map(|name| name.parse().unwrap()).collect(),
            ..InputOutputs::default()
        };
        derivation.input_drvs =
            inputs.iter().map(|(input, names)| (input.path().clone(), wanted(names))).collect();
        derivation
    }

    /// Two that are equal but for how their source is made, the one with the smaller path first.
    fn twins(modulo: &mut Modulo) -> [Checked; 2] {
        let mut twins = ["first", "second"].map(|way| {
            let source = fixed(modulo, way);
            check(with_inputs("twin", &["out", "dev"], &[(&source, &["out"])]), modulo).unwrap()
        });
        twins.sort_by_key(|twin| twin.path().clone());
        assert_ne!(twins[0].path(), twins[1].path());
        assert_eq!(twins[0].output_paths(), twins[1].output_paths());
        twins
    }

    #[test]
    fn the_last_of_two_inputs_with_one_hash_wins_there() {
        let mut modulo = Modulo::new(StoreDir::default());
        let [first, last] = twins(&mut modulo);
        let mut paths = |inputs: &[(&Checked, &[&str])]| {
            let checked = check(with_inputs("user", &["out"], inputs), &mut modulo).unwrap();
            let theirs: Vec<_> = checked.elsewhere().to_vec();
            (checked.output_paths().into_values().next().unwrap().unwrap(), theirs)
        };
        let (split, theirs) = paths(&[(&first, &["out"]), (&last, &["dev"])]);
        let (joined, none) = paths(&[(&last, &["dev", "out"])]);
        assert_eq!(split, joined, "here, they become one");
        assert_eq!(none, []);
        // There it is as if only the last one were an input.
        let (only_last, none) = paths(&[(&last, &["dev"])]);
        assert_eq!(none, []);
        let [Elsewhere { disagreement: Disagreement::Collision, outputs }] = &theirs[..] else {
            panic!("{theirs:?}")
        };
        assert_eq!(outputs.values().collect::<Vec<_>>(), [&only_last]);
        // Where both want the same, nobody loses anything.
        assert_eq!(paths(&[(&first, &["out"]), (&last, &["out"])]).1, []);
    }

    #[test]
    fn a_variable_that_is_there_from_the_start_is_no_matter() {
        let mut modulo = Modulo::new(StoreDir::default());
        let mut derivation = with_inputs("x", &["out"], &[]);
        assert_eq!(check(derivation.clone(), &mut modulo).unwrap().elsewhere(), []);
        derivation.env.clear();
        let checked = check(derivation, &mut modulo).unwrap();
        let [theirs] = checked.elsewhere() else { panic!("{checked:?}") };
        assert_eq!(theirs.disagreement, Disagreement::AbsentVariable);
        assert_ne!(theirs.outputs.values().next(), checked.output_paths().values().next().unwrap().as_ref());
    }
}
