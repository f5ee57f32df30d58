//! Ways out of a sandbox that were published for other builders and container runtimes, each tried from inside a
//! build. The table of them all, with the tests in other modules, is in the documentation of the crate `sandbox`.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::scene::{Scene, is_root, say, text};

const SOURCE: &str = include_str!("../fixtures/programs/escape.c");

/// A scene whose builds can run the program of attempts as `/probe`.
pub(crate) struct Attempts {
    pub(crate) scene: Scene,
    shown: String,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        let scene = Scene::new();
        let shown = format!("/dev /proc /probe={}", scene.c_program("escape", SOURCE));
        Self { scene, shown }
    }

    pub(crate) fn write(&self, name: &str, script: &str, inputs: &[&str]) -> String {
        self.scene.write(&format!("{name}.json"), json(name, "/bin/sh", &["-c", script], inputs))
    }

    pub(crate) fn arguments<'a>(&'a self, file: &'a str) -> [&'a str; 6] {
        ["build", "--no-link", "--option", "build-chroot-dirs", &self.shown, file]
    }

    /// What a script writes to `$out`.
    pub(crate) fn seen(&self, script: &str, inputs: &[&str]) -> String {
        let file = self.write("attempt", script, inputs);
        let path = self.scene.ok(&self.arguments(&file));
        fs::read_to_string(self.scene.real(&path)).unwrap()
    }

    /// What is said about a script whose build has to fail.
    fn refused(&self, script: &str) -> String {
        let file = self.write("refused", script, &[]);
        self.scene.fails(1, &self.arguments(&file))
    }

    /// Starts the build of a script and waits until it prints `word`.
    pub(crate) fn until(&self, name: &str, script: &str, word: &str) -> (Child, BufReader<ChildStderr>) {
        let file = self.write(name, script, &[]);
        let mut command = self.scene.command(&self.arguments(&file));
        let mut store = command.arg("-L").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(store.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the build of {name} never says {word}");
        }
        (store, said)
    }

    /// A file of the host that no build may touch, and what it looks like.
    fn victim(&self) -> (PathBuf, impl Fn() -> (String, u32, u32, i64) + use<>) {
        let path = self.scene.path("victim");
        fs::write(&path, "untouched").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let looked_at = path.clone();
        (path, move || {
            let metadata = fs::metadata(&looked_at).unwrap();
            (fs::read_to_string(&looked_at).unwrap(), metadata.mode(), metadata.uid(), metadata.mtime_nsec())
        })
    }
}

fn json(name: &str, builder: &str, arguments: &[&str], inputs: &[&str]) -> String {
    format!(
        r#"{{ "name": {name:?}, "system": "x86_64-linux", "builder": {builder:?}, "args": {arguments:?},
             "env": {{}}, "inputSrcs": {inputs:?}, "inputDrvs": {{}}, "outputs": {{ "out": {{}} }} }}"#
    )
}

/// What a build finds that looks for other processes.
pub(crate) const ALONE: &str = "seen 0, signalled 0, traced 0, read 0, compared 0\n";

/// A number for names that tests running at the same time must not share.
fn unique() -> u32 {
    20_000 + std::process::id() % 20_000
}

#[test]
fn inputs_cannot_be_changed_or_linked() {
    let attempts = Attempts::new();
    let source = attempts.scene.write("source", "of the host");
    let input = attempts.scene.ok(&["add", &source]);
    let before = fs::metadata(attempts.scene.real(&input)).unwrap();
    let seen =
        attempts.seen(&format!("/probe input {input} /nix/store/taken > $out; echo > /dev/null"), &[&input]);
    for line in seen.lines() {
        assert!(!line.ends_with(": ok"), "{seen}");
    }
    assert_eq!(seen.lines().count(), 12, "{seen}");
    // Opening asks for permission first; as root, the builder is not the owner.
    for step in ["chmod", "chown", "touch"] {
        assert!(seen.contains(&format!("{step}: EROFS\n")), "{seen}");
    }
    let after = fs::metadata(attempts.scene.real(&input)).unwrap();
    assert_eq!(
        (before.nlink(), before.mode(), before.ctime_nsec()),
        (after.nlink(), after.mode(), after.ctime_nsec())
    );
    assert_eq!(fs::read_to_string(attempts.scene.real(&input)).unwrap(), "of the host");
}

