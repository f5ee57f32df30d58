//! The rules that need nothing but the derivation.

use std::mem::discriminant;

use store_path::{HashAlgorithm, Method};

use super::CheckError;
use crate::{Derivation, Output, OutputName};

/// Returns all rules that are broken.
pub(super) fn problems<B>(derivation: &Derivation<B>) -> Vec<CheckError> {
    let mut problems = Vec::new();
    let Some((first, kind)) = derivation.outputs.first() else {
        problems.push(CheckError::NoOutputs);
        return problems;
    };
    for (name, output) in &derivation.outputs {
        if !is_same_kind(kind, output) {
            problems.push(CheckError::MixedOutputs { first: first.clone(), second: name.clone() });
        }
        problems.extend(check_output(name, output).err());
    }
    for (input, wanted) in &derivation.input_drvs {
        if !input.is_derivation() {
            problems.push(CheckError::NotDerivation { input: input.clone() });
        }
        if wanted.outputs.is_empty() && wanted.dynamic.is_empty() {
            problems.push(CheckError::NothingWanted { input: input.clone() });
        }
    }
    problems
}

/// Floating outputs are moved to their places together, so they have to be hashed alike.
fn is_same_kind(left: &Output, right: &Output) -> bool {
    discriminant(left) == discriminant(right) && unpromised_algorithm(left) == unpromised_algorithm(right)
}

fn unpromised_algorithm(output: &Output) -> Option<HashAlgorithm> {
    match output {
        Output::Floating { algorithm, .. } | Output::Impure { algorithm, .. } => Some(*algorithm),
        Output::InputAddressed(_) | Output::Fixed { .. } | Output::Deferred => None,
    }
}

fn check_output(name: &OutputName, output: &Output) -> Result<(), CheckError> {
    let (method, algorithm) = match output {
        Output::Fixed { .. } if name.as_str() != "out" => {
            return Err(CheckError::FixedOutput { output: name.clone() });
        }
        Output::Fixed { method, hash, .. } => (*method, hash.algorithm()),
        Output::Floating { method, algorithm } | Output::Impure { method, algorithm } => {
            (*method, *algorithm)
        }
        Output::InputAddressed(_) | Output::Deferred => return Ok(()),
    };
    if method == Method::Text && algorithm != HashAlgorithm::Sha256 {
        return Err(CheckError::TextAlgorithm { output: name.clone() });
    }
    Ok(())
}
