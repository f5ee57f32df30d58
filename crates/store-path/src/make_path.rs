//! Where the digest of a path comes from.

use std::collections::BTreeSet;

use crate::{ContentAddress, Digest, Hash, HashAlgorithm, Method, Name, NameError, StoreDir, StorePath};

impl StoreDir {
    /// Returns the path of any kind of object: `kind` and `inner` say what it is, and everything below says
    /// what they are for each kind.
    pub fn make_path(&self, kind: &str, inner: &Hash, name: &Name) -> StorePath {
        let fingerprint = [kind, &inner.prefixed_base16(), self.as_str(), name.as_str()].join(":");
        let hash = Hash::of(HashAlgorithm::Sha256, fingerprint.as_bytes());
        StorePath::from_parts(Digest::fold(hash.as_bytes()), name.clone())
    }

    /// Returns the path of a text that refers to `references`, such as a derivation; they are in order, and each is there
    /// once.
    pub fn text_path<'a>(
        &self,
        name: &Name,
        contents: &Hash,
        references: impl IntoIterator<Item = &'a StorePath>,
    ) -> StorePath {
        self.make_path(&self.kind_with_references("text", references), contents, name)
    }

    /// Returns the path of a tree whose archive has the SHA-256 `nar_hash`.
    ///
    /// With `self_reference`, the hash is of the archive with its own digest blanked out.
    pub fn source_path(
        &self,
        name: &Name,
        nar_hash: &Hash,
        references: &BTreeSet<StorePath>,
        self_reference: bool,
    ) -> StorePath {
        let mut kind = self.kind_with_references("source", references);
        if self_reference {
            kind.push_str(":self");
        }
        self.make_path(&kind, nar_hash, name)
    }

    /// Returns the path of an output whose hash was promised, and which refers to nothing.
    pub fn fixed_path(&self, name: &Name, method: Method, hash: &Hash) -> StorePath {
        match (method, hash.algorithm()) {
            (Method::Nar, HashAlgorithm::Sha256) => self.source_path(name, hash, &BTreeSet::new(), false),
            (Method::Text, _) => self.text_path(name, hash, []),
            _ => {
                let promise = format!("fixed:out:{}{}:", method.prefix(), hash.prefixed_base16());
                let inner = Hash::of(HashAlgorithm::Sha256, promise.as_bytes());
                self.make_path("output:out", &inner, name)
            }
        }
    }

    /// Returns the path of an object with this content address, which refers to `references`, and perhaps to itself.
    ///
    /// `None` if such an address has no room for that: only archives by SHA-256 and texts may refer to anything, and
    /// only the former to themselves.
    pub fn addressed_path(
        &self,
        name: &Name,
        address: &ContentAddress,
        references: &BTreeSet<StorePath>,
        self_reference: bool,
    ) -> Option<StorePath> {
        let ContentAddress { method, hash } = address;
        match (method, hash.algorithm()) {
            (Method::Nar, HashAlgorithm::Sha256) => {
                Some(self.source_path(name, hash, references, self_reference))
            }
            (Method::Text, HashAlgorithm::Sha256) if !self_reference => {
                Some(self.text_path(name, hash, references))
            }
            (Method::Text, _) => None,
            _ if references.is_empty() && !self_reference => Some(self.fixed_path(name, *method, hash)),
            _ => None,
        }
    }

    /// Returns where a builder makes an output of `drv` whose path only its contents will tell.
    pub fn scratch_path(&self, drv: &StorePath, output: &str) -> Result<StorePath, NameError> {
        let file = drv.name().as_str();
        let derivation: Name = file.strip_suffix(".drv").unwrap_or(file).parse()?;
        let nothing = Hash::from_bytes(HashAlgorithm::Sha256, &[0; 32]);
        Ok(self.make_path(
            &format!("rewrite:{drv}:name:{output}"),
            &nothing,
            &output_name(&derivation, output)?,
        ))
    }

    /// Returns the path of an output that is named by how it is built: `modulo` is the hash of its derivation,
    /// modulo the ways to make the same inputs.
    pub fn output_path(
        &self,
        output: &str,
        modulo: &Hash,
        derivation: &Name,
    ) -> Result<StorePath, NameError> {
        let name = output_name(derivation, output)?;
        Ok(self.make_path(&format!("output:{output}"), modulo, &name))
    }

    fn kind_with_references<'a>(
        &self,
        kind: &str,
        references: impl IntoIterator<Item = &'a StorePath>,
    ) -> String {
        // As long as ten paths: with more, it grows.
        let mut all = String::with_capacity(1 << 10);
        all.push_str(kind);
        for reference in references {
            all.push(':');
            self.print_to(reference, &mut all);
        }
        all
    }
}

