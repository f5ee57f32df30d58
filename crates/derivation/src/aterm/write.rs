//! Printing, and the variants of the text that are only hashed.

use std::io::Write;
use std::ops::Range;

use store_path::{Hash, HashAlgorithm, HashSink, StoreDir, StorePath};

use super::DYNAMIC_HEAD;
use crate::modulo::HexHash;
use crate::{Derivation, InputOutputs, Output, OutputName};

/// Returns the text of the derivation's file.
pub fn print(derivation: &Derivation, store_dir: &StoreDir) -> Vec<u8> {
    Text::of(derivation, store_dir).bytes
}

/// The text of a derivation's file, and where in it is what hashes see otherwise.
///
/// Printing costs more than hashing, so it is done once for all of them.
pub(crate) struct Text {
    bytes: Vec<u8>,
    /// The paths of the outputs, in the outputs and in the variables named after them, first to last.
    outputs: Vec<Range<usize>>,
    /// The list of input derivations, which comes between the outputs and the variables.
    inputs: Range<usize>,
}

impl Text {
    pub(crate) fn of(derivation: &Derivation, store_dir: &StoreDir) -> Self {
        let mut text = Self { bytes: Vec::with_capacity(4096), outputs: Vec::new(), inputs: 0..0 };
        View { derivation, store_dir }.write(&mut text);
        text
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the hash of the bytes.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(HashAlgorithm::Sha256, &self.bytes)
    }

    /// Returns the hash of the text in which hashes stand for input derivations, each pair one output wanted of one; the pairs are sorted.
    /// `masked` leaves out the outputs' paths, which the text without them decides.
    pub(crate) fn hash_replaced(&self, masked: bool, inputs: &[(HexHash, OutputName)]) -> Hash {
        let mut sink = HashSink::new(HashAlgorithm::Sha256);
        self.write_replaced(masked, inputs, &mut sink);
        sink.finish().0
    }

    /// Writes that text to something that takes any bytes.
    pub(crate) fn write_replaced(
        &self,
        masked: bool,
        inputs: &[(HexHash, OutputName)],
        sink: &mut impl Write,
    ) {
        let mut put = |bytes: &[u8]| sink.write_all(bytes).expect("it takes any bytes");
        let cuts = if masked { &self.outputs[..] } else { &[] };
        let (before, after) = cuts.split_at(cuts.partition_point(|cut| cut.start < self.inputs.start));
        let mut at = 0;
        for cut in before {
            put(&self.bytes[at..cut.start]);
            at = cut.end;
        }
        put(&self.bytes[at..self.inputs.start]);
        put(&replaced(inputs));
        at = self.inputs.end;
        for cut in after {
            put(&self.bytes[at..cut.start]);
            at = cut.end;
        }
        put(&self.bytes[at..]);
    }
}

/// Returns the list of inputs as hashes see it.
fn replaced(inputs: &[(HexHash, OutputName)]) -> Vec<u8> {
    let mut text = Vec::new();
    list(&mut text, inputs.chunk_by(|left, right| left.0 == right.0), |text, same| {
        text.extend_from_slice(b"(\"");
        text.extend_from_slice(&same[0].0);
        text.extend_from_slice(b"\",");
        list(text, same, |text, (_, output)| quote(text, output.as_str()));
        text.push(b')');
    });
    text
}

/// A derivation, on its way into a text.
struct View<'a> {
    derivation: &'a Derivation,
    store_dir: &'a StoreDir,
}

