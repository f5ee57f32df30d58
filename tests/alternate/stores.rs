//! The stores of a program, and how each of its steps is taken on them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::program::{Act, By, Reload, Step, Way};
use super::universe::Universe;
use super::{agree, harm};
use crate::scene::{Run, Scene, text};

/// What builds of both may use besides their inputs.
const PROGRAMS: &str = "/bin/sh=/bin/busybox /bin/busybox";

/// The first secret key of RFC 8032, with which paths are signed.
const SECRET: &str =
    "rfc-1:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";

/// The stores of one program.
pub(super) struct Stores {
    pub(super) scene: Scene,
    pub(super) universe: Universe,
    /// Derivations of which `store` has repaired something, and all that they need: what is known of that stays as it was,
    /// where Nix knows anew of all of it that it
    /// was built here, and what its contents were promised to be.
    pub(super) repaired: Mutex<BTreeSet<String>>,
}

/// A store of the scene.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    scene: &'a Scene,
    name: &'static str,
}

impl Stores {
    pub(super) fn new(seed: u64) -> Result<Self, String> {
        let scene = Scene::new();
        let universe = Universe::new(&scene, seed)?;
        scene.write("secret", SECRET);
        let stores = Self { scene, universe, repaired: Mutex::default() };
        // Both are there before one of the programs is asked about what is in them.
        for place in [stores.shared(), stores.twin(), stores.second("store"), stores.second("twin")] {
            place.nix("nix-store", &["--init"])?;
        }
        Ok(stores)
    }

