//! Texts that stand for paths which are not known yet.

use crate::{Hash, HashAlgorithm};

/// Returns what a derivation writes where it means the path of its own output.
pub fn placeholder(output: &str) -> String {
    let clear_text = format!("nix-output:{output}");
    format!("/{}", Hash::of(HashAlgorithm::Sha256, clear_text.as_bytes()).to_nix32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_nix() {
        assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
    }
}
