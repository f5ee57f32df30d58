//! Killing anything at any moment: nothing runs on, nothing stays mounted, and the next start cleans up.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use test_support::Random;

use crate::processes::{Running, SOON, children, descendants, kill, mounts_below, processes, within};
use crate::scene::{Scene, isolations, say, shell_derivation};

/// Tells the kernel not to kill it when its parent dies, starts another process in a session of its own, and
/// goes on for ever.
const STUBBORN: &str = r"
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void) {
    for (int signal = 1; signal < 65; signal++) sigaction(signal, &(struct sigaction){ .sa_handler = SIG_IGN }, 0);
    prctl(PR_SET_PDEATHSIG, 0);
    if (fork() == 0) {
        setsid();
        prctl(PR_SET_PDEATHSIG, 0);
    }
    for (;;) pause();
}";

/// A build of a stubborn program, which can be told from others by a word.
struct Stubborn<'a> {
    scene: &'a Scene,
    word: String,
    running: Running<'a>,
}

impl<'a> Stubborn<'a> {
    fn start(scene: &'a Scene, isolation: &str, purpose: &str) -> Self {
        let word = format!("stubborn-{purpose}-{}", std::process::id());
        let program = scene.c_program("stubborn", STUBBORN);
        let entries = format!("/dev /proc /stubborn={program}");
        let script = format!("exec /stubborn {word}");
        let file = scene.write("stubborn.json", shell_derivation("stubborn", &script));
        let isolation = ["--option", "build-isolation", isolation, "--option", "build-chroot-dirs", &entries];
        let running = Running::start(scene, &[&["build", "--no-link", &file], &isolation[..]].concat());
        let started = || processes(&word).iter().filter(|one| is_program(one)).count() == 2;
        assert!(within(SOON, started), "the build does not start");
        Self { scene, word, running }
    }

    fn launcher(&self) -> u32 {
        children(self.running.id())[0]
    }

    /// The first child of the launcher that is no build; the other one keeps mounts.
    fn leash(&self) -> u32 {
        let builders: Vec<u32> = processes(&self.word).iter().map(|one| number(one)).collect();
        let holds_none = |child: &u32| {
            !builders.contains(child) && descendants(*child).iter().all(|one| !builders.contains(one))
        };
        children(self.launcher()).into_iter().find(holds_none).unwrap()
    }

    fn assert_gone(&self) {
        let gone = || processes(&self.word).is_empty() && mounts_below(self.scene).is_empty();
        let left = || (processes(&self.word), mounts_below(self.scene));
        assert!(within(SOON, gone), "{:?}", left());
    }
}

/// Whether it is the program, not yet the shell that becomes it.
fn is_program(process: &str) -> bool {
    fs::read(format!("{process}/comm")).is_ok_and(|name| name == b"stubborn\n")
}

fn number(process: &str) -> u32 {
    process.rsplit('/').next().unwrap().parse().unwrap()
}

/// Looks at what the next start has to leave: a store in good order, and nothing of builds.
fn assert_clean(scene: &Scene) {
    scene.ok(&["verify"]);
    let builds: Vec<_> = fs::read_dir(scene.root().join("nix/var/nix/builds")).unwrap().flatten().collect();
    assert!(builds.is_empty(), "{builds:?}");
    let entries = fs::read_dir(scene.root().join("nix/store")).unwrap().flatten();
    let scratch: Vec<_> =
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "chroot")).collect();
    assert!(scratch.is_empty(), "{scratch:?}");
}

#[test]
fn a_builder_that_wants_to_outlive_store_does_not() {
    for isolation in isolations() {
        let scene = Scene::new();
        let mut build = Stubborn::start(&scene, isolation, "store");
        build.running.kill_all(&[]);
        build.assert_gone();
        assert_clean(&scene);
    }
}

