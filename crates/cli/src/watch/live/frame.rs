//! The picture: what is known, as lines for a terminal of some size. Pure.
//!
//! ```text
//! app-1.0  waits for 2
//! ├─ ● libfoo-2.1  buildPhase  3:12 of ~5:00
//! └─ ● zlib-1.3  configurePhase  0:04
//! … 312 more wait
//! 12/340 built · 2 running · 1 failed · 0:42 · about 3 min left
//! ```

use std::time::Duration;

use super::goal::{Goal, State};
use super::model::Model;
use super::text::{about, clock};
use super::tree::{self, Node};
use crate::outlet::{Line, Paint, fitting, width};
use crate::size;

/// What the picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Canvas {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) is_coloured: bool,
}

/// No more of a terminal's rows than this part are taken, so that one sees what was said before.
const PART_OF_ROWS: (usize, usize) = (2, 3);

/// As many columns of a name are kept as long as anything else can give way.
const NAME: usize = 24;

/// Draws what is known at `now`; `left` is how long the rest may take.
pub(super) fn draw(model: &Model, now: Duration, left: Option<Duration>, canvas: Canvas) -> Vec<Line> {
    let rows = (canvas.rows * PART_OF_ROWS.0 / PART_OF_ROWS.1).max(1);
    // One for the sum, one for what has no room.
    let tree = tree::choose(model, rows.saturating_sub(2), canvas.columns / 12 + 1);
    let mut lines: Vec<Line> = tree.nodes.iter().map(|node| draw_node(model, node, now, canvas)).collect();
    if rows > 1 {
        lines.extend(hidden(tree.hidden_running, tree.hidden_waiting, canvas));
    }
    lines.push(sum(model, now, left, canvas));
    lines
}

impl Canvas {
    /// A line that leaves the last column free: behind it, terminals differ about where the cursor is.
    fn line(self) -> Line {
        Line::new(self.columns.saturating_sub(1), self.is_coloured)
    }
}

fn draw_node(model: &Model, node: &Node, now: Duration, canvas: Canvas) -> Line {
    let mut line = canvas.line();
    line.push(Paint::Dim, &branches(node, canvas.columns));
    let goal = &model.goals[node.place];
    let (paint, sign) = match goal.state {
        State::Running { .. } => (Paint::Running, "● "),
        State::Failed { .. } | State::Blocked => (Paint::Bad, "✗ "),
        State::Cancelled => (Paint::Dim, "✗ "),
        State::Done => (Paint::Good, "✓ "),
        State::Waiting => (Paint::Dim, ""),
    };
    line.push(paint, sign);
    put_fields(&mut line, &goal.name, fields(goal, now));
    line
}

/// The lines of the tree in front of a goal; those of goals far above are left out where there is little room.
fn branches(node: &Node, columns: usize) -> String {
    let (_, above) = node.goes_on.split_first().expect("a goal hangs somewhere");
    let Some((goes_on, between)) = above.split_last() else { return String::new() };
    let (bar, gap, branch, corner, distant) = if columns < 60 {
        ("│ ", "  ", "├ ", "└ ", "┆ ")
    } else {
        ("│  ", "   ", "├─ ", "└─ ", "┆  ")
    };
    let most = columns / 3 / bar.chars().count();
    let mut text = String::new();
    for goes_on in between.iter().rev().take(most.saturating_sub(1)).rev() {
        text += if *goes_on { bar } else { gap };
    }
    text += match (node.is_distant, *goes_on) {
        (true, _) => distant,
        (false, true) => branch,
        (false, false) => corner,
    };
    text
}

/// What is said about a goal behind its name, and how important it is: the least important gives way first.
struct Field {
    text: String,
    importance: u8,
    paint: Paint,
}

