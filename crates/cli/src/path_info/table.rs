//! Paths in a column, with what is asked for beside them: the text of `nix path-info`.

use std::io;

use store_path::PathInfo;

use crate::results::Results;

/// A path and what is told of it.
pub(super) struct Row<'a> {
    /// The store path, or where its files are.
    pub(super) path: String,
    /// The bytes of its archive, where wanted.
    pub(super) size: Option<u64>,
    /// The bytes of all archives that it needs, where wanted.
    pub(super) closure_size: Option<u64>,
    /// Whose signatures are wanted.
    pub(super) signed: Option<&'a PathInfo>,
}

/// Prints a line for each path.
pub(super) fn print(results: &mut Results, rows: &[Row<'_>], for_people: bool) -> io::Result<()> {
    let width = rows.iter().map(|row| row.path.len()).max().unwrap_or(0);
    for row in rows {
        let mut line = row.path.clone();
        if row.size.is_some() || row.closure_size.is_some() || row.signed.is_some() {
            line = format!("{line:width$}");
        }
        for size in row.size.iter().chain(&row.closure_size) {
            line.push('\t');
            line.push_str(&if for_people { short(*size) } else { format!("{size:>11}") });
        }
        if let Some(info) = row.signed {
            line.push('\t');
            line.push_str(&trust(info));
        }
        results.line(line)?;
    }
    Ok(())
}

/// Returns a size as Nix shortens it.
fn short(bytes: u64) -> String {
    let mut units = " KMGTPE".chars();
    let (mut size, mut unit) = (bytes as f64, units.next());
    while size > 1024.0 {
        size /= 1024.0;
        unit = units.next();
    }
    format!("{size:6.1}{}", unit.unwrap_or(' '))
}

/// Returns why a path may be believed: built here, named by its contents, signed.
fn trust(info: &PathInfo) -> String {
    let built = info.ultimate.then(|| "ultimate".to_owned());
    let address = info.content_address.as_ref().map(|address| format!("ca:{address}"));
    let all: Vec<String> = built.into_iter().chain(address).chain(info.signatures.iter().cloned()).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shortened_as_by_nix() {
        assert_eq!(short(120), " 120.0 ");
        assert_eq!(short(1024), "1024.0 ");
        assert_eq!(short(601_240), " 587.1K");
        assert_eq!(short(u64::MAX), "  16.0E");
    }
}
