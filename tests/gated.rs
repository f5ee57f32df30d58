//! Builds that go on when a test lets them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};

use crate::processes::{SOON, within};
use crate::scene::{Scene, shell_derivation};

/// A derivation whose builder prints `here`, and goes on when somebody writes to the pipe `gate`.
pub(crate) struct Gated {
    pub(crate) scene: Scene,
    pub(crate) file: String,
    pub(crate) dirs: String,
}

impl Gated {
    pub(crate) fn new() -> Self {
        Self::with("echo here; read line < /gate; echo made > $out; echo there")
    }

    /// The same, with a builder that does something else at its `/gate`.
    pub(crate) fn with(script: &str) -> Self {
        let scene = Scene::new();
        let file = scene.write("gated.json", shell_derivation("gated", script));
        let gate = scene.path("gate");
        assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
        let dirs = format!("/dev /proc /gate={}", gate.display());
        Self { scene, file, dirs }
    }

    pub(crate) fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["build", "--no-link", &self.file, "--option", "build-chroot-dirs", &self.dirs], more].concat()
    }

    /// Starts a build whose output goes to the file `name`, and waits until it says `word`.
    pub(crate) fn start(&self, name: &str, word: &str, more: &[&str]) -> Saying<'_> {
        let mut command = self.scene.command(&self.arguments(more));
        self.run(name, word, &mut command)
    }

    /// Starts a command whose output goes to the file `name`, and waits until it says `word`.
    pub(crate) fn run(&self, name: &str, word: &str, command: &mut Command) -> Saying<'_> {
        let to = File::create(self.scene.path(name)).unwrap();
        let child = command.stdout(to.try_clone().unwrap()).stderr(to).spawn().unwrap();
        let saying = Saying { scene: &self.scene, name: name.to_owned(), child };
        assert!(saying.says(word), "{}", saying.said());
        saying
    }

    /// Lets the builder go on.
    pub(crate) fn open(&self) {
        open(&self.scene);
    }
}

/// Lets the builder go on that reads from the pipe `gate`.
pub(crate) fn open(scene: &Scene) {
    // Not if nobody reads.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut gate = None;
    let is_open = || {
        gate = File::options().write(true).custom_flags(flags).open(scene.path("gate")).ok();
        gate.is_some()
    };
    assert!(within(SOON, is_open), "no builder waits");
    gate.unwrap().write_all(b"\n").unwrap();
}

/// A run of the program whose output goes to a file, where it can be read meanwhile.
pub(crate) struct Saying<'a> {
    scene: &'a Scene,
    name: String,
    pub(crate) child: Child,
}

impl Saying<'_> {
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.scene.path(&self.name)).unwrap()
    }

    pub(crate) fn says(&self, word: &str) -> bool {
        within(SOON, || self.said().contains(word))
    }

    pub(crate) fn ends(mut self) -> (Option<i32>, String) {
        (self.child.wait().unwrap().code(), self.said())
    }
}
