//! The live tree at the bottom of a terminal, as somebody sees it who sits there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::person::Person;
use crate::scene::{Scene, shell_derivation, text};

/// Begins a picture.
const BEGIN: &str = "\x1b[?2026h";

/// Says which phase it is in, as builders of nixpkgs do.
const PHASE: &str = r#"echo '@nix {"action":"setPhase","phase":"buildPhase"}'"#;

/// A build goes on when somebody lets it through.
const WAIT: &str = "read -r line < /gate/NAME";

/// Where builds wait until they are let go on.
struct Gate<'a> {
    scene: &'a Scene,
}

impl<'a> Gate<'a> {
    fn new(scene: &'a Scene, names: &[&str]) -> Self {
        fs::create_dir(scene.path("gate")).unwrap();
        for name in names {
            let path = scene.path(format!("gate/{name}"));
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        }
        Self { scene }
    }

    /// Lets a build go on. As long as the file is open for reading, too, this waits for nobody.
    fn opens(&self, name: &str) -> File {
        let path = self.scene.path(format!("gate/{name}"));
        let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"go\n").unwrap();
        file
    }

    /// `store build` at a terminal that moves its cursor.
    fn build(&self, arguments: &[&str]) -> Command {
        let shown = format!("/dev /proc /gate={}", text(self.scene.path("gate")));
        let options = ["build", "--no-link", "-j", "2", "--option", "build-chroot-dirs", &shown];
        let mut command = self.scene.command(&[&options[..], arguments].concat());
        command.env("TERM", "xterm-256color").env("NO_COLOR", "1");
        command
    }
}

fn waiting(name: &str, before: &str, after: &str) -> String {
    format!("{before}\n{}\n{after}", WAIT.replace("NAME", name))
}

/// Derivations that need each other: name, script and inputs.
fn derivations(scene: &Scene, all: &[(&str, &str, &[&str])]) -> String {
    let path = |name: &str| {
        format!(
            "/nix/store/{:0>32}-{name}.drv",
            name.len() * 1000 + name.as_bytes().iter().map(|byte| usize::from(*byte)).sum::<usize>()
        )
    };
    let mut object = serde_json::Map::new();
    for (name, script, inputs) in all {
        let mut derivation: serde_json::Value = serde_json::from_str(&shell_derivation(name, "")).unwrap();
        derivation["args"] = serde_json::json!(["-ec", script]);
        let inputs = inputs.iter().map(|input| (path(input), serde_json::json!(["out"])));
        derivation["inputDrvs"] = serde_json::Value::Object(inputs.collect());
        derivation.as_object_mut().unwrap().remove("name");
        object.insert(path(name), derivation);
    }
    scene.write("derivations.json", serde_json::Value::Object(object).to_string())
}

fn any(lines: &[String], holds: impl Fn(&str) -> bool) -> bool {
    lines.iter().any(|line| holds(line))
}

fn app_and_library(scene: &Scene) -> String {
    let library = waiting("library", PHASE, "echo > $out");
    derivations(scene, &[("library", &library, &[]), ("application", "echo > $out", &["library"])])
}

#[test]
fn a_tree_shows_what_runs_and_what_waits_for_it() {
    for (columns, branch) in [(40, "└ ● library  0:0"), (90, "└─ ● library  0:0"), (200, "└─ ● library  0:0")]
    {
        let scene = Scene::new();
        let gate = Gate::new(&scene, &["library"]);
        let file = app_and_library(&scene);
        let mut person = Person::at(&scene, &gate.build(&[&file]), 30, columns);
        let seen = person.looks(|lines| any(lines, |line| line.contains("buildPhase")));
        let first = seen.iter().position(|line| line == "application  waits for 1").expect("it waits");
        assert!(seen[first + 1].starts_with(branch) && seen[first + 1].contains("  buildPhase"), "{seen:#?}");
        assert!(seen[first + 2].starts_with("0/2 built · 1 running · 0:0"), "{seen:#?}");
        assert_eq!(seen.len(), first + 3, "{seen:#?}");
        let open = gate.opens("library");
        assert_eq!(person.stays(), Some(0));
        drop(open);
        // Nothing of it is left.
        let left = person.screen().concat();
        assert!(left.contains("2 derivations will be built") && left.contains("built /nix/store/"), "{left}");
        assert!(!left.contains("waits") && !left.contains('●') && !left.contains("running"), "{left}");
    }
}

