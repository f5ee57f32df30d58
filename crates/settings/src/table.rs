//! The table: one row for each setting.

use std::path::PathBuf;

use crate::choices::{
    CpuWeight, Explain, FodNetwork, Isolation, MaxJobs, MemoryForBuilds, SandboxShell, TmpfsSize, UseCgroups,
    UseChroot, Verbatim,
};
use crate::chroot_dirs::ChrootDirs;
use crate::error::Error;
use crate::external::ExternalBuilders;
use crate::layer::Origin;
use crate::nearest::nearest;
use crate::on_fail::OnFail;
use crate::value::Value;
use crate::variation::Variations;

/// The key of the cache of the NixOS project.
const CACHE_KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// The value of every setting. The table in this file says what each is for and how it is spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `build-use-chroot`
    pub build_use_chroot: UseChroot,
    /// `build-chroot-dirs`
    pub build_chroot_dirs: ChrootDirs,
    /// `allowed-impure-host-deps`
    pub allowed_impure_host_deps: Vec<PathBuf>,
    /// `build-isolation`
    pub build_isolation: Isolation,
    /// `filter-syscalls`
    pub filter_syscalls: bool,
    /// `nested-user-namespaces`
    pub nested_user_namespaces: bool,
    /// `allow-new-privileges`
    pub allow_new_privileges: bool,
    /// `sandbox-shell`
    pub sandbox_shell: SandboxShell,
    /// `sandbox-build-dir`
    pub sandbox_build_dir: PathBuf,
    /// `sandbox-dev-shm-size`
    pub sandbox_dev_shm_size: TmpfsSize,
    /// `build-dir`
    pub build_dir: Option<PathBuf>,
    /// `cores`
    pub cores: usize,
    /// `max-jobs`
    pub max_jobs: MaxJobs,
    /// `build-job-server`
    pub build_job_server: bool,
    /// `memory-for-builds`
    pub memory_for_builds: MemoryForBuilds,
    /// `keep-going`
    pub keep_going: bool,
    /// `keep-failed`
    pub keep_failed: bool,
    /// `on-fail`
    pub on_fail: OnFail,
    /// `repeat`
    pub repeat: usize,
    /// `enforce-determinism`
    pub enforce_determinism: bool,
    /// `vary`
    pub vary: Variations,
    /// `diff-hook`
    pub diff_hook: Option<PathBuf>,
    /// `run-diff-hook`
    pub run_diff_hook: bool,
    /// `log-lines`
    pub log_lines: usize,
    /// `keep-build-log`
    pub keep_build_log: bool,
    /// `compress-build-log`
    pub compress_build_log: bool,
    /// `timeout`, in seconds
    pub timeout: usize,
    /// `max-silent-time`, in seconds
    pub max_silent_time: usize,
    /// `max-build-log-size`, in bytes
    pub max_build_log_size: usize,
    /// `explain`
    pub explain: Explain,
    /// `fod-network`
    pub fod_network: FodNetwork,
    /// `network-helper`
    pub network_helper: Option<PathBuf>,
    /// `hashed-mirrors`
    pub hashed_mirrors: Vec<String>,
    /// `netrc-file`
    pub netrc_file: Option<PathBuf>,
    /// `ssl-cert-file`
    pub ssl_cert_file: Option<PathBuf>,
    /// `download-attempts`
    pub download_attempts: usize,
    /// `connect-timeout`, in seconds
    pub connect_timeout: usize,
    /// `stalled-download-timeout`, in seconds
    pub stalled_download_timeout: usize,
    /// `build-users-group`
    pub build_users_group: Option<String>,
    /// `auto-allocate-uids`
    pub auto_allocate_uids: bool,
    /// `start-id`
    pub start_id: u32,
    /// `id-count`
    pub id_count: u32,
    /// `use-cgroups`
    pub use_cgroups: UseCgroups,
    /// `max-build-memory`
    pub max_build_memory: usize,
    /// `max-build-pids`
    pub max_build_pids: usize,
    /// `max-build-dir-size`
    pub max_build_dir_size: usize,
    /// `build-cpu-weight`
    pub build_cpu_weight: CpuWeight,
    /// `require-drop-supplementary-groups`
    pub require_drop_supplementary_groups: bool,
    /// `use-subordinate-ids`
    pub use_subordinate_ids: bool,
    /// `fsync-metadata`
    pub fsync_metadata: bool,
    /// `fsync-store-paths`
    pub fsync_store_paths: bool,
    /// `auto-optimise-store`
    pub auto_optimise_store: bool,
    /// `use-sqlite-wal`
    pub use_sqlite_wal: bool,
    /// `read-only`
    pub read_only: bool,
    /// `keep-outputs`
    pub keep_outputs: bool,
    /// `keep-derivations`
    pub keep_derivations: bool,
    /// `min-free`, in bytes
    pub min_free: usize,
    /// `max-free`, in bytes
    pub max_free: usize,
    /// `min-free-check-interval`, in seconds
    pub min_free_check_interval: usize,
    /// `gc-reserved-space`, in bytes
    pub gc_reserved_space: usize,
    /// `build-hook`
    pub build_hook: Vec<String>,
    /// `build-hook-kill-timeout`, in milliseconds
    pub build_hook_kill_timeout: usize,
    /// `builders`
    pub builders: Verbatim,
    /// `builders-use-substitutes`
    pub builders_use_substitutes: bool,
    /// `external-substituters`
    pub external_substituters: Vec<PathBuf>,
    /// `substitute`
    pub substitute: bool,
    /// `max-substitution-jobs`
    pub max_substitution_jobs: usize,
    /// `fallback`
    pub fallback: bool,
    /// `always-allow-substitutes`
    pub always_allow_substitutes: bool,
    /// `secret-key-files`
    pub secret_key_files: Vec<PathBuf>,
    /// `trusted-public-keys`
    pub trusted_public_keys: Vec<String>,
    /// `pre-build-hook`
    pub pre_build_hook: Option<PathBuf>,
    /// `post-build-hook`
    pub post_build_hook: Option<PathBuf>,
    /// `external-builders`
    pub external_builders: ExternalBuilders,
    /// `system`
    pub system: String,
    /// `extra-platforms`
    pub extra_platforms: Vec<String>,
    /// `system-features`
    pub system_features: Vec<String>,
    /// `store`
    pub store: Option<PathBuf>,
    /// `lower-store`
    pub lower_store: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            build_use_chroot: UseChroot::default(),
            build_chroot_dirs: ChrootDirs::default(),
            allowed_impure_host_deps: Vec::new(),
            build_isolation: Isolation::default(),
            filter_syscalls: true,
            nested_user_namespaces: false,
            allow_new_privileges: false,
            sandbox_shell: SandboxShell::default(),
            sandbox_build_dir: PathBuf::from("/build"),
            sandbox_dev_shm_size: TmpfsSize::default(),
            build_dir: None,
            cores: 0,
            max_jobs: MaxJobs::default(),
            build_job_server: false,
            memory_for_builds: MemoryForBuilds::default(),
            keep_going: false,
            keep_failed: false,
            on_fail: OnFail::default(),
            repeat: 0,
            enforce_determinism: true,
            vary: Variations::default(),
            diff_hook: None,
            run_diff_hook: false,
            log_lines: 25,
            keep_build_log: true,
            compress_build_log: true,
            timeout: 0,
            max_silent_time: 0,
            max_build_log_size: 0,
            explain: Explain::default(),
            fod_network: FodNetwork::default(),
            network_helper: None,
            hashed_mirrors: Vec::new(),
            netrc_file: None,
            ssl_cert_file: None,
            download_attempts: 5,
            connect_timeout: 15,
            stalled_download_timeout: 300,
            build_users_group: Some("nixbld".to_owned()),
            auto_allocate_uids: false,
            start_id: 0x3400_0000,
            id_count: 128 * 65_536,
            use_cgroups: UseCgroups::default(),
            max_build_memory: 0,
            max_build_pids: 0,
            max_build_dir_size: 0,
            build_cpu_weight: CpuWeight::default(),
            require_drop_supplementary_groups: false,
            use_subordinate_ids: true,
            fsync_metadata: true,
            fsync_store_paths: true,
            auto_optimise_store: false,
            use_sqlite_wal: true,
            read_only: false,
            keep_outputs: false,
            keep_derivations: true,
            min_free: 0,
            max_free: isize::MAX as usize,
            min_free_check_interval: 5,
            gc_reserved_space: 8 << 20,
            build_hook: Vec::new(),
            build_hook_kill_timeout: 500,
            builders: Verbatim("@/etc/nix/machines".to_owned()),
            builders_use_substitutes: false,
            external_substituters: Vec::new(),
            substitute: true,
            max_substitution_jobs: 16,
            fallback: false,
            always_allow_substitutes: false,
            secret_key_files: Vec::new(),
            trusted_public_keys: vec![CACHE_KEY.to_owned()],
            pre_build_hook: None,
            post_build_hook: None,
            external_builders: ExternalBuilders::default(),
            system: format!("{}-linux", host_architecture()),
            extra_platforms: host_extra_platforms(),
            system_features: ["benchmark", "big-parallel", "nixos-test"].map(str::to_owned).to_vec(),
            store: None,
            lower_store: None,
        }
    }
}

