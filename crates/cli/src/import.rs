//! `store import`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, IsTerminal, stdin};

use anyhow::{Result, bail};
use binary_cache::stream::{StreamError, Wrong};
use binary_cache::{PublicKey, fingerprint};
use engine::Newcomers;
use local_store::{Arrival, Arrivals, LocalStore, ReceiveError, Start};
use serde_json::json;
use store_path::{PathInfo, StorePath};

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::keys::trusted_keys;
use crate::messages::Messages;
use crate::results::Results;
use crate::session::Session;
use crate::size;

/// Reads a stream of store paths from stdin, as `store export` and `nix-store --export` write it, makes them valid and
/// prints them.
///
/// Each is unpacked aside, hashed and held against what is said of it; it becomes valid only if all it refers to is. What
/// is valid already is not written again. When a stream is damaged or breaks off, what came before stays, and it is said how
/// to go on. As by `nix-store --import`, nobody has to have signed anything.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  store import < hello.export\n  ssh other store export -R /nix/store/…-hello | store import\n  \
                        store import --from-byte 81264 < rest.export"
)]
pub(crate) struct Args {
    /// Goes on in a stream of format 2: what is read begins at that byte of it, where a path begins.
    #[arg(long, value_name = "BYTES", value_parser = size::count::<u64>)]
    from_byte: Option<u64>,

    /// Takes only what one of the keys in the setting `trusted-public-keys` has signed, or whose path follows from its
    /// contents: with format 2, as there are no signatures in the first.
    #[arg(long)]
    check_signatures: bool,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let input = stdin().lock();
    if input.is_terminal() {
        bail!("cannot read a stream from the terminal; take it from a file: `store import < file.export`");
    }
    let store = session.open_store()?;
    let start = args.from_byte.map_or(Start::Beginning, Start::At);
    let trusted = args.check_signatures.then(|| trusted_keys(session)).transpose()?;
    let (messages, json) = (session.messages(), session.json());
    let mut incoming = Incoming::new(&store, trusted, session.results(), messages, json);
    let outcome = store.import_stream(input, start, &mut incoming);
    let (count, end, failed) = incoming.finish(args.from_byte.unwrap_or(0));
    failed?;
    match outcome {
        Ok(_) => Ok(Exit::Success),
        Err(error) => {
            let next = next_step(&error, args, count, end);
            let error = anyhow::Error::from(error);
            // A stream may name what somebody else has written.
            session.messages().error(harmless(&format!("{error:#}")));
            if let Some(advice) = session.advice(&error) {
                session.messages().error(advice);
            }
            session.messages().error(next);
            Ok(Exit::Failure)
        }
    }
}

/// Returns what is in and how to go on.
fn next_step(error: &ReceiveError, args: &Args, count: usize, end: u64) -> String {
    let stay = match count {
        0 => "nothing was imported".to_owned(),
        1 => "1 path before it is in the store and stays".to_owned(),
        _ => format!("{count} paths before it are in the store and stay"),
    };
    let next = match error {
        ReceiveError::Reference { .. } => {
            "`store export --recursive` sends what a path refers to as well".to_owned()
        }
        ReceiveError::Absent { .. } => "let the other side export without leaving it out".to_owned(),
        ReceiveError::Untrusted { .. } => {
            "sign it there with a trusted key and export it with `--format 2` (`store sign`; there are no signatures in \
             the first format), name its key in `trusted-public-keys`, or leave out `--check-signatures`"
                .to_owned()
        }
        ReceiveError::Stream { source: StreamError { wrong: Wrong::Source { .. }, .. }, .. } if count == 0 => {
            "take it from a file or a pipe that can be read: `store import < file.export`".to_owned()
        }
        ReceiveError::Stream { .. } if count == 0 && args.from_byte.is_some() => format!(
            "what is read does not begin at byte {end} of a stream; `store export --format 2 … --from-byte {end}` writes \
             what does"
        ),
        _ if end == 0 => "let the other side export it again".to_owned(),
        _ => format!(
            "import the whole stream again, leave out what is here (`store export --except-from LIST`), or, with \
             format 2, go on: `store export … --from-byte {end} | store import --from-byte {end}`"
        ),
    };
    format!("{stay}; {next}")
}

/// Prints what comes in, and has derivations checked.
struct Incoming<'a> {
    newcomers: Newcomers<'a>,
    /// Whose signatures count, if they are wanted.
    trusted: Option<Vec<PublicKey>>,
    store: &'a LocalStore,
    results: &'a mut Results,
    messages: Messages,
    /// As a list, at the end.
    json: Option<Vec<serde_json::Value>>,
    count: usize,
    end: Option<u64>,
    /// Why nothing could be printed.
    failed: io::Result<()>,
}

impl<'a> Incoming<'a> {
    fn new(
        store: &'a LocalStore,
        trusted: Option<Vec<PublicKey>>,
        results: &'a mut Results,
        messages: Messages,
        json: bool,
    ) -> Self {
        Self {
            newcomers: Newcomers::new(store),
            trusted,
            store,
            results,
            messages,
            json: json.then(Vec::new),
            count: 0,
            end: None,
            failed: Ok(()),
        }
    }

    /// Returns how many paths came in, and where the last one ends; `start` if there is none.
    fn finish(mut self, start: u64) -> (usize, u64, io::Result<()>) {
        if let Some(list) = self.json.take() {
            self.failed = self.results.json(&list.into());
        }
        (self.count, self.end.unwrap_or(start), self.failed)
    }
}

impl Arrivals for Incoming<'_> {
    fn outputs(
        &mut self,
        drv: &StorePath,
        text: &[u8],
    ) -> Result<BTreeMap<String, StorePath>, Box<dyn Error + Send + Sync>> {
        Ok(self.newcomers.outputs(drv, text)?)
    }

    fn trust(&mut self, info: &PathInfo) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Some(keys) = &self.trusted else { return Ok(()) };
        let text = fingerprint(info, self.store.store_dir());
        let is_good = |signature: &String| keys.iter().any(|key| key.has_signed(&text, signature));
        match info.signatures.iter().any(is_good) {
            true => Ok(()),
            false => Err("no key in `trusted-public-keys` has signed it".into()),
        }
    }

    fn arrived(&mut self, arrival: Arrival<'_>) {
        self.count += 1;
        self.end = Some(arrival.end);
        let path = self.store.store_dir().print(arrival.path);
        let how = if arrival.was_here { "was here already" } else { "imported" };
        self.messages.detail(format_args!("{path}: {how}"));
        match &mut self.json {
            Some(list) => list.push(json!({ "path": path, "imported": !arrival.was_here })),
            None if self.failed.is_ok() => self.failed = self.results.line(path),
            None => {}
        }
    }
}
