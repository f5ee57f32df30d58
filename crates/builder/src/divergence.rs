//! How what came out of a build differs from what came out of another one.

use derivation::OutputName;
use store_path::StorePath;

/// How what came out of a build differs from what came out of another one of the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The outputs that differ; never none.
    pub outputs: Vec<Diverged>,
}

/// An output that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// Which one.
    pub output: OutputName,
    /// The path that it was compared with.
    pub path: StorePath,
}

impl Divergence {
    /// Which outputs differ, as the end of a sentence.
    pub(crate) fn told(&self) -> String {
        let names: Vec<String> =
            self.outputs.iter().map(|diverged| format!("`{}`", diverged.output)).collect();
        match names.as_slice() {
            [name] => format!("its output {name} differs"),
            names => format!("its outputs {} differ", names.join(", ")),
        }
    }
}
