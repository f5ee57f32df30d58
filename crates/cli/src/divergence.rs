//! What came out otherwise when a build was run once more, for people and for programs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use builder::{Again, Blame, Cause, Change, Comparison, Diverged, Divergence, Kind, Spot};
use serde_json::{Map, Value, json};
use settings::Variation;
use store_path::StoreDir;

use crate::build_failure::harmless;

/// As many differences are told; the rest is counted.
const MOST_DIFFERENCES: usize = 10;
/// Of the longest texts of a builder, so much is told.
const MOST_CHARS: usize = 200;

/// Returns what differs, as lines to stand below another one.
pub(crate) fn show(divergence: &Divergence, store_dir: &StoreDir) -> String {
    let mut text = String::new();
    for diverged in &divergence.outputs {
        show_output(&mut text, diverged, store_dir);
    }
    if let Some(blame) = &divergence.blame {
        let _ = write!(text, "\n  {}", told_blame(blame));
    }
    if divergence.outputs.iter().all(|diverged| diverged.kept.is_none()) {
        text += "\n  `--keep-failed` keeps what came out, beside what it was compared with";
    }
    text
}

/// Returns what is changed on purpose for a build, as the end of a line.
pub(crate) fn told_again(again: &Again) -> String {
    match (again.of, again.varied.as_slice()) {
        (0, []) => " without any change, to find out what makes a difference".to_owned(),
        (0, varied) => format!(" with {} only, to find out what makes a difference", listed(varied)),
        (_, []) => String::new(),
        (_, varied) => format!(", with {}", listed(varied)),
    }
}

fn listed(varied: &[Variation]) -> String {
    let names: Vec<&str> = varied.iter().map(|variation| told_variation(*variation)).collect();
    match names.as_slice() {
        [name] => (*name).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
        [] => String::new(),
    }
}

fn told_variation(variation: Variation) -> &'static str {
    match variation {
        Variation::HostName => "another host name",
        Variation::Cores => "another number of cores",
        Variation::Time => "another time",
        Variation::Order => "another order of directories",
        Variation::Uid => "another user",
        Variation::BuildPath => "another build directory",
        Variation::Locale => "another locale and time zone",
        Variation::Kernel => "another version of the kernel",
    }
}

fn told_blame(blame: &Blame) -> String {
    match blame {
        Blame::Itself => {
            "it differs without any change, too; what was changed on purpose need not matter".to_owned()
        }
        Blame::Together => "none of the changes makes a difference by itself".to_owned(),
        Blame::These(these) if these.len() == 1 => {
            format!("it is {} that makes the difference", listed(these))
        }
        Blame::These(these) => format!("each of these makes a difference by itself: {}", listed(these)),
    }
}

