//! `store doctor`

use anyhow::Result;
use sandbox::{Finding, Need};
use serde_json::{Value, json};

use crate::examine::{self, DECISIVE};
use crate::exit::Exit;
use crate::session::Session;

/// Says what isolation this machine can give to builds, and what to do about each thing that is missing.
///
/// Everything is tried for real, in sandboxes that are thrown away.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store doctor\n  store --json doctor\n\n\
                        Exit code: 0 when all is there, 10 when builds work but something is missing,\n\
                        11 when builds cannot be isolated.")]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(session: &mut Session, _args: &Args) -> Result<Exit> {
    let mut findings = sandbox::probe();
    findings.extend(examine::examine(session));
    if session.json() {
        let list: Value = findings.iter().map(to_json).collect();
        session.results().json(&list)?;
    } else {
        for finding in &findings {
            session.results().line(describe(finding))?;
        }
    }
    let exit = judge(&findings);
    session.messages().note(verdict(exit));
    Ok(exit)
}

/// What decides is whether a sandbox can be had as the settings want it, whatever is missing beside.
fn judge(findings: &[Finding]) -> Exit {
    let lacking = || findings.iter().filter(|one| one.lack.is_some());
    if lacking().any(|one| DECISIVE.contains(&one.key)) {
        Exit::NoIsolation
    } else if lacking().any(|one| one.need != Need::Extra) {
        Exit::Limited
    } else {
        Exit::Success
    }
}

fn verdict(exit: Exit) -> &'static str {
    match exit {
        Exit::Success => "builds are fully isolated on this machine",
        Exit::Limited => {
            "builds are isolated on this machine, but what is missing above may be needed by some"
        }
        _ => "builds cannot be isolated on this machine as it is",
    }
}

fn describe(finding: &Finding) -> String {
    let found = finding.found.as_ref().map(|found| format!(": {found}")).unwrap_or_default();
    match &finding.lack {
        None => format!("ok       {}{found}", finding.what),
        Some(lack) => {
            let remedy = lack.remedy.replace('\n', "\n         ");
            format!("missing  {}\n         {}\n         remedy: {remedy}", finding.what, lack.cause)
        }
    }
}

fn to_json(finding: &Finding) -> Value {
    json!({
        "key": finding.key,
        "what": finding.what,
        "needed": match finding.need {
            Need::Every => "always",
            Need::Some => "sometimes",
            Need::Extra => "on request",
        },
        "ok": finding.lack.is_none(),
        "found": finding.found,
        "cause": finding.lack.as_ref().map(|lack| &lack.cause),
        "remedy": finding.lack.as_ref().map(|lack| &lack.remedy),
    })
}

#[cfg(test)]
mod tests {
    use sandbox::Lack;

    use super::*;

    fn finding(key: &'static str, need: Need, is_there: bool) -> Finding {
        let lack =
            Lack { cause: "cannot bind `/dev/pts`: EPERM".to_owned(), remedy: "be root\nor not".to_owned() };
        let lack = (!is_there).then_some(lack);
        Finding { key, what: "a private /dev", need, found: None, lack }
    }

    #[test]
    fn the_worst_finding_decides() {
        let judge = |dev, sandbox, session, extra| {
            judge(&[
                finding("dev", Need::Every, dev),
                finding("sandbox", Need::Every, sandbox),
                finding("session", Need::Some, session),
                finding("landlock", Need::Extra, extra),
            ])
        };
        assert_eq!(judge(true, true, true, true), Exit::Success);
        assert_eq!(judge(true, true, true, false), Exit::Success);
        assert_eq!(judge(true, true, false, true), Exit::Limited);
        // As settings have it that do without.
        assert_eq!(judge(false, true, true, true), Exit::Limited);
        assert_eq!(judge(true, false, true, true), Exit::NoIsolation);
    }

    #[test]
    fn a_lack_comes_with_its_remedy() {
        assert_eq!(
            describe(&finding("dev", Need::Every, false)),
            "missing  a private /dev\n         cannot bind `/dev/pts`: EPERM\n         remedy: be root\n         or not"
        );
    }
}
