//! Outputs that have their names from what is in them: what is built, what is not, and by which names it is found.

use std::fs;
use std::path::Path;
use std::process::Command;

use store_path::{Placeholder, StoreDir};

use crate::scene::{Run, Scene, has_nix, text};

/// What stands for the output `out` of a derivation in those that take it in.
pub(crate) fn stand_in(drv: &str) -> String {
    let drv = StoreDir::default().parse(drv).unwrap();
    Placeholder::of_output(&drv, "out").to_string()
}

/// JSON for a derivation that runs a script; `output` says of which kind its output is.
pub(crate) fn json(name: &str, script: &str, output: &str, inputs: &[&str]) -> String {
    let inputs = inputs.iter().map(|input| format!("{input:?}: [\"out\"]")).collect::<Vec<_>>().join(", ");
    let out = if output == "{}" { String::new() } else { store_path::placeholder("out") };
    format!(
        r#"{{ "name": {name:?}, "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", {script:?}],
             "env": {{ "out": {out:?} }}, "inputSrcs": [], "inputDrvs": {{ {inputs} }}, "outputs": {{ "out": {output} }} }}"#
    )
}

/// An output named by the archive of what is in it.
pub(crate) const FLOATING: &str = r#"{ "hashAlgo": "r:sha256" }"#;

/// Adds a derivation that runs a script to the store and returns its path.
pub(crate) fn add(scene: &Scene, name: &str, script: &str, output: &str, inputs: &[&str]) -> String {
    let file = scene.write(&format!("{name}.json"), json(name, script, output, inputs));
    scene.ok(&["derivation", "add", &file])
}

/// `leaf` says something, `middle` repeats it and refers to `leaf`, `top` repeats that and has its name from how it is built.
fn chain(scene: &Scene, comment: &str, says: &str) -> [String; 3] {
    let leaf = add(scene, "leaf", &format!("# {comment}\necho {says} > $out"), FLOATING, &[]);
    let script = format!("echo middle reads; read line < {0}; echo $line {0} > $out", stand_in(&leaf));
    let middle = add(scene, "middle", &script, FLOATING, &[&leaf]);
    let script = format!("read line < {}; echo $line > $out", stand_in(&middle));
    let top = add(scene, "top", &script, "{}", &[&middle]);
    [leaf, middle, top]
}

/// How many builds were begun.
pub(crate) fn builds(run: &Run) -> usize {
    run.stderr.lines().filter(|line| line.starts_with("building ")).count()
}

#[test]
fn a_comment_in_a_leaf_rebuilds_nothing_else() {
    let scene = Scene::new();
    let before = chain(&scene, "one", "same");
    let all = |drvs: &[String; 3]| scene.run(&["build", "--no-link", &drvs[0], &drvs[1], &drvs[2]]);
    let first = all(&before);
    assert_eq!((first.code, builds(&first)), (Some(0), 3), "{}", first.stderr);
    let after = chain(&scene, "two", "same");
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    let second = all(&after);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(builds(&second), 1, "only the leaf is built: {}", second.stderr);
    assert_eq!(second.stdout, first.stdout, "and all paths are those of before");
    for unchanged in &after[1..] {
        let line = format!("not building {unchanged}: what it takes in has not changed since it was built");
        assert!(second.stderr.contains(&line), "{}", second.stderr);
    }
    // Now that it is known, nothing is.
    let third = all(&after);
    assert_eq!((builds(&third), &third.stdout), (0, &first.stdout), "{}", third.stderr);
    assert!(scene.run(&["build", "--dry-run", &after[2]]).stderr.contains("nothing would be built"));
    // A change that is one rebuilds all that needs it.
    assert_eq!(builds(&all(&chain(&scene, "two", "other"))), 3);
}

#[test]
fn what_was_built_is_found_by_either_name() {
    let scene = Scene::new();
    let [leaf, middle, top] = chain(&scene, "", "leaf");
    assert_eq!(scene.ok(&["query", "--outputs", &middle]), "", "nobody knows before it is built");
    let link = text(scene.path("result"));
    let printed = scene.ok(&["build", "--json", "--out-link", &link, &top]);
    let top_out = fs::read_link(&link).unwrap();
    let outputs = scene.ok(&["query", "--outputs", &top]);
    assert_eq!(Path::new(&outputs).file_name(), top_out.file_name());
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed[0]["drvPath"], top);
    assert_eq!(printed[0]["outputs"]["out"], outputs);
    let out = scene.ok(&["query", "--outputs", &middle]);
    assert_eq!(scene.ok(&["query", "--references", &out]), scene.ok(&["query", "--outputs", &leaf]));
    assert_eq!(fs::read_to_string(scene.real(&out)).unwrap().split(' ').next(), Some("leaf"));
    // What was built is what it resolved to, which keeps the log.
    let resolved = scene.ok(&["query", "--deriver", &out]);
    assert_ne!(resolved, middle);
    for name in [&middle, &resolved, &out] {
        assert_eq!(scene.ok(&["log", name]), "middle reads");
    }
    let about = scene.ok(&["log", "--about", &middle]);
    assert_eq!(about, scene.ok(&["log", "--about", &out]));
    assert!(scene.ok(&["derivation", "show", &out]).contains(&resolved));
}

