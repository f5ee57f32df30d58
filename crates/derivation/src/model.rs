//! What a derivation is.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::str::FromStr;

use litemap::LiteMap;
use smallvec::SmallVec;
use store_path::{Hash, HashAlgorithm, Method, Name, NameError, StoreDir, StorePath, output_name};

/// What is known of paths. They are looked up several times for each input, so a quick hash counts; it is keyed, as whoever
/// writes a derivation chooses the paths in it.
pub(crate) type Paths<T> = HashMap<StorePath, T, foldhash::fast::RandomState>;

/// The name of an output, such as `out` or `dev`.
///
/// Invariant: it has the form of a [`Name`], since it becomes the end of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputName(Name);

impl OutputName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for OutputName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        name.parse().map(Self)
    }
}

impl fmt::Display for OutputName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What is known about an output before it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Named by how it is built.
    InputAddressed(StorePath),
    /// Its contents are promised, and name it.
    Fixed {
        /// What `hash` is of.
        method: Method,
        /// The promise.
        hash: Hash,
        /// The path that follows from it.
        path: StorePath,
    },
    /// Named by contents that only the build will tell.
    Floating {
        /// What will be hashed.
        method: Method,
        /// How it will be hashed.
        algorithm: HashAlgorithm,
    },
    /// Named by how it is built, which is not settled: [`crate::check`] fills it in if it can; it cannot where
    /// an input's path is not known.
    Deferred,
    /// Like `Floating`, but different each time.
    Impure {
        /// What will be hashed.
        method: Method,
        /// How it will be hashed.
        algorithm: HashAlgorithm,
    },
}

impl Output {
    /// Returns the output's path, if that is known.
    pub fn path(&self) -> Option<&StorePath> {
        match self {
            Self::InputAddressed(path) | Self::Fixed { path, .. } => Some(path),
            Self::Floating { .. } | Self::Deferred | Self::Impure { .. } => None,
        }
    }
}

/// Names of outputs, each once and in order. Nearly always it is one, so they are no tree: a graph has ten such sets for each
/// derivation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputNames(SmallVec<[OutputName; 1]>);

impl OutputNames {
    /// Adds a name.
    pub fn insert(&mut self, name: OutputName) {
        if let Err(place) = self.0.binary_search(&name) {
            self.0.insert(place, name);
        }
    }
}

impl Deref for OutputNames {
    type Target = [OutputName];

    fn deref(&self) -> &[OutputName] {
        &self.0
    }
}

impl Extend<OutputName> for OutputNames {
    fn extend<I: IntoIterator<Item = OutputName>>(&mut self, names: I) {
        self.0.extend(names);
        // All at once: whoever writes a file may name many, in any order.
        self.0.sort();
        self.0.dedup();
    }
}

impl FromIterator<OutputName> for OutputNames {
    fn from_iter<I: IntoIterator<Item = OutputName>>(names: I) -> Self {
        let mut all = Self::default();
        all.extend(names);
        all
    }
}

impl<'a> IntoIterator for &'a OutputNames {
    type Item = &'a OutputName;
    type IntoIter = std::slice::Iter<'a, OutputName>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Which outputs of an input derivation are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputOutputs {
    /// Outputs of the derivation itself.
    pub outputs: OutputNames,
    /// Outputs that are derivations themselves, and what is wanted of those.
    pub dynamic: LiteMap<OutputName, InputOutputs>,
}

impl InputOutputs {
    /// Wants what any of `all` wants: at once, as each may want a lot. Recursive, but no deeper than the parsers let it be.
    pub(crate) fn merged(mut all: Vec<Self>) -> Self {
        if all.len() == 1 {
            return all.remove(0);
        }
        let mut outputs = OutputNames::default();
        let mut dynamic: BTreeMap<OutputName, Vec<Self>> = BTreeMap::new();
        outputs.extend(all.iter_mut().flat_map(|one| mem::take(&mut one.outputs.0)));
        for (name, inner) in all.into_iter().flat_map(|one| one.dynamic) {
            dynamic.entry(name).or_default().push(inner);
        }
        let dynamic = dynamic.into_iter().map(|(name, inner)| (name, Self::merged(inner))).collect();
        Self { outputs, dynamic }
    }
}

/// How deep [`InputOutputs`] may be nested; both parsers refuse more.
pub(crate) const MAX_DYNAMIC_DEPTH: usize = 32;

