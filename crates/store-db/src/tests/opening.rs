//! Opening: older schemas, databases that cannot be written to, and others that keep them locked.

use std::time::Duration;

use super::*;
use crate::{Patience, Records};

const OPTIONS: Options = Options { wal: true, synchronous: true };

/// A database as an older Nix has made it, with `a`, and `b` that refers to it.
fn made_by(scratch: &Scratch, steps: &[&str]) -> std::path::PathBuf {
    let file = scratch.join("db.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    for step in steps {
        let sql = test_support::read(&format!("databases/{step}.sql"));
        connection.execute_batch(&String::from_utf8(sql).unwrap()).unwrap();
    }
    for name in ["a", "b"] {
        let sql =
            "insert into ValidPaths (path, hash, registrationTime, narSize) values (?1, ?2, 1700000000, 120)";
        let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes()).prefixed_base16();
        connection.execute(sql, [StoreDir::default().print(&path(name)), hash]).unwrap();
    }
    connection.execute("insert into Refs (referrer, reference) values (2, 1)", []).unwrap();
    file
}

/// The schemas 7 (Guix has it still), 8 and 9.
const OLDER: [&[&str]; 3] =
    [&["schema-7"], &["schema-7", "schema-7-to-8"], &["schema-7", "schema-7-to-8", "schema-8-to-9"]];

