//! How each type of value is read from text and shown.

use std::path::{Component, Path, PathBuf};

use crate::choices::{
    CpuWeight, Explain, FodNetwork, Isolation, MaxJobs, MemoryForBuilds, SandboxShell, TmpfsSize, UseCgroups,
    UseChroot, Verbatim,
};
use crate::chroot_dirs::ChrootDirs;
use crate::error::ValueError;
use crate::on_fail::OnFail;
use crate::variation::Variations;

/// A field of the settings that text can be put into. What `show` prints, `set` takes back.
pub(crate) trait Value {
    /// Returns what kind of value it takes, for people.
    fn kind(&self) -> &'static str;

    /// Replaces the value.
    fn set(&mut self, text: &str) -> Result<(), ValueError>;

    /// Adds to the value; `None` when it is not a list.
    fn append(&mut self, _text: &str) -> Option<Result<(), ValueError>> {
        None
    }

    /// Returns the value as text.
    fn show(&self) -> String;
}

/// Reads a whole number, as of bytes; `K`, `M`, `G` and `T` behind it, or `KiB` and so on, are powers of 1024.
///
/// # Errors
/// [`ValueError::NotANumber`], or [`ValueError::TooLarge`] if the number is more than any machine has.
pub fn number(text: &str) -> Result<usize, ValueError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let power = match unit.strip_suffix("iB").filter(|letter| !letter.is_empty()).unwrap_or(unit) {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(ValueError::NotANumber),
    };
    if digits.is_empty() {
        return Err(ValueError::NotANumber);
    }
    // Of nothing but digits, so there can only be too many.
    let number = digits.parse::<usize>().ok();
    number.and_then(|number| number.checked_mul(1 << power)).ok_or(ValueError::TooLarge)
}

/// Reads an absolute path, without doubled or trailing slashes.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, ValueError> {
    let path = Path::new(text);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(ValueError::NotAbsolute { path: text.to_owned() });
    }
    Ok(path.components().collect())
}

impl Value for bool {
    fn kind(&self) -> &'static str {
        "boolean"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        *self = match text {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            _ => return Err(ValueError::NotBoolean),
        };
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    fn kind(&self) -> &'static str {
        "number"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        *self = number(text)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    fn kind(&self) -> &'static str {
        "number"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        *self = number(text)?.try_into().map_err(|_| ValueError::TooLarge)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Verbatim {
    fn kind(&self) -> &'static str {
        "text"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        self.0 = text.to_owned();
        Ok(())
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Value for Option<String> {
    fn kind(&self) -> &'static str {
        "word or nothing"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        let word = words.next();
        if words.next().is_some() {
            return Err(ValueError::NotOneWord);
        }
        *self = word;
        Ok(())
    }

    fn show(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Value for PathBuf {
    fn kind(&self) -> &'static str {
        "path"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        let path = absolute(text)?;
        if path == Path::new("/") {
            return Err(ValueError::Root);
        }
        *self = path;
        Ok(())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for Option<PathBuf> {
    fn kind(&self) -> &'static str {
        "path or nothing"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        *self = if text.is_empty() { None } else { Some(absolute(text)?) };
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

impl Value for String {
    fn kind(&self) -> &'static str {
        "word"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        let mut words = text.split_ascii_whitespace();
        let word = words.next().ok_or(ValueError::Empty)?;
        if words.next().is_some() {
            return Err(ValueError::NotOneWord);
        }
        *self = word.to_owned();
        Ok(())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for Vec<String> {
    fn kind(&self) -> &'static str {
        "list of words"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        self.clear();
        self.extend(text.split_ascii_whitespace().map(str::to_owned));
        Ok(())
    }

    fn append(&mut self, text: &str) -> Option<Result<(), ValueError>> {
        self.extend(text.split_ascii_whitespace().map(str::to_owned));
        Some(Ok(()))
    }

    fn show(&self) -> String {
        self.join(" ")
    }
}

impl Value for Vec<PathBuf> {
    fn kind(&self) -> &'static str {
        "list of paths"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        *self = text.split_ascii_whitespace().map(absolute).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn append(&mut self, text: &str) -> Option<Result<(), ValueError>> {
        let more = text.split_ascii_whitespace().map(absolute).collect::<Result<Vec<_>, _>>();
        Some(more.map(|more| self.extend(more)))
    }

    fn show(&self) -> String {
        self.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }
}

impl Value for ChrootDirs {
    fn kind(&self) -> &'static str {
        "list of target[=source][?]"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        let mut dirs = Self::default();
        dirs.append(text)?;
        *self = dirs;
        Ok(())
    }

    fn append(&mut self, text: &str) -> Option<Result<(), ValueError>> {
        // A bad entry leaves nothing of its list behind.
        let mut dirs = self.clone();
        Some(dirs.append(text).map(|()| *self = dirs))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Implements [`Value`] for types that have `read` and `Display`.
macro_rules! value {
    ($($type:ty: $kind:literal),* $(,)?) => {$(
        impl Value for $type {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn set(&mut self, text: &str) -> Result<(), ValueError> {
                *self = Self::read(text)?;
                Ok(())
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

value! {
    Explain: "always, retry or never",
    Isolation: "namespaces or chroot",
    UseChroot: "true, relaxed or false",
    SandboxShell: "auto, none or path",
    FodNetwork: "private, host or none",
    MaxJobs: "number or auto",
    MemoryForBuilds: "bytes or auto",
    OnFail: "shell, keep or none",
    TmpfsSize: "size",
    UseCgroups: "auto, true or false",
    CpuWeight: "0 to 10000",
    Variations: "list of words, or all",
}
