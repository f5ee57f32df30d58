//! The filter of system calls: what `rules.txt` says, as a program that the kernel runs before each call.
//!
//! It is compiled once in the launcher, and the children that it forks have it. Where there is no filter for an
//! architecture, a build that asks for one fails; none is ever left out in silence.

mod program;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::OnceLock;

use libc::sock_filter;
use rustix::io::Errno;

use crate::plan::Filter;
use program::{Calls, Otherwise};
use rules::{Answer, Rules, UNKNOWN};

/// A filter ready to be installed.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) program: Vec<sock_filter>,
    /// Tells one program from another; not meant to withstand forgery.
    pub(crate) digest: String,
}

/// One of the architectures that a kernel serves.
struct Architecture {
    /// `AUDIT_ARCH_*`: its number among executable formats, and bits for 64-bit and little-endian.
    audit: u32,
    /// Its column in `syscalls.txt`.
    column: usize,
}

const X86_64: &[Architecture] =
    &[Architecture { audit: 0xc000_003e, column: 0 }, Architecture { audit: 0x4000_0003, column: 1 }];
const AARCH64: &[Architecture] =
    &[Architecture { audit: 0xc000_00b7, column: 2 }, Architecture { audit: 0x4000_0028, column: 3 }];

/// What this machine's kernel serves, if rules for it are known.
fn native() -> Option<&'static [Architecture]> {
    if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        Some(X86_64)
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little", target_pointer_width = "64")) {
        Some(AARCH64)
    } else {
        None
    }
}

/// Whether builds can be given a filter on the architecture that this program is for.
pub fn can_filter() -> bool {
    native().is_some()
}

/// The program for `filter`, compiled at the first call.
pub(crate) fn compiled(filter: Filter) -> Result<&'static Compiled, Errno> {
    static COMPILED: [OnceLock<Compiled>; 4] = [const { OnceLock::new() }; 4];
    let architectures = native().ok_or(Errno::NOSYS)?;
    let index = usize::from(filter.nested_user_namespaces) + 2 * usize::from(filter.socketcall);
    Ok(COMPILED[index].get_or_init(|| {
        let program = compile(architectures, filter);
        Compiled { digest: digest(&program), program }
    }))
}

/// The program that has an observer hear of calls, and forbids none.
pub(crate) fn observing() -> Result<Vec<sock_filter>, Errno> {
    Ok(compile_observing(native().ok_or(Errno::NOSYS)?))
}

/// The names of the calls that an observer hears of, by architecture and number.
pub(crate) fn observed_calls() -> HashMap<(u32, u32), &'static str> {
    let rules = rules::observed().expect("a test reads every line of the observed calls");
    let syscalls = rules::syscalls().expect("a test reads every line of the numbers");
    let known = native().unwrap_or_default().iter().flat_map(|architecture| {
        let numbers = syscalls.iter().filter(|(name, _)| rules.contains_key(name));
        numbers
            .filter_map(|(name, numbers)| Some(((architecture.audit, numbers[architecture.column]?), *name)))
    });
    known.collect()
}

fn compile(architectures: &[Architecture], filter: Filter) -> Vec<sock_filter> {
    let rules = rules::rules(filter).expect("a test reads every line of the rules");
    let otherwise = Otherwise { unknown: UNKNOWN, strange: libc::SECCOMP_RET_KILL_PROCESS };
    compile_rules(architectures, &rules, otherwise)
}

fn compile_observing(architectures: &[Architecture]) -> Vec<sock_filter> {
    let rules = rules::observed().expect("a test reads every line of the observed calls");
    let otherwise = Otherwise { unknown: Answer::Allow, strange: libc::SECCOMP_RET_ALLOW };
    compile_rules(architectures, &rules, otherwise)
}

fn compile_rules(
    architectures: &[Architecture],
    rules: &Rules<'_>,
    otherwise: Otherwise,
) -> Vec<sock_filter> {
    let syscalls = rules::syscalls().expect("a test reads every line of the numbers");
    let calls = |architecture: &Architecture| {
        let known = syscalls.iter().filter_map(|(name, numbers)| {
            Some((numbers[architecture.column]?, rules.get(name).map_or(&[][..], Vec::as_slice)))
        });
        let mut rules: Vec<_> = known.collect();
        rules.sort_unstable_by_key(|(number, _)| *number);
        Calls { audit: architecture.audit, rules }
    };
    program::program(&architectures.iter().map(calls).collect::<Vec<_>>(), otherwise)
}

/// FNV-1a of 128 bits.
fn digest(program: &[sock_filter]) -> String {
    let bytes = program.iter().flat_map(|one| {
        let [code, k] = [u64::from(one.code), u64::from(one.k)];
        (code << 48 | u64::from(one.jt) << 40 | u64::from(one.jf) << 32 | k).to_le_bytes()
    });
    let hash = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    });
    format!("{hash:032x}")
}
