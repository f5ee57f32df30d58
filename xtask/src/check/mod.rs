//! `cargo xtask check`: everything about the source that a machine can judge.

mod effects;
mod escapes;
mod floors;
mod forgotten;
mod owners;
mod source;

use anyhow::{Result, bail};

use crate::{cargo, readme};

/// What the fuzz targets are built by.
const FUZZ: &str = "fuzz/Cargo.toml";

/// Judges the workspace; every complaint is printed before it fails.
pub(crate) fn run() -> Result<()> {
    let metadata = cargo::metadata()?;
    let sources = source::read_all(&metadata)?;
    let mut complaints = floors::complaints(&metadata);
    complaints.extend(owners::complaints(&metadata));
    complaints.extend(effects::complaints(&sources));
    complaints.extend(forgotten::complaints(cargo::root())?);
    complaints.extend(escapes::complaints(cargo::root())?);
    complaints.extend(readme::complaints()?);
    for command in [
        &["fmt", "--all", "--check"][..],
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &["doc", "--quiet", "--workspace", "--no-deps"],
        &["fmt", "--manifest-path", FUZZ, "--check"],
        // A workspace of its own. Nothing is linked, as that takes a compiler of C++.
        &[
            "check",
            "--quiet",
            "--locked",
            "--manifest-path",
            FUZZ,
            "--no-default-features",
            "--target-dir",
            "target/fuzz",
        ],
    ] {
        let mut command = cargo::cargo(command);
        command.env("RUSTDOCFLAGS", "-D warnings");
        complaints.extend(cargo::succeed(&mut command).err().map(|error| error.to_string()));
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} complaints", complaints.len());
    }
    Ok(())
}