/// Returns Nix's name of the architecture this program was compiled for.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        // Nix names 32-bit x86 by its last model.
        "x86" => "i686",
        other => other,
    }
}

fn host_extra_platforms() -> Vec<String> {
    if cfg!(target_arch = "x86_64") { vec!["i686-linux".to_owned()] } else { Vec::new() }
}

impl Settings {
    /// Gives a setting the value that `value` spells; `extra-` before the name of a list appends to it.
    ///
    /// After an error the setting is as before.
    pub fn set(&mut self, key: &str, value: &str, origin: &Origin) -> Result<(), Error> {
        let outcome = if let Some(entry) = find(key) {
            (entry.field)(self).set(value)
        } else if let Some(entry) = key.strip_prefix("extra-").and_then(find) {
            (entry.field)(self).append(value).ok_or_else(|| Error::NotAList {
                origin: origin.clone(),
                key: key.to_owned(),
                setting: entry.key,
            })?
        } else {
            return Err(unknown(key, origin));
        };
        outcome.map_err(|source| Error::Value {
            origin: origin.clone(),
            key: key.to_owned(),
            value: value.to_owned(),
            source,
        })
    }
}

fn find(key: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.key == key || entry.aliases.contains(&key))
}

fn unknown(key: &str, origin: &Origin) -> Error {
    let names =
        TABLE.iter().flat_map(|entry| std::iter::once(entry.key).chain(entry.aliases.iter().copied()));
    Error::Unknown { origin: origin.clone(), key: key.to_owned(), nearest: nearest(key, names) }
}

