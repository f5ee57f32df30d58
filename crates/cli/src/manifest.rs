//! The text of `store add --manifest`: what to add, and what it has to come out as.

use std::path::Path;

use anyhow::{Context, Result, bail};
use local_store::ManifestRow;
use store_path::{Hash, StoreDir};

/// Reads lines of store path, hash and file, separated by tabs; files are relative to `beside`.
pub(crate) fn parse(text: &str, store_dir: &StoreDir, beside: &Path) -> Result<Vec<ManifestRow>> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, number)| parse_line(line, store_dir, beside).with_context(|| format!("line {number}")))
        .collect()
}

fn parse_line(line: &str, store_dir: &StoreDir, beside: &Path) -> Result<ManifestRow> {
    let [path, hash, file] = line.split('\t').collect::<Vec<_>>()[..] else {
        bail!("expected a store path, a hash and a file, with one tab between them; found `{line}`");
    };
    Ok(ManifestRow {
        path: store_dir.parse(path)?,
        nar_hash: Hash::parse(hash, None)?,
        // `join` keeps an absolute file as it is.
        file: beside.join(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/00000000000000000000000000000000-a";
    const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn parse_text(text: &str) -> Result<Vec<ManifestRow>> {
        parse(text, &StoreDir::default(), Path::new("/m"))
    }

    #[test]
    fn files_are_beside_the_manifest() {
        let rows =
            parse_text(&format!("# inputs\n{PATH}\t{HASH}\tinputs/a\n\n{PATH}\t{HASH}\t/b\n")).unwrap();
        let files: Vec<_> = rows.iter().map(|row| row.file.to_str().unwrap()).collect();
        assert_eq!(files, ["/m/inputs/a", "/b"]);
        assert_eq!(rows[0].path.to_string(), "00000000000000000000000000000000-a");
        assert_eq!(rows[0].nar_hash.prefixed_base16(), HASH);
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse_text(&format!("{PATH}\t{HASH}\ta\n{PATH} {HASH} a")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("line 2: expected a store path, a hash and a file"), "{text}");
        assert!(parse_text(&format!("{PATH}\tsha256:0\ta")).is_err());
    }
}
