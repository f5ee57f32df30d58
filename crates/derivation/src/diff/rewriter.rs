//! Telling texts of the right side in paths of the left.

use std::collections::{HashMap, HashSet};

use store_path::{Placeholder, StorePath};

/// Digests of paths, and hashes in placeholders, are runs of exactly as many characters of base 32.
const DIGEST_LEN: usize = 32;
const HASH_LEN: usize = Placeholder::TEXT_LEN - 1;

/// What paths of the right side are on the left.
#[derive(Default)]
pub(super) struct Rewriter {
    /// By digest or hash: the whole text on the right, and the one on the left.
    known: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
}

impl Rewriter {
    /// Says that `right` is the counterpart of `left`.
    pub(super) fn add_path(&mut self, right: &StorePath, left: &StorePath) {
        if right != left {
            self.add(right.to_string(), left.to_string());
        }
    }

    /// Says the same of what stands for paths that are not known.
    pub(super) fn add_placeholder(&mut self, right: &Placeholder, left: &Placeholder) {
        if right != left {
            let bare = |placeholder: &Placeholder| placeholder.to_string().split_off(1);
            self.add(bare(right), bare(left));
        }
    }

    fn add(&mut self, right: String, left: String) {
        let key = right.split('-').next().unwrap_or_default().as_bytes().to_vec();
        self.known.insert(key, (right.into_bytes(), left.into_bytes()));
    }

    /// Returns `text` in words of the left.
    pub(super) fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut copied = 0;
        for (start, run) in runs(text) {
            let Some((right, left)) = self.known.get(run) else { continue };
            if start < copied {
                continue;
            }
            out.extend_from_slice(&text[copied..start]);
            // A digest may stand alone, without its name.
            let is_whole = text[start..].starts_with(right);
            out.extend_from_slice(if is_whole { left } else { &left[..run.len().min(left.len())] });
            copied = start + if is_whole { right.len() } else { run.len() };
        }
        out.extend_from_slice(&text[copied..]);
        out
    }
}

/// Returns the runs of a text that may be digests or hashes, and where they begin.
pub(super) fn runs(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut position = 0;
    text.split(|byte| !is_base32(*byte)).filter_map(move |run| {
        let start = position;
        position += run.len() + 1;
        matches!(run.len(), DIGEST_LEN | HASH_LEN).then_some((start, run))
    })
}

fn is_base32(byte: u8) -> bool {
    (byte.is_ascii_digit() || byte.is_ascii_lowercase()) && !b"eotu".contains(&byte)
}

/// Paths that only one side mentions.
#[derive(Default)]
pub(super) struct Strangers {
    /// By their digests.
    digests: HashSet<Vec<u8>>,
    /// The beginnings of their names, where the digests are not known.
    names: HashSet<Vec<u8>>,
}

impl Strangers {
    pub(super) fn add(&mut self, digests: impl IntoIterator<Item = Vec<u8>>) {
        self.digests.extend(digests);
    }

    /// Adds what a derivation that is not at hand may make.
    pub(super) fn add_outputs_of(&mut self, drv: &StorePath) {
        let name = drv.name().as_str();
        self.names.insert(format!("-{}", name.strip_suffix(".drv").unwrap_or(name)).into_bytes());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty() && self.names.is_empty()
    }

    /// Returns the words of a text that mention none of them.
    pub(super) fn words_without<'text>(&self, text: &'text [u8]) -> Vec<&'text [u8]> {
        let words = text.split(|byte| byte.is_ascii_whitespace() || b":;,\"".contains(byte));
        words.filter(|word| !word.is_empty() && !self.are_in(word)).collect()
    }

    fn are_in(&self, word: &[u8]) -> bool {
        runs(word).any(|(start, run)| {
            let name = &word[start + run.len()..];
            self.digests.contains(run) || self.names.iter().any(|stranger| name.starts_with(stranger))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(base: &str) -> StorePath {
        base.parse().unwrap()
    }

    const LEFT: &str = "00000000000000000000000000000000-zlib-1.2";
    const RIGHT: &str = "11111111111111111111111111111111-zlib-1.3.1";

    #[test]
    fn counterparts_are_told_as_the_left_has_them() {
        let mut rewriter = Rewriter::default();
        rewriter.add_path(&path(RIGHT), &path(LEFT));
        let apply = |text: &str| String::from_utf8(rewriter.apply(text.as_bytes())).unwrap();
        assert_eq!(
            apply(&format!("-L/nix/store/{RIGHT}/lib {RIGHT}")),
            format!("-L/nix/store/{LEFT}/lib {LEFT}")
        );
        assert_eq!(apply(&format!("x{}", &RIGHT[32..])), format!("x{}", &RIGHT[32..]), "the name alone");
        assert_eq!(apply(&RIGHT[..32]), LEFT[..32], "the digest alone");
        let longer = format!("1{RIGHT}");
        assert_eq!(apply(&longer), longer, "no digest has 33 characters");
        assert_eq!(apply(""), "");
    }

    #[test]
    fn words_about_a_path_can_be_left_out() {
        let mut gone = Strangers::default();
        assert!(gone.is_empty());
        gone.add([LEFT.as_bytes()[..32].to_vec()]);
        let text = format!("a  -L/nix/store/{LEFT}/lib\nb:/nix/store/{RIGHT}");
        let right = format!("/nix/store/{RIGHT}");
        assert_eq!(gone.words_without(text.as_bytes()), [&b"a"[..], b"b", right.as_bytes()]);
        gone.add_outputs_of(&path(&format!("{RIGHT}.drv")));
        assert_eq!(gone.words_without(text.as_bytes()), [&b"a"[..], b"b"]);
    }
}
