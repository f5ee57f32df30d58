//! What the user reads when a build failed, and the exit code that goes with it.

use std::io;
use std::path::{Path, PathBuf};

use builder::{BuildFailure, Rejection};
use local_store::LocalStore;
use sandbox::{ExitStatus, Overrun, Step};
use settings::Explain;
use store_path::{StoreDir, StorePath};

use crate::advice;
use crate::divergence;
use crate::explain;
use crate::log_line::{printable, steers};
use crate::session::Session;
use crate::shell;
use crate::style::Style;

/// The commands that say more about a failure: one shows a whole log, one steps into a sandbox.
#[derive(Clone)]
pub(crate) struct LogCommand {
    /// The store directory of the derivations.
    pub(crate) store_dir: StoreDir,
    /// What the user gave as `--store`.
    pub(crate) store_flag: Option<PathBuf>,
    /// What else of the command line shapes a sandbox, as options.
    pub(crate) options: String,
    /// Whether there are sandboxes to step into.
    pub(crate) has_sandboxes: bool,
    /// Whether the command is worth telling that says what a build lacked.
    pub(crate) explains: bool,
}

impl LogCommand {
    /// Returns the commands for the store of a session.
    pub(crate) fn of(session: &Session, store: &LocalStore) -> Self {
        Self {
            store_dir: store.store_dir().clone(),
            store_flag: session.store_flag(),
            options: session.repeated_options().to_owned(),
            has_sandboxes: session.settings().build_use_chroot.isolates(),
            // Without isolation, a build misses nothing that this machine has.
            explains: session.settings().explain == Explain::Never
                && session.settings().build_use_chroot.isolates(),
        }
    }

    fn log(&self, drv: &StorePath) -> String {
        format!("store log{} {}", self.store_option(), self.quoted(drv))
    }

    fn enter(&self, drv: &StorePath) -> String {
        self.in_same_sandbox("sandbox enter", "", drv)
    }

    /// Returns the command that makes the sandbox of `drv` once more, with the settings that this one had.
    pub(crate) fn in_same_sandbox(&self, verb: &str, flags: &str, drv: &StorePath) -> String {
        format!("store {verb}{}{}{flags} {}", self.store_option(), self.options, self.quoted(drv))
    }

    fn quoted(&self, drv: &StorePath) -> String {
        shell::quote(&self.store_dir.print(drv))
    }

    fn store_option(&self) -> String {
        let store = self.store_flag.as_deref().map(Path::to_string_lossy);
        store.map_or(String::new(), |dir| format!(" --store {}", shell::quote(&dir)))
    }
}

/// What is known of a failure besides what went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Circumstances<'a> {
    /// What its builder called what it was at.
    pub(crate) phase: Option<&'a str>,
    /// The derivations from one that was wanted to this one.
    pub(crate) wanted_by: &'a [StorePath],
    /// How many others will not be built for it.
    pub(crate) blocked: usize,
}

/// As many derivations between what was wanted and what failed are named at both ends.
const MOST_BETWEEN: usize = 3;

/// Returns the whole message: what failed and why, the end of its log, why it was wanted, and what to do next.
pub(crate) fn describe(
    style: Style,
    drv: &StorePath,
    failure: &BuildFailure,
    circumstances: &Circumstances<'_>,
    log_command: &LogCommand,
) -> String {
    let mut text = in_short(failure);
    if let Some(phase) = circumstances.phase {
        text.push_str(&format!("\n  in its phase: {}", harmless(phase)));
    }
    let tail = failure.log_tail();
    if !tail.is_empty() {
        let lines = if tail.len() == 1 { "line" } else { "lines" };
        text.push_str(&format!("\n  the last {} {lines} of its log:", tail.len()));
        tail.iter().for_each(|line| text.push_str(&format!("\n  > {}", printable(style, line.as_bytes()))));
        text.push_str(&format!("\n  the whole log: {}", log_command.log(drv)));
    }
    text.push_str(&consequences(circumstances));
    if let Some(kept) = failure.kept() {
        text.push_str(&format!("\n  its build directory is kept in `{}`", kept.display()));
    }
    if let Some(advice) = limit(failure).or_else(|| remedy(failure.itself())) {
        text.push_str(&format!("\n  {advice}"));
    }
    if let BuildFailure::Hash { specified, got, .. } = failure.itself()
        && recipe::is_unknown(specified)
    {
        // Nothing has that hash: the recipe left it empty to be told.
        text.push_str(&format!("\n  write into the recipe: \"hash\": \"{}\"", got.to_sri()));
    }
    if let BuildFailure::NotDeterministic { divergence, .. } = failure.itself() {
        text.push_str(&divergence::show(divergence, &log_command.store_dir));
    }
    if let BuildFailure::Withheld { lack, .. } = failure {
        text.push_str(&format!("\n  to give it a network: {}", lack.remedy));
    }
    if log_command.explains && failure.may_be_a_lack() {
        text.push_str(&format!("\n  what it lacked: {}", explain::command(drv, log_command)));
    }
    if failure.leaves_a_directory() && failure.kept().is_none() {
        let again = log_command.in_same_sandbox("build", " --keep-failed", drv);
        text.push_str(&format!("\n  to keep its build directory: {again}"));
    }
    if log_command.has_sandboxes && failure.has_run() {
        text.push_str(&format!("\n  step into its sandbox: {}", log_command.enter(drv)));
    }
    text
}

