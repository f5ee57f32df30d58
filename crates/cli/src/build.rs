//! `store build`

use std::io::{self, IsTerminal};
use std::ops::BitOr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use builder::{BuildFailure, Inside, OnFailure};
use engine::{Context, Realised, Report, Wanted};
use local_store::{LocalStore, Until, Verification};
use nix::unistd::{AccessFlags, access};
use sandbox::Launcher;
use settings::{OnFail, Settings};

use crate::build_failure::LogCommand;
use crate::build_results;
use crate::config::Flag;
use crate::duration;
use crate::exit::{BuildFailures, Exit};
use crate::gauge::Gauge;
use crate::interrupt::{Interrupt, Resizes};
use crate::keys;
use crate::on_fail::{self, Shells};
use crate::out_link::link_path;
use crate::outcome;
use crate::session::Session;
use crate::target;
use crate::terminal::Controls;
use crate::watch::{self, Json, Progress, Timings, Watch};

/// Builds derivations in a sandbox and prints the store paths of what they made.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("again").args(["check", "rounds"]).multiple(true)))]
#[command(after_help = "Examples:\n  store build hello.json\n  store build ./hello.drv^out,dev\n  \
                        store build --keep-going --max-jobs 4 packages.json\n  store build --explain=retry hello.json\n  \
                        store build --check --vary hello.json\n  store build --rounds 3 --vary=hostname,cores hello.json\n\n\
                        Exit code: 100 when a build failed, 101 when one ran or was silent for too long, 102 when a\n\
                        fixed output has another hash than promised, 104 when a build gave something else than the\n\
                        one before (or-ed together under --keep-going), 130 when interrupted, or when a build was\n\
                        cancelled (`store cancel`) and none failed, 1 otherwise.")]
pub(crate) struct Args {
    /// What to build: a recipe; a file with derivations (JSON as `nix show-derivation` prints it, or a `.drv`), of
    /// which those are built that no other one there uses; or a store path. `!out,dev` or `^out,dev` behind it chooses
    /// outputs; in `x.drv^out^dev`, the output `out` is a derivation itself, which is built to have its `dev`.
    #[arg(required_unless_present = "first", value_name = "FILE|PATH")]
    targets: Vec<String>,

    /// Builds this as well, and before all that is not named so, with everything that it needs; can be given several times.
    #[arg(long, value_name = "FILE|PATH")]
    first: Vec<String>,

    /// How many builds run at the same time, or `auto`.
    #[arg(short = 'j', long, value_name = "N", allow_negative_numbers = true)]
    max_jobs: Option<String>,

    /// How many processors each build may use; 0 for all.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cores: Option<String>,

    /// The symlink to the result, which also keeps it from being collected; further outputs and goals get
    /// `LINK-dev`, `LINK-2` and so on.
    #[arg(short, long, value_name = "LINK", default_value = "result")]
    out_link: PathBuf,

    /// Leaves no symlink.
    #[arg(long)]
    no_link: bool,

    /// Keeps the build directory of a build that fails, and says where it is.
    #[arg(short = 'K', long)]
    keep_failed: bool,

    /// After a failure opens a `shell` in that very sandbox, with its files as the builder left them, before it is
    /// taken down; or keeps its build directory (`keep`), as `shell` does where there is no terminal; or neither.
    #[arg(long, value_name = "shell|keep|none")]
    on_fail: Option<String>,

    /// After a failure builds everything that does not need what failed.
    #[arg(short, long)]
    keep_going: bool,

    /// Shows what builds print, each line with the name of its build.
    #[arg(short = 'L', long)]
    print_build_logs: bool,

    /// Shows progress as a live tree of builds at the bottom of the terminal (`live`), as a line for each thing that
    /// happens (`plain`), or as a tree where there is a terminal that can, without `--quiet` and `-v` (`auto`).
    #[arg(
        long,
        value_name = "auto|live|plain",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    progress: Progress,

    /// Ends a build whose builder has run for so long: in seconds, or like `10m` or `2h`; 0 for no limit.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = duration::in_seconds)]
    timeout: Option<String>,

    /// Ends a build whose builder has printed nothing for so long; 0 for no limit.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = duration::in_seconds)]
    max_silent_time: Option<String>,

    /// Ends a build whose builder has printed more bytes than that (`K`, `M` and `G` are understood); 0 for no limit.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    max_build_log_size: Option<String>,

    /// Observes builds and says what they looked for and did not find in their sandbox, who asked for it, and what to
    /// add: all builds (`always`, also without a value), those that failed, run once more (`retry`), or none (`never`).
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    explain: Option<String>,

    /// Writes what happens into FILE, a line of JSON for each event (`crates/cli/EVENTS.md` describes them). Without it,
    /// `--json` writes them to stderr, in place of text, unless that is a terminal.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,

    /// Writes a page that shows when which build did what: what each waited for, the critical path, processors and memory
    /// over time. It needs nothing but itself, so any browser shows it.
    #[arg(long, value_name = "FILE.html", num_args = 0..=1, require_equals = true, default_missing_value = "timings.html")]
    timings: Option<PathBuf>,

