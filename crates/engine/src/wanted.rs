//! What a caller asks for, and what it gets.

use std::collections::{BTreeMap, BTreeSet};

use derivation::{Link, OutputName};
use store_path::StorePath;

/// One thing that has to become valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Outputs of a derivation that is in the store.
    Outputs {
        /// The derivation.
        drv: StorePath,
        /// Which of its outputs.
        outputs: Selection,
    },
    /// Outputs of a derivation that has to be built itself.
    Made {
        /// The output that is the derivation.
        file: Link,
        /// Which of that one's outputs.
        outputs: Selection,
    },
    /// A path that is valid already, as nothing says how to make it.
    Path(StorePath),
}

impl Wanted {
    /// Returns what has to be in the store to begin with.
    pub fn start(&self) -> &StorePath {
        match self {
            Self::Outputs { drv, .. } | Self::Made { file: Link { drv, .. }, .. } => drv,
            Self::Path(path) => path,
        }
    }
}

/// Which outputs of a derivation are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All it has.
    All,
    /// These.
    Named(BTreeSet<OutputName>),
}

impl Default for Selection {
    /// None at all.
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl From<OutputName> for Selection {
    fn from(name: OutputName) -> Self {
        Self::Named(BTreeSet::from([name]))
    }
}

impl Selection {
    /// Whether it means all that `other` means.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Named(_), Self::All) => false,
            (Self::Named(names), Self::Named(others)) => names.is_superset(others),
        }
    }

    /// Adds what `other` means.
    pub(crate) fn extend(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Named(names), Self::Named(more)) => names.extend(more.iter().cloned()),
        }
    }
}

/// What became of a [`Wanted`]: the valid paths it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Realised {
    /// The outputs asked for.
    Outputs {
        /// The derivation; where that had to be built, the one that came out.
        drv: StorePath,
        /// Their paths.
        outputs: BTreeMap<OutputName, StorePath>,
    },
    /// The path asked for.
    Path(StorePath),
}
