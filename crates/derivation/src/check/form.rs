//! The rules that need nothing but the derivation.

use std::mem::discriminant;

use store_path::{HashAlgorithm, Method};

use super::CheckError;
use crate::{Derivation, Output, OutputName};

pub(super) fn check(derivation: &Derivation) -> Result<(), CheckError> {
    let (first, kind) = derivation.outputs.first_key_value().ok_or(CheckError::NoOutputs)?;
    for (name, output) in &derivation.outputs {
        if !is_same_kind(kind, output) {
            return Err(CheckError::MixedOutputs { first: first.clone(), second: name.clone() });
        }
        check_output(name, output)?;
    }
    check_inputs(derivation)
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

fn check_inputs(derivation: &Derivation) -> Result<(), CheckError> {
    derivation.input_drvs.iter().try_for_each(|(input, wanted)| {
        if !input.is_derivation() {
            return Err(CheckError::NotDerivation { input: input.clone() });
        }
        if wanted.outputs.is_empty() && wanted.dynamic.is_empty() {
            return Err(CheckError::NothingWanted { input: input.clone() });
        }
        Ok(())
    })
}
