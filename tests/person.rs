//! Somebody at a terminal: types, reads, and looks at what is left.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
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
}

impl Person {
    /// Starts a program at a new terminal.
    pub(crate) fn with(scene: &Scene, command: &Command) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let before = tcgetattr(&terminal.slave).unwrap();
        let source = fs::read_to_string(fixture("programs/terminal.c")).unwrap();
        let mut login = Command::new(scene.c_program("terminal", &source));
        login.arg(ttyname(&terminal.slave).unwrap()).arg(command.get_program()).args(command.get_args());
        let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        login.env_clear().envs(environment).current_dir(scene.path(""));
        let program = login.stdin(Stdio::null()).spawn().unwrap();
        Self { terminal, before, program, seen: String::new() }
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
            self.seen += &String::from_utf8_lossy(&buffer[..length]);
        }
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
        (status.code(), std::mem::take(&mut self.seen))
    }

    /// Makes the terminal that large.
    pub(crate) fn resizes(&self, rows: u16, columns: u16) {
        let stty = Command::new("stty")
            .args(["rows", &rows.to_string(), "columns", &columns.to_string()])
            .stdin(self.terminal.slave.try_clone().unwrap())
            .status();
        assert!(stty.unwrap().success());
    }

    /// Returns whether the terminal passes everything on.
    pub(crate) fn is_raw(&self) -> bool {
        tcgetattr(&self.terminal.slave).unwrap() != self.before
    }
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
