//! What `store sandbox enter` and `store sandbox run` share: the way into a sandbox.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use builder::{BuildFailure, Inside, Runs};
use derivation::Link;
use engine::{Context, Entered, Report, Wanted};
use local_store::LocalStore;
use sandbox::Launcher;
use store_path::StorePath;

use crate::build;
use crate::build_failure::{self, Circumstances, LogCommand};
use crate::derivers;
use crate::exit::Exit;
use crate::interrupt::{Interrupt, Resizes};
use crate::messages::Messages;
use crate::session::Session;
use crate::shell;
use crate::target;
use crate::terminal::{self, Controls};
use crate::watch::Watch;

/// Realises the inputs of what a word means, runs something in its sandbox and returns how that ended.
pub(crate) fn visit(session: &Session, word: &str, runs: &Runs, tells_where: bool) -> Result<Exit> {
    let store = session.open_store()?;
    let drv = derivation(session, &store, word)?;
    let launcher = Launcher::start()?;
    let (settings, environment) = (session.settings(), session.variables());
    let (interrupt, resizes) = (Interrupt::catch()?, Resizes::catch()?);
    let stop = Some(interrupt.descriptor());
    let context = Context {
        store: &store,
        launcher: &launcher,
        settings,
        environment,
        stop,
        on_failure: None,
        tick: None,
        first: 0,
    };
    let messages = session.messages();
    let controls = Controls { interrupt: &interrupt, resizes: &resizes, messages };
    let mut watch = Watch::new(messages, store.location(), LogCommand::of(session, &store), false);
    interrupt.is_heard();
    let entered = interrupt.attend(|| {
        engine::enter(&context, &drv, &mut |event| watch.on_event(&event), |inside| {
            if tells_where {
                tell_where(&store, inside, messages);
            }
            terminal::attend(inside, runs, controls)
        })
    })?;
    store.note_uses();
    let fail = |drv: &StorePath, error: &BuildFailure| {
        let log_command = LogCommand::of(session, &store);
        let circumstances = Circumstances::default();
        let style = messages.style();
        messages.error(build_failure::describe(style, drv, error, &circumstances, &log_command));
        Exit::Failure
    };
    match entered? {
        Entered::Left(Ok(ended)) => Ok(ended.map_or(Exit::Interrupted, Exit::Program)),
        Entered::Left(Err(error)) => match error.downcast_ref() {
            Some(failure) => Ok(fail(&drv, failure)),
            None => Err(error),
        },
        Entered::NoInputs(report) => {
            watch.ended(&report);
            Ok(no_inputs(&store, &drv, messages, &report))
        }
        // Nobody waits for it any more.
        Entered::NoSandbox(_) if interrupt.is_pending() => Ok(Exit::Interrupted),
        Entered::NoSandbox(failure) => Ok(fail(&failure.drv, &failure.error)),
    }
}

fn no_inputs(store: &LocalStore, drv: &StorePath, messages: Messages, report: &Report) -> Exit {
    let exit = build::exit_of(report).unwrap_or(Exit::Failure);
    if !report.stopped {
        let drv = store.store_dir().print(drv);
        messages.error(format_args!("cannot step into the sandbox of `{drv}`: its inputs are not there"));
    }
    exit
}

/// Returns the one derivation that a word means; those of a file are added to the store.
fn derivation(session: &Session, store: &LocalStore, word: &str) -> Result<StorePath> {
    let wanted = target::wanted(session, store, word)?;
    match wanted.as_slice() {
        [Wanted::Outputs { drv, .. }] => Ok(drv.clone()),
        [Wanted::Path(path)] => of_output(store, path),
        [Wanted::Made { file, .. }] => of_made(store, file),
        several => {
            let paths = several.iter().map(|wanted| store.store_dir().print(wanted.start()));
            bail!(one_of(word, &paths.collect::<Vec<_>>()))
        }
    }
}

/// Returns the derivation that a build has made.
pub(crate) fn of_made(store: &LocalStore, file: &Link) -> Result<StorePath> {
    engine::made(store, file)?.with_context(|| {
        let file = format!("{}/{file}", store.store_dir());
        format!(
            "`{file}` is not built yet, so it is not known which derivation it is; `store build` it first"
        )
    })
}

/// Returns the derivation that something in the store was built from.
pub(crate) fn of_output(store: &LocalStore, path: &StorePath) -> Result<StorePath> {
    let candidates: BTreeSet<StorePath> = derivers::of(store, path)?.into_iter().collect();
    let drv = store.valid_among(&candidates)?.into_iter().next();
    drv.with_context(|| format!("`{path}` was not built from a derivation that is known here"))
}

/// Says that a file has several derivations to choose from.
pub(crate) fn one_of(word: &str, paths: &[String]) -> String {
    format!(
        "`{word}` has {} derivations that no other one there uses; `store derivation add` adds them to the store, \
         then name one of them:\n  {}",
        paths.len(),
        paths.join("\n  ")
    )
}

/// Says where somebody who steps in is, and what can be done there.
pub(crate) fn tell_where(store: &LocalStore, inside: &Inside<'_>, messages: Messages) {
    let builder = inside.builder();
    let words = builder.args.iter().skip(1).map(|word| String::from_utf8_lossy(word));
    let command: Vec<String> = std::iter::once(builder.path.to_string_lossy())
        .chain(words)
        .map(|word| build_failure::harmless(&shell::quote(&word)))
        .collect();
    messages.note(format_args!("inside the sandbox of {}", store.store_dir().print(inside.drv())));
    messages.note(format_args!("  the builder works in {}", builder.directory.display()));
    for (name, path) in inside.outputs() {
        messages.note(format_args!("  ${name} is {}", store.store_dir().print(path)));
    }
    match inside.is_builtin() {
        true => messages.note(format_args!(
            "  its builder, {}, is part of `store`, and cannot be run from here: what it sees can be looked at",
            command.join(" ")
        )),
        false => messages.note(format_args!("  to run the builder: {}", command.join(" "))),
    }
    messages.note("  what is made here is thrown away at the end; nothing of it becomes valid");
}
