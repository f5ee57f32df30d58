//! The compiled program does what the rules say, for every architecture, whatever the arguments.

use std::collections::{BTreeSet, HashMap, HashSet};

use libc::{ENOSYS, EPERM, sock_filter};
use test_support::Random;

use super::rules::{Answer, BadLine, Rules, UNKNOWN};
use super::*;

const CLOSED: Filter = Filter { nested_user_namespaces: false, socketcall: false };
const OPEN: Filter = Filter { nested_user_namespaces: true, socketcall: true };

/// What the kernel gives a filter to look at.
#[derive(Clone, Copy, Debug)]
struct Call {
    audit: u32,
    number: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
            _ => panic!("no filter looks at offset {offset}"),
        }
    }
}

/// What running a program on a call came to.
struct Outcome {
    value: u32,
    steps: usize,
    /// Whether it looked at an argument; if not, the kernel need not run it again for this number.
    looked: bool,
}

/// Runs a classic BPF program as the kernel does; a jump out of it, or an unknown instruction, panics.
fn evaluate(program: &[sock_filter], call: Call) -> Outcome {
    let (mut accumulator, mut at, mut steps, mut looked) = (0, 0, 0, false);
    loop {
        let one = &program[at];
        (at, steps) = (at + 1, steps + 1);
        let branch = |taken: bool| usize::from(if taken { one.jt } else { one.jf });
        match one.code {
            0x20 => (accumulator, looked) = (call.word(one.k), looked || one.k >= 16),
            0x54 => accumulator &= one.k,
            0x05 => at += one.k as usize,
            0x15 => at += branch(accumulator == one.k),
            0x35 => at += branch(accumulator >= one.k),
            0x06 => return Outcome { value: one.k, steps, looked },
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// The answer by going through the rules as a reader would, without any program.
fn naive(rules: &Rules<'_>, name: Option<&str>, arguments: [u64; 6]) -> Answer {
    let rules = name.and_then(|name| rules.get(name)).map_or(&[][..], Vec::as_slice);
    let holds = |rule: &&rules::Rule| {
        rule.conditions.iter().all(|condition| {
            let low = arguments[usize::from(condition.argument)] as u32 & condition.mask;
            (low == condition.value) == condition.equal
        })
    };
    rules.iter().find(holds).map_or(UNKNOWN, |rule| rule.answer)
}

fn value(answer: Answer) -> u32 {
    match answer {
        Answer::Allow => libc::SECCOMP_RET_ALLOW,
        Answer::Error(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Answer::Notify => libc::SECCOMP_RET_USER_NOTIF,
    }
}

/// Every architecture by name, with the kernel that serves it.
const ALL: [(&str, &[Architecture], usize); 4] =
    [("x86_64", X86_64, 0), ("i386", X86_64, 1), ("aarch64", AARCH64, 0), ("arm", AARCH64, 1)];

fn number(name: &str, column: usize) -> Option<u32> {
    rules::syscalls().unwrap().into_iter().find(|(known, _)| *known == name)?.1[column]
}

/// What the filter gives for a call by name; `None` where the architecture does not have it.
fn ask(filter: Filter, architecture: &str, name: &str, arguments: &[u64]) -> Option<u32> {
    let (_, kernel, index) = ALL.into_iter().find(|(known, ..)| *known == architecture)?;
    let Architecture { audit, column } = kernel[index];
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let call = Call { audit, number: number(name, column)?, arguments: all };
    Some(evaluate(&compile(kernel, filter), call).value)
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn error(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

/// Asserts what a call gets on every architecture that has it, and that some do.
fn expect(filter: Filter, name: &str, arguments: &[u64], wanted: u32) {
    let answers: Vec<_> = ALL
        .iter()
        .filter_map(|(architecture, ..)| Some((*architecture, ask(filter, architecture, name, arguments)?)))
        .collect();
    assert!(!answers.is_empty(), "no architecture has `{name}`");
    for (architecture, answer) in answers {
        assert_eq!(answer, wanted, "{architecture}: {name} {arguments:x?}");
    }
}

/// High bits that the kernel does not read must not hide anything.
const DIRTY: u64 = 0xdead_beef_0000_0000;

#[test]
fn every_line_is_readable_and_says_something() {
    for filter in [CLOSED, OPEN] {
        let rules = rules::rules(filter).unwrap();
        let known: HashSet<&str> = rules::syscalls().unwrap().into_iter().map(|(name, _)| name).collect();
        for name in rules.keys() {
            assert!(known.contains(name), "`{name}` has no number anywhere");
        }
    }
    // Nothing is forgotten: a call that the rules do not name at all is one that nobody has thought about.
    let named = rules::rules(OPEN).unwrap();
    for (name, _) in rules::syscalls().unwrap() {
        assert!(named.contains_key(name), "no rule names `{name}`");
    }
}

#[test]
fn a_line_that_makes_no_sense_is_refused() {
    for line in [
        "permit read",
        "allow read if mode",
        "EPERM open if arg6 & 1",
        "EPERM open if arg1 & SET",
        "EPERM open if arg1 = 0o9",
        "let A",
        "let A = 9z",
    ] {
        assert_eq!(rules::read_rules(line, CLOSED).err(), Some(BadLine(line.to_owned())), "{line}");
    }
}

#[test]
fn no_number_stands_for_two_calls() {
    for column in 0..rules::COLUMNS {
        let mut seen = BTreeSet::new();
        for (name, numbers) in rules::syscalls().unwrap() {
            assert!(numbers[column].is_none_or(|number| seen.insert(number)), "{name}, column {column}");
        }
        assert!(seen.len() > 300, "column {column}");
    }
}

/// Numbers as the installed kernel headers have them; older headers know fewer.
#[expect(clippy::disallowed_methods, reason = "compares with the kernel's headers")]
fn header(path: &str) -> Option<Vec<(String, u32)>> {
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: no `{path}` on this machine");
        return None;
    };
    let lines = text.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    });
    Some(lines.collect())
}

#[test]
fn the_numbers_are_those_of_the_kernel_s_headers() {
    let include = "/usr/include/x86_64-linux-gnu/asm";
    for (path, column) in [(format!("{include}/unistd_64.h"), 0), (format!("{include}/unistd_32.h"), 1)] {
        for (name, wanted) in header(&path).unwrap_or_default() {
            assert_eq!(number(&name, column), Some(wanted), "{path}: {name}");
        }
    }
    // The common header of newer architectures, of which aarch64 is one, writes some names differently.
    for (name, wanted) in header("/usr/include/asm-generic/unistd.h").unwrap_or_default() {
        let known = number(&name, 2);
        assert!(known.is_none_or(|known| known == wanted), "{name} is {wanted}");
    }
}

#[test]
fn the_numbers_are_those_of_the_c_library() {
    let native: &[(&str, i64)] = &[
        ("read", libc::SYS_read),
        ("openat", libc::SYS_openat),
        ("fchmodat", libc::SYS_fchmodat),
        ("mknodat", libc::SYS_mknodat),
        ("ioctl", libc::SYS_ioctl),
        ("socket", libc::SYS_socket),
        ("clone", libc::SYS_clone),
        ("unshare", libc::SYS_unshare),
        ("keyctl", libc::SYS_keyctl),
        ("bpf", libc::SYS_bpf),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("openat2", libc::SYS_openat2),
        ("fsetxattr", libc::SYS_fsetxattr),
        ("personality", libc::SYS_personality),
        ("execveat", libc::SYS_execveat),
    ];
    let column = native_column();
    for (name, wanted) in native {
        assert_eq!(number(name, column).map(i64::from), Some(*wanted), "{name}");
    }
}

fn native_column() -> usize {
    super::native().expect("tests run where builds can be filtered")[0].column
}

/// Pseudo-random calls: known and unknown numbers, arguments around those that the rules ask for.
fn calls(kernel: &[Architecture], count: usize) -> impl Iterator<Item = (Call, usize)> {
    let mut random = Random::seeded(1);
    let mut interesting: Vec<u32> = vec![0, 1, 2, 8, 10, 16, 17, 38, 40, u32::MAX, 0o755, 0o100, 0o100_644];
    for rule in rules::rules(CLOSED).unwrap().into_values().flatten() {
        interesting.extend(rule.conditions.iter().flat_map(|condition| [condition.mask, condition.value]));
    }
    let audits: Vec<(u32, usize)> = kernel.iter().map(|one| (one.audit, one.column)).collect();
    (0..count).map(move |_| {
        let (audit, column) = audits[random.below(audits.len())];
        let number = match random.below(8) {
            0 => random.number() as u32,
            1 => random.below(500) as u32 | 0x4000_0000,
            _ => random.below(480) as u32,
        };
        let arguments = std::array::from_fn(|_| {
            let low = match random.below(4) {
                0 => random.number() as u32,
                1 => {
                    interesting[random.below(interesting.len())]
                        | interesting[random.below(interesting.len())]
                }
                _ => interesting[random.below(interesting.len())],
            };
            let high = if random.below(3) == 0 { random.number() << 32 } else { 0 };
            high | u64::from(low)
        });
        (Call { audit, number, arguments }, column)
    })
}

#[test]
fn the_program_says_what_the_rules_say() {
    for filter in [CLOSED, OPEN] {
        let rules = rules::rules(filter).unwrap();
        let syscalls = rules::syscalls().unwrap();
        for kernel in [X86_64, AARCH64] {
            let program = compile(kernel, filter);
            let mut names = HashMap::new();
            for (name, numbers) in &syscalls {
                let columns = numbers.iter().enumerate();
                names.extend(columns.filter_map(|(column, number)| Some(((column, (*number)?), *name))));
            }
            let mut allowed = 0;
            for (call, column) in calls(kernel, 60_000) {
                let wanted = naive(&rules, names.get(&(column, call.number)).copied(), call.arguments);
                assert_eq!(evaluate(&program, call).value, value(wanted), "{call:x?}");
                allowed += usize::from(wanted == Answer::Allow);
            }
            assert!((10_000..50_000).contains(&allowed), "{allowed} of 60000 allowed");
        }
    }
}

#[test]
fn no_program_sets_the_bits_of_setuid() {
    for mode in [0o4755, 0o2755, 0o6755, 0o104_755, DIRTY | 0o4755] {
        expect(CLOSED, "chmod", &[0, mode], error(EPERM));
        expect(CLOSED, "fchmod", &[0, mode], error(EPERM));
        expect(CLOSED, "fchmodat", &[0, 0, mode], error(EPERM));
        expect(CLOSED, "fchmodat2", &[0, 0, mode, 0], error(EPERM));
        expect(CLOSED, "creat", &[0, mode], error(EPERM));
        expect(CLOSED, "mknod", &[0, mode], error(EPERM));
        expect(CLOSED, "mknodat", &[0, 0, mode], error(EPERM));
        for create in [0o100, 0o101, 0o20_200_000, DIRTY | 0o100] {
            expect(CLOSED, "open", &[0, create, mode], error(EPERM));
            expect(CLOSED, "openat", &[0, 0, create, mode], error(EPERM));
        }
        // Where nothing is made, the mode is whatever stood in the register.
        expect(CLOSED, "open", &[0, 2, mode], ALLOW);
        expect(CLOSED, "openat", &[0, 0, 2, mode], ALLOW);
    }
    for (name, arguments) in [
        ("chmod", &[0, 0o1777][..]),
        ("fchmodat", &[0, 0, DIRTY | 0o755]),
        ("creat", &[0, 0o644]),
        ("open", &[0, 0o101, 0o666]),
        ("openat", &[0, 0, 0o101, 0o666]),
        ("mknod", &[0, 0o010_644]),
        ("mknodat", &[0, 0, 0o140_644]),
        ("mkdir", &[0, 0o2755]),
    ] {
        expect(CLOSED, name, arguments, ALLOW);
    }
    expect(OPEN, "openat2", &[0, 0, 0, 24], error(ENOSYS));
}

#[test]
fn nobody_makes_devices() {
    for kind in [0o020_644, 0o060_644, DIRTY | 0o020_000] {
        expect(OPEN, "mknod", &[0, kind, 0], error(EPERM));
        expect(OPEN, "mknodat", &[0, 0, kind, 0], error(EPERM));
    }
    expect(OPEN, "renameat2", &[0, 0, 0, 0, DIRTY | 4], error(libc::EINVAL));
    expect(OPEN, "renameat2", &[0, 0, 0, 0, 2], ALLOW);
}

#[test]
fn files_have_no_extended_attributes() {
    for verb in ["set", "get", "list", "remove"] {
        for (prefix, suffix) in [("", ""), ("l", ""), ("f", ""), ("", "at")] {
            expect(OPEN, &format!("{prefix}{verb}xattr{suffix}"), &[], error(libc::EOPNOTSUPP));
        }
    }
}

#[test]
fn nobody_types_for_others() {
    for request in [0x5412, 0x541c, 0x541d, 0x5423] {
        for high in [0, DIRTY, 1 << 32, u64::MAX << 32] {
            expect(OPEN, "ioctl", &[0, high | request], error(EPERM));
        }
    }
    // TCGETS, TIOCGWINSZ, FIONREAD
    for request in [0x5401, 0x5413, 0x541b] {
        expect(CLOSED, "ioctl", &[0, request], ALLOW);
    }
}

#[test]
fn sockets_are_of_few_families() {
    for family in [1, 2, 10] {
        expect(CLOSED, "socket", &[family, 1, 0], ALLOW);
        expect(CLOSED, "socketpair", &[family, 1, 0], ALLOW);
    }
    expect(CLOSED, "socket", &[16, 3, 0], ALLOW);
    expect(CLOSED, "socket", &[16, 3, 16], error(libc::EPROTONOSUPPORT));
    expect(CLOSED, "socket", &[DIRTY | 16, 3, DIRTY | 9], error(libc::EPROTONOSUPPORT));
    expect(OPEN, "socket", &[17, 3, 0], error(EPERM));
    for family in [0, 3, 15, 21, 29, 30, 31, 38, 40, 42, 43, 44, DIRTY | 40] {
        expect(OPEN, "socket", &[family, 1, 0], error(libc::EAFNOSUPPORT));
        expect(OPEN, "socketpair", &[family, 1, 0], error(libc::EAFNOSUPPORT));
    }
    assert_eq!(ask(CLOSED, "i386", "socketcall", &[1]), Some(error(ENOSYS)));
    assert_eq!(ask(OPEN, "i386", "socketcall", &[1]), Some(ALLOW));
    assert_eq!(ask(OPEN, "x86_64", "socketcall", &[1]), None);
}

#[test]
fn nested_namespaces_are_a_choice() {
    const NEW_USER: u64 = 0x1000_0000;
    for name in ["clone", "unshare"] {
        expect(CLOSED, name, &[DIRTY | NEW_USER | 17], error(EPERM));
        expect(CLOSED, name, &[0x0002_0000 | 17], ALLOW);
        expect(OPEN, name, &[NEW_USER], ALLOW);
    }
    expect(CLOSED, "clone3", &[0, 88], error(ENOSYS));
    expect(OPEN, "clone3", &[0, 88], ALLOW);
    for name in ["mount", "umount2", "pivot_root", "setns", "chroot", "fsopen", "open_tree", "mount_setattr"]
    {
        expect(CLOSED, name, &[], error(EPERM));
        expect(OPEN, name, &[], ALLOW);
    }
}

#[test]
fn doors_that_stay_shut() {
    for name in [
        "io_uring_setup",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "_sysctl",
    ] {
        expect(OPEN, name, &[], error(ENOSYS));
    }
    for name in ["kexec_load", "finit_module", "reboot", "open_by_handle_at", "syslog", "settimeofday"] {
        expect(OPEN, name, &[], error(EPERM));
    }
    for persona in [0, 8, 0x0004_0000, 0x0004_0008, 0xffff_ffff, DIRTY] {
        expect(CLOSED, "personality", &[persona], ALLOW);
    }
    for persona in [1, 6, 0x10, 0x0004_0005] {
        expect(OPEN, "personality", &[persona], error(libc::EINVAL));
    }
}

#[test]
fn what_programs_do_is_left_alone() {
    for name in [
        "read",
        "execve",
        "futex",
        "ptrace",
        "seccomp",
        "prctl",
        "exit_group",
        "io_setup",
        "rseq",
        "restart_syscall",
        "rt_sigreturn",
    ] {
        expect(CLOSED, name, &[u64::MAX; 6], ALLOW);
    }
}

#[test]
fn unknown_numbers_are_absent_and_unknown_architectures_deadly() {
    for kernel in [X86_64, AARCH64] {
        let program = compile(kernel, OPEN);
        for architecture in kernel {
            // x32 calls have bit 30; the last is what a tracer puts there to skip a call.
            for number in
                [471, 500, 512, 547, 1000, 0x4000_0000, 0x4000_0001, 0x4000_0208, 0x7fff_ffff, u32::MAX]
            {
                let call = Call { audit: architecture.audit, number, arguments: [0; 6] };
                assert_eq!(evaluate(&program, call).value, error(ENOSYS), "{number:#x}");
            }
        }
        for audit in [0, 0x8000_0008, 0xc000_00f3, 0x4000_003e, kernel[0].audit ^ 0x8000_0000] {
            let call = Call { audit, number: 0, arguments: [0; 6] };
            assert_eq!(evaluate(&program, call).value, libc::SECCOMP_RET_KILL_PROCESS, "{audit:#x}");
        }
    }
}

#[test]
fn a_call_costs_few_instructions_and_most_are_asked_about_once() {
    let program = compile(X86_64, CLOSED);
    assert!(program.len() < 500, "{} instructions", program.len());
    let rules = rules::rules(CLOSED).unwrap();
    for (name, numbers) in rules::syscalls().unwrap() {
        let Some(number) = numbers[0] else { continue };
        let outcome = evaluate(&program, Call { audit: X86_64[0].audit, number, arguments: [0; 6] });
        assert!(outcome.steps < 40, "{name}: {} instructions", outcome.steps);
        let depends = rules.get(name).is_some_and(|rules| !rules[0].conditions.is_empty());
        assert_eq!(outcome.looked, depends, "{name}");
    }
}

#[test]
fn different_programs_have_different_digests() {
    let digests: BTreeSet<String> = [(false, false), (false, true), (true, false), (true, true)]
        .map(|(nested_user_namespaces, socketcall)| Filter { nested_user_namespaces, socketcall })
        .map(|filter| compiled(filter).unwrap().digest.clone())
        .into();
    assert_eq!(digests.len(), 4);
    assert_eq!(compiled(CLOSED).unwrap().digest, digest(&compiled(CLOSED).unwrap().program));
}

#[test]
fn an_observer_hears_of_lookups_only_and_nothing_is_forbidden_for_it() {
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
    let names = rules::observed().unwrap();
    let syscalls = rules::syscalls().unwrap();
    for kernel in [X86_64, AARCH64] {
        let program = compile_observing(kernel);
        let ask = |audit, number, arguments| evaluate(&program, Call { audit, number, arguments }).value;
        for architecture in kernel {
            for (name, numbers) in &syscalls {
                let Some(number) = numbers[architecture.column] else { continue };
                let heard = [[0; 6], [DIRTY; 6], [0, 0, 0, 0, 0x1000, 0]]
                    .map(|all| ask(architecture.audit, number, all));
                let wanted = if names.contains_key(name) { NOTIFY } else { ALLOW };
                assert_eq!(heard[2], wanted, "{name}");
                assert!(heard.iter().all(|answer| [ALLOW, wanted].contains(answer)), "{name}");
            }
            for number in [471, 1000, 0x4000_0001, u32::MAX] {
                assert_eq!(ask(architecture.audit, number, [0; 6]), ALLOW, "{number:#x}");
            }
        }
        assert_eq!(ask(0x8000_0008, 0, [0; 6]), ALLOW);
    }
    // What makes files, and what is about open ones, costs nothing.
    let program = compile_observing(X86_64);
    for (name, arguments) in [
        ("open", [0, 0o101, 0, 0, 0, 0]),
        ("openat", [0, 0, 0o102, 0, 0, 0]),
        ("newfstatat", [3, 0, 0, 0x1000, 0, 0]),
        ("statx", [3, 0, 0x1000, 0, 0, 0]),
        ("sendto", [3, 0, 0, 0, 0, 0]),
    ] {
        let call = Call { audit: X86_64[0].audit, number: number(name, 0).unwrap(), arguments };
        assert_eq!(evaluate(&program, call).value, ALLOW, "{name}");
    }
}