/// One build: a program, what it is given, and the outputs it makes.
///
/// Everything that is not a path or an output's name is bytes, as it is for the program. `B` holds them: they are its
/// own, or a part of the text they were read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation<B = Vec<u8>> {
    /// The name in its own path (without `.drv`) and in those of its outputs. Its file does not hold it.
    pub name: Name,
    /// What the program makes.
    pub outputs: LiteMap<OutputName, Output>,
    /// What has to be built before.
    pub input_drvs: LiteMap<StorePath, InputOutputs>,
    /// What has to be in the store before.
    pub input_srcs: BTreeSet<StorePath>,
    /// The kind of machine that can run the program, such as `x86_64-linux`.
    pub system: B,
    /// The program.
    pub builder: B,
    /// Its arguments, without the program's name.
    pub args: Vec<B>,
    /// Its environment. Structured attributes are JSON in the variable `__json`.
    pub env: LiteMap<B, B>,
}

/// What can hold the bytes of a derivation.
pub(crate) trait Bytes: AsRef<[u8]> + Borrow<[u8]> + Ord + Default + From<Vec<u8>> {}

impl<B: AsRef<[u8]> + Borrow<[u8]> + Ord + Default + From<Vec<u8>>> Bytes for B {}

impl<B> Derivation<B> {
    /// Whether the contents of the output are promised.
    pub fn is_fixed(&self) -> bool {
        self.outputs.values().any(|output| matches!(output, Output::Fixed { .. }))
    }

    /// Returns the outputs whose paths only a build would tell.
    pub fn unknown_outputs(&self) -> impl Iterator<Item = &OutputName> {
        self.outputs.iter().filter(|(_, output)| output.path().is_none()).map(|(name, _)| name)
    }

    /// Returns what the derivation's own file refers to: its inputs, not its outputs.
    pub fn references(&self) -> BTreeSet<StorePath> {
        self.referenced().cloned().collect()
    }

    /// Returns the same in order.
    pub(crate) fn referenced(&self) -> impl Iterator<Item = &StorePath> {
        let mut drvs = self.input_drvs.keys().peekable();
        let mut srcs = self.input_srcs.iter().peekable();
        std::iter::from_fn(move || match (drvs.peek(), srcs.peek()) {
            (Some(drv), Some(src)) if drv == src => drvs.next().and(srcs.next()),
            (Some(drv), Some(src)) if drv > src => srcs.next(),
            (Some(_), _) => drvs.next(),
            (None, _) => srcs.next(),
        })
    }

    /// Returns the same derivation, with its bytes held in another way.
    pub(crate) fn held<C: Ord>(self, hold: impl Fn(B) -> C) -> Derivation<C> {
        let Self { name, outputs, input_drvs, input_srcs, system, builder, args, env } = self;
        let env = env.into_iter().map(|(name, value)| (hold(name), hold(value))).collect();
        let args = args.into_iter().map(&hold).collect();
        Derivation {
            name,
            outputs,
            input_drvs,
            input_srcs,
            system: hold(system),
            builder: hold(builder),
            args,
            env,
        }
    }
}

/// Returns the name of the file of a derivation called `name`.
pub(crate) fn file_name(name: &Name) -> Result<Name, NameError> {
    format!("{name}.drv").parse()
}

/// Returns the path that follows from the promise a fixed output makes.
pub(crate) fn fixed_path(
    store_dir: &StoreDir,
    derivation: &Name,
    output: &OutputName,
    method: Method,
    hash: &Hash,
) -> Result<StorePath, NameError> {
    Ok(store_dir.fixed_path(&output_name(derivation, output.as_str())?, method, hash))
}

/// Splits what a derivation writes before an algorithm from it: `r:sha256`.
pub(crate) fn split_method(text: &str) -> (Method, &str) {
    [Method::Nar, Method::Text, Method::Git]
        .into_iter()
        .find_map(|method| Some((method, text.strip_prefix(method.prefix())?)))
        .unwrap_or((Method::Flat, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs_are_in_order_and_there_once() {
        let names =
            |names: &[&str]| -> OutputNames { names.iter().map(|name| name.parse().unwrap()).collect() };
        let mut some = names(&["out", "dev", "out", "bin"]);
        assert_eq!(some, names(&["bin", "dev", "out"]));
        some.extend(names(&["man", "dev", "a"]).iter().cloned());
        some.insert("lib".parse().unwrap());
        some.insert("lib".parse().unwrap());
        assert_eq!(
            some.iter().map(OutputName::as_str).collect::<Vec<_>>(),
            ["a", "bin", "dev", "lib", "man", "out"]
        );
    }
}