/// Returns the name in an output's path: that of the derivation (without `.drv`), and `-<output>` unless the
/// output is `out`.
pub fn output_name(derivation: &Name, output: &str) -> Result<Name, NameError> {
    match output {
        "out" => Ok(derivation.clone()),
        _ => format!("{derivation}-{output}").parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(hex: &str) -> Hash {
        Hash::parse(hex, Some(HashAlgorithm::Sha256)).unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    const TREE: &str = "894517c9163c896ec31a2adbd33c0681fd5f45b2c0ef08a64c92a03fb97f390f";

    #[test]
    fn names_a_tree_by_its_archive() {
        let store_dir = StoreDir::default();
        let expected = "i00sflxqsj37lfmf95m8mn0grv615hpj-source";
        let none = BTreeSet::new();
        assert_eq!(store_dir.source_path(&name("source"), &sha256(TREE), &none, false).to_string(), expected);
        assert_eq!(store_dir.fixed_path(&name("source"), Method::Nar, &sha256(TREE)).to_string(), expected);
        // The archive of one file that holds `hello`.
        let file = Hash::parse("sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa", None).unwrap();
        let path = store_dir.source_path(&name("hello.txt"), &file, &none, false);
        assert_eq!(path.to_string(), "xfp2hphvk98rkk9ywlqpp587rjdcgnc2-hello.txt");
    }

    #[test]
    fn names_a_text_by_its_bytes() {
        let hash = Hash::of(HashAlgorithm::Sha256, b"hello");
        let path = StoreDir::default().text_path(&name("hello.txt"), &hash, &BTreeSet::new());
        assert_eq!(path.to_string(), "q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt");
    }

    #[test]
    fn names_a_fixed_output_by_its_promise() {
        let path = StoreDir::default().fixed_path(&name("x"), Method::Flat, &sha256(TREE));
        assert_eq!(path.to_string(), "491hf3lnzk5hfxfj67b3yxiyrajfsfkx-x");
    }

    #[test]
    fn references_are_part_of_a_name() {
        let store_dir = StoreDir::default();
        let reference: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar".parse().unwrap();
        let one = BTreeSet::from([reference]);
        let source = |references: &BTreeSet<_>, itself| {
            store_dir.source_path(&name("foo"), &sha256(TREE), references, itself)
        };
        let all = BTreeSet::from([
            source(&BTreeSet::new(), false),
            source(&BTreeSet::new(), true),
            source(&one, false),
            source(&one, true),
        ]);
        assert_eq!(all.len(), 4);
        // Stated in Nix 2.36's `path-info` golden data: `foo` refers to `bar` and to itself.
        let hash = Hash::of(HashAlgorithm::Sha256, b"(...)");
        let path = store_dir.source_path(&name("foo"), &hash, &one, true);
        assert_eq!(path.to_string(), "n5wkd9frr45pa74if5gpz9j7mifg27fh-foo");
    }

    #[test]
    fn names_an_output_after_its_derivation() {
        let drv = name("hello-1.0");
        assert_eq!(output_name(&drv, "out"), Ok(name("hello-1.0")));
        assert_eq!(output_name(&drv, "dev"), Ok(name("hello-1.0-dev")));
        assert!(matches!(output_name(&drv, &"o".repeat(202)), Err(NameError::TooLong { .. })));
        let path = |output| StoreDir::default().output_path(output, &sha256(TREE), &drv).unwrap();
        assert_eq!(path("dev").name(), &name("hello-1.0-dev"));
        assert_ne!(path("out").digest(), path("dev").digest());
    }

    #[test]
    fn names_differ_with_the_store_directory() {
        let hash = sha256(TREE);
        let elsewhere = StoreDir::new("/elsewhere").unwrap();
        let none = BTreeSet::new();
        assert_ne!(
            elsewhere.source_path(&name("source"), &hash, &none, false),
            StoreDir::default().source_path(&name("source"), &hash, &none, false)
        );
    }

    #[test]
    fn only_some_addresses_have_room_for_references() {
        let store_dir = StoreDir::default();
        let one = BTreeSet::from(["g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar".parse().unwrap()]);
        let none = BTreeSet::new();
        let path = |method, algorithm, references: &BTreeSet<_>, itself| {
            let address = ContentAddress { method, hash: Hash::of(algorithm, b"(...)") };
            store_dir.addressed_path(&name("foo"), &address, references, itself).map(|path| path.to_string())
        };
        let expected = "n5wkd9frr45pa74if5gpz9j7mifg27fh-foo";
        assert_eq!(path(Method::Nar, HashAlgorithm::Sha256, &one, true).as_deref(), Some(expected));
        assert!(path(Method::Text, HashAlgorithm::Sha256, &one, false).is_some());
        for (method, algorithm, itself) in [
            (Method::Text, HashAlgorithm::Sha256, true),
            (Method::Nar, HashAlgorithm::Sha1, false),
            (Method::Flat, HashAlgorithm::Sha256, false),
            (Method::Git, HashAlgorithm::Sha1, false),
        ] {
            assert_eq!(path(method, algorithm, &one, itself), None, "{method} {algorithm} {itself}");
            assert!(path(method, algorithm, &none, false).is_some(), "{method} {algorithm}");
        }
    }

    #[test]
    fn scratch_paths_differ_with_derivation_and_output() {
        let store_dir = StoreDir::default();
        let drv: StorePath = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv".parse().unwrap();
        let path = |output| store_dir.scratch_path(&drv, output).unwrap();
        assert_eq!((path("out").name(), path("dev").name()), (&name("foo"), &name("foo-dev")));
        assert_ne!(path("out").digest(), path("dev").digest());
        // As the fingerprint says, made here by hand.
        let zeros = "0".repeat(64);
        let fingerprint = format!("rewrite:{drv}:name:dev:sha256:{zeros}:/nix/store:foo-dev");
        let hash = Hash::of(HashAlgorithm::Sha256, fingerprint.as_bytes());
        assert_eq!(path("dev").digest(), &Digest::fold(hash.as_bytes()));
    }
}
