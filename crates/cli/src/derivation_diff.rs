//! `store derivation diff`

mod json;
mod text;
mod trees;
mod values;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use derivation::{Cause, diff};
use store_path::StorePath;

pub(crate) use self::text::wanted;
use crate::build_failure::harmless;
use crate::derivations_at_hand::AtHand;
use crate::exit::Exit;
use crate::session::Session;

/// Tells why two derivations, or what was built from them, have different paths.
///
/// Both graphs are walked down to the first real differences: a variable, an argument, a source, an input that only one
/// has, … What follows from the difference of an input is not told again. Exits with 0 if they are the same, 1 if they
/// differ and 2 if that could not be found out, like `diff`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store derivation diff ./result-before ./result\n  \
                        store derivation diff old.json new.json\n  \
                        store derivation diff --json /nix/store/…-hello.drv /nix/store/…-hello.drv")]
pub(crate) struct Args {
    /// A derivation, what was built from it, or a file with a derivation, which need not be in the store; `-` for JSON on
    /// stdin.
    left: PathBuf,

    /// What to hold against it.
    right: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    compare(session, args).or_else(|error| {
        if session.results().reader_gone() {
            return Err(error);
        }
        session.messages().error(harmless(&format!("{error:#}")));
        Ok(Exit::NotCompared)
    })
}

fn compare(session: &mut Session, args: &Args) -> Result<Exit> {
    let mut at_hand = AtHand::new(session)?;
    let left = one(session, &mut at_hand, &args.left)?;
    let right = one(session, &mut at_hand, &args.right)?;
    for drv in [&left, &right] {
        if at_hand.find(drv)?.is_none() {
            bail!("the derivation `{drv}` is not in the store, nor beside the files");
        }
    }
    let found = diff(&left, &right, &mut |drv| at_hand.find(drv))?;
    if session.json() {
        let value = json::print(&at_hand, (&left, &right), &found)?;
        session.results().json(&value)?;
    } else {
        text::print(session, &at_hand, &found)?;
    }
    Ok(if found.pairs().is_empty() { Exit::Success } else { Exit::Failure })
}

/// Takes in an argument that has to mean one derivation.
fn one(session: &Session, at_hand: &mut AtHand, argument: &Path) -> Result<StorePath> {
    let mut found = at_hand.take(session, argument)?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => bail!("each derivation in `{}` is an input of another", argument.display()),
        (Some(last), _) => bail!(
            "there is more than one derivation in `{}` that no other one uses, such as `{last}` and `{}`",
            argument.display(),
            found[0]
        ),
    }
}

/// What is different inside two sources that are both in the store.
fn inside(at_hand: &AtHand, cause: &Cause) -> Result<Option<trees::Difference>> {
    let (Cause::Source { left: Some(left), right: Some(right) }, Some(store)) = (cause, at_hand.store())
    else {
        return Ok(None);
    };
    if !store.is_valid(left)? || !store.is_valid(right)? {
        return Ok(None);
    }
    trees::first_difference(&store.place_of(left), &store.place_of(right))
}