/// Returns why it was wanted, and what will not be built for it.
fn consequences(circumstances: &Circumstances<'_>) -> String {
    let mut text = String::new();
    if circumstances.wanted_by.len() > 1 {
        text.push_str(&format!("\n  why it was wanted: {}", way(circumstances.wanted_by)));
    }
    match circumstances.blocked {
        0 => {}
        1 => text.push_str("\n  not built for it: 1 that needs it"),
        count => text.push_str(&format!("\n  not built for it: {count} that need it")),
    }
    text
}

/// Returns the names on the way from what was wanted to what failed; of a long one, those at its ends.
fn way(drvs: &[StorePath]) -> String {
    let name = |drv: &StorePath| drv.name().as_str().trim_end_matches(".drv").to_owned();
    let mut names: Vec<String> = drvs.iter().map(name).collect();
    let between = names.len().saturating_sub(2 * MOST_BETWEEN);
    if between > 1 {
        names.splice(MOST_BETWEEN..MOST_BETWEEN + between, [format!("… {between} more …")]);
    }
    names.join(" ← ")
}

/// Returns what failed and why.
pub(crate) fn in_short(failure: &BuildFailure) -> String {
    let error: &dyn std::error::Error = failure;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    harmless(&text)
}

/// Returns a message that may name files as a builder has named them, without what would steer a terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(
            |char| {
                if steers(char) && char != '\n' {
                    char.escape_default().to_string()
                } else {
                    char.to_string()
                }
            },
        )
        .collect()
}

/// Returns what to do about a limit that is in the way, if one is.
fn limit(failure: &BuildFailure) -> Option<&'static str> {
    let mut causes = std::iter::successors(std::error::Error::source(failure), |cause| cause.source());
    causes.find_map(|cause| advice::about_limit(cause.downcast_ref()?))
}

