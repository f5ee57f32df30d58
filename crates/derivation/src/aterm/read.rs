//! Reading the text.

use std::borrow::Cow;
use std::ops::Range;

use litemap::LiteMap;
use store_path::{Hash, HashAlgorithm, Method, Name, StoreDir, StorePath};

use super::reader::Reader;
use super::{DYNAMIC_HEAD, Layout, ParseError, Problem};
use crate::model::{Bytes, MAX_DYNAMIC_DEPTH, fixed_path, split_method};
use crate::{Derivation, InputOutputs, Output, OutputName, OutputNames};

/// Reads the text of a `.drv` file; its own path says the `name`, without `.drv`.
///
/// What the whole has to fulfil is [`crate::check`]'s: here, only the path of a fixed output is held against
/// its hash.
pub fn parse(text: &[u8], store_dir: &StoreDir, name: &Name) -> Result<Derivation, ParseError> {
    examine(text, store_dir, name)
        .map(|(derivation, _)| derivation)
        .map_err(|mut problems| problems.swap_remove(0))
}

/// The same, or all that is wrong with it. What holds the bytes may borrow them from the text. The layout of the text
/// is there if it is what would be printed and that was easy to see.
pub(crate) fn examine<'a, B: Ord + AsRef<[u8]> + From<Cow<'a, [u8]>>>(
    text: &'a [u8],
    store_dir: &StoreDir,
    name: &Name,
) -> Result<(Derivation<B>, Option<Layout>), Vec<ParseError>> {
    let mut reader = Reader::new(text);
    let read = derivation(&mut reader, &Context { store_dir, name, extent: Extent::All });
    let is_as_printed = reader.is_as_printed();
    let (derivation, end) = match read {
        Ok(derivation) => (Some(derivation), None),
        Err(problem) => (None, Some(problem)),
    };
    let problems = reader.into_problems(end);
    match derivation {
        Some((derivation, layout)) if problems.is_empty() => {
            Ok((derivation, Some(layout).filter(|_| is_as_printed)))
        }
        _ => {
            let error = |(offset, problem)| ParseError { name: name.to_string(), offset, problem };
            Err(problems.into_iter().map(error).collect())
        }
    }
}

/// Reads no more than the paths depend on that follow from a derivation: no arguments, and of the variables those alone
/// that are named after outputs.
///
/// There is nothing where that is not enough: something is wrong, a path or its variable has to be filled in, or the text
/// is not what would be printed, so that it has to be.
pub(crate) fn skim<'a, B: Bytes + From<Cow<'a, [u8]>>>(
    text: &'a [u8],
    store_dir: &StoreDir,
    name: &Name,
) -> Option<(Derivation<B>, Layout)> {
    let mut reader = Reader::new(text);
    let read = derivation::<B>(&mut reader, &Context { store_dir, name, extent: Extent::Paths }).ok()?;
    let is_empty = |name: &OutputName| {
        let variable = read.0.env.get(name.as_str().as_bytes());
        variable.is_none_or(|variable| variable.as_ref().is_empty())
    };
    let is_filled_in = |(name, output): (&OutputName, &Output)| match output {
        Output::Deferred => true,
        Output::Fixed { .. } => is_empty(name),
        Output::InputAddressed(_) | Output::Floating { .. } | Output::Impure { .. } => false,
    };
    let is_enough = reader.is_as_printed() && !read.0.outputs.iter().any(is_filled_in);
    (is_enough && reader.into_problems(None).is_empty()).then_some(read)
}

struct Context<'a> {
    store_dir: &'a StoreDir,
    name: &'a Name,
    extent: Extent,
}

/// How much is kept of what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    /// What [`skim`] keeps.
    Paths,
}

fn derivation<'a, B: Ord + AsRef<[u8]> + From<Cow<'a, [u8]>>>(
    reader: &mut Reader<'a>,
    context: &Context<'_>,
) -> Result<(Derivation<B>, Layout), Problem> {
    let dynamic_depth = head(reader)?;
    let mut layout = Layout::default();
    let outputs = reader.map(output_name, |reader, name| output(reader, context, name, &mut layout))?;
    reader.expect(",")?;
    let path = |reader: &mut Reader<'a>| reader.make(|text| context.path(&text));
    let inputs = |reader: &mut Reader<'a>| {
        reader.map(path, |reader, _| wanted_outputs(reader, dynamic_depth).map(Some))
    };
    let input_drvs;
    (input_drvs, layout.inputs) = placed(reader, inputs)?;
    if dynamic_depth > 0 && input_drvs.values().all(|input| input.dynamic.is_empty()) {
        reader.differs();
    }
    reader.expect(",")?;
    let input_srcs = reader.set(path)?;
    reader.expect(",")?;
    let system = system(reader)?;
    reader.expect(",")?;
    let builder = bytes(reader)?;
    reader.expect(",")?;
    let args = arguments(reader, context.extent)?;
    reader.expect(",")?;
    let env = match context.extent {
        Extent::All => environment(reader, &outputs, &mut layout)?,
        Extent::Paths => variables_of(reader, &outputs, &mut layout)?,
    };
    reader.expect(")")?;
    reader.end()?;
    let name = context.name.clone();
    let derivation = Derivation { name, outputs, input_drvs, input_srcs, system, builder, args, env };
    Ok((derivation, layout))
}

