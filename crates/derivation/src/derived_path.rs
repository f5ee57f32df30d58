//! What is wanted: a path, or outputs of a derivation, in words and in Nix's JSON.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};
use store_path::{NameError, Placeholder, StoreDir, StoreDirError, StorePath, StorePathError};

use crate::OutputName;

/// Which outputs are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputsSpec {
    /// All there are.
    All,
    /// These; there is one at least.
    Names(BTreeSet<OutputName>),
}

/// Something that is there, or will be when something was built.
///
/// In words it is `/nix/store/…-x`, `/nix/store/…-x.drv^out,dev` or `…^*`; and `/nix/store/…-x.drv^out^dev` where the
/// output `out` is a derivation itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedPath {
    /// What everything starts from: a derivation, unless nothing is wanted of it.
    pub path: StorePath,
    /// Outputs that are derivations, each of the one before.
    pub through: Vec<OutputName>,
    /// What is wanted of the last derivation.
    pub wanted: Wanted,
}

/// What is wanted of a [`DerivedPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The path itself.
    Itself,
    /// One output, where no more can be meant.
    One(OutputName),
    /// Outputs.
    Outputs(OutputsSpec),
}

/// Why something is not a [`DerivedPath`] or an [`OutputsSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerivedPathError {
    /// The JSON has another form.
    #[error("expected {expected}, found `{found}`")]
    Form {
        /// What it should be.
        expected: &'static str,
        /// What it is, in short.
        found: String,
    },
    /// A list of outputs without any.
    #[error("no output is named")]
    NoOutput,
    /// Not the name of an output.
    #[error("cannot read the name of an output")]
    Name(#[from] NameError),
    /// Not a full path in this store.
    #[error("cannot read a store path")]
    Path(#[from] StoreDirError),
    /// Not the last component of a path in a store.
    #[error("cannot read a store path")]
    BasePath(#[from] StorePathError),
    /// Only derivations have outputs.
    #[error("`{path}` is not a derivation, so it has no outputs")]
    NotDerivation {
        /// What it is.
        path: StorePath,
    },
}

impl OutputsSpec {
    fn parse_list<'text>(names: impl Iterator<Item = &'text str>) -> Result<Self, DerivedPathError> {
        let names: Vec<&str> = names.collect();
        if names == ["*"] {
            return Ok(Self::All);
        }
        let names: BTreeSet<OutputName> = names.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        if names.is_empty() { Err(DerivedPathError::NoOutput) } else { Ok(Self::Names(names)) }
    }

    /// Reads a list of names, or of `*` alone.
    pub(crate) fn parse_json(value: &Value) -> Result<Self, DerivedPathError> {
        let expected = "a list of names of outputs";
        let items = value.as_array().ok_or_else(|| form(expected, value))?;
        let names: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
        Self::parse_list(names.ok_or_else(|| form(expected, value))?.into_iter())
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::All => json!(["*"]),
            Self::Names(names) => names.iter().map(OutputName::as_str).collect(),
        }
    }
}

impl fmt::Display for OutputsSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("*"),
            Self::Names(names) => {
                let names: Vec<&str> = names.iter().map(OutputName::as_str).collect();
                formatter.write_str(&names.join(","))
            }
        }
    }
}

impl DerivedPath {
    /// Reads the words for it; `!` may stand for `^`.
    pub fn parse(text: &str, store_dir: &StoreDir) -> Result<Self, DerivedPathError> {
        let mut words = text.split(['^', '!']);
        let path = store_dir.parse(words.next().unwrap_or_default())?;
        let mut outputs: Vec<&str> = words.collect();
        let Some(last) = outputs.pop() else {
            return Ok(Self { path, through: Vec::new(), wanted: Wanted::Itself });
        };
        let through = outputs.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        let wanted = Wanted::Outputs(OutputsSpec::parse_list(last.split(','))?);
        Self { path, through, wanted }.checked()
    }

    /// Returns the words for it.
    pub fn print(&self, store_dir: &StoreDir) -> String {
        let mut text = store_dir.print(&self.path);
        for output in &self.through {
            text.push('^');
            text.push_str(output.as_str());
        }
        match &self.wanted {
            Wanted::Itself => text,
            Wanted::One(output) => format!("{text}^{output}"),
            Wanted::Outputs(outputs) => format!("{text}^{outputs}"),
        }
    }

    /// Reads what Nix prints: a base name, or an object with a `drvPath` and its `output` or `outputs`.
    pub fn parse_json(value: &Value) -> Result<Self, DerivedPathError> {
        let expected = "a store path, or an object of `drvPath` and `output` or `outputs`";
        let (mut inner, wanted) = match value {
            Value::Object(fields) if fields.len() == 2 => {
                let wanted = match (fields.get("output"), fields.get("outputs")) {
                    (Some(one), None) => Wanted::One(output(one)?),
                    (None, Some(several)) => Wanted::Outputs(OutputsSpec::parse_json(several)?),
                    _ => return Err(form(expected, value)),
                };
                (fields.get("drvPath").ok_or_else(|| form(expected, value))?, wanted)
            }
            _ => (value, Wanted::Itself),
        };
        let mut through = Vec::new();
        // Not recursive, though serde_json would not read what is nested deeply.
        while let Value::Object(fields) = inner {
            let (Some(drv), Some(one), 2) = (fields.get("drvPath"), fields.get("output"), fields.len())
            else {
                return Err(form("an object of `drvPath` and `output`", inner));
            };
            through.insert(0, output(one)?);
            inner = drv;
        }
        let path = inner.as_str().ok_or_else(|| form(expected, inner))?.parse::<StorePath>()?;
        Self { path, through, wanted }.checked()
    }

    /// Returns what Nix prints.
    pub fn to_json(&self) -> Value {
        let path = Value::from(self.path.to_string());
        let drv = self
            .through
            .iter()
            .fold(path, |drv, output| json!({ "drvPath": drv, "output": output.as_str() }));
        match &self.wanted {
            Wanted::Itself => drv,
            Wanted::One(output) => json!({ "drvPath": drv, "output": output.as_str() }),
            Wanted::Outputs(outputs) => json!({ "drvPath": drv, "outputs": outputs.to_json() }),
        }
    }

    /// Returns what stands for an output of the last derivation in texts of those that use it.
    pub fn placeholder(&self, output: &OutputName) -> Placeholder {
        let mut names = self.through.iter().chain([output]);
        let first = names.next().expect("there is the output at least");
        let first = Placeholder::of_output(&self.path, first.as_str());
        names.fold(first, |placeholder, name| placeholder.and_its_output(name.as_str()))
    }

    fn checked(self) -> Result<Self, DerivedPathError> {
        if self.wanted == Wanted::Itself || self.path.is_derivation() {
            return Ok(self);
        }
        Err(DerivedPathError::NotDerivation { path: self.path })
    }
}

fn output(value: &Value) -> Result<OutputName, DerivedPathError> {
    Ok(value.as_str().ok_or_else(|| form("the name of an output", value))?.parse()?)
}

fn form(expected: &'static str, found: &Value) -> DerivedPathError {
    let found = found.to_string().chars().take(100).collect();
    DerivedPathError::Form { expected, found }
}
