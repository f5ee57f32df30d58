//! What a builder is given, made: directories, the files in them, and a plan with a user outside.

use std::path::{Path, PathBuf};

use local_store::{BuildDir, LocalStore, Scratch};
use sandbox::{BuildUser, Exec, Network, Op, Plan};
use store_path::StorePath;

use crate::build::Message;
use crate::external;
use crate::failure::BuildFailure;
use crate::outputs::Made;
use crate::plan::{self, Outside};
use crate::pre_build_hook;
use crate::work::{Places, Work};
use crate::{build_dir, user};

/// Everything that a build has before it runs. Dropping it throws away what was made.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    /// What the builder is, or would be if it were a file.
    pub(crate) exec: Exec,
    /// Where its build directory is.
    pub(crate) build_dir: PathBuf,
    /// That directory, or the one it is in.
    pub(crate) top: BuildDir,
    /// What is its store directory; `None` if that is the host's.
    pub(crate) scratch: Option<Scratch>,
    /// As root, whom the builder is outside its sandbox, and no other one meanwhile.
    pub(crate) user: Option<BuildUser>,
    real_store: PathBuf,
    /// What `pre-build-hook` had it shown.
    pub(crate) hooked: Vec<Op>,
}

impl Prepared {
    /// Makes the sandbox of an isolated build. The caller holds the locks of its outputs.
    pub(crate) fn isolated(work: &Work<'_>, tell: &mut dyn FnMut(Message<'_>)) -> Result<Self, BuildFailure> {
        let make = if work.shares { LocalStore::take_scratch } else { LocalStore::make_scratch };
        Self::with_scratch(work, tell, make)
    }

    /// Makes the sandbox that an isolated build would have, for somebody who does not make its outputs.
    pub(crate) fn beside(work: &Work<'_>, tell: &mut dyn FnMut(Message<'_>)) -> Result<Self, BuildFailure> {
        // Its name is its own: a build of the same may run meanwhile.
        Self::with_scratch(work, tell, LocalStore::take_scratch)
    }

    fn with_scratch(
        work: &Work<'_>,
        tell: &mut dyn FnMut(Message<'_>),
        make: impl FnOnce(&LocalStore, &StorePath, Option<(u32, u32)>) -> Result<Scratch, local_store::Error>,
    ) -> Result<Self, BuildFailure> {
        let (user, top) = Self::begin(work, tell)?;
        let ids = user.as_ref().map(BuildUser::ids);
        if work.is_chroot() && user.is_none() {
            return Err(BuildFailure::ChrootNeedsRoot);
        }
        let failed = |source| BuildFailure::Store { drv: work.request.drv.clone(), source };
        let scratch = make(work.context.store, work.request.drv, ids).map_err(failed)?;
        let places = Places {
            scratch: scratch.store(),
            build_dir: top.path().join("build"),
            tmp: top.path().join("tmp"),
            root: scratch.root(),
        };
        build_dir::make_dir(&places.build_dir, 0o700, ids)?;
        build_dir::make_dir(&places.tmp, 0o1777, None)?;
        if work.is_chroot() {
            build_dir::make_dir(&places.root, 0o755, None)?;
        }
        let started = work.program(&work.inside())?;
        write_files(&started.files, &places.build_dir, ids)?;
        let outside = user.as_ref().map(|user| Outside { ids: user.ids(), groups: user.groups() });
        let exec = started.exec.clone();
        let hooked = pre_build_hook::run(work, Some(scratch.path()), tell)?;
        let plan = work.isolated(&places, outside, started.exec, &hooked);
        let plan = plan::running(plan, started.builtin);
        for lack in plan.lacks() {
            tell(Message::Warning(format!("`build-isolation = chroot`: {lack}")));
        }
        let real_store = work.context.store.location().real_store.clone();
        Ok(Self {
            plan,
            exec,
            build_dir: places.build_dir,
            top,
            scratch: Some(scratch),
            user,
            real_store,
            hooked,
        })
    }

    /// Makes what a build that sees the host is given.
    pub(crate) fn open(work: &Work<'_>, tell: &mut dyn FnMut(Message<'_>)) -> Result<Self, BuildFailure> {
        let (user, top) = Self::begin(work, tell)?;
        let why = match work.context.settings.build_use_chroot.isolates() {
            true => "`build-use-chroot = relaxed`, and it asks for that by `__noChroot`",
            false => "`build-use-chroot = false`",
        };
        tell(Message::Warning(format!(
            "building without isolation ({why}): the builder sees this whole machine"
        )));
        let build_dir = top.path().to_owned();
        let started = work.program(&build_dir)?;
        write_files(&started.files, &build_dir, user.as_ref().map(BuildUser::ids))?;
        let exec = started.exec.clone();
        // There is nothing that could show more than all.
        let hooked = pre_build_hook::run(work, None, tell).map(|_| Vec::new())?;
        let plan = plan::running(plan::open(work.context.settings, started.exec), started.builtin);
        let real_store = work.context.store.location().real_store.clone();
        Ok(Self { plan, exec, build_dir, top, scratch: None, user, real_store, hooked })
    }

    /// Makes what a program of the settings is given that runs the builder.
    pub(crate) fn external(work: &Work<'_>, tell: &mut dyn FnMut(Message<'_>)) -> Result<Self, BuildFailure> {
        let (user, top) = Self::begin(work, tell)?;
        let build_dir = top.path().join("build");
        build_dir::make_dir(&build_dir, 0o700, None)?;
        let started = work.program(Path::new(external::INSIDE))?;
        write_files(&started.files, &build_dir, None)?;
        let exec = started.exec.clone();
        let hooked = pre_build_hook::run(work, None, tell).map(|_| Vec::new())?;
        let places = external::Places { top: top.path(), build_dir: &build_dir };
        let text = external::describe(work, &places, &exec);
        build_dir::write_file(&top.path().join(external::FILE), text.as_bytes(), None)?;
        let plan = plan::open(work.context.settings, started.exec);
        let real_store = work.context.store.location().real_store.clone();
        Ok(Self { plan, exec, build_dir, top, scratch: None, user, real_store, hooked })
    }

    fn begin(
        work: &Work<'_>,
        tell: &mut dyn FnMut(Message<'_>),
    ) -> Result<(Option<BuildUser>, BuildDir), BuildFailure> {
        // Outside of a sandbox it is the caller, who may write to the store.
        let user = if work.is_isolated() { user::take(work.context, work.request, tell)? } else { None };
        let top = work
            .context
            .store
            .make_build_dir(work.context.settings.build_dir.as_deref())
            .map_err(|source| BuildFailure::BuildDir { drv: work.request.drv.clone(), source })?;
        Ok((user, top))
    }

    /// Where its outputs are when it has ended.
    pub(crate) fn made(&self) -> Made<'_> {
        let Some(scratch) = &self.scratch else {
            let directory = self.real_store.clone();
            return Made { aside: directory.clone(), directory, owner: None, copies: None };
        };
        // A descriptor is passed by a socket, of one's own network namespace if its name is no path. What a helper
        // connects are packets, which carry none; so a build with a private network is alone.
        let is_alone = self.plan.network != Network::Host && self.plan.lacks().is_empty();
        let ids = self.user.as_ref().map(BuildUser::ids);
        Made {
            directory: scratch.store(),
            aside: scratch.path().to_owned(),
            owner: ids.map(|(uid, _)| uid..=uid + (self.plan.identity.count - 1)),
            copies: (!is_alone).then_some(scratch.path()),
        }
    }
}

fn write_files(
    files: &[(String, Vec<u8>)],
    directory: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), BuildFailure> {
    files
        .iter()
        .try_for_each(|(name, contents)| build_dir::write_file(&directory.join(name), contents, owner))
}
