//! How a build failed, as the words and exit codes that programs go by.

use builder::BuildFailure;
use sandbox::ExitStatus;
use serde_json::Value;
use store_path::StoreDir;

use crate::divergence;
use crate::exit::BuildFailures;

/// Returns the word for a failure, in events and in `--json`.
pub(crate) fn status(failure: &BuildFailure) -> &'static str {
    failure.kind()
}

/// Returns what a failure adds to the exit code.
pub(crate) fn exit(failure: &BuildFailure) -> BuildFailures {
    exit_of_kind(failure.kind())
}

/// The same for the word that tells how it failed.
pub(crate) fn exit_of_kind(kind: &str) -> BuildFailures {
    match kind {
        "hash-mismatch" => BuildFailures::HASH_MISMATCH,
        "not-deterministic" => BuildFailures::NOT_DETERMINISTIC,
        "no-output" | "bad-output" | "rejected" | "hook" | "transient" => BuildFailures::UNCOUNTED,
        "timed-out" | "silent" => BuildFailures::TIMED_OUT,
        _ => BuildFailures::FAILED,
    }
}

/// Returns what differs, where something else came out of a build that was run once more.
pub(crate) fn divergence(failure: &BuildFailure, store_dir: &StoreDir) -> Option<Value> {
    match failure.itself() {
        BuildFailure::NotDeterministic { divergence, .. } => Some(divergence::to_json(divergence, store_dir)),
        _ => None,
    }
}

/// Returns what the builder returned, if it did.
pub(crate) fn exit_code(failure: &BuildFailure) -> Option<i32> {
    match failure.itself() {
        BuildFailure::Builder { status: ExitStatus::Code(code), .. } => Some(*code),
        _ => None,
    }
}

/// Returns the signal that killed the builder, if one did.
pub(crate) fn signal(failure: &BuildFailure) -> Option<i32> {
    match failure.itself() {
        BuildFailure::Builder { status: ExitStatus::Signal(signal), .. } => Some(*signal),
        _ => None,
    }
}

/// Returns what was allowed where a builder was ended for having more: seconds, or bytes.
pub(crate) fn limit(failure: &BuildFailure) -> Option<u64> {
    match failure.itself() {
        BuildFailure::Overran { limit, .. } => Some(*limit as u64),
        BuildFailure::OutOfMemory { memory, .. } => Some(memory.limit),
        _ => None,
    }
}
