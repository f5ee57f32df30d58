//! `cargo xtask dist`: one binary that runs on any x86-64 Linux.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cargo;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds `store` with its C library inside, makes sure of that, and prints where it is.
pub(crate) fn run() -> Result<()> {
    let built = cargo::build(
        // `--target`, as build scripts and macros of the host would not load with a static C library.
        &["build", "--release", "--package", "cli", "--target", TARGET],
        Some("-C target-feature=+crt-static"),
    )?;
    let program = cargo::store_program(&built)?;
    ensure!(!has_interpreter(program)?, "`{}` is not static: it names an interpreter", program.display());
    println!("{}", program.display());
    Ok(())
}

/// Tells whether an ELF file asks for a dynamic loader (has a `PT_INTERP` header).
fn has_interpreter(path: &Path) -> Result<bool> {
    const PT_INTERP: u64 = 3;
    let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let field = |offset: u64, width: u64| -> Result<u64> {
        let (start, end) = (offset as usize, (offset + width) as usize);
        let field = bytes.get(start..end).context("the file ends inside its headers")?;
        Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    };
    ensure!(
        bytes.starts_with(b"\x7fELF\x02\x01"),
        "`{}` is no 64-bit little-endian ELF file",
        path.display()
    );
    let (table, width, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    for index in 0..count {
        if field(table + index * width, 4)? == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_program_has_an_interpreter() {
        // Tests are built against the machine's C library.
        assert!(has_interpreter(&std::env::current_exe().unwrap()).unwrap());
    }
}
