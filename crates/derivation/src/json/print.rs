//! Printing derivations, in every form.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use store_path::{StoreDir, StorePath};

use super::attributes;
use super::format::{Field, Format};
use super::lists::{List, Object};
use super::read::ATTRIBUTES;
use super::style::to_string;
use super::{PrintError, output_fields};
use crate::{Derivation, InputOutputs, OutputName};

/// Returns the JSON of some derivations, sorted by their paths, with a line feed at its end.
pub fn print(
    format: Format,
    store_dir: &StoreDir,
    derivations: &[(StorePath, &Derivation)],
) -> Result<String, PrintError> {
    for (path, derivation) in derivations {
        check(format, &|| path.to_string(), derivation)?;
    }
    let mut sorted: Vec<_> = derivations.iter().collect();
    sorted.sort_by_key(|(path, _)| path);
    let context = Context { format, store_dir };
    let object =
        Object(sorted.iter().map(|(path, derivation)| (context.path(path), context.derivation(derivation))));
    Ok(match format.version() {
        // Only the last version has an object around the derivations.
        Some(version) if format == Format::V4 => to_string(format, &Wrapped { derivations: object, version }),
        _ => to_string(format, &object),
    })
}

/// Returns the JSON of one derivation alone, as `nix derivation add` reads it.
///
/// Forms before 2.15 have no field for the name, which would be lost.
pub fn print_bare(
    format: Format,
    store_dir: &StoreDir,
    derivation: &Derivation,
) -> Result<String, PrintError> {
    check(format, &|| derivation.name.to_string(), derivation)?;
    if format < Format::Nix2_15 {
        return Err(PrintError::Nameless { derivation: derivation.name.to_string(), format });
    }
    Ok(to_string(format, &Context { format, store_dir }.derivation(derivation)))
}

/// Refuses what the form cannot hold, so that printing cannot fail.
fn check(format: Format, name: &dyn Fn() -> String, derivation: &Derivation) -> Result<(), PrintError> {
    if let Some(lacked) = format.lack(derivation) {
        return Err(PrintError::Lacked { derivation: name(), format, lacked });
    }
    let env = derivation.env.iter().flat_map(|(name, value)| [name, value]);
    let texts = [&derivation.system, &derivation.builder].into_iter().chain(&derivation.args).chain(env);
    for bytes in texts {
        if str::from_utf8(bytes).is_err() {
            let value = text(bytes).into_owned();
            return Err(PrintError::NotText { derivation: name(), value });
        }
    }
    Ok(())
}

/// The object around the derivations of version 4.
#[derive(serde::Serialize)]
struct Wrapped<T> {
    derivations: T,
    version: u32,
}

/// What is the same for all derivations of a file.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) format: Format,
    store_dir: &'a StoreDir,
}

impl<'a> Context<'a> {
    pub(super) fn path(self, path: &StorePath) -> String {
        if self.format < Format::Nix2_32 { self.store_dir.print(path) } else { path.to_string() }
    }

    fn derivation(self, derivation: &'a Derivation) -> Printed<'a> {
        Printed { context: self, derivation }
    }
}

/// A derivation in one form.
#[derive(Clone, Copy)]
struct Printed<'a> {
    context: Context<'a>,
    derivation: &'a Derivation,
}

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { context, derivation } = *self;
        let fields = context.format.fields();
        let is_split = fields.iter().any(|field| matches!(field, Field::StructuredAttrs));
        let attributes = derivation.env.get(ATTRIBUTES.as_bytes()).filter(|_| is_split);
        let attributes = attributes.and_then(|text| attributes::value(text));
        let mut map = serializer.serialize_map(None)?;
        for field in fields {
            match field {
                Field::Args => {
                    map.serialize_entry("args", &List(derivation.args.iter().map(|arg| text(arg))))?;
                }
                Field::Builder => map.serialize_entry("builder", &text(&derivation.builder))?,
                Field::Env => {
                    let is_kept = |name: &[u8]| attributes.is_none() || name != ATTRIBUTES.as_bytes();
                    let env = derivation.env.iter().filter(|(name, _)| is_kept(name));
                    map.serialize_entry("env", &Object(env.map(|(name, value)| (text(name), text(value)))))?;
                }
                Field::InputDrvs => map.serialize_entry("inputDrvs", &self.input_drvs())?,
                Field::InputSrcs => map.serialize_entry("inputSrcs", &self.input_srcs())?,
                Field::Inputs => {
                    let inputs = Inputs { drvs: self.input_drvs(), srcs: self.input_srcs() };
                    map.serialize_entry("inputs", &inputs)?;
                }
                Field::Name => map.serialize_entry("name", derivation.name.as_str())?,
                Field::Outputs => {
                    let outputs = derivation.outputs.iter();
                    let fields = |output| Object(output_fields::of(context, output).into_iter());
                    let outputs = outputs.map(|(name, output)| (name.as_str(), fields(output)));
                    map.serialize_entry("outputs", &Object(outputs))?;
                }
                Field::Platform => map.serialize_entry("platform", &text(&derivation.system))?,
                Field::StructuredAttrs => {
                    if let Some(attributes) = &attributes {
                        map.serialize_entry("structuredAttrs", attributes)?;
                    }
                }
                Field::System => map.serialize_entry("system", &text(&derivation.system))?,
                Field::Version => map.serialize_entry("version", &context.format.version())?,
            }
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Inputs<D, S> {
    drvs: D,
    srcs: S,
}

impl<'a> Printed<'a> {
    fn input_drvs(self) -> Object<impl Iterator<Item = (String, Wanted<'a>)> + Clone> {
        let is_short = self.context.format < Format::Nix2_18;
        let drvs = self.derivation.input_drvs.iter();
        Object(drvs.map(move |(path, wanted)| (self.context.path(path), Wanted { wanted, is_short })))
    }

    fn input_srcs(self) -> List<impl Iterator<Item = String> + Clone> {
        List(self.derivation.input_srcs.iter().map(move |path| self.context.path(path)))
    }
}

/// The wanted outputs of an input. Recursive, but no deeper than the parsers let it be.
struct Wanted<'a> {
    wanted: &'a InputOutputs,
    /// Whether the form knows no derivations as outputs.
    is_short: bool,
}

impl Serialize for Wanted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outputs = List(self.wanted.outputs.iter().map(OutputName::as_str));
        if self.is_short {
            return outputs.serialize(serializer);
        }
        let dynamic = self.wanted.dynamic.iter();
        let dynamic = dynamic.map(|(name, wanted)| (name.as_str(), Wanted { wanted, is_short: false }));
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("dynamicOutputs", &Object(dynamic))?;
        map.serialize_entry("outputs", &outputs)?;
        map.end()
    }
}

/// Shows bytes that were checked to be text.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
