//! Where a valid path comes from: how it was built, and what kept that build apart.

use std::collections::BTreeMap;

use anyhow::Result;
use builder::{Isolated, Isolation, Shown};
use local_store::LocalStore;
use sandbox::{Network, Scheme};
use serde_json::{Map, Value, json};
use store_path::{BuildRecord, PathInfo, StorePath};

use crate::{duration, when};

/// Where one valid path comes from.
pub(crate) struct Origin {
    pub(crate) info: PathInfo,
    pub(crate) isolated: Isolated,
    /// The build, if it was recorded here.
    build: Option<BuildRecord>,
}

/// Returns where the paths of `infos` come from; what cannot be looked up is unknown.
pub(crate) fn all(store: &LocalStore, infos: BTreeMap<StorePath, PathInfo>) -> Vec<Origin> {
    let (mut builds, trouble) = match store.builds(&infos.keys().cloned().collect()) {
        Ok(builds) => (builds, None),
        Err(error) => (BTreeMap::new(), Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    let origin = |info: PathInfo| {
        let build = builds.remove(&info.path);
        let mut isolated = builder::isolated(&info, build.as_ref());
        if let (Isolated::Unknown { why, .. }, Some(trouble)) = (&mut isolated, &trouble) {
            why.clone_from(trouble);
        }
        Origin { info, isolated, build }
    };
    infos.into_values().map(origin).collect()
}

impl Origin {
    /// Adds what is known to the JSON of a path: `isolation`, and `build` if it was recorded.
    pub(crate) fn put_json(&self, store: &LocalStore, object: &mut Map<String, Value>) -> Result<()> {
        object.insert("isolation".to_owned(), self.isolation_json()?);
        if let Some(build) = &self.build {
            object.insert("build".to_owned(), build_json(store, build));
        }
        Ok(())
    }

    fn isolation_json(&self) -> Result<Value> {
        let state = |state: &str| json!({ "state": state });
        let recorded = |state: &str, isolation: &Isolation, shortfalls: &[String]| -> Result<Value> {
            let mut object = Map::new();
            object.insert("state".to_owned(), state.into());
            object.insert("shortfalls".to_owned(), shortfalls.into());
            if let Value::Object(written) = in_camel_case(serde_json::to_value(isolation)?) {
                object.extend(written);
            }
            Ok(object.into())
        };
        match &self.isolated {
            Isolated::Source => Ok(state("source")),
            Isolated::Text => Ok(state("text")),
            Isolated::Full(isolation) => recorded("isolated", isolation, &[]),
            Isolated::Less(isolation, shortfalls) => recorded("less", isolation, shortfalls),
            Isolated::Unknown { why, raw: None } => Ok(json!({ "state": "unknown", "why": why })),
            Isolated::Unknown { why, raw } => Ok(json!({ "state": "unknown", "why": why, "raw": raw })),
        }
    }

    /// Tells people, a line for each thing.
    pub(crate) fn lines(&self, store: &LocalStore) -> Vec<String> {
        let full = |path: &StorePath| store.store_dir().print(path);
        let mut table = Table { lines: vec![full(&self.info.path)] };
        if let Some(build) = &self.build {
            table.row("built", format!("{} from {}", when::show(build.started_millis), full(&build.drv)));
        }
        match &self.isolated {
            Isolated::Source => table.row("isolation", "none needed: it was added, and its name is its hash"),
            Isolated::Text => table.row("isolation", "none needed: a text, and its name is its hash"),
            Isolated::Full(isolation) => {
                table.row("isolation", "full");
                table.isolation(isolation);
            }
            Isolated::Less(isolation, shortfalls) => {
                shortfalls.iter().for_each(|one| table.row("isolation", format!("less: {one}")));
                table.isolation(isolation);
            }
            Isolated::Unknown { why, raw } => {
                table.row("isolation", format!("unknown: {why}"));
                raw.iter().for_each(|raw| table.row("record", raw));
            }
        }
        if let Some(build) = &self.build {
            table.figures(build);
        }
        table.lines
    }
}

struct Table {
    lines: Vec<String>,
}

impl Table {
    fn row(&mut self, name: &str, text: impl AsRef<str>) {
        self.lines.push(format!("  {name:<13}{}", text.as_ref()));
    }

    fn isolation(&mut self, isolation: &Isolation) {
        let Isolation { given, uid, nested_user_namespaces, shown, job_server: _ } = isolation;
        self.row("scheme", scheme(given.scheme));
        let own: Vec<String> = given.namespaces.iter().map(ToString::to_string).collect();
        if !own.is_empty() {
            let locked = if given.mounts_locked { "; mounts locked" } else { "" };
            self.row("namespaces", format!("{}{locked}", own.join(", ")));
        }
        self.row("user", format!("{uid} on the host"));
        let nested = if *nested_user_namespaces { ", with user namespaces" } else { "" };
        match &given.filter {
            Some(digest) => self.row("filter", format!("{digest}{nested}")),
            None => self.row("filter", "none"),
        }
        if let Some(version) = given.landlock {
            self.row("landlock", format!("version {version}"));
        }
        self.row("network", network(given.network));
        for limit in &given.limits {
            self.row("limited", format!("{} to {} by {}", limit.what, limit.to, limit.by));
        }
        for limit in &given.unlimited {
            self.row("not limited", format!("{}: {}", limit.what, limit.why));
        }
        shown.iter().for_each(|shown| self.row("of the host", host_file(shown)));
        given.inherited.iter().for_each(|one| self.row("inherited", one));
    }

    fn figures(&mut self, build: &BuildRecord) {
        let [wall, user, system] =
            [build.wall_time, build.user_time, build.system_time].map(duration::precise);
        self.row("time", format!("{wall}; {user} in its programs, {system} in the kernel"));
        self.row("memory", format!("{} MiB at most", build.peak_memory_bytes.div_ceil(1 << 20)));
        self.row("written", format!("{} KiB to disks", build.written_bytes.div_ceil(1 << 10)));
    }
}

fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Namespaces => "namespaces",
        Scheme::Chroot => "chroot",
        Scheme::None => "none: it saw the whole host",
    }
}

