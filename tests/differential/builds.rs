//! Random builds: what comes out, what is said, and how it ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use store_path::{Hash, HashAlgorithm};
use test_support::Random;

use super::rival::Rival;
use super::sizes;
use crate::scene::{Scene, say};

/// Steps of a build that go well; `INPUT` is another derivation's output.
const STEPS: &[&str] = &[
    "echo text > $out/file",
    "b mkdir -p $out/d/e; echo x > $out/d/e/f; b chmod 755 $out/d/e/f; b ln -s ../e $out/d/l",
    "echo ${INPUT} ${./file} $out > $out/references",
    "echo ${INPUT} > $out/one; b ln -s ${INPUT}/file $out/link",
    "b ln -s $out/file $out/self; b ln -s /nowhere $out/dangling",
    "echo x > $out/hard; b ln $out/hard $out/harder",
    "echo x > $out/mode; b chmod 4755 $out/mode; b chmod 2700 $out/mode; b chmod 0 $out/mode",
    "b dd if=/dev/zero of=$out/big bs=1000 count=777 2>/dev/null",
    "b env | b sort > $out/environment",
    "b cat /etc/passwd /etc/group /etc/hosts > $out/etc; b id > $out/id; b pwd > $out/pwd",
    // `/dev/kvm` is for those who require it (Nix shows it to all); who owns `/tmp` depends on who builds.
    "b ls -a /build /etc > $out/seen; b ls -a /dev | b grep -v kvm > $out/devices; b ls -a / | b grep -v nix > $out/root",
    "b stat -c '%a %u %g' /build > $out/modes; b stat -c %a /tmp /dev/null /dev/shm >> $out/modes",
    "b hostname > $out/host; b uname -srm > $out/uname; umask > $out/umask; ulimit -c > $out/core",
    "echo $$ > $out/process; b cat /proc/net/dev | b cut -d: -f1 > $out/network",
    "b mkdir $out/empty $out/'odd name' $out/A $out/a; echo > $out/.hidden",
    "b touch -d 2001-01-01 $out/old; b mkfifo fifo; b cat < /dev/null > $out/null",
    "b seq 1 5000 > $out/seq",
];

/// Things to say.
const WORDS: &[&str] = &[
    "echo out; echo err >&2",
    "printf 'no end of line'",
    "printf 'a\\rb\\r\\nc\\n\\n\\n'",
    "printf '\\001\\033[31mred\\033[0m\\377\\n'",
    "printf '%05000d\\n' 7",
    "b seq 1 300",
    "printf '@nix { \"action\": \"setPhase\", \"phase\": \"one\" }\\n' >&2",
    "printf 'tab\\tbell\\a\\n'",
];

/// Ways to fail.
const FAILURES: &[&str] = &[
    "exit 1",
    "exit 77",
    "kill -9 $$",
    "kill -TERM $$; b sleep 1",
    "b rm -rf $out",
    "b rm -rf $out; b mkfifo $out",
    "b chmod 777 $out",
    "b mkfifo $out/fifo",
    "nothing-of-this-name",
    "set -e; false; echo not reached",
];

/// Whole scripts whose output is one file.
const FILES: &[&str] = &["echo promised > $out", "printf promised > $out; b chmod 644 $out"];

struct Scripts {
    random: Random,
    text: String,
    count: usize,
}

/// Returns an expression for a list of derivations that can be built; some need others, and some fail.
fn expression(seed: u64, count: usize) -> String {
    let mut scripts = Scripts { random: Random::seeded(seed), text: "let\n".into(), count: 0 };
    while scripts.count < count {
        match scripts.random.below(8) {
            0 => scripts.promise(),
            1 => scripts.two_outputs(),
            2 => scripts.attributes(),
            _ => scripts.script(),
        }
    }
    let names: Vec<String> = (0..scripts.count).map(|index| format!("d{index}")).collect();
    format!("{}in map (d: d.drvPath) [ {} ]\n", scripts.text, names.join(" "))
}