    /// Builds what is wanted once more, though it is there, and compares: exit code 104 if something else comes out. What
    /// is there is not touched.
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,

    /// First looks whether what is wanted, and all that building it takes, is what it should be, and repairs what is not: it
    /// is fetched or built again, and replaced in one step if that gives what was registered.
    #[arg(long, conflicts_with_all = ["dry_run", "check"])]
    repair: bool,

    /// Builds N times in all and compares; with `--check`, builds once more N times. If something else comes out, nothing
    /// is kept.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Changes on purpose, where something is built once more, what ought not to matter: all, or a list of hostname,
    /// cores, time, order, uid, build-path, locale and kernel. If that makes a difference, finds out which of them do, by
    /// building once more for each.
    #[arg(long, value_name = "LIST", num_args = 0..=1, require_equals = true, default_missing_value = "all",
          requires = "again")]
    vary: Option<String>,

    /// Builds nothing; prints which derivations would be built.
    #[arg(long)]
    dry_run: bool,

    /// Prints where the files lie instead of the store paths.
    #[arg(long)]
    real_path: bool,
}

impl Args {
    /// Returns whether anything is built.
    pub(crate) fn builds(&self) -> bool {
        !self.dry_run
    }

    /// Returns the options that are settings, too.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let when = |is_set: bool| is_set.then(|| "true".to_owned());
        let flags = [
            ("max-jobs", self.max_jobs.clone()),
            ("cores", self.cores.clone()),
            ("keep-failed", when(self.keep_failed)),
            ("on-fail", self.on_fail.clone()),
            ("keep-going", when(self.keep_going)),
            ("explain", self.explain.clone()),
            ("repeat", self.rounds.map(|rounds| (rounds - 1).to_string())),
            ("vary", self.vary.clone()),
            ("timeout", self.timeout.clone()),
            ("max-silent-time", self.max_silent_time.clone()),
            ("max-build-log-size", self.max_build_log_size.clone()),
        ];
        let given = flags.into_iter().filter_map(|(key, value)| Some((key, value?)));
        given.map(|(key, value)| Flag { spelling: format!("--{key}"), key: key.to_owned(), value }).collect()
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    if args.dry_run {
        let store = session.open_store()?;
        let asked = asked(session, &store, args)?;
        return dry_run(session, &store, &asked.wanted);
    }
    let launcher = Launcher::start()?;
    let (interrupt, resizes) = (Interrupt::catch()?, Resizes::catch()?);
    // All that may take long, as to open a store, or a pipe for events that nobody reads yet.
    interrupt.attend(|| tell(session, args, &launcher, (&interrupt, &resizes)))?
}

/// Builds, and tells programs of it.
fn tell(
    session: &mut Session,
    args: &Args,
    launcher: &Launcher,
    signals: (&Interrupt, &Resizes),
) -> Result<Exit> {
    let mut json = watch::for_programs(session, args.events.as_deref(), io::stderr().is_terminal())?;
    let done = build(session, args, launcher, signals, json.as_mut());
    if let (Some(json), Err(error)) = (&mut json, &done) {
        json.gave_up(&format!("{error:#}"));
    }
    done
}

fn build(
    session: &mut Session,
    args: &Args,
    launcher: &Launcher,
    (interrupt, resizes): (&Interrupt, &Resizes),
    json: Option<&mut Json>,
) -> Result<Exit> {
    let link_base = session.absolute(&args.out_link);
    if !args.no_link {
        refuse_link(&link_base)?;
    }
    let mut store = session.open_store()?;
    store.sign_builds_with(keys::read_all(&session.settings().secret_key_files)?);
    let asked = asked(session, &store, args)?;
    if args.repair && !repair(session, &store, launcher, interrupt, &asked.wanted)? {
        return Ok(if interrupt.is_pending() { Exit::Interrupted } else { Exit::Failure });
    }
    let controls = Controls { interrupt, resizes, messages: session.messages() };
    let report = realise(session, &store, launcher, &asked, args, json, controls)?;
    if let Some(exit) = exit_of(&report) {
        store.note_uses();
        build_results::print_failed(session, &store, &asked.wanted, &report)?;
        return Ok(exit);
    }
    if !args.no_link {
        add_links(&store, &link_base, &report.realised)?;
    }
    store.note_uses();
    build_results::print(session, &store, &report.realised, args.real_path)?;
    Ok(Exit::Success)
}

/// Repairs what is damaged of what is wanted and of what building it takes; false if something still is.
fn repair(
    session: &Session,
    store: &LocalStore,
    launcher: &Launcher,
    interrupt: &Interrupt,
    wanted: &[Wanted],
) -> Result<bool> {
    let paths = engine::taken_in(store, wanted)?;
    interrupt.is_heard();
    let gauge = Gauge::new(session, "verifying");
    let until = Until::readable(Some(interrupt.descriptor()));
    let what = Verification { contents: true, paths: Some(&paths), until, progress: &|now| gauge.show(now) };
    let mut report = store.verify(what)?;
    drop(gauge);
    if report.stopped {
        return Ok(false);
    }
    let repaired = crate::repair::repair(session, store, launcher, interrupt, &mut report)?;
    let messages = session.messages();
    for (path, told) in repaired.told(store) {
        messages.note(format_args!("{}: {told}", store.store_dir().print(&path)));
    }
    for (path, damage) in &report.damaged {
        let why = repaired.why_not(path).map(|why| format!("; {why}")).unwrap_or_default();
        messages.error(format_args!("cannot repair `{path}`: {damage}{why}"));
    }
    repaired.advice().iter().for_each(|advice| messages.error(advice));
    Ok(report.damaged.is_empty())
}