fn network(network: Network) -> String {
    match network {
        Network::Loopback => "its own, with loopback only".to_owned(),
        Network::Private(helper) => format!("its own, connected to the outside by {helper}"),
        Network::Withheld(why) => format!("its own, with loopback only as there was {why}"),
        Network::Host => "the host's".to_owned(),
    }
}

fn host_file(shown: &Shown) -> String {
    let Shown { target, source, setting, file, sha256 } = shown;
    let place = if source == target { target.clone() } else { format!("{target} from {source}") };
    match (file, sha256) {
        (true, Some(digest)) => format!("{place} (`{setting}`) sha256:{digest}"),
        (true, None) => format!("{place} (`{setting}`), of unknown contents"),
        (false, _) => format!("{place} (`{setting}`)"),
    }
}

fn build_json(store: &LocalStore, build: &BuildRecord) -> Value {
    json!({
        "derivation": store.store_dir().print(&build.drv),
        "started": build.started_millis as f64 / 1000.0,
        "wallSeconds": build.wall_time.as_secs_f64(),
        "userSeconds": build.user_time.as_secs_f64(),
        "systemSeconds": build.system_time.as_secs_f64(),
        "peakMemoryBytes": build.peak_memory_bytes,
        "writtenBytes": build.written_bytes,
    })
}

/// Names keys as everything else that is printed does.
fn in_camel_case(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            object.into_iter().map(|(key, value)| (camel(&key), in_camel_case(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(in_camel_case).collect(),
        other => other,
    }
}

fn camel(key: &str) -> String {
    let mut words = key.split('-');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_renamed_all_the_way_down_and_nothing_else() {
        let value = json!({ "own-keyring": true, "list": [{ "mounts-locked": "host-name" }] });
        let renamed = json!({ "ownKeyring": true, "list": [{ "mountsLocked": "host-name" }] });
        assert_eq!(in_camel_case(value), renamed);
    }
}
