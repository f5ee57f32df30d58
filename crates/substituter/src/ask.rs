//! The programs of the settings, and what they have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io::{self, PipeReader, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use local_store::{LocalStore, Until};
use sandbox::{Allowance, Exec, ExitStatus, HostProcess, HostProgram, Launcher};
use settings::Settings;
use store_path::StorePath;

use crate::error::{Error, ReplyError};
use crate::fetch::Fetch;
use crate::reply::{self, Offer};

/// A question is no longer than what a pipe takes at once, so that nobody waits for the program to read it.
const LONGEST_QUESTION: usize = 32 * 1024;

/// All that a program may print in one go.
const MOST_PRINTED: u64 = 64 << 20;

/// How many of the lines that are for people are kept, and how much of each.
const MOST_SAID: usize = 20;
const LONGEST_SAID: usize = 500;

/// After how long a program is killed that was asked to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Hears what is wrong with a program.
type Warn<'w> = dyn FnMut(String) + 'w;

/// The external substituters, for all that is realised in one call.
#[derive(Debug)]
pub struct Substituters<'a> {
    pub(crate) store: &'a LocalStore,
    launcher: &'a Launcher,
    programs: &'a [PathBuf],
    environment: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    /// Those that have not answered as they should, by their place.
    is_useless: Mutex<BTreeSet<usize>>,
}

/// How a program ended, what it printed, and what it said to people.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) printed: Vec<u8>,
    pub(crate) said: Vec<String>,
}

