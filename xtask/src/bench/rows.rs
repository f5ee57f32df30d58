//! What is timed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::measure::{Contender, Prepared, this_part};
use super::queries::{self, Question};
use super::stores::Store;
use super::{Bench, derivations, exchange, garbage, graph, noise, sandbox, upkeep};

/// One thing to time.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The figure is divided by this many builds.
    pub(super) per: usize,
    /// Who does it; ours comes first.
    pub(super) contenders: fn(&Bench) -> Result<Vec<Contender>>,
}

/// Builds one after the other before the first of the waiting goals may run.
const CHAIN: usize = 20;

/// Files that a compile job compiles; or, without a compiler, programs that a loop starts.
const COMPILED: usize = 60;

pub(super) const ROWS: &[Row] = &[
    Row { name: "trivial-build", per: 1, contenders: |bench| builds(bench, graph::independent(1), 1, 1) },
    Row { name: "500-builds", per: 1, contenders: |bench| builds(bench, graph::independent(500), 500, 2) },
    // Per build; what is linear has the same figure in both.
    Row { name: "builds-100", per: 100, contenders: |bench| builds(bench, graph::independent(100), 100, 2) },
    Row {
        name: "builds-5000",
        per: 5000,
        contenders: |bench| builds(bench, graph::independent(5000), 5000, 2),
    },
    Row { name: "durable-500", per: 1, contenders: durable },
    Row { name: "500-valid", per: 1, contenders: |bench| valid(bench, 500) },
    Row { name: "5000-valid", per: 1, contenders: |bench| valid(bench, 5000) },
    Row { name: "waiting-100", per: CHAIN + 100, contenders: |bench| waiting(bench, 100) },
    Row { name: "waiting-2000", per: CHAIN + 2000, contenders: |bench| waiting(bench, 2000) },
    Row { name: "dump-20000-files", per: 1, contenders: dump_small },
    Row { name: "dump-1gib", per: 1, contenders: dump_large },
    Row { name: "hash-1gib", per: 1, contenders: hash_large },
    Row { name: "scan-1gib", per: 1, contenders: scan_large },
    Row { name: "register-1gib", per: 1, contenders: register_large },
    Row { name: "register-20000-files", per: 1, contenders: register_small },
    Row { name: "sandbox-0", per: sandbox::COUNT, contenders: |bench| sandbox::contenders(bench, 0) },
    Row { name: "sandbox-1", per: sandbox::COUNT, contenders: |bench| sandbox::contenders(bench, 1) },
    Row { name: "sandbox-10", per: sandbox::COUNT, contenders: |bench| sandbox::contenders(bench, 10) },
    Row { name: "sandbox-100", per: sandbox::COUNT, contenders: |bench| sandbox::contenders(bench, 100) },
    Row { name: "sandbox-1000", per: sandbox::COUNT, contenders: |bench| sandbox::contenders(bench, 1000) },
    Row {
        name: "sandbox-10000",
        per: sandbox::COUNT,
        contenders: |bench| sandbox::contenders(bench, 10_000),
    },
    Row { name: "closure-100", per: CONSUMERS, contenders: |bench| closure(bench, 100) },
    Row { name: "closure-1000", per: CONSUMERS, contenders: |bench| closure(bench, 1000) },
    // Per derivation; what is linear has the same figure in both.
    Row { name: "derivations-400", per: 400, contenders: |bench| derivations::contenders(bench, 400) },
    Row { name: "derivations-1600", per: 1600, contenders: |bench| derivations::contenders(bench, 1600) },
    Row { name: "export-1000", per: 1, contenders: |bench| exchange::export(bench, 1000) },
    Row { name: "import-1000", per: 1, contenders: |bench| exchange::import(bench, 1000) },
    Row { name: "import-10000", per: 1, contenders: |bench| exchange::import(bench, 10_000) },
    Row { name: "gc-10000", per: 1, contenders: garbage::collect },
    Row { name: "gc-print-dead-10000", per: 1, contenders: garbage::dead },
    Row { name: "gc-mark-1000000", per: 1, contenders: garbage::mark },
    Row {
        name: "query-closure-10000",
        per: 1,
        contenders: |bench| queries::contenders(bench, 10_000, Question::Closure),
    },
    Row {
        name: "query-referrers-10000",
        per: 1,
        contenders: |bench| queries::contenders(bench, 10_000, Question::Referrers),
    },
    Row { name: "compile", per: COMPILED, contenders: compile },
    Row { name: "verify-2000", per: 1, contenders: upkeep::verify },
    Row { name: "optimise-2000", per: 1, contenders: upkeep::optimise },
];