#[test]
fn a_builder_that_wants_to_outlive_the_launcher_does_not() {
    for isolation in isolations() {
        let scene = Scene::new();
        let mut build = Stubborn::start(&scene, isolation, "launcher");
        kill(&[build.launcher()]);
        let run = build.running.wait();
        assert_eq!(run.code, Some(100), "{}", run.stderr);
        assert!(run.stderr.contains("launches builds has died"), "{}", run.stderr);
        build.assert_gone();
        assert_clean(&scene);
    }
}

#[test]
fn a_builder_that_wants_to_outlive_both_does_not() {
    for isolation in isolations() {
        let scene = Scene::new();
        let mut build = Stubborn::start(&scene, isolation, "both");
        let launcher = build.launcher();
        build.running.kill_all(&[launcher]);
        build.assert_gone();
        assert_clean(&scene);
    }
}

#[test]
fn a_killed_leash_is_replaced() {
    let scene = Scene::new();
    let mut build = Stubborn::start(&scene, "namespaces", "leash");
    let (launcher, first) = (build.launcher(), build.leash());
    kill(&[first]);
    let replaced = || children(launcher).len() == 3 && !children(launcher).contains(&first);
    assert!(within(SOON, replaced), "{:?}", children(launcher));
    // It holds the build that was started before it.
    build.running.kill_all(&[launcher]);
    build.assert_gone();
    assert_clean(&scene);
}

/// Builds one after the other that wait for a file each, then tell what is in their store directory.
fn waiting_chain(scene: &Scene, word: &str, length: usize) -> String {
    let build = |number: usize| {
        let input = number.checked_sub(1).map(|before| format!(r#""{}": ["out"]"#, waiting_drv(before)));
        let script = format!(
            ": {word}; while [ ! -e /wait/{number} ]; do :; done; cd /nix/store; for f in *; do echo ${{f#*-}}; done > /build/seen; \
             while read -r line; do echo $line; done < /build/seen > $out"
        );
        format!(
            r#""{}": {{ "name": "wait-{number}", "system": "x86_64-linux", "builder": "/bin/sh",
                 "args": ["-c", {script:?}], "env": {{}}, "inputSrcs": [], "inputDrvs": {{ {} }},
                 "outputs": {{ "out": {{}} }} }}"#,
            waiting_drv(number),
            input.unwrap_or_default()
        )
    };
    let all: Vec<String> = (0..length).map(build).collect();
    scene.write("chain.json", format!("{{ {} }}", all.join(", ")))
}

/// A name for the file only.
fn waiting_drv(number: usize) -> String {
    format!("/nix/store/{number:032}-wait-{number}.drv")
}

#[test]
fn builds_go_on_when_what_keeps_their_mounts_is_killed() {
    let scene = Scene::new();
    let word = format!("kept-{}", std::process::id());
    let wait = scene.path("wait");
    fs::create_dir(&wait).unwrap();
    let file = waiting_chain(&scene, &word, 4);
    let entries = format!("/dev /proc /wait={}", wait.display());
    let mut running =
        Running::start(&scene, &["build", "--no-link", "--option", "build-chroot-dirs", &entries, &file]);
    let mut keepers = Vec::new();
    for number in 0..4 {
        let waits = format!("/wait/{number}");
        let starts = || {
            processes(&waits)
                .iter()
                .any(|one| !fs::read(format!("{one}/comm")).is_ok_and(|name| name == b"store-launcher\n"))
        };
        assert!(within(SOON, starts), "build {number} does not start");
        let launcher = children(running.id())[0];
        let builders: Vec<u32> = processes(&word).iter().map(|one| self::number(one)).collect();
        let mut others = children(launcher);
        others.retain(|one| !builders.contains(one));
        let keeper = *others.last().unwrap();
        assert!(others.len() == 2 && !keepers.contains(&keeper), "{others:?} {keepers:?}");
        if number % 2 == 0 {
            kill(&[keeper]);
            keepers.push(keeper);
        }
        fs::write(wait.join(number.to_string()), "").unwrap();
    }
    let run = running.wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // Each sees its one input, not those of the builds before.
    let seen = fs::read_to_string(scene.real(run.stdout.trim())).unwrap();
    assert!(seen == "wait-2\n", "{seen}");
    assert_clean(&scene);
}

