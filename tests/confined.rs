//! `store` on a machine that forbids something, or does not do what it says, made by `fixtures/programs/confined.c`.

use std::fs;
use std::process::Command;

use test_support::fixture;

use crate::scene::{Run, Scene};

/// Runs the program where `words` say what is forbidden; every number of a system call by its name.
pub(crate) fn run(scene: &Scene, words: &[&str], arguments: &[&str]) -> Run {
    let source = fs::read_to_string(fixture("programs/confined.c")).unwrap();
    let store = scene.command(arguments);
    let mut command = Command::new(scene.c_program("confined", &source));
    command.args(words.iter().map(|word| number(word))).arg("--");
    command.arg(store.get_program()).args(store.get_args()).current_dir(scene.path(""));
    command.env_clear().envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run: Run = command.output().unwrap().into();
    assert_ne!(run.code, Some(99), "{words:?}: {}", run.stderr);
    run
}

fn number(word: &str) -> String {
    let numbers = [
        ("capset", [126, 91]),
        ("keyctl", [250, 219]),
        ("landlock_restrict_self", [446, 446]),
        ("mount_setattr", [442, 442]),
        ("seccomp", [317, 277]),
        ("setresuid", [117, 147]),
        ("umount2", [166, 39]),
        ("unshare", [272, 97]),
    ];
    let column = usize::from(cfg!(not(target_arch = "x86_64")));
    let known = numbers.iter().find(|(name, _)| *name == word);
    known.map_or_else(|| word.to_owned(), |(_, numbers)| numbers[column].to_string())
}
