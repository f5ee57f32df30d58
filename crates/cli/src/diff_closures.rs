//! `store diff-closures`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use local_store::{LocalStore, Reach};
use serde_json::{Value, json};
use store_path::{StorePath, package_and_version};

use crate::exit::Exit;
use crate::session::Session;
use crate::size;

/// A smaller change of size is no news if no version has changed: paths alone make as much.
const LEAST_CHANGE: u64 = 8 << 10;

/// Tells how what two paths need differs, by packages: versions that came and went, and how much was gained.
///
/// Names are taken apart as Nix does it: a version begins after the first `-` that no letter follows, and what is in small
/// letters at the end is an output. `ε` is a package without a version, `∅` none at all.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store diff-closures /nix/store/…-system-41 /nix/store/…-system-42\n  \
                        store diff-closures --json ./before ./result")]
pub(crate) struct Args {
    /// What was there before.
    before: PathBuf,

    /// What is there now.
    after: PathBuf,
}

/// What a closure has of each package.
type Packages = BTreeMap<String, Package>;

/// What a closure has of one package.
#[derive(Default)]
struct Package {
    versions: BTreeSet<String>,
    nar_size: u64,
}

/// A closure, by packages.
struct Closure {
    paths: usize,
    nar_size: u64,
    packages: Packages,
}

/// How a package differs.
struct Change {
    name: String,
    removed: Vec<String>,
    added: Vec<String>,
    size: i128,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_store()?;
    let asked = session.valid_paths(&store, &[args.before.clone(), args.after.clone()])?;
    let [old, new] = &asked[..] else { return Ok(Exit::Usage) };
    let (before, after) = (closure(&store, old)?, closure(&store, new)?);
    let changes = changes(&before.packages, &after.packages);
    if session.json() {
        let full = |path: &StorePath| store.store_dir().print(path);
        let value = json!({
            "before": in_json(full(old), &before),
            "after": in_json(full(new), &after),
            "sizeDelta": number(difference(before.nar_size, after.nar_size)),
            "packages": changes.iter().map(change_in_json).collect::<serde_json::Map<_, _>>(),
        });
        session.results().json(&value)?;
        return Ok(Exit::Success);
    }
    for change in &changes {
        session.results().line(line(change))?;
    }
    session.messages().note(sums(&before, &after));
    Ok(Exit::Success)
}

fn closure(store: &LocalStore, path: &StorePath) -> Result<Closure> {
    let graph = store.reference_graph(&BTreeSet::from([path.clone()]), Reach::References)?;
    let mut packages = Packages::new();
    let mut sum = 0;
    for (place, path) in graph.paths().iter().enumerate() {
        let (name, version) = package_and_version(path.name().as_str());
        let package = packages.entry(name.to_owned()).or_default();
        package.versions.insert(version.to_owned());
        package.nar_size += graph.nar_size(place);
        sum += graph.nar_size(place);
    }
    Ok(Closure { paths: graph.paths().len(), nar_size: sum, packages })
}

/// Returns what is worth telling, in the order of names.
fn changes(before: &Packages, after: &Packages) -> Vec<Change> {
    let none = Package::default();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let [old, new] = [before, after].map(|packages| packages.get(name).unwrap_or(&none));
        let without = |these: &Package, others: &Package| {
            these.versions.difference(&others.versions).cloned().collect::<Vec<_>>()
        };
        Change {
            name: name.clone(),
            removed: without(old, new),
            added: without(new, old),
            size: difference(old.nar_size, new.nar_size),
        }
    };
    let is_news =
        |change: &Change| change.is_much() || !change.removed.is_empty() || !change.added.is_empty();
    names.into_iter().map(change).filter(is_news).collect()
}

impl Change {
    fn is_much(&self) -> bool {
        self.size.unsigned_abs() >= u128::from(LEAST_CHANGE)
    }
}

fn difference(before: u64, after: u64) -> i128 {
    i128::from(after) - i128::from(before)
}

/// Returns the line that Nix prints, without its colours.
fn line(change: &Change) -> String {
    let mut items = Vec::new();
    if !change.removed.is_empty() || !change.added.is_empty() {
        items.push(format!("{} → {}", versions(&change.removed), versions(&change.added)));
    }
    if change.is_much() {
        items.push(format!("{:+.1} KiB", change.size as f64 / 1024.0));
    }
    format!("{}: {}", change.name, items.join(", "))
}

fn versions(versions: &[String]) -> String {
    if versions.is_empty() {
        return "∅".to_owned();
    }
    let shown: BTreeSet<&str> =
        versions.iter().map(|version| if version.is_empty() { "ε" } else { version }).collect();
    shown.into_iter().collect::<Vec<_>>().join(", ")
}

fn sums(before: &Closure, after: &Closure) -> String {
    let delta = difference(before.nar_size, after.nar_size);
    let sign = if delta < 0 { "-" } else { "+" };
    let delta = u64::try_from(delta.unsigned_abs()).unwrap_or(u64::MAX);
    let show = |closure: &Closure| {
        let paths = if closure.paths == 1 { "path" } else { "paths" };
        format!("{} {paths} of {}", closure.paths, size::show(closure.nar_size))
    };
    format!("{} before, {} after: {sign}{}", show(before), show(after), size::show(delta))
}

fn in_json(path: String, closure: &Closure) -> Value {
    json!({ "path": path, "closurePaths": closure.paths, "closureSize": closure.nar_size })
}

fn change_in_json(change: &Change) -> (String, Value) {
    let value = json!({
        "versionsBefore": change.removed,
        "versionsAfter": change.added,
        "sizeDelta": number(change.size),
    });
    (change.name.clone(), value)
}

/// Sizes are far from what a number in JSON can hold.
fn number(delta: i128) -> Value {
    i64::try_from(delta).map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(of: &[(&str, &str, u64)]) -> Packages {
        let mut packages = Packages::new();
        for (name, version, size) in of {
            let package = packages.entry((*name).to_owned()).or_default();
            package.versions.insert((*version).to_owned());
            package.nar_size += size;
        }
        packages
    }

    #[test]
    fn tells_what_is_news() {
        let before = packages(&[("a", "1", 100), ("b", "2", 100), ("c", "", 90_000), ("d", "1", 5)]);
        let after =
            packages(&[("a", "1", 8291), ("b", "3", 100), ("b", "2.5", 1), ("c", "", 10), ("e", "", 7)]);
        let lines: Vec<String> = changes(&before, &after).iter().map(line).collect();
        assert_eq!(lines, ["b: 2 → 2.5, 3", "c: -87.9 KiB", "d: 1 → ∅", "e: ∅ → ε"]);
        let more = packages(&[("a", "1", 8292)]);
        assert_eq!(line(&changes(&packages(&[("a", "1", 100)]), &more)[0]), "a: +8.0 KiB");
    }
}
