//! A build and a process of the host that work together, and what the caller of `store` brings along.
//!
//! On the host's network (`fod-network = host`) the two can meet, at an abstract socket: the build comes to the host
//! where the kernel has no Landlock, and the host may come to the build everywhere.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::scene::{Run, Scene, is_root, say, text};

const SOURCE: &str = include_str!("../fixtures/programs/collude.c");

/// SHA-256 of one line end.
const LINE_END: &str = "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b";

/// SHA-256 of the archive of a directory with a directory `open`, in which is a `file` that is one line end.
const TREE: &str = "8569028ffcfe9ee0847c6da3373577bb1a700ce32812462e79d24ea179fcd82c";

/// A scene whose builds, and whose host, can run the colluding program.
struct Plot {
    scene: Scene,
    program: String,
    /// Where the two meet.
    name: String,
}

/// The host's half, which does its work once it is told to.
struct Colluder {
    child: Child,
    word: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Plot {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("store-plot-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scene = Scene::new();
        let program = scene.c_program("collude", SOURCE);
        Self { scene, program, name }
    }

    /// Starts the host's half.
    fn colluder(&self, how: &str, arguments: &[&str]) -> Colluder {
        let mut command = Command::new(&self.program);
        command.args([how, &self.name]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (word, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Colluder { child, word, said }
    }

    /// Writes a fixed-output derivation; its output path depends on its name and hash alone.
    fn fixed(&self, file: &str, script: &str, algorithm: &str, hash: &str) -> String {
        let outputs = format!(r#""out": {{ "hashAlgo": {algorithm:?}, "hash": {hash:?} }}"#);
        self.write(file, script, &outputs)
    }

    fn write(&self, file: &str, script: &str, outputs: &str) -> String {
        let json = format!(
            r#"{{ "name": "plot", "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", {script:?}],
                 "env": {{}}, "inputSrcs": [], "inputDrvs": {{}}, "outputs": {{ {outputs} }} }}"#
        );
        self.scene.write(&format!("{file}.json"), json)
    }

    /// `store build` on the host's network, started by `wrapper` if there is one.
    fn build(&self, wrapper: Option<&str>, file: &str) -> Run {
        let shown = format!("/dev /proc /probe={}", self.program);
        let store = self.scene.command(&[
            "build",
            "--no-link",
            "--option",
            "build-chroot-dirs",
            &shown,
            "--option",
            "fod-network",
            "host",
            file,
        ]);
        self.wrapped(wrapper, store).output().unwrap().into()
    }

    fn wrapped(&self, wrapper: Option<&str>, store: Command) -> Command {
        let Some(wrapper) = wrapper else { return store };
        let mut command = Command::new(&self.program);
        command.arg(wrapper).arg(store.get_program()).args(store.get_args()).env_clear();
        command.envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.scene.path("")).stdin(Stdio::null());
        command
    }

    /// What an ordinary build writes to `$out`, its `store` started by `wrapper`.
    fn seen(&self, wrapper: Option<&str>, script: &str) -> String {
        let shown = format!("/dev /proc /probe={}", self.program);
        let file = self.write("seen", script, r#""out": {}"#);
        let store =
            self.scene.command(&["build", "--no-link", "--option", "build-chroot-dirs", &shown, &file]);
        let run: Run = self.wrapped(wrapper, store).output().unwrap().into();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        fs::read_to_string(self.scene.real(run.stdout.trim_end())).unwrap()
    }

    /// The ways to meet: who waits on the host's side, what `store` is started by, and what the build does.
    fn meetings() -> [(&'static str, Option<&'static str>, &'static str); 2] {
        [("listen", Some("without-landlock"), "connect"), ("connect", None, "listen")]
    }
}

impl Colluder {
    /// Waits until the other half has come, and been given or heard all.
    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim_end() != word {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "the colluder never says `{word}`");
        }
    }

    /// Tells it to do its work, and returns what came of it.
    fn act(mut self) -> String {
        self.word.write_all(b"x").unwrap();
        let mut text = String::new();
        self.said.read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        text
    }
}

/// CVE-2024-27297: a descriptor of an output outlives the build, in a process that the build handed it to.
#[test]
fn an_open_file_that_was_handed_out_changes_nothing_valid() {
    for (host, wrapper, build) in Plot::meetings() {
        let plot = Plot::new();
        let mut colluder = plot.colluder(host, &["keep-file"]);
        let script = format!("echo > $out; /probe {build} {} give $out", plot.name);
        let run = plot.build(wrapper, &plot.fixed("file", &script, "sha256", LINE_END));
        assert_eq!(run.code, Some(0), "{build}: {}", run.stderr);
        let real = plot.scene.real(run.stdout.trim_end());
        let before = fs::metadata(&real).unwrap();
        colluder.wait_for("received");
        // What it holds is a file that nobody reads any more.
        let done = colluder.act();
        assert!(done.contains("write: ok\n"), "{build}: the colluder had nothing to write to: {done}");
        let after = fs::metadata(&real).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "\n", "{build}");
        assert_eq!((before.ino(), before.mode(), before.ctime()), (after.ino(), after.mode(), after.ctime()));
        plot.scene.ok(&["verify", "--contents"]);
    }
}

