//! Printing, and the variants of the text that are only hashed.

use std::borrow::Cow;
use std::io::Write;
use std::iter;
use std::ops::Range;

use memchr::{memchr2_iter, memchr3_iter};
use store_path::{Hash, HashAlgorithm, HashSink, StoreDir, StorePath};

use super::DYNAMIC_HEAD;
use crate::model::Bytes;
use crate::modulo::HexHash;
use crate::{Derivation, InputOutputs, Output, OutputName};

/// Returns the text of the derivation's file.
pub fn print(derivation: &Derivation, store_dir: &StoreDir) -> Vec<u8> {
    Text::of(derivation, store_dir).into_bytes()
}

/// The text of a derivation's file, and where in it is what hashes see otherwise.
///
/// Printing costs more than hashing, so it is done once for all of them.
pub(crate) struct Text<'a> {
    bytes: Cow<'a, [u8]>,
    layout: Layout,
    /// The hash that names the outputs of a derivation without inputs, where it was made already.
    alone: Option<Hash>,
}

/// Where in a text is what hashes see otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The paths of the outputs, in the outputs and in the variables named after them, first to last.
    pub(super) outputs: Vec<Range<usize>>,
    /// The list of input derivations, which comes between the outputs and the variables.
    pub(super) inputs: Range<usize>,
}

impl<'a> Text<'a> {
    pub(crate) fn of<B: Bytes>(derivation: &Derivation<B>, store_dir: &StoreDir) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        let layout = View { derivation, store_dir }.write(&mut bytes);
        Self { bytes: bytes.into(), layout, alone: None }
    }

    /// Returns the text if it is the one of `file`, without a copy of its own. A layout that is known already spares the
    /// printing.
    pub(crate) fn of_file<B: Bytes>(
        derivation: &Derivation<B>,
        store_dir: &StoreDir,
        file: &'a [u8],
        known: Option<Layout>,
    ) -> Option<Self> {
        let layout = known.or_else(|| {
            let mut rest = Rest { length: 0, expected: Some(file) };
            let layout = View { derivation, store_dir }.write(&mut rest);
            rest.expected.is_some_and(<[u8]>::is_empty).then_some(layout)
        });
        layout.map(|layout| Self { bytes: file.into(), layout, alone: None })
    }

    /// Whether it is the text of `file`.
    pub(crate) fn is(&self, file: &[u8]) -> bool {
        // One that was taken from there need not be compared.
        std::ptr::eq(&*self.bytes, file) || *self.bytes == *file
    }

    #[cfg(test)]
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_owned()
    }

    /// Returns the hash of the bytes.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(HashAlgorithm::Sha256, &self.bytes)
    }

    /// Makes the hash that names the outputs where there are no inputs, ahead of time.
    pub(crate) fn hash_alone(&mut self) {
        self.alone = Some(self.hash_replaced(true, &[]));
    }

    /// Returns the hash of the text in which hashes stand for input derivations, each pair one output wanted of one; the pairs are sorted.
    /// `masked` leaves out the outputs' paths, which the text without them decides.
    pub(crate) fn hash_replaced(&self, masked: bool, inputs: &[(HexHash, OutputName)]) -> Hash {
        if let Some(alone) = self.alone
            && masked
            && inputs.is_empty()
        {
            return alone;
        }
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
        let Layout { outputs, inputs: list } = &self.layout;
        let cuts = if masked { &outputs[..] } else { &[] };
        let (before, after) = cuts.split_at(cuts.partition_point(|cut| cut.start < list.start));
        let mut at = 0;
        for cut in before {
            put(&self.bytes[at..cut.start]);
            at = cut.end;
        }
        put(&self.bytes[at..list.start]);
        put(&replaced(inputs));
        at = list.end;
        for cut in after {
            put(&self.bytes[at..cut.start]);
            at = cut.end;
        }
        put(&self.bytes[at..]);
    }
}

/// What a text is printed to.
trait Out {
    fn put(&mut self, bytes: &[u8]);