/// One setting, for `store config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub key: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub kind: &'static str,
    /// What it is when nobody says anything.
    pub default: String,
    /// What it is now.
    pub value: String,
    /// What it is for.
    pub help: &'static str,
}

/// Returns the setting of that name; `origin` says who asks.
pub fn entry(settings: &Settings, key: &str, origin: &Origin) -> Result<Described, Error> {
    let row = find(key).ok_or_else(|| unknown(key, origin))?;
    let found = entries(settings).find(|entry| entry.key == row.key);
    Ok(found.expect("`entries` describes every row"))
}

/// Returns every setting in the order of the table.
pub fn entries(settings: &Settings) -> impl Iterator<Item = Described> + use<> {
    let (mut settings, mut defaults) = (settings.clone(), Settings::default());
    TABLE.iter().map(move |entry| {
        let default = (entry.field)(&mut defaults).show();
        let value = (entry.field)(&mut settings);
        let (kind, value) = (value.kind(), value.show());
        Described { key: entry.key, aliases: entry.aliases, kind, default, value, help: entry.help }
    })
}

/// A row of the table.
struct Entry {
    key: &'static str,
    aliases: &'static [&'static str],
    help: &'static str,
    /// The field behind it. One function for reading and writing, so that the two cannot disagree.
    field: fn(&mut Settings) -> &mut dyn Value,
}

