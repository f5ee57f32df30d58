//! One derivation, offered to the hook.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use derivation::{Derivation, Options, OutputName};
use local_store::LocalStore;
use sandbox::{ExitStatus, Launcher};
use settings::Settings;
use store_path::{PathInfo, StorePath};

use crate::away;
use crate::error::Error;
use crate::hook::{Hook, Question, Reply};

/// After so many that have died in a row, no further hook is started.
const MOST_DEATHS: u32 = 3;

/// The hook, for all builds of one call.
#[derive(Debug)]
pub struct RemoteBuilder<'a> {
    store: &'a LocalStore,
    launcher: &'a Launcher,
    settings: &'a Settings,
    environment: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    /// One derivation is talked about at a time.
    waiting: Mutex<Waiting>,
}

/// A hook that has not accepted anything yet.
#[derive(Debug)]
enum Waiting {
    /// It is to be started; so many have died in a row instead of answering.
    NotStarted {
        deaths: u32,
    },
    Ready(Box<Hook>),
    /// It wants nothing any more.
    Gone,
}

/// What is told while a derivation is offered and built.
#[derive(Debug)]
pub enum Message<'a> {
    /// The hook has it built on the machine of that name.
    Accepted(&'a str),
    /// The builder printed this.
    Output(&'a [u8]),
    /// Something that does not end the build and that the user should know.
    Warning(String),
    /// What the hook does.
    Detail(String),
}

/// What became of an offer.
#[derive(Debug)]
pub enum Answer {
    /// The outputs are valid now.
    Built(BTreeMap<OutputName, PathInfo>),
    /// It is to be built here.
    Declined {
        /// What the hook said about it, or why it was not asked.
        said: Vec<String>,
        /// Whether it would decline everything from now on.
        permanently: bool,
    },
    /// Not now: it is to be offered again.
    Postponed,
}

impl<'a> RemoteBuilder<'a> {
    /// Returns what offers builds to the hook of the settings; none if they name none.
    pub fn new(
        store: &'a LocalStore,
        launcher: &'a Launcher,
        settings: &'a Settings,
        environment: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Option<Self> {
        let waiting = Mutex::new(Waiting::NotStarted { deaths: 0 });
        (!settings.build_hook.is_empty()).then_some(Self { store, launcher, settings, environment, waiting })
    }

    /// Offers a derivation whose inputs are valid, and follows its build if the hook accepts. `willing` says that it
    /// could be built here at once. Once `given_up` is readable, a build that was accepted is ended.
    ///
    /// What comes back is as the hook made it valid: nothing here knows how it was built, and there is no record.
    ///
    /// # Errors
    /// If the hook accepted and did not keep its word, or the store cannot be asked.
    pub fn offer(
        &self,
        drv: &StorePath,
        derivation: &Derivation,
        willing: bool,
        given_up: Option<BorrowedFd<'_>>,
        tell: &mut dyn FnMut(Message<'_>),
    ) -> Result<Answer, Error> {
        let declined = |said: &str| Answer::Declined { said: vec![said.to_owned()], permanently: false };
        let Ok(options) = derivation.options(self.store.store_dir()) else {
            return Ok(declined("what it asks of its builder cannot be read"));
        };
        let is_ours = self.is_ours(derivation, &options);
        if options.prefer_local_build && is_ours {
            return Ok(declined("it prefers to be built where it is wanted (`preferLocalBuild`)"));
        }
        let Some(outputs) = outputs(derivation) else {
            return Ok(declined(
                "the paths of its outputs are known only once it is built, which no hook can tell",
            ));
        };
        let paths: Vec<&StorePath> = outputs.values().collect();
        let Some(_lock) = self.store.try_lock(&paths)? else {
            // Where it can be built, one waits for whoever makes it now, and is woken.
            return Ok(if is_ours { declined("another process is making it") } else { Answer::Postponed });
        };
        let wanted: BTreeSet<StorePath> = outputs.values().cloned().collect();
        self.store.temp_roots(&wanted.iter().cloned().collect::<Vec<_>>())?;
        let valid = self.store.valid_among(&wanted)?;
        if valid == wanted {
            return Ok(Answer::Built(self.infos(&outputs)?));
        }
        let inputs = self.inputs(derivation)?;
        let question = Question {
            is_ours,
            willing: willing && is_ours,
            system: &derivation.system,
            drv: &self.store.store_dir().print(drv),
            features: &options.required_system_features.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        };
        let (mut hook, machine) = match self.ask(&question, tell) {
            Asked::Accepted(hook, machine) => (hook, machine),
            Asked::Answered(answer) => return Ok(answer),
        };
        tell(Message::Accepted(&machine));
        let inputs: Vec<String> = inputs.iter().map(|path| self.store.store_dir().print(path)).collect();
        let missing = outputs.iter().filter(|(_, path)| !valid.contains(*path));
        let missing: Vec<String> = missing.map(|(name, _)| name.to_string()).collect();
        hook.hand_over(&inputs, &missing)?;
        let (status, said) = away::follow(*hook, given_up, tell)?;
        if status != ExitStatus::Code(0) {
            return Err(Error::Failed { machine, status, said });
        }
        match wanted.difference(&self.store.valid_among(&wanted)?).next() {
            None => Ok(Answer::Built(self.infos(&outputs)?)),
            Some(output) => Err(Error::NotValid { machine, output: output.clone(), said }),
        }
    }

    /// Whether this machine could build it, were there nothing else to do.
    fn is_ours(&self, derivation: &Derivation, options: &Options) -> bool {
        let Settings { system, extra_platforms, system_features, .. } = self.settings;
        let mut systems = std::iter::once(system).chain(extra_platforms);
        let has = |feature: &Vec<u8>| system_features.iter().any(|known| known.as_bytes() == feature);
        derivation.builder.starts_with(b"builtin:")
            || (systems.any(|system| system.as_bytes() == derivation.system)
                || self.settings.external_builders.of(&derivation.system).is_some())
                && options.required_system_features.iter().all(has)
    }

    fn infos(
        &self,
        outputs: &BTreeMap<OutputName, StorePath>,
    ) -> Result<BTreeMap<OutputName, PathInfo>, Error> {
        let infos = self.store.path_infos(&outputs.values().cloned().collect())?;
        let found = outputs.iter().filter_map(|(name, path)| Some((name.clone(), infos.get(path)?.clone())));
        Ok(found.collect())
    }

    /// The closure of all that it takes in.
    fn inputs(&self, derivation: &Derivation) -> Result<BTreeSet<StorePath>, Error> {
        let mut inputs = derivation.input_srcs.clone();
        for (drv, wanted) in &derivation.input_drvs {
            let outputs = self.store.outputs_of(drv)?;
            let known = |name: &OutputName| {
                outputs
                    .get(name.as_str())
                    .cloned()
                    .ok_or_else(|| local_store::Error::NotValid { path: drv.clone() })
            };
            for name in &wanted.outputs {
                inputs.insert(known(name)?);
            }
        }
        Ok(self.store.closure(&inputs)?)
    }

    /// Asks the hook, which is started if there is none. One that cannot be asked declines.
    fn ask(&self, question: &Question<'_>, tell: &mut dyn FnMut(Message<'_>)) -> Asked {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless it is put back, it is gone.
        let (hook, deaths) = match std::mem::replace(&mut *waiting, Waiting::Gone) {
            Waiting::Gone => return declined(Vec::new(), true),
            Waiting::Ready(hook) => (Ok(hook), 0),
            Waiting::NotStarted { deaths } => (
                Hook::start(self.launcher, self.settings, self.store.location(), self.environment)
                    .map(Box::new),
                deaths,
            ),
        };
        let mut words = Vec::new();
        let answered = hook.and_then(|mut hook| {
            let reply = hook.ask(question, &mut |said| match said.complaint() {
                Some(text) => words.push(text.to_owned()),
                None => away::pass_on(said, tell),
            })?;
            Ok((hook, reply))
        });
        if question.is_ours || !matches!(answered, Ok((_, Reply::Decline))) {
            // Otherwise it is part of why it cannot be built.
            words.iter().for_each(|text| tell(Message::Warning(format!("build hook: {text}"))));
        }
        match answered {
            Ok((hook, Reply::Accept(machine))) => {
                *waiting = Waiting::NotStarted { deaths: 0 };
                Asked::Accepted(hook, machine)
            }
            Ok((hook, Reply::Decline)) => {
                *waiting = Waiting::Ready(hook);
                declined(words, false)
            }
            Ok((hook, Reply::Postpone)) => {
                *waiting = Waiting::Ready(hook);
                Asked::Answered(Answer::Postponed)
            }
            Ok((_, Reply::DeclinePermanently)) => declined(words, true),
            Err(error) => {
                let is_final = !matches!(error, Error::Died { .. }) || deaths + 1 == MOST_DEATHS;
                if !is_final {
                    *waiting = Waiting::NotStarted { deaths: deaths + 1 };
                }
                let text = chain(&error);
                tell(Message::Warning(format!("{text}; building here")));
                declined(vec![text], is_final)
            }
        }
    }
}

/// What came of asking.
enum Asked {
    Accepted(Box<Hook>, String),
    Answered(Answer),
}

fn declined(said: Vec<String>, permanently: bool) -> Asked {
    Asked::Answered(Answer::Declined { said, permanently })
}

/// The outputs with their paths; none if they are not known before they are built.
fn outputs(derivation: &Derivation) -> Option<BTreeMap<OutputName, StorePath>> {
    let known = derivation.outputs.iter().map(|(name, output)| Some((name.clone(), output.path()?.clone())));
    known.collect()
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
