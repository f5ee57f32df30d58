//! The environment of a builder: exactly what Nix gives, in the order of the names' bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use derivation::Derivation;
use store_path::{Hash, HashAlgorithm};

use crate::rewrite::Rewrites;

type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the environment depends on beside the derivation.
pub(crate) struct Surroundings<'a> {
    /// The logical store directory.
    pub(crate) store_dir: &'a str,
    /// The build directory as the builder sees it.
    pub(crate) build_dir: &'a Path,
    /// How many processors the builder may use.
    pub(crate) cores: usize,
    /// Variables of language and time zone, for builds that are to see others than builds usually do.
    pub(crate) locale: &'a [(&'a str, &'a str)],
    /// The caller's variables that a fixed-output or an impure build asks for.
    pub(crate) impure: Variables,
    /// The fifo of the job server as the builder sees it, if there is one.
    pub(crate) job_server: Option<&'a Path>,
}

/// The environment, and the files in the build directory that some of its variables name.
pub(crate) struct Environment {
    pub(crate) variables: Variables,
    /// Name in the build directory and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// Builds the environment of a derivation without structured attributes. Later steps override earlier ones.
pub(crate) fn plain(
    derivation: &Derivation,
    pass_as_file: &BTreeSet<Vec<u8>>,
    rewrites: &Rewrites,
    surroundings: &Surroundings<'_>,
) -> Environment {
    let mut variables = defaults(surroundings);
    let mut files = Vec::new();
    for (name, value) in &derivation.env {
        let value = rewrites.apply(value);
        if pass_as_file.contains(name) {
            let file = format!(".attr-{}", Hash::of(HashAlgorithm::Sha256, name).to_nix32());
            let path = surroundings.build_dir.join(&file);
            variables.insert([name.as_slice(), b"Path"].concat(), path.as_os_str().as_bytes().to_vec());
            files.push((file, value));
        } else {
            variables.insert(name.clone(), value);
        }
    }
    finish(&mut variables, derivation, surroundings);
    Environment { variables, files }
}

/// Builds the environment of a derivation with structured attributes, which come as two files.
pub(crate) fn structured(
    derivation: &Derivation,
    json: Vec<u8>,
    shell: Vec<u8>,
    surroundings: &Surroundings<'_>,
) -> Environment {
    let mut variables = defaults(surroundings);
    let files = vec![(".attrs.json".to_owned(), json), (".attrs.sh".to_owned(), shell)];
    for (name, file) in [("NIX_ATTRS_JSON_FILE", ".attrs.json"), ("NIX_ATTRS_SH_FILE", ".attrs.sh")] {
        let path = surroundings.build_dir.join(file);
        variables.insert(name.into(), path.as_os_str().as_bytes().to_vec());
    }
    finish(&mut variables, derivation, surroundings);
    Environment { variables, files }
}

fn defaults(surroundings: &Surroundings<'_>) -> Variables {
    let cores = surroundings.cores.to_string();
    let mut variables: Variables = [
        ("PATH", "/path-not-set"),
        ("HOME", "/homeless-shelter"),
        ("NIX_STORE", surroundings.store_dir),
        ("NIX_BUILD_CORES", cores.as_str()),
    ]
    .into_iter()
    .chain(surroundings.locale.iter().copied())
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    if let Some(fifo) = surroundings.job_server {
        let value = [b"--jobserver-auth=fifo:", fifo.as_os_str().as_bytes()].concat();
        variables.insert("MAKEFLAGS".into(), value);
    }
    variables
}

fn finish(variables: &mut Variables, derivation: &Derivation, surroundings: &Surroundings<'_>) {
    for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
        variables.insert(name.into(), surroundings.build_dir.as_os_str().as_bytes().to_vec());
    }
    if derivation.is_fixed() {
        variables.insert("NIX_OUTPUT_CHECKED".into(), "1".into());
    }
    variables.extend(surroundings.impure.clone());
    variables.insert("NIX_LOG_FD".into(), "2".into());
    variables.insert("TERM".into(), "xterm-256color".into());
}
