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
    let numbers = if cfg!(target_arch = "x86_64") { [272, 317, 250] } else { [97, 277, 219] };
    match word {
        "unshare" => numbers[0].to_string(),
        "seccomp" => numbers[1].to_string(),
        "keyctl" => numbers[2].to_string(),
        "mount_setattr" => "442".to_owned(),
        word => word.to_owned(),
    }
}
