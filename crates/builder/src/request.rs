//! What is refused before anything is made, and what a build needs to know of its derivation.

pub(crate) use builtins::chain;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use derivation::{Derivation, Object, Options, Output, OutputName};
use local_store::{LocalStore, Until};
use sandbox::Ids;
use settings::{ExternalBuilder, Isolation, Settings, UseChroot};
use store_path::StorePath;

use crate::build::Context;
use crate::builtin;
use crate::control::Control;
use crate::failure::BuildFailure;
use crate::host::Host;
use crate::host_deps;

/// A derivation that can be built here.
pub(crate) struct Request<'a> {
    pub(crate) drv: &'a StorePath,
    pub(crate) derivation: &'a Derivation,
    pub(crate) options: Options,
    /// Where the builder makes each output: at its path, or at a scratch path if only its contents will tell that.
    pub(crate) outputs: BTreeMap<OutputName, StorePath>,
    /// When the paths of its outputs become known.
    pub(crate) kind: Kind,
    /// Whether it is built in a sandbox.
    pub(crate) is_isolated: bool,
    /// Who may give it up.
    pub(crate) control: Option<&'a dyn Control>,
    /// What runs its builder in place of a sandbox.
    pub(crate) external: Option<ExternalBuilder>,
}

/// When the paths of outputs become known; it is the same for all outputs of a derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Before they are built.
    Known,
    /// When they are built; from then on they are in the build trace.
    Floating,
    /// When they are built, and that is each time.
    Impure,
}

impl Request<'_> {
    /// Whether the builder may be given a network and variables of the caller: its output is promised, or nobody relies
    /// on it to be the same again.
    pub(crate) fn is_connected(&self) -> bool {
        self.derivation.is_fixed() || self.kind == Kind::Impure
    }

    /// What is locked while it is built.
    pub(crate) fn locks(&self) -> Vec<String> {
        let lock = |(name, path): (&OutputName, &StorePath)| match self.kind {
            Kind::Known => path.to_string(),
            Kind::Floating | Kind::Impure => format!("{}.{name}", self.drv),
        };
        self.outputs.iter().map(lock).collect()
    }

    /// How long its outputs are wanted.
    pub(crate) fn until(&self) -> Until<'_> {
        Until::readable(self.control.map(Control::given_up))
    }

    /// Fails once nobody wants its outputs any more.
    pub(crate) fn refuse_given_up(&self) -> Result<(), BuildFailure> {
        match self.until().is_over() {
            true => Err(BuildFailure::GivenUp { drv: self.drv.clone() }),
            false => Ok(()),
        }
    }

    /// Reaches a step; see [`local_store::failpoint`].
    pub(crate) fn reach(&self, step: &'static str) -> Result<(), BuildFailure> {
        local_store::failpoint::reach(step)
            .map_err(|source| BuildFailure::Store { drv: self.drv.clone(), source })
    }

    /// The failure that something stands in the way before it comes to a build.
    pub(crate) fn not_prepared(&self, source: local_store::Error) -> BuildFailure {
        BuildFailure::Prepare { drv: self.drv.clone(), source }
    }

    /// The outputs that need not be built, with their paths.
    pub(crate) fn valid(
        &self,
        store: &LocalStore,
    ) -> Result<BTreeMap<OutputName, StorePath>, local_store::Error> {
        let mut known = match self.kind {
            Kind::Known => self.outputs.clone(),
            Kind::Floating => self.traced(store)?,
            Kind::Impure => BTreeMap::new(),
        };
        let valid = store.valid_among(&known.values().cloned().collect())?;
        known.retain(|_, path| valid.contains(path));
        Ok(known)
    }

    /// What the outputs were when they were built, as far as that cannot be deleted any more.
    fn traced(&self, store: &LocalStore) -> Result<BTreeMap<OutputName, StorePath>, local_store::Error> {
        let traced = store.realisations(&BTreeSet::from([self.drv.clone()]))?;
        let known: BTreeMap<OutputName, StorePath> = traced
            .into_iter()
            .filter_map(|realisation| Some((realisation.output.parse().ok()?, realisation.path)))
            .filter(|(name, _)| self.outputs.contains_key(name))
            .collect();
        store.temp_roots(&known.values().cloned().collect::<Vec<_>>())?;
        Ok(known)
    }

    /// The path of what an attribute names.
    pub(crate) fn path_of(&self, store: &LocalStore, object: &Object) -> Result<StorePath, BuildFailure> {
        let link = match object {
            Object::Path(path) => return Ok(path.clone()),
            Object::Output(link) => link,
        };
        let failed = |source| BuildFailure::Store { drv: self.drv.clone(), source };
        let mut outputs = match link.through.is_empty() {
            true => store.outputs_of(&link.drv).map_err(failed)?,
            false => BTreeMap::new(),
        };
        outputs.remove(link.output.as_str()).ok_or_else(|| BuildFailure::Attribute {
            drv: self.drv.clone(),
            problem: format!(
                "an attribute names the output `{}` of `{}`, which is not built",
                link.output, link.drv
            ),
        })
    }

    /// How many users it wants.
    pub(crate) fn ids(&self) -> Ids {
        match self.options.required_system_features.iter().any(|feature| feature == UID_RANGE) {
            true => Ids::Range,
            false => Ids::One,
        }
    }
}