#[test]
fn nothing_lies_above_the_root() {
    let seen = Attempts::new().seen("/probe root > $out", &[]);
    for refused in ["chroot", "mknod", "mknod char", "open by handle", "setns"] {
        let told = seen.lines().find_map(|line| line.strip_prefix(&format!("{refused}: "))).unwrap();
        assert_ne!(told, "ok", "{seen}");
    }
    assert!(seen.contains("above the root: the root\nroot of the first process: the root\n"), "{seen}");
}

#[test]
fn descriptors_and_the_directory_of_the_caller_do_not_leak() {
    let attempts = Attempts::new();
    let file = attempts.write("leaked", "/probe descriptors > $out", &[]);
    let usual = attempts.scene.command(&attempts.arguments(&file));
    let mut leaking = Command::new(attempts.scene.path("escape"));
    leaking.arg("leak").arg(usual.get_program()).args(usual.get_args()).env_clear();
    leaking.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = leaking.current_dir(attempts.scene.path("")).stdin(Stdio::null()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let path = String::from_utf8(run.stdout).unwrap();
    let seen = fs::read_to_string(attempts.scene.real(path.trim_end())).unwrap();
    assert_eq!(seen, "directory: /build\n");
}

#[test]
fn no_other_process_can_be_seen_signalled_or_traced() {
    let seen = Attempts::new().seen("/probe processes > $out", &[]);
    assert_eq!(seen, ALONE);
}

#[test]
fn two_builds_at_once_cannot_meet() {
    let attempts = Attempts::new();
    let (name, port) = (format!("store-met-{}", unique()), unique());
    let (mut offering, mut rest) =
        attempts.until("offer", &format!("/probe offer {name} {port}; echo > $out"), "offered");
    // A process of the host cannot come in either.
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    assert!(UnixStream::connect_addr(&address).is_err(), "the host reached a socket of a build");
    assert_eq!(attempts.seen(&format!("/probe meet {name} {port} > $out"), &[]), "met 0\n");
    rest.read_to_end(&mut Vec::new()).unwrap();
    assert!(offering.wait().unwrap().success());
}

#[test]
fn sockets_of_the_host_cannot_be_reached() {
    let attempts = Attempts::new();
    let name = format!("store-host-{}", unique());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    assert_eq!(attempts.seen(&format!("/probe meet {name} {port} > $out"), &[]), "met 0\n");
}

#[test]
fn what_a_build_left_running_writes_nothing_after_its_end() {
    let attempts = Attempts::new();
    let file = attempts.write("haunted", "/probe haunt $out", &[]);
    let path = attempts.scene.ok(&attempts.arguments(&file));
    let size = || fs::metadata(attempts.scene.real(&path)).unwrap().len();
    let before = size();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
    attempts.scene.ok(&["verify", "--contents"]);
}

#[test]
fn outputs_that_are_no_files_are_refused_by_name() {
    let attempts = Attempts::new();
    for (kind, script) in [
        ("fifo", "/probe fifo $out"),
        ("fifo", "/probe deep $out 0; /probe fifo $out/inside"),
        ("socket", "/probe socket $out"),
    ] {
        let said = attempts.refused(script);
        assert!(said.contains("/nix/store/") || said.contains("-refused"), "{kind}: {said}");
        assert!(said.contains("regular file"), "{kind}: {said}");
    }
    assert!(attempts.refused(":").contains("did not make its output"));
    attempts.scene.ok(&["verify", "--contents"]);
}

#[test]
fn a_deep_output_exhausts_no_stack() {
    let attempts = Attempts::new();
    let file = attempts.write("deep", "/probe deep $out 1500", &[]);
    let run = attempts.scene.run(&attempts.arguments(&file));
    assert!(matches!(run.code, Some(0 | 100)), "{:?}: {}", run.code, run.stderr);
    if run.code == Some(0) {
        attempts.scene.ok(&["verify", "--contents"]);
        attempts.scene.ok(&["delete", run.stdout.trim_end()]);
    }
}

#[test]
fn an_output_that_points_at_a_file_of_the_host_changes_nothing_there() {
    let attempts = Attempts::new();
    let (victim, look) = attempts.victim();
    let before = look();
    let script =
        format!("/probe deep $out 1; /probe symlink {} $out/link; /probe symlink .. $out/up", text(&victim));
    let file = attempts.write("pointing", &script, &[]);
    let tree = attempts.scene.ok(&attempts.arguments(&file));
    assert_eq!(fs::read_link(attempts.scene.real(&tree).join("link")).unwrap(), victim);
    let file = attempts.write("link", &format!("/probe symlink {} $out", text(&victim)), &[]);
    let link = attempts.scene.ok(&attempts.arguments(&file));
    assert_eq!(fs::read_link(attempts.scene.real(&link)).unwrap(), victim);
    attempts.scene.ok(&["verify", "--contents"]);
    attempts.scene.ok(&["delete", &tree, &link]);
    assert_eq!(look(), before);
}

#[test]
fn a_kept_build_directory_leads_nowhere_else() {
    let attempts = Attempts::new();
    let (victim, look) = attempts.victim();
    let before = look();
    let script = format!("/probe symlink {} link; /probe symlink / root; exit 1", text(&victim));
    let file = attempts.write("kept", &script, &[]);
    attempts.scene.fails(100, &[&attempts.arguments(&file)[..], &["--keep-failed"]].concat());
    assert_eq!(look(), before);
}

/// Whoever can write to the store directory, a builder without isolation for one, can guess these names.
#[test]
fn symlinks_planted_at_guessable_names_are_not_followed() {
    let attempts = Attempts::new();
    let (victim, look) = attempts.victim();
    let directory = attempts.scene.path("directory");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "untouched").unwrap();
    let file = attempts.write("planted", "echo made > $out", &[]);
    let output = attempts.scene.ok(&attempts.arguments(&file));
    let drv = attempts.scene.ok(&["derivation", "add", &file]);
    attempts.scene.ok(&["delete", &output]);
    let before = look();
    for (name, target) in [
        (output.clone(), &directory),
        (format!("{output}.lock"), &victim),
        (format!("{drv}.chroot"), &directory),
        (format!("{output}.tmp"), &directory),
    ] {
        let planted = attempts.scene.real(&name);
        if planted.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(&planted).unwrap();
        }
        symlink(target, &planted).unwrap();
        let run = attempts.scene.run(&attempts.arguments(&file));
        assert_eq!(look(), before, "{name}: {}", run.stderr);
        assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "untouched", "{name}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "{name}");
        if run.code == Some(0) {
            assert_eq!(fs::read_to_string(attempts.scene.real(&output)).unwrap(), "made\n", "{name}");
            attempts.scene.ok(&["delete", &output]);
        } else {
            assert!(run.stderr.contains(planted.file_name().unwrap().to_str().unwrap()), "{}", run.stderr);
        }
        let _ = fs::remove_file(planted);
    }
}