#[test]
fn a_failure_is_told_by_the_name_that_was_built_and_leads_to_its_log() {
    let scene = Scene::new();
    let leaf = add(&scene, "leaf", "echo leaf > $out", FLOATING, &[]);
    let broken = add(&scene, "broken", "echo about to fail; exit 1", FLOATING, &[&leaf]);
    let run = scene.run(&["build", "--no-link", &broken]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("building {broken}")), "{}", run.stderr);
    let command = run.stderr.lines().find_map(|line| line.trim().strip_prefix("the whole log: ")).unwrap();
    let logged = command.rsplit(' ').next().unwrap();
    assert_ne!(logged, broken);
    let log = scene.ok(&["log", logged]);
    assert!(log.starts_with("about to fail\n[store] failed: the builder of `"), "{log}");
    assert_eq!(scene.ok(&["log", &broken]), log);
}

#[test]
fn a_sandbox_is_that_of_what_is_built() {
    let scene = Scene::new();
    let [leaf, middle, _] = chain(&scene, "", "leaf");
    let said = scene.fails(1, &["sandbox", "show", &middle]);
    let expected = format!("the path of `{}^out`", &leaf["/nix/store/".len()..]);
    assert!(said.contains(&expected) && said.contains("`store build` it first"), "{said}");
    // Stepping in builds what it takes, and not itself.
    let inside =
        scene.run(&["sandbox", "run", &middle, "--", "/bin/sh", "-c", "read line < $0; echo $line", "/x"]);
    assert_eq!(builds(&inside), 1, "{}", inside.stderr);
    assert_eq!(scene.ok(&["query", "--outputs", &middle]), "");
    let out = scene.ok(&["query", "--outputs", &leaf]);
    let read = format!("read line < {out}; echo $line");
    assert_eq!(scene.ok(&["sandbox", "run", &middle, "--", "/bin/sh", "-c", &read]), "leaf");
    assert!(scene.ok(&["sandbox", "show", &middle]).contains(&out));
}

/// The same graph built by Nix; one of its outputs refers to itself.
#[test]
fn nix_comes_to_the_same_paths() {
    let Some(shell) = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())
    else {
        crate::scene::say("skipped: no `busybox` on this machine");
        return;
    };
    if !has_nix() {
        return;
    }
    let (scene, nix) = (Scene::new(), Scene::new());
    let expression = r#"
        let make = name: script: more: derivation ({
              inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
            } // more);
            floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
            leaf = make "leaf" "echo leaf > $out" floating;
            itself = make "itself" "echo ${leaf} $out > $out" floating;
            split = make "split" "echo ${itself} > $out; echo ${leaf} $out > $dev" (floating // { outputs = [ "out" "dev" ]; });
        in make "top" "echo ${split} ${split.dev} > $out" { }"#;
    let nix_run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--store").arg(nix.root()).args(["--option", "sandbox", "true"]);
        command.args(["--option", "experimental-features", "ca-derivations"]);
        command.args(["--option", "substitute", "false", "--option", "build-users-group", ""]);
        command.args(["--option", "sandbox-paths", &format!("/bin/sh={shell}")]).args(arguments);
        command.env("HOME", nix.path("home")).env("USER", "builder").env("NIX_CONF_DIR", nix.path("home"));
        let run: Run = command.output().unwrap().into();
        (run.code == Some(0)).then(|| run.stdout.trim_end().to_owned()).ok_or(run.stderr)
    };
    let top = match nix_run("nix-instantiate", &["-E", expression]) {
        Ok(top) => top,
        Err(said) => panic!("{said}"),
    };
    let theirs = match nix_run("nix-store", &["--realise", &top]) {
        Ok(out) => out,
        Err(said) => {
            return crate::scene::say(&format!("skipped: Nix cannot build here: {}", said.trim_end()));
        }
    };
    // Inputs first: each before what refers to it.
    for drv in nix_run("nix-store", &["-qR", &top]).unwrap().lines().filter(|path| path.ends_with(".drv")) {
        assert_eq!(scene.ok(&["derivation", "add", &text(nix.real(drv))]), drv);
    }
    let ours = scene.ok(&["build", "--no-link", &top]);
    assert_eq!(ours, theirs);
    let closure = |found: &str| found.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let theirs = nix_run("nix-store", &["-qR", &theirs]).unwrap();
    assert_eq!(closure(&scene.ok(&["query", "--requisites", &ours])), closure(&theirs));
}