impl Scripts {
    /// Writes one derivation whose builder runs a script.
    fn derivation(&mut self, attributes: &str, script: &str) {
        let index = self.count;
        let script = format!("b() {{ /bin/busybox \"$@\"; }}; {}", script.replace("INPUT", &self.input()));
        // A quote in the language of Nix, in which `${` is meant.
        let script = script.replace('\\', "\\\\").replace('"', "\\\"");
        let arch = std::env::consts::ARCH;
        self.text.push_str(&format!(
            "d{index} = derivation {{ name = \"build-{index}\"; system = \"{arch}-linux\"; builder = \"/bin/sh\"; \
             {attributes} args = [ \"-c\" \"{script}\" ]; }};\n"
        ));
        self.count += 1;
    }

    fn script(&mut self) {
        let mut script = vec!["b mkdir $out; echo x > $out/file"];
        for _ in 0..self.random.below(5) {
            script.push(if self.one_in(3) { self.one_of(WORDS) } else { self.one_of(STEPS) });
        }
        if self.one_in(4) {
            script.push(self.one_of(FAILURES));
        }
        let script = script.join("\n");
        self.derivation("variable = ''two\n lines''; PATH = \"/odd\"; TMPDIR = \"/mine\"; ", &script);
    }

    /// A fixed output, whose promise is kept or not.
    fn promise(&mut self) {
        let contents = self.one_of(&["promised\n", "promised", "something else"]);
        let hash = Hash::of(self.one_of(&[HashAlgorithm::Sha1, HashAlgorithm::Sha256]), contents.as_bytes());
        let attributes =
            format!("outputHash = \"{}\"; outputHashAlgo = \"{}\"; ", hash.to_base16(), hash.algorithm());
        let script = self.one_of(&[
            FILES[0],
            FILES[1],
            "b mkdir $out",
            "b ln -s x $out",
            "printf promised > $out; b chmod 755 $out",
            "exit 3",
        ]);
        self.derivation(&attributes, script);
    }

    fn two_outputs(&mut self) {
        let script = self.one_of(&[
            "echo $dev > $out; echo x > $dev",
            "echo $dev > $out; echo $out > $dev",
            "echo x > $out",
            "b mkdir $out $dev; echo ${INPUT} > $dev/it; b ln -s $dev $out/dev",
        ]);
        self.derivation("outputs = [ \"out\" \"dev\" ]; ", script);
    }

    /// What Nix puts into the build directory.
    fn attributes(&mut self) {
        let (attributes, script) = self.one_of(&[
            (
                "passAsFile = [ \"long\" ]; long = \"a\\nb\"; ",
                "b cat $longPath > $out; echo $longPath; b ls -a",
            ),
            ("exportReferencesGraph = [ \"graph\" ./file ]; ", "b cat graph > $out; b cat graph"),
            (
                "__structuredAttrs = true; a.b = [ 1 \"x\" null ]; c = \"it's\"; d = [ \"e\" ]; ",
                // Not by the variables that name these files: Nix 2.8 gives their places outside of the sandbox.
                "out=$(b grep -o '/nix/store/[a-z0-9]*-build-[0-9]*' .attrs.json)\n\
                 b cat .attrs.json .attrs.sh > $out; b env | b sort | b grep -v ATTRS; b cat .attrs.sh",
            ),
        ]);
        self.derivation(attributes, script);
    }

    fn input(&mut self) -> String {
        match self.random.below(self.count.min(6) + 1) {
            0 => "./tree".into(),
            far => format!("d{}", self.count - far),
        }
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.random.below(number) == 0
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.random.below(items.len())]
    }
}

