//! Why a build did not give its outputs.

mod about;
mod words;

use std::io;
use std::path::PathBuf;

use derivation::OutputName;
use sandbox::{ExitStatus, Lack, OutOfMemory, Overrun};
use store_path::{Hash, Method, StorePath};

use self::words::{lines, mebibytes, overran, told};
use crate::checks::Rejection;
use crate::divergence::Divergence;

/// Why a build did not give its outputs. Nothing of it was registered.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// The machine is not of the kind the derivation wants.
    #[error("cannot build `{drv}` here: it is for `{system}`, and this machine runs {runs}")]
    System {
        /// The derivation.
        drv: StorePath,
        /// What it wants.
        system: String,
        /// What there is: the settings `system` and `extra-platforms`.
        runs: String,
    },
    /// The derivation asks for something that the settings do not offer.
    #[error(
        "cannot build `{drv}` here: it requires the system feature `{feature}`, and `system-features` has {has}"
    )]
    Feature {
        /// The derivation.
        drv: StorePath,
        /// What it requires.
        feature: String,
        /// What there is.
        has: String,
    },
    /// There are no rules for the system calls of this architecture.
    #[error(
        "cannot filter the system calls of builds on `{architecture}`: there are rules for x86-64 and aarch64 only; \
         `filter-syscalls = false` builds without the filter"
    )]
    NoFilter {
        /// What this program was compiled for.
        architecture: &'static str,
    },
    /// The builder would be part of this program, and is not.
    #[error("cannot build `{drv}`: there is no builder `{builder}` in `store`; there are {known}")]
    Builtin {
        /// The derivation.
        drv: StorePath,
        /// Its builder.
        builder: String,
        /// Those that there are.
        known: String,
    },
    /// An attribute that says how to build does not make sense.
    #[error("cannot build `{drv}`: {problem}")]
    Attribute {
        /// The derivation.
        drv: StorePath,
        /// The attribute and what is wrong with it.
        problem: String,
    },
    /// Building without isolation was asked for and cannot be.
    #[error(
        "cannot build without isolation (`build-use-chroot = false`, or `relaxed` and `__noChroot`): {reason}"
    )]
    Open {
        /// Why not, and what to do.
        reason: String,
    },
    /// It requires many users (`uid-range`).
    #[error("cannot build `{drv}` here: it requires 65536 users (system feature `uid-range`), and {reason}")]
    UidRange {
        /// The derivation.
        drv: StorePath,
        /// Why they cannot be had, and what to do.
        reason: &'static str,
    },
    /// The builder would be in groups of the caller, which was forbidden.
    #[error(
        "cannot build `{drv}`: its builder would keep the caller's groups {groups:?}, which only root can drop and \
         `require-drop-supplementary-groups = true` forbids; run as a user without further groups or with \
         subordinate ids, or as root"
    )]
    KeepsGroups {
        /// The derivation.
        drv: StorePath,
        /// The groups.
        groups: Vec<u32>,
    },
    /// `build-isolation = chroot` was asked for by an ordinary user.
    #[error(
        "cannot build with `build-isolation = chroot` as an ordinary user: only root may bind and chroot; \
         leave the setting at `namespaces`"
    )]
    ChrootNeedsRoot,
    /// There is no sandbox to step into.
    #[error(
        "cannot step into the sandbox of `{drv}`: there is none with `build-use-chroot = false`, nor with `relaxed` \
         for what asks not to have one (`__noChroot`)"
    )]
    NothingToEnter {
        /// The derivation.
        drv: StorePath,
    },
    /// A sandbox has no shell.
    #[error(
        "cannot open a shell in the sandbox of `{drv}`: it has no `/bin/sh`, its builder is no shell, and none of its \
         inputs has one; `--option sandbox-shell PATH` shows it one of this machine"
    )]
    NoShell {
        /// The derivation.
        drv: StorePath,
    },
    /// A command is not to be found in a sandbox.
    #[error(
        "there is no `{command}` in the sandbox of `{drv}`, where `PATH` is `{path}`; name it with the directory it is in"
    )]
    NoCommand {
        /// The derivation.
        drv: StorePath,
        /// The command.
        command: String,
        /// Where it was looked for.
        path: String,
    },
    /// An input is not in the store.
    #[error("cannot build `{drv}`: its input `{input}` is not valid in this store")]
    Input {
        /// The derivation.
        drv: StorePath,
        /// The input.
        input: StorePath,
    },
    /// There is no place to build in.
    #[error("cannot make a build directory for `{drv}`; the setting `build-dir` takes another place")]
    BuildDir {
        /// The derivation.
        drv: StorePath,
        /// What was in the way.
        source: local_store::Error,
    },
    /// A file that the build needs could not be written or read.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No sandbox could be had. Nothing ran.
    #[error("cannot set up the sandbox of `{drv}`; `store doctor` says what this machine can give")]
    Sandbox {
        /// The derivation.
        drv: StorePath,
        /// What was in the way.
        source: sandbox::Error,
    },
    /// A sandbox could be had and does not keep what it promises. Nothing ran in one.
    #[error(
        "cannot isolate the build of `{drv}`: looked at from inside, a sandbox made here does not hold what it promises, \
         that {}; `store doctor` says more", broken.join(", that ")
    )]
    Broken {
        /// The derivation.
        drv: StorePath,
        /// What does not hold; each completes the sentence "it does not hold that".
        broken: Vec<String>,
    },
    /// A hook could not be run.
    #[error("cannot run the hook `{}` for `{drv}` (setting `{setting}`)", program.display())]
    HookStart {
        /// The derivation.
        drv: StorePath,
        /// The setting that names it.
        setting: &'static str,
        /// The hook.
        program: PathBuf,
        /// What was in the way.
        source: sandbox::Error,
    },
    /// The hook before a build went wrong. Nothing ran.
    #[error(
        "cannot build `{drv}`: the hook `{}` (setting `pre-build-hook`) {problem}{}", program.display(), lines(said)
    )]
    PreBuildHook {
        /// The derivation.
        drv: StorePath,
        /// The hook.
        program: PathBuf,
        /// What it did.
        problem: String,
        /// The last lines that it printed.
        said: Vec<String>,
    },
    /// The hook after a build went wrong. The outputs are valid.
    #[error(
        "`{drv}` is built and its outputs are valid, but the hook `{}` (setting `post-build-hook`) {problem}{}",
        program.display(), lines(said)
    )]
    PostBuildHook {
        /// The derivation.
        drv: StorePath,
        /// The hook.
        program: PathBuf,
        /// What it did.
        problem: String,
        /// The last lines that it printed.
        said: Vec<String>,
    },
    /// It was to be built elsewhere, and was not.
    #[error("the build hook could not have `{drv}` built")]
    Elsewhere {
        /// The derivation.
        drv: StorePath,
        /// What the hook returned, if it took the derivation and failed.
        code: Option<i32>,
        /// The last lines that its builder printed.
        log_tail: Vec<String>,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its outputs were to be fetched, and were not.
    #[error("cannot fetch the outputs of `{drv}`; with `--option fallback true` it is built then")]
    NotFetched {
        /// The derivation.
        drv: StorePath,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be built here, and the build hook did not want it.
    #[error("the build hook has declined it{}", lines(said))]
    Declined {
        /// What the hook said.
        said: Vec<String>,
        /// Why it cannot be built here.
        source: Box<BuildFailure>,
    },
    /// The builder ended in vain.
    #[error("the builder of `{drv}` failed: {}", told(*status))]
    Builder {
        /// The derivation.
        drv: StorePath,
        /// How it ended.
        status: ExitStatus,
        /// Its output is fixed: what it could not fetch may be there another time.
        is_transient: bool,
        /// The last lines it printed.
        log_tail: Vec<String>,
        /// Where its build directory was kept.
        kept: Option<PathBuf>,
    },
    /// It failed, and had no network although it would have had one on another host.
    #[error("the network of this build was withheld ({})", lack.cause)]
    Withheld {
        /// Why, and what to do.
        lack: Lack,
        /// How it failed.
        source: Box<BuildFailure>,
    },
    /// The builder was ended since what had connected it to the network was gone.
    #[error("the builder of `{drv}` was ended, as it had lost its network")]
    NetworkLost {
        /// The derivation.
        drv: StorePath,
        /// How.
        source: sandbox::Error,
        /// The last lines it printed.
        log_tail: Vec<String>,
        /// Where its build directory was kept.
        kept: Option<PathBuf>,
    },
    /// Somebody wanted it no more.
    #[error("the build of `{drv}` was cancelled")]
    GivenUp {
        /// The derivation.
        drv: StorePath,
    },
    /// The builder was ended since a setting allows no more.
    #[error("the builder of `{drv}` was ended: {}", overran(*overrun, *limit))]
    Overran {
        /// The derivation.
        drv: StorePath,
        /// What it had too much of.
        overrun: Overrun,
        /// How much was allowed: seconds, or bytes.
        limit: usize,
        /// The last lines it printed.
        log_tail: Vec<String>,
        /// Where its build directory was kept.
        kept: Option<PathBuf>,
    },
    /// The builder failed, and processes of it were killed since it had used up its memory.
    #[error(
        "the builder of `{drv}` ran out of memory: its limit is {} (setting `max-build-memory`), its peak was {}",
        mebibytes(memory.limit), mebibytes(memory.peak)
    )]
    OutOfMemory {
        /// The derivation.
        drv: StorePath,
        /// What it had and used.
        memory: OutOfMemory,
        /// The last lines it printed.
        log_tail: Vec<String>,
        /// Where its build directory was kept.
        kept: Option<PathBuf>,
    },
    /// The builder said that it succeeded, but an output is not there.
    #[error("the builder of `{drv}` did not make its output `{output}` at `{path}`")]
    NoOutput {
        /// The derivation.
        drv: StorePath,
        /// The output.
        output: OutputName,
        /// Where it should be, as the builder sees it.
        path: String,
        /// The last lines it printed.
        log_tail: Vec<String>,
        /// Where its build directory was kept.
        kept: Option<PathBuf>,
    },
    /// A fixed output is not what was promised.
    #[error(
        "the fixed output of `{drv}` has another hash than promised\n  specified: {}\n  got:       {}",
        specified.to_sri(), got.to_sri()
    )]
    Hash {
        /// The derivation.
        drv: StorePath,
        /// What was promised.
        specified: Hash,
        /// What was made.
        got: Hash,
    },
    /// An output may be changed by others than its owner.
    #[error(
        "the output `{}` of `{drv}` has the mode {mode:o}, so that others than the builder may have changed it; \
         let the builder end with `chmod go-w` on it", output.display()
    )]
    Writable {
        /// The derivation.
        drv: StorePath,
        /// Where the builder has left it.
        output: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A flat fixed output is not one plain file.
    #[error(
        "the output of `{drv}` is to be hashed as one file, but it is not a regular file without execute permission"
    )]
    NotFlat {
        /// The derivation.
        drv: StorePath,
    },
    /// An output refers to what its content address has no room for.
    #[error(
        "the output `{output}` of `{drv}` refers to {}, and its path follows from its contents by `{method}`, which lets it \
         refer to nothing{}; with the method `nar` and the algorithm `sha256` it may",
        reference.as_ref().map_or("itself".to_owned(), |path| format!("`{path}`")),
        if *method == Method::Text { " but other paths" } else { "" }
    )]
    Unaddressable {
        /// The derivation.
        drv: StorePath,
        /// The output.
        output: OutputName,
        /// How its path follows from its contents.
        method: Method,
        /// What it refers to, if not to itself.
        reference: Option<StorePath>,
    },
    /// Outputs that refer to each other in a circle, so that none of them can have a path.
    #[error(
        "the outputs `{output}` and `{other}` of `{drv}` refer to each other, so that neither could ever be deleted"
    )]
    OutputCycle {
        /// The derivation.
        drv: StorePath,
        /// One of them.
        output: OutputName,
        /// What it refers to.
        other: OutputName,
    },
    /// A fixed output refers to other paths.
    #[error("the fixed output of `{drv}` refers to `{reference}`; fixed outputs must not refer to anything")]
    FixedReference {
        /// The derivation.
        drv: StorePath,
        /// What it refers to.
        reference: StorePath,
    },
    /// An output breaks a rule that the derivation states.
    #[error("the output `{output}` of `{drv}` breaks its rule `{rule}`: {rejection}")]
    Rejected {
        /// The derivation.
        drv: StorePath,
        /// The output.
        output: OutputName,
        /// The attribute with the rule.
        rule: &'static str,
        /// How it breaks it.
        rejection: Box<Rejection>,
    },
    /// Built once more, it gave something else.
    #[error("`{drv}` is not deterministic: built again, {}", divergence.told())]
    NotDeterministic {
        /// The derivation.
        drv: StorePath,
        /// What differs, and how.
        divergence: Box<Divergence>,
    },
    /// Built once more, it did not give what was to be repaired.
    #[error(
        "cannot repair `{path}` by building `{drv}`: that gave something with the hash `{got}`, not `{valid}` (`store build \
         --check` says what differs from build to build)"
    )]
    Unrepaired {
        /// The derivation.
        drv: StorePath,
        /// What is damaged.
        path: StorePath,
        /// The hash that it should have.
        valid: Box<Hash>,
        /// The hash of what came out.
        got: Box<Hash>,
    },
    /// There is nothing to compare another build with.
    #[error(
        "cannot check `{drv}`: none of its outputs is valid, so that there is nothing to compare with; build it first"
    )]
    NothingToCompare {
        /// The derivation.
        drv: StorePath,
    },
    /// Another build of it would get in the way of the first one.
    #[error(
        "cannot build `{drv}` to compare: without isolation (`build-use-chroot = false`, or `relaxed` and `__noChroot`) it \
         would be made where the other one lies; build it with isolation"
    )]
    NotComparable {
        /// The derivation.
        drv: StorePath,
    },
    /// How it was built could not be put into words.
    #[error("cannot write down how `{drv}` was built, without which nothing of it becomes valid")]
    Record {
        /// The derivation.
        drv: StorePath,
        /// What was in the way.
        source: serde_json::Error,
    },
    /// It did not come to a build: what its inputs turned out to be stands in the way.
    #[error("cannot build `{drv}`")]
    Unready {
        /// The derivation.
        drv: StorePath,
        /// What is wrong with an input, or with what follows from it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The locks, the inputs or the directories of the build could not be had.
    #[error("cannot prepare the build of `{drv}`")]
    Prepare {
        /// The derivation.
        drv: StorePath,
        /// What was in the way.
        source: local_store::Error,
    },
    /// An output could not be made canonical, scanned or registered.
    #[error("cannot keep the outputs of `{drv}`")]
    Store {
        /// The derivation.
        drv: StorePath,
        /// What was in the way.
        source: local_store::Error,
    },
}