    /// Returns how much has been put.
    fn len(&self) -> usize;
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Holds what is printed against a text.
struct Rest<'a> {
    /// How much has been printed.
    length: usize,
    /// What should come next; nothing once something else has come.
    expected: Option<&'a [u8]>,
}

impl Out for Rest<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.expected = self.expected.and_then(|expected| expected.strip_prefix(bytes));
    }

    fn len(&self) -> usize {
        self.length
    }
}

/// Returns the list of inputs as hashes see it.
fn replaced(inputs: &[(HexHash, OutputName)]) -> Vec<u8> {
    let mut text = Vec::new();
    list(&mut text, inputs.chunk_by(|left, right| left.0 == right.0), |text, same| {
        text.put(b"(\"");
        text.put(&same[0].0);
        text.put(b"\",");
        list(text, same, |text, (_, output)| bare(text, output.as_str().as_bytes()));
        text.put(b")");
    });
    text
}

/// A derivation, on its way into a text.
struct View<'a, B> {
    derivation: &'a Derivation<B>,
    store_dir: &'a StoreDir,
}

impl<B: Bytes> View<'_, B> {
    fn write(&self, text: &mut impl Out) -> Layout {
        let drv = self.derivation;
        let mut outputs = Vec::new();
        let is_dynamic = drv.input_drvs.values().any(|input| !input.dynamic.is_empty());
        text.put(if is_dynamic { DYNAMIC_HEAD } else { "Derive(" }.as_bytes());
        list(text, &drv.outputs, |text, (name, output)| outputs.push(self.output(text, name, output)));
        text.put(b",");
        let start = text.len();
        self.inputs(text);
        let inputs = start..text.len();
        text.put(b",");
        list(text, &drv.input_srcs, |text, path| self.path(text, path));
        text.put(b",");
        system(text, drv.system.as_ref());
        text.put(b",");
        string(text, drv.builder.as_ref());
        text.put(b",");
        list(text, &drv.args, |text, argument| string(text, argument.as_ref()));
        text.put(b",");
        let mut names = drv.outputs.keys().map(|name| name.as_str().as_bytes()).peekable();
        list(text, &drv.env, |text, (name, value)| {
            let (name, value) = (name.as_ref(), value.as_ref());
            let value = variable(text, name, value);
            // Both are in order.
            while names.next_if(|output| *output < name).is_some() {}
            outputs.extend((names.peek() == Some(&name)).then_some(value));
        });
        text.put(b")");
        Layout { outputs, inputs }
    }

    /// Returns where its path is.
    fn output(&self, text: &mut impl Out, name: &OutputName, output: &Output) -> Range<usize> {
        text.put(b"(");
        bare(text, name.as_str().as_bytes());
        text.put(b",\"");
        let start = text.len();
        if let Some(path) = output.path() {
            self.bare_path(text, path);
        }
        let end = text.len();
        match output {
            Output::InputAddressed(_) | Output::Deferred => text.put(b"\",\"\",\"\")"),
            Output::Fixed { method, hash, .. } => {
                let hash = hash.prefixed_base16();
                let (algorithm, digits) = hash.split_once(':').expect("the algorithm is its prefix");
                let parts = ["\",\"", method.prefix(), algorithm, "\",\"", digits, "\")"];
                parts.iter().for_each(|part| text.put(part.as_bytes()));
            }
            Output::Floating { method, algorithm } => {
                text.put(format!("\",\"{}{algorithm}\",\"\")", method.prefix()).as_bytes());
            }
            Output::Impure { method, algorithm } => {
                text.put(format!("\",\"{}{algorithm}\",\"impure\")", method.prefix()).as_bytes());
            }
        }
        start..end
    }

    fn inputs(&self, text: &mut impl Out) {
        list(text, &self.derivation.input_drvs, |text, (path, wanted)| {
            text.put(b"(");
            self.path(text, path);
            text.put(b",");
            wanted_outputs(text, wanted);
            text.put(b")");
        });
    }

    fn path(&self, text: &mut impl Out, path: &StorePath) {
        text.put(b"\"");
        self.bare_path(text, path);
        text.put(b"\"");
    }

    fn bare_path(&self, text: &mut impl Out, path: &StorePath) {
        text.put(self.store_dir.as_str().as_bytes());
        text.put(b"/");
        text.put(&path.digest().text());
        text.put(b"-");
        text.put(path.name().as_str().as_bytes());
    }
}