#[test]
fn both_build_the_same_of_random_derivations() {
    let scene = Scene::new();
    let Some(rival) = Rival::of(&scene).filter(|_| Path::new("/bin/busybox").exists()) else {
        say("skipped: no Nix with a static `/bin/busybox` to build the same with");
        return;
    };
    scene.write("file", "a source");
    fs::create_dir(scene.path("tree")).unwrap();
    scene.write("tree/file", "another");
    let drvs = rival.paths(expression(8, sizes().1).as_bytes());
    // One store, twice.
    let copied = Command::new("cp").arg("-a").arg(rival.root()).arg(scene.root()).status().unwrap();
    assert!(copied.success());
    let mut ends: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    for drv in &drvs {
        let (nixs, ours) = (nix_build(&rival, drv), our_build(&scene, drv));
        *ends.entry(nixs.code).or_default() += 1;
        if ours != nixs {
            let text = fs::read(rival.root().join(&drv[1..])).unwrap();
            differences.push(format!(
                "{drv}: {}\nNix:   {nixs:?}\nstore: {ours:?}\n",
                String::from_utf8_lossy(&text)
            ));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    let (mut nixs, ours) = (registered(&rival, &rival.root()), registered(&rival, &scene.root()));
    // Where a promise is broken, Nix keeps what came instead, under the path that it should have been promised.
    nixs.retain(|path, row| row[2].is_empty() || ours.contains_key(path) || is_output(&rival, &row[2], path));
    for (path, row) in &nixs {
        let contents = || contents(&rival, &scene, path);
        assert!(ours.get(path) == Some(row), "{path}: {row:?}, not {:?}\n{}", ours.get(path), contents());
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), nixs.keys().collect::<Vec<_>>());
    assert!(ends.len() > 2, "they succeed, fail and break promises: {ends:?}");
    say(&format!("built by Nix and by `store`: {} derivations; how they ended: {ends:?}", drvs.len()));
}

/// How a build ended, and what it had said.
#[derive(Debug, PartialEq, Eq)]
struct End {
    code: Option<i32>,
    /// None where it never ran.
    log: Option<String>,
}

fn nix_build(rival: &Rival, drv: &str) -> End {
    let built = rival.command("nix-store", ["--realise", drv]).output().unwrap();
    let log = rival.command("nix-store", ["--read-log", drv]).output().unwrap();
    let text = String::from_utf8_lossy(&log.stdout).into_owned();
    End { code: built.status.code(), log: log.status.success().then_some(text) }
}

fn our_build(scene: &Scene, drv: &str) -> End {
    let programs = ["--option", "sandbox-paths", "/bin/sh=/bin/busybox /bin/busybox"];
    let built = scene.run(&[&["build", "--no-link", "--quiet", drv][..], &programs].concat());
    let log = scene.run(&["log", drv]);
    let mut text = log.stdout;
    if built.code != Some(0) && log.code == Some(0) {
        text = without_verdict(&text);
    }
    End { code: built.code, log: (log.code == Some(0)).then_some(text) }
}

/// Nix ends a log where the builder has ended it; of what failed, ours says why.
fn without_verdict(log: &str) -> String {
    let (said, verdict) = log.split_once("[store] ").expect("a log of ours says why the build failed");
    assert!(verdict.lines().skip(1).all(|line| line.starts_with("[store] ")), "{log}");
    said.to_owned()
}

fn is_output(rival: &Rival, drv: &str, path: &str) -> bool {
    fs::read_to_string(rival.root().join(&drv[1..])).unwrap().contains(path)
}

/// Returns in what two paths differ, for whoever has to find out why.
fn contents(rival: &Rival, scene: &Scene, path: &str) -> String {
    let (nixs, ours) = (rival.root().join(&path[1..]), scene.real(path));
    let compared = Command::new("diff").args(["-r", "--text"]).args([nixs, ours]).output();
    compared
        .map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns hash, size, deriver and references of every path in a store.
fn registered(rival: &Rival, root: &Path) -> BTreeMap<String, Vec<String>> {
    let root = crate::scene::text(root);
    let dump = String::from_utf8(rival.ok("nix-store", ["--store", &root, "--dump-db"])).unwrap();
    let mut lines = dump.lines().map(str::to_owned);
    let mut rows = BTreeMap::new();
    while let Some(path) = lines.next() {
        let mut row: Vec<String> = lines.by_ref().take(4).collect();
        row.extend(lines.by_ref().take(row[3].parse().unwrap()));
        rows.insert(path, row);
    }
    rows
}
