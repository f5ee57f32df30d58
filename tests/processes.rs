//! Looking at the processes and mounts of this machine, and killing those of one test.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::scene::{Run, Scene, text};

/// Longer than anything takes that comes at once on a machine that does nothing else: these tests run beside others.
/// Who waits for it waits no longer than it takes.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A run of the program that has not ended. Dropping it kills what is left of it.
pub(crate) struct Running<'a> {
    child: Option<Child>,
    _scene: &'a Scene,
}

impl<'a> Running<'a> {
    pub(crate) fn start(scene: &'a Scene, arguments: &[&str]) -> Self {
        let mut command = scene.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child: Some(child), _scene: scene }
    }

    /// Starts one that says everything to a file.
    pub(crate) fn start_telling(scene: &'a Scene, arguments: &[&str], file: &File) -> Self {
        let [stdout, stderr] = [(); 2].map(|()| file.try_clone().unwrap());
        let child = scene.command(arguments).stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { child: Some(child), _scene: scene }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Kills the program and those processes.
    pub(crate) fn kill_all(&mut self, others: &[u32]) {
        kill(&[&[self.id()], others].concat());
        self.child.take().unwrap().wait().unwrap();
    }

    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        within(limit, || self.child.as_mut().unwrap().try_wait().unwrap().is_some())
    }

    pub(crate) fn wait(&mut self) -> Run {
        self.child.take().unwrap().wait_with_output().unwrap().into()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills processes as if at once: none can do anything about the death of another.
pub(crate) fn kill(processes: &[u32]) {
    for signal in ["STOP", "KILL"] {
        let mut command = Command::new("kill");
        // Some may have ended meanwhile, which it complains about.
        command.args(["-s", signal]).args(processes.iter().map(u32::to_string)).stderr(Stdio::null());
        command.status().unwrap();
    }
}

/// Returns every process, as its number.
fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the parent of a process, unless it is gone.
pub(crate) fn parent(process: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the children of a process.
pub(crate) fn children(process: u32) -> Vec<u32> {
    all().filter(|child| parent(*child) == Some(process)).collect()
}

/// Returns everything that a process has started and that is still there.
pub(crate) fn descendants(process: u32) -> Vec<u32> {
    let mut found = children(process);
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

/// Returns a process, given as its directory, and its parents, as numbers.
pub(crate) fn ancestors(directory: &str) -> Vec<u32> {
    let first = directory.rsplit('/').next().and_then(|number| number.parse().ok());
    std::iter::successors(first, |process| parent(*process).filter(|parent| *parent > 1)).collect()
}

/// Returns the directories in `/proc` of the processes whose arguments contain a word.
pub(crate) fn processes(word: &str) -> Vec<String> {
    let has = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    };
    all().filter(has).map(|process| format!("/proc/{process}")).collect()
}

/// Waits until something holds, and returns whether it does.
pub(crate) fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if holds() {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    holds()
}

/// Returns where the host's mount table has something below the directory of a test.
pub(crate) fn mounts_below(scene: &Scene) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let own = text(scene.path(""));
    let targets = table.lines().filter_map(|line| line.split(' ').nth(1));
    targets.filter(|target| target.starts_with(&own)).map(str::to_owned).collect()
}
