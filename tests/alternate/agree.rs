//! What both programs say of a store, compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::stores::{Place, Stores, both};

/// All that is known of valid paths, by path.
type Infos = BTreeMap<String, Map<String, Value>>;

/// Compares what is valid, what is known of it, and what is on disk.
pub(super) fn check(stores: &Stores) -> Result<(), String> {
    let (shared, twin) = both(|| infos_of_nix(stores.shared()), || infos_of_nix(stores.twin()));
    let (mut shared, mut twin) = (shared?, twin?);
    let valid: Vec<String> = shared.keys().cloned().collect();
    same("infos of `store` and of Nix", &infos_of_store(stores.shared(), &valid)?, &shared)?;
    let repaired = stores.repaired.lock().unwrap().clone();
    for info in shared.values_mut().chain(twin.values_mut()) {
        info.remove("registrationTime");
        if info.get("deriver").and_then(Value::as_str).is_some_and(|drv| repaired.contains(drv)) {
            info.remove("ultimate");
            info.remove("ca");
        }
    }
    same("the store and that of Nix alone", &shared, &twin)?;
    let seconds = both(|| infos_of_nix(stores.second("store")), || infos_of_nix(stores.second("twin")));
    let (mut second, mut twins) = (seconds.0?, seconds.1?);
    for info in second.values_mut().chain(twins.values_mut()) {
        info.remove("registrationTime");
    }
    same("the second store and that of Nix alone", &second, &twins)?;
    same_roots(stores)?;
    same_dead(stores)?;
    let names: Vec<&str> = valid.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    let mut files = stores.shared().files();
    files.retain(|name| name != ".links" && !name.ends_with(".lock"));
    if files != names {
        return Err(format!("on disk are {files:?}, and valid are {names:?}"));
    }
    Ok(())
}

/// Compares what need not be looked at after each step.
pub(super) fn check_last(stores: &Stores) -> Result<(), String> {
    stores.shared().nix("nix-store", &["--verify", "--check-contents"])?;
    stores.shared().store(&["verify", "--contents"])?;
    let (ours, nixs) =
        both(|| stores.shared().store(&["dump-db"]), || stores.shared().nix("nix-store", &["--dump-db"]));
    let (ours, nixs) = (ours?, nixs?);
    if records(&ours) != records(&nixs) {
        return Err(format!("the dump of `store` is\n{ours}\nand that of Nix\n{nixs}"));
    }
    Ok(())
}

/// Takes a dump apart; in which order paths come is each one's own business.
fn records(dump: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut lines = dump.lines();
    let mut records = BTreeMap::new();
    while let Some(path) = lines.next() {
        let mut record: Vec<&str> = lines.by_ref().take(4).collect();
        let count = record[3].parse().unwrap();
        record.extend(lines.by_ref().take(count));
        record[4..].sort_unstable();
        records.insert(path, record);
    }
    records
}

/// Compares which paths have roots that last.
fn same_roots(stores: &Stores) -> Result<(), String> {
    let ours: Value =
        serde_json::from_str(&stores.shared().store(&["root", "list", "--links", "--json"])?).unwrap();
    let ours: BTreeSet<String> =
        ours.as_array().unwrap().iter().map(|root| root["path"].as_str().unwrap().to_owned()).collect();
    let (shared, twin) = both(|| roots_of_nix(stores.shared()), || roots_of_nix(stores.twin()));
    let (shared, twin) = (shared?, twin?);
    if ours != shared || shared != twin {
        return Err(format!(
            "roots are {ours:?} for `store`, {shared:?} for Nix, and {twin:?} for Nix alone"
        ));
    }
    Ok(())
}

/// Compares what is dead: what each would collect.
fn same_dead(stores: &Stores) -> Result<(), String> {
    // Nix keeps locks that no process has, and takes them for garbage.
    let is_path = |line: &&str| !line.ends_with(".lock");
    let lines = |text: String| text.lines().filter(is_path).map(str::to_owned).collect::<BTreeSet<String>>();
    let ours = lines(stores.shared().store(&["gc", "--print-dead"])?);
    let of_nix =
        |place: Place<'_>| Ok::<_, String>(lines(place.nix("nix-store", &["--gc", "--print-dead"])?));
    let (shared, twin) = both(|| of_nix(stores.shared()), || of_nix(stores.twin()));
    let (shared, twin) = (shared?, twin?);
    if ours != shared || shared != twin {
        return Err(format!("dead are {ours:?} for `store`, {shared:?} for Nix, and {twin:?} for Nix alone"));
    }
    Ok(())
}

fn roots_of_nix(place: Place<'_>) -> Result<BTreeSet<String>, String> {
    let lines = place.nix("nix-store", &["--gc", "--print-roots"])?;
    let roots = lines.lines().filter(|line| !line.starts_with("/proc") && !line.starts_with('{'));
    Ok(roots.filter_map(|line| Some(line.split_once(" -> ")?.1.to_owned())).collect())
}

/// Returns which paths somebody has signed.
pub(super) fn signed(place: Place<'_>) -> Result<Vec<String>, String> {
    let signed = infos_of_nix(place)?.into_iter().filter(|(_, info)| info.contains_key("signatures"));
    Ok(signed.map(|(path, _)| path).collect())
}

fn infos_of_nix(place: Place<'_>) -> Result<Infos, String> {
    Ok(infos(&place.nix("nix", &["path-info", "--json", "--all"])?))
}

fn infos_of_store(place: Place<'_>, valid: &[String]) -> Result<Infos, String> {
    if valid.is_empty() {
        return Ok(Infos::new());
    }
    let paths: Vec<&str> = valid.iter().map(String::as_str).collect();
    Ok(infos(&place.store(&[&["path-info", "--json-format", "1"], &paths[..]].concat())?))
}

/// Nix 2.8 prints a list, and leaves out what it has nothing to say of; later ones print an object.
fn infos(text: &str) -> Infos {
    let of = |path: &str, info: &Value| {
        let mut info = info.as_object().unwrap().clone();
        info.retain(|key, value| {
            let is_nothing = value.is_null() || *value == false || *value == Value::Array(Vec::new());
            !is_nothing && !["path", "storeDir", "version"].contains(&key.as_str())
        });
        if let Some(Value::Array(references)) = info.get_mut("references") {
            references.sort_by_key(ToString::to_string);
        }
        (path.to_owned(), info)
    };
    match serde_json::from_str(text).unwrap() {
        Value::Array(list) => list.iter().map(|info| of(info["path"].as_str().unwrap(), info)).collect(),
        Value::Object(all) => all.iter().map(|(path, info)| of(path, info)).collect(),
        other => panic!("neither a list nor an object: {other}"),
    }
}

/// Says in what two stores differ.
fn same(what: &str, left: &Infos, right: &Infos) -> Result<(), String> {
    let paths = left.keys().chain(right.keys().filter(|path| !left.contains_key(*path)));
    let different: Vec<String> = paths
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| format!("{path}:\n    {:?}\n    {:?}", left.get(path), right.get(path)))
        .collect();
    if different.is_empty() { Ok(()) } else { Err(format!("{what} differ:\n  {}", different.join("\n  "))) }
}
