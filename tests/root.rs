//! `store root`, and what counts as a root.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::peer::{nix_store, nix_store_command};
use crate::running;
use crate::scene::{Run, Scene, derivation, has, has_nix, is_root, say, text};

/// Has something in the way that its first argument says, until it is killed.
///
/// With a third one a thread has it: after the first thread has `ended`, or with directory and descriptors `apart` from it.
const HOLDER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static int hold(const char *how, const char *what) {
    if (!strcmp(how, "open")) open(what, O_RDONLY);
    if (!strcmp(how, "cwd") && chdir(what)) return 1;
    if (!strcmp(how, "map")) {
        int file = open(what, O_RDONLY);
        if (mmap(0, 1, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED) return 1;
        close(file);
    }
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}
static pthread_t first;
static void *thread(void *given) {
    char **words = given;
    if (!strcmp(words[3], "ended") ? pthread_join(first, 0) : unshare(CLONE_FS | CLONE_FILES)) return 0;
    hold(words[1], words[2]);
    return 0;
}
int main(int count, char **words) {
    pthread_t other;
    if (count < 4) return hold(count > 2 ? words[1] : "", words[2]);
    first = pthread_self();
    if (pthread_create(&other, 0, thread, words)) return 1;
    if (!strcmp(words[3], "ended")) pthread_exit(0);
    for (;;) pause();
}"#;

/// A process that has something. Dropping it ends it.
struct Holder(Child);

impl Holder {
    fn start(command: &mut Command) -> Self {
        let mut child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut word).unwrap();
        assert_eq!(word, "ready\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Adds a directory with a file, and returns its path: one that no process of another test means.
fn add_tree(scene: &Scene) -> String {
    let _ = fs::create_dir(scene.path("tree"));
    scene.write("tree/file", text(scene.root()));
    scene.ok(&["add", &text(scene.path("tree"))])
}

fn json(scene: &Scene, arguments: &[&str]) -> Value {
    serde_json::from_str(&scene.run(&[arguments, &["--json"]].concat()).stdout).unwrap()
}

/// Starts a process, and expects the path to be kept by it, in that way, for as long as it runs.
#[track_caller]
fn check_process(scene: &Scene, path: &str, command: &mut Command, usage: &str, words: &str) {
    let holder = Holder::start(command);
    let id = holder.0.id();
    let said = scene.fails(1, &["delete", path]);
    assert!(said.contains(&format!("by process {id} (")) && said.contains(words), "{usage}: {said}");
    assert!(said.contains(&format!("`kill {id}`")), "{said}");
    let refused = json(scene, &["delete", path]);
    let is_it = |root: &Value| root["process"] == id && root["usage"] == usage;
    let roots = refused["kept"][0]["roots"].as_array().unwrap();
    assert!(roots.iter().any(|one| is_it(&one["root"]) && one["chain"][0] == path), "{usage}: {refused}");
    let listed = json(scene, &["root", "list", "--processes"]);
    assert!(
        listed.as_array().unwrap().iter().any(|one| one["path"] == path && is_it(&one["root"])),
        "{listed}"
    );
    assert!(scene.ok(&["root", "list"]).contains(&format!("process {id} (")));
    drop(holder);
    assert_eq!(json(scene, &["root", "list", "--processes"]).as_array().unwrap().len(), 0, "{usage}");
    assert!(scene.real(path).exists());
}

#[test]
fn whatever_a_process_has_is_kept_while_it_runs() {
    let scene = Scene::new();
    let holder = scene.c_program("holder", HOLDER);
    let path = add_tree(&scene);
    let (real, file) = (scene.real(&path), text(scene.real(&path).join("file")));
    let with = |words: &[&str]| {
        let mut command = Command::new(&holder);
        command.args(words);
        command
    };
    check_process(
        &scene,
        &path,
        &mut with(&["open", &file]),
        "open-file",
        &format!("the open file `{file}`"),
    );
    check_process(
        &scene,
        &path,
        &mut with(&["map", &file]),
        "mapped-file",
        &format!("the mapped file `{file}`"),
    );
    check_process(
        &scene,
        &path,
        &mut with(&["cwd", &text(&real)]),
        "working-directory",
        "its working directory",
    );
    for name in [text(&real), path.clone()] {
        let mut command = Command::new("env");
        command.arg(format!("PATH=/bin:{name}/bin")).args([&holder]);
        check_process(&scene, &path, &mut command, "environment", "its environment (`PATH`)");
    }
    let program = scene.ok(&["add", &holder]);
    let mut command = Command::new(scene.real(&program));
    check_process(&scene, &program, &mut command, "executable", "its executable");
    assert_eq!(scene.ok(&["delete", &path, &program]).lines().count(), 2);
}

#[test]
fn what_only_a_thread_has_is_kept_too() {
    let scene = Scene::new();
    let holder = scene.c_program("holder", HOLDER);
    let path = add_tree(&scene);
    let (real, file) = (text(scene.real(&path)), text(scene.real(&path).join("file")));
    let check = |words: &[&str], usage: &str, told: &str| {
        check_process(&scene, &path, Command::new(&holder).args(words), usage, told);
    };
    for how in ["ended", "apart"] {
        check(&["cwd", &real, how], "working-directory", "its working directory");
        check(&["open", &file, how], "open-file", &format!("the open file `{file}`"));
    }
    check(&["map", &file, "ended"], "mapped-file", &format!("the mapped file `{file}`"));
    scene.ok(&["delete", &path]);
}

/// What starts a program with mounts of its own, and nothing but a `PATH` in its environment.
fn confined() -> Command {
    let mut command = Command::new("unshare");
    command.args(if is_root() { &["--mount"][..] } else { &["--mount", "--user", "--map-root-user"] });
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

#[test]
fn what_is_mounted_where_others_do_not_see_it_is_kept() {
    if !has("unshare") {
        return;
    }
    let scene = Scene::new();
    let path = add_tree(&scene);
    fs::create_dir(scene.path("elsewhere")).unwrap();
    let (real, elsewhere) = (text(scene.real(&path)), text(scene.path("elsewhere")));
    for [from, onto] in [[&real, &elsewhere], [&elsewhere, &real]] {
        let script = "mount --bind \"$0\" \"$1\" && echo ready && read word";
        let mut command = confined();
        command.args(["sh", "-c", script, from, onto]).current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = String::new();
        let told = child.stdout.take().unwrap();
        let holder = Holder(child);
        BufReader::new(told).read_line(&mut word).unwrap();
        if word.is_empty() && !is_root() {
            return say("skipped: no mount namespace to be had here");
        }
        assert_eq!(word, "ready\n");
        let id = holder.0.id();
        let said = scene.fails(1, &["delete", &path]);
        assert!(said.contains(&format!("by process {id} (")), "{said}");
        assert!(said.contains(&format!("the mount at `{onto}`")), "{said}");
        assert_eq!(scene.ok(&["gc"]), "");
        let listed = json(&scene, &["root", "list", "--processes"]);
        assert_eq!(listed[0]["root"]["mountPoint"], **onto, "{listed}");
        drop(holder);
        assert!(scene.real(&path).join("file").exists());
    }
    scene.ok(&["delete", &path]);
}

#[test]
fn what_is_mounted_elsewhere_beside_the_collector_is_kept() {
    if !has("unshare") {
        return;
    }
    let scene = Scene::new();
    let path = add_tree(&scene);
    fs::create_dir(scene.path("elsewhere")).unwrap();
    let (real, elsewhere) = (text(scene.real(&path)), text(scene.path("elsewhere")));
    // What is in its environment would be kept by that.
    let script = r#"
        tree=$1 elsewhere=$3
        mount --bind "$2" "$3" || exit 9
        shift 3
        "$@" delete "$tree" && exit 8
        "$@" gc && "$@" root list --processes --json && umount "$elsewhere" && "$@" delete "$tree"
    "#;
    let command = scene.command(&[]);
    let mut confined = confined();
    confined.args(["sh", "-c", script, "sh", &path, &real, &elsewhere]);
    confined.arg(command.get_program()).args(command.get_args());
    confined.env("HOME", scene.path("home")).current_dir(scene.path(""));
    let run: Run = confined.output().unwrap().into();
    if !is_root() && (run.code == Some(9) || run.stderr.contains("unshare")) {
        return say("skipped: no mount namespace to be had here");
    }
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("by the mount at `{elsewhere}`")), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("`umount {elsewhere}`")), "{}", run.stderr);
    // What is collected would be the first line.
    let (listed, deleted) = run.stdout.trim_end().rsplit_once('\n').unwrap();
    let listed: Value = serde_json::from_str(listed).unwrap();
    assert_eq!((&listed[0]["root"]["kind"], deleted), (&"mount".into(), &*path), "{listed}");
}

#[test]
fn nix_sees_the_same_environment() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let path = add_tree(&scene);
    let holder = Holder::start(
        Command::new("env").arg(format!("WORD={path}/x")).arg(scene.c_program("holder", HOLDER)),
    );
    let printed = nix_store(&scene, &["--gc", "--print-roots"]);
    assert!(printed.contains(&format!("/proc/{}/environ -> {path}", holder.0.id())), "{printed}");
    let listed = scene.ok(&["root", "list"]);
    let ours = format!("process {} (holder): its environment (`WORD`) -> {path}", holder.0.id());
    assert!(listed.lines().any(|line| line == ours), "{listed}");
    assert!(!nix_store_command(&scene, &["--delete", &path]).output().unwrap().status.success());
    scene.fails(1, &["delete", &path]);
}

