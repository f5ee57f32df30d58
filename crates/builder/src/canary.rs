//! A sandbox like those of builds, made to see whether it holds: before the first build, and when somebody asks.

#![expect(clippy::disallowed_methods, reason = "furnishes a sandbox")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use local_store::{BuildDir, Scratch};
use sandbox::{BuildUser, Exec, Ids, Network, Notice, Plan};
use settings::{Isolation, Settings};
use store_path::{Hash, HashAlgorithm, StorePath};

use crate::build::{Context, Message};
use crate::build_dir;
use crate::control::Control;
use crate::failure::BuildFailure;
use crate::plan::{self, Outside, View};
use crate::user;

/// The one input that it has, whose permissions let everybody write to it.
const INPUT: &str = "00000000000000000000000000000000-canary";

/// Refuses to build where sandboxes do not hold. Looks once for all builds of a call, and not at all where the store
/// remembers that it was done: in this boot, by this very program, for such sandboxes.
pub(crate) fn prove(
    context: &Context<'_>,
    drv: &StorePath,
    control: Option<&dyn Control>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<(), BuildFailure> {
    // Builds that start meanwhile wait.
    let mut known = context.host.broken.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = match known.take() {
        Some(broken) => broken,
        None => look(context, drv, control, tell)?,
    };
    *known = Some(broken.clone());
    if broken.is_empty() { Ok(()) } else { Err(BuildFailure::Broken { drv: drv.clone(), broken }) }
}

/// What does not hold, if it was not proven that everything does.
fn look(
    context: &Context<'_>,
    drv: &StorePath,
    control: Option<&dyn Control>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Vec<String>, BuildFailure> {
    let digest = sandbox::circumstances().map(|circumstances| digest(context, &circumstances));
    if digest.as_ref().is_some_and(|digest| context.store.is_proven(digest)) {
        return Ok(Vec::new());
    }
    let broken = look_until(context, drv, control, tell)?;
    if broken.is_empty() {
        tell(Message::Detail(sandbox::Detail::Step("the sandbox holds, seen from inside".to_owned())));
        digest.iter().for_each(|digest| context.store.remember_proof(digest));
    }
    Ok(broken)
}

/// What a proof is about: all that shapes a sandbox is in its plan, or said by the host about itself.
fn digest(context: &Context<'_>, circumstances: &str) -> String {
    let place = Path::new("/");
    let places = Places { store: place, scratch: place, build_dir: place, tmp: place, root: place };
    let text = format!("{circumstances}\n{}", plan(context, &places, None));
    Hash::of(HashAlgorithm::Sha256, text.as_bytes()).to_base16()
}

/// Makes a sandbox, looks around in it, and returns what does not hold; each completes "it does not hold that".
///
/// `drv` gives its directories a name that collectors respect, as the caller is about to build it, or is gone soon.
///
/// # Errors
/// [`BuildFailure::Sandbox`] if the kernel refuses to make one, and whatever else keeps builds from being prepared.
pub fn look_inside(
    context: &Context<'_>,
    drv: &StorePath,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Vec<String>, BuildFailure> {
    look_until(context, drv, None, tell)
}

/// The same, unless the build for which it is done is given up while it waits for a user.
fn look_until(
    context: &Context<'_>,
    drv: &StorePath,
    control: Option<&dyn Control>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Vec<String>, BuildFailure> {
    let user = user::take_for(context, drv, Ids::One, control, tell)?;
    let ids = user.as_ref().map(BuildUser::ids);
    if context.settings.build_isolation == Isolation::Chroot && user.is_none() {
        return Err(BuildFailure::ChrootNeedsRoot);
    }
    let store = |source| BuildFailure::Store { drv: drv.clone(), source };
    let top = context
        .store
        .make_build_dir(context.settings.build_dir.as_deref())
        .map_err(|source| BuildFailure::BuildDir { drv: drv.clone(), source })?;
    let scratch = context.store.take_scratch(drv, ids).map_err(store)?;
    let made = Made::furnish(context, &top, &scratch, ids)?;
    let outside = user.as_ref().map(|user| Outside { ids: user.ids(), groups: user.groups() });
    let plan = plan(context, &made.places(), outside);
    let input = Path::new(context.store.store_dir().as_str()).join(INPUT).join("file");
    let broken =
        sandbox::look_inside(context.launcher, &plan, &input, user.as_ref(), &mut |notice| match notice {
            Notice::Warning(_) => tell(notice.into()),
            // The steps of a sandbox that nobody asked for.
            Notice::Detail(_) => {}
        });
    let broken = broken.map_err(|source| BuildFailure::Sandbox { drv: drv.clone(), source })?;
    if shares(context.settings) {
        // With what is mounted in it, for the build that is to come.
        context.store.give_back(scratch, &BTreeSet::from([input_path()]));
    }
    Ok(broken)
}

fn input_path() -> StorePath {
    INPUT.parse().expect("it is written as a store path is")
}

/// As for builds that do not say otherwise.
fn shares(settings: &Settings) -> bool {
    settings.build_isolation == Isolation::Namespaces
        && settings.filter_syscalls
        && !settings.allow_new_privileges
}

/// The directories of a sandbox on the host.
struct Made {
    store: PathBuf,
    scratch: PathBuf,
    build_dir: PathBuf,
    tmp: PathBuf,
    root: PathBuf,
}

/// The same, borrowed.
struct Places<'a> {
    /// What stands for the store that inputs are in.
    store: &'a Path,
    scratch: &'a Path,
    build_dir: &'a Path,
    tmp: &'a Path,
    root: &'a Path,
}

impl Made {
    fn furnish(
        context: &Context<'_>,
        top: &BuildDir,
        scratch: &Scratch,
        ids: Option<(u32, u32)>,
    ) -> Result<Self, BuildFailure> {
        let below = |name: &str| top.path().join(name);
        let made = Self {
            store: below("store"),
            scratch: scratch.store(),
            build_dir: below("build"),
            tmp: below("tmp"),
            root: scratch.root(),
        };
        let input = made.store.join(INPUT);
        build_dir::make_dir(&made.store, 0o755, None)?;
        build_dir::make_dir(&input, 0o777, None)?;
        let file = input.join("file");
        fs::write(&file, "").map_err(|source| BuildFailure::File {
            action: "write",
            path: file.clone(),
            source,
        })?;
        build_dir::set_mode(&file, 0o666)?;
        build_dir::make_dir(&made.build_dir, 0o700, ids)?;
        build_dir::make_dir(&made.tmp, 0o1777, None)?;
        if context.settings.build_isolation == Isolation::Chroot {
            build_dir::make_dir(&made.root, 0o755, None)?;
        }
        Ok(made)
    }

    fn places(&self) -> Places<'_> {
        Places {
            store: &self.store,
            scratch: &self.scratch,
            build_dir: &self.build_dir,
            tmp: &self.tmp,
            root: &self.root,
        }
    }
}

/// The plan that a build with these settings has, of an ordinary derivation with one input.
fn plan(context: &Context<'_>, places: &Places<'_>, user: Option<Outside<'_>>) -> Plan {
    let Context { store, settings, host, .. } = *context;
    // `sandbox` runs a function of its own in its place.
    let program = Exec {
        path: PathBuf::new(),
        args: Vec::new(),
        env: Vec::new(),
        directory: settings.sandbox_build_dir.clone(),
        personality_32: false,
        old_kernel: false,
    };
    plan::isolated(View {
        settings,
        varied: &settings::Variations::default(),
        inside: settings.sandbox_build_dir.clone(),
        store_dir: store.store_dir().as_str(),
        real_store: places.store,
        inputs: &BTreeSet::from([input_path()]),
        elsewhere: &BTreeMap::new(),
        shares: shares(settings),
        scratch: places.scratch,
        build_dir: places.build_dir,
        tmp: places.tmp,
        root: places.root,
        host,
        host_deps: &[],
        hooked: &[],
        user,
        ids: Ids::One,
        network: Network::Loopback,
        job_server: None,
        program,
    })
}
