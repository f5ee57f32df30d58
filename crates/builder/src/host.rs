//! What builds get from the host, found out once for all builds of a call.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sandbox::{Access, BuildUsers, Closed, HostFile, Op, Subordinate, Unlimited, Uplink, UserChoice};
use settings::{ChrootDir, FodNetwork, Isolation, SandboxShell, Settings};

use crate::job_server::JobServer;
use crate::limits;
use crate::shown::HostFiles;

/// What builds get from the host.
#[derive(Debug)]
pub struct Host {
    /// The shell, the entries of `build-chroot-dirs` and what their programs need, each target once.
    pub(crate) binds: Vec<Op>,
    /// What of all that builds are shown, and which files exactly it is.
    pub(crate) files: HostFiles,
    /// What a build with the host's network needs to use it.
    pub(crate) network_files: Vec<Op>,
    /// What connects fixed-output builds to the outside under `fod-network = private`.
    pub(crate) uplink: Option<Result<Uplink, Closed>>,
    /// Variables that a fixed-output build may ask for (`impureEnvVars`).
    pub(crate) environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whom builders may be outside their sandbox, as root.
    pub(crate) users: Option<BuildUsers>,
    /// Whether builders have subordinate ids of the caller, and how many there are: none as root, or where they are
    /// not wanted.
    pub(crate) subordinate: Subordinate,
    pub(crate) subordinate_ids: u32,
    /// What is limited less than the settings want.
    pub(crate) unlimited: Vec<Unlimited>,
    /// Processors that one build may use: the setting `cores`, or all of them.
    pub(crate) cores: usize,
    /// What was found not to hold in sandboxes, once somebody has looked.
    pub(crate) broken: Mutex<Option<Vec<String>>>,
    /// What builds share their processors by, once one of them wants it.
    pub(crate) job_server: Mutex<Option<Arc<JobServer>>>,
}

/// Why the settings ask for something that the host cannot give.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An entry of `build-chroot-dirs` is not there.
    #[error(
        "cannot show `{}` to builds: `{}` does not exist here; \
         remove it from `build-chroot-dirs`, or write `?` behind it to make it optional",
        target.display(), source_path.display()
    )]
    ChrootDir {
        /// Where builds would see it.
        target: PathBuf,
        /// Where it should be.
        source_path: PathBuf,
    },
    /// A program of the host cannot be given with all it needs.
    #[error("cannot give builds the program `{}` (setting `{setting}`)", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The setting that names it.
        setting: &'static str,
        /// What is missing.
        source: sandbox::HostError,
    },
    /// There is no shell.
    #[error(
        "this host has no shell for builds: there is neither a static busybox nor `/bin/sh`; \
         install `busybox-static`, or set `sandbox-shell` to a shell or to `none`"
    )]
    NoShell,
    /// Builders cannot have users of their own, or the limits that are wanted.
    #[error("cannot give builds what the settings promise")]
    Sandbox {
        /// Why not.
        #[from]
        source: sandbox::Error,
    },
}

impl Host {
    /// Finds out what `settings` mean on this host, and takes the caller's variables.
    ///
    /// # Errors
    /// Names the setting whose value this host cannot give.
    pub fn look(settings: &Settings, environment: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self, HostError> {
        let (mut binds, mut dirs) = (BTreeMap::new(), BTreeMap::new());
        if settings.build_use_chroot.isolates() {
            for dir in settings.build_chroot_dirs.binds() {
                add_dir(dir, &mut binds)?;
            }
            dirs = binds.clone();
            add_shell(&settings.sandbox_shell, &mut binds)?;
        }
        let cores = match settings.cores {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            cores => cores,
        };
        let may_be_subordinate = settings.use_subordinate_ids
            && settings.build_use_chroot.isolates()
            && settings.build_isolation == Isolation::Namespaces;
        let subordinate_ids = if may_be_subordinate { sandbox::subordinate_ids() } else { 0 };
        let must_drop_groups =
            settings.require_drop_supplementary_groups && !sandbox::kept_groups().is_empty();
        let subordinate = match subordinate_ids {
            0 => Subordinate::Never,
            // Without them, the groups would stay.
            _ if must_drop_groups => Subordinate::Needed,
            _ => Subordinate::IfPossible,
        };
        let users = if settings.build_use_chroot.isolates() {
            BuildUsers::find(&user_choice(settings))?
        } else {
            None
        };
        let unlimited = limits::limits(settings).enforcement()?.unlimited();
        let shell: Vec<Op> =
            binds.iter().filter(|(at, _)| !dirs.contains_key(*at)).map(|(_, op)| op.clone()).collect();
        let network_files = network_files();
        let dirs: Vec<Op> = dirs.into_values().collect();
        let files = HostFiles::new(&dirs, &shell, &network_files, settings);
        let binds = binds.into_values().collect();
        let is_private = settings.build_use_chroot.isolates()
            && settings.build_isolation == Isolation::Namespaces
            && settings.fod_network == FodNetwork::Private;
        let uplink = is_private.then(|| sandbox::find_uplink(settings.network_helper.as_deref()));
        let (broken, job_server) = (Mutex::default(), Mutex::default());
        Ok(Self {
            binds,
            files,
            network_files,
            uplink,
            environment,
            users,
            subordinate,
            subordinate_ids,
            cores,
            unlimited,
            broken,
            job_server,
        })
    }
}

impl Host {
    /// What is limited less than the settings want, in a sentence each, to be told once.
    pub fn shortfalls(&self) -> impl Iterator<Item = String> + '_ {
        self.unlimited.iter().map(|one| format!("the {} is not limited: {}", one.what, one.why))
    }
}

