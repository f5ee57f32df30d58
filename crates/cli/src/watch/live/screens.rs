//! Screens of the live tree as pictures (SVG), for pages: what a terminal shows after all that was written to it.

use std::fmt::Write as _;
use std::time::Duration;

use avt::{Cell, Color, Terminal};

use super::goal::Kind;
use super::model::Model;
use super::pictures::{SECOND, lines, middle, use_up};
use crate::outlet::{Reflow, Region};
use crate::style::Style;

/// Where the fixtures are.
const PICTURES: &str = "pictures/";

/// The size of a character, and of the margin around all.
const CELL: (f32, f32) = (8.4, 18.0);
const MARGIN: f32 = 12.0;

/// Colours of a dark terminal, by the last digit of their numbers.
const COLOURS: [&str; 8] =
    ["#45475a", "#f38ba8", "#a6e3a1", "#f9e2af", "#89b4fa", "#f5c2e7", "#94e2d5", "#bac2de"];
const TEXT: &str = "#cdd6f4";
const GROUND: &str = "#1e1e2e";

/// Draws a terminal on which that was said, with the picture of a run below it.
fn check(name: &str, (columns, rows): (usize, usize), said: &[String], model: &Model, now: Duration) {
    let mut terminal = Terminal::new(columns, rows).expect("it has a size");
    let mut region = Region::new(Reflow::Wraps);
    let said: String = said.iter().map(|line| format!("{line}\n")).collect();
    // In two steps, as everything is drawn: the second changes what the first has left.
    for (above, now) in [("", now - SECOND), (&*said, now)] {
        let change = region.set(above, lines(model, now, columns, rows, true), columns);
        terminal.feed(change.replace('\n', "\r\n").as_str());
    }
    test_support::check(&format!("{PICTURES}{name}.svg"), svg(&terminal));
}

fn svg(terminal: &Terminal) -> String {
    let (columns, _) = terminal.size();
    let is_empty = |line: &&avt::Line| line.text().trim().is_empty();
    let rows = terminal.screen().visible_lines().collect::<Vec<_>>();
    let rows = rows.len() - rows.iter().rev().take_while(|line| is_empty(line)).count();
    let (width, height) = (columns as f32 * CELL.0 + 2.0 * MARGIN, rows as f32 * CELL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\" font-family=\"ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    );
    for (row, line) in terminal.screen().visible_lines().enumerate() {
        let cells = line.cells();
        let mut start = 0;
        for piece in cells.chunk_by(|one, other| one.pen() == other.pen()) {
            put(&mut svg, piece, start, row);
            start += piece.len();
        }
    }
    svg + "</svg>\n"
}

/// Draws a piece of a line that looks the same.
fn put(svg: &mut String, piece: &[Cell], column: usize, row: usize) {
    let text: String = piece.iter().filter(|cell| cell.width() > 0).map(Cell::char).collect();
    let (blank, text) = (text.chars().take_while(|char| *char == ' ').count(), text.trim());
    if text.is_empty() {
        return;
    }
    let pen = piece[0].pen();
    let colour = match pen.foreground() {
        Some(Color::Indexed(colour)) => COLOURS[usize::from(colour % 8)],
        _ => TEXT,
    };
    let columns = crate::outlet::width(text);
    let (x, y) = ((column + blank) as f32 * CELL.0 + MARGIN, (row as f32 + 0.75) * CELL.1 + MARGIN);
    let length = columns as f32 * CELL.0;
    let bold = if pen.is_bold() { " font-weight=\"bold\"" } else { "" };
    let faint = if pen.is_faint() { " opacity=\"0.6\"" } else { "" };
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" fill=\"{colour}\"{bold}{faint} \
         xml:space=\"preserve\">{text}</text>"
    )
    .expect("a string takes every line");
}

fn built(name: &str, took: &str) -> String {
    let style = Style::coloured();
    let path = style.path(&format!("/nix/store/1rz4g4znpzjwh1xymhjpm42vipw92pr7-{name}.drv"));
    format!("{} {path} in {took}", style.built("built"))
}

#[test]
fn in_the_middle_of_a_run() {
    let style = Style::coloured();
    let said = [
        "310 derivations will be built".to_owned(),
        built("bash-5.2p26", "55.0s"),
        built("zlib-1.3.1", "1m 10s"),
        format!(
            "{} the builder of `4zqk2x0n0v0m2f3h8y4a6b9c1d5e7g8i-broken-library-0.1.drv` failed: it returned 2",
            style.failed("store:")
        ),
    ];
    check("live-middle", (110, 20), &said, &middle(), SECOND * 95);
}

#[test]
fn in_40_columns() {
    check("live-narrow", (40, 16), &["310 derivations will be built".to_owned()], &middle(), SECOND * 95);
}

#[test]
fn many_builds_at_once() {
    let mut model = Model::default();
    let mut packages = Vec::new();
    for number in 0..10_000 {
        let place = model.add(Kind::Build, &format!("package-{number}"), &[]);
        model.goals[place].expected = Some(SECOND * (20 + place as u32 % 50));
        packages.push(place);
    }
    let all = model.add(Kind::Build, "all-packages", &packages);
    model.goals[all].expected = Some(SECOND);
    for place in 0..4_321 {
        model.start(place, Duration::ZERO);
        model.built(place, SECOND * 40);
    }
    let phases = ["unpackPhase", "configurePhase", "buildPhase", "checkPhase", "installPhase", "fixupPhase"];
    for place in 4_321..4_321 + 12 {
        let began = SECOND * (7_200 - 3 * (place as u32 - 4_320));
        model.start(place, began);
        model.run(place, place as u32, began);
        model.say(
            place,
            format!(r#"@nix {{"action":"setPhase","phase":"{}"}}"#, phases[place % 6]).as_bytes(),
        );
        use_up(&mut model, place as u32, 10, 100 + place as u64 % 700);
        use_up(&mut model, place as u32, 12, 100 + place as u64 % 700);
    }
    let said: Vec<String> =
        (4_316..4_321).map(|number| built(&format!("package-{number}"), "40.0s")).collect();
    check("live-many", (110, 26), &said, &model, SECOND * 7_205);
}
