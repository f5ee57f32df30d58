//! The forms in which derivations are printed: every generation of the JSON, and the text of a `.drv` file.

use std::io::{self, Write};
use std::str::FromStr;

use anyhow::{Result, bail};
use derivation::json::{self, Format, UnknownFormat};
use derivation::{Derivation, aterm};
use store_path::{StoreDir, StorePath};

/// What `--help` says about the forms.
pub(crate) const HELP: &str = "\
Forms, by the first release of Nix that prints them; any other release, as in nix-2.24, means what that one prints:
  nix-2.3   full paths, `platform`                 nix-2.18  an object for each input derivation, dynamic outputs
  nix-2.4   `system`, floating and deferred        nix-2.23  `method` beside `hashAlgo`
  nix-2.8   impure outputs                         nix-2.30  `structuredAttrs` in place of `__json`
  nix-2.12  fields sorted                          nix-2.32  version 3: names without the store directory (also v3)
  nix-2.15  `name`                                 v4        version 4, as Nix prints it since 2.33
  aterm     the text of the `.drv` file";

/// How derivations are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON of that generation.
    Json(Format),
    /// The text of a `.drv` file.
    Aterm,
}

impl FromStr for Form {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        if name == "aterm" { Ok(Self::Aterm) } else { name.parse().map(Self::Json) }
    }
}

impl Form {
    /// Returns what is printed when no form was asked for: that of Nix 2.8, or the first one that can hold all.
    pub(crate) fn default_for<'a>(derivations: impl IntoIterator<Item = &'a Derivation>) -> Self {
        Self::Json(Format::default().or_later(derivations))
    }

    /// Writes derivations, with a line feed at the end of JSON only: a `.drv` file has none.
    pub(crate) fn write(
        self,
        store_dir: &StoreDir,
        derivations: &[(StorePath, &Derivation)],
        to: &mut impl Write,
    ) -> Result<()> {
        match (self, derivations) {
            (Self::Json(format), _) => {
                let text = json::print(format, store_dir, derivations)?;
                Ok(to.write_all(text.as_bytes())?)
            }
            (Self::Aterm, [(_, derivation)]) => Ok(to.write_all(&aterm::print(derivation, store_dir))?),
            (Self::Aterm, _) => bail!(
                "the form `aterm` holds one derivation, and these are {}; `store derivation convert --format aterm \
                 --output DIR` writes a file for each",
                derivations.len()
            ),
        }
    }

    /// Writes one derivation without its path, in a form that `nix derivation add` can read.
    pub(crate) fn write_bare(
        self,
        store_dir: &StoreDir,
        derivation: &Derivation,
        to: &mut impl Write,
    ) -> Result<()> {
        let text = match self {
            Self::Json(format) => json::print_bare(format, store_dir, derivation)?.into_bytes(),
            Self::Aterm => aterm::print(derivation, store_dir),
        };
        let written: io::Result<()> = to.write_all(&text);
        Ok(written?)
    }
}
