//! `store doctor`

use anyhow::{Context, Result};
use sandbox::Finding;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::session::Session;

/// Says what isolation this machine can give to builds, and what to do about each thing that is missing.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store doctor\n\n\
                        Exit code: 0 when all is there, 10 when builds work but something is missing,\n\
                        11 when builds cannot be isolated.")]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(session: &mut Session, _args: &Args) -> Result<Exit> {
    let findings = sandbox::probe().context("cannot examine this machine")?;
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
    let lacks = |required: bool| findings.iter().any(|one| one.lack.is_some() && one.required == required);
    match (lacks(true), lacks(false)) {
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
    match &finding.lack {
        None => format!("ok       {}", finding.what),
        Some(lack) => {
            format!("missing  {}\n         {}\n         remedy: {}", finding.what, lack.cause, lack.remedy)
        }
    }
}

fn to_json(finding: &Finding) -> Value {
    json!({
        "what": finding.what,
        "required": finding.required,
        "ok": finding.lack.is_none(),
        "cause": finding.lack.as_ref().map(|lack| &lack.cause),
        "remedy": finding.lack.as_ref().map(|lack| &lack.remedy),
    })
}

#[cfg(test)]
mod tests {
    use sandbox::Lack;

    use super::*;

    fn finding(required: bool, is_there: bool) -> Finding {
        let lack = Lack { cause: "cannot bind `/dev/pts`: EPERM".to_owned(), remedy: "be root".to_owned() };
        Finding { what: "a private /dev", required, lack: (!is_there).then_some(lack) }
    }

    #[test]
    fn the_worst_finding_decides() {
        assert_eq!(judge(&[finding(true, true), finding(false, true)]), Exit::Success);
        assert_eq!(judge(&[finding(true, true), finding(false, false)]), Exit::Limited);
        assert_eq!(judge(&[finding(true, false), finding(false, false)]), Exit::NoIsolation);
    }

    #[test]
    fn a_lack_comes_with_its_remedy() {
        assert_eq!(
            describe(&finding(true, false)),
            "missing  a private /dev\n         cannot bind `/dev/pts`: EPERM\n         remedy: be root"
        );
    }
}
