//! What a builder is given, worked out before anything is made for it: its program, its environment, its plan.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::{Exec, Ids, Network, Op, Plan, Program};
use settings::{FodNetwork, Isolation, Variation, Variations};
use store_path::StorePath;

use crate::build::Context;
use crate::environment::{self, Environment, Surroundings};
use crate::failure::BuildFailure;
use crate::job_server::{self, JobServer};
use crate::plan::{self, Outside, View};
use crate::request::Request;
use crate::rewrite::Rewrites;
use crate::{attributes, builtin, graph, host_deps, vary};

/// A derivation that can be built here, and the closure of its inputs.
pub(crate) struct Work<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) request: &'a Request<'a>,
    pub(crate) inputs: BTreeSet<StorePath>,
    /// Where those of them are that are in the lower store.
    pub(crate) elsewhere: BTreeMap<StorePath, PathBuf>,
    rewrites: Rewrites,
    /// What it asks to see of the host, and is shown.
    pub(crate) host_deps: Vec<Op>,
    /// Whether the next build may have the same store directory, with what is mounted in it.
    pub(crate) shares: bool,
    /// Whether what is made is only compared with what is there.
    pub(crate) is_again: bool,
    /// Where on the host the fifo of the job server is, if there is one.
    pub(crate) fifo: Option<PathBuf>,
    /// Counts its tokens.
    pub(crate) job_server: Option<Arc<JobServer>>,
    /// What is changed on purpose for that.
    pub(crate) varied: Variations,
}

/// Where on the host a builder's directories are.
pub(crate) struct Places {
    /// Becomes the store directory.
    pub(crate) scratch: PathBuf,
    /// Becomes the build directory.
    pub(crate) build_dir: PathBuf,
    /// Becomes `/tmp`.
    pub(crate) tmp: PathBuf,
    /// Becomes the root under `build-isolation = chroot`.
    pub(crate) root: PathBuf,
}

