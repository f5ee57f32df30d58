//! How much a path was kept apart while it was made: what is written down of a build, and read again later.

use std::sync::Arc;

use sandbox::{Filter, Given, Plan};
use serde::{Deserialize, Serialize};
use store_path::{BuildRecord, IsolationText, Method, PathInfo};

use crate::failure::BuildFailure;
use crate::shown::{DIRS, HOST_DEPS, PRE_BUILD_HOOK, SHELL, Shown};

/// How the text is written. A change that makes readers of an earlier one wrong takes the next number; a mere
/// addition does not.
const FORMAT: u32 = 1;

/// What kept a build apart from the host, and what did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Isolation {
    /// What its sandbox really had.
    pub given: Given,
    /// Which user it was on the host.
    pub uid: u32,
    /// Whether it could make user namespaces, with mounts and more in them.
    #[serde(default)]
    pub nested_user_namespaces: bool,
    /// What it was shown of the host.
    #[serde(default)]
    pub shown: Vec<Shown>,
    /// Whether it shared a job server with the builds beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub job_server: bool,
}

/// What is known of the isolation in which a valid path was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolated {
    /// Nothing built it: its name says what is in it, a source.
    Source,
    /// Nothing built it: its name says what is in it, a text such as a derivation.
    Text,
    /// It was built with everything that keeps a build apart.
    Full(Box<Isolation>),
    /// It was built with less: a sentence for each thing.
    Less(Box<Isolation>, Vec<String>),
    /// Nobody knows.
    Unknown {
        /// Why not.
        why: String,
        /// What was written down, if it cannot be read.
        raw: Option<String>,
    },
}

impl Isolation {
    /// What a build has that was started from `plan`.
    pub(crate) fn of(given: Given, plan: &Plan, shown: Vec<Shown>, job_server: bool) -> Self {
        let uid = given.outer.map_or_else(|| nix::unistd::geteuid().as_raw(), |(uid, _)| uid);
        let nested_user_namespaces =
            matches!(plan.filter, None | Some(Filter { nested_user_namespaces: true, .. }));
        Self { given, uid, nested_user_namespaces, shown, job_server }
    }

    /// What is less than full isolation, a sentence each.
    ///
    /// A shell of the host is not: every build has one by default, and its digest says which it was.
    pub fn shortfalls(&self) -> Vec<String> {
        let mut found = self.given.shortfalls();
        if self.nested_user_namespaces && self.given.filter.is_some() {
            found.push("it could make user namespaces of its own".to_owned());
        }
        if self.job_server {
            found.push("it shared a job server with the builds beside it".to_owned());
        }
        for Shown { target, source, setting, file, sha256 } in &self.shown {
            if [DIRS, HOST_DEPS, PRE_BUILD_HOOK].contains(&setting.as_str()) {
                found.push(format!("it saw `{source}` of the host as `{target}`"));
            } else if setting == SHELL && (!file || sha256.is_none()) {
                found.push(format!("it is not known which file it saw as `{target}`"));
            }
        }
        found
    }

    pub(crate) fn to_text(&self) -> Result<IsolationText, serde_json::Error> {
        let text = serde_json::to_string(self)?;
        Ok(IsolationText { format: FORMAT, isolated: self.shortfalls().is_empty(), text })
    }

    fn read(written: &IsolationText) -> Result<Self, String> {
        if written.format != FORMAT {
            return Err(format!(
                "its record has format {}, and only format {FORMAT} is known here",
                written.format
            ));
        }
        let isolation: Self = serde_json::from_str(&written.text)
            .map_err(|error| format!("its record cannot be read: {error}"))?;
        if isolation.shortfalls().is_empty() != written.isolated {
            return Err("its record contradicts itself".to_owned());
        }
        Ok(isolation)
    }
}

/// Returns what is known of the isolation in which the path of `info` was made, which `record` is about.
pub fn isolated(info: &PathInfo, record: Option<&BuildRecord>) -> Isolated {
    let Some(record) = record else {
        return unrecorded(info);
    };
    match Isolation::read(&record.isolation) {
        Err(why) => Isolated::Unknown { why, raw: Some(record.isolation.text.clone()) },
        Ok(isolation) => {
            let shortfalls = isolation.shortfalls();
            match shortfalls.is_empty() {
                true => Isolated::Full(Box::new(isolation)),
                false => Isolated::Less(Box::new(isolation), shortfalls),
            }
        }
    }
}

/// What has a name made from its contents, and no deriver, was added. A fixed output has a deriver.
fn unrecorded(info: &PathInfo) -> Isolated {
    match (&info.content_address, &info.deriver) {
        (Some(address), None) if address.method == Method::Text => Isolated::Text,
        (Some(_), None) => Isolated::Source,
        _ => Isolated::Unknown { why: "there is no record of how it was built".to_owned(), raw: None },
    }
}

