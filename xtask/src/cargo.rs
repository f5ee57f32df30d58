//! Running cargo, and reading what it says it built.

use std::env;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Artifact, Message, Metadata, MetadataCommand, TargetKind};

/// Returns the root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one level below the root")
}

/// Returns a cargo command that starts in the root.
///
/// Cargo names itself in the environment of what it runs, so the toolchain is the caller's.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs a command and fails unless it succeeds.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} failed: {status}");
    Ok(())
}

/// Returns what `cargo metadata` says about the workspace itself.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new().current_dir(root()).no_deps().exec().context("cannot read the workspace")
}

/// An executable that cargo built.
pub(crate) struct Executable {
    /// Its target, such as `store`.
    pub(crate) name: String,
    /// The directory of its package.
    pub(crate) package: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) is_test: bool,
}

impl Executable {
    fn of(artifact: Artifact) -> Option<Self> {
        let wanted = artifact.profile.test || artifact.target.kind.contains(&TargetKind::Bin);
        Some(Self {
            path: artifact.executable.filter(|_| wanted)?.into(),
            name: artifact.target.name,
            package: artifact.manifest_path.parent()?.into(),
            is_test: artifact.profile.test,
        })
    }
}

/// Runs a cargo command that builds, and lists the programs and tests it made.
pub(crate) fn build(arguments: &[&str], rust_flags: Option<&str>) -> Result<Vec<Executable>> {
    let mut command = cargo(arguments);
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    if let Some(flags) = rust_flags {
        command.env("RUSTFLAGS", flags);
    }
    let mut child = command.spawn().context("cannot run cargo")?;
    let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut built = Vec::new();
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read what cargo says")? {
            built.extend(Executable::of(artifact));
        }
    }
    ensure!(child.wait()?.success(), "cargo {} failed", arguments.join(" "));
    Ok(built)
}

/// Returns the `store` program among what was built.
pub(crate) fn store_program(built: &[Executable]) -> Result<&Path> {
    match built.iter().find(|one| one.name == "store" && !one.is_test) {
        Some(program) => Ok(&program.path),
        None => bail!("cargo built no program `store`"),
    }
}
