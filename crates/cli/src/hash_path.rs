//! `store hash path`

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;
use store_path::{Hash, HashAlgorithm, HashSink};

use crate::exit::Exit;
use crate::session::Session;

/// Prints the hash of a file's or directory's archive (NAR), as the store would record it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store hash path ./source\n  store hash path --format nix32 ./source")]
pub(crate) struct Args {
    /// The file or directory, in the store or anywhere else.
    path: PathBuf,

    /// The hash function: sha256, sha512, sha1, md5 or blake3.
    #[arg(long, default_value = "sha256")]
    algorithm: HashAlgorithm,

    /// The spelling of the hash.
    #[arg(long, value_enum, default_value_t = Format::Sri)]
    format: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Format {
    /// `sha256-<base 64>`
    Sri,
    /// `<base 32 of Nix>`
    Nix32,
    /// `<base 16>`
    Base16,
    /// `<base 64>`
    Base64,
}

impl Format {
    /// Returns a hash in this spelling.
    pub(crate) fn print(self, hash: &Hash) -> String {
        match self {
            Self::Sri => hash.to_sri(),
            Self::Nix32 => hash.to_nix32(),
            Self::Base16 => hash.to_base16(),
            Self::Base64 => hash.to_base64(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let path = session.real_file(&args.path)?;
    let mut sink = HashSink::new(args.algorithm);
    nar::dump(&path, &mut sink)?;
    let (hash, size) = sink.finish();
    let text = args.format.print(&hash);
    if session.json() {
        session.results().json(&json!({ "hash": text, "narSize": size }))?;
    } else {
        session.results().line(text)?;
    }
    Ok(Exit::Success)
}