#[test]
fn the_picture_fits_again_after_a_resize() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["library"]);
    let file = app_and_library(&scene);
    let mut person = Person::at(&scene, &gate.build(&[&file]), 30, 90);
    person
        .looks(|lines| any(lines, |line| line.starts_with("└─ ● library") && line.contains("  buildPhase")));
    for (columns, line) in [(40, "└ ● library"), (22, "└ ● library"), (120, "└─ ● library")] {
        person.resizes(30, columns);
        let seen = person.looks(|lines| any(lines, |seen| seen.starts_with(line)));
        assert_eq!(seen.iter().filter(|line| line.contains("● library")).count(), 1, "{seen:#?}");
        assert_eq!(seen.iter().filter(|line| line.contains("0/2 built")).count(), 1, "{seen:#?}");
    }
    let open = gate.opens("library");
    assert_eq!(person.stays(), Some(0));
    drop(open);
    let left = person.screen();
    assert!(
        !any(&left, |line| line.contains("waits") || line.contains('●') || line.contains("0/2")),
        "{left:#?}"
    );
}

/// Tries to steer the terminal, to speak for others, and to be more than anybody can read.
const HOSTILE: &str = r#"
printf '\033[2J\033[1;1H\033]0;title\007\033[?1049h\033[?2026l\033c\n'
printf '%s\n' '@nix {"action":"setPhase","phase":"\u001b[2J\u001b]0;title\u0007\u009b1A\r\n\u202edesrever"}'
for id in 0 1 2 3; do
  printf '%s\n' '@nix {"action":"stop","id":'$id'}'
  printf '%s\n' '@nix {"action":"result","id":'$id',"type":105,"fields":[18446744073709551615,1,-1,0]}'
  printf '%s\n' '@nix {"action":"result","id":'$id',"type":106,"fields":[100,1000000]}'
done
printf '%s\n' '@nix {"action":"msg","level":0,"msg":"error: all is lost"}'
printf '%s\n' '@nix {"action":"start","id":9,"level":0,"type":105,"text":"building something else","parent":0}'
printf '%s\n' '@nix {"action":"stop","id":9}'
printf '%s\n' '@nix {"action'
"#;

/// A line of many MiB, which begins as a message.
const LONG: &str = r#"
x=0123456789abcdef
for twice in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do x=$x$x; done
printf "%s$x" '@nix {"action":"setPhase","phase":"'
printf "$x"
"#;

#[test]
fn a_hostile_build_disturbs_nothing_but_its_own_phase() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["hostile", "other"]);
    let hostile = waiting("hostile", &format!("{HOSTILE}{LONG}"), "echo > $out");
    let other = waiting("other", PHASE, "echo > $out");
    let all = [
        ("hostile", &*hostile, &[][..]),
        ("other", &other, &[]),
        ("user", "echo > $out", &["hostile", "other"]),
    ];
    let file = derivations(&scene, &all);
    let mut person = Person::at(&scene, &gate.build(&[&file]), 30, 90);
    let is_there = |line: &str| line.contains("● hostile  ") && line.contains("desrever");
    let seen = person.looks(|lines| any(lines, is_there) && any(lines, |line| line.contains("buildPhase")));
    // It has said it all by now, or is about to; in any case nothing more is to be seen.
    let first = seen.iter().position(|line| line == "user  waits for 2").expect("it waits");
    assert!(seen[first + 1..=first + 2].iter().any(|line| is_there(line)), "{seen:#?}");
    assert!(seen[first + 3].starts_with("0/3 built · 2 running · 0:"), "{seen:#?}");
    assert_eq!(seen.len(), first + 4, "{seen:#?}");
    let open = [gate.opens("hostile"), gate.opens("other")];
    assert_eq!(person.stays(), Some(0));
    drop(open);
    let left = person.screen().concat();
    assert!(!left.contains('●') && !left.contains("all is lost") && !left.contains("desrever"), "{left}");
    for sequence in ["\x1b[2J", "\x1b[1;1H", "\x1b]", "\x07", "\x1b[?1049h", "\x1bc", "\u{202e}", "\u{9b}"] {
        assert!(!person.written().contains(sequence), "{sequence:?}");
    }
}

