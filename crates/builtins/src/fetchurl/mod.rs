//! `builtin:fetchurl`: downloads a file, or an archive that becomes a tree.
//!
//! ```text
//! mod       attributes ─► mirrors by hash, then the url ─► the file, executable or unpacked
//! transfer  one url: tried again after a while, from where it broke off
//! http      one try: redirects, credentials, proxies; what a status means
//! agent     one request on the wire: TLS, time limits, how a proxy wants to be asked
//! ```

#![expect(clippy::disallowed_methods, reason = "makes the file of its output")]

mod agent;
mod error;
mod forward;
mod http;
mod netrc;
mod proxy;
mod retry;
mod transfer;
mod url;

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use store_path::{Hash, HashAlgorithm, HashSink};

use crate::FETCHURL;
use crate::call::{Call, Download, Failed, FlatHash};
use crate::compressed;
use crate::error::{AttributeError, chain, file};
use crate::log::Log;

pub(crate) fn build(call: &Call, log: &Log) -> Result<(), Failed> {
    let (url, out) = (call.text("url")?, PathBuf::from(call.text("out")?));
    let download = call.download.as_ref().ok_or_else(|| AttributeError::Form {
        name: "builder",
        problem: format!("is `{FETCHURL}`, which was not told how to download"),
    })?;
    let unpacks = call.is_set("unpack");
    // An archive is kept until it is whole: what broke off can go on then, and nothing is half unpacked.
    let to = if unpacks { Path::new(&call.build_dir).join("download") } else { out.clone() };
    if !by_hash(download, &to, log) {
        transfer::fetch(url, &to, download, log)?;
    }
    if unpacks {
        unpack(url, &to, &out)?;
        fs::remove_file(&to).map_err(file("remove", &to))?;
    }
    if call.is_set("executable") {
        fs::set_permissions(&out, Permissions::from_mode(0o755)).map_err(file("make executable", &out))?;
    }
    Ok(())
}

/// Asks where files are found by their hash; returns whether the right one was there.
fn by_hash(download: &Download, to: &Path, log: &Log) -> bool {
    let Some(hash) = &download.hash else { return false };
    let mut urls = download.hashed_mirrors.iter().map(|mirror| {
        let slash = if mirror.ends_with('/') { "" } else { "/" };
        format!("{mirror}{slash}{}/{}", hash.algorithm, hash.base16)
    });
    urls.any(|url| {
        let fetched = transfer::fetch_once(&url, to, download, log).map_err(|error| chain(&error));
        match fetched.and_then(|()| check(hash, to).map_err(|error| error.to_string())) {
            Ok(()) => true,
            Err(problem) => {
                log.line(format_args!("not from this mirror: {problem}"));
                false
            }
        }
    })
}

/// A mirror that has something else is passed over. What the url itself has, whoever keeps the output looks at.
fn check(hash: &FlatHash, path: &Path) -> io::Result<()> {
    let unknown = |_| io::Error::other(format!("the hash `{}` is not known", hash.algorithm));
    let algorithm: HashAlgorithm = hash.algorithm.parse().map_err(unknown)?;
    let mut sink = HashSink::new(algorithm);
    io::copy(&mut File::open(path)?, &mut sink)?;
    let got: Hash = sink.finish().0;
    match got.to_base16() == hash.base16 {
        true => Ok(()),
        false => Err(io::Error::other(format!("it has a file with the hash {}", got.to_sri()))),
    }
}

/// Makes the tree that an archive holds, which is compressed if its name says so.
fn unpack(url: &str, archive: &Path, out: &Path) -> Result<(), Failed> {
    let source = BufReader::new(File::open(archive).map_err(file("open", archive))?);
    let mut plain: Box<dyn Read> = if url.ends_with(".xz") {
        Box::new(BufReader::new(compressed::xz(source)))
    } else {
        Box::new(source)
    };
    nar::restore(&mut plain, out).map_err(|source| UnpackError { url: url::shown(url), source })?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("what `{url}` gave is no archive of Nix (NAR), as `unpack` wants it")]
struct UnpackError {
    url: String,
    source: nar::RestoreError,
}
