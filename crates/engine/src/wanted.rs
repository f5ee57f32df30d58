//! What a caller asks for, and what it gets.

use std::collections::{BTreeMap, BTreeSet};

use derivation::OutputName;
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
    /// A path that is valid already, as nothing says how to make it.
    Path(StorePath),
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

impl Selection {
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
        /// The derivation.
        drv: StorePath,
        /// Their paths.
        outputs: BTreeMap<OutputName, StorePath>,
    },
    /// The path asked for.
    Path(StorePath),
}