/// A program, and the files in its build directory that its environment names.
pub(crate) struct Started {
    pub(crate) exec: Exec,
    /// What runs in its place, if that is part of this program.
    pub(crate) builtin: Option<Program>,
    /// Name in the build directory and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        request: &'a Request<'a>,
        inputs: BTreeSet<StorePath>,
    ) -> Self {
        let rewrites = Rewrites::of(&request.outputs, context.store.store_dir());
        let host_deps = match request.is_isolated {
            true => host_deps::binds(&request.options.impure_host_deps),
            false => Vec::new(),
        };
        let elsewhere = context.store.lying_below(&inputs);
        let mut work = Self {
            context,
            request,
            inputs,
            elsewhere,
            rewrites,
            host_deps,
            shares: false,
            is_again: false,
            fifo: None,
            job_server: None,
            varied: Variations::default(),
        };
        work.shares = work.may_share();
        work
    }

    /// The same, with a job server, if there is one.
    pub(crate) fn with_job_server(self, server: Option<Arc<JobServer>>) -> Self {
        Self { fifo: server.as_ref().map(|server| server.path().to_owned()), job_server: server, ..self }
    }

    /// The same, with a fifo that a job server would have.
    pub(crate) fn with_fifo(self, fifo: Option<PathBuf>) -> Self {
        Self { fifo, ..self }
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.request.is_isolated
    }

    pub(crate) fn is_chroot(&self) -> bool {
        self.is_isolated() && self.context.settings.build_isolation == Isolation::Chroot
    }

    /// Not if the builder could do something to the directory that is not undone: pass it on to others, or mark it in a
    /// way that the filter forbids.
    fn may_share(&self) -> bool {
        let Context { store, settings, .. } = *self.context;
        self.is_isolated()
            && !self.is_chroot()
            && self.network() != Network::Host
            && settings.filter_syscalls
            && !settings.allow_new_privileges
            && self.request.ids() == Ids::One
            && self.elsewhere.is_empty()
            && store.can_be_mounted(&self.inputs)
    }

    /// Where the builder sees its build directory.
    pub(crate) fn inside(&self) -> PathBuf {
        let usual = &self.context.settings.sandbox_build_dir;
        if self.varied.has(Variation::BuildPath) { vary::build_dir(usual) } else { usual.clone() }
    }

    /// The plan of its sandbox.
    pub(crate) fn isolated(
        &self,
        places: &Places,
        user: Option<Outside<'_>>,
        program: Exec,
        hooked: &[Op],
    ) -> Plan {
        let Context { store, settings, host, .. } = *self.context;
        plan::isolated(View {
            settings,
            varied: &self.varied,
            inside: self.inside(),
            store_dir: store.store_dir().as_str(),
            real_store: &store.location().real_store,
            inputs: &self.inputs,
            elsewhere: &self.elsewhere,
            shares: self.shares,
            scratch: &places.scratch,
            build_dir: &places.build_dir,
            tmp: &places.tmp,
            root: &places.root,
            host,
            host_deps: &self.host_deps,
            hooked,
            user,
            ids: self.request.ids(),
            network: self.network(),
            job_server: self.fifo.as_deref(),
            program,
        })
    }

    /// Fixed-output and impure builds may be given a way to the outside; nobody else is.
    pub(crate) fn network(&self) -> Network {
        let Context { settings, host, .. } = *self.context;
        if !self.request.is_connected() {
            return Network::Loopback;
        }
        match (settings.fod_network, &host.uplink) {
            (FodNetwork::None, _) => Network::Loopback,
            (FodNetwork::Host, _) => Network::Host,
            (FodNetwork::Private, Some(Ok(uplink))) => Network::Private(uplink.helper),
            (FodNetwork::Private, Some(Err(closed))) => Network::Withheld(closed.why),
            // `build-isolation = chroot` says at the start that it gives the host's, so that it is of use.
            (FodNetwork::Private, None) => Network::Host,
        }
    }

    /// Says of a build that ran and failed that it had no network, if that may be why.
    pub(crate) fn explain(&self, failure: BuildFailure) -> BuildFailure {
        match (self.network(), &self.context.host.uplink) {
            (Network::Withheld(_), Some(Err(closed))) if failure.has_run() => {
                BuildFailure::Withheld { lack: closed.lack.clone(), source: Box::new(failure) }
            }
            _ => failure,
        }
    }

    /// What runs, with `inside` as the build directory it sees.
    pub(crate) fn program(&self, inside: &Path) -> Result<Started, BuildFailure> {
        let environment = self.environment(inside)?;
        let exec = self.exec(inside, environment.variables);
        let name = builtin::name(self.request.derivation);
        let builtin = name.map(|name| builtin::program(self, name, self.attributes(), inside)).transpose()?;
        Ok(Started { exec, builtin, files: environment.files })
    }

    /// What a builder that is part of this program knows of its derivation.
    fn attributes(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let Request { derivation, options, .. } = self.request;
        let given = match &options.structured_attrs {
            Some(attributes) => {
                builtin::flattened(&attributes::complete(attributes.clone(), Vec::new(), derivation))
            }
            None => derivation.env.clone().into_iter().collect(),
        };
        given.into_iter().map(|(name, value)| (name, self.rewrites.apply(&value))).collect()
    }

    /// What would run, were all inputs there: only files depend on what is in them.
    pub(crate) fn outline(&self, inside: &Path) -> Exec {
        let Request { derivation, options, .. } = self.request;
        let surroundings = self.surroundings(inside);
        let environment = match &options.structured_attrs {
            None => environment::plain(derivation, &options.pass_as_file, &self.rewrites, &surroundings),
            Some(_) => environment::structured(derivation, Vec::new(), Vec::new(), &surroundings),
        };
        self.exec(inside, environment.variables)
    }

    fn exec(&self, inside: &Path, variables: BTreeMap<Vec<u8>, Vec<u8>>) -> Exec {
        let derivation = self.request.derivation;
        let builder = self.rewrites.apply(&derivation.builder);
        let name = builder.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let args = derivation.args.iter().map(|argument| self.rewrites.apply(argument));
        Exec {
            path: PathBuf::from(std::ffi::OsStr::from_bytes(&builder)),
            args: std::iter::once(name).chain(args).collect(),
            env: variables.into_iter().collect(),
            directory: inside.to_owned(),
            personality_32: is_32_bit(&derivation.system),
            old_kernel: self.varied.has(Variation::Kernel),
        }
    }

    fn environment(&self, inside: &Path) -> Result<Environment, BuildFailure> {
        let Request { derivation, options, .. } = self.request;
        let store = self.context.store;
        let surroundings = self.surroundings(inside);
        let exports = self.exports()?;
        let failed = |source| BuildFailure::Store { drv: self.request.drv.clone(), source };
        let Some(attributes) = &options.structured_attrs else {
            let mut environment =
                environment::plain(derivation, &options.pass_as_file, &self.rewrites, &surroundings);
            for (name, roots) in exports {
                environment.files.push((name, graph::plain(store, &roots).map_err(failed)?));
            }
            return Ok(environment);
        };
        let mut graphs = Vec::new();
        for (name, roots) in exports {
            graphs.push((name, graph::structured(store, &roots).map_err(failed)?));
        }
        let complete = attributes::complete(attributes.clone(), graphs, derivation);
        let json = attributes::to_json(&complete, &self.rewrites);
        let shell = attributes::to_shell(&complete, &self.rewrites);
        Ok(environment::structured(derivation, json, shell, &surroundings))
    }

    /// What its environment depends on beside the derivation.
    fn surroundings<'s>(&'s self, inside: &'s Path) -> Surroundings<'s> {
        let host = self.context.host;
        let is_varied = |variation| self.varied.has(variation);
        let asked = self.request.options.impure_env_vars.iter().filter(|_| self.request.is_connected());
        let impure = asked.map(|name| {
            let value = host.environment.get(name).cloned().unwrap_or_default();
            (name.clone(), value)
        });
        Surroundings {
            store_dir: self.context.store.store_dir().as_str(),
            build_dir: inside,
            cores: if is_varied(Variation::Cores) { vary::cores(host.cores) } else { host.cores },
            locale: if is_varied(Variation::Locale) { vary::LOCALE } else { &[] },
            impure: impure.collect(),
            job_server: self.fifo.as_deref().map(|fifo| match self.is_isolated() {
                true => Path::new(job_server::INSIDE),
                false => fifo,
            }),
        }
    }

    /// The closures that it wants to be told of, which may be those only of what it can see.
    fn exports(&self) -> Result<Vec<(String, BTreeSet<StorePath>)>, BuildFailure> {
        let mut exports = Vec::new();
        for export in &self.request.options.exports {
            let name = String::from_utf8_lossy(&export.name).into_owned();
            let mut roots = BTreeSet::new();
            for root in &export.roots {
                let root = self.request.path_of(self.context.store, root)?;
                if !self.inputs.contains(&root) {
                    return Err(BuildFailure::Attribute {
                        drv: self.request.drv.clone(),
                        problem: format!(
                            "`exportReferencesGraph` names `{root}` for `{name}`, which is not in the closure of its inputs"
                        ),
                    });
                }
                roots.insert(root);
            }
            exports.push((name, roots));
        }
        Ok(exports)
    }
}

/// Systems whose programs expect a 32-bit kernel.
fn is_32_bit(system: &[u8]) -> bool {
    [&b"i686-linux"[..], b"armv7l-linux", b"armv6l-linux", b"armv5tel-linux"].contains(&system)
}
