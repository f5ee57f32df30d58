//! A shell in the sandbox of a build that has failed, before it is taken down.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use builder::{BuildFailure, Inside, Runs};
use engine::Failure;
use local_store::LocalStore;
use settings::{OnFail, Settings};
use store_path::StorePath;

use crate::build_failure::{self, Circumstances, LogCommand};
use crate::messages::Messages;
use crate::outlet;
use crate::terminal::{self, Controls};
use crate::visit;

/// Opens shells, one at a time: there is one terminal.
///
/// Called on the threads of the builds that failed; what others say waits meanwhile.
pub(crate) struct Shells<'a> {
    store: &'a LocalStore,
    log_command: LogCommand,
    controls: Controls<'a>,
    /// The failures that were told before a shell was opened.
    told: Mutex<BTreeSet<StorePath>>,
    turn: Mutex<()>,
}

impl<'a> Shells<'a> {
    /// Begins with nothing failed.
    pub(crate) fn new(store: &'a LocalStore, log_command: LogCommand, controls: Controls<'a>) -> Self {
        Self { store, log_command, controls, told: Mutex::default(), turn: Mutex::default() }
    }

    /// Tells of a failure and opens a shell where it happened.
    pub(crate) fn attend(&self, error: &BuildFailure, inside: &Inside<'_>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Everything is being stopped; nobody wants to look at this one.
        if self.controls.interrupt.is_pending() {
            return;
        }
        let messages = self.controls.messages;
        // The rest is told when all know of it.
        let circumstances = Circumstances::default();
        let (style, log_command) = (messages.style(), &self.log_command);
        messages.error(build_failure::describe(style, inside.drv(), error, &circumstances, log_command));
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(inside.drv().clone());
        visit::tell_where(self.store, inside, messages);
        let held = outlet::hold();
        let left = terminal::attend(inside, &Runs::Shell(None), self.controls);
        drop(held);
        if let Err(error) = left {
            messages.warn(format_args!("cannot open a shell after the failure: {error:#}"));
        }
    }

    /// Returns whether a failure was told already.
    pub(crate) fn has_told(&self, failure: &Failure) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(failure.built())
    }
}

/// Returns what is done after a failure here: where no shell can be opened, the build directory is kept instead.
pub(crate) fn possible(settings: &Settings, messages: Messages) -> OnFail {
    let reason = match settings.on_fail {
        OnFail::Shell if !settings.build_use_chroot.isolates() => {
            "needs a sandbox, and `build-use-chroot` is false"
        }
        OnFail::Shell if !terminal::is_there() => "needs a terminal as standard input and output",
        other => return other,
    };
    messages.note(format_args!(
        "`on-fail = shell` {reason}; the build directories of builds that fail are kept instead"
    ));
    OnFail::Keep
}
