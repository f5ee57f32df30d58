//! The generations of the format that can be printed, and what sets them apart.

use std::fmt;
use std::str::FromStr;

use crate::{Derivation, Output};

/// A form of the JSON, named after the first release of Nix that prints it.
///
/// Later ones have what earlier ones have not, so forms are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// An object of full paths. The system is called `platform`; no path of an output can be left open.
    Nix2_3,
    /// The system is called `system`, and outputs may be floating or deferred.
    Nix2_4,
    /// Outputs may be impure.
    #[default]
    Nix2_8,
    /// Fields are sorted by their names.
    Nix2_12,
    /// A derivation says its name.
    Nix2_15,
    /// Derivations that are outputs may be inputs, and each input is an object.
    Nix2_18,
    /// How an output is hashed is a field beside the algorithm.
    Nix2_23,
    /// Structured attributes are a field, where they were text in the variable `__json`.
    Nix2_30,
    /// Version 3: no path has the store directory in front, and fixed outputs have no path.
    Nix2_32,
    /// Version 4, of Nix since 2.33: all is in an object with the version, inputs are one field, hashes are SRI.
    V4,
}

/// A field of a derivation.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Args,
    Builder,
    Env,
    InputDrvs,
    InputSrcs,
    Inputs,
    Name,
    Outputs,
    Platform,
    StructuredAttrs,
    System,
    Version,
}

impl Format {
    /// All of them, oldest first.
    pub const ALL: [Self; 10] = [
        Self::Nix2_3,
        Self::Nix2_4,
        Self::Nix2_8,
        Self::Nix2_12,
        Self::Nix2_15,
        Self::Nix2_18,
        Self::Nix2_23,
        Self::Nix2_30,
        Self::Nix2_32,
        Self::V4,
    ];

    /// Returns the name by which it is asked for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nix2_3 => "nix-2.3",
            Self::Nix2_4 => "nix-2.4",
            Self::Nix2_8 => "nix-2.8",
            Self::Nix2_12 => "nix-2.12",
            Self::Nix2_15 => "nix-2.15",
            Self::Nix2_18 => "nix-2.18",
            Self::Nix2_23 => "nix-2.23",
            Self::Nix2_30 => "nix-2.30",
            Self::Nix2_32 => "nix-2.32",
            Self::V4 => "v4",
        }
    }

    /// Returns the oldest form from `self` on that can hold all of some derivations.
    pub fn or_later<'a>(self, derivations: impl IntoIterator<Item = &'a Derivation>) -> Self {
        derivations.into_iter().fold(self, |format, derivation| {
            let holds = |later: &Self| *later >= format && later.lack(derivation).is_none();
            Self::ALL.into_iter().find(holds).unwrap_or(Self::V4)
        })
    }

    /// Returns what a derivation has that this form has no way to say.
    pub(super) fn lack(self, derivation: &Derivation) -> Option<&'static str> {
        if self < Self::Nix2_18 && derivation.input_drvs.values().any(|wanted| !wanted.dynamic.is_empty()) {
            return Some("outputs that are derivations themselves");
        }
        derivation.outputs.values().find_map(|output| match output {
            Output::Impure { .. } if self < Self::Nix2_8 => Some("impure outputs"),
            Output::Floating { .. } if self < Self::Nix2_4 => Some("outputs named by their contents"),
            Output::Deferred if self < Self::Nix2_4 => Some("outputs whose path is left open"),
            _ => None,
        })
    }

    /// Returns the fields of a derivation in the order in which they are printed.
    pub(super) const fn fields(self) -> &'static [Field] {
        use Field::{
            Args, Builder, Env, InputDrvs, InputSrcs, Inputs, Name, Outputs, Platform, StructuredAttrs,
            System, Version,
        };
        match self {
            Self::Nix2_3 => &[Outputs, InputSrcs, InputDrvs, Platform, Builder, Args, Env],
            Self::Nix2_4 | Self::Nix2_8 => &[Outputs, InputSrcs, InputDrvs, System, Builder, Args, Env],
            Self::Nix2_12 => &[Args, Builder, Env, InputDrvs, InputSrcs, Outputs, System],
            Self::Nix2_15 | Self::Nix2_18 | Self::Nix2_23 => {
                &[Args, Builder, Env, InputDrvs, InputSrcs, Name, Outputs, System]
            }
            Self::Nix2_30 => {
                &[Args, Builder, Env, InputDrvs, InputSrcs, Name, Outputs, StructuredAttrs, System]
            }
            Self::Nix2_32 => {
                &[Args, Builder, Env, InputDrvs, InputSrcs, Name, Outputs, StructuredAttrs, System, Version]
            }
            Self::V4 => &[Args, Builder, Env, Inputs, Name, Outputs, StructuredAttrs, System, Version],
        }
    }

    /// Returns the version that is printed with each derivation; forms before 2.32 have none.
    pub(super) const fn version(self) -> Option<u32> {
        match self {
            Self::Nix2_32 => Some(3),
            Self::V4 => Some(4),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No form has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no form `{name}` of derivations; `nix-2.3` to `nix-2.32`, `v3` and `v4` are known")]
pub struct UnknownFormat {
    /// The name asked for.
    pub name: String,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Any release from 2.0 on stands for the form that it prints.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let minor = name.strip_prefix("nix-2.").and_then(|minor| minor.parse::<u32>().ok());
        match (name, minor) {
            ("v3", _) => Ok(Self::Nix2_32),
            ("v4", _) | (_, Some(33..)) => Ok(Self::V4),
            (_, Some(minor)) => Ok(of_release(minor)),
            (_, None) => Err(UnknownFormat { name: name.to_owned() }),
        }
    }
}

/// Returns what Nix 2.`minor` prints, where that is before version 4.
fn of_release(minor: u32) -> Format {
    match minor {
        0..4 => Format::Nix2_3,
        4..8 => Format::Nix2_4,
        8..12 => Format::Nix2_8,
        12..15 => Format::Nix2_12,
        15..18 => Format::Nix2_15,
        18..23 => Format::Nix2_18,
        23..30 => Format::Nix2_23,
        30..32 => Format::Nix2_30,
        32.. => Format::Nix2_32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_has_its_form() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let of = |name: &str| name.parse::<Format>().map(Format::name);
        assert_eq!(of("nix-2.7"), Ok("nix-2.4"));
        assert_eq!(of("nix-2.14"), Ok("nix-2.12"));
        assert_eq!(of("nix-2.24"), Ok("nix-2.23"));
        assert_eq!(of("v3"), Ok("nix-2.32"));
        assert_eq!(of("nix-2.36"), Ok("v4"));
        assert!(of("nix-3.0").is_err() && of("nix-2.").is_err() && of("v5").is_err());
    }
}
