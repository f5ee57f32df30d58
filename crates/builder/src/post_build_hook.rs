//! `post-build-hook`: a program that hears of what was built, to copy it somewhere or to sign it.

use std::collections::BTreeMap;

use derivation::OutputName;
use sandbox::ExitStatus;
use store_path::{PathInfo, StorePath};

use crate::build::{Context, Message};
use crate::failure::BuildFailure;
use crate::host_program::{Call, told};

/// Runs the hook, if there is one, for outputs that were just built and are valid.
///
/// # Errors
/// If it could not be run or did not return 0: the outputs stay valid, and nothing that needs them is to be built.
pub fn run_post_build_hook(
    context: &Context<'_>,
    drv: &StorePath,
    outputs: &BTreeMap<OutputName, PathInfo>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<(), BuildFailure> {
    let Some(program) = &context.settings.post_build_hook else { return Ok(()) };
    let call = Call { program, args: Vec::new(), env: environment(context, drv, outputs) };
    let mut on_line = |line: &[u8]| tell(Message::Output(&[b"post-build-hook: ", line, b"\n"].concat()));
    // By now there is nothing to give up: what it is for is built.
    let ran = call.run(context.launcher, None, &mut on_line).map_err(|source| BuildFailure::HookStart {
        drv: drv.clone(),
        setting: "post-build-hook",
        program: program.clone(),
        source,
    })?;
    ran.stdout.split_inclusive(|byte| *byte == b'\n').for_each(|line| {
        on_line(line.strip_suffix(b"\n").unwrap_or(line));
    });
    match ran.status {
        ExitStatus::Code(0) => Ok(()),
        status => Err(BuildFailure::PostBuildHook {
            drv: drv.clone(),
            program: program.clone(),
            problem: told(status),
            said: ran.last_lines,
        }),
    }
}

/// The caller's variables, what was built, and the settings that Nix's programs know, should it run some.
fn environment(
    context: &Context<'_>,
    drv: &StorePath,
    outputs: &BTreeMap<OutputName, PathInfo>,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let Context { store, settings, host, .. } = context;
    let print = |path: &StorePath| store.store_dir().print(path);
    let paths: Vec<String> = outputs.values().map(|info| print(&info.path)).collect();
    let mut env = host.environment.clone();
    let root = store.location().root();
    let own = settings.for_nix(root);
    let own: String = own.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let mut config = env.get(&b"NIX_CONFIG"[..]).cloned().unwrap_or_default();
    config.extend_from_slice(b"\n");
    config.extend_from_slice(own.as_bytes());
    env.insert(b"NIX_CONFIG".to_vec(), config);
    env.insert(b"DRV_PATH".to_vec(), print(drv).into_bytes());
    env.insert(b"OUT_PATHS".to_vec(), paths.join(" ").into_bytes());
    env
}