fn fields(goal: &Goal, now: Duration) -> Vec<Field> {
    let field = |text: String, importance, paint| Field { text, importance, paint };
    let run = goal.run.as_ref();
    match goal.state {
        State::Running { since } => {
            let time = field(clock(now.saturating_sub(since)), 9, Paint::Bold);
            let expected =
                goal.expected.map(|expected| field(format!("of ~{}", clock(expected)), 4, Paint::Dim));
            let text = run.and_then(|run| run.waits_for.clone().or_else(|| run.activity.text()));
            let text = text.map(|text| field(text, 5, Paint::Plain));
            let load = run.and_then(|run| run.load);
            let memory = load.map(|load| field(size::show(load.memory_bytes), 3, Paint::Dim));
            let percent = load.and_then(|load| load.percent);
            let percent = percent.map(|percent| field(format!("{percent}% CPU"), 2, Paint::Dim));
            [Some(time), expected, text, memory, percent].into_iter().flatten().collect()
        }
        State::Failed { took } => {
            let phase = run.and_then(|run| run.activity.phase());
            let place = phase.map_or(String::new(), |phase| format!(" in {phase}"));
            let took = took.map(|took| field(format!("after {}", clock(took)), 4, Paint::Dim));
            [Some(field(format!("failed{place}"), 9, Paint::Bad)), took].into_iter().flatten().collect()
        }
        State::Cancelled => vec![field("cancelled".to_owned(), 9, Paint::Dim)],
        State::Blocked => vec![field("cannot be built".to_owned(), 5, Paint::Dim)],
        State::Waiting => {
            let text = match goal.missing {
                0 => "waits for its turn".to_owned(),
                missing => format!("waits for {missing}"),
            };
            vec![field(text, 5, Paint::Dim)]
        }
        State::Done => Vec::new(),
    }
}

/// Adds the name and as many of the fields as there is room for.
fn put_fields(line: &mut Line, name: &str, mut fields: Vec<Field>) {
    const SPACE: usize = 2;
    let taken = |fields: &[Field]| -> usize { fields.iter().map(|field| SPACE + width(&field.text)).sum() };
    // What may be long is cut before anything is left out.
    for field in &mut fields {
        field.text = fitting(&field.text, line.room() / 2);
    }
    let name_width = width(name).min(NAME);
    while name_width + taken(&fields) > line.room() {
        let least = fields.iter().enumerate().min_by_key(|(_, field)| field.importance);
        let Some((least, _)) = least.filter(|(_, field)| field.importance < 9) else { break };
        fields.remove(least);
    }
    let room = line.room().saturating_sub(taken(&fields));
    line.push(Paint::Plain, &fitting(name, room));
    for field in fields {
        line.push(Paint::Plain, "  ");
        line.push(field.paint, &field.text);
    }
}

/// What has no room, if there is any.
fn hidden(running: usize, waiting: usize, canvas: Canvas) -> Option<Line> {
    let parts = [(running, "run"), (waiting, "wait")].map(|(count, does)| match count {
        0 => None,
        1 => Some(format!("1 more {does}s")),
        _ => Some(format!("{count} more {does}")),
    });
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut line = canvas.line();
    line.push(Paint::Dim, &format!("… {}", parts.join(", ")));
    (!parts.is_empty()).then_some(line)
}

/// The last line: all in numbers.
fn sum(model: &Model, now: Duration, left: Option<Duration>, canvas: Canvas) -> Line {
    let made = Some(model.made_bytes).filter(|made| *made > 0);
    let mut parts = vec![
        (9, Paint::Good, format!("{}/{} built", model.done_count, model.builds_count)),
        (5, Paint::Running, format!("{} running", model.running.len())),
        (8, Paint::Bad, format!("{} failed", model.failed.len())),
        (3, Paint::Dim, format!("{} cancelled", model.cancelled_count)),
        (4, Paint::Bad, format!("{} cannot be built", model.blocked_count)),
        (2, Paint::Dim, made.map_or(String::new(), |made| format!("{} made", size::show(made)))),
        (6, Paint::Plain, clock(now)),
        (7, Paint::Dim, left.map_or(String::new(), |left| format!("{} left", about(left)))),
    ];
    parts.retain(|(_, _, text)| !text.is_empty() && !text.starts_with("0 "));
    const DOT: &str = " · ";
    let mut line = canvas.line();
    let taken = |parts: &[(u8, Paint, String)]| -> usize {
        parts.iter().map(|(_, _, text)| width(text) + DOT.chars().count()).sum()
    };
    while parts.len() > 1 && taken(&parts) > line.room() + DOT.chars().count() {
        let least = parts.iter().enumerate().min_by_key(|(_, part)| part.0).map_or(0, |(index, _)| index);
        parts.remove(least);
    }
    for (index, (_, paint, text)) in parts.iter().enumerate() {
        if index > 0 {
            line.push(Paint::Dim, DOT);
        }
        line.push(*paint, text);
    }
    line
}
