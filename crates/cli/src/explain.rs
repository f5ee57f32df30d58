//! What an observed build lacked, for people; and the command that finds it out.

use builder::{Explanation, Finding, FindingKind, Remedy};
use store_path::StorePath;

use crate::build_failure::{LogCommand, harmless};
use crate::shell;

/// As many findings are told; the rest is counted.
const MOST_FINDINGS: usize = 10;

/// Returns the command that builds `drv` once more and says what it lacked.
pub(crate) fn command(drv: &StorePath, log_command: &LogCommand) -> String {
    log_command.in_same_sandbox("build", " --explain", drv)
}

/// Returns what an observed build lacked, as lines to stand below another one.
pub(crate) fn show(explanation: &Explanation, log_command: &LogCommand) -> String {
    let findings = &explanation.findings;
    let mut text = match findings.len() {
        0 => "\n  it was observed, and looked in vain for nothing that this machine has".to_owned(),
        _ => "\n  what it looked for and did not find in its sandbox:".to_owned(),
    };
    for finding in findings.iter().take(MOST_FINDINGS) {
        text.push_str(&format!("\n  - {}{}", harmless(&name(finding)), harmless(&asked_by(&finding.by))));
        if let Some(remedy) = remedy(finding, log_command) {
            text.push_str(&format!("\n    {}", harmless(&remedy)));
        }
    }
    match findings.len().saturating_sub(MOST_FINDINGS) {
        0 => {}
        1 => text.push_str("\n  - and 1 more"),
        more => text.push_str(&format!("\n  - and {more} more")),
    }
    if let Some(shown) = chroot_dirs(findings) {
        text.push_str(&format!(
            "\n  add inputs that have these; or show builds those of this machine: \
             --option extra-build-chroot-dirs {}",
            harmless(&shown)
        ));
    }
    if explanation.lost > 0 {
        text.push_str(&format!("\n  {} of its lookups could not be followed", explanation.lost));
    }
    text
}

/// Returns what a finding is, with how many there are of it.
fn name(finding: &Finding) -> String {
    let path = finding.name.display();
    let others = match finding.count {
        0 | 1 => String::new(),
        2 => " and another one".to_owned(),
        count => format!(" and {} others", count - 1),
    };
    match &finding.kind {
        // Two paths of one program are one program.
        FindingKind::Program => format!("the program `{path}`"),
        FindingKind::Interpreter { of } => format!("`{path}`, without which `{}` cannot run", of.display()),
        FindingKind::Header => format!("the header `{path}`"),
        FindingKind::Headers => format!("the headers `{path}`{}", within(finding.count)),
        FindingKind::Library => format!("the library `{path}`"),
        FindingKind::Socket => format!("a connection to `{path}`"),
        FindingKind::Device => format!("the device `{path}`"),
        FindingKind::Directory => format!("the directory `{path}`{}", within(finding.count)),
        FindingKind::File => format!("the file `{path}`"),
        FindingKind::StorePath => format!("`{path}`{others}"),
        FindingKind::Address => format!("the network: a connection to {path}"),
        FindingKind::HostName => format!("the network: the address of `{path}`"),
    }
}

/// Returns the word for a kind of finding, for programs.
pub(crate) fn kind(kind: &FindingKind) -> &'static str {
    match kind {
        FindingKind::Program => "program",
        FindingKind::Interpreter { .. } => "interpreter",
        FindingKind::Header => "header",
        FindingKind::Headers => "headers",
        FindingKind::Library => "library",
        FindingKind::Socket => "socket",
        FindingKind::Device => "device",
        FindingKind::Directory => "directory",
        FindingKind::File => "file",
        FindingKind::StorePath => "store-path",
        FindingKind::Address => "address",
        FindingKind::HostName => "host-name",
    }
}

fn within(count: usize) -> String {
    if count > 1 { format!(" ({count} files of it)") } else { String::new() }
}

