//! Pictures of made-up runs, held against fixtures, and what holds for every picture.

use std::time::Duration;

use proptest::prelude::*;
use sandbox::Usage;

use super::estimate;
use super::frame::{Canvas, draw};
use super::goal::Kind;
use super::model::Model;
use crate::outlet::{Line, width};

/// Where the fixtures are.
const FRAMES: &str = "frames/";

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn lines(
    model: &Model,
    now: Duration,
    columns: usize,
    rows: usize,
    is_coloured: bool,
) -> Vec<Line> {
    draw(model, now, estimate::left(model, now), Canvas { columns, rows, is_coloured })
}

/// Holds the pictures of a run against fixtures, in three widths.
fn check(name: &str, model: &Model, now: Duration) {
    for columns in [40, 80, 200] {
        let picture = lines(model, now, columns, 24, false);
        let text: String = picture.iter().map(|line| format!("{}\n", line.text())).collect();
        test_support::check(&format!("{FRAMES}{name}-{columns}.txt"), text);
    }
}

fn say(model: &mut Model, place: usize, message: &str) {
    model.say(place, format!("@nix {message}").as_bytes());
}

fn phase(model: &mut Model, place: usize, phase: &str) {
    say(model, place, &serde_json::json!({ "action": "setPhase", "phase": phase }).to_string());
}

/// Lets the builder whose first process that is have so many seconds of processors, and MiB.
pub(super) fn use_up(model: &mut Model, process: u32, seconds: u32, mib: u64) {
    let usage = Usage { cpu_time: SECOND * seconds, memory_bytes: mib << 20, processes: 1 };
    model.load(Some(SECOND * 2), |other| (other == process).then_some(usage));
}