/// Returns what to do about it, where that does not follow from the message.
fn remedy(failure: &BuildFailure) -> Option<&'static str> {
    match failure {
        BuildFailure::Sandbox {
            source: sandbox::Error::Setup { step: Step::Execute, source, target },
            ..
        } if source.kind() == io::ErrorKind::NotFound && target.to_string_lossy().contains(' ') => {
            Some("a builder is the path of a program and nothing else; what it is to do goes into `args`")
        }
        BuildFailure::Sandbox {
            source: sandbox::Error::Setup { step: Step::Execute, source, .. }, ..
        } if source.kind() == io::ErrorKind::NotFound => Some(
            "a builder, and the interpreter that its first line names, comes from an input of the derivation; \
                 the settings `sandbox-shell` and `build-chroot-dirs` show builds some programs of this machine",
        ),
        BuildFailure::Sandbox {
            source: sandbox::Error::Setup { step: Step::Execute, source, .. }, ..
        } => match source.kind() {
            io::ErrorKind::ArgumentListTooLong => Some(
                "its arguments and variables are more than a program can be given; \
                 `passAsFile` in the derivation turns large variables into files",
            ),
            io::ErrorKind::PermissionDenied => {
                Some("a builder is a file that may be executed, and so is the interpreter in its first line")
            }
            _ => None,
        },
        BuildFailure::Sandbox { source: sandbox::Error::Setup { step: Step::OpenTerminal, .. }, .. } => Some(
            "the terminals of a sandbox are in its private `/dev`, which `-/dev` in `build-chroot-dirs` takes away; \
             without one, a command can be run with pipes: `… < /dev/null | cat`",
        ),
        BuildFailure::Builder { status: ExitStatus::Code(127), .. } => Some(
            "127 is what a shell returns that finds no such program: `PATH` leads nowhere unless the derivation or recipe \
             sets it, and only what the sandbox shows is there",
        ),
        BuildFailure::Overran { overrun, .. } => Some(match overrun {
            Overrun::Time => "if it is not stuck, give it longer with `--timeout SECONDS`; 0 is for ever",
            Overrun::Silence => {
                "if it is not stuck, let it be silent longer with `--max-silent-time SECONDS`; 0 is for ever"
            }
            Overrun::Output => {
                "if it is meant to, let it print more with `--max-build-log-size BYTES`; 0 is no limit"
            }
        }),
        BuildFailure::Sandbox {
            source: sandbox::Error::Setup { step: Step::Filter, source, .. }, ..
        } => Some(match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "without isolation only root may filter builders that may gain privileges: \
                 set one of `allow-new-privileges` and `filter-syscalls` to false"
            }
            _ => {
                "the kernel, or the container that this runs in, takes no filter (`store doctor` says more); \
                 `filter-syscalls = false` builds without one"
            }
        }),
        BuildFailure::Hash { specified, .. } if !recipe::is_unknown(specified) => {
            Some("if what it got is right, put that hash into the derivation or recipe")
        }
        BuildFailure::Rejected { rejection, .. } => Some(match **rejection {
            Rejection::Refers { .. } => {
                "a path is referred to where its digest stands in a file or a symlink: \
                 `--on-fail=shell` shows the outputs, to search them for it"
            }
            Rejection::Size { .. } | Rejection::ClosureSize { .. } => {
                "`--on-fail=shell` shows the outputs, to see what is in them"
            }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    const DRV: &str = "00000000000000000000000000000000-it?s.drv";

    fn told(error: BuildFailure, store_flag: Option<&str>) -> String {
        let drv: StorePath = DRV.parse().unwrap();
        let log_command = LogCommand {
            store_dir: StoreDir::default(),
            store_flag: store_flag.map(PathBuf::from),
            options: " --option cores 1".to_owned(),
            has_sandboxes: true,
            explains: false,
        };
        describe(Style::plain(), &drv, &error, &Circumstances::default(), &log_command)
    }

    fn builder(log_tail: &[&str], kept: Option<&str>) -> BuildFailure {
        BuildFailure::Builder {
            drv: DRV.parse().unwrap(),
            status: ExitStatus::Code(2),
            is_transient: false,
            log_tail: log_tail.iter().map(|line| (*line).to_owned()).collect(),
            kept: kept.map(PathBuf::from),
        }
    }

    #[test]
    fn a_failure_shows_its_log_and_how_to_see_all_of_it() {
        assert_eq!(
            told(builder(&["make: *** [all]\r", "Error 2"], Some("/b/kept-1-0")), Some("/srv/my store")),
            "the builder of `00000000000000000000000000000000-it?s.drv` failed: it returned 2\n  \
             the last 2 lines of its log:\n  > make: *** [all]\n  > Error 2\n  \
             the whole log: store log --store '/srv/my store' \
             '/nix/store/00000000000000000000000000000000-it?s.drv'\n  \
             its build directory is kept in `/b/kept-1-0`\n  \
             step into its sandbox: store sandbox enter --store '/srv/my store' --option cores 1 \
             '/nix/store/00000000000000000000000000000000-it?s.drv'"
        );
    }

    #[test]
    fn a_builder_that_cannot_be_executed_is_explained() {
        for (errno, advice) in [
            (5, None),
            (2, Some("input")),
            (7, Some("passAsFile")),
            (13, Some("may be executed")),
            (24, Some("ulimit -n")),
        ] {
            let source = sandbox::Error::Setup {
                step: Step::Execute,
                target: "/bin/sh".into(),
                source: io::Error::from_raw_os_error(errno),
            };
            let text = told(BuildFailure::Sandbox { drv: DRV.parse().unwrap(), source }, None);
            let last = text.split_once("\n  ").map(|(_, advice)| advice);
            assert_eq!(last.is_some(), advice.is_some(), "{text}");
            assert!(advice.is_none_or(|advice| last.is_some_and(|last| last.contains(advice))), "{text}");
        }
    }

    #[test]
    fn a_long_way_is_told_by_its_ends() {
        let drvs = |count: usize| -> Vec<StorePath> {
            let name = |number| format!("00000000000000000000000000000000-{number}.drv").parse().unwrap();
            (0..count).map(name).collect()
        };
        assert_eq!(way(&drvs(3)), "0 ← 1 ← 2");
        assert_eq!(way(&drvs(7)), "0 ← 1 ← 2 ← 3 ← 4 ← 5 ← 6");
        assert_eq!(way(&drvs(9)), "0 ← 1 ← 2 ← … 3 more … ← 6 ← 7 ← 8");
    }

    #[test]
    fn a_name_that_a_builder_gave_does_not_steer_the_terminal() {
        let source = local_store::Error::Kind { path: "/s/\x1b[2J\x07".into() };
        let text = told(BuildFailure::Store { drv: DRV.parse().unwrap(), source }, None);
        assert!(text.contains(r"`/s/\u{1b}[2J\u{7}`"), "{text}");
    }

    #[test]
    fn a_silent_failure_has_no_log_to_show() {
        let text = told(builder(&[], None), None);
        let first =
            "the builder of `00000000000000000000000000000000-it?s.drv` failed: it returned 2\n  to keep";
        assert!(text.starts_with(first) && !text.contains("store log"), "{text}");
    }
}