fn show_output(text: &mut String, diverged: &Diverged, store_dir: &StoreDir) {
    let Comparison { differences, total, causes } = &diverged.comparison;
    let path = store_dir.print(&diverged.path);
    let places = match total {
        0 => "its files are the same; so what the store knows of it is not what is there: `store verify --contents`".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    let counts: Vec<String> =
        causes.iter().map(|(cause, count)| format!("{} ({count})", told(*cause))).collect();
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    let _ = write!(text, "\n  {path}: {places}{counts}");
    for difference in differences.iter().take(MOST_DIFFERENCES) {
        let place = match difference.path.as_os_str().is_empty() {
            true => "itself".to_owned(),
            false => format!("`{}`", shortened(&difference.path)),
        };
        let causes: Vec<&str> = difference.causes.iter().map(|cause| told(*cause)).collect();
        let _ = write!(text, "\n  - {place} {} ({})", told_change(&difference.change), causes.join(", "));
        if let Change::Content { first, .. } = &difference.change {
            show_spot(text, first);
        }
    }
    match total.saturating_sub(MOST_DIFFERENCES as u64) {
        0 => {}
        more => drop(write!(text, "\n  - and {more} more")),
    }
    let said = diverged.said.strip_suffix(b"\n").unwrap_or(&diverged.said);
    if !said.is_empty() {
        *text += "\n  the diff-hook said:";
        for line in said.split(|byte| *byte == b'\n') {
            let _ = write!(text, "\n  > {}", harmless(&String::from_utf8_lossy(line)));
        }
    }
    for (what, kept) in [("the first", &diverged.kept_first), ("what came out", &diverged.kept)] {
        if let Some(kept) = kept {
            let _ = write!(text, "\n  {what} is kept in `{}`", harmless(&kept.display().to_string()));
        }
    }
}

fn shortened(path: &Path) -> String {
    let text = harmless(&path.display().to_string()).replace('\n', "\\n");
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn told_change(change: &Change) -> String {
    match change {
        Change::Gone(kind) => format!("is gone, {}", told_kind(*kind)),
        Change::New(kind) => format!("is new, {}", told_kind(*kind)),
        Change::Kind { before, now } => format!("was {} and is {}", told_kind(*before), told_kind(*now)),
        Change::Executable { now: true } => "can be executed, and could not".to_owned(),
        Change::Executable { now: false } => "cannot be executed, and could".to_owned(),
        Change::Target { before, now } => {
            format!("leads to `{}`, and led to `{}`", shortened(now), shortened(before))
        }
        Change::Content { size_before, size_now, first } if size_before == size_now => {
            format!("differs from byte {} on", first.offset)
        }
        Change::Content { size_before, size_now, first } => {
            format!("differs from byte {} on, and has {size_now} bytes, not {size_before}", first.offset)
        }
    }
}

fn told_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink => "a symlink",
        Kind::Other => "something that no archive holds",
    }
}

/// Two lines of both files. The first byte that differs is in the second one, or in the first of the file.
fn show_spot(text: &mut String, spot: &Spot) {
    for (name, bytes) in [("before", &spot.before), ("now   ", &spot.now)] {
        for (row, line) in bytes.chunks(16).take(2).enumerate() {
            let offset = spot.start + 16 * row as u64;
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let plain: String = line
                .iter()
                .map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' })
                .collect();
            let name = if row == 0 { name } else { "      " };
            let _ = write!(text, "\n    {name} {offset:08x}  {:<47}  |{plain}|", hex.join(" "));
        }
    }
}

fn told(cause: Cause) -> &'static str {
    match cause {
        Cause::Time => "time",
        Cause::Order => "order",
        Cause::BuildPath => "build path",
        Cause::Chance => "random identifier",
        Cause::HostName => "host name",
        Cause::Cores => "number of cores",
        Cause::User => "user",
        Cause::Locale => "locale",
        Cause::Kernel => "kernel",
        Cause::Unclassified => "unclassified",
    }
}

/// Returns the word that programs go by.
fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Time => "time",
        Cause::Order => "order",
        Cause::BuildPath => "build-path",
        Cause::Chance => "random",
        Cause::HostName => "hostname",
        Cause::Cores => "cores",
        Cause::User => "uid",
        Cause::Locale => "locale",
        Cause::Kernel => "kernel",
        Cause::Unclassified => "unclassified",
    }
}

/// Returns what differs, for programs.
pub(crate) fn to_json(divergence: &Divergence, store_dir: &StoreDir) -> Value {
    let outputs = divergence.outputs.iter().map(|diverged| {
        let place = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let comparison = &diverged.comparison;
        let causes =
            comparison.causes.iter().map(|(cause, count)| (word(*cause).to_owned(), (*count).into()));
        let output = json!({
            "path": store_dir.print(&diverged.path),
            "total": comparison.total,
            "causes": causes.collect::<Map<String, Value>>(),
            "differences": comparison.differences.iter().map(|difference| {
                let mut value = change_to_json(&difference.change);
                value["path"] = difference.path.to_string_lossy().into();
                value["causes"] = causes_to_json(&difference.causes);
                value
            }).collect::<Value>(),
            "keptFirst": place(&diverged.kept_first),
            "kept": place(&diverged.kept),
            "diffHook": (!diverged.said.is_empty()).then(|| String::from_utf8_lossy(&diverged.said)),
        });
        (diverged.output.to_string(), without_nulls(output))
    });
    let mut value = json!({ "outputs": outputs.collect::<Map<String, Value>>() });
    match &divergence.blame {
        None => {}
        Some(Blame::Itself) => value["matters"] = json!([]),
        Some(Blame::Together) => value["matters"] = json!("together"),
        Some(Blame::These(these)) => {
            value["matters"] = these.iter().map(|variation| variation.word()).collect::<Value>();
        }
    }
    value
}

