//! One derivation.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use serde_json::Value;
use store_path::{Name, StoreDir, StorePath};

use super::Problem;
use super::attributes;
use super::fields::{Object, bytes, list, map, set, string, wrong_kind};
use super::output::output;
use super::wrong::{Tally, Wrong};
use crate::model::MAX_DYNAMIC_DEPTH;
use crate::{Derivation, InputOutputs, OutputName};

/// The variable that holds structured attributes.
pub(super) const ATTRIBUTES: &str = "__json";

/// What is known about the whole file.
pub(super) struct Context<'a> {
    pub(super) store_dir: &'a StoreDir,
}

impl Context<'_> {
    /// Reads a derivation that the file gives the path `key`.
    pub(super) fn derivation(
        &self,
        key: Option<&str>,
        value: Value,
    ) -> Result<(Option<StorePath>, Derivation), Wrong> {
        let mut fields = Object::new(value)?;
        let mut tally = Tally::default();
        let stated = tally.take(key.map(|key| self.derivation_path(key)).transpose()).flatten();
        tally.take(fields.optional("version", |version| check_version(Some(version), &[3, 4])));
        // A key that is no path has been told of, and says no name.
        let name = match (key, &stated) {
            (Some(_), None) => fields.optional("name", name).map(|name| name.ok_or_else(Wrong::default)),
            _ => self.name(stated.as_ref(), &mut fields).map(Ok),
        };
        let name = tally.take(name.and_then(|name| name));
        let outputs = tally.take(fields.required("outputs", |value| {
            map(value, output_name, |output_name, value| output(self, name.as_ref(), output_name, value))
        }));
        let inputs = tally.take(self.inputs(&mut fields));
        let system = tally.take(system(&mut fields));
        let builder = tally.take(fields.required("builder", bytes));
        let args = tally.take(fields.optional("args", |value| list(value, bytes)));
        let env = tally.take(environment(&mut fields));
        tally.take(fields.end());
        let derivation = || {
            let (input_drvs, input_srcs) = inputs?;
            let (outputs, system, builder) = (outputs?, system?, builder?);
            let args = args?.unwrap_or_default();
            Some(Derivation {
                name: name?,
                outputs: outputs.into_iter().collect(),
                input_drvs,
                input_srcs,
                system,
                builder,
                args,
                env: env?.into_iter().collect(),
            })
        };
        let derivation = derivation();
        tally.finish(derivation).map(|derivation| (stated, derivation.expect("no part of it is wrong")))
    }

    /// Reads a path in full, as older versions have it, or without the store directory, as newer ones.
    pub(super) fn path(&self, text: &str) -> Result<StorePath, Wrong> {
        Ok(if text.starts_with('/') {
            self.store_dir.parse(text).map_err(Problem::Path)?
        } else {
            text.parse().map_err(Problem::BasePath)?
        })
    }

    fn derivation_path(&self, text: &str) -> Result<StorePath, Wrong> {
        let path = self.path(text)?;
        if path.is_derivation() { Ok(path) } else { Err(Problem::NotDerivation { path }.into()) }
    }

    /// The path says the name; without one the derivation has to, as a field or the attribute it was made from.
    fn name(&self, stated: Option<&StorePath>, fields: &mut Object) -> Result<Name, Wrong> {
        let given = fields.optional("name", name)?;
        let Some(stated) = stated else {
            return match given.or_else(|| attribute_name(fields)) {
                Some(name) => Ok(name),
                None => Err(Wrong::from(Problem::Missing).inside("name")),
            };
        };
        let file_name = stated.name().as_str();
        let expected = name(file_name.strip_suffix(".drv").unwrap_or(file_name).into())?;
        match given {
            Some(given) if given != expected => {
                let (name, expected) = (given.to_string(), expected.to_string());
                Err(Wrong::from(Problem::OtherName { name, expected }).inside("name"))
            }
            _ => Ok(expected),
        }
    }

    /// Reads `inputs`, or the two fields there were before.
    fn inputs(&self, fields: &mut Object) -> Result<Inputs, Wrong> {
        if let Some(inputs) = fields.optional("inputs", |value| self.current_inputs(value))? {
            return Ok(inputs);
        }
        self.input_fields(fields, "inputDrvs", "inputSrcs")
    }

    /// A derivation without input derivations may have a list in place of the object.
    fn current_inputs(&self, value: Value) -> Result<Inputs, Wrong> {
        if value.is_array() {
            return Ok((LiteMap::new(), self.input_srcs(value)?));
        }
        let mut fields = Object::new(value)?;
        let mut tally = Tally::default();
        let inputs = tally.take(self.input_fields(&mut fields, "drvs", "srcs"));
        tally.take(fields.end());
        tally.finish(inputs.unwrap_or_default())
    }

    fn input_fields(&self, fields: &mut Object, drvs: &str, srcs: &str) -> Result<Inputs, Wrong> {
        let mut tally = Tally::default();
        let drvs = tally.take(fields.optional(drvs, |value| self.input_drvs(value))).flatten();
        let srcs = tally.take(fields.optional(srcs, |value| self.input_srcs(value))).flatten();
        tally.finish((drvs.unwrap_or_default(), srcs.unwrap_or_default()))
    }

    fn input_drvs(&self, value: Value) -> Result<LiteMap<StorePath, InputOutputs>, Wrong> {
        let wanted = |_: &StorePath, value| wanted_outputs(value, MAX_DYNAMIC_DEPTH);
        Ok(map(value, |path| self.derivation_path(path), wanted)?.into_iter().collect())
    }

    fn input_srcs(&self, value: Value) -> Result<BTreeSet<StorePath>, Wrong> {
        set(value, |path| self.path(&string(path)?))
    }
}

