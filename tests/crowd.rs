//! Many processes started together on one store, with graphs that overlap: each derivation is built once, nobody fails and
//! nobody hangs; also when some of them are killed.
//!
//! `STORE_TEST_CROWD=100` makes it a large crowd.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::Random;

use crate::gated;
use crate::processes::within;
use crate::scene::{Scene, say, shell_derivation};

/// So many derivations are in each of the three layers.
const WIDTH: usize = 8;

/// Nobody is so slow, on however busy a machine.
const FOR_EVER: Duration = Duration::from_secs(900);

fn size() -> usize {
    env::var("STORE_TEST_CROWD").map_or(16, |size| size.parse().expect("a number"))
}

/// Says something to whoever has asked for a size.
fn tell(text: &str) {
    if env::var_os("STORE_TEST_CROWD").is_some() {
        say(text);
    }
}

struct Crowd {
    scene: Scene,
    /// What is built.
    drvs: BTreeSet<String>,
    /// The last layer; each needs all that is gated.
    tops: Vec<String>,
    dirs: String,
}

/// One of them.
struct Member {
    number: usize,
    child: Child,
    is_killed: bool,
}

impl Crowd {
    /// With `gate`, one derivation that all the others of the last layer need reads a line from there.
    fn new(gate: bool) -> Self {
        let scene = Scene::new();
        let path = scene.path("gate");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let dirs = format!("/dev /proc /gate={}", path.display());
        let mut drvs = BTreeSet::new();
        let mut add = |name: &str, script: &str, inputs: &[&String]| {
            let inputs: Vec<String> = inputs.iter().map(|drv| format!(r#""{drv}": ["out"]"#)).collect();
            let json = shell_derivation(name, script)
                .replace(r#""inputDrvs": {}"#, &format!(r#""inputDrvs": {{ {} }}"#, inputs.join(", ")));
            let drv = scene.ok(&["derivation", "add", &scene.write(&format!("{name}.json"), json)]);
            drvs.insert(drv.clone());
            drv
        };
        let gated = add("gated", if gate { "read line < /gate; echo > $out" } else { "echo > $out" }, &[]);
        let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo $name > $out";
        let mut layer: Vec<String> =
            (0..WIDTH).map(|place| add(&format!("base-{place}"), work, &[])).collect();
        for name in ["middle", "top"] {
            let of = |place: usize| -> String {
                let mut inputs = vec![&layer[place], &layer[(place + 3) % WIDTH]];
                inputs.extend((name == "top").then_some(&gated));
                add(&format!("{name}-{place}"), work, &inputs)
            };
            layer = (0..WIDTH).map(of).collect();
        }
        Self { scene, drvs, tops: layer, dirs }
    }

    /// Starts everybody; each wants two of the last layer.
    fn start(&self) -> Vec<Member> {
        let start = |number: usize| {
            let to = File::create(self.scene.path(format!("said-{number}"))).unwrap();
            let wanted = [&self.tops[number % WIDTH], &self.tops[(number * 5 + 2) % WIDTH]];
            let events = format!("events-{number}");
            let options = [
                "build",
                "--no-link",
                "-j2",
                "--events",
                &events,
                "--option",
                "build-chroot-dirs",
                &self.dirs,
            ];
            let mut command = self.scene.command(&options);
            command.args(wanted).stdout(to.try_clone().unwrap()).stderr(to);
            Member { number, child: command.spawn().unwrap(), is_killed: false }
        };
        (0..size()).map(start).collect()
    }

    /// Waits until all have ended, which they have to do well.
    fn await_all(&self, members: &mut [Member]) {
        for member in members.iter_mut().filter(|member| !member.is_killed) {
            let said = || fs::read_to_string(self.scene.path(format!("said-{}", member.number))).unwrap();
            let ends = within(FOR_EVER, || member.child.try_wait().unwrap().is_some());
            assert!(ends, "number {} hangs: {}", member.number, said());
            assert_eq!(member.child.wait().unwrap().code(), Some(0), "number {}: {}", member.number, said());
            assert!(!said().contains("is busy"), "{}", said());
        }
    }

    /// Returns how often these processes have run the builder of each derivation.
    fn runs<'a>(&self, members: impl Iterator<Item = &'a Member>) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for member in members {
            let events =
                fs::read_to_string(self.scene.path(format!("events-{}", member.number))).unwrap_or_default();
            // The last line of one that was killed may be half written.
            let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for event in events.filter(|event| event["type"] == "running") {
                *runs.entry(event["drvPath"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        runs
    }

    /// Returns whose builder is at the gate.
    fn at_gate(&self) -> Option<u32> {
        let all: Value = serde_json::from_str(&self.scene.ok(&["ps", "--json"])).unwrap();
        let is_there = |build: &&Value| {
            build["state"] == "building" && build["drvPath"].as_str().unwrap().ends_with("-gated.drv")
        };
        let build = all.as_array().unwrap().iter().find(is_there)?;
        u32::try_from(build["owner"]["process"].as_u64()?).ok()
    }

    fn assert_nothing_is_left(&self) {
        // The next start clears up what the killed have left.
        assert_eq!(self.scene.run(&["verify"]).code, Some(0));
        assert_eq!(self.scene.ok(&["ps", "--json"]), "[]");
        let left = fs::read_dir(self.scene.root().join("nix/var/nix/running-builds")).unwrap().count();
        assert_eq!(left, 0);
        for top in &self.tops {
            let out = self.scene.ok(&["query", "--outputs", top]);
            assert!(self.scene.real(&out).exists(), "{out}");
        }
    }
}

impl Member {
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.is_killed = true;
    }
}

#[test]
fn a_crowd_builds_each_derivation_once() {
    let crowd = Crowd::new(false);
    let begun = Instant::now();
    let mut members = crowd.start();
    crowd.await_all(&mut members);
    let took = begun.elapsed();
    let runs = crowd.runs(members.iter());
    assert!(runs.keys().all(|drv| crowd.drvs.contains(drv)), "{runs:?}");
    let once: BTreeMap<String, usize> = crowd.drvs.iter().map(|drv| (drv.clone(), 1)).collect();
    assert_eq!(runs, once);
    crowd.assert_nothing_is_left();
    tell(&format!("{} processes built {} derivations, each once, in {took:.1?}", size(), once.len()));
}

#[test]
fn a_crowd_goes_on_when_some_are_killed() {
    let crowd = Crowd::new(true);
    let seed = u64::from(std::process::id());
    let mut random = Random::seeded(seed);
    let begun = Instant::now();
    let mut members = crowd.start();
    let half = (size() / 20).max(1);
    for _ in 0..half {
        sleep(Duration::from_millis(random.below(800) as u64));
        let living: Vec<usize> = (0..members.len()).filter(|place| !members[*place].is_killed).collect();
        let place = living[random.below(living.len())];
        members[place].kill();
    }
    // And as many while they run a builder, which somebody else of the crowd runs then.
    let mut taken_over = 0;
    for _ in 0..half {
        let mut owner = None;
        let is_there = || {
            owner = crowd.at_gate().and_then(|owner| members.iter().position(|one| one.child.id() == owner));
            owner.is_some_and(|place| !members[place].is_killed)
        };
        assert!(within(FOR_EVER, is_there), "nobody builds what is gated (seed {seed})");
        members[owner.unwrap()].kill();
        taken_over += 1;
    }
    let living: Vec<u32> = members.iter().filter(|one| !one.is_killed).map(|one| one.child.id()).collect();
    assert!(within(FOR_EVER, || crowd.at_gate().is_some_and(|owner| living.contains(&owner))));
    gated::open(&crowd.scene);
    crowd.await_all(&mut members);
    let took = begun.elapsed();
    let survivors = crowd.runs(members.iter().filter(|member| !member.is_killed));
    assert!(survivors.values().all(|count| *count == 1), "seed {seed}: {survivors:?}");
    let all = crowd.runs(members.iter());
    let gated = all.iter().find(|(drv, _)| drv.ends_with("-gated.drv")).unwrap();
    assert!(*gated.1 > 1, "{all:?}");
    assert!(all.keys().all(|drv| crowd.drvs.contains(drv)) && all.len() == crowd.drvs.len(), "{all:?}");
    crowd.assert_nothing_is_left();
    let killed = members.iter().filter(|member| member.is_killed).count();
    tell(&format!(
        "{} processes, of which {killed} were killed and {taken_over} of them at a builder, built {} derivations in {took:.1?}",
        size(),
        all.len()
    ));
}
