//! What a builder is handed, on its way through the launcher into the sandbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::AttributeError;

/// Why a builder did not do its work. Only its text is of use: it ends in the log.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// What a builder is handed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The environment of the derivation, or its structured attributes as text, with `out` as the path to make.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The build directory, as it is seen from inside.
    pub build_dir: String,
    /// How to download, for a builder that does.
    pub download: Option<Download>,
}

/// How to download: what the settings say, and what was read of the host before the sandbox was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// The hash of the one file that is wanted, if it is known: it may be had from elsewhere too.
    pub hash: Option<FlatHash>,
    /// Where files are found by their hash, to be asked first.
    pub hashed_mirrors: Vec<String>,
    /// How often a download is tried.
    pub attempts: u32,
    /// Seconds until a connection has to be there; 0 for as long as the system waits.
    pub connect_timeout_secs: u64,
    /// Seconds without a byte after which a transfer is given up; 0 for no limit.
    pub stalled_timeout_secs: u64,
    /// The contents of a netrc file: names and passwords by host.
    pub netrc: Option<Vec<u8>>,
    /// Certificates of authorities in PEM form, and the file that they are from.
    pub certificates: Option<(String, Vec<u8>)>,
    /// The caller's variables about proxies, such as `https_proxy`.
    pub proxies: BTreeMap<String, String>,
    /// What can be reached.
    pub reach: Reach,
}

/// The hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatHash {
    /// Its name, such as `sha256`.
    pub algorithm: String,
    /// Its digits in base 16.
    pub base16: String,
}

/// What a download can reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Everything that the host does.
    Host,
    /// The outside, from a network of the build's own: its loopback is not the host's.
    Outside,
    /// Nothing; and which setting, or which lack, is why.
    Nothing(String),
}

impl Call {
    /// Returns its byte form; a version of this program reads what itself has written.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data can always be encoded")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Failed> {
        Ok(postcard::from_bytes(bytes)?)
    }

    /// Returns an attribute that has to be there.
    pub(crate) fn get(&self, name: &'static str) -> Result<&[u8], AttributeError> {
        let value = self.attributes.get(name.as_bytes());
        value.map(Vec::as_slice).ok_or(AttributeError::Missing { name })
    }

    /// Returns an attribute that has to be there and to be text.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, AttributeError> {
        std::str::from_utf8(self.get(name)?).map_err(|_| AttributeError::NotText { name })
    }

    /// Returns whether an attribute is set, as Nix spells that.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.attributes.get(name.as_bytes()).is_some_and(|value| value == b"1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let call = Call {
            attributes: [(b"odd\xff".to_vec(), b"\0".to_vec()), (b"unpack".to_vec(), b"1".to_vec())].into(),
            build_dir: "/build".to_owned(),
            download: None,
        };
        let read = Call::decode(&call.encode()).unwrap();
        assert_eq!(read, call);
        assert!(read.is_set("unpack") && !read.is_set("executable"));
        assert_eq!(read.get("url").unwrap_err().to_string(), "the attribute `url` is missing");
        assert!(Call::decode(b"\xff").is_err());
    }
}
