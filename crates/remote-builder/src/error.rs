//! Why a hook did not give the outputs of a derivation.

use std::io;
use std::path::PathBuf;

use sandbox::ExitStatus;
use store_path::StorePath;

/// Why a hook did not give the outputs of a derivation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot start the build hook `{}` (setting `build-hook`)", program.display())]
    Start {
        /// The hook.
        program: PathBuf,
        /// What was in the way.
        source: sandbox::Error,
    },
    /// It could not be talked to.
    #[error("cannot talk to the build hook `{}` (setting `build-hook`)", program.display())]
    Talk {
        /// The hook.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended while it was asked.
    #[error("the build hook `{}` has ended instead of answering{}", program.display(), words(said))]
    Died {
        /// The hook.
        program: PathBuf,
        /// What it printed before.
        said: Vec<String>,
    },
    /// The process that minds it is gone, or all of it was stopped.
    #[error("lost the build hook `{}` (setting `build-hook`)", program.display())]
    Lost {
        /// The hook.
        program: PathBuf,
        /// How.
        source: sandbox::Error,
    },
    /// It gave an answer that there is not.
    #[error(
        "the build hook `{}` answered `{reply}`; there are `accept`, `decline`, `decline-permanently` and `postpone`",
        program.display()
    )]
    Reply {
        /// The hook.
        program: PathBuf,
        /// What it said.
        reply: String,
    },
    /// It took the derivation and failed.
    #[error("on `{machine}` it failed: the hook {}{}", ended(*status), words(said))]
    Failed {
        /// Where it was built.
        machine: String,
        /// How the hook ended.
        status: ExitStatus,
        /// The errors that it told.
        said: Vec<String>,
    },
    /// It says that it succeeded, and did not bring an output.
    #[error(
        "the hook says that it was built on `{machine}`, but its output `{output}` is not valid in this store; does the hook \
         write to this one?{}",
        words(said)
    )]
    NotValid {
        /// Where it was built.
        machine: String,
        /// The output.
        output: StorePath,
        /// The errors that it told.
        said: Vec<String>,
    },
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] local_store::Error),
}

impl Error {
    /// How the hook has ended, where that is what went wrong.
    pub fn status(&self) -> Option<ExitStatus> {
        match self {
            Self::Failed { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("returned {code}"),
        ExitStatus::Signal(signal) => format!("was killed by signal {signal}"),
        ExitStatus::Overran(_) => "took too long".to_owned(),
        ExitStatus::GivenUp => "was ended".to_owned(),
    }
}

/// What was said, as the end of a sentence.
fn words(said: &[String]) -> String {
    said.iter().map(|line| format!("\n  {line}")).collect()
}
