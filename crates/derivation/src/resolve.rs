//! Resolving: where a derivation means outputs of others, it is given their paths.
//!
//! What is built of a derivation whose inputs' paths only their builds tell is another derivation, which needs
//! nothing but paths that are there. Two that differ in how an input is made, but not in what came out, resolve
//! to the same one; so whatever is known about that one holds for both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use litemap::LiteMap;
use store_path::{Placeholder, StoreDir, StorePath};

use crate::{CheckError, Checked, Derivation, InputOutputs, Modulo, Output, OutputName, check};

/// One output of an input derivation.
///
/// With several names, all but the last are outputs that are derivations themselves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The input derivation.
    pub drv: StorePath,
    /// The outputs that lead to derivations which are not there before they are built.
    pub through: Vec<OutputName>,
    /// The output of the last one.
    pub output: OutputName,
}

/// As it stands on a command line: `…-x.drv^out`, `…-x.drv^out^dev`.
impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.drv)?;
        self.through.iter().chain([&self.output]).try_for_each(|name| write!(formatter, "^{name}"))
    }
}

/// Why a derivation cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The path of an input is not known.
    #[error("the path of its input `{0}` is not known before that is built")]
    Unknown(Link),
    /// What it resolves to breaks a rule.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl Derivation {
    /// Returns every output that it takes in of other derivations.
    pub fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (drv, wanted) in &self.input_drvs {
            push_links(drv, &mut Vec::new(), wanted, &mut links);
        }
        links
    }
}

/// Recursive, but no deeper than the parsers let it be.
fn push_links(drv: &StorePath, through: &mut Vec<OutputName>, wanted: &InputOutputs, links: &mut Vec<Link>) {
    let link =
        |output: &OutputName| Link { drv: drv.clone(), through: through.clone(), output: output.clone() };
    links.extend(wanted.outputs.iter().map(link));
    for (output, inner) in &wanted.dynamic {
        through.push(output.clone());
        push_links(drv, through, inner, links);
        through.pop();
    }
}

/// Whether nothing about a derivation has to be found out before it is built, save its outputs.
pub fn is_resolved(derivation: &Derivation) -> bool {
    derivation.input_drvs.is_empty()
        && !derivation.outputs.values().any(|output| matches!(output, Output::Deferred))
}

/// Returns the derivation that is built in place of `derivation`, once `path_of` knows every input's path.
///
/// Inputs become sources; what stands for their paths is replaced in the builder, its arguments, and the names and
/// the values of variables, structured attributes among them. Deferred outputs get their paths.
pub fn resolve(
    derivation: &Derivation,
    store_dir: &StoreDir,
    path_of: &mut dyn FnMut(&Link) -> Option<StorePath>,
) -> Result<Checked, ResolveError> {
    let mut input_srcs = derivation.input_srcs.clone();
    let mut rewrites = Rewrites::default();
    for link in derivation.links() {
        let path = path_of(&link).ok_or_else(|| ResolveError::Unknown(link.clone()))?;
        rewrites.add(&link.placeholder(), &store_dir.print(&path));
        input_srcs.insert(path);
    }
    let resolved = rewrites.apply_to(derivation, input_srcs);
    Ok(check(resolved, &mut Modulo::new(store_dir.clone()))?)
}

impl Link {
    /// Returns the output that is the derivation which this is an output of; none where that is `drv` itself.
    pub fn file(&self) -> Option<Self> {
        let (output, through) = self.through.split_last()?;
        Some(Self { drv: self.drv.clone(), through: through.to_vec(), output: output.clone() })
    }

    /// Returns an output of the derivation that this output is.
    #[must_use]
    pub fn and_its_output(mut self, output: OutputName) -> Self {
        self.through.push(std::mem::replace(&mut self.output, output));
        self
    }

    pub(crate) fn placeholder(&self) -> Placeholder {
        let mut names = self.through.iter().chain([&self.output]);
        let first = names.next().expect("there is the last name at least");
        let first = Placeholder::of_output(&self.drv, first.as_str());
        names.fold(first, |placeholder, name| placeholder.and_its_output(name.as_str()))
    }
}

/// Placeholders and the paths that take their places.
#[derive(Default)]
struct Rewrites(HashMap<Box<[u8]>, Vec<u8>>);

impl Rewrites {
    fn add(&mut self, placeholder: &Placeholder, path: &str) {
        self.0.insert(placeholder.to_string().into_bytes().into(), path.as_bytes().to_vec());
    }

    fn apply_to(&self, derivation: &Derivation, input_srcs: BTreeSet<StorePath>) -> Derivation {
        let mut env = BTreeMap::new();
        for (name, value) in &derivation.env {
            // Of two names that become the same, the first one counts, as in Nix.
            env.entry(self.apply(name)).or_insert_with(|| self.apply(value));
        }
        Derivation {
            name: derivation.name.clone(),
            outputs: derivation.outputs.clone(),
            input_drvs: LiteMap::new(),
            input_srcs,
            system: derivation.system.clone(),
            builder: self.apply(&derivation.builder),
            args: derivation.args.iter().map(|argument| self.apply(argument)).collect(),
            env: env.into_iter().collect(),
        }
    }