#[test]
fn an_open_directory_that_was_handed_out_changes_nothing_valid() {
    for (host, wrapper, build) in Plot::meetings() {
        let plot = Plot::new();
        let mut colluder = plot.colluder(host, &["keep-directory"]);
        let script = format!("/probe tree $out; /probe {build} {} give-directory $out/open", plot.name);
        let run = plot.build(wrapper, &plot.fixed("tree", &script, "r:sha256", TREE));
        assert_eq!(run.code, Some(0), "{build}: {}", run.stderr);
        let real = plot.scene.real(run.stdout.trim_end());
        colluder.wait_for("received");
        let done = colluder.act();
        assert_eq!(done, "plant: ENOENT\nopen: ENOENT\nunlink: ENOENT\n", "{build}");
        assert_eq!(fs::read_to_string(real.join("open/file")).unwrap(), "\n");
        assert_eq!(fs::read_dir(real.join("open")).unwrap().count(), 1);
        plot.scene.ok(&["verify", "--contents"]);
    }
}

/// CVE-2025-52992, and what Guix found later: a build that fails must leave nothing that a later one takes for its own.
#[test]
fn what_a_failed_build_handed_out_is_not_what_the_next_one_makes() {
    let plot = Plot::new();
    let mut colluder = plot.colluder("connect", &["keep-file"]);
    let failing = format!("echo > $out; /probe listen {} give $out; exit 1", plot.name);
    let run = plot.build(None, &plot.fixed("failing", &failing, "sha256", LINE_END));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    colluder.wait_for("received");
    let left = fs::read_dir(plot.scene.root().join("nix/store")).unwrap().flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| text(name).ends_with("-plot")).collect();
    assert!(left.is_empty(), "{left:?}");
    let run = plot.build(None, &plot.fixed("made", "echo > $out", "sha256", LINE_END));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let done = colluder.act();
    assert!(done.contains("write: ok\n"), "the colluder had nothing to write to: {done}");
    assert_eq!(fs::read_to_string(plot.scene.real(run.stdout.trim_end())).unwrap(), "\n");
    plot.scene.ok(&["verify", "--contents"]);
}

/// A directory of the host that everybody may write to, with a file and a program.
fn open_house(plot: &Plot) -> String {
    let house = plot.scene.path("house");
    fs::create_dir(&house).unwrap();
    fs::write(house.join("victim"), "untouched").unwrap();
    plot.scene.copy_program("/bin/true", "house/program");
    for (name, mode) in [("victim", 0o666), ("program", 0o755), (".", 0o777)] {
        fs::set_permissions(house.join(name), Permissions::from_mode(mode)).unwrap();
    }
    text(house)
}

/// A fixed output that is wrong, so that the error shows what the script saw.
fn tell(plot: &Plot, script: &str) -> String {
    let script = format!("{script} > seen; while read -r line; do echo $line; done < seen; exit 1");
    let file = plot.fixed("tells", &script, "sha256", LINE_END);
    let run = plot.build(None, &file);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    run.stderr
}

/// The other direction, open wherever the host can come to a socket of the build.
#[test]
fn a_directory_that_was_handed_in_leads_nowhere() {
    if !has_landlock() {
        return;
    }
    let plot = Plot::new();
    let house = open_house(&plot);
    let mut colluder = plot.colluder("connect", &["give-directory", &house]);
    let said = tell(&plot, &format!("/probe listen {} lead", plot.name));
    colluder.child.wait().unwrap();
    assert!(said.contains("received"), "nothing was handed in: {said}");
    let tried: Vec<_> = said.lines().filter_map(|line| line.trim_start().split_once(": E")).collect();
    assert!(tried.len() >= 13, "{said}");
    assert!(!said.contains(": ok"), "{said}");
    assert_eq!(fs::read_to_string(Path::new(&house).join("victim")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(&house).unwrap().count(), 2);
}

/// A process of the host, by a descriptor that was handed in.
#[test]
fn a_process_that_was_handed_in_is_out_of_reach() {
    if !has_landlock() {
        return;
    }
    let plot = Plot::new();
    let mut stranger = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let mut colluder = plot.colluder("connect", &["give-process", &stranger.id().to_string()]);
    let said = tell(&plot, &format!("/probe listen {} take", plot.name));
    colluder.child.wait().unwrap();
    let alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(said.contains("received"), "nothing was handed in: {said}");
    for what in ["signal", "take a descriptor", "enter"] {
        assert!(said.contains(&format!("{what}: E")), "{said}");
    }
    assert!(alive, "{said}");
}

/// Whether this kernel has Landlock's scopes, with which all of a domain comes; says that a test is skipped if not.
fn has_landlock() -> bool {
    let plot = Plot::new();
    let output = Command::new(&plot.program).arg("landlock").output().unwrap();
    let version: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    if version < 6 {
        say(&format!("skipped: this needs version 6 of Landlock, this kernel has {version} (-1: none)"));
    }
    version >= 6
}

/// CVE-2025-52993: an entry of an output becomes something else while it is given its owner, mode and time. That each
/// step looks once more is tested where the steps are, in `local-store`; here it is somebody who does it.
#[test]
fn nothing_of_the_host_is_made_canonical() {
    if !is_root() {
        say("skipped: an ordinary user's builder is that user, who may change the same files without it");
        return;
    }
    let plot = Plot::new();
    let house = PathBuf::from(open_house(&plot));
    let victim = house.join("victim");
    chown(&victim, Some(61_234), Some(61_234)).unwrap();
    chown(&house, Some(61_234), Some(61_234)).unwrap();
    let look = || {
        [&victim, &house].map(|path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.mode(), metadata.mtime(), metadata.mtime_nsec())
        })
    };
    let before = look();
    for round in 0..4 {
        let (what, target) = [("files", text(&victim)), ("directories", text(&house))][round % 2].clone();
        let colluder = plot.colluder("connect", &["swap", &target]);
        let script =
            format!("/probe {what} $out {target}; /probe listen {} give-directory $out/open", plot.name);
        let run = plot.build(None, &plot.fixed("swapped", &script, "r:sha256", TREE));
        let done = colluder.act();
        assert_eq!(done, "received\nlink: EXDEV\nexchange: EXDEV\nexchanged\n", "{}", run.stderr);
        assert_eq!(look(), before, "round {round}, {what}: {}", run.stderr);
        assert_ne!(run.code, Some(0), "what somebody else changed became valid");
    }
}