    /// Returns the one that both use.
    pub(super) fn shared(&self) -> Place<'_> {
        Place::new(&self.scene, "store")
    }

    /// Returns the one that only Nix uses.
    pub(super) fn twin(&self) -> Place<'_> {
        Place::new(&self.scene, "twin")
    }

    /// Returns the store beside one, to which paths of that are carried.
    pub(super) fn second(&self, name: &str) -> Place<'_> {
        Place::new(&self.scene, if name == "twin" { "twins-second" } else { "second" })
    }

    /// Takes a step on both.
    pub(super) fn take(&self, step: &Step) -> Result<(), String> {
        let universe = &self.universe;
        let alone = || match *step {
            // A dump says less than is known of what is there. `store` forgets none of that, as Nix does.
            Step { by: By::Store, act: Act::Reload(Reload::Again, _) } => Ok(String::new()),
            Step { act: Act::Reload(into, _), .. } => {
                self.act(self.twin(), &Step { by: By::Nix, act: Act::Reload(into, By::Nix) })
            }
            Step { by: By::Store, act: Act::Repair(number, _) } => {
                let maker = universe.maker_of(&universe.paths[number % universe.paths.len()]);
                let closure = maker.iter().flat_map(|maker| maker.closure.iter().cloned());
                self.repaired.lock().unwrap().extend(closure);
                self.repair_alone(step)
            }
            _ => self.act(self.twin(), &Step { by: By::Nix, ..*step }),
        };
        let (shared, twin) = both(|| self.act(self.shared(), step), alone);
        match (&shared, &twin) {
            (Ok(ours), Ok(nixs)) if ours != nixs => {
                Err(format!("it printed {ours:?}, and Nix alone {nixs:?}"))
            }
            (Ok(_), Ok(_)) | (Err(_), Err(_)) => Ok(()),
            (Err(problem), Ok(_)) => Err(format!("only Nix can do that; here: {problem}")),
            (Ok(_), Err(problem)) => Err(format!("Nix alone cannot do that: {problem}")),
        }
    }

    /// Takes a step on one of them; returns what it printed, as far as both print the same.
    fn act(&self, place: Place<'_>, step: &Step) -> Result<String, String> {
        let universe = &self.universe;
        let any = |number: usize| universe.paths[number % universe.paths.len()].as_str();
        let silently = |result: Result<String, String>| result.map(|_| String::new());
        match (step.act, step.by) {
            (Act::Add(number), By::Nix) => place.nix("nix-store", &["--add", &universe.sources[number].file]),
            (Act::Add(number), By::Store) => place.store(&["add", &universe.sources[number].file]),
            (Act::Instantiate(number), by) => self.instantiate(place, by, number),
            (Act::Build(number), by) => {
                self.instantiate(place, by, number)?;
                self.build(place, by, &universe.derivations[number].path)
            }
            (Act::Root(link, number), by) => {
                place.unlink(link);
                let (link, thing) = (place.link(link), &universe.things[number % universe.things.len()]);
                silently(match by {
                    By::Nix => {
                        place.nix("nix-store", &["--realise", thing, "--add-root", &link, "--indirect"])
                    }
                    By::Store => place.store(&["root", "add", &link, thing]),
                })
            }
            (Act::Unroot(link), By::Store) if place.link_is_there(link) => {
                silently(place.store(&["root", "remove", &place.link(link)]))
            }
            (Act::Unroot(link), _) => {
                place.unlink(link);
                Ok(String::new())
            }
            // Where there is nothing, Nix deletes that without a word, and we say so.
            (Act::Delete(number), _) if !place.has(any(number)) => Ok(String::new()),
            // `nix-store --delete` takes a derivation for alive, under `keep-derivations`, as long as what it made is there, and
            // `store` only as long as a root needs that.
            (Act::Delete(number) | Act::Register(number), _) if self.has_outputs(place, any(number)) => {
                Ok(String::new())
            }
            (Act::Delete(number), By::Nix) => silently(place.nix("nix-store", &["--delete", any(number)])),
            (Act::Delete(number), By::Store) => silently(place.store(&["delete", any(number)])),
            (Act::Collect, By::Nix) => silently(place.nix("nix-store", &["--gc"])),
            (Act::Collect, By::Store) => silently(place.store(&["gc"])),
            (Act::Optimise, By::Nix) => silently(place.nix("nix-store", &["--optimise"])),
            (Act::Optimise, By::Store) => silently(place.store(&["optimise"])),
            (Act::Verify, By::Nix) => place.nix("nix-store", &["--verify", "--check-contents"]),
            (Act::Verify, By::Store) => place.store(&["verify", "--contents"]),
            (Act::Repair(number, harm), by) => {
                if !universe
                    .maker_of(any(number))
                    .is_some_and(|maker| place.has(&maker.path) && place.has(any(number)))
                {
                    return Ok(String::new());
                }
                harm::to(&place.real(any(number)), harm);
                silently(match by {
                    By::Nix => place.nix("nix-store", &["--verify", "--check-contents", "--repair"]),
                    By::Store => place.store(&[
                        "verify",
                        "--contents",
                        "--repair",
                        "--option",
                        "sandbox-paths",
                        PROGRAMS,
                    ]),
                })
            }
            (Act::Sign(number), by) => {
                let (key, thing) =
                    (text(self.scene.path("secret")), &universe.things[number % universe.things.len()]);
                silently(match by {
                    By::Nix => place.nix("nix", &["store", "sign", "-k", &key, thing]),
                    By::Store => place.store(&["sign", "-k", &key, thing]),
                })
            }
            (Act::Reload(into, dumped), by) => silently(place.reload(into, dumped, by)),
            (Act::Register(number), _) if !place.has(any(number)) => Ok(String::new()),
            (Act::Register(number), by) => silently(place.register(any(number), by)),
            (Act::Carry(way, number, to), by) => {
                let to = if place.name == "twin" { By::Nix } else { to };
                let second = self.second(place.name);
                match way {
                    Way::In => Place::new(&self.scene, "workshop").carry(any(number), by, &place, to),
                    Way::Out => place.carry(any(number), by, &second, to),
                    Way::Back => second.carry(any(number), by, &place, to),
                }
            }
        }
    }

    /// Has Nix repair what is harmed, and sign again what is repaired: it forgets signatures then, and `store` does not.
    fn repair_alone(&self, step: &Step) -> Result<String, String> {
        let signed = agree::signed(self.twin())?;
        let done = self.act(self.twin(), &Step { by: By::Nix, ..*step })?;
        let key = text(self.scene.path("secret"));
        for path in signed.iter().filter(|path| self.twin().has(path)) {
            self.twin().nix("nix", &["store", "sign", "-k", &key, path])?;
        }
        Ok(done)
    }

    /// Returns whether something is there that this derivation makes.
    fn has_outputs(&self, place: Place<'_>, path: &str) -> bool {
        let mut all = self.universe.derivations.iter();
        all.any(|one| one.path == path && one.outputs.iter().any(|output| place.has(output)))
    }

    fn instantiate(&self, place: Place<'_>, by: By, number: usize) -> Result<String, String> {
        let derivation = &self.universe.derivations[number];
        if by == By::Nix {
            return place.nix("nix-instantiate", &[&self.universe.expression, "-A", &format!("d{number}")]);
        }
        for source in &derivation.sources {
            place.store(&["add", &self.universe.sources[*source].file])?;
        }
        place.store(&["derivation", "add", &derivation.json])
    }

    fn build(&self, place: Place<'_>, by: By, drv: &str) -> Result<String, String> {
        let printed = match by {
            By::Nix => place.nix("nix-store", &["--realise", drv])?,
            By::Store => {
                place.store(&["build", "--no-link", "--quiet", drv, "--option", "sandbox-paths", PROGRAMS])?
            }
        };
        // In which order outputs are printed is each one's own business.
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.sort_unstable();
        Ok(lines.join("\n"))
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(scene: &'a Scene, name: &'static str) -> Self {
        Self { scene, name }
    }

    /// Runs a program of Nix on this store.
    pub(super) fn nix(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut result = finish(self.nix_command(program, arguments));
        // Nix gives up where a process of this machine, of another test say, is in a directory of a very long name.
        for _ in 0..50 {
            if !result.as_ref().is_err_and(|problem| problem.contains("reading symlink: File name too long"))
            {
                break;
            }
            thread::sleep(Duration::from_millis(200));
            result = finish(self.nix_command(program, arguments));
        }
        result
    }

    /// Without users to build as, a network, or the host's settings.
    fn nix_command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let home = self.scene.path("home");
        command.env("USER", "nobody").env("HOME", &home).env("NIX_CONF_DIR", &home).env(
            "NIX_CONFIG",
            format!(
                "experimental-features = nix-command\nbuild-users-group =\nsubstitute = false\nsubstituters =\n\
                 sandbox = true\nsandbox-paths = {PROGRAMS}\n"
            ),
        );
        command.arg("--store").arg(self.scene.path(self.name)).args(arguments);
        command
    }

    /// Runs our program on this store.
    pub(super) fn store(&self, arguments: &[&str]) -> Result<String, String> {
        finish(self.store_command(arguments))
    }

    fn store_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.scene.elsewhere();
        command.arg("--store").arg(self.scene.path(self.name)).args(arguments);
        command
    }

    /// Returns what is in the directory of the store, in order.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scene.path(self.name).join("nix/store")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Carries a path and all it needs into another store; returns how long the stream was.
    fn carry(&self, path: &str, by: By, to: &Place<'_>, with: By) -> Result<String, String> {
        let export = match by {
            By::Nix => {
                let needed = self.nix("nix-store", &["--query", "--requisites", path])?;
                let needed: Vec<&str> = needed.lines().collect();
                self.nix_command("nix-store", &[&["--export"], &needed[..]].concat())
            }
            By::Store => self.store_command(&["export", "--recursive", path]),
        };
        let stream = bytes(export, Stdio::null())?;
        let file = self.scene.write(&format!("{}.export", to.name), &stream);
        let import = match with {
            By::Nix => to.nix_command("nix-store", &["--import"]),
            By::Store => to.store_command(&["import"]),
        };
        bytes(import, File::open(file).unwrap().into())?;
        Ok(format!("a stream of {} bytes", stream.len()))
    }

    /// Has the database dumped, and loads that again, by whom it is said.
    fn reload(&self, into: Reload, dumped: By, by: By) -> Result<String, String> {
        let dump = match dumped {
            By::Nix => self.nix("nix-store", &["--dump-db"])?,
            By::Store => self.store(&["dump-db"])?,
        };
        if into == Reload::Lost {
            fs::remove_dir_all(self.scene.path(self.name).join("nix/var/nix/db")).unwrap();
        }
        self.load(&dump, by, &["load-db"])
    }

    /// Deletes a path, brings its files back, and has it registered.
    fn register(&self, path: &str, by: By) -> Result<String, String> {
        let record = self.nix("nix-store", &["--dump-db", path])?;
        let (place, kept) = (self.real(path), self.scene.path(format!("{}-kept", self.name)));
        harm::copy(&place, &kept);
        let deleted = match by {
            By::Nix => self.nix("nix-store", &["--delete", path]),
            By::Store => self.store(&["delete", path]),
        };
        if deleted.is_ok() {
            harm::copy(&kept, &place);
        }
        harm::remove(&kept);
        deleted?;
        // In a store that is elsewhere, `nix-store --register-validity` looks for the files where they are not.
        self.load(&record, by, &["register-validity", "--hash-given"])
    }

    /// Has a text of records read by Nix as a dump, or else by that command of `store`.
    fn load(&self, records: &str, by: By, ours: &[&str]) -> Result<String, String> {
        let end = if records.is_empty() { "" } else { "\n" };
        let file = self.scene.write(&format!("{}.records", self.name), format!("{records}{end}"));
        let command = match by {
            By::Nix => self.nix_command("nix-store", &["--load-db"]),
            By::Store => self.store_command(ours),
        };
        bytes(command, File::open(file).unwrap().into()).map(|_| String::new())
    }

    /// Returns where the files of a path are.
    fn real(&self, path: &str) -> PathBuf {
        self.scene.path(self.name).join(&path[1..])
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.real(path)).is_ok()
    }

    fn link(&self, number: usize) -> String {
        text(self.scene.path(format!("{}-link-{number}", self.name)))
    }

    fn link_is_there(&self, number: usize) -> bool {
        fs::symlink_metadata(self.link(number)).is_ok()
    }

    /// Gives up a root. In a store that is elsewhere than its paths say, Nix does not know that a link of ours is gone until
    /// `store` has collected, or has removed it itself.
    fn unlink(&self, number: usize) {
        let link = self.link(number);
        let is_ours = fs::read_link(&link).is_ok_and(|target| !target.starts_with("/nix/store"));
        if is_ours {
            self.store(&["root", "remove", &link]).unwrap();
        }
        let _ = fs::remove_file(link);
    }
}

/// Runs a command and returns what it printed, or else what it said.
fn finish(command: Command) -> Result<String, String> {
    let text = bytes(command, Stdio::null())?;
    Ok(String::from_utf8(text).unwrap().trim_end().to_owned())
}

/// Runs a command and returns what it wrote, or else what it said.
fn bytes(mut command: Command, input: Stdio) -> Result<Vec<u8>, String> {
    let output = command.stdin(input).output().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown: Vec<String> = words.map(|word| text(Path::new(word))).collect();
    let run: Run = output.into();
    Err(format!("`{}` ended with {:?}: {}{}", shown.join(" "), run.code, run.stdout, run.stderr))
}

/// Does two things at once.
pub(super) fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T) -> (T, T) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap(), other)
    })
}