#[test]
fn with_their_logs_hostile_builds_stay_above_the_picture() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["hostile"]);
    let script = format!("{HOSTILE}echo the end");
    let file = derivations(&scene, &[("hostile", &waiting("hostile", &script, "echo > $out"), &[])]);
    let mut person = Person::at(&scene, &gate.build(&["-L", &file]), 30, 90);
    let seen = person.looks(|lines| any(lines, |line| line == "hostile> the end"));
    assert!(seen.last().is_some_and(|line| line.starts_with("0/1 built · 1 running")), "{:#?}", seen.last());
    assert!(seen[seen.len() - 2].starts_with("● hostile  "), "{:#?}", seen.last());
    // Text for people is shown as such, and what is no message is text.
    assert!(
        any(&seen, |line| line == "hostile> error: all is lost")
            && any(&seen, |line| line == "hostile> @nix {\"action")
    );
    let open = gate.opens("hostile");
    assert_eq!(person.stays(), Some(0));
    drop(open);
    assert!(!person.written().contains("\x1b[2J") && !person.written().contains("\x1b]"));
}

#[test]
fn ctrl_c_leaves_nothing_of_the_picture() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["library"]);
    let file = app_and_library(&scene);
    let mut person = Person::at(&scene, &gate.build(&[&file]), 30, 90);
    person.looks(|lines| any(lines, |line| line.contains("buildPhase")));
    person.signals(Signal::SIGINT);
    assert_eq!(person.stays(), Some(130));
    let left = person.screen();
    assert!(any(&left, |line| line.contains("interrupted")), "{left:#?}");
    assert!(
        !any(&left, |line| line.contains("waits") || line.contains('●') || line.contains("0/2")),
        "{left:#?}"
    );
}

#[test]
fn what_failed_stays_in_sight_and_a_shell_has_the_terminal_for_itself() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["other"]);
    let failing = format!("{PHASE}\necho clue\nexit 3");
    let other = waiting("other", PHASE, "echo > $out");
    let all = [
        ("failing", &*failing, &[][..]),
        ("other", &other, &[]),
        ("user", "echo > $out", &["failing", "other"]),
    ];
    let file = derivations(&scene, &all);
    let build = gate.build(&["--keep-going", "--on-fail=shell", &file]);
    let mut person = Person::at(&scene, &build, 30, 90);
    person.looks(|lines| any(lines, |line| line.contains("clue")) && person_has_a_shell(lines));
    person.types("echo $((6 * 7))");
    person.looks(|lines| any(lines, |line| line == "42"));
    let pictures = person.written().matches(BEGIN).count();
    person.watches(Duration::from_millis(500));
    assert_eq!(person.written().matches(BEGIN).count(), pictures);
    person.types("exit");
    let seen = person.looks(|lines| any(lines, |line| line.contains("✗ failing  failed in buildPhase")));
    assert!(seen.last().is_some_and(|line| line.contains(" · 1 failed")), "{seen:#?}");
    let open = gate.opens("other");
    assert_eq!(person.stays(), Some(100));
    drop(open);
    let left = person.screen();
    assert!(!any(&left, |line| line.contains('✗') || line.contains('●')), "{left:#?}");
}

/// The shell has asked for a command.
fn person_has_a_shell(lines: &[String]) -> bool {
    lines.last().is_some_and(|line| line.ends_with('$') || line.ends_with('#'))
}

#[test]
fn however_many_goals_there_are_a_picture_is_small() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["first"]);
    let first = waiting("first", PHASE, "echo > $out");
    let names: Vec<String> = (0..1000).map(|number| format!("goal-{number}")).collect();
    let needs: &[&str] = &["first"];
    let all = names.iter().map(|name| (&**name, "echo > $out", needs));
    let all: Vec<_> = std::iter::once(("first", &*first, &[][..])).chain(all).collect();
    let file = derivations(&scene, &all);
    let mut person = Person::at(&scene, &gate.build(&[&file]), 30, 90);
    person.looks(|lines| any(lines, |line| line.contains("buildPhase")));
    let (before, start) = (person.written().len(), Instant::now());
    person.watches(Duration::from_secs(2));
    let (written, took) = (&person.written()[before..], start.elapsed());
    let pictures = written.matches(BEGIN).count();
    // One may have been on its way.
    assert!(pictures as u128 <= took.as_millis() / 100 + 2, "{pictures} pictures in {took:?}");
    assert!(pictures > 0 && written.len() / pictures < 400, "{} bytes in {pictures} pictures", written.len());
    assert!(!written.contains("\x1b[J") && !written.contains("\x1b[2J"), "{written:?}");
    person.signals(Signal::SIGTERM);
    assert_eq!(person.stays(), Some(130));
}