fn causes_to_json(causes: &BTreeSet<Cause>) -> Value {
    causes.iter().map(|cause| word(*cause)).collect()
}

fn change_to_json(change: &Change) -> Value {
    let kind = |kind: &Kind| match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    };
    match change {
        Change::Gone(what) => json!({ "change": "gone", "kind": kind(what) }),
        Change::New(what) => json!({ "change": "new", "kind": kind(what) }),
        Change::Kind { before, now } => json!({ "change": "kind", "before": kind(before), "now": kind(now) }),
        Change::Executable { now } => json!({ "change": "executable", "before": !now, "now": now }),
        Change::Target { before, now } => {
            json!({ "change": "target", "before": before.to_string_lossy(), "now": now.to_string_lossy() })
        }
        Change::Content { size_before, size_now, first } => json!({
            "change": "content",
            "sizeBefore": size_before,
            "sizeNow": size_now,
            "offset": first.offset,
            "start": first.start,
            "before": hex(&first.before),
            "now": hex(&first.now),
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use builder::Difference;

    use super::*;

    fn divergence(path: &str, change: Change) -> Divergence {
        let causes = BTreeSet::from([Cause::Time]);
        let comparison = Comparison {
            differences: vec![Difference { path: path.into(), change, causes }],
            total: 12,
            causes: BTreeMap::from([(Cause::Time, 12)]),
        };
        let output = Diverged {
            output: "out".parse().unwrap(),
            path: "00000000000000000000000000000000-x".parse().unwrap(),
            comparison,
            kept_first: None,
            kept: Some("/nix/store/x.check".into()),
            said: b"one\n\x1b[2Jother\n".to_vec(),
        };
        Divergence { outputs: vec![output], blame: Some(Blame::These(vec![Variation::HostName])) }
    }

    #[test]
    fn bytes_and_names_of_builders_do_not_steer_the_terminal() {
        let first = Spot {
            offset: 17,
            start: 0,
            before: b"0123456789abcdef\x1b[2J".to_vec(),
            now: b"0123456789abcdef\x07".to_vec(),
        };
        let change = Change::Content { size_before: 20, size_now: 17, first };
        let text = show(&divergence("\x1b[2J\nfake: line", change), &StoreDir::default());
        assert!(!text.contains('\x1b') && !text.contains("\nfake"), "{text:?}");
        let expected = "\n  /nix/store/00000000000000000000000000000000-x: 12 differences: time (12)\
                        \n  - `\\u{1b}[2J\\nfake: line` differs from byte 17 on, and has 17 bytes, not 20 (time)\
                        \n    before 00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|\
                        \n           00000010  1b 5b 32 4a                                      |.[2J|\
                        \n    now    00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|\
                        \n           00000010  07                                               |.|\
                        \n  - and 2 more\
                        \n  the diff-hook said:\
                        \n  > one\
                        \n  > \\u{1b}[2Jother\
                        \n  what came out is kept in `/nix/store/x.check`\
                        \n  it is another host name that makes the difference";
        assert_eq!(text, expected);
    }

    #[test]
    fn programs_are_told_the_same() {
        let change = Change::Target { before: "a".into(), now: "b".into() };
        let value = to_json(&divergence("link", change), &StoreDir::default());
        let difference = &value["outputs"]["out"]["differences"][0];
        assert_eq!(difference["change"], "target");
        assert_eq!((&difference["causes"][0], &value["matters"][0]), (&json!("time"), &json!("hostname")));
    }
}
