//! What becomes valid is on disk first: seen in the system calls of adding and building.
//!
//! Of each file below a new path, and of each directory with what is in it, a flush comes after the last change and before
//! the first byte of the commit; the commit is flushed before the path is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{Scene, has, shell_derivation, text};

/// What is traced, as far as the kernel knows it.
const CALLS: &str = "trace=?write,?pwrite64,?writev,?pwritev,?pwritev2,?copy_file_range,?sendfile,?splice,?ftruncate,\
    ?truncate,?fallocate,?rename,?renameat,?renameat2,?link,?linkat,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?symlink,\
    ?symlinkat,?open,?openat,?openat2,?creat,?fsync,?fdatasync,?syncfs,?sync";

/// A system call that has succeeded, at its place in the order in which they ended.
struct Call {
    name: String,
    arguments: String,
}

impl Call {
    /// Parses the trace of several processes, where a call that another one interrupts is told in two pieces.
    fn all(trace: &str) -> Vec<Self> {
        let (mut calls, mut begun) = (Vec::new(), Vec::<(&str, &str)>::new());
        for line in trace.lines() {
            let Some((process, told)) = line.split_once(' ') else { continue };
            let told = told.trim_start();
            if let Some(told) = told.strip_suffix(" <unfinished ...>") {
                begun.push((process, told));
                continue;
            }
            let whole = match told.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                None => told.to_owned(),
                Some((_, end)) => {
                    let Some(place) = begun.iter().position(|(other, _)| *other == process) else { continue };
                    format!("{}{end}", begun.swap_remove(place).1)
                }
            };
            if let Some((name, rest)) = whole.split_once('(')
                && let Some((arguments, result)) = rest.rsplit_once(" = ")
                && !result.starts_with('-')
            {
                calls.push(Self { name: name.to_owned(), arguments: arguments.to_owned() });
            }
        }
        calls
    }

    fn is_flush(&self) -> bool {
        ["fsync", "fdatasync", "syncfs", "sync"].contains(&self.name.as_str())
    }

    fn is_write(&self) -> bool {
        let writes = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate"];
        writes.contains(&self.name.as_str()) || self.copies()
    }

    fn copies(&self) -> bool {
        ["copy_file_range", "sendfile", "splice"].contains(&self.name.as_str())
    }

    /// Whether a descriptor of it is of this file; `end` begins with a slash.
    fn is_on(&self, end: &str) -> bool {
        self.arguments.contains(&format!("{end}>"))
    }

    /// Whether it makes, moves or removes the file, by whatever name of its directory.
    fn names(&self, directory: &str, name: &str) -> bool {
        let changes = ["rename", "link", "unlink", "mkdir", "rmdir", "symlink", "creat"];
        let is_change = changes.iter().any(|change| self.name.starts_with(change))
            || self.name.starts_with("open") && self.arguments.contains("O_CREAT");
        let by_name = self.arguments.contains(&format!("{directory}/{name}\""));
        is_change && (by_name || self.is_on(directory) && self.arguments.contains(&format!("\"{name}\"")))
    }
}

/// What has to be flushed of a file or directory, and where the trace says so.
struct Order<'a> {
    calls: &'a [Call],
    /// The first byte of the commit that makes the path valid.
    commit: usize,
}

impl Order<'_> {
    fn flushed_after(&self, last: usize, end: &str, whole: &str) {
        let is_flush = |call: &Call| {
            call.is_flush()
                && (call.name == "sync" || call.name == "syncfs" && call.is_on(whole) || call.is_on(end))
        };
        let flushed = self.calls[last..self.commit].iter().any(is_flush);
        assert!(flushed, "`{end}` is not flushed between its last change and the commit");
    }

    /// Checks the file or directory at `place`, whose names end with `end`, and all below it.
    fn check(&self, place: &Path, end: &str, whole: &str) {
        let metadata = fs::symlink_metadata(place).unwrap();
        let before = &self.calls[..self.commit];
        if metadata.is_file() {
            let written = before.iter().rposition(|call| call.is_write() && call.is_on(end));
            self.flushed_after(written.unwrap_or_else(|| panic!("nobody wrote `{end}`")), end, whole);
        } else if metadata.is_dir() {
            for entry in fs::read_dir(place).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let made = before.iter().rposition(|call| call.names(end, &name));
                self.flushed_after(made.unwrap_or_else(|| panic!("nobody made `{end}/{name}`")), end, whole);
                self.check(&entry.path(), &format!("{end}/{name}"), whole);
            }
        }
        // Symlinks are part of their directory.
    }
}

/// Runs a command; returns what it printed, and what it did in which order.
fn traced(scene: &Scene, arguments: &[&str]) -> (String, Vec<Call>) {
    let trace = scene.path("trace");
    let program = scene.command(arguments);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s", "4096", "-e", "signal=none", "-e", CALLS, "-o"]).arg(&trace);
    strace.arg(program.get_program()).args(program.get_args());
    strace.env_clear().current_dir(program.get_current_dir().unwrap());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    (printed, Call::all(&fs::read_to_string(&trace).unwrap()))
}