#[test]
fn whoever_wants_lines_gets_lines() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &[]);
    let file = scene.write("plain.json", shell_derivation("plain", "echo > $out"));
    let check = |term: &str, options: &[&str], is_live: bool| {
        let mut command = gate.build(&[options, &[&file]].concat());
        command.env("TERM", term);
        let mut person = Person::with(&scene, &command);
        assert_eq!(person.stays(), Some(0));
        assert_eq!(person.written().contains('\x1b'), is_live, "{options:?}: {:?}", person.written());
        let path = person.screen().pop().unwrap();
        scene.ok(&["delete", &path]);
    };
    check("xterm", &[], true);
    check("xterm", &["--progress", "plain"], false);
    check("xterm", &["-v"], false);
    check("xterm", &["--quiet"], false);
    check("dumb", &[], false);
    check("dumb", &["--progress=live"], true);
    let mut elsewhere = gate.build(&["--progress", "live", &file]);
    let run: crate::scene::Run = elsewhere.output().unwrap().into();
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.contains("needs a terminal") && !run.stderr.contains('\x1b'), "{}", run.stderr);
}

#[test]
fn what_earlier_builds_took_and_what_this_one_uses_is_told() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["slow"]);
    let file = derivations(&scene, &[("slow", &waiting("slow", PHASE, "echo 0123456789 > $out"), &[])]);
    // For a little more than a second; how much more is no matter.
    let mut person = Person::at(&scene, &gate.build(&[&file]), 30, 120);
    person.looks(|lines| {
        any(lines, |line| line.contains("● slow") && !line.contains("0:00") && !line.contains("0:01"))
    });
    let open = gate.opens("slow");
    assert_eq!(person.stays(), Some(0));
    drop(open);
    let said = person.screen();
    assert!(any(&said, |line| line.contains("slow.drv in ") && line.ends_with("s, 128 B")), "{said:#?}");
    scene.ok(&["delete", said.last().unwrap()]);
    let mut person = Person::at(&scene, &gate.build(&[&file]), 30, 120);
    let told = |line: &str| line.contains("  of ~") && line.contains("iB  ") && line.ends_with("% CPU");
    let seen = person.looks(|lines| any(lines, |line| line.starts_with("● slow") && told(line)));
    assert!(seen.last().is_some_and(|line| line.ends_with(" left")), "{seen:#?}");
    person.signals(Signal::SIGINT);
    assert_eq!(person.stays(), Some(130));
}

/// A shell with jobs, whose prompt says that a command has ended.
fn with_jobs(scene: &Scene, build: &Command) -> Command {
    let words: Vec<&str> = build.get_args().map(|word| word.to_str().unwrap()).collect();
    let program = build.get_program().to_str().unwrap();
    scene.write(
        "job",
        format!("exec {program} {}", words.iter().map(|word| format!("'{word}' ")).collect::<String>()),
    );
    let mut shell = Command::new("/bin/sh");
    shell.arg("-im").current_dir(scene.path(""));
    shell.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PS1", "next? ").env("ENV", "");
    shell
}

#[test]
fn ctrl_z_leaves_nothing_of_the_picture_and_it_comes_back() {
    let scene = Scene::new();
    let gate = Gate::new(&scene, &["library"]);
    let file = app_and_library(&scene);
    let mut person = Person::at(&scene, &with_jobs(&scene, &gate.build(&[&file])), 30, 90);
    let asks = |lines: &[String]| lines.last().is_some_and(|line| line.trim_end() == "next?");
    let is_drawn = |line: &str| line.contains('●') || line.contains("0/2 built");
    person.looks(asks);
    person.types("sh job");
    person.looks(|lines| any(lines, |line| line.contains("buildPhase")));
    person.presses("\x1a");
    let seen = person.looks(asks);
    assert!(any(&seen, |line| line.contains("Stopped")), "{seen:#?}");
    assert!(!any(&seen, is_drawn), "{seen:#?}");
    // While others have the terminal, it draws nothing there.
    person.types("bg; sleep 1; echo slept");
    let seen = person.looks(|lines| asks(lines) && any(lines, |line| line == "slept"));
    assert!(!any(&seen, is_drawn), "{seen:#?}");
    person.types("fg");
    let seen = person.looks(|lines| any(lines, |line| line.contains("buildPhase")));
    assert_eq!(seen.iter().filter(|line| line.contains("● library")).count(), 1, "{seen:#?}");
    assert!(any(&seen, |line| line == "slept") && any(&seen, |line| line.contains("Stopped")), "{seen:#?}");
    let open = gate.opens("library");
    person.looks(asks);
    drop(open);
    assert!(!any(&person.screen(), is_drawn), "{:#?}", person.screen());
    person.types("exit");
    assert_eq!(person.stays(), Some(0));
}
