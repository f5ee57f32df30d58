//! `store key generate` and `store key public`
#![expect(
    clippy::disallowed_methods,
    reason = "secret keys are made of what the system finds random, and are files"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use binary_cache::SecretKey;
use serde_json::json;

use crate::exit::{Exit, Misuse};
use crate::session::Session;

/// Where Linux has random bytes; before it has enough for keys, reading waits.
const RANDOM: &str = "/dev/random";

/// Makes a key for signing store paths, and prints it: whoever has it can sign.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store key generate cache.example.org-1 --out secret.key\n  \
                        store key public < secret.key > public.key")]
pub(crate) struct GenerateArgs {
    /// The name that its signatures will begin with; by custom that of a host and a number.
    name: String,

    /// Writes the key to a new file that nobody else can read, and prints the public key instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Reads a secret key from stdin and prints the public key: what others put into `trusted-public-keys`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  store key public < secret.key")]
pub(crate) struct PublicArgs {}

impl GenerateArgs {
    /// Returns whether the secret key is kept in a file, and not only printed.
    pub(crate) fn keeps(&self) -> bool {
        self.out.is_some()
    }
}

/// Runs `store key generate`.
pub(crate) fn generate(session: &mut Session, args: &GenerateArgs) -> Result<Exit> {
    let mut seed = [0; 32];
    File::open(RANDOM)
        .and_then(|mut random| random.read_exact(&mut seed))
        .with_context(|| format!("cannot read random bytes from `{RANDOM}`"))?;
    let key = SecretKey::from_seed(&args.name, &seed).map_err(Misuse::new)?;
    let Some(file) = &args.out else {
        warn_of_readers(session);
        return print(session, "secretKey", &key.reveal());
    };
    let file = session.absolute(file);
    write_secret(&file, &key).map_err(|error| {
        let next = match error.kind() {
            io::ErrorKind::AlreadyExists => "; no key is overwritten: name another file",
            io::ErrorKind::NotFound => "; make the directory first",
            _ => "",
        };
        anyhow!("cannot write the secret key to `{}`: {error}{next}", file.display())
    })?;
    print(session, "publicKey", &key.public().to_string())
}

/// Runs `store key public`.
pub(crate) fn public(session: &mut Session, _args: &PublicArgs) -> Result<Exit> {
    let text = io::read_to_string(stdin().lock()).context("cannot read the secret key from stdin")?;
    let key: SecretKey = text.parse().context("cannot read the secret key from stdin")?;
    print(session, "publicKey", &key.public().to_string())
}

fn print(session: &mut Session, field: &str, key: &str) -> Result<Exit> {
    match session.json() {
        true => session.results().json(&json!({ field: key }))?,
        false => session.results().line(key)?,
    }
    Ok(Exit::Success)
}

/// No other file is overwritten: it may be the only copy of another key.
fn write_secret(path: &Path, key: &SecretKey) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = writeln!(file, "{}", key.reveal()).and_then(|()| file.sync_all());
    // What is not whole would be in the way of the next try.
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

/// A shell makes files that others can read.
fn warn_of_readers(session: &Session) {
    let metadata = stdout().as_fd().try_clone_to_owned().and_then(|out| File::from(out).metadata());
    if metadata.is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0) {
        session.messages().warn(
            "others can read the file that the secret key goes to: `chmod 600` it, or let `--out FILE` make it",
        );
    }
}
