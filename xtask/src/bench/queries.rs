//! What is asked of a database with many paths: by us, by Nix, and by one statement that does nothing else.
#![allow(
    clippy::disallowed_methods,
    reason = "the floor is SQLite itself, and its database is filled without a store"
)]

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags, params};
use store_path::{Hash, HashAlgorithm, StoreDir};

use super::Bench;
use super::measure::{Contender, this_part};
use super::stores::Store;

/// How many references a path has: as many as one of a real system.
const REFERENCES: usize = 10;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Question {
    /// All that the last path refers to, which is every path.
    Closure,
    /// All that refers to the first path, which is every path.
    Referrers,
}

impl Question {
    fn flag(self) -> &'static str {
        match self {
            Self::Closure => "--requisites",
            Self::Referrers => "--referrers-closure",
        }
    }

    /// The name of the part that is the floor.
    fn floor(self) -> &'static str {
        match self {
            Self::Closure => "closure-of",
            Self::Referrers => "referrers-of",
        }
    }
}

/// Asks about a store of `count` paths, which is made once.
pub(super) fn contenders(bench: &Bench, count: usize, question: Question) -> Result<Vec<Contender>> {
    let store = Rc::new(Store::empty()?);
    // Whatever is added, the database is there then.
    store.add(&bench.store, &note(bench)?)?;
    let database = store.directory().join("nix/var/nix/db/db.sqlite");
    let ends = fill(&database, count)?;
    let asked = match question {
        Question::Closure => ends.1,
        Question::Referrers => ends.0,
    };
    let (program, ours, path) = (bench.store.clone(), Rc::clone(&store), asked.clone());
    let mut contenders = vec![Contender::plain("store", move || {
        let mut command = ours.store(&program);
        command.args(["query", question.flag(), &path]);
        Ok(command)
    })];
    if bench.has_nix() {
        let (nixs, path) = (Rc::clone(&store), asked.clone());
        contenders.push(Contender::plain("nix", move || Ok(nixs.nix(&["--query", question.flag(), &path]))));
    }
    contenders.push(Contender::plain("bare", move || {
        let mut command = this_part(question.floor())?;
        // The store lives as long as whoever asks about it.
        command.arg(store.directory().join("nix/var/nix/db/db.sqlite")).arg(&asked);
        Ok(command)
    }));
    Ok(contenders)
}

/// Returns a file to add.
fn note(bench: &Bench) -> Result<PathBuf> {
    let file = bench.scratch.path().join("note");
    std::fs::write(&file, "a note")?;
    Ok(file)
}

/// Enters paths, and returns the one that all others refer to and the one that refers to all others, directly or not.
fn fill(database: &Path, count: usize) -> Result<(String, String)> {
    let paths: Vec<String> = (0..count).map(path).collect::<Result<_>>()?;
    let mut connection = Connection::open(database)?;
    let transaction = connection.transaction()?;
    let first: i64 =
        transaction.query_row("select coalesce(max(id), 0) + 1 from ValidPaths", [], |row| row.get(0))?;
    {
        let mut insert = transaction.prepare(
            "insert into ValidPaths (id, path, hash, registrationTime, narSize) values (?1, ?2, ?3, 1, 120)",
        )?;
        let mut refer = transaction.prepare("insert into Refs (referrer, reference) values (?1, ?2)")?;
        let id = |number: usize| first + i64::try_from(number).unwrap_or(i64::MAX);
        let hash = Hash::of(HashAlgorithm::Sha256, b"").prefixed_base16();
        for (number, path) in paths.iter().enumerate() {
            insert.execute(params![id(number), path, hash])?;
        }
        let mut is_referred_to = vec![false; count];
        for number in 1..count {
            let mut references = references(number);
            if number + 1 == count {
                references.extend((0..number).filter(|other| !is_referred_to[*other]));
            }
            for reference in references {
                is_referred_to[reference] = true;
                refer.execute([id(number), id(reference)])?;
            }
        }
    }
    transaction.commit()?;
    let [first, .., last] = &paths[..] else { anyhow::bail!("a graph has two ends") };
    Ok((first.clone(), last.clone()))
}

/// Returns earlier paths: one half-way, so that all lead to the first, and others all over.
fn references(number: usize) -> BTreeSet<usize> {
    let scattered = (1..REFERENCES)
        .map(|turn| number.wrapping_mul(2_654_435_761).wrapping_mul(turn) % 1_000_003 % number);
    scattered.chain([number / 2]).collect()
}

fn path(number: usize) -> Result<String> {
    let dir = StoreDir::default();
    let hash = Hash::of(HashAlgorithm::Sha256, &number.to_le_bytes());
    Ok(dir.print(&dir.make_path("bench", &hash, &format!("package-{number}-1.0").parse()?)))
}

/// Prints what one recursive statement finds.
pub(super) fn floor(database: &Path, path: &str, question: Question) -> Result<()> {
    let step = match question {
        Question::Closure => "select r.reference from Refs r join Reached on r.referrer = Reached.id",
        Question::Referrers => "select r.referrer from Refs r join Reached on r.reference = Reached.id",
    };
    let sql = format!(
        "with recursive Reached(id) as (select id from ValidPaths where path = ?1 union {step}) \
         select v.path from Reached join ValidPaths v on v.id = Reached.id"
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([path])?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut count = 0;
    while let Some(row) = rows.next()? {
        writeln!(out, "{}", row.get_ref(0)?.as_str()?)?;
        count += 1;
    }
    out.flush()?;
    (count > 0).then_some(()).context("the path that is asked about is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_leads_to_the_first() {
        for number in 1..2000 {
            let references = references(number);
            assert!(references.iter().all(|reference| *reference < number));
            assert!(references.contains(&(number / 2)));
        }
    }
}