/// CVE-2022-24769: capabilities that a program hands on, and groups.
#[test]
fn capabilities_and_groups_of_the_caller_are_not_inherited() {
    if !is_root() {
        say("skipped: only root has capabilities to hand on");
        return;
    }
    let script = "while read -r name value; do case $name in Cap*|Groups:|NoNewPrivs:) echo $name $value ;; esac; \
                  done < /proc/self/status > $out";
    let none = "0000000000000000";
    assert_eq!(
        Plot::new().seen(Some("capable"), script),
        format!(
            "Groups:\nCapInh: {none}\nCapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\nCapAmb: {none}\nNoNewPrivs: 1\n"
        )
    );
}

/// CVE-2019-5736, from the inside: the file of a running program, by every name that it has.
#[test]
fn no_program_of_the_host_is_overwritten() {
    let plot = Plot::new();
    let before = fs::read(&plot.program).unwrap();
    let seen = plot.seen(None, "/probe overwrite > $out");
    assert!(!seen.contains(": ok") && seen.ends_with("asked\n") && seen.lines().count() == 5, "{seen}");
    assert!(fs::read(&plot.program).unwrap() == before, "the program was changed");
}

#[test]
fn no_descriptor_of_this_program_is_a_builder() {
    let plot = Plot::new();
    let numbers = (0..20).map(|number| format!("/proc/self/fd/{number}"));
    let others = ["/dev/fd/5", "/proc/thread-self/exe", "/proc/self/root/proc/self/exe", "/proc/self/cwd/x"];
    for builder in numbers.chain(others.map(str::to_owned)) {
        let file = plot.write("builder", "", r#""out": {}"#);
        let json = fs::read_to_string(&file).unwrap().replace("/bin/sh", &builder);
        fs::write(&file, json).unwrap();
        let said = plot.scene.fails(100, &["build", "--no-link", &file]);
        assert!(said.contains(&format!("`{builder}`")), "{builder}: {said}");
    }
}

/// Keys belong to users, not to namespaces: an ordinary user's builds have the number of whoever has keys.
#[test]
fn keys_of_the_caller_cannot_be_had_by_number() {
    let plot = Plot::new();
    let shown = format!("/dev /proc /probe={}", plot.program);
    let mut command = Command::new(&plot.program);
    command.args(["with-keys", "/bin/sh", "-c", "echo $KEY $SESSION $KEYRING"]);
    let numbers = command.output().unwrap();
    if !numbers.status.success() {
        say("skipped: no keyrings here");
        return;
    }
    // The numbers are known only to who starts `store`, in the session that has the keys.
    let script = r#"
        json='{ "name": "keys", "system": "x86_64-linux", "builder": "/bin/sh",
                "args": ["-c", "/probe keys '"$KEY $SESSION $KEYRING"' > $out"],
                "env": {}, "inputSrcs": [], "inputDrvs": {}, "outputs": { "out": {} } }'
        echo "$json" > keys.json
        exec "$@""#;
    let store =
        plot.scene.command(&["build", "--no-link", "--option", "build-chroot-dirs", &shown, "keys.json"]);
    let mut command = Command::new(&plot.program);
    command
        .args(["with-keys", "/bin/sh", "-c", script, "sh"])
        .arg(store.get_program())
        .args(store.get_args());
    command.env("HOME", plot.scene.path("home")).current_dir(plot.scene.path("")).stdin(Stdio::null());
    let run: Run = command.output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let seen = fs::read_to_string(plot.scene.real(run.stdout.trim_end())).unwrap();
    assert_eq!(seen.lines().count(), 14, "{seen}");
    assert!(seen.lines().all(|line| line.ends_with(": ENOSYS")), "{seen}");
}