/// What was asked for.
struct Asked {
    wanted: Vec<Wanted>,
    /// So many of them are to be built first.
    first: usize,
}

fn asked(session: &Session, store: &LocalStore, args: &Args) -> Result<Asked> {
    let mut wanted = Vec::new();
    for target in &args.first {
        wanted.extend(target::wanted(session, store, target)?);
    }
    let first = wanted.len();
    for target in &args.targets {
        wanted.extend(target::wanted(session, store, target)?);
    }
    Ok(Asked { wanted, first })
}

/// Refuses a link that could not be made after a long build.
fn refuse_link(link: &Path) -> Result<()> {
    let is_free = link.symlink_metadata().map_or(true, |metadata| metadata.is_symlink());
    ensure!(
        is_free,
        "cannot make the link `{}`: something else is there; choose another one with `--out-link`, or `--no-link`",
        link.display()
    );
    let directory = link.parent().unwrap_or(Path::new("/"));
    access(directory, AccessFlags::W_OK).with_context(|| {
        format!(
            "cannot make a link in `{}`; choose another place with `--out-link`, or `--no-link`",
            directory.display()
        )
    })
}

fn dry_run(session: &mut Session, store: &LocalStore, wanted: &[Wanted]) -> Result<Exit> {
    let plan = engine::plan(store, wanted)?.in_slots(engine::slots(session.settings()));
    let drvs: Vec<String> = plan.to_build().map(|drv| store.store_dir().print(drv)).collect();
    let about = duration::about(plan.estimate());
    session.messages().note(match drvs.len() {
        0 => "nothing would be built: everything is there".to_owned(),
        1 => format!("1 derivation would be built{about}"),
        count => format!("{count} derivations would be built{about}"),
    });
    session.print_list(drvs)?;
    Ok(Exit::Success)
}

fn realise(
    session: &Session,
    store: &LocalStore,
    launcher: &Launcher,
    asked: &Asked,
    args: &Args,
    json: Option<&mut Json>,
    controls: Controls<'_>,
) -> Result<Report> {
    let log_command = LogCommand::of(session, store);
    let settings = Settings {
        on_fail: on_fail::possible(session.settings(), session.messages()),
        ..session.settings().clone()
    };
    let shells = Shells::new(store, log_command.clone(), controls);
    let shells = (settings.on_fail == OnFail::Shell).then_some(&shells);
    let attend = |failure: &BuildFailure, inside: &Inside<'_>| {
        shells.into_iter().for_each(|shells| shells.attend(failure, inside));
    };
    let watch = Watch::new(session.messages(), store.location(), log_command, args.print_build_logs);
    let watch = watch.after(shells).and(json).timed(timings(session, store, args, &settings)?);
    let mut watch = watch.drawn(args.progress, session, controls.interrupt);
    let context = Context {
        store,
        launcher,
        settings: &settings,
        environment: session.variables(),
        stop: Some(controls.interrupt.descriptor()),
        on_failure: shells.map(|_| OnFailure(&attend)),
        first: asked.first,
        tick: watch.tick(),
    };
    controls.interrupt.is_heard();
    let make = if args.check { engine::check } else { engine::realise };
    let made = make(&context, &asked.wanted, &mut |event| watch.on_event(&event));
    match &made {
        Ok(report) => watch.ended(report),
        Err(_) => watch.gave_up(),
    }
    Ok(made?)
}

/// Begins to keep what happens for a page, if one is asked for.
fn timings(
    session: &Session,
    store: &LocalStore,
    args: &Args,
    settings: &Settings,
) -> Result<Option<Timings>> {
    let Some(file) = &args.timings else { return Ok(None) };
    let slots = engine::slots(settings).get();
    Timings::new(&session.absolute(file), store.store_dir(), slots).map(Some)
}

/// Returns the exit code if not everything is there now.
pub(crate) fn exit_of(report: &Report) -> Option<Exit> {
    if report.stopped {
        return Some(Exit::Interrupted);
    }
    let failures = report.failures.iter().map(|failure| outcome::exit(&failure.error));
    let failed = failures.reduce(BuildFailures::bitor).map(Exit::Builds);
    // Not everything that was asked for is there, and nothing is wrong with it.
    failed.or((!report.cancelled.is_empty()).then_some(Exit::Interrupted))
}

fn add_links(store: &LocalStore, base: &Path, realised: &[Realised]) -> Result<()> {
    for (index, realised) in realised.iter().enumerate() {
        for (output, path) in build_results::outputs(realised) {
            let link = link_path(base, index, output);
            store.add_root(&link, path).with_context(|| format!("cannot link to `{path}`"))?;
        }
    }
    Ok(())
}
