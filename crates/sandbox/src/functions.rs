//! Functions of this binary that can run in a sandbox in place of a program.

use std::panic;
use std::sync::OnceLock;

use crate::{canary, network_probe, probe};

/// A function that can run in a sandbox: is given the input that the plan holds, and returns an exit status.
///
/// It runs in a process that was forked from the launcher, with the sandbox's standard streams and no other descriptor,
/// in the root directory, and with the environment of the launcher, which is empty.
pub type Function = fn(&[u8]) -> i32;

/// Every function of this crate by its name. A build that names another ends with status 127, as a shell would.
const TABLE: &[(&str, Function)] = &[
    (probe::INSIDE, probe::inside),
    (probe::NAMESPACES, probe::try_namespaces),
    (canary::INSIDE, canary::inside),
    (network_probe::INSIDE, network_probe::inside),
];

/// What a function that panics returns, as Rust programs do.
const PANICKED: i32 = 101;

/// Those of the program that this crate is part of.
static FURTHER: OnceLock<&[(&str, Function)]> = OnceLock::new();

/// Adds functions of the program, once for each process.
pub(crate) fn register(further: &'static [(&'static str, Function)]) {
    let _ = FURTHER.set(further);
}

/// Runs the function `name` and returns its exit status.
pub(crate) fn call(name: &str, input: &[u8]) -> i32 {
    let mut all = TABLE.iter().chain(FURTHER.get().copied().unwrap_or_default());
    let Some((_, function)) = all.find(|(known, _)| *known == name) else { return 127 };
    // Unwinding any further would end in the launcher's own code, which has other builds to look after.
    panic::catch_unwind(|| function(input)).unwrap_or(PANICKED)
}
