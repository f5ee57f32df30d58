//! A scratch store and what can be done with it.
#![expect(clippy::disallowed_methods, reason = "tests look at what was built")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::OnceLock;

use derivation::{Checked, Derivation, InputOutputs, Modulo, Output, OutputName, check};
use engine::{Context, Event, Realised, Report, Selection, Wanted};
use local_store::{LocalStore, Location, Options};
use sandbox::Launcher;
use settings::{Origin, Settings};
use store_path::{HashAlgorithm, Method, Placeholder, StoreDir, StorePath, placeholder};
use test_support::Scratch;

/// A store of its own, for one test.
pub(crate) struct World {
    pub(crate) store: LocalStore,
    pub(crate) settings: Settings,
    environment: BTreeMap<Vec<u8>, Vec<u8>>,
    modulo: Modulo,
    // Last, so that the store is closed before its directory is removed.
    scratch: Scratch,
}

impl World {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let store = open(&scratch);
        let modulo = Modulo::new(StoreDir::default());
        Self { store, settings: Settings::default(), environment: BTreeMap::new(), modulo, scratch }
    }

    /// Opens the same store once more, as another process would.
    pub(crate) fn reopened(&self) -> LocalStore {
        open(&self.scratch)
    }

    /// Opens the store again as the next process would, which has none of this one's temporary roots.
    pub(crate) fn restart(&mut self) {
        self.store = self.reopened();
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.set(key, value, &Origin::flag("test")).expect("tests use settings that exist");
    }

    /// Writes a file beside the store and returns its path.
    pub(crate) fn write(&self, name: &str, contents: &str) -> String {
        let path = self.scratch.join(name);
        fs::write(&path, contents).expect("scratch directories can be written to");
        path.to_str().expect("scratch directories have names in UTF-8").to_owned()
    }

    /// Fills in output paths, which makes the derivation's own path known too.
    pub(crate) fn check(&mut self, derivation: Derivation) -> Checked {
        check(derivation, &mut self.modulo).expect("tests use right derivations")
    }

    /// Adds derivations to the store.
    pub(crate) fn keep(&self, checked: Vec<Checked>) {
        let stated =
            checked.into_iter().map(|checked| (Some(checked.path().clone()), checked.derivation().clone()));
        engine::import(&self.store, stated.collect()).expect("the scratch store can be written to");
    }

    pub(crate) fn add(&mut self, derivation: Derivation) -> StorePath {
        let checked = self.check(derivation);
        let path = checked.path().clone();
        self.keep(vec![checked]);
        path
    }

    pub(crate) fn context(&self) -> Context<'_> {
        let Self { store, settings, environment, .. } = self;
        Context {
            store,
            launcher: launcher(),
            settings,
            environment,
            stop: None,
            on_failure: None,
            tick: None,
            first: 0,
        }
    }

    /// Realises all outputs of `drvs`, and returns what was told, one event a line.
    pub(crate) fn realise(&self, drvs: &[&StorePath]) -> (Report, Vec<String>) {
        let wanted: Vec<Wanted> = drvs.iter().map(|drv| all_of(drv)).collect();
        self.realise_wanted(&wanted)
    }

    /// Realises anything, and returns what was told.
    pub(crate) fn realise_wanted(&self, wanted: &[Wanted]) -> (Report, Vec<String>) {
        let mut told = Vec::new();
        let report = engine::realise(&self.context(), wanted, &mut |event| told.extend(tell(&event)));
        (report.expect("everything that is needed is there"), told)
    }

    /// Returns the contents of the output `out` of something that was realised.
    pub(crate) fn contents(&self, realised: &Realised) -> String {
        let Realised::Outputs { outputs, .. } = realised else { panic!("only outputs have contents") };
        fs::read_to_string(self.store.real_path(&outputs[&out()])).expect("a valid output is there")
    }
}

fn open(scratch: &Scratch) -> LocalStore {
    LocalStore::open(Location::below(scratch.path()), Options::default()).expect("scratch stores can be made")
}

/// One launcher serves all tests, as one serves all builds of a `store`.
fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| Launcher::start().expect("this machine can build"))
}

pub(crate) fn all_of(drv: &StorePath) -> Wanted {
    Wanted::Outputs { drv: drv.clone(), outputs: Selection::All }
}

pub(crate) fn out() -> OutputName {
    name("out")
}

pub(crate) fn name(output: &str) -> OutputName {
    output.parse().expect("tests use proper names")
}

/// A derivation whose output is to be made by a shell script.
pub(crate) fn script(name: &str, script: &str) -> Derivation {
    Derivation {
        name: name.parse().expect("tests use proper names"),
        outputs: [(out(), Output::Deferred)].into_iter().collect(),
        input_drvs: Default::default(),
        input_srcs: BTreeSet::new(),
        system: Settings::default().system.into_bytes(),
        builder: b"/bin/sh".to_vec(),
        args: [b"-e".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()].to_vec(),
        env: Default::default(),
    }
}