/// A directory that becomes a symlink between being looked at and being deleted (CVE-2025-46415).
#[test]
fn deleting_while_directories_turn_into_symlinks_stays_inside() {
    let scene = Scene::new();
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    for number in 0..50 {
        fs::write(outside.join(number.to_string()), "kept").unwrap();
    }
    let tree = scene.path("tree");
    fs::create_dir_all(tree.join("dir")).unwrap();
    fs::write(tree.join("dir/file"), "x").unwrap();
    for _ in 0..8 {
        let path = scene.ok(&["add", &text(&tree)]);
        let real = scene.real(&path);
        fs::set_permissions(&real, Permissions::from_mode(0o755)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = fs::rename(real.join("dir"), real.join("aside"));
                    let _ = symlink(&outside, real.join("dir"));
                    let _ = fs::remove_file(real.join("dir"));
                    let _ = fs::rename(real.join("aside"), real.join("dir"));
                }
            });
            scene.run(&["delete", &path]);
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 50);
        let _ = fs::set_permissions(&real, Permissions::from_mode(0o755));
        scene.run(&["delete", &path]);
    }
}

#[test]
fn symlinks_inside_inputs_are_shown_not_followed() {
    let attempts = Attempts::new();
    let source = attempts.scene.path("hostile");
    fs::create_dir(&source).unwrap();
    for (name, target) in [("dev", "/etc"), ("proc", "/usr"), ("self", "/")] {
        symlink(target, source.join(name)).unwrap();
    }
    let input = attempts.scene.ok(&["add", &text(&source)]);
    let look = format!(
        "for d in {input}/dev/passwd {input}/proc/bin {input}/self/usr; do [ -e $d ] && echo $d; done > $out; :"
    );
    assert_eq!(
        attempts.seen(&look, &[&input]),
        format!("{input}/dev/passwd\n"),
        "the sandbox's own /etc is all it finds"
    );
    // What is shown below such a link would land wherever it points.
    let shown = format!("{} {input}/dev/taken={}", attempts.shown, text(attempts.scene.path("home")));
    let file = attempts.write("below", "echo > $out", &[&input]);
    let said =
        attempts.scene.fails(100, &["build", "--no-link", "--option", "build-chroot-dirs", &shown, &file]);
    assert!(said.contains(&format!("{input}/dev")), "{said}");
}

