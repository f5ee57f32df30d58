//! Why a path needs another one, as a tree of lines.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use local_store::{Mention, Mentions, Spot};

use super::Found;
use crate::branches::margin;
use crate::results::Results;

/// How many bytes of a file are shown before a digest and, from its end on, after it.
const BEFORE: usize = 24;
const AFTER: usize = 40;
const DIGEST: usize = 32;

/// Prints each path below the one that refers to it, and where that does.
pub(super) fn print(results: &mut Results, found: &Found<'_>) -> io::Result<()> {
    let path = |place: usize| found.store.store_dir().print(&found.graph.paths()[place]);
    let mut edges = found.edges.iter().peekable();
    for start in &found.starts {
        results.line(path(*start))?;
        // For each level, whether something follows below.
        let mut lines: Vec<bool> = Vec::new();
        while let Some(edge) = edges.next_if(|edge| edge.depth > 1 || edge.from == *start) {
            lines.truncate(edge.depth - 1);
            let branch = if edge.follows { "├───" } else { "└───" };
            let note = if edge.again { " (see above)" } else { "" };
            results.line(format_args!("{}{branch}{}{note}", margin(&lines), path(edge.to)))?;
            lines.push(edge.follows);
            let has_below = edges.peek().is_some_and(|next| next.depth > edge.depth);
            let margin = margin(&lines) + if has_below { "│   " } else { "    " };
            for line in places(&edge.mentions) {
                results.line(format_args!("{margin}{line}"))?;
            }
        }
    }
    Ok(())
}

/// Returns lines that tell where a reference stands.
fn places(mentions: &Mentions) -> Vec<String> {
    let mut lines: Vec<String> = mentions.some.iter().map(place).collect();
    match mentions.files - mentions.some.len() {
        0 => {}
        1 => lines.push("and in 1 more file".to_owned()),
        more => lines.push(format!("and in {more} more files")),
    }
    lines
}

fn place(mention: &Mention) -> String {
    let file = match mention.file.as_os_str().as_bytes() {
        b"" => "the file itself".to_owned(),
        name => format!("`{}`", escape(name)),
    };
    let more = match mention.places {
        0 | 1 => String::new(),
        places => format!(" ({} more in it)", places - 1),
    };
    match &mention.spot {
        Spot::Contents { offset, before, after } => {
            format!("{file} at byte {offset}{more}: {}", around(before, after))
        }
        Spot::Target(target) => format!("{file} links to `{}`", escape(target.as_bytes())),
        Spot::Name => format!("the name of {file}"),
    }
}

/// Shows what is around a digest.
fn around(before: &[u8], after: &[u8]) -> String {
    let start = before.len().saturating_sub(BEFORE);
    let end = after.len().min(DIGEST + AFTER);
    let dots = |cut| if cut { "…" } else { "" };
    let text = [&before[start..], &after[..end]].concat();
    format!("{}{}{}", dots(start > 0), escape(&text), dots(end < after.len()))
}

/// Shows bytes, those that are no text by what Rust and C would have for them.
pub(super) fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// Returns the name of a file as text.
pub(super) fn name(file: &Path) -> String {
    file.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_is_around() {
        let digest = [b'0'; DIGEST];
        assert_eq!(
            around(b"#!/nix/store/", &[&digest[..], b"-sh\n"].concat()),
            format!("#!/nix/store/{}-sh\\n", "0".repeat(DIGEST))
        );
        let cut = around(&[b'x'; 30], &[&digest[..], &[0; 60]].concat());
        assert!(cut.starts_with("…xxx") && cut.ends_with("\\x00…"), "{cut}");
        assert_eq!(escape("it's \"ü\"".as_bytes()), "it's \"\\xc3\\xbc\"");
    }
}
