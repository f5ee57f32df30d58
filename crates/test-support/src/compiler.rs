//! Small C programs for tests: what makes system calls that no shell makes.

#![expect(clippy::disallowed_methods, reason = "runs the C compiler, which writes files")]

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Scratch;

/// What this run has compiled, by source: tests share programs, and the compiler is slow.
static COMPILED: Mutex<Option<HashMap<String, Vec<u8>>>> = Mutex::new(None);

/// Compiles `source` as C and returns the path of the program, `directory/name`.
///
/// It is static where the machine has a static C library, so it runs in a build that was given
/// `--option build-chroot-dirs "/dev /proc /probe=PATH"` and nothing else.
///
/// # Panics
/// If there is no C compiler (building this project needs one too), or it refuses the source.
pub fn c_program(directory: &Path, name: &str, source: &str) -> PathBuf {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = compiled.get_or_insert_default();
    if !known.contains_key(source) {
        known.insert(source.to_owned(), compile(source));
    }
    let program = directory.join(name);
    write_program(&program, &known[source]);
    program
}

/// Writes a program by another process: what this one has open to write to, a process that another thread starts at that
/// moment has too, and then the file is busy and cannot be run.
///
/// # Panics
/// If it cannot be written, or there is no `cp`.
pub fn write_program(path: &Path, bytes: &[u8]) {
    let mut copier = Command::new("cp");
    copier.arg("/dev/stdin").arg(path).stdin(Stdio::piped());
    let mut copier = copier.spawn().expect("`cp` can be run");
    copier.stdin.take().expect("it is a pipe").write_all(bytes).expect("`cp` reads it all");
    assert!(copier.wait().expect("it is our child").success(), "a scratch directory can be written to");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("the file was just made");
}

fn compile(source: &str) -> Vec<u8> {
    let scratch = Scratch::new();
    let (input, program) = (scratch.join("source.c"), scratch.join("program"));
    fs::write(&input, source).expect("a scratch directory can be written to");
    let run = |flags: &[&str]| -> Output {
        let mut command = Command::new("cc");
        command.args(["-O1", "-Wall", "-pthread"]).args(flags).arg("-o").arg(&program).arg(&input);
        command.output().expect("tests need a C compiler (`cc`), as building the project does")
    };
    let mut output = run(&["-static"]);
    if !output.status.success() {
        output = run(&[]);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(&program).expect("the compiler has made it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_does_what_its_source_says() {
        let scratch = Scratch::new();
        let source = "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 3; }\n";
        for name in ["first", "again"] {
            let output = Command::new(c_program(scratch.path(), name, source)).output().unwrap();
            assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"compiled\n"[..]));
        }
    }
}