#[test]
fn an_older_schema_is_read_as_it_is() {
    for schema in OLDER {
        let scratch = Scratch::new();
        let file = made_by(&scratch, schema);
        let before = std::fs::read(&file).unwrap();
        let db = Db::open_untouched(&file, StoreDir::default()).unwrap();
        assert!(!db.is_current().unwrap(), "{schema:?}");
        assert_eq!(db.path_info(&path("b")).unwrap(), Some(info("b", &["a"])), "{schema:?}");
        assert_eq!(db.closure(&paths(&["b"])).unwrap(), paths(&["a", "b"]));
        db.check_unchanged().unwrap();
        drop(db);
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

#[test]
fn an_older_schema_is_brought_up_to_date() {
    for schema in OLDER {
        let scratch = Scratch::new();
        let file = made_by(&scratch, schema);
        if schema.len() == 1 {
            // As a Nix leaves it that is killed between its two steps.
            let connection = rusqlite::Connection::open(&file).unwrap();
            connection.execute_batch("alter table ValidPaths add column ultimate integer").unwrap();
        }
        let mut db = Db::open(&file, StoreDir::default(), OPTIONS).unwrap();
        // The second time nothing is to be done.
        for _ in 0..2 {
            db.upgrade().unwrap();
            assert!(db.is_current().unwrap(), "{schema:?}");
        }
        assert_eq!(db.path_info(&path("b")).unwrap(), Some(info("b", &["a"])), "{schema:?}");
        let signed = PathInfo { ultimate: true, signatures: vec!["k:c2ln".into()], ..info("c", &["b"]) };
        register(&mut db, std::slice::from_ref(&signed)).unwrap();
        assert_eq!(db.path_info(&path("c")).unwrap(), Some(signed));
        let left = "select count(*) from sqlite_schema where name = 'FailedPaths'";
        assert_eq!(db.connection.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        assert_eq!(
            db.connection.query_row("pragma integrity_check", [], |row| row.get::<_, String>(0)).unwrap(),
            "ok"
        );
    }
}

#[test]
fn what_later_releases_of_nix_have_changed_stays() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    db.connection
        .execute_batch(
            "create table SchemaMigrations (migration text primary key not null); drop index IndexReferrer;",
        )
        .unwrap();
    drop(db);
    let mut db = open(&scratch);
    db.upgrade().unwrap();
    assert_eq!(db.closure(&paths(&["c"])).unwrap(), paths(&["a", "b", "c"]));
    assert_eq!(db.references(&path("c")).unwrap(), paths(&["b", "c"]));
    register(&mut db, &[info("e", &["c"])]).unwrap();
    db.transaction(|transaction| transaction.invalidate(&paths(&["e"]))).unwrap();
    let names = "select count(*) from sqlite_schema where name in ('SchemaMigrations', 'IndexReferrer')";
    assert_eq!(db.connection.query_row(names, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

/// Copies a database with some of what lies beside it, and forbids to write to the copy or beside it.
fn copied(scratch: &Scratch, suffixes: &[&str]) -> std::path::PathBuf {
    let copies = scratch.join("copies");
    std::fs::create_dir(&copies).unwrap();
    for suffix in suffixes {
        let name = format!("db.sqlite{suffix}");
        std::fs::copy(scratch.join(&name), copies.join(&name)).unwrap();
    }
    copies.join("db.sqlite")
}

/// What is in a directory, with the times of all of it.
fn listing(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.chain([directory.to_owned()]).map(|path| {
        let metadata = std::fs::metadata(&path).unwrap();
        let bytes = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let hash = Hash::of(HashAlgorithm::Sha256, &bytes);
        format!("{} {} {:?}", path.display(), hash.prefixed_base16(), metadata.modified().unwrap())
    });
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}

#[test]
fn nothing_is_written_and_nothing_is_missed() {
    for suffixes in [&["", "-wal", "-shm"][..], &["", "-wal"]] {
        let scratch = Scratch::new();
        let mut db = open(&scratch);
        sample(&mut db);
        // Copied while it is open, so that what was registered is in the log only.
        let file = copied(&scratch, suffixes);
        let before = listing(file.parent().unwrap());
        let copy = Db::open_untouched(&file, StoreDir::default()).unwrap();
        assert_eq!(copy.all_valid().unwrap(), paths(&["a", "b", "c", "d"]), "{suffixes:?}");
        copy.check_unchanged().unwrap();
        drop(copy);
        assert_eq!(listing(file.parent().unwrap()), before, "{suffixes:?}");
    }
    let scratch = Scratch::new();
    sample(&mut open(&scratch));
    let file = copied(&scratch, &[""]);
    let before = listing(file.parent().unwrap());
    let mut copy = Db::open_untouched(&file, StoreDir::default()).unwrap();
    assert_eq!(copy.all_valid().unwrap().len(), 4);
    assert!(matches!(register(&mut copy, &[info("e", &[])]), Err(Error::ReadOnly { .. })));
    drop(copy);
    assert_eq!(listing(file.parent().unwrap()), before);
}

#[test]
fn a_writer_beside_a_reader_that_leaves_no_trace_is_seen_or_told_of() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    let file = scratch.join("db.sqlite");
    // The writer lives, so there are locks, and each question has its answer.
    let reader = Db::open_untouched(&file, StoreDir::default()).unwrap();
    register(&mut db, &[info("e", &[])]).unwrap();
    assert!(reader.is_valid(&path("e")).unwrap());
    reader.check_unchanged().unwrap();
    drop((reader, db));
    let reader = Db::open_untouched(&file, StoreDir::default()).unwrap();
    assert_eq!(reader.all_valid().unwrap().len(), 5);
    reader.check_unchanged().unwrap();
    register(&mut open(&scratch), &[info("f", &[])]).unwrap();
    assert!(matches!(reader.check_unchanged(), Err(Error::ChangedMeanwhile { .. })));
}

#[test]
fn a_writer_beside_a_reader_of_records_is_told_of_as_well() {
    let scratch = Scratch::new();
    let file = scratch.join("store.sqlite");
    let mut db = open(&scratch);
    sample(&mut db);
    let note = |day: i64| {
        let mut records = Records::open(&file, StoreDir::default(), OPTIONS).unwrap();
        records.note_uses(&paths(&["a"]), day, &db).unwrap();
    };
    note(1);
    let reader = Records::open_untouched(&file, StoreDir::default()).unwrap();
    assert_eq!(reader.uses(&paths(&["a"])).unwrap()[&path("a")], 1);
    reader.check_unchanged().unwrap();
    note(2);
    assert!(matches!(reader.check_unchanged(), Err(Error::ChangedMeanwhile { .. })));
}

#[test]
fn a_change_half_done_is_told_of() {
    let scratch = Scratch::new();
    let options = Options { wal: false, synchronous: true };
    let mut db = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), options).unwrap();
    sample(&mut db);
    // Written through before the end, as nothing fits into memory.
    db.connection.pragma_update(None, "cache_size", 1).unwrap();
    db.connection.execute_batch("begin immediate").unwrap();
    for number in 0..500 {
        let sql = "insert into ValidPaths (path, hash, registrationTime) values (?1, 'sha256:0', 0)";
        db.connection.execute(sql, [format!("/nix/store/{number}")]).unwrap();
    }
    let file = copied(&scratch, &["", "-journal"]);
    let error = Db::open_untouched(&file, StoreDir::default()).unwrap_err();
    assert!(matches!(error, Error::HalfDone { .. }), "{error:?}");
    drop(db);
    let db = Db::open_untouched(&scratch.join("db.sqlite"), StoreDir::default()).unwrap();
    assert_eq!(db.all_valid().unwrap().len(), 4);
}

#[test]
fn whoever_waits_too_long_is_told_what_is_locked() {
    let scratch = Scratch::new();
    let (mut holder, mut waiting) = (open(&scratch), open(&scratch));
    let patience = Patience { most: Duration::from_millis(50), quiet: Duration::ZERO, tell: None };
    waiting = waiting.with_patience(patience).unwrap();
    let result: Result<(), Error> = holder.transaction(|_| {
        assert!(waiting.all_valid().unwrap().is_empty(), "readers are not kept waiting");
        let error = register(&mut waiting, &[info("a", &[])]).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error:?}");
        Ok(())
    });
    result.unwrap();
    register(&mut waiting, &[info("a", &[])]).unwrap();
}
