//! The table of escapes in the documentation of `sandbox`, and the tests it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The page with the table.
const PAGE: &str = "crates/sandbox/ESCAPES.md";

/// The modules of which every test is an escape.
const ALL_OF: [&str; 4] = ["colluders", "container", "escapes", "strangers"];

/// Complains of tests that the table names and that do not exist, and of those that it should name.
pub(super) fn complaints(root: &Path) -> Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read `{PAGE}`"))?;
    let named = named(&page);
    let mut complaints = Vec::new();
    for (file, test) in &named {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        if !tests(&text).contains(test.as_str()) {
            complaints.push(format!("escapes: `{PAGE}` names `{test}`, which is no test in `{file}`"));
        }
    }
    for module in ALL_OF {
        let file = format!("tests/{module}.rs");
        let text = fs::read_to_string(root.join(&file)).with_context(|| format!("cannot read `{file}`"))?;
        for test in tests(&text) {
            if !named.contains(&(file.clone(), test.to_owned())) {
                complaints.push(format!("escapes: `{PAGE}` does not name `{module}::{test}`"));
            }
        }
    }
    Ok(complaints)
}

/// The tests in the last column of the tables, each with its file: `module::test` is one of those on the real
/// program, `crate/path::test` one of a crate.
fn named(page: &str) -> BTreeSet<(String, String)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.filter_map(|row| row.rsplit('|').next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|name| {
            let (module, test) = name.rsplit_once("::")?;
            let place = if module.contains('/') { "crates" } else { "tests" };
            Some((format!("{place}/{module}.rs"), test.to_owned()))
        })
        .collect()
}

/// The names of the tests in a file, of both kinds of harness.
fn tests(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Trial::test(\"").and_then(|rest| rest.split('"').next()) {
            found.insert(name);
        }
        match line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
            Some(name) => {
                if std::mem::take(&mut is_test) {
                    found.insert(name);
                }
            }
            None => is_test |= line == "#[test]",
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{named, tests};

    #[test]
    fn tests_are_read_from_the_last_column() {
        let page = "| what | from | tests |\n|---|---|---|\n\
                    | `a::not` | `b::not` | `escapes::one`, `sandbox/src/filter/tests::two` |\n`c::not`\n";
        let found: Vec<_> = named(page).into_iter().collect();
        let wanted = [("crates/sandbox/src/filter/tests.rs", "two"), ("tests/escapes.rs", "one")];
        assert_eq!(found, wanted.map(|(file, test)| (file.to_owned(), test.to_owned())));
    }

    #[test]
    fn a_function_that_is_no_test_does_not_count() {
        let text = "#[test]\n#[ignore]\nfn one() {}\nfn helper() {}\nTrial::test(\"two\", || run(it)),\n";
        assert_eq!(tests(text).into_iter().collect::<Vec<_>>(), ["one", "two"]);
    }
}