impl View<'_> {
    fn write(&self, Text { bytes: text, outputs, inputs }: &mut Text) {
        let drv = self.derivation;
        let is_dynamic = drv.input_drvs.values().any(|input| !input.dynamic.is_empty());
        text.extend_from_slice(if is_dynamic { DYNAMIC_HEAD } else { "Derive(" }.as_bytes());
        list(text, &drv.outputs, |text, (name, output)| outputs.push(self.output(text, name, output)));
        text.push(b',');
        let start = text.len();
        self.inputs(text);
        *inputs = start..text.len();
        text.push(b',');
        list(text, &drv.input_srcs, |text, path| self.path(text, path));
        text.push(b',');
        system(text, &drv.system);
        text.push(b',');
        string(text, &drv.builder);
        text.push(b',');
        list(text, &drv.args, |text, argument| string(text, argument));
        text.push(b',');
        list(text, &drv.env, |text, (name, value)| {
            let value = variable(text, name, value);
            outputs.extend(self.is_output(name).then_some(value));
        });
        text.push(b')');
    }

    /// Returns where its path is.
    fn output(&self, text: &mut Vec<u8>, name: &OutputName, output: &Output) -> Range<usize> {
        text.push(b'(');
        quote(text, name.as_str());
        text.extend_from_slice(b",\"");
        let start = text.len();
        if let Some(path) = output.path() {
            self.bare_path(text, path);
        }
        let end = text.len();
        match output {
            Output::InputAddressed(_) | Output::Deferred => text.extend_from_slice(b"\",\"\",\"\")"),
            Output::Fixed { method, hash, .. } => {
                let (prefix, algorithm) = (method.prefix(), hash.algorithm());
                put(text, format_args!("\",\"{prefix}{algorithm}\",\"{}\")", hash.to_base16()));
            }
            Output::Floating { method, algorithm } => {
                put(text, format_args!("\",\"{}{algorithm}\",\"\")", method.prefix()));
            }
            Output::Impure { method, algorithm } => {
                put(text, format_args!("\",\"{}{algorithm}\",\"impure\")", method.prefix()));
            }
        }
        start..end
    }

    fn inputs(&self, text: &mut Vec<u8>) {
        list(text, &self.derivation.input_drvs, |text, (path, wanted)| {
            text.push(b'(');
            self.path(text, path);
            text.push(b',');
            wanted_outputs(text, wanted);
            text.push(b')');
        });
    }

    fn path(&self, text: &mut Vec<u8>, path: &StorePath) {
        text.push(b'"');
        self.bare_path(text, path);
        text.push(b'"');
    }

    fn bare_path(&self, text: &mut Vec<u8>, path: &StorePath) {
        text.extend_from_slice(self.store_dir.as_str().as_bytes());
        text.push(b'/');
        text.extend_from_slice(&path.digest().text());
        text.push(b'-');
        text.extend_from_slice(path.name().as_str().as_bytes());
    }

    fn is_output(&self, variable: &[u8]) -> bool {
        self.derivation.outputs.keys().any(|name| name.as_str().as_bytes() == variable)
    }
}

/// Returns where the value is.
fn variable(text: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Range<usize> {
    text.push(b'(');
    string(text, name);
    text.push(b',');
    let start = text.len() + 1;
    string(text, value);
    let end = text.len() - 1;
    text.push(b')');
    start..end
}

/// Recursive, but no deeper than the parsers let it be.
fn wanted_outputs(text: &mut Vec<u8>, wanted: &InputOutputs) {
    let names = |text: &mut Vec<u8>| {
        list(text, &wanted.outputs, |text, output| quote(text, output.as_str()));
    };
    if wanted.dynamic.is_empty() {
        return names(text);
    }
    text.push(b'(');
    names(text);
    text.push(b',');
    list(text, &wanted.dynamic, |text, (name, inner)| {
        text.push(b'(');
        quote(text, name.as_str());
        text.push(b',');
        wanted_outputs(text, inner);
        text.push(b')');
    });
    text.push(b')');
}

fn list<T>(text: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Vec<u8>, T)) {
    text.push(b'[');
    for (index, value) in items.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        item(text, value);
    }
    text.push(b']');
}

fn string(text: &mut Vec<u8>, value: &[u8]) {
    quoted(text, value, |byte| match byte {
        b'"' => Some(b'"'),
        b'\\' => Some(b'\\'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        _ => None,
    });
}

/// Nix never escapes the system. Where that can be read back, these are the same bytes; where not (a quote or a
/// backslash), no file made by Nix can disagree.
fn system(text: &mut Vec<u8>, value: &[u8]) {
    quoted(text, value, |byte| matches!(byte, b'"' | b'\\').then_some(byte));
}

/// Copies whole runs between the bytes that need an escape, which are rare.
fn quoted(text: &mut Vec<u8>, mut rest: &[u8], escape: impl Fn(u8) -> Option<u8>) {
    text.push(b'"');
    while let Some((at, escaped)) =
        rest.iter().enumerate().find_map(|(at, byte)| escape(*byte).map(|escaped| (at, escaped)))
    {
        text.extend_from_slice(&rest[..at]);
        text.extend_from_slice(&[b'\\', escaped]);
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
    text.push(b'"');
}

/// What needs no escape.
fn quote(text: &mut Vec<u8>, name: &str) {
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.push(b'"');
}

fn put(text: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a vector takes any bytes");
}
