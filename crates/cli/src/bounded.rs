//! Reading files of derivations, of which none is too large to be held in memory.
#![expect(clippy::disallowed_methods, reason = "these are files of the user's, and stdin")]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// As long a file of JSON may be: a closure of 69,022 derivations takes some 200 MB.
const LONGEST_JSON: u64 = 512 << 20;

/// As long a `.drv` file may be: the longest known have a few megabytes.
const LONGEST_DRV: u64 = 64 << 20;

/// As much is enough to tell what a file holds; and it is all of most `.drv` files.
const HEAD: usize = 16 << 10;

/// Reads a file, or stdin if its path is `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return read_from(io::stdin().lock(), || Ok(None)).context("cannot read stdin");
    }
    let file = File::open(path)?;
    read_from(&file, || {
        let length = file.metadata()?;
        Ok(length.is_file().then_some(length.len()))
    })
}

/// Reads no more than a file with such a beginning may have; its length is asked for if it has more than a beginning,
/// and known for ordinary files only.
fn read_from(mut file: impl Read, length: impl Fn() -> io::Result<Option<u64>>) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(HEAD);
    file.by_ref().take(HEAD as u64).read_to_end(&mut text)?;
    let longest = longest(&text)?;
    if text.len() < HEAD {
        text.shrink_to_fit();
        return Ok(text);
    }
    let length = length()?;
    if length.is_some_and(|length| length > longest) {
        return Err(too_long(longest));
    }
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    text.reserve_exact(length.saturating_sub(HEAD) + 1);
    file.take(longest.saturating_sub(HEAD as u64) + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= longest) {
        Ok(text)
    } else {
        Err(too_long(longest))
    }
}

/// Returns how long a file may be that begins so. What holds no derivations is small, or not read further.
fn longest(head: &[u8]) -> Result<u64> {
    match head.trim_ascii_start() {
        [b'{', ..] => Ok(LONGEST_JSON),
        [b'D', ..] => Ok(LONGEST_DRV),
        _ if head.contains(&0) => bail!("it is not text"),
        _ => Ok(LONGEST_DRV),
    }
}

fn too_long(longest: u64) -> anyhow::Error {
    anyhow::anyhow!("it is longer than {} MiB; no file of derivations is", longest >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_files_are_not_read_to_the_end() {
        let refusal = |head: &'static [u8], rest| {
            let endless = head.chain(io::repeat(rest).take(LONGEST_DRV + 1));
            read_from(endless, || Ok(None)).unwrap_err().to_string()
        };
        assert!(refusal(b"Derive([", b' ').contains("longer than 64 MiB"));
        assert!(refusal(b"", 0).contains("not text"));
        let long = [b"{".as_slice(), &[b' '; 2 * HEAD]].concat();
        assert!(read_from(&*long, || Ok(Some(LONGEST_JSON + 1))).is_err());
        assert_eq!(read_from(&*long, || Ok(Some(2))).unwrap(), long);
        assert_eq!(read_from(&b"{}"[..], || Ok(Some(2))).unwrap(), b"{}");
    }
}