/// Checks that the derivation can be built on this machine with these settings.
pub(crate) fn check<'a>(
    drv: &'a StorePath,
    derivation: &'a Derivation,
    context: &Context<'_>,
) -> Result<Request<'a>, BuildFailure> {
    let Context { store, settings, host, .. } = *context;
    let attribute = |problem| BuildFailure::Attribute { drv: drv.clone(), problem };
    let options = derivation.options(store.store_dir()).map_err(|error| attribute(chain(&error)))?;
    options.check_outputs(derivation).map_err(|error| attribute(chain(&error)))?;
    check_filter(settings, sandbox::can_filter())?;
    let external = settings.external_builders.of(&derivation.system);
    let external = external.filter(|_| builtin::name(derivation).is_none()).cloned();
    if external.is_none() {
        check_system(drv, derivation, settings)?;
    }
    check_features(drv, &options, settings, host)?;
    builtin::check(drv, derivation)?;
    if let Some(what) = zero_byte(derivation, &options) {
        return Err(attribute(format!("{what} has a zero byte in it, which no program can be given")));
    }
    let is_isolated = external.is_none() && is_isolated(&options, settings).map_err(attribute)?;
    if external.is_some() {
        // It is that program's business what there is.
    } else if is_isolated {
        host_deps::check(&options.impure_host_deps, settings).map_err(attribute)?;
    } else {
        check_size(settings)?;
        check_open(store, Path::new(HOMELESS))?;
    }
    let (kind, outputs) = outputs(store, drv, derivation)?;
    Ok(Request { drv, derivation, options, outputs, kind, is_isolated, control: None, external })
}

/// Whether it is built in a sandbox, or why not at all.
fn is_isolated(options: &Options, settings: &Settings) -> Result<bool, String> {
    match (settings.build_use_chroot, options.no_chroot) {
        (UseChroot::Always, true) => Err(
            "it asks to be built outside the sandbox (`__noChroot`), which `build-use-chroot = true` forbids; \
             `relaxed` lets what asks for it, and nothing else, see this whole machine"
                .to_owned(),
        ),
        (UseChroot::Always, false) | (UseChroot::Relaxed, false) => Ok(true),
        (UseChroot::Relaxed, true) | (UseChroot::Never, _) => Ok(false),
    }
}

/// A build that asks for the filter is never made without it.
fn check_filter(settings: &Settings, can_filter: bool) -> Result<(), BuildFailure> {
    if settings.filter_syscalls && !can_filter {
        return Err(BuildFailure::NoFilter { architecture: std::env::consts::ARCH });
    }
    Ok(())
}

