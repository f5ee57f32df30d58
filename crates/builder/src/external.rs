//! A builder that is run by a program of the settings (`external-builders`), such as one that starts a virtual machine.
//!
//! The program gets the path of a file of JSON, as Nix's version 1 of it, in which there is all that it needs. It makes the
//! outputs where they are to be in the store, and its status is that of the builder. Whether it keeps the
//! builder apart is its own business, which is written down.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{Exec, Exit, ExitStatus, Given, HostProgram, Network, Scheme};
use serde_json::{Map, Value, json};
use settings::ExternalBuilder;

use crate::control::Control;
use crate::limits;
use crate::prepare::Prepared;
use crate::work::Work;

/// What the program is given to write to, and where its file is.
pub(crate) struct Places<'a> {
    /// The directory of all that belongs to the build.
    pub(crate) top: &'a Path,
    /// The build directory.
    pub(crate) build_dir: &'a Path,
}

/// The name of the file, beside the build directory.
pub(crate) const FILE: &str = "build.json";

/// Where the builder is to find the build directory.
pub(crate) const INSIDE: &str = "/build";

/// After SIGTERM, until SIGKILL: a virtual machine may have to be put away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the text of the file.
pub(crate) fn describe(work: &Work<'_>, places: &Places<'_>, exec: &Exec) -> String {
    let store = work.context.store;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let variables = exec.env.iter().map(|(name, value)| (text(name), Value::from(text(value))));
    let outputs = work.request.outputs.iter();
    let outputs = outputs.map(|(name, path)| (name.to_string(), Value::from(store.store_dir().print(path))));
    let inputs: Vec<String> = work.inputs.iter().map(|path| store.store_dir().print(path)).collect();
    let description = json!({
        "version": 1,
        "builder": exec.path.to_string_lossy(),
        // The first one is its name, which the program sees to.
        "args": exec.args.iter().skip(1).map(|argument| text(argument)).collect::<Vec<_>>(),
        "env": variables.collect::<Map<_, _>>(),
        "topTmpDir": places.top.to_string_lossy(),
        "tmpDir": places.build_dir.to_string_lossy(),
        "tmpDirInSandbox": INSIDE,
        "storeDir": store.store_dir().as_str(),
        "realStoreDir": store.location().real_store.to_string_lossy(),
        "system": text(&work.request.derivation.system),
        "inputPaths": inputs,
        "outputs": outputs.collect::<Map<_, _>>(),
    });
    description.to_string()
}

/// Runs the program to its end, or until the build is given up; `on_start` hears the number of the process that minds it,
/// `on_output` what it prints.
pub(crate) fn run(
    work: &Work<'_>,
    external: &ExternalBuilder,
    prepared: &Prepared,
    on_start: impl FnOnce(u32),
    on_output: &mut dyn FnMut(&[u8]),
) -> Result<Exit, sandbox::Error> {
    let context = work.context;
    let args = std::iter::once(&external.program).chain(&external.args).map(|arg| arg.clone().into_bytes());
    let program = HostProgram {
        exec: Exec {
            path: PathBuf::from(OsStr::from_bytes(external.program.as_bytes())),
            args: args.chain([prepared.top.path().join(FILE).into_os_string().into_vec()]).collect(),
            env: context.host.environment.clone().into_iter().collect(),
            directory: prepared.build_dir.clone(),
            personality_32: false,
            old_kernel: false,
        },
        patience: PATIENCE,
        takes_all_along: true,
        user: None,
    };
    let (log, output) = io::pipe().map_err(|source| sandbox::Error::Talk { source })?;
    let process = context.launcher.run_on_host(&program, &[(1, output.as_fd()), (2, output.as_fd())])?;
    drop(output);
    on_start(process.process_number());
    let allowance = limits::allowance(context.settings);
    let given_up = work.request.control.map(Control::given_up);
    let status = process.follow(vec![log.into()], allowance, given_up, &mut |_, bytes| on_output(bytes))?;
    Ok(exit(status))
}

/// What it used is known to nobody.
fn exit(status: ExitStatus) -> Exit {
    let none = Duration::ZERO;
    Exit {
        status,
        user_time: none,
        system_time: none,
        peak_memory_bytes: 0,
        written_bytes: 0,
        out_of_memory: None,
    }
}

/// What is known of how it is kept apart: nothing.
pub(crate) fn given(external: &ExternalBuilder) -> Given {
    Given {
        scheme: Scheme::None,
        namespaces: Default::default(),
        mounts_locked: false,
        unprivileged: false,
        own_keyring: false,
        filter: None,
        landlock: None,
        network: Network::Host,
        outer: None,
        limits: Vec::new(),
        unlimited: Vec::new(),
        inherited: Vec::new(),
        lacks: vec![format!(
            "it was run by `{}`, which keeps builders apart in its own way",
            external.program
        )],
    }
}
