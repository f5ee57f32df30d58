//! The source text of the workspace, without comments, strings' contents kept, and without tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

/// One source file of a crate.
pub(super) struct Source {
    /// The crate it belongs to.
    pub(super) owner: String,
    /// Its path from the crate's root, such as `src/lib.rs`.
    pub(super) path: String,
    /// Its lines with their numbers, as [`production`] leaves them.
    pub(super) lines: Vec<(usize, String)>,
}

/// Reads `src` of every crate in the workspace.
pub(super) fn read_all(metadata: &Metadata) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for package in metadata.workspace_packages() {
        let root = package.manifest_path.parent().context("a manifest lies in a directory")?.as_std_path();
        for file in rust_files(&root.join("src"))? {
            let text = fs::read_to_string(&file)?;
            let path = file.strip_prefix(root)?.to_string_lossy().into_owned();
            if !is_test_file(&path) {
                sources.push(Source { owner: package.name.to_string(), path, lines: production(&text) });
            }
        }
    }
    Ok(sources)
}

/// Lists the `.rs` files below a directory, in order.
pub(super) fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read `{}`", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Modules of tests in files of their own: `tests.rs`, `thing_tests.rs`, `tests/…`.
fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// Keeps the lines that are compiled into the product: no comments, no `#[cfg(test)] mod … { … }`.
///
/// By lines, which suffices for formatted source: such a module ends at the first `}` of its own indentation.
fn production(text: &str) -> Vec<(usize, String)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let opens = |line: &str| line.trim_end().ends_with('{');
            // Attributes may stand between; an item without a body (`mod tests;`) is one line.
            let item = lines.by_ref().map(|(_, line)| line).find(|line| !line.trim().starts_with("#["));
            if item.is_some_and(opens) {
                lines.by_ref().map(|(_, line)| line).find(|line| **line == end);
            }
            continue;
        }
        let code = line.split("//").next().unwrap_or_default();
        if !code.trim().is_empty() {
            kept.push((index + 1, code.to_owned()));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_are_left_out() {
        let text = "//! front\nfn a() {} // why\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n\
                    #[cfg(test)]\n#[path = \"x.rs\"]\nmod more;\nfn d() {}\n";
        let kept: Vec<usize> = production(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(kept, [2, 8, 12]);
    }

    #[test]
    fn files_of_tests_are_known_by_name() {
        assert!(is_test_file("src/plan/tests.rs"));
        assert!(is_test_file("src/tests/plan.rs"));
        assert!(!is_test_file("src/attests.rs"));
    }
}
