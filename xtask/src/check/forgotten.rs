//! Test modules that no one compiles and fixtures that no test reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::source::rust_files;

/// Complains of both.
pub(super) fn complaints(root: &Path) -> Result<Vec<String>> {
    let mut complaints = forgotten_modules(root)?;
    complaints.extend(forgotten_fixtures(root)?);
    Ok(complaints)
}

/// `tests/main.rs` is the one target; cargo would not notice a file beside it that it does not name.
fn forgotten_modules(root: &Path) -> Result<Vec<String>> {
    let tests = root.join("tests");
    let main = fs::read_to_string(tests.join("main.rs")).context("cannot read `tests/main.rs`")?;
    let mut complaints = Vec::new();
    for file in rust_files(&tests)?.iter().filter(|file| file.parent() == Some(&tests)) {
        let module = file.file_stem().unwrap_or_default().to_string_lossy();
        if module != "main" && !main.lines().any(|line| line == format!("mod {module};")) {
            complaints.push(format!("forgotten: `tests/main.rs` does not name `{module}`"));
        }
    }
    Ok(complaints)
}

/// A fixture counts as read when source or a page names it, by path or by file name, with or without extension.
fn forgotten_fixtures(root: &Path) -> Result<Vec<String>> {
    let mentions = mentions(root)?;
    let fixtures = root.join("fixtures");
    let mut complaints = Vec::new();
    for path in files(&fixtures)? {
        let relative = path.strip_prefix(&fixtures)?.to_string_lossy().into_owned();
        if !is_mentioned(&relative, &mentions) {
            complaints.push(format!("forgotten: no test names `fixtures/{relative}`"));
        }
    }
    Ok(complaints)
}

fn is_mentioned(relative: &str, mentions: &str) -> bool {
    let name = relative.rsplit('/').next().unwrap_or(relative);
    let stem = name.split('.').next().unwrap_or(name);
    let directory = relative.strip_suffix(name).unwrap_or_default();
    // A test that goes through a whole directory names it with its slash, in quotes.
    [relative.to_owned(), format!("{directory}{stem}\""), format!("\"{name}\""), format!("\"{stem}\"")]
        .into_iter()
        .chain((!directory.is_empty()).then(|| format!("\"{directory}\"")))
        .any(|mention| mentions.contains(&mention))
}

/// Returns all text that may name a fixture.
fn mentions(root: &Path) -> Result<String> {
    let mut text = String::new();
    for directory in ["crates", "tests", "xtask"] {
        for file in rust_files(&root.join(directory))? {
            text.push_str(&fs::read_to_string(file)?);
        }
    }
    text.push_str(&fs::read_to_string(root.join("README.md")).context("cannot read `README.md`")?);
    Ok(text)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read `{}`", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::is_mentioned;

    #[test]
    fn a_fixture_is_named_one_way_or_another() {
        assert!(is_mentioned("plans/hello.txt", "check(\"plans/hello.txt\", …)"));
        assert!(is_mentioned("derivations/hello.drv", "for name in [\"hello\"] {"));
        assert!(is_mentioned("nars/bad/x.nar", "all_of(\"nars/bad/\")"));
        assert!(!is_mentioned("plans/hello.txt", "check(\"plans/other.txt\", …)"));
    }
}
