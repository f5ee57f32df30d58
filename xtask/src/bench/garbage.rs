//! Stores full of garbage, made by plain SQL: what is timed is taking it away, or finding it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::Bench;
use super::measure::{Contender, Prepared};
use super::stores::Store;

/// Paths that nothing needs, in the rows that collect.
const DEAD: usize = 10_000;

/// References of each path, to some that come before it.
const REFERENCES: usize = 10;

/// Paths and references of the row that marks.
const MILLION: usize = 1_000_000;

/// Rows from here on, so that they are in nobody's way.
const FIRST: usize = 1000;

/// Takes ten thousand paths of a few files away: with us, with Nix, and as nothing but files.
pub(super) fn collect(bench: &Bench) -> Result<Vec<Contender>> {
    let mut contenders = in_turn(bench, &["gc", "--quiet"], &["--gc", "--quiet"]);
    contenders.push(contender(bench, "rm", |store, _| {
        let mut command = Command::new("rm");
        command.arg("-rf").arg(store.directory().join("nix/store"));
        command
    }));
    Ok(contenders)
}

/// Says which paths nothing needs.
pub(super) fn dead(bench: &Bench) -> Result<Vec<Contender>> {
    Ok(in_turn(bench, &["gc", "--print-dead"], &["--gc", "--print-dead"]))
}

/// Does something to a store full of garbage with us, and with Nix.
fn in_turn(bench: &Bench, ours: &'static [&str], nixs: &'static [&str]) -> Vec<Contender> {
    let mut contenders = vec![contender(bench, "store", move |store, program| {
        let mut command = store.store(program);
        command.args(ours);
        command
    })];
    if bench.has_nix() {
        contenders.push(contender(bench, "nix", move |store, _| store.nix(nixs)));
    }
    contenders
}

/// One to whom each run gives a store full of garbage.
fn contender(
    bench: &Bench,
    name: &'static str,
    command: impl Fn(&Store, &Path) -> Command + 'static,
) -> Contender {
    let program = bench.store.clone();
    let prepare = move || {
        let store = full(&program)?;
        Ok(Prepared { command: command(&store, &program), _keep: Some(store) })
    };
    Contender { name, prepare: Box::new(prepare), tells: false }
}

/// Loads a million paths and ten million references, and marks them all from one root.
pub(super) fn mark(bench: &Bench) -> Result<Vec<Contender>> {
    let directory = bench.scratch.path().join("million");
    if !directory.exists() {
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&bench.store);
            command.arg("--store").arg(&directory).args(arguments);
            command
        };
        found(&mut command(&["add", "/dev/null"]), &directory)?;
        fill(&directory, MILLION)?;
        let top = path(FIRST + MILLION - 1);
        symlink(top, directory.join("nix/var/nix/gcroots/top"))?;
    }
    let program = bench.store.clone();
    Ok(vec![Contender::plain("store", move || {
        let mut command = Command::new(&program);
        command.arg("--store").arg(&directory).args(["gc", "--print-dead"]);
        Ok(command)
    })])
}

/// Makes a store with that many dead paths, each of some files.
fn full(program: &Path) -> Result<Store> {
    let store = Store::empty()?;
    found(store.store(program).args(["add", "/etc/hostname"]), store.directory())?;
    let real = store.directory().join("nix/store");
    for number in FIRST..FIRST + DEAD {
        let place = real.join(path(number).trim_start_matches("/nix/store/"));
        fs::create_dir_all(place.join("bin"))?;
        for file in ["bin/program", "one", "two", "three"] {
            fs::write(place.join(file), format!("{file} of {number}\n"))?;
        }
    }
    fill(store.directory(), DEAD)?;
    Ok(store)
}

/// Has `store` make its directories and its database.
fn found(command: &mut Command, directory: &Path) -> Result<()> {
    // What is added need not be there: a store is made all the same.
    let _ = command.output()?;
    let database = database(directory);
    anyhow::ensure!(database.exists(), "no store was made at `{}`", directory.display());
    Ok(())
}

fn database(directory: &Path) -> PathBuf {
    directory.join("nix/var/nix/db/db.sqlite")
}

fn path(number: usize) -> String {
    format!("/nix/store/{number:032}-bench-{number}")
}

/// Makes that many paths valid, each of which refers to ten before it. One row is much like another.
fn fill(directory: &Path, paths: usize) -> Result<()> {
    let last = FIRST + paths - 1;
    let sql = format!(
        "pragma synchronous = off;
         begin immediate;
         drop index IndexReferrer;
         drop index IndexReference;
         insert into ValidPaths (id, path, hash, registrationTime, narSize)
           with recursive Number(n) as (select {FIRST} union all select n + 1 from Number where n < {last})
           select n, printf('/nix/store/%032d-bench-%d', n, n), 'sha256:{zeros}', 1700000000, 512 from Number;
         insert or ignore into Refs (referrer, reference)
           with recursive
             Number(n) as (select {second} union all select n + 1 from Number where n < {last}),
             Step(k) as (select 1 union all select k + 1 from Step where k < {REFERENCES})
           select n, iif(k = 1, n - 1, {FIRST} + (n * 7919 + k * 104729) % (n - {FIRST})) from Number, Step;
         create index IndexReferrer on Refs(referrer);
         create index IndexReference on Refs(reference);
         commit;
         pragma wal_checkpoint(truncate);",
        second = FIRST + 1,
        zeros = "0".repeat(64),
    );
    let connection =
        Connection::open(database(directory)).context("cannot open the database of the store")?;
    connection.execute_batch(&sql).context("cannot fill the database of the store")
}
