//! `store doctor`

use anyhow::Result;
use sandbox::{Finding, Need};
use serde_json::{Value, json};

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
    let findings = sandbox::probe();
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

fn judge(findings: &[Finding]) -> Exit {
    let lacks = |need| findings.iter().any(|one| one.lack.is_some() && one.need == need);
    match (lacks(Need::Every), lacks(Need::Some)) {
        (true, _) => Exit::NoIsolation,
        (false, true) => Exit::Limited,
        (false, false) => Exit::Success,
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

    fn finding(need: Need, is_there: bool) -> Finding {
        let lack =
            Lack { cause: "cannot bind `/dev/pts`: EPERM".to_owned(), remedy: "be root\nor not".to_owned() };
        let lack = (!is_there).then_some(lack);
        Finding { key: "dev", what: "a private /dev", need, found: None, lack }
    }

    #[test]
    fn the_worst_finding_decides() {
        let (every, some, extra) = (Need::Every, Need::Some, Need::Extra);
        assert_eq!(judge(&[finding(every, true), finding(some, true)]), Exit::Success);
        assert_eq!(judge(&[finding(every, true), finding(extra, false)]), Exit::Success);
        assert_eq!(judge(&[finding(every, true), finding(some, false)]), Exit::Limited);
        assert_eq!(judge(&[finding(every, false), finding(some, true)]), Exit::NoIsolation);
    }

    #[test]
    fn a_lack_comes_with_its_remedy() {
        assert_eq!(
            describe(&finding(Need::Every, false)),
            "missing  a private /dev\n         cannot bind `/dev/pts`: EPERM\n         remedy: be root\n         or not"
        );
    }
}