/// Builds a graph with us, with Nix, and as bare namespaces; each time in a new store.
fn builds(bench: &Bench, graph: Value, count: usize, jobs: usize) -> Result<Vec<Contender>> {
    let mut contenders = in_stores(bench, &[], graph, jobs, Ok);
    contenders.push(part("builds", vec![count.to_string(), jobs.to_string()]));
    Ok(contenders)
}

/// Builds with files flushed before they become valid, and without: the ratio is what durability costs. On a disk, that is:
/// `TMPDIR` should not be in memory.
fn durable(bench: &Bench) -> Result<Vec<Contender>> {
    let contender = |name, flushes: &'static str| -> Result<Contender> {
        let contenders = in_stores(bench, &[], graph::independent(500), 2, move |build| {
            let mut command = Command::new(build.get_program());
            command.args(build.get_args()).args(["--option", "fsync-store-paths", flushes]);
            Ok(command)
        });
        let ours = contenders.into_iter().next().context("ours comes first")?;
        Ok(Contender { name, ..ours })
    };
    Ok(vec![contender("flushed", "true")?, contender("unflushed", "false")?])
}

fn waiting(bench: &Bench, count: usize) -> Result<Vec<Contender>> {
    builds(bench, graph::waiting(CHAIN, count), CHAIN + count, 1)
}

/// Builds a graph with us and with Nix, each time in a new store; `ready` has the command before it is timed.
fn in_stores(
    bench: &Bench,
    sources: &[PathBuf],
    graph: Value,
    jobs: usize,
    ready: impl Fn(Command) -> Result<Command> + Clone + 'static,
) -> Vec<Contender> {
    let contender = |name, command: fn(&Store, &Path, usize) -> Command| {
        let (program, sources) = (bench.store.clone(), sources.to_vec());
        let (graph, ready) = (graph.clone(), ready.clone());
        let prepare = move || {
            let store = Store::with(&program, &sources, &graph)?;
            let command = ready(command(&store, &program, jobs))?;
            Ok(Prepared { command, _keep: Some(store) })
        };
        Contender { name, prepare: Box::new(prepare), tells: false }
    };
    let mut contenders = vec![contender("store", Store::build)];
    if bench.has_nix() {
        contenders.push(contender("nix", |store, _, jobs| store.nix_build(jobs)));
    }
    contenders
}

/// Builds that all have the same closure.
const CONSUMERS: usize = 20;

/// Whole builds with that many inputs each.
fn closure(bench: &Bench, inputs: usize) -> Result<Vec<Contender>> {
    let contender = |name, command: fn(&Store, &Path, usize) -> Command| {
        let program = bench.store.clone();
        let prepare = move || {
            let mut store = Store::with(&program, &[], &graph::independent(inputs))?;
            store.replace(&program, &graph::consumers(CONSUMERS, &store.derivations))?;
            let command = command(&store, &program, 1);
            Ok(Prepared { command, _keep: Some(store) })
        };
        Contender { name, prepare: Box::new(prepare), tells: false }
    };
    let mut contenders = vec![contender("store", Store::build)];
    if bench.has_nix() {
        contenders.push(contender("nix", |store, _, jobs| store.nix_build(jobs)));
    }
    Ok(contenders)
}

/// Asks for what is there already; the floor is a start of our program.
fn valid(bench: &Bench, count: usize) -> Result<Vec<Contender>> {
    let mut contenders = in_stores(bench, &[], graph::independent(count), 2, |mut command| {
        let built = command.output()?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Ok(command)
    });
    contenders.push(program("start", &bench.store, &["--version"]));
    Ok(contenders)
}

fn dump_small(bench: &Bench) -> Result<Vec<Contender>> {
    Ok(dump(bench, &noise::small_files(bench.scratch.path())?, "read"))
}

fn dump_large(bench: &Bench) -> Result<Vec<Contender>> {
    Ok(dump(bench, &noise::hex_file(bench.scratch.path())?, "sha256"))
}

/// Writes an archive to nowhere.
fn dump(bench: &Bench, path: &Path, floor: &'static str) -> Vec<Contender> {
    let path = &*path.to_string_lossy();
    let mut contenders = vec![program("store", &bench.store, &["dump", path])];
    if bench.has_nix() {
        contenders.push(program("nix", "nix-store".as_ref(), &["--dump", path]));
    }
    contenders.push(part(floor, vec![path.to_owned()]));
    contenders
}