/// Returns what of that which the program is given has a zero byte: to the kernel, that is its end.
fn zero_byte(derivation: &Derivation, options: &Options) -> Option<String> {
    let has = |text: &[u8]| text.contains(&0);
    if has(&derivation.builder) || derivation.args.iter().any(|argument| has(argument)) {
        return Some("the builder or one of its arguments".to_owned());
    }
    if options.structured_attrs.is_some() {
        return None;
    }
    let is_passed = |name: &Vec<u8>| !options.pass_as_file.contains(name);
    let mut variables = derivation.env.iter();
    let (name, _) = variables.find(|(name, value)| has(name) || is_passed(name) && has(value))?;
    Some(format!("the variable `{}`", String::from_utf8_lossy(name).replace('\0', "\\0")))
}

fn check_system(drv: &StorePath, derivation: &Derivation, settings: &Settings) -> Result<(), BuildFailure> {
    // Part of this program, it runs where this program does.
    if builtin::name(derivation).is_some() {
        return Ok(());
    }
    let mut runs = vec![settings.system.as_str()];
    runs.extend(settings.extra_platforms.iter().map(String::as_str));
    if runs.iter().any(|system| system.as_bytes() == derivation.system) {
        return Ok(());
    }
    Err(BuildFailure::System {
        drv: drv.clone(),
        system: String::from_utf8_lossy(&derivation.system).into_owned(),
        runs: listed(&runs),
    })
}

fn check_features(
    drv: &StorePath,
    options: &Options,
    settings: &Settings,
    host: &Host,
) -> Result<(), BuildFailure> {
    let is_range = |feature: &[u8]| feature == UID_RANGE;
    if options.required_system_features.iter().any(|feature| is_range(feature)) {
        check_range(drv, settings, host)?;
    }
    let has = |feature: &[u8]| {
        // What Nix wants of a machine that builds floating outputs, and says in words in some derivations.
        is_range(feature)
            || feature == b"ca-derivations"
            || settings.system_features.iter().any(|known| known.as_bytes() == feature)
    };
    match options.required_system_features.iter().find(|feature| !has(feature)) {
        None => Ok(()),
        Some(feature) => Err(BuildFailure::Feature {
            drv: drv.clone(),
            feature: String::from_utf8_lossy(feature).into_owned(),
            has: listed(&settings.system_features),
        }),
    }
}

/// A feature that a machine has when it can give it.
const UID_RANGE: &[u8] = b"uid-range";

fn check_range(drv: &StorePath, settings: &Settings, host: &Host) -> Result<(), BuildFailure> {
    let reason = if !settings.build_use_chroot.isolates() || settings.build_isolation != Isolation::Namespaces
    {
        "they need namespaces; let `build-use-chroot` be `true` and `build-isolation` be `namespaces`"
    } else {
        match &host.users {
            Some(users) if users.has_ranges() => return Ok(()),
            Some(_) => {
                "no 65536 ids in a row are free here; let `start-id` and `id-count` name some that exist in \
                 `/proc/self/uid_map` and that no account holds"
            }
            None if host.subordinate_ids >= Ids::Range.count() => return Ok(()),
            None => {
                "an ordinary user can give only what it has been given; run as root, or have 65536 ids in \
                 `/etc/subuid` and in `/etc/subgid`, `newuidmap`, and `use-subordinate-ids = true`"
            }
        }
    };
    Err(BuildFailure::UidRange { drv: drv.clone(), reason })
}

