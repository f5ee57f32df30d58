//! What is tried: a command each, and what has to be there before.

#![expect(clippy::disallowed_methods, reason = "lays out what the commands work on")]

use std::fs;

use super::world::{World, run, run_raw};

/// A command at whose steps something fails.
pub struct Operation {
    /// By what name to speak of it.
    pub name: &'static str,
    /// Makes ready what the command needs.
    pub(super) prepare: fn(&World) -> Result<(), String>,
    /// The command.
    pub(super) arguments: &'static [&'static str],
    /// The exit code of the command if nothing is in its way.
    pub(super) code: i32,
    /// What has to hold once the command was repeated, beside that it printed what it prints at once.
    pub(super) done: fn(&World) -> Result<(), String>,
    /// What the command does when it is repeated.
    pub(super) again: Again,
    /// Whether something is damaged before, which is no damage of the failure.
    pub(super) mends: bool,
    /// The file beside the store that it reads, if it reads one.
    pub(super) stdin: Option<&'static str>,
    /// Whether only root can do it.
    pub(super) root_only: bool,
}

/// What a command does when it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It prints what it prints undisturbed.
    Same,
    /// It prints what is left to be told.
    Rest,
    /// It may be refused: what is deleted is not there to be deleted.
    Refused,
}

const PLAIN: Operation = Operation {
    name: "",
    prepare: |_| Ok(()),
    arguments: &[],
    code: 0,
    done: |_| Ok(()),
    again: Again::Same,
    mends: false,
    stdin: None,
    root_only: false,
};