/// Archive and hash in one pass.
fn hash_large(bench: &Bench) -> Result<Vec<Contender>> {
    let path = &*noise::hex_file(bench.scratch.path())?.to_string_lossy().into_owned();
    let mut contenders = vec![program("store", &bench.store, &["hash", "path", path])];
    if bench.has_nix() {
        contenders.push(program("nix", "nix-hash".as_ref(), &["--type", "sha256", path]));
    }
    contenders.push(part("sha256", vec![path.to_owned()]));
    Ok(contenders)
}

/// Archive, hash and reference scan in one pass: what registration does with an output.
fn scan_large(bench: &Bench) -> Result<Vec<Contender>> {
    let path = noise::hex_file(bench.scratch.path())?.to_string_lossy().into_owned();
    Ok(vec![part("scan", vec![path.clone()]), part("sha256", vec![path])])
}

/// A whole build whose output is that file; the floor copies the file and hashes the copy.
fn register_large(bench: &Bench) -> Result<Vec<Contender>> {
    let file = noise::hex_file(bench.scratch.path())?;
    let floor = ["hex", "copy"].map(|name| bench.scratch.path().join(name).to_string_lossy().into_owned());
    let mut contenders = copied(bench, file)?;
    contenders.push(part("copy", floor.into()));
    Ok(contenders)
}

/// A whole build whose output is many small files, beside what its builder does: the rest is for registering them.
fn register_small(bench: &Bench) -> Result<Vec<Contender>> {
    let source = noise::small_files(bench.scratch.path())?;
    let mut contenders = copied(bench, source.clone())?;
    let target = bench.scratch.path().join("small-copy");
    contenders.push(Contender::plain("copy", move || {
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        let mut command = Command::new("/bin/busybox");
        command.args(["cp", "-r"]).args([&source, &target]);
        Ok(command)
    }));
    Ok(contenders)
}

/// A build that copies `source`.
fn copied(bench: &Bench, source: PathBuf) -> Result<Vec<Contender>> {
    let path = Store::empty()?.add(&bench.store, &source)?;
    Ok(in_stores(bench, &[source], graph::copying(&path), 1, |build| {
        // One static program serves as both, on both sides.
        let programs = ["--option", "sandbox-paths", "/bin/sh=/bin/busybox /bin/cp=/bin/busybox"];
        let mut command = Command::new(build.get_program());
        // Last, as later options win.
        command.args(build.get_args()).args(programs);
        Ok(command)
    }))
}

/// A compile job with the host's compiler, observed (`--explain`) and not: the ratio is what observing costs.
fn compile(bench: &Bench) -> Result<Vec<Contender>> {
    /// All that the compiler of a common distribution needs.
    const SHOWN: &str = "/dev /proc /usr /bin? /lib? /lib64? /etc/alternatives?";
    let script = match Path::new("/usr/bin/cc").exists() {
        true => {
            "printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) { return puts(\"x\"); }\n' > x.c; \
             i=0; while [ $i -lt COUNT ]; do cc -O1 -c x.c -o x$i.o || exit 1; i=$((i+1)); done; echo > $out"
        }
        false => "i=0; while [ $i -lt COUNT ]; do /usr/bin/env true; i=$((i+1)); done; echo > $out",
    };
    let graph = graph::script(&script.replace("COUNT", &COMPILED.to_string()));
    let contender = |name, explain: &'static str| -> Result<Contender> {
        let contenders = in_stores(bench, &[], graph.clone(), 1, move |build| {
            let mut command = Command::new(build.get_program());
            command.args(build.get_args());
            command.args(["--option", "build-chroot-dirs", SHOWN, "--option", "explain", explain]);
            Ok(command)
        });
        let ours = contenders.into_iter().next().context("ours comes first")?;
        Ok(Contender { name, ..ours })
    };
    Ok(vec![contender("observed", "always")?, contender("unobserved", "never")?])
}

/// A part of this program.
fn part(name: &'static str, arguments: Vec<String>) -> Contender {
    Contender::plain(name, move || {
        let mut command = this_part(name)?;
        command.args(&arguments);
        Ok(command)
    })
}

/// A program that needs nothing made ready.
fn program(name: &'static str, program: &Path, arguments: &[&str]) -> Contender {
    let (program, arguments) =
        (program.to_owned(), arguments.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    Contender::plain(name, move || {
        let mut command = Command::new(&program);
        command.args(&arguments);
        Ok(command)
    })
}