/// A script that says its name into its output, after `before`.
pub(crate) fn named(name: &str, before: &str) -> Derivation {
    script(name, &format!("{before}\necho {name} > $out"))
}

/// How the path of an output is known after its build only.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Floating,
    Impure,
    /// Addressed as a text, as derivations are.
    Text,
    ImpureText,
}

/// A script whose output is named by what is in it; it writes to `$out`.
pub(crate) fn unknown(kind: Kind, name: &str, text: &str) -> Derivation {
    let algorithm = HashAlgorithm::Sha256;
    let output = match kind {
        Kind::Floating => Output::Floating { method: Method::Nar, algorithm },
        Kind::Impure => Output::Impure { method: Method::Nar, algorithm },
        Kind::Text => Output::Floating { method: Method::Text, algorithm },
        Kind::ImpureText => Output::Impure { method: Method::Text, algorithm },
    };
    let mut derivation = script(name, text);
    derivation.outputs.insert(out(), output);
    derivation.env.insert(b"out".to_vec(), placeholder("out").into_bytes());
    derivation
}

/// What `name` does, and before that it copies what the outputs `out` of `inputs` say.
pub(crate) fn reading(mut derivation: Derivation, inputs: &[&StorePath]) -> Derivation {
    let copies = inputs.iter().map(|input| copy(&Placeholder::of_output(input, "out")));
    let script = derivation.args.pop().expect("the script is the last argument");
    derivation.args.push([copies.collect::<String>().into_bytes(), script].concat());
    needing(derivation, inputs)
}

/// A line of a script that copies what a file says into the output.
pub(crate) fn copy(file: &Placeholder) -> String {
    format!("while read line; do echo $line >> $out; done < {file}\n")
}

/// The same derivation, which needs the output `out` of each of `inputs`.
pub(crate) fn needing(mut derivation: Derivation, inputs: &[&StorePath]) -> Derivation {
    let wanted = InputOutputs { outputs: [out()].into_iter().collect(), dynamic: Default::default() };
    derivation.input_drvs.extend(inputs.iter().map(|input| ((*input).clone(), wanted.clone())));
    derivation
}

/// What an event says, with the names of derivations only; nothing if it is not the same each time.
fn tell(event: &Event<'_>) -> Option<String> {
    let name = |drv: &StorePath| drv.name().as_str().trim_end_matches(".drv").to_owned();
    Some(match event {
        Event::Planned(plan) => format!("plan {}", plan.to_build().len()),
        Event::Found { file, drv, to_build, .. } => {
            format!("found {} for {}: {}", name(drv), name(&file.drv), to_build.len())
        }
        Event::Resolved { drv, .. } => format!("resolved {}", name(drv)),
        Event::Unchanged { drv, .. } => format!("unchanged {}", name(drv)),
        Event::Postponed { drv } => format!("{} postponed", name(drv)),
        Event::Fetching { path, .. } => format!("fetch {}", name(path)),
        Event::FetchLog { path, line } => format!("{}> {}", name(path), String::from_utf8_lossy(line)),
        Event::Fetched { path } => format!("fetched {}", name(path)),
        Event::NotFetched { path, .. } => format!("not fetched {}", name(path)),
        Event::Substituted { drv, .. } => format!("substituted {}", name(drv)),
        Event::FellBack { drv, to_build, .. } => format!("fell back to {}: {}", name(drv), to_build.len()),
        Event::Elsewhere { drv, machine } => format!("{} on {machine}", name(drv)),
        Event::Started { drv } => format!("start {}", name(drv)),
        Event::Waiting { drv, wait } => format!("{} waits for {wait:?}", name(drv)),
        Event::WaitOver { drv } => format!("{} waits no more", name(drv)),
        Event::Running { .. } => return None,
        Event::Log { drv, line } => format!("{}> {}", name(drv), String::from_utf8_lossy(line)),
        Event::Warning { drv, text } => format!("{} warns: {text}", name(drv)),
        Event::Detail { drv, detail } => format!("{} does {detail:?}", name(drv)),
        Event::Explained { drv, explanation } => {
            let lacks = explanation.findings.iter().map(|finding| finding.name.display().to_string());
            format!("{} lacks {}", name(drv), lacks.collect::<Vec<_>>().join(" "))
        }
        Event::Built { drv, .. } => format!("built {}", name(drv)),
        Event::Cancelled { drv, .. } => format!("cancelled {}", name(drv)),
        Event::Again { drv, again } => format!("again {} {}", name(drv), again.number),
        Event::Checked { drv, .. } => format!("checked {}", name(drv)),
        Event::Failed(failure) => format!("failed {}", name(&failure.drv)),
        Event::Blocked(blocked) => format!("blocked {} by {}", name(&blocked.drv), name(&blocked.by)),
        Event::MadeRoom { .. } => return None,
        Event::NoRoom { error } => format!("no room: {error}"),
        Event::Tick => "tick".to_owned(),
    })
}