const TABLE: &[Entry] = &[
    Entry {
        key: "build-use-chroot",
        aliases: &["sandbox", "build-use-sandbox"],
        help: "run builds in a private root that shows only their inputs; `relaxed`: save those that ask not to (`__noChroot`)",
        field: |settings| &mut settings.build_use_chroot,
    },
    Entry {
        key: "build-chroot-dirs",
        aliases: &["sandbox-paths", "build-sandbox-paths"],
        help: "what builds see of the host; `/dev` and `/proc` are private ones, there unless `-/dev` or `-/proc` is said",
        field: |settings| &mut settings.build_chroot_dirs,
    },
    Entry {
        key: "allowed-impure-host-deps",
        aliases: &[],
        help: "files and directories of the host that a build may ask to see (`__impureHostDeps`), with all below them",
        field: |settings| &mut settings.allowed_impure_host_deps,
    },
    Entry {
        key: "build-isolation",
        aliases: &[],
        help: "how a build is kept apart: namespaces of its own, or a plain chroot with bind mounts (root only)",
        field: |settings| &mut settings.build_isolation,
    },
    Entry {
        key: "filter-syscalls",
        aliases: &[],
        help: "let builds make only the system calls that they need: no setuid files, no keyrings, nothing unknown",
        field: |settings| &mut settings.filter_syscalls,
    },
    Entry {
        key: "nested-user-namespaces",
        aliases: &[],
        help: "let the filter pass user namespaces that builds make, and mounts in them",
        field: |settings| &mut settings.nested_user_namespaces,
    },
    Entry {
        key: "allow-new-privileges",
        aliases: &[],
        help: "let builders gain privileges by setuid programs; the mounts of the sandbox ignore them all the same",
        field: |settings| &mut settings.allow_new_privileges,
    },
    Entry {
        key: "sandbox-shell",
        aliases: &[],
        help: "what builds see as /bin/sh: a static busybox or the host's sh, nothing, or that program",
        field: |settings| &mut settings.sandbox_shell,
    },
    Entry {
        key: "sandbox-build-dir",
        aliases: &[],
        help: "where a build in the sandbox sees its build directory",
        field: |settings| &mut settings.sandbox_build_dir,
    },
    Entry {
        key: "sandbox-dev-shm-size",
        aliases: &[],
        help: "the size of /dev/shm in the sandbox",
        field: |settings| &mut settings.sandbox_dev_shm_size,
    },
    Entry {
        key: "build-dir",
        aliases: &[],
        help: "where build directories are made; in the store's state directory when empty",
        field: |settings| &mut settings.build_dir,
    },
    Entry {
        key: "cores",
        aliases: &["build-cores"],
        help: "how many processors one build may use (NIX_BUILD_CORES); 0 for all",
        field: |settings| &mut settings.cores,
    },
    Entry {
        key: "max-jobs",
        aliases: &["build-max-jobs"],
        help: "how many builds run at the same time",
        field: |settings| &mut settings.max_jobs,
    },
    Entry {
        key: "build-job-server",
        aliases: &[],
        help: "let builds at the same time share the processors by a job server of `make` 4.4, which they see in MAKEFLAGS: less isolated",
        field: |settings| &mut settings.build_job_server,
    },
    Entry {
        key: "memory-for-builds",
        aliases: &[],
        help: "how many bytes builds at the same time may take, going by earlier ones; `auto` for what is free, 0 for no matter",
        field: |settings| &mut settings.memory_for_builds,
    },
    Entry {
        key: "keep-going",
        aliases: &[],
        help: "after a failure build everything that does not need what failed",
        field: |settings| &mut settings.keep_going,
    },
    Entry {
        key: "keep-failed",
        aliases: &[],
        help: "keep the build directory of a build that fails",
        field: |settings| &mut settings.keep_failed,
    },
    Entry {
        key: "on-fail",
        aliases: &[],
        help: "open a shell in the sandbox of a build that fails (without a terminal: keep), keep its build directory, or neither",
        field: |settings| &mut settings.on_fail,
    },
    Entry {
        key: "repeat",
        aliases: &["build-repeat"],
        help: "how often each build is run once more to be compared; nothing is kept if something else comes out",
        field: |settings| &mut settings.repeat,
    },
    Entry {
        key: "enforce-determinism",
        aliases: &[],
        help: "whether it is a failure, not a warning, that something else came out of a build that was run once more",
        field: |settings| &mut settings.enforce_determinism,
    },
    Entry {
        key: "vary",
        aliases: &[],
        help: "what is changed on purpose where a build is run once more to be compared, as it ought not to matter",
        field: |settings| &mut settings.vary,
    },
    Entry {
        key: "diff-hook",
        aliases: &[],
        help: "a program that is run with two outputs that should be the same, the derivation and the build directory",
        field: |settings| &mut settings.diff_hook,
    },
    Entry {
        key: "run-diff-hook",
        aliases: &[],
        help: "whether it is run; as root, as the user that the builder was",
        field: |settings| &mut settings.run_diff_hook,
    },
    Entry {
        key: "log-lines",
        aliases: &[],
        help: "how many last lines of its log a failure shows",
        field: |settings| &mut settings.log_lines,
    },
    Entry {
        key: "keep-build-log",
        aliases: &["build-keep-log"],
        help: "keep the log of every build for `store log`",
        field: |settings| &mut settings.keep_build_log,
    },
    Entry {
        key: "compress-build-log",
        aliases: &["build-compress-log"],
        help: "compress the kept logs (bzip2)",
        field: |settings| &mut settings.compress_build_log,
    },
    Entry {
        key: "timeout",
        aliases: &["build-timeout"],
        help: "how many seconds a builder may run before it is ended; 0 for no limit",
        field: |settings| &mut settings.timeout,
    },
    Entry {
        key: "max-silent-time",
        aliases: &["build-max-silent-time"],
        help: "how many seconds a builder may print nothing before it is ended; 0 for no limit",
        field: |settings| &mut settings.max_silent_time,
    },
    Entry {
        key: "max-build-log-size",
        aliases: &["build-max-log-size"],
        help: "how many bytes a builder may print before it is ended; 0 for no limit",
        field: |settings| &mut settings.max_build_log_size,
    },
    Entry {
        key: "explain",
        aliases: &[],
        help: "observe builds to say what they looked for and did not find: all, those that failed (run once more), or none",
        field: |settings| &mut settings.explain,
    },
    Entry {
        key: "fod-network",
        aliases: &[],
        help: "the network of fixed-output builds: their own, from which they reach the outside only; the host's; or loopback",
        field: |settings| &mut settings.fod_network,
    },
    Entry {
        key: "network-helper",
        aliases: &["pasta-path"],
        help: "the `pasta` or `slirp4netns` that connects a private network to the outside; looked for when empty",
        field: |settings| &mut settings.network_helper,
    },
    Entry {
        key: "hashed-mirrors",
        aliases: &[],
        help: "where `builtin:fetchurl` looks for a file by its hash before it asks the URL, as in `<mirror>/sha256/<hash>`",
        field: |settings| &mut settings.hashed_mirrors,
    },
    Entry {
        key: "netrc-file",
        aliases: &[],
        help: "names and passwords by host for `builtin:fetchurl`; /etc/store/netrc or /etc/nix/netrc when empty, if one can be read",
        field: |settings| &mut settings.netrc_file,
    },
    Entry {
        key: "ssl-cert-file",
        aliases: &[],
        help: "the authorities that `builtin:fetchurl` trusts (PEM); when empty, what NIX_SSL_CERT_FILE or SSL_CERT_FILE says, or the host's",
        field: |settings| &mut settings.ssl_cert_file,
    },
    Entry {
        key: "download-attempts",
        aliases: &[],
        help: "how often `builtin:fetchurl` tries a download that may go well later",
        field: |settings| &mut settings.download_attempts,
    },
    Entry {
        key: "connect-timeout",
        aliases: &[],
        help: "how many seconds `builtin:fetchurl` waits for a connection; 0 for as long as the system does",
        field: |settings| &mut settings.connect_timeout,
    },
    Entry {
        key: "stalled-download-timeout",
        aliases: &[],
        help: "after how many seconds without a byte `builtin:fetchurl` gives a transfer up; 0 for no limit",
        field: |settings| &mut settings.stalled_download_timeout,
    },
    Entry {
        key: "build-users-group",
        aliases: &[],
        help: "as root, the group whose members builders run as, one each; where `nixbld` has none, and when empty, ids that no account holds",
        field: |settings| &mut settings.build_users_group,
    },
    Entry {
        key: "auto-allocate-uids",
        aliases: &[],
        help: "as root, let builders run as ids that no account holds, whatever `build-users-group` says",
        field: |settings| &mut settings.auto_allocate_uids,
    },
    Entry {
        key: "start-id",
        aliases: &[],
        help: "the first of the ids that builders get without an account, in blocks of 65536",
        field: |settings| &mut settings.start_id,
    },
    Entry {
        key: "id-count",
        aliases: &[],
        help: "how many such ids there are",
        field: |settings| &mut settings.id_count,
    },
    Entry {
        key: "use-cgroups",
        aliases: &[],
        help: "put builds into control groups: where a limit needs them, always (which measures all processes together), or never",
        field: |settings| &mut settings.use_cgroups,
    },
    Entry {
        key: "max-build-memory",
        aliases: &[],
        help: "how many bytes of memory one build may use, each process where there are no control groups; 0 for no limit",
        field: |settings| &mut settings.max_build_memory,
    },
    Entry {
        key: "max-build-pids",
        aliases: &[],
        help: "how many processes and threads one build may have; 0 for no limit",
        field: |settings| &mut settings.max_build_pids,
    },
    Entry {
        key: "max-build-dir-size",
        aliases: &[],
        help: "how many bytes the build directory may hold, and /tmp too; both are then in memory; 0 for what the disk has",
        field: |settings| &mut settings.max_build_dir_size,
    },
    Entry {
        key: "build-cpu-weight",
        aliases: &[],
        help: "the share of processor time of one build, from 1 to 10000, beside 100 of others; 0 for the same as others",
        field: |settings| &mut settings.build_cpu_weight,
    },
    Entry {
        key: "require-drop-supplementary-groups",
        aliases: &[],
        help: "refuse to build where builders would keep the caller's supplementary groups, as an ordinary user's do without subordinate ids",
        field: |settings| &mut settings.require_drop_supplementary_groups,
    },
    Entry {
        key: "use-subordinate-ids",
        aliases: &[],
        help: "as an ordinary user, let builders be other users outside, if /etc/subuid and /etc/subgid have some for the caller",
        field: |settings| &mut settings.use_subordinate_ids,
    },
    Entry {
        key: "fsync-metadata",
        aliases: &[],
        help: "let the database wait for the disk at each commit",
        field: |settings| &mut settings.fsync_metadata,
    },
    Entry {
        key: "fsync-store-paths",
        aliases: &[],
        help: "wait until files are on the disk before they are called valid",
        field: |settings| &mut settings.fsync_store_paths,
    },
    Entry {
        key: "auto-optimise-store",
        aliases: &[],
        help: "keep equal files of new paths once, as hard links to one file (`store optimise` does so for all paths)",
        field: |settings| &mut settings.auto_optimise_store,
    },
    Entry {
        key: "use-sqlite-wal",
        aliases: &[],
        help: "keep the database in write-ahead mode",
        field: |settings| &mut settings.use_sqlite_wal,
    },
    Entry {
        key: "read-only",
        aliases: &[],
        help: "write nothing into the store, not even beside its database, and refuse what would have to",
        field: |settings| &mut settings.read_only,
    },
    Entry {
        key: "keep-outputs",
        aliases: &["gc-keep-outputs"],
        help: "let `store gc` keep what a derivation that it keeps was built to",
        field: |settings| &mut settings.keep_outputs,
    },
    Entry {
        key: "keep-derivations",
        aliases: &["gc-keep-derivations"],
        help: "let `store gc` keep the derivations by which what it keeps was built",
        field: |settings| &mut settings.keep_derivations,
    },
    Entry {
        key: "min-free",
        aliases: &[],
        help: "collect garbage while something is built and less than so many bytes of the disk are free; 0: never",
        field: |settings| &mut settings.min_free,
    },
    Entry {
        key: "max-free",
        aliases: &[],
        help: "how many bytes are to be free after that",
        field: |settings| &mut settings.max_free,
    },
    Entry {
        key: "min-free-check-interval",
        aliases: &[],
        help: "after how many seconds it is looked again how much of the disk is free",
        field: |settings| &mut settings.min_free_check_interval,
    },
    Entry {
        key: "gc-reserved-space",
        aliases: &[],
        help: "how many bytes of the disk to keep for deleting when it is full",
        field: |settings| &mut settings.gc_reserved_space,
    },
    Entry {
        key: "build-hook",
        aliases: &[],
        help: "a program and its arguments that is offered each build first, to have it done elsewhere, such as `nix __build-remote`",
        field: |settings| &mut settings.build_hook,
    },
    Entry {
        key: "build-hook-kill-timeout",
        aliases: &[],
        help: "after how many milliseconds a build hook is killed that has been asked to end",
        field: |settings| &mut settings.build_hook_kill_timeout,
    },
    Entry {
        key: "builders",
        aliases: &[],
        help: "which machines the build hook has, as it reads them; `store` only passes that on",
        field: |settings| &mut settings.builders,
    },
    Entry {
        key: "builders-use-substitutes",
        aliases: &[],
        help: "let those machines fetch inputs themselves; `store` only passes that on to the build hook",
        field: |settings| &mut settings.builders_use_substitutes,
    },
    Entry {
        key: "external-substituters",
        aliases: &[],
        help: "programs that may have outputs, which are fetched then instead of built: `PROGRAM --query`, `PROGRAM --substitute`",
        field: |settings| &mut settings.external_substituters,
    },
    Entry {
        key: "substitute",
        aliases: &["build-use-substitutes"],
        help: "ask the substituters; when false, all is built",
        field: |settings| &mut settings.substitute,
    },
    Entry {
        key: "max-substitution-jobs",
        aliases: &["substitution-max-jobs"],
        help: "how many paths are fetched at the same time",
        field: |settings| &mut settings.max_substitution_jobs,
    },
    Entry {
        key: "fallback",
        aliases: &["build-fallback"],
        help: "build what a substituter has and cannot deliver; when false, that is a failure",
        field: |settings| &mut settings.fallback,
    },
    Entry {
        key: "always-allow-substitutes",
        aliases: &[],
        help: "fetch outputs of derivations with `allowSubstitutes = false`, too",
        field: |settings| &mut settings.always_allow_substitutes,
    },
    Entry {
        key: "secret-key-files",
        aliases: &[],
        help: "files with keys that sign what is built here; `store key generate` makes one",
        field: |settings| &mut settings.secret_key_files,
    },
    Entry {
        key: "trusted-public-keys",
        aliases: &["binary-cache-public-keys"],
        help: "keys whose signatures count for `store import --check-signatures`",
        field: |settings| &mut settings.trusted_public_keys,
    },
    Entry {
        key: "pre-build-hook",
        aliases: &[],
        help: "a program that runs before each build with its derivation and the directory of its sandbox, and may print what else to show it",
        field: |settings| &mut settings.pre_build_hook,
    },
    Entry {
        key: "post-build-hook",
        aliases: &[],
        help: "a program that runs after each build, with `DRV_PATH` and `OUT_PATHS`; if it fails, nothing that needs them is built",
        field: |settings| &mut settings.post_build_hook,
    },
    Entry {
        key: "external-builders",
        aliases: &[],
        help: "programs that run the builders of some systems in place of a sandbox: `[{\"systems\": […], \"program\": \"/…\", \"args\": […]}]`",
        field: |settings| &mut settings.external_builders,
    },
    Entry {
        key: "system",
        aliases: &[],
        help: "the system this machine builds for",
        field: |settings| &mut settings.system,
    },
    Entry {
        key: "extra-platforms",
        aliases: &[],
        help: "further systems whose programs this machine can run",
        field: |settings| &mut settings.extra_platforms,
    },
    Entry {
        key: "system-features",
        aliases: &[],
        help: "what a derivation may require of this machine (requiredSystemFeatures)",
        field: |settings| &mut settings.system_features,
    },
    Entry {
        key: "store",
        aliases: &[],
        help: "the directory below which the store lies; when empty /nix, or the user's own if that is not writable",
        field: |settings| &mut settings.store,
    },
    Entry {
        key: "lower-store",
        aliases: &[],
        help: "the directory below which another store lies that is only read: what is valid there is valid here, is not built again, and stays",
        field: |settings| &mut settings.lower_store,
    },
];
