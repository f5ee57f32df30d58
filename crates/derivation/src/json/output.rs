//! One output, in all its forms.

use serde_json::Value;
use store_path::{Hash, HashAlgorithm, Method, Name};

use super::Problem;
use super::fields::{Object, boolean, string};
use super::read::Context;
use super::wrong::{Tally, Wrong};
use crate::model::{fixed_path, split_method};
use crate::{Output, OutputName};

/// Reads an output of the derivation called `derivation`, unless that is what cannot be read.
pub(super) fn output(
    context: &Context<'_>,
    derivation: Option<&Name>,
    name: &OutputName,
    value: Value,
) -> Result<Output, Wrong> {
    let mut fields = Object::new(value)?;
    let mut tally = Tally::default();
    let path = tally.take(fields.optional("path", |value| context.path(&string(value)?))).flatten();
    let how = tally.take(how(&mut fields)).unwrap_or(How { method: None, algorithm: None });
    let hash = tally.take(fields.optional("hash", |value| hash(&string(value)?, how.algorithm))).flatten();
    let is_impure = tally.take(fields.optional("impure", boolean)).flatten().unwrap_or(false);
    tally.take(fields.end());
    tally.finish(())?;
    let is_known = path.is_some() || hash.is_some();
    match (path, hash, how) {
        (stated, Some(hash), How { method, .. }) if !is_impure => {
            let method = method.unwrap_or(Method::Flat);
            check_text(method, hash.algorithm())?;
            let derivation = derivation.ok_or_else(Wrong::default)?;
            let path = fixed_path(context.store_dir, derivation, name, method, &hash);
            let path = path.map_err(Problem::Name)?;
            match stated {
                Some(stated) if stated != path => Err(Problem::FixedPath { stated, computed: path }.into()),
                _ => Ok(Output::Fixed { method, hash, path }),
            }
        }
        (_, _, How { method, algorithm: Some(algorithm) }) if !is_known => {
            let method = method.unwrap_or(Method::Flat);
            check_text(method, algorithm)?;
            Ok(if is_impure {
                Output::Impure { method, algorithm }
            } else {
                Output::Floating { method, algorithm }
            })
        }
        (path, None, How { method: None, algorithm: None }) if !is_impure => {
            Ok(path.map_or(Output::Deferred, Output::InputAddressed))
        }
        _ => Err(Problem::OutputForm.into()),
    }
}

/// How an output is hashed, as far as its fields say.
#[derive(Clone, Copy)]
struct How {
    method: Option<Method>,
    algorithm: Option<HashAlgorithm>,
}

/// Since 2.23 the method is a field; before, it was put in front of the algorithm.
fn how(fields: &mut Object) -> Result<How, Wrong> {
    let method = fields.optional("method", |value| Ok(string(value)?.parse().map_err(Problem::Method)?))?;
    let algorithm = fields.optional("hashAlgo", |value| {
        let text = string(value)?;
        let (before, bare) = if method.is_some() {
            (method, &*text)
        } else {
            let (before, bare) = split_method(&text);
            (Some(before), bare)
        };
        Ok((before, bare.parse().map_err(Problem::Hash)?))
    })?;
    Ok(match algorithm {
        Some((method, algorithm)) => How { method, algorithm: Some(algorithm) },
        None => How { method, algorithm: None },
    })
}

fn hash(text: &str, algorithm: Option<HashAlgorithm>) -> Result<Hash, Wrong> {
    Ok(Hash::parse(text, algorithm).map_err(Problem::Hash)?)
}

fn check_text(method: Method, algorithm: HashAlgorithm) -> Result<(), Wrong> {
    if method == Method::Text && algorithm != HashAlgorithm::Sha256 {
        return Err(Problem::TextAlgorithm.into());
    }
    Ok(())
}
