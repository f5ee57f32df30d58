//! A build that a hook has accepted, followed to its end.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use sandbox::{Allowance, ExitStatus};

use crate::error::Error;
use crate::hook::{Hook, keep};
use crate::offer::Message;
use crate::said::Said;

/// Passes on what it says until it has ended or `given_up` is readable, and returns how it ended, with what it said went
/// wrong.
///
/// What the settings allow a builder is for the machine that builds to see to; it was told.
pub(crate) fn follow(
    hook: Hook,
    given_up: Option<BorrowedFd<'_>>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<(ExitStatus, Vec<String>), Error> {
    let Hook { program, process, from, mut lines, log, .. } = hook;
    let mut complaints = VecDeque::new();
    let mut hear = |line: Vec<u8>, tell: &mut dyn FnMut(Message<'_>)| {
        let said = Said::read(&line);
        // Warnings have been told, and this one is over.
        if !matches!(said, Said::Warning(_)) {
            keep(&mut complaints, &said);
        }
        pass_on(said, tell);
    };
    let pipes = vec![from.into(), log.into()];
    let status = process.follow(pipes, Allowance::default(), given_up, &mut |place, bytes| {
        if place == 1 {
            return tell(Message::Output(bytes));
        }
        lines.push(bytes);
        while let Some(line) = lines.next() {
            hear(line, tell);
        }
    });
    lines.end();
    while let Some(line) = lines.next() {
        hear(line, tell);
    }
    let status = status.map_err(|source| Error::Lost { program, source })?;
    Ok((status, complaints.into_iter().collect()))
}

/// Tells what a line says.
pub(crate) fn pass_on(said: Said, tell: &mut dyn FnMut(Message<'_>)) {
    match said {
        Said::Log(line) => tell(Message::Output(format!("{line}\n").as_bytes())),
        // As builders say it themselves.
        Said::Phase(phase) => {
            let event = serde_json::json!({ "action": "setPhase", "phase": phase });
            tell(Message::Output(format!("@nix {event}\n").as_bytes()));
        }
        Said::Error(text) | Said::Warning(text) | Said::Plain(text) => {
            tell(Message::Warning(format!("build hook: {text}")));
        }
        Said::Detail(text) => tell(Message::Detail(text)),
        Said::Reply(_) | Said::Nothing => {}
    }
}