/// Returns where the value is.
fn variable(text: &mut impl Out, name: &[u8], value: &[u8]) -> Range<usize> {
    text.put(b"(");
    string(text, name);
    text.put(b",");
    let start = text.len() + 1;
    string(text, value);
    let end = text.len() - 1;
    text.put(b")");
    start..end
}

/// Recursive, but no deeper than the parsers let it be.
fn wanted_outputs(text: &mut impl Out, wanted: &InputOutputs) {
    if !wanted.dynamic.is_empty() {
        text.put(b"(");
    }
    list(text, &wanted.outputs, |text, output| bare(text, output.as_str().as_bytes()));
    if wanted.dynamic.is_empty() {
        return;
    }
    text.put(b",");
    list(text, &wanted.dynamic, |text, (name, inner)| {
        text.put(b"(");
        bare(text, name.as_str().as_bytes());
        text.put(b",");
        wanted_outputs(text, inner);
        text.put(b")");
    });
    text.put(b")");
}

fn list<O: Out, T>(text: &mut O, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut O, T)) {
    text.put(b"[");
    for (index, value) in items.into_iter().enumerate() {
        if index > 0 {
            text.put(b",");
        }
        item(text, value);
    }
    text.put(b"]");
}

fn string(text: &mut impl Out, value: &[u8]) {
    let mut quotes = memchr2_iter(b'"', b'\\', value).peekable();
    let mut spaces = memchr3_iter(b'\n', b'\r', b'\t', value).peekable();
    // Asked in two halves, as many bytes are looked at once then.
    let first = || match (quotes.peek(), spaces.peek()) {
        (Some(quote), Some(space)) if space < quote => spaces.next(),
        (Some(_), _) => quotes.next(),
        (None, _) => spaces.next(),
    };
    escaped(text, value, iter::from_fn(first));
}

/// Nix never escapes the system. Where that can be read back, these are the same bytes; where not (a quote or a
/// backslash), no file made by Nix can disagree.
fn system(text: &mut impl Out, value: &[u8]) {
    escaped(text, value, memchr2_iter(b'"', b'\\', value));
}

/// Copies whole runs between the bytes at `escapes`.
fn escaped(text: &mut impl Out, value: &[u8], escapes: impl Iterator<Item = usize>) {
    text.put(b"\"");
    let mut start = 0;
    for at in escapes {
        let escaped = match value[at] {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            other => other,
        };
        text.put(&value[start..at]);
        text.put(&[b'\\', escaped]);
        start = at + 1;
    }
    text.put(&value[start..]);
    text.put(b"\"");
}

/// What needs no escape.
fn bare(text: &mut impl Out, value: &[u8]) {
    text.put(b"\"");
    text.put(value);
    text.put(b"\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = include_str!("../../../../fixtures/derivations/chain.json");

    #[test]
    fn a_file_is_taken_for_the_text_only_if_it_is_the_text() {
        let store_dir = StoreDir::default();
        for (_, derivation) in crate::json::parse(CHAIN.as_bytes(), &store_dir).unwrap() {
            let printed = Text::of(&derivation, &store_dir);
            let of_file = |file: &[u8]| {
                let text = Text::of_file(&derivation, &store_dir, file, None)?;
                Some((text.bytes.to_vec(), text.layout))
            };
            let file = printed.bytes.to_vec();
            assert_eq!(of_file(&file), Some((file.clone(), printed.layout)));
            for other in [&file[1..], &file[..file.len() - 1], &[&file[..], b" "].concat(), b""] {
                assert_eq!(of_file(other), None);
            }
            for place in 0..file.len() {
                let mut other = file.clone();
                other[place] ^= 1;
                assert_eq!(of_file(&other), None, "{place}");
            }
        }
    }
}
