//! Somebody at a terminal: types, reads, and looks at what is left.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, ttyname};
use test_support::fixture;

use crate::scene::{Scene, text};

/// As long is waited for what has to come; how long it takes is no matter.
const PATIENCE: Duration = Duration::from_secs(120);

/// A person at a terminal of 30 lines, with a program.
pub(crate) struct Person {
    terminal: OpenptyResult,
    before: Termios,
    program: Child,
    seen: String,
    /// The beginning of a character whose end did not come yet.
    rest: Vec<u8>,
    screen: avt::Terminal,
    /// All that was written to the terminal.
    written: String,
}

impl Person {
    /// Starts a program at a new terminal.
    pub(crate) fn with(scene: &Scene, command: &Command) -> Self {
        Self::at(scene, command, 30, 90)
    }

    /// Starts a program at a terminal of that size.
    pub(crate) fn at(scene: &Scene, command: &Command, rows: u16, columns: u16) -> Self {
        let terminal = open_terminal();
        set_size(&terminal, rows, columns);
        let before = tcgetattr(&terminal.slave).unwrap();
        let source = fs::read_to_string(fixture("programs/terminal.c")).unwrap();
        let mut login = Command::new(scene.c_program("terminal", &source));
        login.arg(ttyname(&terminal.slave).unwrap()).arg(command.get_program()).args(command.get_args());
        let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        login.env_clear().envs(environment).current_dir(scene.path(""));
        let program = login.stdin(Stdio::null()).spawn().unwrap();
        let screen = avt::Terminal::with_scrollback(columns.into(), rows.into(), None).unwrap();
        let (seen, written) = (String::new(), String::new());
        Self { terminal, before, program, seen, rest: Vec::new(), screen, written }
    }

    /// Types a line.
    pub(crate) fn types(&mut self, line: &str) {
        self.presses(&format!("{line}\r"));
    }

    /// Presses keys.
    pub(crate) fn presses(&mut self, keys: &str) {
        File::from(self.terminal.master.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until that stands on the screen, and returns what stood before it.
    pub(crate) fn sees(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + text.len());
                return before;
            }
            assert!(start.elapsed() < PATIENCE, "no `{text}` in: {}", self.seen);
            self.read();
        }
    }

    /// Reads what there is, or waits a little for more.
    fn read(&mut self) {
        let mut polled = [PollFd::new(self.terminal.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(100u8)).unwrap() > 0 {
            let mut buffer = [0; 4096];
            let length = File::from(self.terminal.master.try_clone().unwrap()).read(&mut buffer).unwrap();
            self.rest.extend_from_slice(&buffer[..length]);
            let whole = match std::str::from_utf8(&self.rest) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => self.rest.len(),
            };
            let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
            self.rest.drain(..whole);
            self.screen.feed(text.as_str());
            self.seen += &text;
            self.written += &text;
        }
    }

    /// Waits until the lines on the screen are such, and returns them.
    pub(crate) fn looks(&mut self, is_such: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let lines = trimmed(self.screen.primary_screen().visible_lines());
            if is_such(&lines) {
                return lines;
            }
            assert!(start.elapsed() < PATIENCE, "it does not come to look so: {lines:#?}");
            self.read();
        }
    }

    /// Reads for a while.
    pub(crate) fn watches(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            self.read();
        }
    }

    /// Returns the lines on the screen and above it, without empty ones at the end.
    pub(crate) fn screen(&self) -> Vec<String> {
        trimmed(self.screen.primary_screen().all_lines())
    }

    /// Returns all that was written to the terminal.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// Returns the number of the program.
    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    /// Sends a signal to the program.
    pub(crate) fn signals(&self, signal: Signal) {
        kill(Pid::from_raw(self.program.id() as i32), signal).unwrap();
    }

    /// Waits for the end of the program; returns its code and the rest of what it said.
    pub(crate) fn leaves(mut self) -> (Option<i32>, String) {
        let code = self.stays();
        (code, std::mem::take(&mut self.seen))
    }

    /// Waits for the end of the program, and returns its code; the screen stays.
    pub(crate) fn stays(&mut self) -> Option<i32> {
        let start = Instant::now();
        let status = loop {
            self.read();
            match self.program.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.seen),
            }
        };
        let mut polled = [PollFd::new(self.terminal.master.as_fd(), PollFlags::POLLIN)];
        while poll(&mut polled, PollTimeout::ZERO).unwrap() > 0 {
            self.read();
            polled = [PollFd::new(self.terminal.master.as_fd(), PollFlags::POLLIN)];
        }
        assert_eq!(tcgetattr(&self.terminal.slave).unwrap(), self.before, "the terminal is what it was");
        status.code()
    }

    /// Closes the terminal, and waits for the end of the program; returns its code.
    pub(crate) fn goes_away(mut self) -> Option<i32> {
        self.terminal.master = File::open("/dev/null").unwrap().into();
        let start = Instant::now();
        loop {
            match self.program.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(start.elapsed() < PATIENCE, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes the terminal that large.
    pub(crate) fn resizes(&mut self, rows: u16, columns: u16) {
        self.screen.resize(columns.into(), rows.into());
        set_size(&self.terminal, rows, columns);
    }

    /// Returns whether the terminal passes everything on.
    pub(crate) fn is_raw(&self) -> bool {
        tcgetattr(&self.terminal.slave).unwrap() != self.before
    }
}

/// Makes a terminal. No other process has it open by accident: it would not be closed with ours.
fn open_terminal() -> OpenptyResult {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut slave = File::options();
    slave.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let slave = slave.open(ptsname_r(&master).unwrap()).unwrap();
    OpenptyResult { master: master.into(), slave: slave.into() }
}

fn set_size(terminal: &OpenptyResult, rows: u16, columns: u16) {
    let stty = Command::new("stty")
        .args(["rows", &rows.to_string(), "columns", &columns.to_string()])
        .stdin(terminal.slave.try_clone().unwrap())
        .status();
    assert!(stty.unwrap().success());
}

/// The text of lines, without empty ones at the end.
fn trimmed<'a>(lines: impl Iterator<Item = &'a avt::Line>) -> Vec<String> {
    let mut lines: Vec<String> = lines.map(|line| line.text().trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Compiles what the tests run inside, and returns the options that show it to builds as `/inside`.
pub(crate) fn inside(scene: &Scene) -> [String; 3] {
    let source = fs::read_to_string(fixture("programs/inside.c")).unwrap();
    let program = scene.c_program("inside", &source);
    ["--option".to_owned(), "build-chroot-dirs".to_owned(), text(format!("/dev /proc /inside={program}"))]
}

impl Drop for Person {
    fn drop(&mut self) {
        // A test that has failed leaves it running.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