/// A run in the middle: libraries under an application, a failure, many others that wait.
pub(super) fn middle() -> Model {
    let mut model = Model::default();
    let mut add = |name: &str, minutes: u32, inputs: &[usize]| {
        let place = model.add(Kind::Build, name, inputs);
        model.goals[place].expected = (minutes > 0).then(|| SECOND * 60 * minutes);
        place
    };
    let bash = add("bash-5.2p26", 1, &[]);
    let zlib = add("zlib-1.3.1", 1, &[bash]);
    let source = add("openssl-3.3.1.tar.gz", 1, &[]);
    let openssl = add("openssl-3.3.1", 6, &[zlib, source]);
    let perl = add("perl-5.38.2", 9, &[zlib]);
    let broken = add("broken-library-0.1", 2, &[bash]);
    let curl = add("curl-8.9.0", 3, &[openssl, zlib]);
    let git = add("git-2.45.2", 4, &[curl, perl]);
    let tool = add("tool-that-needs-broken-library-2.0", 1, &[broken]);
    let modules: Vec<usize> =
        (0..300).map(|number| add(&format!("perl5.38.2-Module-{number}"), 1, &[perl])).collect();
    let environment = add("environment", 1, &[&[git][..], &modules].concat());
    assert!(environment > git);
    for place in [bash, zlib, broken] {
        model.start(place, Duration::ZERO);
    }
    model.built(bash, SECOND * 55);
    model.built(zlib, SECOND * 70);
    phase(&mut model, broken, "checkPhase");
    model.fail(broken, SECOND * 80);
    model.block(tool);
    model.start(perl, SECOND * 70);
    model.run(perl, 1, SECOND * 70);
    phase(&mut model, perl, "configurePhase");
    model.start(source, SECOND * 80);
    say(
        &mut model,
        source,
        r#"{"action":"start","id":1,"type":101,"text":"downloading 'https://www.openssl.org/source/openssl-3.3.1.tar.gz'"}"#,
    );
    say(&mut model, source, r#"{"action":"result","id":1,"type":105,"fields":[9437184,18055752,0,0]}"#);
    model.made_bytes = 3 << 20;
    use_up(&mut model, 1, 1, 300);
    use_up(&mut model, 1, 3, 412);
    model
}

#[test]
fn a_run_in_the_middle() {
    check("middle", &middle(), SECOND * 95);
}

#[test]
fn one_build() {
    let mut model = Model::default();
    let place = model.add(Kind::Build, "hello-2.12", &[]);
    model.start(place, Duration::ZERO);
    check("one", &model, SECOND * 3);
}

#[test]
fn more_runs_than_there_is_room_for() {
    let mut model = Model::default();
    let builds: Vec<usize> =
        (0..40).map(|number| model.add(Kind::Build, &format!("job-{number}"), &[])).collect();
    model.add(Kind::Build, "all", &builds);
    builds.iter().take(30).for_each(|place| model.start(*place, Duration::ZERO));
    check("many", &model, SECOND * 3700);
}

#[test]
fn what_was_cancelled_waits_no_more() {
    let mut model = Model::default();
    let [one, two] = ["one", "two"].map(|name| model.add(Kind::Build, name, &[]));
    model.start(one, Duration::ZERO);
    model.start(two, Duration::ZERO);
    model.cancel(one);
    let text: Vec<String> =
        lines(&model, SECOND, 80, 24, false).iter().map(|line| line.text().to_owned()).collect();
    assert_eq!(text, ["● two  0:01", "0/2 built · 1 running · 1 cancelled · 0:01"]);
}

#[test]
fn wide_characters_take_two_columns() {
    let mut model = Model::default();
    let place = model.add(Kind::Build, "wide-1.0", &[]);
    model.start(place, Duration::ZERO);
    phase(&mut model, place, "構築フェーズ・とても長い名前の段階です");
    let other = model.add(Kind::Build, "emoji-1.0", &[]);
    model.start(other, SECOND);
    phase(&mut model, other, "🚀 launching 👩‍👩‍👧 cafe\u{301}");
    check("wide", &model, SECOND * 61);
}

#[test]
fn what_builds_say_does_not_steer_the_terminal() {
    let mut model = Model::default();
    let place = model.add(Kind::Build, "hostile-1.0", &[]);
    let user = model.add(Kind::Build, "user-1.0", &[place]);
    model.start(place, Duration::ZERO);
    phase(&mut model, place, "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}1A\r\n\u{202e}desrever");
    // These are about nobody.
    say(&mut model, place, r#"{"action":"stop","id":99}"#);
    say(&mut model, place, r#"{"action":"result","id":98,"type":105,"fields":[1,2,0,0]}"#);
    say(&mut model, place, r#"{"action":"start","id":1,"type":105,"text":""}"#);
    say(&mut model, place, r#"{"action":"stop","id":1}"#);
    assert_eq!(model.goals[user].missing, 1);
    check("hostile", &model, SECOND * 5);
}

/// Goals in a random graph, and what happens to them.
fn any_model() -> impl Strategy<Value = Model> {
    let goal = (
        "[a-zA-Z0-9+._?=-]{1,60}",
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        0u8..7,
        ".{0,80}",
    );
    prop::collection::vec(goal, 1..40).prop_map(|goals| {
        let mut model = Model::default();
        for (name, inputs, _, _) in &goals {
            let known = model.goals.len();
            let inputs: Vec<usize> =
                inputs.iter().filter(|_| known > 0).map(|input| input.index(known)).collect();
            model.add(Kind::Build, name, &inputs);
        }
        for (place, (_, _, fate, text)) in goals.iter().enumerate() {
            if *fate < 5 {
                model.start(place, SECOND * place as u32);
                phase(&mut model, place, text);
            }
            match fate {
                3 => model.built(place, SECOND * 100),
                4 => model.fail(place, SECOND * 100),
                5 => model.block(place),
                _ => {}
            }
        }
        model
    })
}

/// What a line is without our colours.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let (parameters, rest) = piece.split_once('m').expect("every sequence is a colour");
        assert!(parameters.chars().all(|char| matches!(char, '0'..=';')), "{parameters:?}");
        text + rest
    })
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(model in any_model(), columns in 1usize..120, rows in 1usize..60, is_coloured: bool) {
        let picture = lines(&model, SECOND * 4000, columns, rows, is_coloured);
        prop_assert!(!picture.is_empty() && picture.len() <= rows, "{} lines in {rows} rows", picture.len());
        for line in picture {
            let text = without_colours(line.text());
            prop_assert_eq!(width(&text), line.width());
            prop_assert!(line.width() < columns.max(2), "{text:?} in {columns} columns");
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
