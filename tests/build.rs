//! `store build`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::scene::{Scene, derivation, has_nix, shell_derivation};

fn contents(scene: &Scene, path: &str) -> String {
    fs::read_to_string(scene.real(path)).unwrap()
}

#[test]
fn prints_the_path_and_says_where_it_lies() {
    let scene = Scene::new();
    let run = scene.run(&["build", &derivation("hello")]);
    assert_eq!(run.stdout, "/nix/store/kjnncln5fjjhiz3g4p4n15cccch70g8n-hello\n", "{}", run.stderr);
    let real = scene.real(run.stdout.trim());
    assert!(run.stderr.contains(real.to_str().unwrap()), "{}", run.stderr);
    assert_eq!(fs::read_to_string(real).unwrap(), "Hello, world.\n");
}

#[test]
fn a_second_build_builds_nothing() {
    let scene = Scene::new();
    let first = scene.build("chain");
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(scene.real(path)).unwrap());
    let before = inode(&first[0]);
    let run = scene.run(&["build", "--no-link", "--dry-run", &derivation("chain")]);
    assert!(!run.stderr.contains("link-"), "a dry run would build: {}", run.stderr);
    assert_eq!(scene.build("chain"), first);
    assert_eq!(inode(&first[0]), before);
}

#[test]
fn outputs_are_printed_and_linked_one_by_one() {
    let scene = Scene::new();
    let printed = scene.ok(&["build", &derivation("two-outputs")]);
    let mut names: Vec<_> = printed.lines().map(|line| &line["/nix/store/".len() + 33..]).collect();
    names.sort_unstable();
    assert_eq!(names, ["two-outputs", "two-outputs-doc"]);
    assert_eq!(fs::read_to_string(scene.path("result-doc")).unwrap(), "how to use it\n");
    assert!(fs::read_to_string(scene.path("result")).unwrap().starts_with("the program, documented in"));
}

#[test]
fn inputs_are_built_first() {
    let scene = Scene::new();
    let chain = scene.build("chain");
    assert_eq!(contents(&scene, &chain[0]), "links: 1, 2, 3, 4\n");
    let diamond = scene.ok(&["build", "--no-link", "--max-jobs", "2", &derivation("diamond")]);
    assert!(contents(&scene, &diamond).contains("-left and /nix/store/"));
}

#[test]
fn a_fixed_output_has_the_path_of_its_hash() {
    let scene = Scene::new();
    let path = scene.build("fixed-output");
    assert_eq!(contents(&scene, &path[0]), "the same everywhere\n");
    let info = scene.ok(&["path-info", "--json", &path[0]]);
    assert!(info.contains("fixed:sha256:"), "{info}");
}

#[test]
fn output_paths_left_open_are_filled_in() {
    let scene = Scene::new();
    let path = scene.build("handwritten");
    assert_eq!(contents(&scene, &path[0]), "hello from a file that names no store path\n");
}

#[test]
fn the_environment_is_exact() {
    let scene = Scene::new();
    let path = scene.build("environment");
    let text = contents(&scene, &path[0]);
    // Shells differ in how they quote, and each adds some variables of its own.
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| line.replace('"', "'").replace("declare -x ", "export "))
        .filter(|line| {
            !["SHLVL", "OLDPWD", "_="].iter().any(|own| line.starts_with(&format!("export {own}")))
        })
        .map(|line| {
            if line.contains("NIX_BUILD_CORES") { "export NIX_BUILD_CORES=[CORES]".to_owned() } else { line }
        })
        .collect();
    lines.sort();
    test_support::check("cli/environment.txt", lines.join("\n") + "\n");
}

#[test]
fn cores_reach_the_builder() {
    let scene = Scene::new();
    assert_eq!(scene.script("echo $NIX_BUILD_CORES > $out", &["--cores", "3"]), "3\n");
}