/// Runs a command that makes one path, and looks at what it did in which order.
fn look(scene: &Scene, arguments: &[&str]) {
    let (path, calls) = traced(scene, arguments);
    let store = text(scene.root().join("nix/store"));
    let is_commit = |call: &Call| call.is_write() && call.is_on("/nix/var/nix/db/db.sqlite-wal");
    let commit = calls.iter().position(is_commit).expect("something is committed");
    let order = Order { calls: &calls, commit };
    let base = path.strip_prefix("/nix/store/").unwrap();
    order.check(&scene.real(&path), &format!("/{base}"), &store);
    let placed = calls[..commit].iter().rposition(|call| call.names(&store, base)).expect("it is put there");
    order.flushed_after(placed, &store, &store);
    let last = calls.iter().rposition(is_commit).unwrap();
    let flushed = calls[last..].iter().position(|call| call.is_flush() && call.is_on("/db/db.sqlite-wal"));
    let printed = calls[last..]
        .iter()
        .position(|call| call.name == "write" && call.arguments.contains(&format!("{path}\\n")));
    assert!(
        flushed.unwrap() < printed.expect("the path is printed"),
        "the commit is flushed before anybody is told"
    );
}

fn tree(scene: &Scene, name: &str, files: usize) -> PathBuf {
    let tree = scene.path(name);
    fs::create_dir_all(tree.join("inside")).unwrap();
    for file in 0..files {
        fs::write(tree.join(format!("inside/{file}")), format!("{name} {file}\n")).unwrap();
    }
    std::os::unix::fs::symlink("inside", tree.join("link")).unwrap();
    tree
}

#[test]
fn what_is_added_is_flushed_before_it_is_committed() {
    if !has("strace") {
        return;
    }
    let scene = Scene::new();
    // A store that is there already, so that nothing else is committed.
    scene.ok(&["add", &scene.write("other", "other")]);
    // One flush for each file, and one for the whole file system.
    for (name, files) in [("few", 3), ("many", 40)] {
        let tree = text(tree(&scene, name, files));
        look(&scene, &["add", &tree]);
    }
    let recipe = scene.write("text.json", shell_derivation("text", "x"));
    look(&scene, &["derivation", "add", &recipe]);
}

#[test]
fn what_is_built_is_flushed_before_it_is_committed() {
    if !has("strace") {
        return;
    }
    let scene = Scene::new();
    for (name, script) in [
        ("file", "echo a > $out; echo b >> $out"),
        ("large", "n=0; while [ $n -lt 3000 ]; do echo $n; n=$((n+1)); done > $out"),
    ] {
        let drv = scene.ok(&["derivation", "add", &scene.write("x.json", shell_derivation(name, script))]);
        look(&scene, &["build", "--quiet", "--no-link", &drv]);
    }
}

#[test]
fn what_is_being_linked_is_written_down_and_flushed_before() {
    if !has("strace") {
        return;
    }
    let scene = Scene::new();
    for name in ["one", "two"] {
        scene.ok(&["add", &text(tree(&scene, name, 0))]);
        fs::write(scene.path(name).join("inside/same"), "the same in both").unwrap();
        scene.ok(&["add", &text(scene.path(name))]);
    }
    let (_, calls) = traced(&scene, &["optimise"]);
    let first = calls
        .iter()
        .position(|call| {
            call.name.starts_with("rename") && call.arguments.contains(&text(scene.root().join("nix/store")))
        })
        .expect("a file is replaced");
    let told = calls[..first]
        .iter()
        .rposition(|call| call.is_write() && call.arguments.contains("/temproots/"))
        .unwrap();
    let is_flushed =
        |end: &str| calls[told..first].iter().any(|call| call.is_flush() && call.arguments.contains(end));
    assert!(
        is_flushed("/temproots/") && is_flushed("/temproots>"),
        "after a power cut nobody knows what was open"
    );
}

#[test]
fn what_a_temporary_root_keeps_is_gone_before_the_root() {
    if !has("strace") {
        return;
    }
    let scene = Scene::new();
    let recipe = scene.write("x.json", shell_derivation("x", "echo > $out"));
    let (_, calls) = traced(&scene, &["build", "--quiet", "--no-link", &recipe]);
    let last = |is_wanted: &dyn Fn(&Call) -> bool| calls.iter().rposition(is_wanted).expect("it is removed");
    let removes = |call: &Call| call.name.starts_with("unlink") || call.name == "rmdir";
    let scratch = last(&|call| removes(call) && call.arguments.contains(".chroot"));
    let root = last(&|call| removes(call) && call.arguments.contains("/temproots/"));
    assert!(scratch < root, "a collector of Nix's takes the scratch directory away while it goes");
}
