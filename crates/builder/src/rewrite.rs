//! Placeholders of a derivation's own outputs become their paths.

use std::collections::BTreeMap;

use derivation::OutputName;
use store_path::{StoreDir, StorePath, placeholder};

/// Pairs of a placeholder and what stands for it.
#[derive(Debug, Default)]
pub(crate) struct Rewrites(Vec<(Vec<u8>, Vec<u8>)>);

impl Rewrites {
    #[cfg(test)]
    pub(crate) fn new<const N: usize>(pairs: [(String, &str); N]) -> Self {
        Self(pairs.map(|(from, to)| (from.into_bytes(), to.as_bytes().to_vec())).into())
    }

    /// The rewrites of a derivation's own outputs, which its builder makes at these paths.
    pub(crate) fn of(outputs: &BTreeMap<OutputName, StorePath>, store_dir: &StoreDir) -> Self {
        let pair = |(name, path): (&OutputName, &StorePath)| {
            (placeholder(name.as_str()).into_bytes(), store_dir.print(path).into_bytes())
        };
        Self(outputs.iter().map(pair).collect())
    }

    /// `text` with every placeholder replaced.
    pub(crate) fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut rewritten = Vec::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            // A placeholder begins with the only `/` that it has.
            let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            rewritten.extend_from_slice(&rest[..slash]);
            rest = &rest[slash..];
            match self.0.iter().find(|(from, _)| rest.starts_with(from)) {
                Some((from, to)) => {
                    rewritten.extend_from_slice(to);
                    rest = &rest[from.len()..];
                }
                None => {
                    let kept = rest.len().min(1);
                    rewritten.extend_from_slice(&rest[..kept]);
                    rest = &rest[kept..];
                }
            }
        }
        rewritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_every_placeholder_and_nothing_else() {
        let rewrites = Rewrites(vec![(b"/abc".to_vec(), b"/nix/store/x".to_vec())]);
        assert_eq!(rewrites.apply(b"a/abc:/abc/bin://abd/"), b"a/nix/store/x:/nix/store/x/bin://abd/");
        assert_eq!(rewrites.apply(b""), b"");
    }
}
