//! Running builds as a table, for people.

use std::time::Duration;

use local_store::{Holder, RunningBuild, Stage, Wait};

use super::{Picture, Shown};
use crate::build_failure::harmless;
use crate::duration;
use crate::user_name;

/// A phase may be as long as a builder likes.
const LONGEST_PHASE: usize = 30;

/// Returns the lines, none if nothing runs.
pub(super) fn lines(picture: &Picture<'_>) -> Vec<String> {
    if picture.builds.is_empty() {
        return Vec::new();
    }
    let titles = ["ID", "BUILD", "SINCE", "CPU", "MEMORY", "STATE", "FOR"].map(str::to_owned);
    let rows: Vec<[String; 7]> =
        std::iter::once(titles).chain(picture.builds.iter().map(|shown| row(picture, shown))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String; 7], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (text, width)) in row.iter().zip(widths).enumerate() {
        // What is counted is read from the right.
        let is_number = (2..5).contains(&column);
        line += &if is_number { format!("{text:>width$}  ") } else { format!("{text:<width$}  ") };
    }
    line + &row[6]
}

fn row(picture: &Picture<'_>, Shown { build, usage }: &Shown) -> [String; 7] {
    let none = || "-".to_owned();
    let since = u64::try_from(picture.now_millis - build.since_millis).unwrap_or(0);
    [
        build.id.to_string(),
        name(build.drv.name().as_str()).to_owned(),
        duration::show(Duration::from_millis(since)),
        usage.map_or_else(none, |usage| duration::show(usage.cpu_time)),
        usage.map_or_else(none, |usage| crate::size::show(usage.memory_bytes)),
        harmless(&state(&build.stage)).replace('\n', " "),
        for_whom(build),
    ]
}

fn name(drv: &str) -> &str {
    drv.strip_suffix(".drv").unwrap_or(drv)
}

fn state(stage: &Stage) -> String {
    match stage {
        Stage::Waiting(Wait::Lock { file, holder }) => match holder {
            Some(holder) => format!("waits for {}", of_holder(holder)),
            None => format!("waits for the lock {file}"),
        },
        Stage::Waiting(Wait::User) => "waits for a free user".to_owned(),
        Stage::Waiting(Wait::Hook { program }) => format!("waits for the hook {}", program.display()),
        Stage::Building { phase: None, .. } => "building".to_owned(),
        Stage::Building { phase: Some(phase), .. } => {
            format!("building ({})", phase.chars().take(LONGEST_PHASE).collect::<String>())
        }
        Stage::Elsewhere { machine } => {
            format!("building on {}", machine.chars().take(LONGEST_PHASE).collect::<String>())
        }
        Stage::Fetching { program } => {
            let name = program.rsplit('/').next().unwrap_or_default();
            format!("fetched by {}", name.chars().take(LONGEST_PHASE).collect::<String>())
        }
        Stage::Keeping => "keeping outputs".to_owned(),
    }
}

fn of_holder(holder: &Holder) -> String {
    match &holder.build {
        Some(build) => format!("{build} of process {}", holder.process),
        None => format!("the lock that process {} has", holder.process),
    }
}

fn for_whom(build: &RunningBuild) -> String {
    let target = name(build.target.name().as_str());
    format!("{target}, by {} in process {}", user_name::of(build.owner.user), build.owner.process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_what_is_waited_for() {
        let holder = |build: Option<&str>| Holder {
            process: 17,
            command: None,
            build: build.and_then(local_store::BuildId::parse),
            since_millis: None,
            log: None,
        };
        let waits = |holder| state(&Stage::Waiting(Wait::Lock { file: "x.lock".to_owned(), holder }));
        assert_eq!(waits(Some(holder(Some("bcdfghjk")))), "waits for bcdfghjk of process 17");
        assert_eq!(waits(Some(holder(None))), "waits for the lock that process 17 has");
        assert_eq!(waits(None), "waits for the lock x.lock");
        let phase = Some("p".repeat(100));
        assert_eq!(state(&Stage::Building { process: 1, phase }).len(), "building ()".len() + LONGEST_PHASE);
    }
}