    /// One pass over the text, however many placeholders there are: each begins with the only `/` in it.
    fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut rewritten = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
            let (before, from) = rest.split_at(slash);
            rewritten.extend_from_slice(before);
            let path = from.get(..Placeholder::TEXT_LEN).and_then(|found| self.0.get(found));
            let (taken, added) = match path {
                Some(path) => (Placeholder::TEXT_LEN, path.as_slice()),
                None => (1, &from[..1]),
            };
            rewritten.extend_from_slice(added);
            rest = &from[taken..];
        }
        rewritten.extend_from_slice(rest);
        rewritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(drv: &str, through: &[&str], output: &str) -> Link {
        Link {
            drv: format!("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-{drv}.drv").parse().unwrap(),
            through: through.iter().map(|name| name.parse().unwrap()).collect(),
            output: output.parse().unwrap(),
        }
    }

    fn path(name: &str) -> StorePath {
        format!("f1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-{name}").parse().unwrap()
    }

    /// Takes `inputs` in, each meant in every place where one can be.
    fn user(inputs: &[Link], outputs: Output) -> Derivation {
        let mut input_drvs: BTreeMap<StorePath, InputOutputs> = BTreeMap::new();
        let mut text = Vec::new();
        for link in inputs {
            let mut wanted = input_drvs.entry(link.drv.clone()).or_default();
            for name in &link.through {
                wanted = wanted.dynamic.entry(name.clone()).or_default();
            }
            wanted.outputs.insert(link.output.clone());
            text.extend(format!("<{}>", link.placeholder()).into_bytes());
        }
        Derivation {
            name: "user".parse().unwrap(),
            outputs: [("out".parse().unwrap(), outputs)].into_iter().collect(),
            input_drvs: input_drvs.into_iter().collect(),
            input_srcs: BTreeSet::from([path("source")]),
            system: b"x".to_vec(),
            builder: text.clone(),
            args: vec![b"-c".to_vec(), text.clone()],
            env: [(text.clone(), text)].into_iter().collect(),
        }
    }

    fn resolved(derivation: &Derivation) -> Result<Derivation, ResolveError> {
        let path_of = &mut |link: &Link| {
            let names: Vec<&str> =
                link.through.iter().chain([&link.output]).map(OutputName::as_str).collect();
            Some(path(&format!("{}-{}", link.drv.name().as_str().trim_end_matches(".drv"), names.join("-"))))
        };
        resolve(derivation, &StoreDir::default(), path_of).map(|checked| checked.derivation().clone())
    }

    #[test]
    fn every_place_is_replaced_at_every_depth() {
        let inputs = [link("a", &[], "out"), link("a", &["out"], "dev"), link("b", &["x", "y"], "out")];
        let made = resolved(&user(&inputs, Output::Deferred)).unwrap();
        let full = |name| StoreDir::default().print(&path(name));
        let text = format!("<{}><{}><{}>", full("a-out"), full("a-out-dev"), full("b-x-y-out")).into_bytes();
        assert_eq!((&made.builder, &made.args[1]), (&text, &text));
        assert_eq!(made.env.get(&text), Some(&text));
        let sources = ["source", "a-out", "a-out-dev", "b-x-y-out"].map(path);
        assert_eq!(made.input_srcs, BTreeSet::from(sources));
        assert!(is_resolved(&made));
    }

    /// The variable is part of the hash that names the output, so it has to be there before: what comes out is
    /// right by the rules for any other derivation.
    #[test]
    fn deferred_outputs_get_a_path_that_lasts() {
        let made = resolved(&user(&[link("a", &[], "out")], Output::Deferred)).unwrap();
        let out = made.outputs.values().next().and_then(Output::path).unwrap();
        assert_eq!(made.env[&b"out".to_vec()], StoreDir::default().print(out).into_bytes());
        let again = check(made.clone(), &mut Modulo::new(StoreDir::default())).unwrap();
        assert_eq!(again.derivation(), &made);
    }

    #[test]
    fn a_link_leads_through_the_files_of_derivations() {
        let deep = link("a", &["x", "y"], "z");
        assert_eq!(deep.file(), Some(link("a", &["x"], "y")));
        assert_eq!(deep.file().unwrap().and_its_output("z".parse().unwrap()), deep);
        assert_eq!(link("a", &[], "x").file(), None);
    }

    #[test]
    fn an_unknown_input_is_named() {
        let input = link("a", &["out"], "dev");
        let derivation = user(std::slice::from_ref(&input), Output::Deferred);
        let error = resolve(&derivation, &StoreDir::default(), &mut |_| None).unwrap_err();
        assert_eq!(error, ResolveError::Unknown(input));
    }

    #[test]
    fn what_only_looks_like_a_placeholder_stays() {
        let known = link("a", &[], "out");
        let mut derivation = user(std::slice::from_ref(&known), Output::Deferred);
        let other = Placeholder::of_output(&known.drv, "other").to_string();
        let cut = &known.placeholder().to_string()[..50];
        derivation.builder = format!("/{}{other}//{cut}", known.placeholder()).into_bytes();
        let expected = format!("/{}{other}//{cut}", StoreDir::default().print(&path("a-out")));
        assert_eq!(resolved(&derivation).unwrap().builder, expected.into_bytes());
    }
}
