//! `store narinfo`
#![expect(clippy::disallowed_methods, reason = "the files are the user's")]

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use binary_cache::path_info::{Extent, parse_all, print_all};
use binary_cache::{NarInfo, PublicKey, SecretKey, fingerprint, is_content_addressed};
use store_path::StoreDir;

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::keys;
use crate::path_info::JsonFormat;
use crate::session::Session;

/// Reads what caches say of store paths, checks it and prints it in another form.
///
/// A content address has to give the path it is stated for. With `--public-key`, each path without such an address has
/// to be signed by one of the keys. What does not hold is said, and the exit code is 1.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store narinfo q790zdjk75hm2cn42nh77pqw4gbv1b88.narinfo --json\n  \
                        store path-info --json ./result | store narinfo --fingerprint -\n  \
                        store narinfo --sign-with secret.key unsigned.narinfo > signed.narinfo\n  \
                        store narinfo --public-key \"$(cat public.key)\" *.narinfo")]
pub(crate) struct Args {
    /// Files with the text of a `.narinfo`, or with JSON as `nix path-info --json` prints it; `-` for stdin.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// A key whose signature is good, as `NAME:BASE64`; may be repeated.
    #[arg(long, value_name = "KEY")]
    public_key: Vec<PublicKey>,

    /// Adds a signature by the secret key in FILE.
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,

    /// Prints the texts that signatures are over.
    #[arg(long, conflicts_with = "json_format")]
    fingerprint: bool,

    /// The version of Nix's format that JSON has; without `--json`, too.
    #[arg(long, value_enum, value_name = "VERSION")]
    json_format: Option<JsonFormat>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store_dir = session.location()?.store_dir;
    let mut all = Vec::new();
    for file in &args.files {
        let read = || parse(&bytes(session, file)?, &store_dir);
        all.extend(read().with_context(|| format!("cannot read what `{}` says of paths", file.display()))?);
    }
    let mut exit = Exit::Success;
    for nar_info in &all {
        if let Some(doubt) = doubt(nar_info, &args.public_key, &store_dir) {
            let path = store_dir.print(&nar_info.info.path);
            session.messages().error(harmless(&format!("`{path}` {doubt}")));
            exit = Exit::Failure;
        }
    }
    if let Some(file) = &args.sign_with {
        let key = keys::read(&session.absolute(file))?;
        all.iter_mut().for_each(|nar_info| sign(nar_info, &key, &store_dir));
    }
    print(session, args, &all, &store_dir)?;
    Ok(exit)
}

fn bytes(session: &Session, file: &Path) -> Result<Vec<u8>> {
    if file != Path::new("-") {
        return Ok(fs::read(session.absolute(file))?);
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells JSON from the text of a `.narinfo` by how it begins.
fn parse(bytes: &[u8], store_dir: &StoreDir) -> Result<Vec<NarInfo>> {
    match bytes.trim_ascii_start().first() {
        Some(b'{' | b'[') => Ok(parse_all(&serde_json::from_slice(bytes)?, store_dir)?),
        _ => Ok(vec![NarInfo::parse(bytes, store_dir)?]),
    }
}

/// Returns why what is said of a path is not to be believed, if it is not.
fn doubt(nar_info: &NarInfo, keys: &[PublicKey], store_dir: &StoreDir) -> Option<String> {
    let info = &nar_info.info;
    if is_content_addressed(info, store_dir) {
        return None;
    }
    if let Some(address) = &info.content_address {
        return Some(format!("does not follow from its content address, `{address}`"));
    }
    let text = fingerprint(info, store_dir);
    let is_good = |signature: &String| keys.iter().any(|key| key.has_signed(&text, signature));
    if keys.is_empty() || info.signatures.iter().any(is_good) {
        return None;
    }
    let names = |names: Vec<&str>| names.join("`, `");
    let wanted = names(keys.iter().map(PublicKey::name).collect());
    let signers: Vec<&str> =
        info.signatures.iter().map(|text| text.split(':').next().unwrap_or_default()).collect();
    Some(match signers.is_empty() {
        true => format!("is not signed; `{wanted}` should have signed it"),
        false => {
            format!("has no good signature by `{wanted}`, only what `{}` may have signed", names(signers))
        }
    })
}

fn sign(nar_info: &mut NarInfo, key: &SecretKey, store_dir: &StoreDir) {
    let signature = key.sign(&fingerprint(&nar_info.info, store_dir));
    let signatures = &mut nar_info.info.signatures;
    signatures.retain(|other| *other != signature);
    signatures.push(signature);
    signatures.sort();
}

fn print(session: &mut Session, args: &Args, all: &[NarInfo], store_dir: &StoreDir) -> Result<()> {
    if args.fingerprint {
        let lines = all.iter().map(|nar_info| fingerprint(&nar_info.info, store_dir)).collect();
        return session.print_list(lines);
    }
    if session.json() || args.json_format.is_some() {
        let version = args.json_format.unwrap_or(JsonFormat::Three).into();
        let value = print_all(all, version, Extent::Everything, store_dir)?;
        return Ok(session.results().json(&value)?);
    }
    for (count, nar_info) in all.iter().enumerate() {
        if count > 0 {
            session.results().line("")?;
        }
        let text = nar_info.print(store_dir).with_context(|| {
            format!("cannot write a `.narinfo` for `{}`; `--json` can", nar_info.info.path)
        })?;
        session.results().line(text.trim_end_matches('\n'))?;
    }
    Ok(())
}