#[test]
fn structured_attributes_come_as_a_file() {
    let scene = Scene::new();
    let path = scene.build("structured");
    let json = contents(&scene, &path[0]);
    assert!(json.contains(r#""greeting":"hello""#), "{json}");
    assert!(json.contains(&format!(r#""outputs":{{"out":"{}"}}"#, path[0])), "{json}");
}

#[test]
fn a_closure_is_written_down_for_the_builder() {
    let scene = Scene::new();
    let path = scene.build("references");
    let names: Vec<_> = contents(&scene, &path[0])
        .lines()
        .map(|line| line.get("/nix/store/".len() + 33..).unwrap_or(line).to_owned())
        .collect();
    // Path, deriver (none), number of references, references.
    assert_eq!(names, ["bottom", "", "0", "exported", "", "1", "bottom"]);
}

#[test]
fn an_output_may_refer_to_itself() {
    let scene = Scene::new();
    let path = scene.build("self");
    assert_eq!(scene.ok(&["query", "--references", &path[0]]), path[0]);
}

#[test]
fn an_output_is_as_plain_as_a_store_path_has_to_be() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new();
    let path = scene.build("hello");
    let metadata = fs::metadata(scene.real(&path[0])).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o444);
    assert_eq!(metadata.mtime(), 1);
    let own = fs::metadata(scene.root()).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (own.uid(), own.gid()), "it belongs to whoever called");
}

#[test]
fn the_link_is_a_root() {
    let scene = Scene::new();
    let path = scene.ok(&["build", "--out-link", "mine", &derivation("hello")]);
    assert_eq!(fs::read_link(scene.path("mine")).unwrap(), scene.real(&path));
    assert!(!scene.path("result").exists());
    let refused = scene.fails(1, &["delete", &path]);
    assert!(refused.contains("mine"), "{refused}");
    if has_nix() {
        let roots = crate::peer::nix_store(&scene, &["--gc", "--print-roots"]);
        assert!(roots.lines().any(|line| line.ends_with(&path)), "{roots}");
    }
    fs::remove_file(scene.path("mine")).unwrap();
    assert_eq!(scene.ok(&["delete", &path]), path);
}

#[test]
fn no_link_means_none() {
    let scene = Scene::new();
    scene.build("hello");
    assert!(fs::symlink_metadata(scene.path("result")).is_err());
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let scene = Scene::new();
    let run = scene.run(&["build", "--dry-run", &derivation("chain")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for link in ["link-1", "link-2", "link-3", "link-4"] {
        assert!(format!("{}{}", run.stdout, run.stderr).contains(link), "{}{}", run.stdout, run.stderr);
    }
    let entries = fs::read_dir(scene.root().join("nix/store")).unwrap();
    let outputs = entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().ends_with(".drv"));
    let outputs: Vec<_> =
        outputs.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).collect();
    assert!(outputs.is_empty(), "{outputs:?}");
}

#[test]
fn results_come_in_other_shapes() {
    let scene = Scene::new();
    let file = derivation("hello");
    let real = scene.ok(&["build", "--no-link", "--real-path", &file]);
    assert_eq!(fs::read_to_string(&real).unwrap(), "Hello, world.\n");
    let json = scene.ok(&["build", "--no-link", "--json", &file]);
    assert!(
        json.contains(&real) && json.contains("\"/nix/store/kjnncln5fjjhiz3g4p4n15cccch70g8n-hello\""),
        "{json}"
    );
}

#[test]
fn a_derivation_in_the_store_can_be_built_by_its_path() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &derivation("hello")]);
    let out = "/nix/store/kjnncln5fjjhiz3g4p4n15cccch70g8n-hello";
    assert_eq!(scene.ok(&["build", "--no-link", &drv]), out);
    assert_eq!(
        scene.ok(&["build", "--no-link", out]),
        out,
        "what is valid already can be asked for by its path"
    );
}

#[test]
fn several_files_are_built_in_one_go() {
    let scene = Scene::new();
    let printed = scene.ok(&["build", &derivation("hello"), &derivation("fixed-output")]);
    assert_eq!(printed.lines().count(), 2);
    assert_eq!(fs::read_to_string(scene.path("result-2")).unwrap(), "the same everywhere\n");
}

#[test]
fn keep_going_builds_what_it_can() {
    let scene = Scene::new();
    let run =
        scene.run(&["build", "--no-link", "--keep-going", &derivation("failing"), &derivation("hello")]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(scene.real("/nix/store/kjnncln5fjjhiz3g4p4n15cccch70g8n-hello").exists(), "{}", run.stderr);
}

#[test]
fn kinds_of_failure_add_up() {
    let scene = Scene::new();
    scene.fails(102, &["build", "--no-link", &derivation("wrong-hash")]);
    let both = [derivation("wrong-hash"), derivation("failing")];
    let run = scene.run(&["build", "--no-link", "--keep-going", &both[0], &both[1]]);
    assert_eq!(run.code, Some(100 | 102), "{}", run.stderr);
}

#[test]
fn a_failed_build_can_be_kept() {
    let scene = Scene::new();
    let file = scene.write("leaves.json", shell_derivation("leaves", "echo clue > evidence; exit 1"));
    let said = scene.fails(100, &["build", "--no-link", "--keep-failed", &file]);
    let kept = said.split('`').find(|word| {
        word.contains("/nix/var/nix/builds/") || fs::metadata(word).is_ok_and(|kept| kept.is_dir())
    });
    let kept = kept.unwrap_or_else(|| panic!("no directory is named: {said}"));
    let clue = ["evidence", "build/evidence"]
        .iter()
        .find_map(|file| fs::read_to_string(format!("{kept}/{file}")).ok());
    assert_eq!(clue.as_deref(), Some("clue\n"), "{said}");
}

#[test]
fn build_logs_are_shown_when_asked_for() {
    let scene = Scene::new();
    let file = scene.write("talks.json", shell_derivation("talks", "echo 'it says this'; echo > $out"));
    let run = scene.run(&["build", "--no-link", &file]);
    assert!(!run.stderr.contains("it says this"), "{}", run.stderr);
    let again = scene.write("talks2.json", shell_derivation("talks-2", "echo 'it says this'; echo > $out"));
    let run = scene.run(&["build", "--no-link", "--print-build-logs", &again]);
    assert!(run.stderr.contains("it says this"), "{}", run.stderr);
}

#[test]
fn nothing_of_a_failed_build_stays() {
    let scene = Scene::new();
    scene.fails(100, &["build", "--no-link", &derivation("failing")]);
    let left: Vec<_> = fs::read_dir(scene.root().join("nix/store"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-failing.drv") && !name.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn two_programs_build_the_same_once() {
    let scene = Scene::new();
    let file = scene.write(
        "slow.json",
        shell_derivation("slow", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo > $out"),
    );
    let spawn = || {
        scene.command(&["build", "--no-link", &file]).stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let both = [spawn(), spawn()].map(|child| child.wait_with_output().unwrap());
    assert_eq!(both[0].stdout, both[1].stdout);
    assert!(both.iter().all(|output| output.status.success()));
}

#[test]
fn the_umask_of_the_caller_neither_opens_nor_closes_a_store() {
    for mask in ["0000", "0077"] {
        let scene = Scene::new();
        let build = scene.command(&["build", "--no-link", &derivation("hello")]);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", mask]);
        shell.arg(build.get_program()).args(build.get_args());
        let run = shell.env("HOME", scene.path("home")).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        for made in ["nix/store", "nix/var/nix/db"] {
            let mode = fs::metadata(scene.root().join(made)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o755, "{made} under umask {mask}");
        }
    }
}