#[test]
fn a_path_of_the_same_name_in_another_store_is_not_meant() {
    let (one, two) = (Scene::new(), Scene::new());
    let (mut built, told) = running::start(&one);
    let path =
        format!("/nix/store/{}", told["outputs"]["out"].as_str().unwrap().trim_start_matches("/nix/store/"));
    fs::write(one.path("gate"), "\n").unwrap();
    assert_eq!(built.wait().code, Some(0));
    // Its builder has the path in its environment, and sees nothing of the first store.
    let (mut builds, told) = running::start(&two);
    assert_eq!(one.ok(&["delete", &path]), path);
    let said = two.fails(1, &["delete", &path]);
    assert!(said.contains(&format!("by the build {} of", told["id"].as_str().unwrap())), "{said}");
    assert!(said.contains("store cancel"), "{said}");
    fs::write(two.path("gate"), "\n").unwrap();
    assert_eq!(builds.wait().code, Some(0));
}

#[test]
fn a_root_is_added_listed_and_removed() {
    let scene = Scene::new();
    let path = add_tree(&scene);
    let keep = text(scene.path("keep"));
    assert_eq!(scene.ok(&["root", "add", "./keep", &path, &path]), format!("{keep}\n{keep}-2"));
    assert_eq!(fs::read_link(scene.path("keep")).unwrap(), scene.real(&path));
    let permanent = scene.ok(&["root", "add", "--permanent", "tools/tree", "keep"]);
    assert!(permanent.ends_with("/nix/var/nix/gcroots/tools/tree"), "{permanent}");
    let listed = scene.ok(&["root", "list", "--links"]);
    for link in [&keep, &format!("{keep}-2"), &permanent] {
        assert!(listed.lines().any(|line| line == format!("{link} -> {path}")), "{listed}");
    }
    assert_eq!(scene.ok(&["root", "list", "--processes"]), "");
    let refused = scene.fails(1, &["delete", &path]);
    let remove = format!("`store root remove --store {} {keep}`", text(scene.root()));
    assert!(refused.contains(&remove), "{refused}");
    assert_eq!(scene.ok(&["root", "remove", "keep", "./keep-2"]), format!("{keep}\n{keep}-2"));
    assert_eq!(scene.ok(&["root", "remove", "--permanent", "tools/tree"]), permanent);
    assert_eq!(scene.ok(&["root", "list", "--links", "--json"]), "[]");
    assert_eq!(scene.ok(&["delete", &path]), path);
}

