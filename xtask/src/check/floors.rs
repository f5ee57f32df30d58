//! A crate stands only on lower floors, never on a neighbour.

use cargo_metadata::{DependencyKind, Metadata};

/// Every crate and its floor. `test-support` stands beside the house: only tests lean on it.
const FLOORS: &[(&str, u32)] = &[
    ("store-path", 0),
    ("nar", 0),
    ("sandbox", 0),
    ("derivation", 1),
    ("recipe", 1),
    ("settings", 1),
    ("scheduler", 1),
    ("store-db", 1),
    ("binary-cache", 1),
    ("local-store", 2),
    ("builtins", 2),
    ("builder", 3),
    ("remote-builder", 3),
    ("substituter", 3),
    ("engine", 4),
    ("cli", 5),
    ("xtask", 6),
];
const TESTS_ONLY: &str = "test-support";

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|&(_, floor)| floor)
}

/// Complains of crates without a floor and of edges between crates that do not go down.
pub(super) fn complaints(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if floor(name).is_none() && name != TESTS_ONLY {
            complaints.push(format!("floors: `{name}` has no floor in xtask/src/check/floors.rs"));
        }
        for dependency in package.dependencies.iter().filter(|one| one.path.is_some()) {
            let in_tests = dependency.kind == DependencyKind::Development;
            if !allowed(name, &dependency.name, in_tests) {
                complaints.push(format!("floors: `{name}` may not stand on `{}`", dependency.name));
            }
        }
    }
    complaints
}

/// Tells whether the edge goes down. Test support may be leant on by every test, and leans on nothing; `crash` tests.
fn allowed(from: &str, to: &str, in_tests: bool) -> bool {
    match (floor(from), floor(to)) {
        (Some(above), Some(below)) => below < above,
        (Some(_), None) => to == TESTS_ONLY && (in_tests || from == "xtask"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn edges_go_down() {
        assert!(allowed("engine", "store-path", false));
        assert!(!allowed("store-path", "engine", false));
        assert!(!allowed("derivation", "settings", false), "a neighbour");
        assert!(allowed("store-path", "test-support", true));
        assert!(!allowed("store-path", "test-support", false), "outside tests");
        assert!(!allowed("test-support", "store-path", false));
    }
}
