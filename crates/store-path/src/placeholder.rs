//! Texts that stand for paths which are not known yet.

use crate::make_path::output_name_text;
use crate::{Hash, HashAlgorithm, StorePath};

/// Returns what a derivation writes where it means the path of its own output.
pub fn placeholder(output: &str) -> String {
    of(&format!("nix-output:{output}"))
}

/// Returns what a derivation writes where it means an output of `derivation` whose path only a build tells.
pub fn upstream_placeholder(derivation: &StorePath, output: &str) -> String {
    let name = derivation.name().as_str();
    let name = output_name_text(name.strip_suffix(".drv").unwrap_or(name), output);
    of(&format!("nix-upstream-output:{}:{name}", derivation.digest()))
}

fn of(clear_text: &str) -> String {
    format!("/{}", Hash::of(HashAlgorithm::Sha256, clear_text.as_bytes()).to_nix32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_those_of_nix() {
        assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
        // Stated in Nix 2.36's `downstream-placeholder.cc`.
        let derivation = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv".parse().unwrap();
        assert_eq!(
            upstream_placeholder(&derivation, "out"),
            "/0c6rn30q4frawknapgwq386zq358m8r6msvywcvc89n6m5p2dgbz"
        );
    }
}