type Inputs = (LiteMap<StorePath, InputOutputs>, BTreeSet<StorePath>);

pub(super) fn check_version(version: Option<Value>, known: &[u64]) -> Result<(), Wrong> {
    let version = version.ok_or(Problem::Missing)?;
    let is_known = version.as_u64().is_some_and(|version| known.contains(&version));
    if is_known { Ok(()) } else { Err(Problem::Version { found: version.to_string() }.into()) }
}

fn name(value: Value) -> Result<Name, Wrong> {
    Ok(string(value)?.parse().map_err(Problem::Name)?)
}

fn attribute_name(fields: &Object) -> Option<Name> {
    let attributes = [fields.peek("env"), fields.peek("structuredAttrs")];
    attributes.into_iter().flatten().find_map(|attributes| attributes.get("name")?.as_str()?.parse().ok())
}

/// Reads a list of outputs, or an object where outputs can be derivations.
///
/// Recursive, but no deeper than `depth_left`.
fn wanted_outputs(value: Value, depth_left: usize) -> Result<InputOutputs, Wrong> {
    let Some(depth_left) = depth_left.checked_sub(1) else { return Err(Problem::TooDeep.into()) };
    let outputs = |value| Ok(set(value, |name| output_name(&string(name)?))?.into_iter().collect());
    let wanted = if value.is_array() {
        InputOutputs { outputs: outputs(value)?, dynamic: LiteMap::new() }
    } else {
        let mut fields = Object::new(value)?;
        let outputs = fields.optional("outputs", outputs)?.unwrap_or_default();
        let nested = |value| map(value, output_name, |_, value| wanted_outputs(value, depth_left));
        let dynamic = fields.optional("dynamicOutputs", nested)?.unwrap_or_default();
        fields.end()?;
        InputOutputs { outputs, dynamic: dynamic.into_iter().collect() }
    };
    if wanted.outputs.is_empty() && wanted.dynamic.is_empty() {
        return Err(Problem::NothingWanted.into());
    }
    Ok(wanted)
}

fn output_name(name: &str) -> Result<OutputName, Wrong> {
    Ok(name.parse().map_err(Problem::Name)?)
}

/// Up to 2.3 the field was called otherwise.
fn system(fields: &mut Object) -> Result<Vec<u8>, Wrong> {
    match fields.optional("platform", bytes)? {
        Some(system) => Ok(system),
        None => fields.required("system", bytes),
    }
}

fn environment(fields: &mut Object) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Wrong> {
    let variables = |value| map(value, |name| Ok(name.as_bytes().to_vec()), |_, value| bytes(value));
    let mut env = fields.optional("env", variables)?.unwrap_or_default();
    let attributes = fields.optional("structuredAttrs", |value| match value {
        Value::Object(_) if env.contains_key(ATTRIBUTES.as_bytes()) => Err(Problem::TwoAttributes.into()),
        Value::Object(_) => Ok(attributes::print(&value)),
        other => Err(wrong_kind("an object", &other)),
    })?;
    env.extend(attributes.map(|text| (ATTRIBUTES.into(), text.into_bytes())));
    Ok(env)
}