/// Turns what a build had into what is written down.
pub(crate) fn text(
    isolation: &Isolation,
    drv: &store_path::StorePath,
) -> Result<Arc<IsolationText>, BuildFailure> {
    let text = isolation.to_text();
    text.map(Arc::new).map_err(|source| BuildFailure::Record { drv: drv.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::json;
    use store_path::{Hash, HashAlgorithm, StoreDir, StorePath};

    use super::*;

    fn full() -> Isolation {
        let given = json!({
            "scheme": "namespaces",
            "namespaces": ["user", "mount", "process", "network", "ipc", "host-name", "cgroup"],
            "mounts-locked": true, "unprivileged": true, "own-keyring": true,
            "filter": "abc", "landlock": 6, "network": "loopback", "outer": [30001, 30000],
            "limits": [], "unlimited": [{ "what": "memory", "why": "none" }], "lacks": [],
        });
        Isolation {
            given: serde_json::from_value(given).unwrap(),
            uid: 30001,
            nested_user_namespaces: false,
            shown: vec![shown("/bin/sh", SHELL, Some("00"))],
            job_server: false,
        }
    }

    fn shown(target: &str, setting: &str, sha256: Option<&str>) -> Shown {
        let (target, setting, sha256) = (target.into(), setting.into(), sha256.map(str::to_owned));
        Shown { source: "/usr/bin/x".to_owned(), target, setting, file: true, sha256 }
    }

    fn path(name: &str) -> StorePath {
        let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
        StoreDir::default().make_path("test", &hash, &name.parse().unwrap())
    }

    fn info(address: Option<&str>, deriver: Option<&str>) -> PathInfo {
        PathInfo {
            path: path("a"),
            nar_hash: Hash::of(HashAlgorithm::Sha256, b""),
            nar_size: 1,
            references: BTreeSet::new(),
            deriver: deriver.map(path),
            registration_time: 1,
            ultimate: true,
            signatures: Vec::new(),
            content_address: address.map(|text| text.parse().unwrap()),
        }
    }

    fn read(written: IsolationText) -> Isolated {
        let record = BuildRecord {
            drv: path("a.drv"),
            started_millis: 1,
            wall_time: Duration::ZERO,
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            peak_memory_bytes: 0,
            written_bytes: 0,
            isolation: Arc::new(written),
        };
        isolated(&info(None, Some("a.drv")), Some(&record))
    }

    #[test]
    fn what_was_written_is_read_again() {
        let written = full().to_text().unwrap();
        assert!(written.isolated);
        assert_eq!(read(written), Isolated::Full(Box::new(full())));
    }

    #[test]
    fn everything_that_is_less_is_told() {
        let mut less = full();
        less.nested_user_namespaces = true;
        less.shown = vec![
            shown("/bin/sh", SHELL, None),
            shown("/opt/x", DIRS, Some("00")),
            shown("/opt/y", HOST_DEPS, Some("00")),
        ];
        let written = less.to_text().unwrap();
        assert!(!written.isolated);
        let told = [
            "it could make user namespaces of its own",
            "it is not known which file it saw as `/bin/sh`",
            "it saw `/usr/bin/x` of the host as `/opt/x`",
            "it saw `/usr/bin/x` of the host as `/opt/y`",
        ];
        assert_eq!(read(written), Isolated::Less(Box::new(less), told.map(str::to_owned).to_vec()));
    }

    #[test]
    fn additions_of_later_versions_are_passed_over_and_later_formats_are_not_believed() {
        let written = full().to_text().unwrap();
        let added = written.text.replacen('{', r#"{"later": 1, "#, 1);
        assert_eq!(read(IsolationText { text: added, ..written.clone() }), Isolated::Full(Box::new(full())));
        let mut text: serde_json::Value = serde_json::from_str(&written.text).unwrap();
        for addition in ["shown", "nested-user-namespaces"] {
            text.as_object_mut().unwrap().remove(addition);
        }
        assert!(matches!(
            read(IsolationText { text: text.to_string(), ..written.clone() }),
            Isolated::Full(_)
        ));
        for (change, because) in [
            (IsolationText { format: 2, ..written.clone() }, "format 2"),
            (IsolationText { text: "{}".to_owned(), ..written.clone() }, "cannot be read"),
            (IsolationText { isolated: false, ..written.clone() }, "contradicts itself"),
        ] {
            let text = change.text.clone();
            let Isolated::Unknown { why, raw } = read(change) else { panic!("{because}") };
            assert!(why.contains(because), "{why}");
            assert_eq!(raw, Some(text));
        }
    }

    #[test]
    fn without_a_record_only_what_was_never_built_is_known() {
        let hash = "sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa";
        let (fixed, text) = (format!("fixed:r:{hash}"), format!("text:{hash}"));
        assert_eq!(isolated(&info(Some(&fixed), None), None), Isolated::Source);
        assert_eq!(isolated(&info(Some(&text), None), None), Isolated::Text);
        for (address, deriver) in [(Some(fixed.as_str()), Some("a.drv")), (None, Some("a.drv")), (None, None)]
        {
            assert!(matches!(isolated(&info(address, deriver), None), Isolated::Unknown { raw: None, .. }));
        }
    }
}
