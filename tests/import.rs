//! `store import`: what comes in, what does not, and what stays.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use store_path::{HashAlgorithm, HashSink, StoreDir};

use crate::export::{export, some_paths};
use crate::peer::{nix_store, nix_store_command};
use crate::scene::{Run, Scene, has_nix, text};

fn import(scene: &Scene, stream: &Path, options: &[&str]) -> Run {
    let input = File::open(stream).unwrap();
    scene.command(&[&["import"], options].concat()).stdin(input).output().unwrap().into()
}

fn imported(scene: &Scene, stream: &Path) -> String {
    let run = import(scene, stream, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

/// Whether there is nothing in the store directory but what is valid.
fn is_clean(scene: &Scene) -> bool {
    let store = scene.root().join("nix/store");
    let names = fs::read_dir(store).unwrap().map(|entry| text(entry.unwrap().file_name()));
    let left: Vec<String> = names
        .filter(|name| {
            name != ".links" && scene.run(&["path-info", &format!("/nix/store/{name}")]).code != Some(0)
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
    true
}

/// Exports the closure of some paths, in both formats.
fn streams(scene: &Scene) -> (Vec<String>, [std::path::PathBuf; 2]) {
    let paths = some_paths(scene);
    let chosen: Vec<&str> = paths.iter().map(String::as_str).collect();
    let stream = |format| {
        export(scene, &[&["-R", "--format", format], &chosen[..]].concat(), &format!("stream-{format}"))
    };
    let streams = [stream("1"), stream("2")];
    (paths, streams)
}

#[test]
fn what_was_exported_is_valid_elsewhere() {
    let here = Scene::new();
    let (paths, streams) = streams(&here);
    for stream in streams {
        let there = Scene::new();
        let printed = imported(&there, &stream);
        assert!(paths.iter().all(|path| printed.lines().any(|line| line == path)), "{printed}");
        for path in &paths {
            assert_eq!(there.ok(&["query", "--requisites", path]), here.ok(&["query", "--requisites", path]));
            assert_eq!(there.ok(&["query", "--deriver", path]), here.ok(&["query", "--deriver", path]));
            assert_eq!(
                there.ok(&["query", "--outputs", &paths[1]]),
                here.ok(&["query", "--outputs", &paths[1]])
            );
        }
        there.ok(&["verify", "--contents"]);
        assert_eq!(imported(&there, &stream), printed, "a second time changes nothing");
        let run = import(&there, &stream, &["--json"]);
        let list: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(list.as_array().unwrap().iter().all(|one| one["imported"] == false), "{list}");
        assert!(is_clean(&there));
        // Nothing was built here, and what builds it finds it.
        assert_eq!(there.build("chain"), [paths[0].clone()]);
    }
}

#[test]
fn what_nix_exported_comes_in() {
    if !has_nix() {
        return;
    }
    let (here, there) = (Scene::new(), Scene::new());
    let paths = some_paths(&here);
    let chosen: Vec<&str> = paths.iter().map(String::as_str).collect();
    let closure = here.ok(&[&["query", "--requisites"], &chosen[..]].concat());
    let closure: Vec<&str> = closure.lines().collect();
    let stream = File::create(here.path("stream")).unwrap();
    let mut command = nix_store_command(&here, &[&["--export"], &closure[..]].concat());
    assert!(command.stdout(stream).status().unwrap().success());
    let ours = imported(&there, &here.path("stream"));
    nix_store(&there, &["--verify", "--check-contents"]);
    let nixs = Scene::new();
    let output = nix_store_command(&nixs, &["--import"])
        .stdin(File::open(here.path("stream")).unwrap())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ours, "they print the same");
    let dump = |scene: &Scene| nix_store(scene, &["--dump-db"]);
    assert_eq!(dump(&there), dump(&nixs), "and register the same");
}

#[test]
fn a_stream_that_ends_early_leaves_what_was_whole() {
    let here = Scene::new();
    let (_, [_, stream]) = streams(&here);
    let whole = fs::read(&stream).unwrap();
    let all = imported(&Scene::new(), &stream);
    let there = Scene::new();
    let mut came = 0;
    for length in [0, 8, 100, whole.len() / 3, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let part = here.write("part", &whole[..length]);
        let run = import(&there, Path::new(&part), &[]);
        assert_eq!(run.code, Some(1), "{length} bytes: {}", run.stderr);
        assert!(run.stderr.contains("it ends too early") && run.stderr.contains("at byte"), "{}", run.stderr);
        assert!(all.starts_with(&run.stdout), "in the order of the stream: {}", run.stdout);
        assert!(run.stdout.len() >= came, "what was there stays");
        came = run.stdout.len();
        if !run.stdout.is_empty() {
            there.ok(&["verify", "--contents"]);
            assert!(run.stderr.contains("in the store and stay"), "{}", run.stderr);
        }
    }
    assert!(is_clean(&there));
    assert_eq!(imported(&there, &stream), all);
}

#[test]
fn it_goes_on_at_the_byte_that_was_told() {
    let here = Scene::new();
    let (paths, [_, stream]) = streams(&here);
    let whole = fs::read(&stream).unwrap();
    let there = Scene::new();
    let part = here.write("part", &whole[..whole.len() / 2]);
    let run = import(&there, Path::new(&part), &[]);
    let from = run.stderr.rsplit("--from-byte ").next().unwrap().split('`').next().unwrap();
    assert!(from.parse::<usize>().unwrap() > 8, "{}", run.stderr);
    let chosen: Vec<&str> = paths.iter().map(String::as_str).collect();
    let rest = export(&here, &[&["-R", "--format", "2", "--from-byte", from], &chosen[..]].concat(), "rest");
    let second = import(&there, &rest, &["--from-byte", from]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(run.stdout + &second.stdout, imported(&Scene::new(), &stream));
    there.ok(&["verify", "--contents"]);
    let run = import(&there, &rest, &["--from-byte", "9"]);
    assert_eq!(run.code, Some(0), "where it begins is only for messages: {}", run.stderr);
}

#[test]
fn what_is_damaged_is_named() {
    let here = Scene::new();
    let file = here.write("file", "some text in a file");
    let path = here.ok(&["add", &file]);
    for format in ["1", "2"] {
        let stream = fs::read(export(&here, &["--format", format, &path], "stream")).unwrap();
        let place = stream.windows(4).position(|bytes| bytes == b"text").unwrap();
        let mut damaged = stream.clone();
        damaged[place] = b'T';
        let there = Scene::new();
        let run = import(&there, Path::new(&here.write("damaged", &damaged)), &[]);
        // In the first format nothing is there that could tell.
        assert_eq!(run.code, Some(if format == "1" { 0 } else { 1 }), "{}", run.stderr);
        assert!(format == "1" || run.stderr.contains("its archive has the hash `sha256:"), "{}", run.stderr);
        let mut damaged = stream;
        let place = damaged.windows(8).position(|bytes| bytes == b"contents").unwrap();
        damaged[place] = b'C';
        let run = import(&Scene::new(), Path::new(&here.write("damaged", &damaged)), &[]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
        assert!(run.stderr.contains("cannot read the archive at byte 88"), "{}", run.stderr);
    }
    let run = import(&here, Path::new(&here.write("other", "PK\x03\x04 something else")), &[]);
    assert!(
        run.code == Some(1) && run.stderr.contains("expected a stream as `store export`"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_wrong_content_address_is_refused() {
    let here = Scene::new();
    let file = here.write("file", "text");
    let path = here.ok(&["add", &file]);
    let stream = fs::read(export(&here, &["--format", "2", &path], "stream")).unwrap();
    let place = stream.windows(8).position(|bytes| bytes == b"fixed:r:").unwrap() + 20;
    let mut damaged = stream;
    damaged[place] = if damaged[place] == b'0' { b'1' } else { b'0' };
    let there = Scene::new();
    let run = import(&there, Path::new(&here.write("damaged", damaged)), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("is not that of its contents and its path"), "{}", run.stderr);
    assert!(is_clean(&there));
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    let (here, there) = (Scene::new(), Scene::new());
    let out = here.build("chain").remove(0);
    let drv = here.ok(&["query", "--deriver", &out]);
    let run = import(&there, &export(&here, &[&drv], "stream"), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("neither in this store nor before it"), "{}", run.stderr);
    assert!(run.stderr.contains("--recursive"), "{}", run.stderr);
    assert!(is_clean(&there));
}

#[test]
fn a_derivation_that_is_not_right_does_not_come_in() {
    let here = Scene::new();
    let out = here.build("hello").remove(0);
    let drv = here.ok(&["query", "--deriver", &out]);
    let stream = fs::read(export(&here, &["-R", &drv], "stream")).unwrap();
    let place = stream.windows(11).position(|bytes| bytes == b"/nix/store/").unwrap() + 11;
    let mut damaged = stream;
    damaged[place] = if damaged[place] == b'0' { b'1' } else { b'0' };
    let there = Scene::new();
    let run = import(&there, Path::new(&here.write("damaged", damaged)), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("cannot import the derivation"), "{}", run.stderr);
    assert!(run.stderr.contains("but should"), "{}", run.stderr);
}

#[test]
fn signatures_come_along_and_can_be_asked_for() {
    let (here, there) = (Scene::new(), Scene::new());
    let out = here.build("chain").remove(0);
    here.ok(&["key", "generate", "k-1", "--out", "secret"]);
    let mut public = here.command(&["key", "public"]);
    let public = public.stdin(File::open(here.path("secret")).unwrap()).output().unwrap().stdout;
    let public = String::from_utf8(public).unwrap();
    let options = ["--check-signatures", "--option", "trusted-public-keys", public.trim()];
    let run = import(&there, &export(&here, &["-R", "--format", "2", &out], "unsigned"), &options);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no key in `trusted-public-keys` has signed it"), "{}", run.stderr);
    here.ok(&["sign", "-k", "secret", "-r", &out]);
    let stream = export(&here, &["-R", "--format", "2", &out], "signed");
    let run = import(&there, &stream, &options);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let signed = |scene: &Scene| {
        let json = scene.ok(&["path-info", "--json", &out]);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()[0]["signatures"].clone()
    };
    assert_eq!(signed(&there), signed(&here));
    let run = import(&Scene::new(), &stream, &options[..1]);
    assert!(run.code == Some(1), "another key: {}", run.stderr);
    let run = import(&Scene::new(), &stream, &["--check-signatures", "--option", "trusted-public-keys", "x"]);
    assert!(run.stderr.contains("cannot read the key `x` in `trusted-public-keys`"), "{}", run.stderr);
}

/// Adds so many small files by a manifest; returns their paths.
fn many(scene: &Scene, count: usize) -> Vec<String> {
    let (mut manifest, mut paths) = (String::new(), Vec::new());
    fs::create_dir(scene.path("many")).unwrap();
    for number in 0..count {
        let file = scene.path(format!("many/f{number}"));
        fs::write(&file, format!("contents {number}")).unwrap();
        let mut sink = HashSink::new(HashAlgorithm::Sha256);
        nar::dump(&file, &mut sink).unwrap();
        let (hash, _) = sink.finish();
        let name = format!("f{number}").parse().unwrap();
        let path = StoreDir::default().source_path(&name, &hash, &BTreeSet::new(), false);
        paths.push(StoreDir::default().print(&path));
        writeln!(manifest, "{}\t{hash}\tmany/f{number}", paths[number]).unwrap();
    }
    scene.write("manifest", manifest);
    scene.ok(&["add", "--manifest", "manifest"]);
    paths
}

fn pipe(here: &Scene, there: &Scene, paths: &[String]) -> (Child, Child) {
    let chosen: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut sender =
        here.command(&[&["export"], &chosen[..]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let stream = sender.stdout.take().unwrap();
    let receiver = there.command(&["import"]).stdin(stream).stdout(Stdio::piped()).spawn().unwrap();
    (sender, receiver)
}

#[test]
fn a_thousand_paths_through_a_pipe() {
    let (here, there) = (Scene::new(), Scene::new());
    let paths = many(&here, 1000);
    let (mut sender, receiver) = pipe(&here, &there, &paths);
    let output = receiver.wait_with_output().unwrap();
    assert!(sender.wait().unwrap().success() && output.status.success());
    let mut printed: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let mut wanted = paths;
    printed.sort();
    wanted.sort();
    assert_eq!(printed, wanted);
    there.ok(&["verify", "--contents"]);
}

#[test]
fn an_import_that_is_killed_is_repeated() {
    let (here, there) = (Scene::new(), Scene::new());
    let paths = many(&here, 300);
    let chosen: Vec<&str> = paths.iter().map(String::as_str).collect();
    let stream = fs::read(export(&here, &chosen, "stream")).unwrap();
    for kill_after in [0, 1, 2, 3] {
        let mut child =
            there.command(&["import"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // The first batch is complete; what comes then is not.
        let part = stream.len() * (9 + kill_after) / 12;
        input.write_all(&stream[..part - part % 7]).unwrap();
        thread::sleep(Duration::from_millis(60 * kill_after as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // It may have been killed before there was a store.
        if there.root().join("nix/var/nix/db/db.sqlite").exists() {
            there.ok(&["verify", "--contents"]);
        }
    }
    let printed = imported(&there, &here.path("stream"));
    assert_eq!(printed.lines().count(), 300);
    there.ok(&["verify", "--contents"]);
    assert!(is_clean(&there));
}

#[test]
fn a_large_file_needs_no_memory() {
    let (here, there) = (Scene::new(), Scene::new());
    let size = 1 << 28;
    File::create(here.path("large")).unwrap().set_len(size).unwrap();
    let path = here.ok(&["add", &text(here.path("large"))]);
    for format in ["1", "2"] {
        let mut sender =
            here.command(&["export", "--format", format, &path]).stdout(Stdio::piped()).spawn().unwrap();
        let mut limited = std::process::Command::new("sh");
        let program = there.command(&["import"]);
        // Far less than the file, in KiB; a thread's stack alone is reserved with 2 MiB.
        limited.arg("-c").arg("ulimit -v 204800 && exec \"$0\" \"$@\"").arg(program.get_program());
        limited.args(program.get_args()).env_clear();
        limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.stdin(sender.stdout.take().unwrap()).output().unwrap();
        assert!(sender.wait().unwrap().success());
        assert!(output.status.success(), "format {format}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::metadata(there.real(&path)).unwrap().len(), size);
    }
}

#[test]
fn names_like_those_of_locks_and_scratch_directories_are_names() {
    let here = Scene::new();
    fs::create_dir(here.path("x.chroot")).unwrap();
    here.write("x.chroot/file", "x");
    let sources = [here.write("Cargo.lock", "version = 4"), text(here.path("x.chroot"))];
    let paths = sources.each_ref().map(|source| here.ok(&["add", source]));
    for format in ["1", "2"] {
        let stream = export(&here, &["--format", format, &paths[0], &paths[1]], "stream");
        for (kept, given_up) in [(0, 1), (1, 0)] {
            let there = Scene::new();
            assert_eq!(imported(&there, &stream).lines().count(), 2);
            there.ok(&["root", "add", "kept", &paths[kept]]);
            if has_nix() {
                assert!(nix_store(&there, &["--gc", "--print-live"]).contains(&paths[kept]));
            }
            assert_eq!(there.ok(&["gc"]), paths[given_up]);
            assert!(there.real(&paths[kept]).exists() && !there.real(&paths[given_up]).exists());
            there.ok(&["verify", "--contents"]);
        }
    }
}

#[test]
fn what_comes_after_the_end_is_told_and_what_came_before_stays() {
    let here = Scene::new();
    let (paths, streams) = streams(&here);
    for stream in streams {
        let there = Scene::new();
        let mut file = File::options().append(true).open(&stream).unwrap();
        file.write_all(b"and more").unwrap();
        let run = import(&there, &stream, &[]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("something follows"), "{}", run.stderr);
        paths.iter().for_each(|path| drop(there.ok(&["path-info", path])));
        there.ok(&["verify", "--contents"]);
    }
}