#[test]
fn what_is_no_root_is_not_removed() {
    let scene = Scene::new();
    let path = add_tree(&scene);
    let file = scene.write("file", "precious");
    let said = scene.fails(1, &["root", "remove", &file]);
    assert!(said.contains("is no root"), "{said}");
    assert!(Path::new(&file).exists());
    scene.fails(1, &["root", "add", &file, &path]);
    scene.fails(1, &["root", "add", "--permanent", "../out", &path]);
    scene.fails(1, &["root", "add", "keep", "/nix/store/00000000000000000000000000000000-absent"]);
    assert!(scene.fails(1, &["root", "remove", &path]).contains("nothing keeps that path by itself"));
    scene.ok(&["root", "add", "keep", &path]);
    let holder = scene.c_program("holder", HOLDER);
    let _holder = Holder::start(Command::new(&holder).arg("cwd").arg(scene.real(&path)));
    let said = scene.fails(1, &["root", "remove", &path]);
    assert!(said.contains("store root remove") && said.contains("its working directory"), "{said}");
}

#[test]
fn every_output_that_is_linked_is_a_root_until_its_link_is_replaced() {
    let scene = Scene::new();
    let outputs = scene.ok(&["build", "-o", "r", &derivation("two-outputs")]);
    let listed = scene.ok(&["root", "list", "--links"]);
    assert_eq!(listed.lines().count(), outputs.lines().count(), "{listed}");
    let links: Vec<&str> = listed.lines().filter_map(|line| Some(line.split_once(" -> ")?.0)).collect();
    let others: Vec<&str> = links.iter().copied().filter(|link| !link.ends_with("/r")).collect();
    scene.ok(&["root", "remove", others[0]]);
    let hello = scene.ok(&["build", "-o", "r", &derivation("hello")]);
    assert_eq!(scene.ok(&["root", "list", "--links"]), format!("{} -> {hello}", text(scene.path("r"))));
    scene.ok(&[&["delete"], &outputs.lines().collect::<Vec<_>>()[..]].concat());
    let linked = fs::read_dir(scene.root().join("nix/var/nix/gcroots/auto")).unwrap().count();
    assert_eq!(linked, 1);
}

