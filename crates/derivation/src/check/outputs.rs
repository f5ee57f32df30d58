//! The paths of the outputs, and the variables that tell them to the builder.

use store_path::{Hash, Method, StoreDir, StorePath};

use super::CheckError;
use crate::aterm::Text;
use crate::model::{Bytes, fixed_path};
use crate::modulo::Replaced;
use crate::{Derivation, Output, OutputName};

/// Fills in what is absent, holds the rest against what it should be, and returns whether anything was absent, or
/// all that is wrong. `text` is that of the derivation before.
pub(super) fn settle<B: Bytes>(
    derivation: &mut Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
    text: &Text<'_>,
) -> Result<bool, Vec<CheckError>> {
    match derivation.outputs.first() {
        Some((name, Output::Fixed { method, hash, .. })) => {
            let (name, method, hash) = (name.clone(), *method, *hash);
            settle_fixed(derivation, store_dir, &name, method, &hash)
        }
        Some((_, Output::InputAddressed(_))) => verify(derivation, store_dir, replaced, text).map(|()| false),
        Some((_, Output::Deferred)) => fill_in(derivation, store_dir, replaced),
        Some((_, Output::Floating { .. } | Output::Impure { .. })) | None => Ok(false),
    }
}

/// A fixed output's path cannot be absent, since the hash alone decides it; but its variable can.
fn settle_fixed<B: Bytes>(
    derivation: &mut Derivation<B>,
    store_dir: &StoreDir,
    name: &OutputName,
    method: Method,
    hash: &Hash,
) -> Result<bool, Vec<CheckError>> {
    let computed = fixed_path(store_dir, &derivation.name, name, method, hash).map_err(one)?;
    check_path(derivation, store_dir, name, &computed).map_err(one)?;
    set_variable(derivation, name, store_dir.print(&computed)).map_err(one)
}

fn one(problem: impl Into<CheckError>) -> Vec<CheckError> {
    vec![problem.into()]
}

fn verify<B: Bytes>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
    text: &Text<'_>,
) -> Result<(), Vec<CheckError>> {
    let Some(hash) = replaced.output_hash(text) else {
        return Err(one(too_early(derivation, store_dir)));
    };
    let mut problems = Vec::new();
    for name in derivation.outputs.keys() {
        problems.extend(verify_output(derivation, store_dir, name, &hash).err());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Of a wrong path and a variable that repeats it, the path alone is told.
fn verify_output<B: Bytes>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    name: &OutputName,
    hash: &Hash,
) -> Result<(), CheckError> {
    let computed = store_dir.output_path(name.as_str(), hash, &derivation.name)?;
    check_path(derivation, store_dir, name, &computed)?;
    let expected = store_dir.print(&computed);
    match derivation.env.get(name.as_str().as_bytes()) {
        Some(found) if found.as_ref() == expected.as_bytes() => Ok(()),
        Some(found) => Err(wrong_variable(name, found.as_ref(), expected)),
        None => Err(CheckError::NoVariable { output: name.clone(), expected }),
    }
}

fn fill_in<B: Bytes>(
    derivation: &mut Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
) -> Result<bool, Vec<CheckError>> {
    if replaced.is_deferred() {
        return Ok(false);
    }
    let names: Vec<OutputName> = derivation.outputs.keys().cloned().collect();
    // The variables are part of the hash, so all have to be there before it is made.
    let env = &mut derivation.env;
    let absent = names.iter().filter(|name| !env.contains_key(name.as_str().as_bytes()));
    let absent: Vec<(B, B)> = absent.map(|name| (variable_of(name), B::default())).collect();
    // At once: one by one, each would move all that come after it.
    env.extend(absent);
    let text = Text::of(derivation, store_dir);
    let hash = replaced.output_hash(&text).expect("every input's path is known");
    let mut problems = Vec::new();
    for name in &names {
        let computed = store_dir.output_path(name.as_str(), &hash, &derivation.name).map_err(one)?;
        problems.extend(set_variable(derivation, name, store_dir.print(&computed)).err());
        derivation.outputs.insert(name.clone(), Output::InputAddressed(computed));
    }
    if problems.is_empty() { Ok(true) } else { Err(problems) }
}

fn check_path<B: Bytes>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    name: &OutputName,
    computed: &StorePath,
) -> Result<(), CheckError> {
    match derivation.outputs[name].path() {
        Some(stated) if stated != computed => Err(CheckError::OutputPath {
            output: name.clone(),
            stated: store_dir.print(stated),
            computed: store_dir.print(computed),
        }),
        _ => Ok(()),
    }
}

/// Sets an absent or empty variable; any other has to be right. Returns whether it was set.
fn set_variable<B: Bytes>(
    derivation: &mut Derivation<B>,
    name: &OutputName,
    expected: String,
) -> Result<bool, CheckError> {
    let variable = derivation.env.entry(variable_of(name)).or_default();
    match variable.as_ref() {
        b"" => {
            *variable = expected.into_bytes().into();
            Ok(true)
        }
        found if found == expected.as_bytes() => Ok(false),
        found => Err(wrong_variable(name, found, expected)),
    }
}

fn variable_of<B: Bytes>(output: &OutputName) -> B {
    output.as_str().as_bytes().to_vec().into()
}

fn wrong_variable(name: &OutputName, found: &[u8], expected: String) -> CheckError {
    let found = String::from_utf8_lossy(found).into_owned();
    CheckError::Variable { output: name.clone(), found, expected }
}

fn too_early<B: Bytes>(derivation: &Derivation<B>, store_dir: &StoreDir) -> CheckError {
    let (output, path) = derivation
        .outputs
        .iter()
        .find_map(|(name, output)| Some((name, output.path()?)))
        .expect("only outputs with a stated path are verified");
    CheckError::TooEarly { output: output.clone(), stated: store_dir.print(path) }
}