/// CVE-2019-5736: until it has become the builder, a process of the sandbox is this program.
#[test]
fn this_program_is_no_builder() {
    let attempts = Attempts::new();
    let script = attempts.scene.program("script", "#!/proc/self/exe\n");
    let input = attempts.scene.ok(&["add", &script]);
    for (builder, inputs) in [("/proc/self/exe", vec![]), ("/proc/1/exe", vec![]), (&*input, vec![&*input])] {
        let file = attempts.scene.write("self.json", json("self", builder, &["doctor"], &inputs));
        let said = attempts.scene.fails(100, &attempts.arguments(&file));
        assert!(said.contains("/exe`: Too many levels of symbolic links"), "{said}");
    }
}

/// Mounts of the host made while a build runs do not spread into it, nor the other way round.
#[test]
fn mounts_do_not_spread() {
    if !is_root() {
        say("skipped: only root can mount on the host");
        return;
    }
    let attempts = Attempts::new();
    let shown = attempts.scene.path("shown");
    fs::create_dir_all(shown.join("sub")).unwrap();
    fs::write(shown.join("sub/file"), "first").unwrap();
    let attempts = Attempts { shown: format!("{} /shown={}", attempts.shown, text(&shown)), ..attempts };
    let script = "echo started; while [ ! -e /shown/go ]; do :; done; echo seen; read -r line < /shown/sub/file; echo $line > $out";
    let (mut store, mut rest) = attempts.until("spread", script, "started");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "none"]).arg(shown.join("sub")).status().unwrap();
    assert!(mounted.success());
    fs::write(shown.join("go"), "").unwrap();
    let mut said = String::new();
    rest.read_to_string(&mut said).unwrap();
    let ended = store.wait().unwrap();
    assert!(Command::new("umount").arg(shown.join("sub")).status().unwrap().success());
    assert!(ended.success(), "the host's mount hid the file from the build: {said}");
}