#[test]
fn what_outlives_all_three_ends_with_the_next_start() {
    for isolation in isolations() {
        let scene = Scene::new();
        let mut build = Stubborn::start(&scene, isolation, "all");
        let builders: Vec<u32> = processes(&build.word).iter().map(|one| number(one)).collect();
        let mut guards = descendants(build.running.id());
        guards.retain(|process| !builders.contains(process));
        build.running.kill_all(&guards);
        assert_clean(&scene);
        build.assert_gone();
    }
}

/// Kills a random choice of the processes of a build at a random moment.
struct Rounds<'a> {
    scene: &'a Scene,
    random: Random,
    /// How long such a build takes.
    usual: Duration,
}

impl Rounds<'_> {
    /// Writes a build that leaves a process and a large output behind.
    fn write(&self, word: &str) -> String {
        let script = format!(
            ": {word}; (while :; do :; done) > /dev/null 2>&1 & n=0; \
             while [ $n -lt 5000 ]; do echo $n $out; n=$((n+1)); done > $out"
        );
        self.scene.write("round.json", shell_derivation(word, &script))
    }

    fn round(&mut self, number: u32, isolation: &str) -> String {
        let word = format!("round-{number}-{}", std::process::id());
        let file = self.write(&word);
        let arguments = ["build", "--no-link", "--option", "build-isolation", isolation, &file];
        let mut running = Running::start(self.scene, &arguments);
        let delay = self.usual.mul_f64(f64::from(self.random.below(1200) as u32) / 1000.0);
        sleep(delay);
        let store = running.id();
        let mut chosen = descendants(store);
        let everybody = chosen.len() + 1;
        // Everything at once is one of the cases that have to be seen.
        let all = self.random.below(4) == 0;
        chosen.retain(|_| all || self.random.below(2) == 0);
        let kills_store = all || self.random.below(2) == 0;
        let start = Instant::now();
        let told = format!(
            "round {number} ({isolation}): after {delay:?}, {} of {everybody} and {}store",
            chosen.len(),
            if kills_store { "" } else { "not " }
        );
        if kills_store {
            running.kill_all(&chosen);
        } else {
            kill(&chosen);
            assert!(running.ends_within(SOON), "{told}: it does not end");
        }
        let gone = || processes(&word).is_empty();
        // What chroot mode leaves when all is killed at once is undone by the next start.
        assert!(
            within(if isolation == "chroot" { Duration::from_secs(2) } else { SOON }, gone)
                || isolation == "chroot",
            "{told}: {:?}",
            processes(&word)
        );
        assert_clean(self.scene);
        assert!(gone(), "{told}: {:?}", processes(&word));
        assert_eq!(mounts_below(self.scene), [""; 0], "{told}");
        let again = self.scene.run(&arguments);
        assert_eq!(again.code, Some(0), "{told}: {}", again.stderr);
        format!("{told}; in order after {:?}", start.elapsed())
    }
}

#[test]
fn whatever_is_killed_whenever_nothing_stays() {
    // More can be asked for, to look for what is rare.
    let rounds = std::env::var("STORE_TEST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(12);
    let seed = std::env::var("STORE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let scene = Scene::new();
    let mut all = Rounds { scene: &scene, random: Random::seeded(seed), usual: Duration::MAX };
    for attempt in 0..3 {
        let file = all.write(&format!("usual-{attempt}"));
        let start = Instant::now();
        scene.ok(&["build", "--no-link", &file]);
        all.usual = all.usual.min(start.elapsed());
    }
    for number in 0..rounds {
        let isolation = isolations()[number as usize % isolations().len()];
        let told = all.round(number, isolation);
        if rounds > 12 {
            say(&told);
        }
    }
}
