//! A hook that runs, and the conversation with it until it accepts.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use local_store::Location;
use sandbox::{Exec, HostProcess, HostProgram, Launcher};
use settings::Settings;

use crate::error::Error;
use crate::lines::Lines;
use crate::said::Said;
use crate::wire;

/// How many lines that are no messages are kept, to be shown should something go wrong.
const MOST_KEPT: usize = 20;

/// How much a hook tells: what Nix calls the level of information.
const VERBOSITY: &str = "3";

/// A hook that runs.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) program: PathBuf,
    pub(crate) process: HostProcess,
    /// None once there is nothing more to be said.
    to: Option<PipeWriter>,
    pub(crate) from: PipeReader,
    pub(crate) lines: Lines,
    /// What the builder prints.
    pub(crate) log: PipeReader,
    /// What it has said that was not an answer, since it was asked.
    said: VecDeque<String>,
}

/// What it is asked for a derivation.
pub(crate) struct Question<'a> {
    /// Whether this machine could build it.
    pub(crate) is_ours: bool,
    /// Whether it would do so at once.
    pub(crate) willing: bool,
    pub(crate) system: &'a [u8],
    pub(crate) drv: &'a str,
    pub(crate) features: &'a [&'a [u8]],
}

/// What it answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It will build, on the machine of that name.
    Accept(String),
    Decline,
    DeclinePermanently,
    Postpone,
}

impl Hook {
    /// Starts the hook and tells it the settings.
    pub(crate) fn start(
        launcher: &Launcher,
        settings: &Settings,
        location: &Location,
        environment: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Self, Error> {
        let program = PathBuf::from(settings.build_hook.first().map_or("", String::as_str));
        let talk = |source| Error::Talk { program: program.clone(), source };
        let (input, to) = io::pipe().map_err(talk)?;
        let (from, errors) = io::pipe().map_err(talk)?;
        let (log, output) = io::pipe().map_err(talk)?;
        let description = description(&program, settings, environment);
        // Its standard output goes where its errors go. It reads descriptor 5 to tell what `ssh` has printed on 4.
        let descriptors = [
            (0, input.as_fd()),
            (1, errors.as_fd()),
            (2, errors.as_fd()),
            (4, output.as_fd()),
            (5, log.as_fd()),
        ];
        let process = launcher
            .run_on_host(&description, &descriptors)
            .map_err(|source| Error::Start { program: program.clone(), source })?;
        let (to, lines, said) = (Some(to), Lines::default(), VecDeque::new());
        let mut hook = Self { program, process, to, from, lines, log, said };
        let mut text = Vec::new();
        for (name, value) in settings.for_nix(location.root()) {
            wire::number(&mut text, 1);
            wire::string(&mut text, name.as_bytes());
            wire::string(&mut text, value.as_bytes());
        }
        wire::number(&mut text, 0);
        hook.send(&text)?;
        Ok(hook)
    }

    /// Asks whether it builds a derivation.
    pub(crate) fn ask(
        &mut self,
        question: &Question<'_>,
        tell: &mut dyn FnMut(Said),
    ) -> Result<Reply, Error> {
        self.said.clear();
        let mut text = Vec::new();
        wire::string(&mut text, b"try");
        wire::number(&mut text, question.willing.into());
        wire::string(&mut text, question.system);
        wire::string(&mut text, question.drv.as_bytes());
        wire::strings(&mut text, question.features);
        self.send(&text)?;
        let reply = loop {
            match Said::read(&self.line()?) {
                Said::Reply(reply) => break reply,
                said => {
                    keep(&mut self.said, &said);
                    tell(said);
                }
            }
        };
        match reply.as_str() {
            "accept" => Ok(Reply::Accept(String::from_utf8_lossy(&self.line()?).into_owned())),
            "decline" => Ok(Reply::Decline),
            "decline-permanently" => Ok(Reply::DeclinePermanently),
            "postpone" => Ok(Reply::Postpone),
            _ => Err(Error::Reply { program: self.program.clone(), reply }),
        }
    }

    /// Tells it what is to be there for the build, and what is to come back; the last that it is told.
    pub(crate) fn hand_over(&mut self, inputs: &[String], outputs: &[String]) -> Result<(), Error> {
        self.said.clear();
        let mut text = Vec::new();
        wire::strings(&mut text, inputs);
        wire::strings(&mut text, outputs);
        let sent = self.send(&text);
        self.to = None;
        sent
    }

    fn line(&mut self) -> Result<Vec<u8>, Error> {
        let line = self.lines.next_of(&mut self.from).map_err(|source| self.cannot_talk(source))?;
        line.ok_or_else(|| self.died())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(to) = &mut self.to else { return Ok(()) };
        match to.write_all(bytes).and_then(|()| to.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.died()),
            result => result.map_err(|source| self.cannot_talk(source)),
        }
    }

    fn cannot_talk(&self, source: io::Error) -> Error {
        Error::Talk { program: self.program.clone(), source }
    }

    /// It is gone; what it said last may tell why.
    fn died(&mut self) -> Error {
        self.process.end();
        while let Ok(Some(line)) = self.lines.next_of(&mut self.from) {
            keep(&mut self.said, &Said::read(&line));
        }
        Error::Died { program: self.program.clone(), said: self.said.drain(..).collect() }
    }
}

/// Remembers what may say why something went wrong.
pub(crate) fn keep(complaints: &mut VecDeque<String>, said: &Said) {
    if let Some(text) = said.complaint() {
        complaints.push_back(text.to_owned());
        if complaints.len() > MOST_KEPT {
            complaints.pop_front();
        }
    }
}

fn description(program: &Path, settings: &Settings, environment: &BTreeMap<Vec<u8>, Vec<u8>>) -> HostProgram {
    let name = program.file_name().unwrap_or(OsStr::new("")).as_bytes().to_vec();
    let arguments = settings.build_hook.iter().skip(1).map(|argument| argument.as_bytes().to_vec());
    let args = std::iter::once(name).chain(arguments).chain([VERBOSITY.into()]).collect();
    HostProgram {
        exec: Exec {
            path: program.to_owned(),
            args,
            env: environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            directory: PathBuf::from("/"),
            personality_32: false,
            old_kernel: false,
        },
        patience: Duration::from_millis(settings.build_hook_kill_timeout as u64),
        takes_all_along: true,
        user: None,
    }
}
