//! One build from its lock to its registration.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use derivation::{Derivation, OutputName};
use local_store::{BuildDir, LocalStore};
use sandbox::{BuildUser, Exec, Exit, ExitStatus, Ids, Launcher, Network, Notice};
use settings::{FodNetwork, Settings};
use store_path::{PathInfo, StorePath};

use crate::environment::{self, Environment, Surroundings};
use crate::failure::BuildFailure;
use crate::host::Host;
use crate::log::{Keep, Log};
use crate::outputs::{self, Made};
use crate::plan::{self, Outside, View};
use crate::request::{self, Request};
use crate::rewrite::Rewrites;
use crate::{attributes, build_dir, copy_out, graph, limits, user};

/// What every build shares.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where inputs come from and outputs go.
    pub store: &'a LocalStore,
    /// Starts builders.
    pub launcher: &'a Launcher,
    /// How to build.
    pub settings: &'a Settings,
    /// What the settings mean on this host.
    pub host: &'a Host,
}

/// What a build says while it runs.
#[derive(Debug)]
pub enum Message<'a> {
    /// The builder printed this.
    Output(&'a [u8]),
    /// Something that does not end the build and that the user should know.
    Warning(String),
    /// A step of setting its sandbox up or taking it down.
    Detail(sandbox::Detail),
    /// The builder has ended well and left every output; what is left to do is to keep them.
    Ran,
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The outputs, all valid now.
    pub outputs: BTreeMap<OutputName, PathInfo>,
    /// What the builder used; none if somebody else had built them meanwhile.
    pub usage: Option<Exit>,
}

/// Builds `derivation`, whose file is `drv` and whose inputs are valid, and registers its outputs.
///
/// Whoever builds the same at the same time, in this process or another, waits for the other's lock and
/// then finds the outputs valid.
///
/// # Errors
/// A [`BuildFailure`]; then no output was registered.
pub fn build(
    context: &Context<'_>,
    drv: &StorePath,
    derivation: &Derivation,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Built, BuildFailure> {
    let request = request::check(drv, derivation, context)?;
    let failed = |source| BuildFailure::Prepare { drv: drv.clone(), source };
    let paths: Vec<StorePath> = request.outputs.values().cloned().collect();
    let _lock = match context.store.try_lock(&paths).map_err(failed)? {
        Some(lock) => lock,
        None => {
            tell(Message::Warning(format!(
                "another process is making the outputs of `{drv}`; waiting for it"
            )));
            context.store.lock(&paths).map_err(failed)?
        }
    };
    let wanted: BTreeSet<StorePath> = paths.iter().cloned().collect();
    let valid = context.store.valid_among(&wanted).map_err(failed)?;
    let usage = match valid.len() < wanted.len() {
        true => Some(Build::new(context, &request, valid, tell)?.run(tell)?),
        false => None,
    };
    let lost = |source| BuildFailure::Store { drv: drv.clone(), source };
    let infos = context.store.path_infos(&wanted).map_err(lost)?;
    let outputs =
        request.outputs.iter().filter_map(|(name, path)| Some((name.clone(), infos.get(path)?.clone())));
    Ok(Built { outputs: outputs.collect(), usage })
}

/// A build that holds its locks.
struct Build<'a> {
    context: &'a Context<'a>,
    request: &'a Request<'a>,
    inputs: BTreeSet<StorePath>,
    /// Outputs that are valid already; what is made of them again is thrown away.
    valid: BTreeSet<StorePath>,
    top: BuildDir,
    rewrites: Rewrites,
    /// As root, whom the builder is outside its sandbox, and no other one meanwhile.
    user: Option<BuildUser>,
}