#[test]
fn nix_and_store_see_each_others_roots() {
    if !has_nix() {
        return;
    }
    let scene = Scene::new();
    let path = add_tree(&scene);
    scene.ok(&["root", "add", "ours", &path]);
    let permanent = scene.ok(&["root", "add", "--permanent", "permanent", &path]);
    let nixs = text(scene.path("nixs"));
    nix_store(&scene, &["--realise", &path, "--add-root", &nixs, "--indirect"]);
    let printed = nix_store(&scene, &["--gc", "--print-roots"]);
    let links: Vec<&str> = printed
        .lines()
        .filter(|line| line.ends_with(&path))
        .filter_map(|line| Some(line.split_once(" -> ")?.0))
        .collect();
    assert!(links.contains(&&*permanent) && links.contains(&&*nixs), "{printed}");
    assert!(links.iter().any(|link| link.contains("/gcroots/relocated/")), "{printed}");
    let listed = scene.ok(&["root", "list", "--links"]);
    for link in [&nixs, &permanent, &text(scene.path("ours"))] {
        assert!(listed.contains(&format!("{link} -> {path}")), "{listed}");
    }
    scene.ok(&["root", "remove", "ours", "nixs"]);
    scene.ok(&["root", "remove", "--permanent", "permanent"]);
    assert!(!nix_store(&scene, &["--gc", "--print-roots"]).contains(&path));
    nix_store(&scene, &["--gc"]);
    assert!(!scene.real(&path).exists());
}

#[test]
fn what_was_used_lately_is_not_collected() {
    let scene = Scene::new();
    let path = add_tree(&scene);
    assert_eq!(scene.ok(&["gc", "--older-than", "1d"]), "");
    assert_eq!(scene.ok(&["gc", "--older-than", "2026-01-01", "--dry-run"]), "");
    assert!(scene.fails(2, &["gc", "--older-than", "yesterday"]).contains("`30d`"));
    assert_eq!(scene.ok(&["gc", "--older-than", "2100-01-01", "--dry-run"]), path);
    assert_eq!(scene.ok(&["gc", "--older-than", "2100-01-01"]), path);
}

