//! What a build sees of the host: the entries of `build-chroot-dirs`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::ValueError;
use crate::value::absolute;

/// One file or directory of the host that builds see: `target[=source][?]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChrootDir {
    /// Where a build sees it; absolute, never `/`.
    pub target: PathBuf,
    /// Where it lies on the host; absolute.
    pub source: PathBuf,
    /// Whether it is passed over when the host does not have it.
    pub optional: bool,
}

impl ChrootDir {
    fn read(entry: &str) -> Result<Self, ValueError> {
        let (paths, optional) = entry.strip_suffix('?').map_or((entry, false), |paths| (paths, true));
        let (target, source) = paths.split_once('=').unwrap_or((paths, paths));
        let (target, source) = (absolute(target)?, absolute(source)?);
        if target == Path::new("/") {
            return Err(ValueError::Root);
        }
        Ok(Self { target, source, optional })
    }
}

impl fmt::Display for ChrootDir {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.target.display())?;
        if self.source != self.target || is_private(&self.target) {
            write!(out, "={}", self.source.display())?;
        }
        // A name that ends in the mark would be read as marked; a slash keeps the two apart.
        let looks_optional = self.source.as_os_str().as_encoded_bytes().ends_with(b"?");
        out.write_str(match (self.optional, looks_optional) {
            (true, _) => "?",
            (false, true) => "/",
            (false, false) => "",
        })
    }
}

/// Everything in `build-chroot-dirs`: binds from the host, and whether the private `/dev` and `/proc` are there.
///
/// The plain entries `/dev` and `/proc` mean the private ones, which are there unless `-/dev` or `-/proc` takes
/// them away; a list of other entries does not. `/dev=/dev` is a bind of the host's in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChrootDirs {
    binds: Vec<ChrootDir>,
    private_dev: bool,
    private_proc: bool,
}

impl ChrootDirs {
    /// Returns what is bound from the host, each target once, in the order written.
    pub fn binds(&self) -> &[ChrootDir] {
        &self.binds
    }

    /// Returns whether builds have a private, minimal `/dev`.
    pub fn private_dev(&self) -> bool {
        self.private_dev
    }

    /// Returns whether builds have a `/proc` of their own.
    pub fn private_proc(&self) -> bool {
        self.private_proc
    }

    pub(crate) fn append(&mut self, text: &str) -> Result<(), ValueError> {
        text.split_ascii_whitespace().try_for_each(|entry| self.apply(entry))
    }

    fn apply(&mut self, entry: &str) -> Result<(), ValueError> {
        match entry {
            "/dev" | "/proc" => self.set_private(entry, true),
            "-/dev" | "-/proc" => self.set_private(&entry[1..], false),
            _ if entry.starts_with('-') => return Err(ValueError::NotRemovable { entry: entry.to_owned() }),
            _ => self.bind(ChrootDir::read(entry)?),
        }
        Ok(())
    }

    /// Decides about the private mount at `target`; either way a bind said earlier there is undone.
    fn set_private(&mut self, target: &str, private: bool) {
        self.binds.retain(|bind| bind.target != Path::new(target));
        *if target == "/dev" { &mut self.private_dev } else { &mut self.private_proc } = private;
    }

    /// Adds a bind; the later of two with the same target holds.
    fn bind(&mut self, bind: ChrootDir) {
        self.binds.retain(|earlier| earlier.target != bind.target);
        self.private_dev &= bind.target != Path::new("/dev");
        self.private_proc &= bind.target != Path::new("/proc");
        self.binds.push(bind);
    }
}

fn is_private(target: &Path) -> bool {
    target == Path::new("/dev") || target == Path::new("/proc")
}

impl Default for ChrootDirs {
    fn default() -> Self {
        Self { binds: Vec::new(), private_dev: true, private_proc: true }
    }
}

impl fmt::Display for ChrootDirs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.private_dev { "/dev" } else { "-/dev" })?;
        out.write_str(if self.private_proc { " /proc" } else { " -/proc" })?;
        self.binds.iter().try_for_each(|bind| write!(out, " {bind}"))
    }
}
