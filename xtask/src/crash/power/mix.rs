//! Several who work on one store at once, at random, and what they were told.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use test_support::Random;
use test_support::crash::{After, World};

use super::super::disk::Disk;
use super::Counts;

/// How many work at once.
const WORKERS: u64 = 4;

/// How many files a directory has that is added: enough for one sync of the whole file system.
const FILES: usize = 24;

/// How many derivations are registered at once.
const MANY: usize = 40;

/// A store, and several who work on it.
pub(super) struct Mix<'a> {
    disk: &'a Disk,
    world: World,
    state: Mutex<State>,
    next_seed: u64,
}

#[derive(Default)]
struct State {
    /// What was told to be valid, and not asked to be deleted.
    told: Vec<String>,
    /// Numbers what is made.
    next: usize,
    running: BTreeSet<u32>,
    counts: Counts,
    checked: usize,
}

impl<'a> Mix<'a> {
    pub(super) fn new(program: &Path, disk: &'a Disk, seed: u64) -> Result<Self> {
        let world = World::with_store(program, &disk.place().join("mix")).map_err(anyhow::Error::msg)?;
        Ok(Self { disk, world, state: Mutex::default(), next_seed: seed << 20 })
    }

    /// Has all work until the power is cut, and reads the log of the file system then.
    pub(super) fn until_cut(&mut self, after: Duration) -> Result<()> {
        let is_cut = AtomicBool::new(false);
        let first = self.next_seed;
        self.next_seed += WORKERS;
        let this = &*self;
        thread::scope(|scope| -> Result<()> {
            let work = |worker| {
                let (is_cut, mut random) = (&is_cut, Random::seeded(first + worker));
                scope.spawn(
                    move || while !is_cut.load(Ordering::SeqCst) && this.step(&mut random, is_cut).is_ok() {},
                )
            };
            (0..WORKERS).for_each(|worker| drop(work(worker)));
            thread::sleep(after);
            is_cut.store(true, Ordering::SeqCst);
            let cut = this.disk.cut();
            this.end_all();
            cut
        })?;
        self.disk.unmount()?;
        self.disk.mount()
    }