/// Returns how deep dynamic outputs may be nested: only the newer format has them.
pub(super) fn head(reader: &mut Reader<'_>) -> Result<usize, Problem> {
    if reader.take(DYNAMIC_HEAD) {
        return Ok(MAX_DYNAMIC_DEPTH);
    }
    if reader.take("DrvWithVersion(") {
        return Err(Problem::Version { version: lossy(&reader.string()?).into_owned() });
    }
    reader.expect("Derive(").map(|()| 0)
}

fn output(
    reader: &mut Reader<'_>,
    context: &Context<'_>,
    name: Option<&OutputName>,
    layout: &mut Layout,
) -> Result<Option<Output>, Problem> {
    let start = reader.offset();
    let (path, place) = placed(reader, Reader::bare)?;
    layout.outputs.push(unquoted(place));
    reader.expect(",")?;
    let algorithm = reader.bare()?;
    reader.expect(",")?;
    let hash = reader.bare()?;
    let Some(name) = name else { return Ok(None) };
    let output = context.output(name, &path, &algorithm, &hash);
    if !output.as_ref().is_ok_and(|output| is_printed_as(output, &algorithm, &hash)) {
        reader.differs();
    }
    Ok(output.map_err(|problem| reader.note(start, problem)).ok())
}

impl Context<'_> {
    fn path(&self, text: &[u8]) -> Result<StorePath, Problem> {
        self.store_dir.parse(text).map_err(Problem::Path)
    }

    fn output(
        &self,
        name: &OutputName,
        path: &[u8],
        algorithm: &[u8],
        hash: &[u8],
    ) -> Result<Output, Problem> {
        match (path, algorithm, hash) {
            (b"", b"", b"") => Ok(Output::Deferred),
            (_, b"", b"") => Ok(Output::InputAddressed(self.path(path)?)),
            (b"", _, b"") => method_and_algorithm(algorithm)
                .map(|(method, algorithm)| Output::Floating { method, algorithm }),
            (b"", _, b"impure") => method_and_algorithm(algorithm)
                .map(|(method, algorithm)| Output::Impure { method, algorithm }),
            (b"", ..) | (_, b"", _) | (.., b"" | b"impure") => {
                let [path, algorithm, hash] = [path, algorithm, hash].map(|text| lossy(text).into_owned());
                Err(Problem::OutputForm { path, algorithm, hash })
            }
            _ => self.fixed(name, self.path(path)?, method_and_algorithm(algorithm)?, hash),
        }
    }

    fn fixed(
        &self,
        name: &OutputName,
        stated: StorePath,
        (method, algorithm): (Method, HashAlgorithm),
        hash: &[u8],
    ) -> Result<Output, Problem> {
        let hash = Hash::parse(&lossy(hash), Some(algorithm)).map_err(Problem::Hash)?;
        let path = fixed_path(self.store_dir, self.name, name, method, &hash).map_err(Problem::Name)?;
        if path == stated {
            Ok(Output::Fixed { method, hash, path })
        } else {
            Err(Problem::FixedPath { stated, computed: path })
        }
    }
}

/// Whether these words are what would be printed of an output.
fn is_printed_as(output: &Output, algorithm: &[u8], hash: &[u8]) -> bool {
    let (method, printed) = match output {
        // Both are empty.
        Output::InputAddressed(_) | Output::Deferred => return true,
        Output::Fixed { method, hash, .. } => (method, hash.prefixed_base16()),
        Output::Floating { method, algorithm } => (method, format!("{algorithm}:")),
        Output::Impure { method, algorithm } => (method, format!("{algorithm}:impure")),
    };
    let words = printed.split_once(':').map(|(name, digits)| [name.as_bytes(), digits.as_bytes()]);
    let name = algorithm.strip_prefix(method.prefix().as_bytes());
    words.is_some_and(|words| name.map(|name| [name, hash]) == Some(words))
}

fn method_and_algorithm(text: &[u8]) -> Result<(Method, HashAlgorithm), Problem> {
    let text = lossy(text);
    let (method, algorithm) = split_method(&text);
    let algorithm = algorithm.parse().map_err(Problem::Hash)?;
    if method == Method::Text && algorithm != HashAlgorithm::Sha256 {
        return Err(Problem::TextAlgorithm);
    }
    Ok((method, algorithm))
}

