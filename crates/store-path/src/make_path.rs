//! Where the digest of a path comes from.

use std::collections::BTreeSet;

use crate::{ContentAddress, Digest, Hash, HashAlgorithm, Method, Name, NameError, StoreDir, StorePath};

impl StoreDir {
    /// Returns the path of any kind of object: `kind` and `inner` say what it is, and everything below says
    /// what they are for each kind.
    pub fn make_path(&self, kind: &str, inner: &Hash, name: &Name) -> StorePath {
        let fingerprint = format!("{kind}:{}:{self}:{name}", inner.prefixed_base16());
        let hash = Hash::of(HashAlgorithm::Sha256, fingerprint.as_bytes());
        StorePath::from_parts(Digest::fold(hash.as_bytes()), name.clone())
    }

    /// Returns the path of a text that refers to `references`, such as a derivation.
    pub fn text_path(&self, name: &Name, contents: &Hash, references: &BTreeSet<StorePath>) -> StorePath {
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
            (Method::Text, _) => self.text_path(name, hash, &BTreeSet::new()),
            _ => {
                let promise = format!("fixed:out:{}{}:", method.prefix(), hash.prefixed_base16());
                let inner = Hash::of(HashAlgorithm::Sha256, promise.as_bytes());
                self.make_path("output:out", &inner, name)
            }
        }
    }

    /// Returns the path of an object by its content address.
    ///
    /// Only a text and a tree hashed by SHA-256 can have `references`; the others' are not part of the name.
    pub fn content_addressed_path(
        &self,
        name: &Name,
        address: &ContentAddress,
        references: &BTreeSet<StorePath>,
    ) -> StorePath {
        match (address.method, address.hash.algorithm()) {
            (Method::Text, _) => self.text_path(name, &address.hash, references),
            (Method::Nar, HashAlgorithm::Sha256) => self.source_path(name, &address.hash, references, false),
            (method, _) => self.fixed_path(name, method, &address.hash),
        }
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

    fn kind_with_references(&self, kind: &str, references: &BTreeSet<StorePath>) -> String {
        let mut kind = kind.to_owned();
        for reference in references {
            kind.push(':');
            kind.push_str(&self.print(reference));
        }
        kind
    }
}

/// Returns the name in an output's path: that of the derivation (without `.drv`), and `-<output>` unless the
/// output is `out`.
pub fn output_name(derivation: &Name, output: &str) -> Result<Name, NameError> {
    output_name_text(derivation.as_str(), output).parse()
}

/// The same as text, which may be too long for a name.
pub(crate) fn output_name_text(derivation: &str, output: &str) -> String {
    match output {
        "out" => derivation.to_owned(),
        _ => format!("{derivation}-{output}"),
    }
}