    /// Looks at what is there after a cut.
    pub(super) fn look(&self, ask_nix: bool) -> Result<()> {
        let wrong = |wrong: String| anyhow!("after the cut: {wrong}");
        self.world.inspect(After::Cut).map_err(wrong)?;
        let told = self.state().told.clone();
        for paths in told.chunks(500) {
            let all: Vec<&str> = ["path-info"].into_iter().chain(paths.iter().map(String::as_str)).collect();
            self.world.ok(&all).map_err(|error| anyhow!("what was told to be valid is not: {error}"))?;
        }
        self.state().checked += told.len();
        if ask_nix {
            self.world.ask_nix().map_err(wrong)?;
        }
        // The store goes on being of use.
        let mut random = Random::seeded(self.next_seed);
        for _ in 0..2 {
            self.step(&mut random, &AtomicBool::new(false))?;
        }
        self.world.inspect(After::Cut).map_err(|wrong| anyhow!("once it is used again: {wrong}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked")
    }

    /// Kills whatever still runs.
    fn end_all(&self) {
        for process in &self.state().running {
            let _ = killpg(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
    }

    /// Does something; fails if that was not possible.
    fn step(&self, random: &mut Random, is_cut: &AtomicBool) -> Result<()> {
        let number = {
            let mut state = self.state();
            state.next += 1;
            state.next
        };
        match random.below(8) {
            0 => self.add_file(number, random, is_cut),
            1 => self.add_directory(number, random, is_cut),
            2 => self.build(number, is_cut),
            3 => self.register(number, is_cut),
            4 => self.delete(random, is_cut),
            5 => self.run("collect garbage", &["gc", "--quiet"], is_cut).map(|_| ()),
            6 => self.run("link equal files", &["optimise", "--quiet"], is_cut).map(|_| ()),
            _ => self.build_directory(number, is_cut),
        }
    }

    fn add_file(&self, number: usize, random: &mut Random, is_cut: &AtomicBool) -> Result<()> {
        let name = format!("file-{number}");
        let bytes = random.below(200_000);
        self.write(&name, random.bytes(bytes))?;
        self.tell_rooted(number, "add a file", &["add", &name], is_cut)
    }

    fn add_directory(&self, number: usize, random: &mut Random, is_cut: &AtomicBool) -> Result<()> {
        let name = format!("directory-{number}");
        for file in 0..FILES {
            let bytes = random.below(4000);
            self.write(&format!("{name}/{}/{file}", file % 3), random.bytes(bytes))?;
        }
        self.tell_rooted(number, "add a directory", &["add", &name], is_cut)
    }

    fn build(&self, number: usize, is_cut: &AtomicBool) -> Result<()> {
        let script = format!("echo {number} > $out; echo some output");
        self.build_script(number, &script, is_cut)
    }

    fn build_directory(&self, number: usize, is_cut: &AtomicBool) -> Result<()> {
        let script = format!(
            "mkdir $out; n=0; while [ $n -lt {FILES} ]; do echo {number} > $out/$n; n=$((n+1)); done"
        );
        self.build_script(number, &script, is_cut)
    }

    fn build_script(&self, number: usize, script: &str, is_cut: &AtomicBool) -> Result<()> {
        let name = format!("build-{number}.json");
        let mkdir = r#""/bin/sh=/bin/busybox /bin/mkdir=/bin/busybox""#;
        self.write(&name, derivation(&format!("b{number}"), script, ""))?;
        let shown = mkdir.trim_matches('"');
        let link = format!("result-{number}");
        let build = ["build", "--quiet", "--option", "sandbox-paths", shown, "--out-link", &link, &name];
        self.tell("build", &build, is_cut)
    }

    fn register(&self, number: usize, is_cut: &AtomicBool) -> Result<()> {
        let key = |index: usize| format!("/nix/store/{index:032}-r{number}-{index}.drv");
        let one = |index: usize| {
            let inputs = index.checked_sub(1).map(|before| format!(r#""{}": ["out"]"#, key(before)));
            let text = derivation(&format!("r{number}-{index}"), "x", &inputs.unwrap_or_default());
            format!(r#""{}": {text}"#, key(index))
        };
        let name = format!("many-{number}.json");
        self.write(&name, format!("{{ {} }}", (0..MANY).map(one).collect::<Vec<_>>().join(", ")))?;
        self.tell_rooted(number, "register many", &["derivation", "add", &name], is_cut)
    }

    fn delete(&self, random: &mut Random, is_cut: &AtomicBool) -> Result<()> {
        let chosen = {
            let mut state = self.state();
            if state.told.is_empty() {
                return Ok(());
            }
            let chosen = random.below(state.told.len());
            // From now on it need not be valid any more.
            state.told.swap_remove(chosen)
        };
        let number = chosen.rsplit('-').next().unwrap_or_default().trim_start_matches('b').to_owned();
        for link in ["keep", "result"].map(|kind| format!("{kind}-{number}")) {
            if self.world.path(&link).is_symlink() {
                self.run("give up a root", &["root", "remove", &link], is_cut)?.ok();
            }
        }
        // What is used by others is refused.
        self.run("delete", &["delete", &chosen], is_cut).map(|_| ())
    }

    /// Runs what prints one path, and keeps that from being collected. Until then, collectors may be faster.
    fn tell_rooted(
        &self,
        number: usize,
        what: &'static str,
        arguments: &[&str],
        is_cut: &AtomicBool,
    ) -> Result<()> {
        let words = arguments.join(" ");
        let path = match self.run(what, arguments, is_cut)? {
            Ok(printed) => printed.trim_end().to_owned(),
            Err(said) => {
                ensure!(is_cut.load(Ordering::SeqCst), "`store {words}` fails without a cut: {said}");
                return Ok(());
            }
        };
        match self.run("add a root", &["root", "add", &format!("keep-{number}"), &path], is_cut)? {
            _ if is_cut.load(Ordering::SeqCst) => {}
            Ok(_) => self.state().told.push(path),
            Err(said) => {
                ensure!(said.contains("is not valid"), "a root of `{path}` fails without a cut: {said}")
            }
        }
        Ok(())
    }

    /// Runs what prints paths that are valid then, and kept.
    fn tell(&self, what: &'static str, arguments: &[&str], is_cut: &AtomicBool) -> Result<()> {
        match self.run(what, arguments, is_cut)? {
            // Who ends after that would not have been heard, were it a real cut; and a kernel that is amid the flush of a file
            // may call it a success.
            Ok(_) if is_cut.load(Ordering::SeqCst) => {}
            Ok(printed) => self.state().told.extend(printed.lines().map(str::to_owned)),
            Err(said) => {
                let words = arguments.join(" ");
                ensure!(is_cut.load(Ordering::SeqCst), "`store {words}` fails without a cut: {said}");
            }
        }
        Ok(())
    }

    /// Returns what a command prints that has succeeded, or what it says when it fails.
    fn run(
        &self,
        what: &'static str,
        arguments: &[&str],
        is_cut: &AtomicBool,
    ) -> Result<Result<String, String>> {
        let mut command = self.world.command(arguments);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child: Child = {
            // Whoever ends all either sees it, or it is not started.
            let mut state = self.state();
            ensure!(!is_cut.load(Ordering::SeqCst), "the power is cut");
            let child = command.spawn()?;
            state.running.insert(child.id());
            *state.counts.entry(what).or_default() += 1;
            child
        };
        let process = child.id();
        let output = child.wait_with_output()?;
        self.state().running.remove(&process);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!said.contains("mistake in `store` itself"), "it panics: {said}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(if output.status.success() { Ok(printed) } else { Err(said) })
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        self.world.write(name, contents).map_err(anyhow::Error::msg)
    }
}

impl fmt::Display for Mix<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let counts: Vec<String> =
            state.counts.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        write!(
            formatter,
            "a mix of {} (what was told to be valid was looked for {} times)",
            counts.join(", "),
            state.checked
        )
    }
}

fn derivation(name: &str, script: &str, inputs: &str) -> String {
    format!(
        r#"{{ "name": "{name}", "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", {script:?}],
             "env": {{ "PATH": "/bin" }}, "inputSrcs": [], "inputDrvs": {{ {inputs} }}, "outputs": {{ "out": {{}} }} }}"#
    )
}