/// Every operation.
pub const OPERATIONS: &[Operation] = &[
    Operation { name: "add", prepare: tree, arguments: &["add", "tree"], ..PLAIN },
    Operation {
        name: "add-again",
        // What somebody has left in its place.
        prepare: |world| {
            added_tree(world)?;
            world.ok(&["delete", TREE])?;
            world.leave(&format!("{TREE}/half/file"))
        },
        arguments: &["add", "tree"],
        ..PLAIN
    },
    Operation {
        name: "add-linked",
        // Some of its files are there already.
        prepare: |world| {
            tree(world)?;
            world.ok(&[&["add", "tree"], &LINKED[..]].concat())?;
            world.write("other/a/f", "1\n")?;
            world.write("other/b/f", "1\n")?;
            world.write("other/new", "3\n")
        },
        arguments: &["add", "other", LINKED[0], LINKED[1], LINKED[2]],
        ..PLAIN
    },
    Operation { name: "add-many", prepare: many, arguments: &["add", "--manifest", "manifest"], ..PLAIN },
    Operation {
        name: "import",
        prepare: |world| world.write("x.json", chain()),
        arguments: &["derivation", "add", "x.json"],
        ..PLAIN
    },
    Operation {
        name: "import-again",
        prepare: |world| {
            world.write("x.json", chain())?;
            let top = world.ok(&["derivation", "add", "x.json"])?;
            let all = world.ok(&["query", "--requisites", top.trim_end()])?;
            world.ok(&[vec!["delete"], all.lines().collect()].concat())?;
            all.lines().try_for_each(|path| world.leave(path))
        },
        arguments: &["derivation", "add", "x.json"],
        ..PLAIN
    },
    Operation {
        name: "build",
        prepare: |world| world.write("x.json", derivation("x", TWO, r#""out": {}, "dev": {}"#, "")),
        arguments: &["build", "--quiet", "x.json"],
        done: has_result,
        ..PLAIN
    },
    Operation {
        name: "build-chain",
        prepare: |world| world.write("x.json", chain()),
        arguments: &["build", "--quiet", "x.json"],
        done: has_result,
        ..PLAIN
    },
    Operation {
        name: "build-floating",
        prepare: |world| {
            let output = r#""out": { "hashAlgo": "r:sha256" }"#;
            let text = derivation("x", "echo $out > $out", output, "");
            // What every builder sees as its first output, as long as nobody knows its path.
            let placeholder = r#""env": { "out": "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9" }"#;
            world.write("x.json", text.replace(r#""env": {}"#, placeholder))
        },
        arguments: &["build", "--quiet", "x.json"],
        done: has_result,
        ..PLAIN
    },
    Operation {
        name: "build-chroot",
        prepare: |world| world.write("x.json", derivation("x", "echo a > $out", r#""out": {}"#, "")),
        arguments: &["build", "--quiet", "--option", "build-isolation", "chroot", "x.json"],
        done: has_result,
        root_only: true,
        ..PLAIN
    },
    Operation {
        name: "build-failing",
        prepare: |world| world.write("x.json", derivation("x", "echo no; exit 3", r#""out": {}"#, "")),
        arguments: &["build", "--quiet", "x.json"],
        code: 100,
        ..PLAIN
    },
    Operation {
        name: "delete",
        prepare: |world| {
            added_tree(world)?;
            built_chain(world)
        },
        arguments: &["delete", LAST, TREE],
        done: |world| {
            let is_valid =
                |path: &&&str| world.run(&["path-info", path]).is_ok_and(|run| run.code == Some(0));
            match [LAST, TREE].iter().find(is_valid) {
                None => Ok(()),
                Some(path) => Err(format!("`{path}` is still valid")),
            }
        },
        again: Again::Refused,
        ..PLAIN
    },
    Operation {
        name: "gc",
        prepare: |world| {
            added_tree(world)?;
            built_chain(world)?;
            world.leave("nix/store/q790zdjk75hm2cn42nh77pqw4gbv1b88-half/file")
        },
        arguments: &["gc", "--quiet"],
        done: |world| match world.run(&["path-info", LAST])?.code {
            Some(0) => Err(format!("`{LAST}` is still valid")),
            _ => Ok(()),
        },
        again: Again::Rest,
        ..PLAIN
    },
    Operation {
        name: "root-moved",
        // The link leads somewhere else before.
        prepare: |world| {
            added_tree(world)?;
            world.write("other", "other\n")?;
            let other = world.ok(&["add", "other"])?;
            world.ok(&["root", "add", "result", other.trim_end()]).map(|_| ())
        },
        arguments: &["root", "add", "result", TREE],
        // It prints where the link is, which is somewhere else each time.
        again: Again::Rest,
        done: has_result,
        ..PLAIN
    },
    Operation {
        name: "root-removed",
        prepare: |world| {
            added_tree(world)?;
            world.ok(&["root", "add", "result", TREE]).map(|_| ())
        },
        arguments: &["root", "remove", "result"],
        again: Again::Rest,
        ..PLAIN
    },
    Operation {
        name: "import-stream",
        prepare: |world| {
            let elsewhere = World::in_directory(world.program(), &world.path("elsewhere"))?;
            added_tree(&elsewhere)?;
            let stream = run_raw(&mut elsewhere.command(&["export", TREE]))?;
            world.write("stream", stream)
        },
        arguments: &["import", "--quiet"],
        stdin: Some("stream"),
        ..PLAIN
    },
    Operation {
        name: "repair",
        // Contents, metadata and all of a path.
        prepare: |world| {
            added_tree(world)?;
            built_chain(world)?;
            world.write("other", "other\n")?;
            let other = world.ok(&["add", "other"])?;
            world.damage(LAST, Some(b"damaged\n"))?;
            world.damage(&format!("{TREE}/g"), Some(b"2\n"))?;
            world.damage(other.trim_end(), None)
        },
        arguments: &["verify", "--contents", "--repair", "--quiet"],
        again: Again::Rest,
        mends: true,
        ..PLAIN
    },
    Operation {
        name: "optimise",
        prepare: |world| {
            for name in ["one", "two"] {
                for file in 0..3 {
                    world.write(&format!("{name}/inside/{file}"), format!("equal {file}\n"))?;
                }
                world.write(&format!("{name}/name"), name)?;
                world.ok(&["add", name])?;
            }
            Ok(())
        },
        arguments: &["optimise", "--quiet"],
        again: Again::Rest,
        ..PLAIN
    },
    Operation {
        name: "migrate",
        // As an older Nix would have left it, as far as the next start can see.
        prepare: |world| {
            added_tree(world)?;
            let file = world.root().join("nix/var/nix/db/schema");
            fs::write(&file, "9").map_err(|error| format!("cannot write `{}`: {error}", file.display()))
        },
        arguments: &["add", "tree"],
        ..PLAIN
    },
    Operation {
        name: "start",
        // What somebody has left who was killed.
        prepare: |world| {
            tree(world)?;
            let mut add = world.command(&["add", "tree"]);
            run(add.env("STORE_FAILPOINT", "register.synced=kill")).map(|_| ())
        },
        arguments: &["--quiet", "verify"],
        ..PLAIN
    },
];

/// Equal files are linked before a path becomes valid.
const LINKED: [&str; 3] = ["--option", "auto-optimise-store", "true"];

/// The store path of what [`tree`] makes.
const TREE: &str = "/nix/store/d7jpgij3bcia45fihhsx1qz1v6kda860-tree";

/// The output of the last one of [`chain`].
const LAST: &str = "/nix/store/shycwlxcjjclrj6fihy4la7kniqbl54z-c2";

const TWO: &str = "echo hi; echo a > $out; echo b > $dev";

/// A directory to add.
fn tree(world: &World) -> Result<(), String> {
    world.write("tree/a/f", "1\n")?;
    world.write("tree/g", "2\n")?;
    let link = world.path("tree/l");
    std::os::unix::fs::symlink("g", &link).map_err(|error| format!("cannot make a symlink: {error}"))
}

/// One that is added.
fn added_tree(world: &World) -> Result<(), String> {
    tree(world)?;
    world.ok(&["add", "tree"]).map(|_| ())
}

/// What [`chain`] makes, kept by nothing.
fn built_chain(world: &World) -> Result<(), String> {
    world.write("x.json", chain())?;
    world.ok(&["build", "--quiet", "--no-link", "x.json"]).map(|_| ())
}

/// A manifest of files, whose store paths the program itself tells.
fn many(world: &World) -> Result<(), String> {
    let elsewhere = World::in_directory(world.program(), &world.path("elsewhere"))?;
    let mut lines = String::new();
    for number in 0..6 {
        let name = format!("many-{number}");
        world.write(&name, format!("file {number}\n"))?;
        let file = world.path(&name);
        let path = elsewhere.ok(&["add".as_ref(), file.as_os_str()])?;
        let hash = elsewhere.ok(&["hash".as_ref(), "path".as_ref(), file.as_os_str()])?;
        lines.push_str(&format!("{}\t{}\t{name}\n", path.trim_end(), hash.trim_end()));
    }
    world.write("manifest", lines)
}

fn has_result(world: &World) -> Result<(), String> {
    match fs::metadata(world.path("result")) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`result` leads nowhere: {error}")),
    }
}

/// A derivation of a script, as JSON; `inputs` are entries of `inputDrvs`.
fn derivation(name: &str, script: &str, outputs: &str, inputs: &str) -> String {
    format!(
        r#"{{ "name": "{name}", "system": "x86_64-linux", "builder": "/bin/sh", "args": ["-c", {script:?}],
             "env": {{}}, "inputSrcs": [], "inputDrvs": {{ {inputs} }}, "outputs": {{ {outputs} }} }}"#
    )
}

/// Three derivations, each of which needs the one before.
fn chain() -> String {
    let key = |number: usize| format!("/nix/store/{number:032}-c{number}.drv");
    let one = |number: usize| {
        let inputs = number.checked_sub(1).map(|before| format!(r#""{}": ["out"]"#, key(before)));
        let script = format!("echo {number} > $out");
        let text = derivation(&format!("c{number}"), &script, r#""out": {}"#, &inputs.unwrap_or_default());
        format!(r#""{}": {text}"#, key(number))
    };
    format!("{{ {} }}", (0..3).map(one).collect::<Vec<_>>().join(", "))
}