fn asked_by(names: &[String]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| if name.is_empty() { "the builder".to_owned() } else { format!("`{name}`") })
        .collect();
    if names.is_empty() { String::new() } else { format!(", asked for by {}", names.join(", ")) }
}

/// Returns what gives it to the build, unless that is among the [`chroot_dirs`].
fn remedy(finding: &Finding, log_command: &LogCommand) -> Option<String> {
    let print = |path: &StorePath| log_command.store_dir.print(path);
    match &finding.remedy {
        Remedy::ChrootDir(_) => None,
        Remedy::Input(path) => {
            Some(format!("it is valid in this store: add `{}` to the inputs of the derivation", print(path)))
        }
        Remedy::AbsentInput(path) => Some(format!(
            "`{}` is not valid in this store: add the derivation that makes it to the inputs of this one",
            print(path)
        )),
        Remedy::FixedOutput => Some(
            "only a build whose output has a promised hash (`outputHash`) may have a network; \
             fetch it in one, and make that an input"
                .to_owned(),
        ),
        Remedy::FodNetwork => Some("its network was withheld: --option fod-network host".to_owned()),
    }
}

/// Returns the value for `build-chroot-dirs` that shows a build all that was told and can be shown, quoted.
fn chroot_dirs(findings: &[Finding]) -> Option<String> {
    let told = findings.iter().take(MOST_FINDINGS);
    let entries: Vec<String> = told
        .filter_map(|finding| match &finding.remedy {
            // The list has no way to write one of these.
            Remedy::ChrootDir(path) => Some(path.to_str()?).filter(|path| !path.contains([' ', '=', '\n'])),
            _ => None,
        })
        .map(str::to_owned)
        .collect();
    (!entries.is_empty()).then(|| shell::quote(&entries.join(" ")))
}

#[cfg(test)]
mod tests {
    use store_path::StoreDir;

    use super::*;

    fn log_command() -> LogCommand {
        LogCommand {
            store_dir: StoreDir::default(),
            store_flag: None,
            options: String::new(),
            has_sandboxes: true,
            explains: true,
        }
    }

    fn finding(kind: FindingKind, name: &str, remedy: Remedy) -> Finding {
        Finding { kind, name: name.into(), count: 1, by: vec!["sh".to_owned(), String::new()], remedy }
    }

    #[test]
    fn a_finding_says_who_asked_and_what_to_paste() {
        let program = |name: &str| finding(FindingKind::Program, name, Remedy::ChrootDir(name.into()));
        let findings = ["/usr/bin/env", "/usr/bin/my env", "/bin/x"].map(program).to_vec();
        let text = show(&Explanation { findings, lost: 2 }, &log_command());
        assert_eq!(
            text,
            "\n  what it looked for and did not find in its sandbox:\n  \
             - the program `/usr/bin/env`, asked for by `sh`, the builder\n  \
             - the program `/usr/bin/my env`, asked for by `sh`, the builder\n  \
             - the program `/bin/x`, asked for by `sh`, the builder\n  \
             add inputs that have these; or show builds those of this machine: \
             --option extra-build-chroot-dirs '/usr/bin/env /bin/x'\n  \
             2 of its lookups could not be followed"
        );
    }

    #[test]
    fn more_than_a_few_are_counted() {
        let one = |number| finding(FindingKind::File, &format!("/x/{number}"), Remedy::FixedOutput);
        let text = show(&Explanation { findings: (0..13).map(one).collect(), lost: 0 }, &log_command());
        assert!(text.contains("`/x/9`") && !text.contains("`/x/10`"), "{text}");
        assert!(text.ends_with("\n  - and 3 more"), "{text}");
    }

    #[test]
    fn a_name_that_a_builder_chose_does_not_steer_the_terminal() {
        let one = finding(FindingKind::File, "/x/\x1b[2J", Remedy::ChrootDir("/x/\x1b[2J".into()));
        let text = show(&Explanation { findings: vec![one], lost: 0 }, &log_command());
        assert!(!text.contains('\x1b'), "{text}");
    }
}