impl<'a> Build<'a> {
    fn new(
        context: &'a Context<'a>,
        request: &'a Request<'a>,
        valid: BTreeSet<StorePath>,
        tell: &mut dyn FnMut(Message<'_>),
    ) -> Result<Self, BuildFailure> {
        let inputs = request::input_closure(request, context.store)?;
        let user = user::take(context, request, tell)?;
        let top = context
            .store
            .make_build_dir(context.settings.build_dir.as_deref())
            .map_err(|source| BuildFailure::BuildDir { drv: request.drv.clone(), source })?;
        let rewrites = Rewrites::of(request.derivation, context.store.store_dir());
        Ok(Self { context, request, inputs, valid, top, rewrites, user })
    }

    fn user_ids(&self) -> Option<(u32, u32)> {
        self.user.as_ref().map(BuildUser::ids)
    }

    fn is_isolated(&self) -> bool {
        self.context.settings.build_use_chroot
    }

    fn run(self, tell: &mut dyn FnMut(Message<'_>)) -> Result<Exit, BuildFailure> {
        if self.is_isolated() { self.run_isolated(tell) } else { self.run_open(tell) }
    }

    fn run_isolated(self, tell: &mut dyn FnMut(Message<'_>)) -> Result<Exit, BuildFailure> {
        let Context { store, settings, host, .. } = self.context;
        let is_chroot = settings.build_isolation == settings::Isolation::Chroot;
        if is_chroot && self.user.is_none() {
            return Err(BuildFailure::ChrootNeedsRoot);
        }
        let failed = |source| BuildFailure::Store { drv: self.request.drv.clone(), source };
        let shares = self.shares();
        let scratch = match shares {
            true => store.take_scratch(self.request.drv, self.user_ids()),
            false => store.make_scratch(self.request.drv, self.user_ids()),
        };
        let scratch = scratch.map_err(failed)?;
        let build_dir = self.top.path().join("build");
        let tmp = self.top.path().join("tmp");
        build_dir::make_dir(&build_dir, 0o700, self.user_ids())?;
        build_dir::make_dir(&tmp, 0o1777, None)?;
        if is_chroot {
            build_dir::make_dir(&scratch.root(), 0o755, None)?;
        }
        let program = self.program(&settings.sandbox_build_dir, &build_dir)?;
        let plan = plan::isolated(View {
            settings,
            store_dir: store.store_dir().as_str(),
            real_store: &store.location().real_store,
            inputs: &self.inputs,
            shares,
            scratch: &scratch.store(),
            build_dir: &build_dir,
            tmp: &tmp,
            root: &scratch.root(),
            host,
            user: self.user.as_ref().map(|user| Outside { ids: user.ids(), groups: user.groups() }),
            ids: self.request.ids(),
            network: self.network(),
            program,
        });
        for lack in plan.lacks() {
            tell(Message::Warning(format!("`build-isolation = chroot`: {lack}")));
        }
        let is_alone = plan.network == Network::Loopback && !is_chroot;
        let made = Made {
            directory: &scratch.store(),
            owner: self.user_ids().map(|(uid, _)| uid..=uid + (self.request.ids().count() - 1)),
            copies: (!is_alone).then_some(scratch.path()),
        };
        let shown = shares.then(|| self.inputs.clone());
        let result = self.execute(&plan, &made, &build_dir, tell);
        if let Some(shown) = shown {
            store.give_back(scratch, &shown);
        }
        result
    }

    /// Whether the next build may have the same store directory, with what is mounted in it. Not if the builder could
    /// do something to it that is not undone: pass it on to others, or mark it in a way that the filter forbids.
    fn shares(&self) -> bool {
        let Context { store, settings, .. } = self.context;
        settings.build_isolation == settings::Isolation::Namespaces
            && self.network() != Network::Host
            && settings.filter_syscalls
            && !settings.allow_new_privileges
            && self.request.ids() == Ids::One
            && store.can_be_mounted(&self.inputs)
    }

    fn run_open(self, tell: &mut dyn FnMut(Message<'_>)) -> Result<Exit, BuildFailure> {
        tell(Message::Warning(
            "building without isolation (`build-use-chroot = false`): the builder sees this whole machine"
                .to_owned(),
        ));
        let store = self.context.store;
        for path in self.request.outputs.values().filter(|path| !self.valid.contains(path)) {
            let left_over = store.real_path(path);
            local_store::remove_tree(&left_over)
                .map_err(|source| BuildFailure::Store { drv: self.request.drv.clone(), source })?;
        }
        let build_dir = self.top.path().to_owned();
        let program = self.program(&build_dir, &build_dir)?;
        let plan = plan::open(self.context.settings, program);
        let made = Made { directory: &store.location().real_store, owner: None, copies: None };
        self.execute(&plan, &made, &build_dir, tell)
    }

    /// Fixed-output builds may be given the host's network; nobody else is.
    fn network(&self) -> Network {
        match self.context.settings.fod_network {
            FodNetwork::Host if self.request.derivation.is_fixed() => Network::Host,
            FodNetwork::Host | FodNetwork::None => Network::Loopback,
        }
    }

    /// What runs, with `inside` as the build directory it sees; writes the files that belong into it.
    fn program(&self, inside: &Path, build_dir: &Path) -> Result<Exec, BuildFailure> {
        let derivation = self.request.derivation;
        let environment = self.environment(inside)?;
        for (name, contents) in &environment.files {
            build_dir::write_file(&build_dir.join(name), contents, self.user_ids())?;
        }
        let builder = self.rewrites.apply(&derivation.builder);
        let name = builder.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let args = derivation.args.iter().map(|argument| self.rewrites.apply(argument));
        Ok(Exec {
            path: PathBuf::from(std::ffi::OsStr::from_bytes(&builder)),
            args: std::iter::once(name).chain(args).collect(),
            env: environment.variables.into_iter().collect(),
            directory: inside.to_owned(),
            personality_32: is_32_bit(&derivation.system),
        })
    }

    fn environment(&self, inside: &Path) -> Result<Environment, BuildFailure> {
        let Request { derivation, options, .. } = self.request;
        let store = self.context.store;
        let impure = options.impure_env_vars.iter().map(|name| {
            let value = self.context.host.environment.get(name).cloned().unwrap_or_default();
            (name.clone(), value)
        });
        let surroundings = Surroundings {
            store_dir: store.store_dir().as_str(),
            build_dir: inside,
            cores: self.context.host.cores,
            impure: impure.collect(),
        };
        self.check_exports()?;
        let failed = |source| BuildFailure::Store { drv: self.request.drv.clone(), source };
        let Some(attributes) = &options.structured_attrs else {
            let mut environment =
                environment::plain(derivation, &options.pass_as_file, &self.rewrites, &surroundings);
            for export in &options.exports {
                let text = graph::plain(store, export).map_err(failed)?;
                environment.files.push((String::from_utf8_lossy(&export.name).into_owned(), text));
            }
            return Ok(environment);
        };
        let mut graphs = Vec::new();
        for export in &options.exports {
            let value = graph::structured(store, export).map_err(failed)?;
            graphs.push((String::from_utf8_lossy(&export.name).into_owned(), value));
        }
        let complete =
            attributes::complete(attributes.clone(), graphs, derivation, store.store_dir(), &self.rewrites);
        let (json, shell) = (attributes::to_json(&complete), attributes::to_shell(&complete));
        Ok(environment::structured(derivation, json, shell, &surroundings))
    }

    /// A closure may be told only of what the builder can see.
    fn check_exports(&self) -> Result<(), BuildFailure> {
        let roots = self.request.options.exports.iter().flat_map(|export| &export.roots);
        match roots.clone().find(|root| !self.inputs.contains(root)) {
            None => Ok(()),
            Some(root) => Err(BuildFailure::Attribute {
                drv: self.request.drv.clone(),
                problem: format!(
                    "`exportReferencesGraph` names `{root}`, which is not in the closure of its inputs"
                ),
            }),
        }
    }

    fn execute(
        self,
        plan: &sandbox::Plan,
        made: &Made<'_>,
        build_dir: &Path,
        tell: &mut dyn FnMut(Message<'_>),
    ) -> Result<Exit, BuildFailure> {
        let Context { store, settings, launcher, .. } = self.context;
        let mut log = Log::new(Keep {
            path: settings.keep_build_log.then(|| store.location().log_path(self.request.drv)),
            compress: settings.compress_build_log,
            lines: settings.log_lines,
        });
        let sandbox = |source| BuildFailure::Sandbox { drv: self.request.drv.clone(), source };
        let running =
            launcher.run_as(plan, self.user.as_ref()).map_err(sandbox)?.within(limits::allowance(settings));
        let memory = running.memory().map_err(sandbox)?;
        let teller = RefCell::new(&mut *tell);
        let exit = running.follow(
            &mut |bytes| {
                log.write(bytes);
                (teller.borrow_mut())(Message::Output(bytes));
            },
            &mut |notice| {
                (teller.borrow_mut())(match notice {
                    Notice::Warning(warning) => Message::Warning(request::chain(&warning)),
                    Notice::Detail(detail) => Message::Detail(detail),
                });
            },
        );
        let exit = exit.map_err(sandbox)?;
        let log_tail = log.finish();
        if self.is_isolated() {
            // Its builder may have closed it to everybody.
            build_dir::set_mode(made.directory, 0o1775)?;
        }
        let missing = outputs::missing(self.request, made);
        if exit.status == ExitStatus::Code(0) && missing.is_none() {
            tell(Message::Ran);
            outputs::keep(self.context.store, self.request, made, &self.inputs, &self.valid)?;
            return Ok(exit);
        }
        let drv = self.request.drv.clone();
        let kept = match settings.keep_failed {
            true => {
                memory.map_or(Ok(()), |memory| copy_out::copy(&memory, build_dir))?;
                Some(build_dir::keep(self.top, build_dir, &drv)?)
            }
            false => None,
        };
        Err(match (exit.status, missing) {
            (ExitStatus::Overran(overrun), _) => {
                let limit = limits::limit(overrun, settings);
                BuildFailure::Overran { drv, overrun, limit, log_tail, kept }
            }
            (ExitStatus::Code(0), Some((output, path))) => {
                BuildFailure::NoOutput { drv, output, path: store.store_dir().print(&path), log_tail, kept }
            }
            (status, _) => match exit.out_of_memory {
                Some(memory) => BuildFailure::OutOfMemory { drv, memory, log_tail, kept },
                None => BuildFailure::Builder { drv, status, log_tail, kept },
            },
        })
    }
}

/// Systems whose programs expect a 32-bit kernel.
fn is_32_bit(system: &[u8]) -> bool {
    [&b"i686-linux"[..], b"armv7l-linux", b"armv6l-linux", b"armv5tel-linux"].contains(&system)
}
