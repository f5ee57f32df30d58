//! Derivations in files of the user's: JSON of any form, or the text of a `.drv`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use derivation::{Checked, Derivation, aterm, json};
use store_path::{Name, StoreDir, StorePath};

/// A derivation, and the path its file states for it.
pub(crate) type Stated = (Option<StorePath>, Derivation);

/// Reads the contents of such a file, which has one derivation at least; the name of one that holds a `.drv`'s text is its derivation's.
pub(crate) fn parse(bytes: &[u8], path: &Path, store_dir: &StoreDir) -> Result<Vec<Stated>> {
    if is_aterm(bytes) {
        return Ok(vec![(None, aterm::parse(bytes, store_dir, &name(path)?)?)]);
    }
    ensure!(
        path.extension() != Some(OsStr::new("nix")),
        "it is written in the Nix language, which is not evaluated here; \
         `nix show-derivation -r $(nix-instantiate FILE)` makes derivations of it"
    );
    match bytes.trim_ascii_start().first() {
        Some(b'{') => {
            let stated = json::parse(bytes, store_dir)?;
            ensure!(
                !stated.is_empty(),
                "there is no derivation in it, nor a recipe, which has a `name` and a `builder`"
            );
            Ok(stated)
        }
        _ => bail!(
            "it is neither a recipe, nor JSON as `nix show-derivation` prints it, nor the text of a `.drv` file"
        ),
    }
}

/// Returns whether a file holds the text of a `.drv`.
pub(crate) fn is_aterm(bytes: &[u8]) -> bool {
    bytes.starts_with(b"Derive(") || bytes.starts_with(b"DrvWithVersion(")
}

/// Returns `hello` for `/x/hello.drv`, and for `/x/<digest>-hello.drv`.
pub(crate) fn name(path: &Path) -> Result<Name> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(base) = file.strip_suffix(".drv") else {
        bail!("a derivation in this form takes its name from its file, so that has to end in `.drv`");
    };
    match base.parse::<StorePath>() {
        Ok(path) => Ok(path.name().clone()),
        Err(_) => Ok(base.parse()?),
    }
}

/// Returns the derivations that no other one uses, in the order of their paths: what a file is for.
pub(crate) fn goals(checked: &[Checked]) -> Vec<&Checked> {
    let used: HashSet<&StorePath> =
        checked.iter().flat_map(|checked| checked.derivation().input_drvs.keys()).collect();
    let mut goals: Vec<&Checked> = checked.iter().filter(|checked| !used.contains(checked.path())).collect();
    goals.sort_by_key(|checked| checked.path());
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_file() {
        let text = |file| name(Path::new(file)).map(|name| name.to_string()).ok();
        assert_eq!(text("/x/hello-1.drv").as_deref(), Some("hello-1"));
        assert_eq!(text("00000000000000000000000000000000-hello.drv").as_deref(), Some("hello"));
        assert_eq!(text("hello"), None);
    }

    #[test]
    fn other_files_are_refused_by_what_they_should_be() {
        let refusal = |bytes, path| {
            parse(bytes, Path::new(path), &StoreDir::default()).map(drop).unwrap_err().to_string()
        };
        assert!(refusal(b"{ pkgs }: pkgs", "x.nix").starts_with("it is written in the Nix language"));
        assert!(refusal(b"hello", "x").starts_with("it is neither a recipe"));
        assert!(refusal(b"{}", "x").starts_with("there is no derivation in it"));
        assert!(refusal(b"Derive()", "x").contains("has to end in `.drv`"));
    }
}