fn listed(words: &[impl AsRef<str>]) -> String {
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The home that builds are given: a directory that no machine has.
const HOMELESS: &str = "/homeless-shelter";

fn check_size(settings: &Settings) -> Result<(), BuildFailure> {
    if settings.max_build_dir_size == 0 {
        return Ok(());
    }
    let reason =
        "only a sandbox can limit a build directory; unset `max-build-dir-size`, or build with isolation";
    Err(BuildFailure::Open { reason: reason.to_owned() })
}

/// Without isolation a build finds the store where its files are, and the directories of the host.
fn check_open(store: &LocalStore, homeless: &Path) -> Result<(), BuildFailure> {
    let reason = if let Some(lower) = &store.location().lower {
        format!(
            "the files in `{}`, the lower store, can only be shown at `{}` by a sandbox; build with isolation",
            lower.real_store.display(),
            store.store_dir()
        )
    } else if store.location().is_relocated() {
        format!(
            "the store's files are in `{}`, and only a sandbox can show them at `{}`; \
             use a store at `{1}`, or build with isolation",
            store.location().real_store.display(),
            store.store_dir()
        )
    } else if std::fs::symlink_metadata(homeless).is_ok() {
        format!("`{}` exists, and builds rely on their home not to; remove it", homeless.display())
    } else {
        return Ok(());
    };
    Err(BuildFailure::Open { reason })
}

/// When the paths of the outputs become known, and where the builder makes them.
fn outputs(
    store: &LocalStore,
    drv: &StorePath,
    derivation: &Derivation,
) -> Result<(Kind, BTreeMap<OutputName, StorePath>), BuildFailure> {
    let attribute = |problem| BuildFailure::Attribute { drv: drv.clone(), problem };
    let mut kinds = BTreeMap::new();
    let mut outputs = BTreeMap::new();
    for (name, output) in &derivation.outputs {
        let (kind, path) = match output {
            Output::InputAddressed(path) | Output::Fixed { path, .. } => (Kind::Known, path.clone()),
            Output::Floating { .. } | Output::Impure { .. } => {
                let scratch = store.store_dir().scratch_path(drv, name.as_str());
                let path = scratch.map_err(|error| attribute(format!("its output `{name}`: {error}")))?;
                match output {
                    Output::Impure { .. } => (Kind::Impure, path),
                    _ => (Kind::Floating, path),
                }
            }
            Output::Deferred => {
                return Err(attribute(format!(
                    "the path of its output `{name}` depends on outputs that are not built yet"
                )));
            }
        };
        outputs.insert(name.clone(), path);
        kinds.insert(name, kind);
    }
    let kind = kinds.values().next().copied().unwrap_or(Kind::Known);
    match kinds.iter().find(|(_, other)| **other != kind) {
        None => Ok((kind, outputs)),
        Some((name, _)) => Err(attribute(format!(
            "its output `{name}` is of another kind than the others; all must be of one"
        ))),
    }
}

/// The closure of everything the derivation takes in.
pub(crate) fn input_closure(
    request: &Request<'_>,
    store: &LocalStore,
) -> Result<BTreeSet<StorePath>, BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let mut inputs = request.derivation.input_srcs.clone();
    for (drv, wanted) in &request.derivation.input_drvs {
        let outputs = store.outputs_of(drv).map_err(failed)?;
        for name in &wanted.outputs {
            let path = outputs
                .get(name.as_str())
                .ok_or_else(|| BuildFailure::Input { drv: request.drv.clone(), input: drv.clone() })?;
            inputs.insert(path.clone());
        }
    }
    store.closure(&inputs).map_err(|error| match error {
        local_store::Error::NotValid { path } => {
            BuildFailure::Input { drv: request.drv.clone(), input: path }
        }
        error => failed(error),
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use local_store::Location;
    use store_path::StoreDir;
    use test_support::Scratch;

    #[test]
    fn without_rules_for_the_machine_only_the_setting_leads_past_the_filter() {
        let mut settings = Settings::default();
        check_filter(&settings, true).unwrap();
        let refusal = check_filter(&settings, false).unwrap_err().to_string();
        assert!(refusal.contains("`filter-syscalls = false`"), "{refusal}");
        settings.filter_syscalls = false;
        check_filter(&settings, false).unwrap();
    }

    #[test]
    fn a_build_without_isolation_needs_a_home_that_is_nowhere() {
        let scratch = Scratch::new();
        let real_store = scratch.join("nix/store");
        let store_dir = StoreDir::new(real_store.to_str().unwrap()).unwrap();
        let location = Location { store_dir, ..Location::below(scratch.path()) };
        let store = LocalStore::open(location, local_store::Options::default()).unwrap();
        let home = scratch.join("homeless-shelter");
        check_open(&store, &home).unwrap();
        std::fs::create_dir(&home).unwrap();
        let refusal = check_open(&store, &home).unwrap_err().to_string();
        assert!(refusal.contains("homeless-shelter` exists") && refusal.contains("remove it"), "{refusal}");
    }
}
