//! Texts that stand for paths which are not known yet.

use std::fmt;

use crate::{Digest, Hash, HashAlgorithm, StorePath};

/// Returns what a derivation writes where it means the path of its own output.
pub fn placeholder(output: &str) -> String {
    Placeholder::hashed(&format!("nix-output:{output}")).to_string()
}

/// What a derivation writes where it means an output of another one, whose path only its build will tell.
///
/// It prints as `/` and 52 characters of base 32, which is no path that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placeholder(Hash);

impl Placeholder {
    /// How many bytes it has when it is printed.
    pub const TEXT_LEN: usize = 53;

    /// Stands for an output of a derivation that is there.
    pub fn of_output(drv: &StorePath, output: &str) -> Self {
        let name = drv.name().as_str();
        let name = name.strip_suffix(".drv").unwrap_or(name);
        let suffix = if output == "out" { String::new() } else { format!("-{output}") };
        Self::hashed(&format!("nix-upstream-output:{}:{name}{suffix}", drv.digest()))
    }

    /// Stands for an output of the derivation that will be where this placeholder is.
    #[must_use]
    pub fn and_its_output(&self, output: &str) -> Self {
        Self::hashed(&format!("nix-computed-output:{}:{output}", Digest::fold(self.0.as_bytes())))
    }

    fn hashed(clear_text: &str) -> Self {
        Self(Hash::of(HashAlgorithm::Sha256, clear_text.as_bytes()))
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}", self.0.to_nix32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_nix() {
        assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
    }

    #[test]
    fn of_others_is_that_of_nix() {
        let drv: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv".parse().unwrap();
        let out = Placeholder::of_output(&drv, "out").to_string();
        assert_eq!(out, "/0c6rn30q4frawknapgwq386zq358m8r6msvywcvc89n6m5p2dgbz");
        assert_eq!(out.len(), Placeholder::TEXT_LEN);
        let made: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv.drv".parse().unwrap();
        let nested = Placeholder::of_output(&made, "out").and_its_output("out").to_string();
        assert_eq!(nested, "/0gn6agqxjyyalf0dpihgyf49xq5hqxgw100f0wydnj6yqrhqsb3w");
        // Stated in Nix's data for resolving.
        let dev: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep1.drv".parse().unwrap();
        let dev = Placeholder::of_output(&dev, "dev").to_string();
        assert_eq!(dev, "/1r6jj1sjvjx4d1jqlnak71d8vzysdl2gyz2m01spjf31nhr1g55f");
    }
}
