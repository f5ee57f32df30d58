//! What isolation this machine can give: each thing tried for real, in a sandbox that is thrown away.
//!
//! First the namespaces one by one (`namespaces`), then what is made of them by the same code that makes sandboxes of
//! builds (`stages`), then what only some builds want (`extras`). Why something is refused, and what to do about it, is
//! found out by a pure function of what the host says about itself (`remedy`).

mod extras;
mod namespaces;
mod remedy;
mod stages;

use crate::error::Error;
use crate::launcher::Launcher;
use crate::subordinate::subordinate_ids;
use crate::users::{BuildUser, BuildUsers, Ids, UserChoice};

pub(crate) use namespaces::{NAMESPACES, try_namespaces};
use remedy::Circumstances;
pub(crate) use stages::{INSIDE, inside, only_loopback, setuid_is_refused};

/// One thing that builds need or may want, and whether this machine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name for programs, which stays the same.
    pub key: &'static str,
    /// What was tried.
    pub what: &'static str,
    /// Who needs it.
    pub need: Need,
    /// What there is, for people.
    pub found: Option<String>,
    /// `None` when it works.
    pub lack: Option<Lack>,
}

/// Who needs a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Every build, as long as no setting says otherwise.
    Every,
    /// Some builds, or not all of it matters to a build.
    Some,
    /// Only who asks for it.
    Extra,
}

/// Why something does not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What was refused, and how.
    pub cause: String,
    /// What to do next; may be several lines.
    pub remedy: String,
}

impl Finding {
    /// Something that every build needs.
    pub(crate) fn every(key: &'static str, what: &'static str, lack: Option<Lack>) -> Self {
        Self { key, what, need: Need::Every, found: None, lack }
    }

    /// Something that some builds need.
    pub(crate) fn some(key: &'static str, what: &'static str, lack: Option<Lack>) -> Self {
        Self { need: Need::Some, ..Self::every(key, what, lack) }
    }

    /// Something that nothing needs which does not ask for it, and what there is of it.
    pub(crate) fn extra(key: &'static str, what: &'static str, found: Option<String>) -> Self {
        Self { need: Need::Extra, found, ..Self::every(key, what, None) }
    }
}

/// Tries everything that a sandboxed build needs. A launcher that cannot be started is a finding, too.
pub fn probe() -> Vec<Finding> {
    let circumstances = Circumstances::of_this_process();
    match Launcher::start() {
        Ok(launcher) => probe_with(&launcher, &circumstances),
        Err(error) => vec![Finding::every(
            "launcher",
            "a process that launches builds",
            Some(circumstances.explain(&error)),
        )],
    }
}

fn probe_with(launcher: &Launcher, circumstances: &Circumstances) -> Vec<Finding> {
    let taken = take_user(launcher);
    let lack = taken.as_ref().err().map(|error| Lack {
        remedy: "mend that, or run `store` as an ordinary user".to_owned(),
        ..circumstances.explain(error)
    });
    let mut findings = vec![Finding::every("builder-ids", "an id for builders", lack)];
    // Before the launcher of an ordinary user enters a user namespace for good.
    findings.extend(namespaces::probe(launcher, circumstances));
    let is_needed = |finding: &&Finding| finding.need == Need::Every && finding.lack.is_some();
    let missing = findings.iter().find(is_needed).map(|finding| finding.what);
    let (user, has_ranges) = taken.unwrap_or_default();
    findings.extend(stages::probe(launcher, user.as_ref(), circumstances, missing));
    findings.extend(extras::probe(launcher, user.as_ref(), has_ranges, missing));
    findings
}

/// As root, the user that builds get unless settings say otherwise.
fn take_user(launcher: &Launcher) -> Result<(Option<BuildUser>, bool), Error> {
    match BuildUsers::find(&UserChoice::default())? {
        Some(users) => {
            let user = launcher.take_user(&users, Ids::One, None, &mut || {})?;
            Ok((user, users.has_ranges()))
        }
        None => Ok((None, subordinate_ids() >= Ids::Range.count())),
    }
}
