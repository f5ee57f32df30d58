//! The page of `store build --timings`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use test_support::fixture;

use crate::browser::Browser;
use crate::failures::FAILING_INPUT;
use crate::processes::{Running, SOON, within};
use crate::scene::{Run, Scene, derivation, shell_derivation};

const OPEN: &str = r#"<script type="application/json" id="data">"#;

/// Builds with a page beside, and returns what that shows.
fn timed(scene: &Scene, arguments: &[&str]) -> (Run, Value) {
    let run = scene.run(&[&["build", "--no-link", "--timings=page.html"], arguments].concat());
    (run, data(&scene.path("page.html")))
}

/// Returns the data of a page.
pub(crate) fn data(page: &Path) -> Value {
    let page = fs::read_to_string(page).unwrap();
    let data = page.split_once(OPEN).unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(data).unwrap()
}

fn goals(data: &Value) -> &Vec<Value> {
    data["goals"].as_array().unwrap()
}

/// Returns a build by its name.
pub(crate) fn goal<'a>(data: &'a Value, name: &str) -> &'a Value {
    goals(data).iter().find(|goal| goal["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {data}"))
}

#[test]
fn the_page_has_every_build_with_its_times() {
    let scene = Scene::new();
    let (run, data) = timed(&scene, &["-j", "2", &derivation("diamond")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("timings are in `"), "{}", run.stderr);
    assert_eq!((&data["version"], &data["status"], &data["slots"]), (&1.into(), &"done".into(), &2.into()));
    assert_eq!(goals(&data).len(), 4);
    let time =
        |goal: &Value, field: &str| goal[field].as_u64().unwrap_or_else(|| panic!("`{field}` of {goal}"));
    for goal in goals(&data) {
        assert_eq!((&goal["status"], &goal["kind"]), (&"built".into(), &"build".into()));
        let times =
            ["knownMs", "readyMs", "startedMs", "runningMs", "endedMs"].map(|field| time(goal, field));
        assert!(times.is_sorted() && times[4] <= time(&data, "durationMs"), "{goal}");
        for field in ["peakMemoryBytes", "outputBytes"] {
            assert!(goal[field].as_u64() > Some(0), "`{field}` of {goal}");
        }
        for input in goal["inputs"].as_array().into_iter().flatten() {
            let input = &data["goals"][usize::try_from(input.as_u64().unwrap()).unwrap()];
            assert!(time(input, "endedMs") <= time(goal, "readyMs"), "{input} {goal}");
        }
    }
    // From the bottom over one of the sides to the top.
    let path: Vec<&Value> = data["criticalPath"].as_array().unwrap().iter().collect();
    assert!(path.len() <= 3 && !path.is_empty(), "{path:?}");
    assert!(data["samples"]["atMs"].as_array().is_some_and(|samples| !samples.is_empty()));
}

#[test]
fn what_a_build_waited_for_is_told_by_cause() {
    let scene = Scene::new();
    let slow = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo x > $out";
    let files = ["one", "two"].map(|name| scene.write(&format!("{name}.json"), shell_derivation(name, slow)));
    let (run, data) = timed(&scene, &["-j", "1", &files[0], &files[1]]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let time = |name, field: &str| goal(&data, name)[field].as_u64().unwrap();
    let mut both = ["one", "two"];
    both.sort_by_key(|name| time(name, "startedMs"));
    let [first, last] = both;
    // The one that came last waited for a slot until then, and for nothing else.
    let waits = goal(&data, last)["waits"].as_object().unwrap();
    assert_eq!(waits.keys().collect::<Vec<_>>(), ["slot"], "{data}");
    assert!(waits["slot"].as_u64().unwrap().abs_diff(time(last, "startedMs") - time(last, "readyMs")) <= 1);
    assert!(time(last, "startedMs") >= time(first, "runningMs"), "{data}");
    assert_eq!(data["criticalPath"].as_array().unwrap().len(), 1);
}

#[test]
fn a_page_is_there_after_failures_too() {
    let scene = Scene::new();
    let (run, data) = timed(&scene, &[&scene.write("pair.json", FAILING_INPUT)]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert_eq!(data["status"], "failed");
    let states: Vec<&str> = goals(&data).iter().map(|goal| goal["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "blocked"]);
    assert!(goals(&data)[0]["message"].as_str().unwrap().contains("it returned"), "{data}");
    assert_eq!(goals(&data)[1]["startedMs"], Value::Null);
}

#[test]
fn a_page_is_there_after_ctrl_c_too() {
    let scene = Scene::new();
    let script = "echo Running phase: buildPhase; echo x > $out; while :; do :; done";
    let file = scene.write("forever.json", shell_derivation("forever", script));
    let mut running =
        Running::start(&scene, &["build", "--no-link", "--timings=page.html", "--events", "events", &file]);
    let heard = || fs::read_to_string(scene.path("events")).is_ok_and(|text| text.contains("buildPhase"));
    assert!(within(SOON, heard));
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).unwrap();
    let run = running.wait();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    let data = data(&scene.path("page.html"));
    assert_eq!((&data["status"], &goals(&data)[0]["status"]), (&"interrupted".into(), &"cancelled".into()));
    assert_eq!(goals(&data)[0]["phases"][0]["name"], "buildPhase");
    // Nothing beside it is left.
    let left = fs::read_dir(scene.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("page.html")).count(), 1);
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_built() {
    let scene = Scene::new();
    let hello = derivation("hello");
    let refusal = scene.fails(1, &["build", "--no-link", "--timings=nowhere/page.html", &hello]);
    assert!(refusal.contains("cannot write timings to `") && refusal.contains("ENOENT"), "{refusal}");
    let refusal = scene.fails(1, &["build", "--no-link", "--timings=home", &hello]);
    assert!(refusal.contains("that is a directory"), "{refusal}");
    // Without a name it is beside the user.
    scene.ok(&["build", "--no-link", "--timings", &hello]);
    assert_eq!(goals(&data(&scene.path("timings.html"))).len(), 1);
}

#[test]
fn no_page_takes_the_place_of_a_device_a_pipe_or_a_symlink() {
    let scene = Scene::new();
    let hello = derivation("hello");
    fs::write(scene.path("target.html"), "old").unwrap();
    symlink("target.html", scene.path("link.html")).unwrap();
    scene.ok(&["build", "--no-link", "--timings=link.html", &hello]);
    assert!(scene.path("link.html").is_symlink());
    assert_eq!(goals(&data(&scene.path("target.html"))).len(), 1);
    let pipe = scene.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refusal = scene.fails(1, &["build", "--no-link", "--timings=pipe", &hello]);
    assert!(refusal.contains("/pipe`: No such device"), "nobody reads it: {refusal}");
    // Whoever opens it for both waits for nobody, and then it has a reader.
    let held = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut reader =
        Command::new("cat").stdin(File::open(&pipe).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    scene.ok(&["build", "--no-link", "--timings=pipe", &hello]);
    drop(held);
    let page = std::io::read_to_string(reader.stdout.take().unwrap()).unwrap();
    assert!(reader.wait().unwrap().success() && page.contains(OPEN), "{page}");
    symlink("/dev/full", scene.path("device")).unwrap();
    let run = scene.run(&["build", "--no-link", "--timings=device", &hello]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("/device`: No space left"), "{}", run.stderr);
    assert!(scene.path("device").is_symlink());
    // Nor that of the results.
    for option in ["--timings=/dev/stdout", "--timings=-", "--events=/dev/stdout", "--events=-"] {
        let out = File::create(scene.path("out")).unwrap();
        let run: Run =
            scene.command(&["build", "--no-link", option, &hello]).stdout(out).output().unwrap().into();
        assert_eq!(run.code, Some(2), "{option}: {}", run.stderr);
        assert!(run.stderr.contains("stdout is for results"), "{option}: {}", run.stderr);
    }
    assert!(!scene.path("-").exists());
}

/// Writes a page of the program with other data in it.
fn page_with(scene: &Scene, data: &Value) -> std::path::PathBuf {
    scene.ok(&["build", "--no-link", "--timings=page.html", &derivation("hello")]);
    let page = fs::read_to_string(scene.path("page.html")).unwrap();
    let (head, rest) = page.split_once(OPEN).unwrap();
    let (_, tail) = rest.split_once("</script>").unwrap();
    let data = data.to_string().replace('<', "\\u003c");
    scene.write("page.html", format!("{head}{OPEN}{data}</script>{tail}")).into()
}

/// A run of fifty builds.
fn example() -> Value {
    serde_json::from_str(&fs::read_to_string(fixture("timings/example.json")).unwrap()).unwrap()
}

/// Returns the names in the table, as far as they are shown.
fn listed(browser: &mut Browser) -> Vec<String> {
    let names =
        browser.eval("[...document.querySelectorAll('#rows .row')].map((row) => row.firstChild.textContent)");
    serde_json::from_value(names).unwrap()
}

#[test]
fn a_browser_shows_the_page_and_obeys_the_keyboard() {
    let Some(mut browser) = Browser::start() else { return };
    let scene = Scene::new();
    browser.open(&page_with(&scene, &example()), (1400, 1750));
    // Bars are drawn: one for each build that fits, in more than one colour.
    let colours = "new Set(new Uint32Array(document.getElementById('gantt-canvas').getContext('2d')
        .getImageData(0, 0, 900, 300).data.buffer)).size";
    assert!(browser.eval(colours).as_u64() > Some(10));
    assert!(browser.eval("Number(document.documentElement.dataset.drawn)").as_u64() > Some(15));
    // What took longest comes first; `1` sorts by names, and once more the other way around.
    assert_eq!(listed(&mut browser)[0], "isl-0.26");
    browser.press(&["1"]);
    assert_eq!(listed(&mut browser)[..2], ["bash-5.2", "binutils-2.43"]);
    browser.press(&["1"]);
    assert_eq!(listed(&mut browser)[0], "zlib-1.3.1");
    // `/` searches; arrows choose, Enter tells more, Escape goes back.
    browser.press(&["/", "g", "c", "c"]);
    assert_eq!(listed(&mut browser), ["gcc-14.2.0"]);
    browser.press(&["Enter", "Enter"]);
    let title = "document.getElementById('details').hidden ? '' : document.getElementById('details-title').textContent";
    assert_eq!(browser.eval(title), "gcc-14.2.0");
    assert!(
        browser
            .eval("document.getElementById('said').textContent")
            .as_str()
            .unwrap()
            .starts_with("gcc-14.2.0, built")
    );
    browser.press(&["Escape"]);
    assert_eq!(browser.eval(title), "");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn a_browser_shows_it_in_light_and_dark() {
    let Some(mut browser) = Browser::start() else { return };
    let scene = Scene::new();
    browser.open(&page_with(&scene, &example()), (1200, 900));
    let back = "getComputedStyle(document.body).backgroundColor";
    browser.colours("light");
    assert_eq!(browser.eval(back), "rgb(246, 247, 249)");
    browser.colours("dark");
    assert_eq!(browser.eval(back), "rgb(18, 22, 29)");
    // `t` goes on to light, whatever the system has.
    browser.press(&["t"]);
    assert_eq!(browser.eval(back), "rgb(246, 247, 249)");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn a_browser_shows_ten_thousand_builds_and_runs_none_of_their_names() {
    let Some(mut browser) = Browser::start() else { return };
    let scene = Scene::new();
    let bad = "</script><img src=x onerror=document.title='broken'><script>document.title='broken'</script>";
    let one = |place: u64| {
        let (from, to) = (place / 8 * 40, place / 8 * 40 + 35);
        json!({ "name": format!("{place}-{bad}"), "kind": "build", "drvPath": "/nix/store/x", "status": "built",
                "knownMs": 0, "readyMs": 0, "startedMs": from, "runningMs": from, "endedMs": to })
    };
    let mut data = example();
    data["goals"] = (0..10_000).map(one).collect();
    data["criticalPath"] = json!([0, 9_999]);
    data["durationMs"] = 50_000.into();
    browser.open(&page_with(&scene, &data), (1200, 1400));
    assert_eq!(browser.eval("document.getElementById('count').textContent"), "10000");
    let rows = browser.eval("document.querySelectorAll('*').length").as_u64().unwrap();
    assert!(rows < 1000, "only what can be seen is there, not {rows} elements");
    browser.press(&["End", "p"]);
    browser.draws();
    assert_eq!(browser.eval("document.images.length"), 0);
    assert!(browser.eval("document.title").as_str().unwrap().starts_with("9999-</script>"));
    assert_eq!(browser.complaints, [""; 0]);
}

/// With `BLESS`, draws what README shows; else, only that it can be drawn.
#[test]
fn pictures_of_the_page_can_be_taken() {
    let Some(mut browser) = Browser::start() else { return };
    let scene = Scene::new();
    browser.open(&page_with(&scene, &example()), (1280, 1100));
    for scheme in ["light", "dark"] {
        browser.colours(scheme);
        let picture = browser.picture();
        assert!(picture.starts_with(b"\x89PNG"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(fixture("pictures").join(format!("timings-{scheme}.png")), picture).unwrap();
        }
    }
}
