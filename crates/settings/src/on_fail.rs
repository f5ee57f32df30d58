//! What becomes of the sandbox of a build that has failed.

use std::fmt;

use crate::error::ValueError;
use crate::table::Settings;

/// What becomes of the sandbox of a build that has failed, before it is thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFail {
    /// Nothing.
    #[default]
    None,
    /// Its build directory is kept.
    Keep,
    /// A shell is opened in it.
    Shell,
}

impl OnFail {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "none" => Ok(Self::None),
            "keep" => Ok(Self::Keep),
            "shell" => Ok(Self::Shell),
            _ => Err(ValueError::NotAChoice { expected: "`shell`, `keep` or `none`" }),
        }
    }
}

impl fmt::Display for OnFail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "none",
            Self::Keep => "keep",
            Self::Shell => "shell",
        })
    }
}

impl Settings {
    /// Returns whether the build directory of a build that fails is kept, for either of two settings.
    pub fn keeps_failed(&self) -> bool {
        self.keep_failed || self.on_fail == OnFail::Keep
    }
}
