//! Printing, and the variants of the text that are only hashed.

use std::io::Write;

use store_path::{StoreDir, StorePath};

use super::DYNAMIC_HEAD;
use crate::modulo::HexHash;
use crate::{Derivation, InputOutputs, Output, OutputName};

/// Returns the text of the derivation's file.
pub fn print(derivation: &Derivation, store_dir: &StoreDir) -> Vec<u8> {
    let mut text = Vec::with_capacity(4096);
    View { derivation, store_dir, masked: false, inputs: Inputs::Own }.write(&mut text);
    text
}

/// A derivation, and how it is to be shown.
pub(crate) struct View<'a> {
    pub(crate) derivation: &'a Derivation,
    pub(crate) store_dir: &'a StoreDir,
    /// Leaves out the outputs' paths, which the text without them decides.
    pub(crate) masked: bool,
    pub(crate) inputs: Inputs<'a>,
}

/// What stands where a derivation names its input derivations.
pub(crate) enum Inputs<'a> {
    /// Their paths.
    Own,
    /// Their hashes, sorted, each with one output of it.
    Replaced(&'a [(HexHash, OutputName)]),
}

impl View<'_> {
    /// Appends the text.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        let drv = self.derivation;
        let is_dynamic = drv.input_drvs.values().any(|input| !input.dynamic.is_empty());
        text.extend_from_slice(if is_dynamic { DYNAMIC_HEAD } else { "Derive(" }.as_bytes());
        list(text, &drv.outputs, |text, (name, output)| self.output(text, name, output));
        text.push(b',');
        self.inputs(text);
        text.push(b',');
        list(text, &drv.input_srcs, |text, path| self.path(text, path));
        text.push(b',');
        system(text, &drv.system);
        text.push(b',');
        string(text, &drv.builder);
        text.push(b',');
        list(text, &drv.args, |text, argument| string(text, argument));
        text.push(b',');
        list(text, &drv.env, |text, (name, value)| self.variable(text, name, value));
        text.push(b')');
    }

    fn output(&self, text: &mut Vec<u8>, name: &OutputName, output: &Output) {
        put(text, format_args!("(\"{name}\",\""));
        if let (Some(path), false) = (output.path(), self.masked) {
            put(text, format_args!("{}/{path}", self.store_dir));
        }
        match output {
            Output::InputAddressed(_) | Output::Deferred => put(text, format_args!("\",\"\",\"\")")),
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
    }

    fn inputs(&self, text: &mut Vec<u8>) {
        match self.inputs {
            Inputs::Own => list(text, &self.derivation.input_drvs, |text, (path, wanted)| {
                text.push(b'(');
                self.path(text, path);
                text.push(b',');
                wanted_outputs(text, wanted);
                text.push(b')');
            }),
            Inputs::Replaced(pairs) => {
                list(text, pairs.chunk_by(|left, right| left.0 == right.0), |text, same| {
                    text.extend_from_slice(b"(\"");
                    text.extend_from_slice(&same[0].0);
                    text.extend_from_slice(b"\",");
                    list(text, same, |text, (_, output)| put(text, format_args!("\"{output}\"")));
                    text.push(b')');
                });
            }
        }
    }

    fn path(&self, text: &mut Vec<u8>, path: &StorePath) {
        put(text, format_args!("\"{}/{path}\"", self.store_dir));
    }

    fn variable(&self, text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        text.push(b'(');
        string(text, name);
        text.push(b',');
        string(text, if self.is_hidden(name) { b"" } else { value });
        text.push(b')');
    }

    fn is_hidden(&self, variable: &[u8]) -> bool {
        let is_output = |name: &OutputName| name.as_str().as_bytes() == variable;
        self.masked && self.derivation.outputs.keys().any(is_output)
    }
}

/// Recursive, but no deeper than the parsers let it be.
fn wanted_outputs(text: &mut Vec<u8>, wanted: &InputOutputs) {
    let names = |text: &mut Vec<u8>| {
        list(text, &wanted.outputs, |text, output| put(text, format_args!("\"{output}\"")));
    };
    if wanted.dynamic.is_empty() {
        return names(text);
    }
    text.push(b'(');
    names(text);
    text.push(b',');
    list(text, &wanted.dynamic, |text, (name, inner)| {
        put(text, format_args!("(\"{name}\","));
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

fn put(text: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a vector takes any bytes");
}