impl<'a> Substituters<'a> {
    /// Returns what asks the substituters of the settings; none if there are none, or none is to be asked.
    pub fn new(
        store: &'a LocalStore,
        launcher: &'a Launcher,
        settings: &'a Settings,
        environment: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Option<Self> {
        let programs = &settings.external_substituters[..];
        let is_useless = Mutex::default();
        (settings.substitute && !programs.is_empty()).then_some(Self {
            store,
            launcher,
            programs,
            environment,
            is_useless,
        })
    }

    /// Returns those of `paths` that a substituter has. `warn` hears of those that cannot be asked, which are not asked again.
    pub fn have(&self, paths: &BTreeSet<StorePath>, warn: &mut dyn FnMut(String)) -> BTreeSet<StorePath> {
        let mut had = BTreeSet::new();
        self.each_from(0, warn, &mut |place, warn| {
            let open: BTreeSet<StorePath> = paths.difference(&had).cloned().collect();
            for asked in self.portions(open) {
                let answer = self.ask(place, "have", &asked, warn, |answer| {
                    reply::have(answer, self.store.store_dir(), &asked)
                })?;
                had.extend(answer.unwrap_or_default());
            }
            Ok(())
        });
        had
    }

    /// Returns what the first substituter that has it says of each of `paths`. `warn` hears the same as above.
    pub fn offers(
        &self,
        paths: &BTreeSet<StorePath>,
        warn: &mut dyn FnMut(String),
    ) -> BTreeMap<StorePath, Offer> {
        let mut offers: BTreeMap<StorePath, Offer> = BTreeMap::new();
        self.each_from(0, warn, &mut |place, warn| {
            let open: BTreeSet<StorePath> =
                paths.iter().filter(|path| !offers.contains_key(*path)).cloned().collect();
            for asked in self.portions(open) {
                let answer = self.ask(place, "info", &asked, warn, |answer| {
                    reply::info(answer, self.store.store_dir(), &asked, place)
                })?;
                offers.extend(answer.unwrap_or_default());
            }
            Ok(())
        });
        offers
    }

    /// Returns the same fetch by the next program that has the path, if there is one: the one that it names could not fetch
    /// it. All that the path refers to has to be valid already, as what the next one says of it was not planned for.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub fn by_another(
        &self,
        fetch: &Fetch,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Fetch>, local_store::Error> {
        let (asked, mut found) = (BTreeSet::from([fetch.path.clone()]), Vec::new());
        self.each_from(fetch.offer.program + 1, warn, &mut |place, warn| {
            let answer = self.ask(place, "info", &asked, warn, |answer| {
                reply::info(answer, self.store.store_dir(), &asked, place)
            })?;
            found.extend(answer.unwrap_or_default().into_values());
            Ok(())
        });
        for offer in found {
            let needs = offer.references.iter().filter(|reference| **reference != fetch.path);
            let needs: BTreeSet<StorePath> = needs.cloned().collect();
            if self.store.valid_among(&needs)?.len() == needs.len() {
                return Ok(Some(Fetch { offer, ..fetch.clone() }));
            }
        }
        Ok(None)
    }

    /// Does something with each program that is of use from a place on, by its place.
    fn each_from(
        &self,
        first: usize,
        warn: &mut dyn FnMut(String),
        with: &mut dyn FnMut(usize, &mut Warn<'_>) -> Result<(), Error>,
    ) {
        let useless = || self.is_useless.lock().unwrap_or_else(PoisonError::into_inner);
        for place in first..self.programs.len() {
            if useless().contains(&place) {
                continue;
            }
            if let Err(error) = with(place, warn) {
                warn(format!("{}; it is not asked again", chain(&error)));
                useless().insert(place);
            }
        }
    }

    /// Cuts paths up into sets that are asked for in one line.
    fn portions(&self, paths: BTreeSet<StorePath>) -> Vec<BTreeSet<StorePath>> {
        let (mut portions, mut length) = (Vec::<BTreeSet<StorePath>>::new(), usize::MAX);
        for path in paths {
            let own = self.store.store_dir().print(&path).len() + 1;
            if length.saturating_add(own) > LONGEST_QUESTION {
                portions.push(BTreeSet::new());
                length = 0;
            }
            length += own;
            portions.iter_mut().last().expect("the first path has begun one").insert(path);
        }
        portions
    }

    /// Asks one program, which is started for it; none is answered by one that has ended well without a word, which says
    /// that it has nothing.
    fn ask<T>(
        &self,
        place: usize,
        question: &str,
        paths: &BTreeSet<StorePath>,
        warn: &mut dyn FnMut(String),
        read: impl Fn(&[u8]) -> Result<T, ReplyError>,
    ) -> Result<Option<T>, Error> {
        let program = &self.programs[place];
        let paths: Vec<String> = paths.iter().map(|path| self.store.store_dir().print(path)).collect();
        let line = format!("{question} {}\n", paths.join(" "));
        let ended = self.run(place, &[b"--query"], line.as_bytes(), Until::DONE, &mut |_| {})?;
        if ended.printed.is_empty() && ended.status == ExitStatus::Code(0) {
            return Ok(None);
        }
        let answer = read(&ended.printed);
        let Ended { status, said, .. } = ended;
        let answer = answer.map_err(|source| Error::Reply {
            program: program.clone(),
            status,
            said: said.clone(),
            source,
        })?;
        said.into_iter().for_each(|line| warn(format!("substituter `{}`: {line}", program.display())));
        Ok(Some(answer))
    }

    pub(crate) fn program(&self, place: usize) -> &'a Path {
        &self.programs[place]
    }

    /// Runs a program to its end, or as long as it is wanted; `hear` gets what it says to people as it comes.
    pub(crate) fn run(
        &self,
        place: usize,
        arguments: &[&[u8]],
        input: &[u8],
        until: Until<'_>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, Error> {
        let program = self.program(place).to_owned();
        let talk = |source| Error::Talk { program: program.clone(), source };
        let (stdin, mut to) = io::pipe().map_err(talk)?;
        let (from, stdout) = io::pipe().map_err(talk)?;
        let (errors, stderr) = io::pipe().map_err(talk)?;
        let descriptors = [(0, stdin.as_fd()), (1, stdout.as_fd()), (2, stderr.as_fd())];
        let process = self.launcher.run_on_host(&self.description(place, arguments), &descriptors);
        let process = process.map_err(|source| Error::Start { program: program.clone(), source })?;
        match to.write_all(input) {
            // It may know what to say without having been asked.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            result => result.map_err(talk)?,
        }
        drop((to, stdin, stdout, stderr));
        let lost = |source| Error::Lost { program: program.clone(), source };
        follow(process, from, errors, until, hear).map_err(lost)
    }

    fn description(&self, place: usize, arguments: &[&[u8]]) -> HostProgram {
        let path = self.program(place);
        let name = path.file_name().unwrap_or(OsStr::new("")).as_bytes();
        HostProgram {
            exec: Exec {
                path: path.to_owned(),
                args: std::iter::once(name).chain(arguments.iter().copied()).map(<[u8]>::to_vec).collect(),
                env: self.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
                directory: PathBuf::from("/"),
                personality_32: false,
                old_kernel: false,
            },
            patience: PATIENCE,
            takes_all_along: true,
            user: None,
        }
    }
}

fn follow(
    process: HostProcess,
    from: PipeReader,
    errors: PipeReader,
    until: Until<'_>,
    hear: &mut dyn FnMut(&[u8]),
) -> Result<Ended, sandbox::Error> {
    let (mut printed, mut said) = (Vec::new(), Said::default());
    let allowance = Allowance { output_bytes: Some(MOST_PRINTED), ..Allowance::default() };
    let status = process.follow(
        vec![from.into(), errors.into()],
        allowance,
        until.descriptor(),
        &mut |place, bytes| match place {
            0 => printed.extend_from_slice(bytes),
            _ => {
                said.push(bytes);
                hear(bytes);
            }
        },
    )?;
    Ok(Ended { status, printed, said: said.into_lines() })
}

/// The last lines that a program printed for people.
#[derive(Default)]
struct Said {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Said {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LONGEST_SAID.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        self.lines.push_back(String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned());
        if self.lines.len() > MOST_SAID {
            self.lines.pop_front();
        }
    }

    fn into_lines(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
