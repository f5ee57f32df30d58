//! What both printed formats have in common.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};
use store_path::{StoreDir, StorePath};

use super::{Format, NotText, current, legacy};
use crate::{Derivation, InputOutputs, OutputName};

/// Returns the JSON of some derivations, with a line feed at its end.
pub fn print<'a>(
    format: Format,
    store_dir: &StoreDir,
    derivations: &[(StorePath, &'a Derivation)],
) -> Result<String, NotText> {
    let derivations = derivations.iter().map(|(path, derivation)| (path, *derivation));
    let derivations: BTreeMap<&StorePath, &'a Derivation> = derivations.collect();
    match format {
        Format::Legacy => {
            let mirror = |(path, derivation): (&StorePath, &'a Derivation)| {
                let mirror = legacy::Mirror::new(store_dir, derivation, Text { derivation: path })?;
                Ok((store_dir.print(path), mirror))
            };
            let mirrors: BTreeMap<_, _> = derivations.into_iter().map(mirror).collect::<Result<_, _>>()?;
            Ok(to_string(&mirrors))
        }
        Format::Current => {
            let mirror = |(path, derivation): (&StorePath, &'a Derivation)| {
                Ok((path.to_string(), current::Mirror::new(derivation, Text { derivation: path })?))
            };
            let mirrors: BTreeMap<_, _> = derivations.into_iter().map(mirror).collect::<Result<_, _>>()?;
            Ok(to_string(&Wrapped { derivations: mirrors, version: current::Mirror::VERSION }))
        }
    }
}

/// The object around the derivations of version 4.
#[derive(Serialize)]
struct Wrapped<'a> {
    derivations: BTreeMap<String, current::Mirror<'a>>,
    version: u32,
}

fn to_string(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let formatter = NixFormatter(PrettyFormatter::new());
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    value.serialize(&mut serializer).expect("all keys are strings, and a vector takes any bytes");
    json.push(b'\n');
    String::from_utf8(json).expect("JSON made of UTF-8 is UTF-8")
}

/// Turns the bytes of a derivation into text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// Named when that fails.
    pub(super) derivation: &'a StorePath,
}

impl Text<'_> {
    pub(super) fn of(self, bytes: &[u8]) -> Result<&str, NotText> {
        str::from_utf8(bytes).map_err(|_| NotText {
            derivation: self.derivation.clone(),
            value: String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    pub(super) fn list(self, items: &[Vec<u8>]) -> Result<Vec<&str>, NotText> {
        items.iter().map(|item| self.of(item)).collect()
    }

    pub(super) fn map(self, variables: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<BTreeMap<&str, &str>, NotText> {
        variables.iter().map(|(name, value)| Ok((self.of(name)?, self.of(value)?))).collect()
    }
}

/// The wanted outputs of an input. Built recursively, but no deeper than the parsers let it be.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Wanted<'a> {
    /// The form that knows no derivations as outputs.
    List(Vec<&'a str>),
    /// The form that does.
    #[serde(rename_all = "camelCase")]
    Full { dynamic_outputs: BTreeMap<&'a str, Wanted<'a>>, outputs: Vec<&'a str> },
}

impl<'a> Wanted<'a> {
    /// Returns the shorter form if it can hold everything.
    pub(super) fn shortest(wanted: &'a InputOutputs) -> Self {
        match Self::full(wanted) {
            Self::Full { dynamic_outputs, outputs } if dynamic_outputs.is_empty() => Self::List(outputs),
            full => full,
        }
    }

    pub(super) fn full(wanted: &'a InputOutputs) -> Self {
        let dynamic = wanted.dynamic.iter();
        Self::Full {
            dynamic_outputs: dynamic.map(|(name, inner)| (name.as_str(), Self::full(inner))).collect(),
            outputs: wanted.outputs.iter().map(OutputName::as_str).collect(),
        }
    }
}

/// Two spaces for each level, and of control characters only line ends and tabs by their letters.
struct NixFormatter(PrettyFormatter<'static>);

impl Formatter for NixFormatter {
    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let byte = match escape {
            CharEscape::Backspace => 0x08,
            CharEscape::FormFeed => 0x0c,
            _ => return self.0.write_char_escape(writer, escape),
        };
        self.0.write_char_escape(writer, CharEscape::AsciiControl(byte))
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