fn user_choice(settings: &Settings) -> UserChoice<'_> {
    UserChoice {
        group: settings.build_users_group.as_deref().unwrap_or_default(),
        allocate: settings.auto_allocate_uids,
        first: settings.start_id,
        count: settings.id_count,
    }
}

/// The host's files about names and networks, symlinks resolved: they often point out of `/etc`.
fn network_files() -> Vec<Op> {
    ["/etc/resolv.conf", "/etc/services", "/etc/hosts"]
        .into_iter()
        .filter_map(|target| {
            let source = fs::canonicalize(target).ok()?;
            Some(Op::Bind { source, target: target.into(), access: Access::ReadOnly, optional: false })
        })
        .collect()
}

/// The first entry for a target wins: what the user lists goes before what a program drags along.
fn add(binds: &mut BTreeMap<PathBuf, Op>, source: PathBuf, target: PathBuf, access: Access) {
    let bind = Op::Bind { source, target: target.clone(), access, optional: false };
    binds.entry(target).or_insert(bind);
}

fn add_files(binds: &mut BTreeMap<PathBuf, Op>, files: Vec<HostFile>) {
    for file in files {
        add(binds, file.source, file.target, Access::ReadOnly);
    }
}

fn add_dir(dir: &ChrootDir, binds: &mut BTreeMap<PathBuf, Op>) -> Result<(), HostError> {
    let Ok(source) = fs::canonicalize(&dir.source) else {
        return if dir.optional {
            Ok(())
        } else {
            Err(HostError::ChrootDir { target: dir.target.clone(), source_path: dir.source.clone() })
        };
    };
    let kind = fs::metadata(&source).ok().map(|metadata| metadata.file_type());
    if kind.is_some_and(|kind| kind.is_file()) {
        let files = sandbox::program(&source, &dir.target).map_err(|error| HostError::Program {
            program: dir.source.clone(),
            setting: "build-chroot-dirs",
            source: error,
        })?;
        add_files(binds, files);
        return Ok(());
    }
    let is_device = kind.is_some_and(|kind| kind.is_char_device() || kind.is_block_device());
    // The host's whole device directory is of no use without its devices.
    let access = if is_device || source.starts_with("/dev") { Access::Device } else { Access::ReadOnly };
    add(binds, source, dir.target.clone(), access);
    Ok(())
}

fn add_shell(shell: &SandboxShell, binds: &mut BTreeMap<PathBuf, Op>) -> Result<(), HostError> {
    let target = Path::new("/bin/sh");
    // A bind of `/bin`, or of another shell, stands for itself.
    if binds.keys().any(|bound| target.starts_with(bound)) {
        return Ok(());
    }
    let program = match shell {
        SandboxShell::None => return Ok(()),
        SandboxShell::Auto => sandbox::find_shell().ok_or(HostError::NoShell)?,
        SandboxShell::Program(path) => path.clone(),
    };
    let files = sandbox::program(&program, target).map_err(|source| HostError::Program {
        program,
        setting: "sandbox-shell",
        source,
    })?;
    // What lies below a directory that is bound whole is there already.
    let bound: Vec<PathBuf> = binds.keys().cloned().collect();
    add_files(
        binds,
        files.into_iter().filter(|file| !bound.iter().any(|bound| file.target.starts_with(bound))).collect(),
    );
    Ok(())
}