#[test]
fn a_root_holds_by_whatever_name_the_store_goes() {
    let scene = Scene::new();
    let path = add_tree(&scene);
    let alias = scene.path("alias");
    symlink(scene.root(), &alias).unwrap();
    let link = text(scene.path("by-alias"));
    let mut command = scene.command(&["root", "add", &link, &path]);
    assert!(command.args(["--store", &text(&alias)]).status().unwrap().success());
    assert_eq!(scene.ok(&["gc"]), "");
    let relative = scene.root().join("nix/var/nix/gcroots/relative");
    symlink(format!("../../../store/{}", &path["/nix/store/".len()..]), relative).unwrap();
    fs::remove_file(&link).unwrap();
    assert_eq!(scene.ok(&["gc"]), "");
    assert!(scene.real(&path).exists());
}

#[test]
fn a_collector_takes_no_rooted_path_of_which_the_database_knows_nothing() {
    let scene = Scene::new();
    let path = add_tree(&scene);
    scene.ok(&["root", "add", &text(scene.path("kept")), &path]);
    fs::remove_dir_all(scene.root().join("nix/var/nix/db")).unwrap();
    let said = scene.fails(1, &["gc"]);
    assert!(said.contains("knows no path at all") && said.contains("`store load-db`"), "{said}");
    // Beside others that are known, it stays as well.
    scene.build("hello");
    scene.ok(&["gc"]);
    assert!(scene.real(&path).exists());
}

#[test]
fn old_generations_are_removed_on_request() {
    let scene = Scene::new();
    let old = add_tree(&scene);
    scene.write("tree/file", format!("other {}", text(scene.root())));
    let new = scene.ok(&["add", &text(scene.path("tree"))]);
    let profiles = scene.root().join("nix/var/nix/profiles/per-user/somebody");
    fs::create_dir_all(&profiles).unwrap();
    for (number, path) in [(1, &old), (2, &new)] {
        symlink(path, profiles.join(format!("tools-{number}-link"))).unwrap();
    }
    symlink("tools-2-link", profiles.join("tools")).unwrap();
    let listed = scene.ok(&["root", "list", "--links"]);
    assert!(listed.contains(&format!("tools-1-link -> {old}\n")), "{listed}");
    assert!(listed.ends_with(&format!("tools-2-link -> {new} (current)")), "{listed}");
    let said = scene.fails(1, &["delete", &new]);
    assert!(
        said.contains("generation 2 (the current one) of the profile") && said.contains("switched"),
        "{said}"
    );
    let said = scene.fails(1, &["root", "remove", &text(profiles.join("tools-2-link"))]);
    assert!(said.contains("is the current generation"), "{said}");
    assert_eq!(scene.ok(&["gc"]), "");
    assert_eq!(scene.ok(&["gc", "--delete-older-than", "1d"]), "");
    for dry_run in [&["--dry-run"][..], &[]] {
        let run = scene.run(&[&["gc", "-d"], dry_run].concat());
        assert_eq!((run.code, run.stdout.trim_end()), (Some(0), &*old), "{}", run.stderr);
        assert!(run.stderr.contains("tools-1-link"), "{}", run.stderr);
    }
    assert!(!profiles.join("tools-1-link").is_symlink() && scene.real(&new).exists());
}

#[test]
fn processes_of_others_are_seen_by_root_only() {
    if !is_root() {
        // The other one would have to be somebody else.
        return;
    }
    let scene = Scene::new();
    let holder = scene.c_program("holder", HOLDER);
    let path = add_tree(&scene);
    let stranger = |program: &OsStr| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=61000", "--regid=61000", "--clear-groups"]).arg(program);
        command
    };
    let mut command = stranger(holder.as_ref());
    command.arg("cwd").arg(scene.real(&path));
    check_process(&scene, &path, &mut command, "working-directory", "its working directory");
    let _holder = Holder::start(Command::new(&holder).arg("cwd").arg(scene.real(&path)));
    let store = scene.command(&["root", "list"]);
    let mut command = stranger(store.get_program());
    let seen = command.args(store.get_args()).env_clear().env("HOME", "/").current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&seen.stderr);
    assert_eq!((seen.status.code(), &*seen.stdout), (Some(0), &b""[..]), "{said}");
    assert_eq!(scene.ok(&["root", "list"]).lines().count(), 1);
}