pub(super) fn wanted_outputs(reader: &mut Reader<'_>, depth_left: usize) -> Result<InputOutputs, Problem> {
    let start = reader.offset();
    // The older format has only the first form, where this is an error that says so.
    let is_nested = depth_left > 0 && reader.take("(");
    let outputs: OutputNames = reader.set(output_name)?;
    let mut dynamic = LiteMap::new();
    if is_nested {
        if depth_left == 1 {
            return Err(Problem::TooDeep);
        }
        reader.expect(",")?;
        dynamic = reader.map(output_name, |reader, _| wanted_outputs(reader, depth_left - 1).map(Some))?;
        reader.expect(")")?;
        if dynamic.is_empty() {
            reader.differs();
        }
    }
    if outputs.is_empty() && dynamic.is_empty() {
        reader.note(start, Problem::NothingWanted);
    }
    Ok(InputOutputs { outputs, dynamic })
}

fn output_name(reader: &mut Reader<'_>) -> Result<Option<OutputName>, Problem> {
    reader.make(|text| lossy(&text).parse().map_err(Problem::Name))
}

/// Nix escapes no white space in it.
fn system<'a, B: From<Cow<'a, [u8]>>>(reader: &mut Reader<'a>) -> Result<B, Problem> {
    let system = reader.string()?;
    if system.iter().any(|byte| b"\n\r\t".contains(byte)) {
        reader.differs();
    }
    Ok(B::from(system))
}

fn arguments<'a, B: From<Cow<'a, [u8]>>>(reader: &mut Reader<'a>, extent: Extent) -> Result<Vec<B>, Problem> {
    let mut arguments = Vec::new();
    reader.list(|reader| {
        match extent {
            Extent::All => arguments.push(bytes(reader)?),
            Extent::Paths => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(arguments)
}

fn bytes<'a, B: From<Cow<'a, [u8]>>>(reader: &mut Reader<'a>) -> Result<B, Problem> {
    reader.string().map(B::from)
}

/// Notes where the values are of the variables that are named after outputs.
fn environment<'a, B: Ord + AsRef<[u8]> + From<Cow<'a, [u8]>>>(
    reader: &mut Reader<'a>,
    outputs: &LiteMap<OutputName, Output>,
    layout: &mut Layout,
) -> Result<LiteMap<B, B>, Problem> {
    let mut names = outputs.keys().map(|name| name.as_str().as_bytes()).peekable();
    let value = |reader: &mut Reader<'a>, name: Option<&B>| {
        let (value, place) = placed(reader, bytes)?;
        let Some(name) = name.map(B::as_ref) else { return Ok(None) };
        // Both are in order, or the layout is of no use.
        while names.next_if(|output| *output < name).is_some() {}
        layout.outputs.extend((names.peek() == Some(&name)).then(|| unquoted(place)));
        Ok(Some(value))
    };
    reader.map(|reader| bytes(reader).map(Some), value)
}

/// Reads the variables that are named after outputs, and goes over all others. Should they not be in order, the text is not
/// what would be printed.
fn variables_of<'a, B: Ord + AsRef<[u8]> + From<Cow<'a, [u8]>>>(
    reader: &mut Reader<'a>,
    outputs: &LiteMap<OutputName, Output>,
    layout: &mut Layout,
) -> Result<LiteMap<B, B>, Problem> {
    let mut names = outputs.keys().map(|name| name.as_str().as_bytes()).peekable();
    let mut found = LiteMap::new();
    let mut last: Option<Cow<'a, [u8]>> = None;
    reader.list(|reader| {
        reader.expect("(")?;
        let name = reader.string()?;
        reader.expect(",")?;
        if last.as_ref().is_some_and(|last| *last >= name) {
            reader.differs();
        }
        while names.next_if(|output| *output < &*name).is_some() {}
        if names.peek() == Some(&&*name) {
            let (value, place) = placed(reader, bytes)?;
            layout.outputs.push(unquoted(place));
            found.insert(B::from(name.clone()), value);
        } else {
            reader.skip()?;
        }
        last = Some(name);
        reader.expect(")")
    })?;
    Ok(found)
}

/// Returns where something is, too.
fn placed<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Problem>,
) -> Result<(T, Range<usize>), Problem> {
    let start = reader.offset();
    let value = read(reader)?;
    Ok((value, start..reader.offset()))
}

/// Leaves the quotes of a string out.
fn unquoted(string: Range<usize>) -> Range<usize> {
    string.start + 1..string.end - 1
}

/// Bytes that are no text become a character that no name, path or hash may contain.
fn lossy(text: &[u8]) -> Cow<'_, str> {
    str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}
