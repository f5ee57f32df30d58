//! Places in a text.

use store_path::{StoreDir, StorePath};

use super::{Finding, Remark, Source, SourceForm};
use crate::OutputName;
use crate::aterm::{self, Member, Section};
use crate::json::Locator;

/// Where something is, before it was looked up.
pub(super) enum At {
    /// There.
    Offset(usize),
    /// In JSON, by the names that lead to it.
    Names {
        names: Vec<String>,
        /// Whether it is the name that is wrong, not the value.
        at_name: bool,
    },
    /// In the derivation with that path, if it states one.
    Part(Option<StorePath>, Spot),
}

/// A part of a derivation.
pub(super) enum Spot {
    Whole,
    Output(OutputName),
    Variable(OutputName),
    Input(StorePath),
}

/// Looks up all places in one file, and sorts what was found by them.
pub(super) fn findings(source: &Source<'_>, store_dir: &StoreDir, remarks: Vec<Remark>) -> Vec<Finding> {
    if remarks.is_empty() {
        return Vec::new();
    }
    let placed: Vec<Placed> = match source.form {
        SourceForm::Json => in_json(source.text, store_dir, remarks),
        SourceForm::Aterm { .. } => in_aterm(source.text, store_dir, remarks),
    };
    let mut offsets: Vec<usize> =
        placed.iter().flat_map(|placed| std::iter::once(placed.offset).chain(placed.again)).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let lines = positions(source.text, &offsets);
    let position = |offset: usize| lines[offsets.partition_point(|other| *other < offset)];
    let finding = |placed: Placed| {
        // Of two places the later one is where somebody went wrong.
        let at = placed.again.unwrap_or(placed.offset);
        let (line, column) = position(at);
        let mut message = placed.remark.message;
        if placed.again.is_some() {
            let (line, column) = position(placed.offset);
            message += &format!(", first at line {line}, column {column}");
        }
        let Remark { is_error, .. } = placed.remark;
        Finding { is_error, offset: at, line, column, pointer: placed.pointer, message }
    };
    let mut findings: Vec<Finding> = placed.into_iter().map(finding).collect();
    findings.sort_by_key(|finding| finding.offset);
    findings
}

struct Placed {
    remark: Remark,
    offset: usize,
    /// The second place of what is there twice.
    again: Option<usize>,
    pointer: Option<String>,
}

fn in_json(text: &[u8], store_dir: &StoreDir, remarks: Vec<Remark>) -> Vec<Placed> {
    let mut locator = Locator::new();
    let ways: Vec<Vec<Vec<String>>> = remarks.iter().map(|remark| ways(store_dir, &remark.at)).collect();
    ways.iter().flatten().for_each(|names| locator.want(names));
    // What ended the reading of a large file needs no walk over all of it.
    if ways.iter().any(|ways| !ways.is_empty()) {
        locator.walk(text);
    }
    let place = |(remark, ways): (Remark, Vec<Vec<String>>)| {
        if let At::Offset(offset) = remark.at {
            return Placed { remark, offset, again: None, pointer: None };
        }
        let names = ways.iter().find(|names| locator.find(names).is_some());
        let names = names.or_else(|| ways.first()).cloned().unwrap_or_default();
        // What is missing is missing in what it should be in.
        let nearest = (0..=names.len()).rev().find_map(|length| locator.find(&names[..length]));
        let is_there = locator.find(&names).is_some();
        let at_name = is_there && matches!(remark.at, At::Names { at_name: true, .. });
        let offset = nearest.map_or(0, |found| if at_name { found.name } else { found.value });
        let again = nearest.filter(|_| at_name).and_then(|found| found.again);
        Placed { remark, offset, again, pointer: Some(pointer(&names)) }
    };
    remarks.into_iter().zip(ways).map(place).collect()
}

/// Returns the names that may lead to a place, as every generation of the format spells them; the likeliest first.
fn ways(store_dir: &StoreDir, at: &At) -> Vec<Vec<String>> {
    let (path, spot) = match at {
        At::Offset(_) => return Vec::new(),
        At::Names { names, .. } => return vec![names.clone()],
        At::Part(path, spot) => (path, spot),
    };
    let outer: Vec<Vec<String>> = match path {
        None => vec![Vec::new()],
        Some(path) => {
            let (full, base) = (store_dir.print(path), path.to_string());
            let wrapper = "derivations".to_owned();
            vec![vec![full.clone()], vec![base.clone()], vec![wrapper.clone(), base], vec![wrapper, full]]
        }
    };
    let inner: Vec<Vec<String>> = match spot {
        Spot::Whole => vec![vec![]],
        Spot::Output(name) => {
            let field = |field: &str| vec!["outputs".to_owned(), name.to_string(), field.to_owned()];
            vec![field("path"), field("hash"), vec!["outputs".to_owned(), name.to_string()]]
        }
        Spot::Variable(name) => vec![vec!["env".to_owned(), name.to_string()]],
        Spot::Input(path) => [vec!["inputDrvs".to_owned()], vec!["inputs".to_owned(), "drvs".to_owned()]]
            .into_iter()
            .flat_map(|fields| {
                [store_dir.print(path), path.to_string()].map(|path| [&fields[..], &[path]].concat())
            })
            .collect(),
    };
    let join =
        |inner: &Vec<String>| outer.iter().map(|outer| [&outer[..], inner].concat()).collect::<Vec<_>>();
    inner.iter().flat_map(join).collect()
}

/// Returns a JSON pointer (RFC 6901).
fn pointer(names: &[String]) -> String {
    names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

fn in_aterm(text: &[u8], store_dir: &StoreDir, remarks: Vec<Remark>) -> Vec<Placed> {
    let places = aterm::locate(text, remarks.iter().filter_map(|remark| member(store_dir, &remark.at)));
    let place = |remark: Remark| {
        let offset = match &remark.at {
            At::Offset(offset) => Some(*offset),
            at => member(store_dir, at).and_then(|member| places.get(&member).copied()),
        };
        Placed { offset: offset.unwrap_or(0), again: None, pointer: None, remark }
    };
    remarks.into_iter().map(place).collect()
}

/// Returns which member of a `.drv` file it is.
fn member(store_dir: &StoreDir, at: &At) -> Option<Member<'static>> {
    let At::Part(_, spot) = at else { return None };
    let (section, name) = match spot {
        Spot::Whole => return None,
        Spot::Output(name) => (Section::Outputs, name.to_string()),
        Spot::Variable(name) => (Section::Environment, name.to_string()),
        Spot::Input(path) => (Section::Inputs, store_dir.print(path)),
    };
    Some((section, name.into_bytes().into()))
}

/// Returns the offset of a line and a column in bytes, both counted from 1.
pub(super) fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let lines = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let start: usize = lines.map(<[u8]>::len).sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// Returns line and column of each offset, in characters, both counted from 1; the offsets are sorted.
fn positions(text: &[u8], offsets: &[usize]) -> Vec<(usize, usize)> {
    let (mut at, mut line, mut column) = (0, 1, 1);
    let mut position = |offset: usize| {
        for byte in &text[at..offset.min(text.len())] {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                // The rest of a character.
                0x80..=0xbf => {}
                _ => column += 1,
            }
        }
        at = offset.min(text.len());
        (line, column)
    };
    offsets.iter().map(|offset| position(*offset)).collect()
}
