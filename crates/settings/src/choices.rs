//! Settings that are one of a few words.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::error::ValueError;
use crate::value::{absolute, number};

/// Which builds are kept apart from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseChroot {
    /// All; one that asks not to be is refused.
    #[default]
    Always,
    /// All but those that ask not to be (`__noChroot`).
    Relaxed,
    /// None.
    Never,
}

impl UseChroot {
    /// Returns whether any build is kept apart.
    pub fn isolates(self) -> bool {
        self != Self::Never
    }

    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "true" | "yes" | "1" => Ok(Self::Always),
            "relaxed" => Ok(Self::Relaxed),
            "false" | "no" | "0" => Ok(Self::Never),
            _ => Err(ValueError::NotAChoice { expected: "`true`, `relaxed` or `false`" }),
        }
    }
}

impl fmt::Display for UseChroot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Always => "true",
            Self::Relaxed => "relaxed",
            Self::Never => "false",
        })
    }
}

/// How a build is kept apart from the host when `build-use-chroot` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Private namespaces; works for root and for an ordinary user.
    #[default]
    Namespaces,
    /// A plain chroot with bind mounts, as long ago; needs root.
    Chroot,
}

impl Isolation {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "namespaces" => Ok(Self::Namespaces),
            "chroot" => Ok(Self::Chroot),
            _ => Err(ValueError::NotAChoice { expected: "`namespaces` or `chroot`" }),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Chroot => "chroot",
        })
    }
}

/// What a build sees as `/bin/sh`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SandboxShell {
    /// A static busybox of the host, else its `sh` with the libraries it needs.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// That program, with the libraries it needs.
    Program(PathBuf),
}

impl SandboxShell {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            path if path.starts_with('/') => absolute(path).map(Self::Program),
            _ => Err(ValueError::NotAChoice { expected: "`auto`, `none` or the absolute path of a shell" }),
        }
    }
}

impl fmt::Display for SandboxShell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::None => out.write_str("none"),
            Self::Program(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Text for another program, which is passed on as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verbatim(pub String);

/// Which builds are observed, to say what they lacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    /// None.
    #[default]
    Never,
    /// Those that have failed are run once more for it.
    Retry,
    /// All.
    Always,
}

impl Explain {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "never" => Ok(Self::Never),
            "retry" => Ok(Self::Retry),
            "always" => Ok(Self::Always),
            _ => Err(ValueError::NotAChoice { expected: "`always`, `retry` or `never`" }),
        }
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Never => "never",
            Self::Retry => "retry",
            Self::Always => "always",
        })
    }
}

/// Which network a fixed-output build sees; every other build has its own loopback only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FodNetwork {
    /// One of its own, from which it reaches the outside, but neither this host nor other builds.
    #[default]
    Private,
    /// Its own loopback only.
    None,
    /// The host's.
    Host,
}

impl FodNetwork {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "private" => Ok(Self::Private),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => Err(ValueError::NotAChoice { expected: "`private`, `host` or `none`" }),
        }
    }
}

impl fmt::Display for FodNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Private => "private",
            Self::None => "none",
            Self::Host => "host",
        })
    }
}

/// When builds are put into control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseCgroups {
    /// When a limit needs them.
    #[default]
    Auto,
    /// Always; where that cannot be, nothing is built.
    Always,
    /// Never.
    Never,
}

impl UseCgroups {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" => Ok(Self::Always),
            "false" => Ok(Self::Never),
            _ => Err(ValueError::NotAChoice { expected: "`auto`, `true` or `false`" }),
        }
    }
}

impl fmt::Display for UseCgroups {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "true",
            Self::Never => "false",
        })
    }
}

/// A share of processor time, in the range of the kernel; 0 is none of one's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuWeight(u16);

impl CpuWeight {
    const MOST: usize = 10_000;

    /// Returns the weight, if there is one.
    pub fn get(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0.into())
    }

    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match number(text) {
            Ok(weight) if weight <= Self::MOST => Ok(Self(weight as u16)),
            _ => Err(ValueError::NotAChoice { expected: "a whole number from 0 to 10000" }),
        }
    }
}

impl fmt::Display for CpuWeight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// How many builds run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxJobs {
    /// One for each processor.
    Auto,
    /// That many.
    Count(NonZeroUsize),
}

impl MaxJobs {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let count =
            number(text).map_err(|_| ValueError::NotAChoice { expected: "`auto` or a whole number" })?;
        NonZeroUsize::new(count).map(Self::Count).ok_or(ValueError::NoJobs)
    }
}

impl Default for MaxJobs {
    fn default() -> Self {
        Self::Count(NonZeroUsize::MIN)
    }
}

impl fmt::Display for MaxJobs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Count(count) => count.fmt(out),
        }
    }
}

/// How much memory builds that run at the same time may be expected to take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryForBuilds {
    /// What there is for new programs when the first of them starts.
    #[default]
    Auto,
    /// That many bytes.
    Bytes(u64),
    /// It does not matter.
    NoMatter,
}

impl MemoryForBuilds {
    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            text => match number(text) {
                Ok(0) => Ok(Self::NoMatter),
                Ok(bytes) => Ok(Self::Bytes(bytes as u64)),
                Err(_) => Err(ValueError::NotAChoice { expected: "`auto` or a number of bytes, as in `8G`" }),
            },
        }
    }
}

impl fmt::Display for MemoryForBuilds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Bytes(bytes) => bytes.fmt(out),
            Self::NoMatter => out.write_str("0"),
        }
    }
}

/// The size of a tmpfs as the kernel takes it: a share of the memory, or bytes with a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsSize(String);

impl TmpfsSize {
    /// Returns the text for the mount option `size=`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn read(text: &str) -> Result<Self, ValueError> {
        let digits = text.strip_suffix(['%', 'k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(text);
        match digits.parse::<u64>() {
            // The kernel takes a size of 0 for "no limit", which nobody means.
            Ok(size) if size > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ValueError::NotASize),
        }
    }
}

impl Default for TmpfsSize {
    fn default() -> Self {
        Self("50%".to_owned())
    }
}

impl fmt::Display for TmpfsSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
