//! Records beside the database of Nix, on scratch files.
#![allow(clippy::disallowed_methods, reason = "tests touch the disk and start threads")]

use store_path::{Hash, HashAlgorithm};
use test_support::Scratch;

use super::*;

const OPTIONS: Options = Options { wal: true, synchronous: true };

pub(crate) struct Pair {
    pub(crate) scratch: Scratch,
    pub(crate) db: Db,
    pub(crate) records: Records,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let db = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), OPTIONS).unwrap();
        let records = open(&scratch).unwrap();
        Self { scratch, db, records }
    }

    /// Registers `infos` as the outputs of one build.
    fn build(&mut self, infos: &[PathInfo], text: &str) {
        let records = &mut self.records;
        self.db
            .transaction(|transaction| {
                transaction.register(infos)?;
                records.add(&[(&record(text), infos)], transaction)
            })
            .unwrap();
    }

    fn register(&mut self, infos: &[PathInfo]) {
        self.db.transaction(|transaction| transaction.register(infos)).unwrap();
    }

    /// Takes paths away as Nix does.
    fn invalidate(&mut self, names: &[&str]) {
        self.db.transaction(|transaction| transaction.invalidate(&paths(names))).unwrap();
    }

    fn known(&self, name: &str) -> Option<BuildRecord> {
        self.records.of(&paths(&[name]), &self.db).unwrap().remove(&path(name))
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let sql = format!("select count(*) from {table}");
        self.records.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }
}

pub(crate) fn open(scratch: &Scratch) -> Result<Records, Error> {
    Records::open(&scratch.join("store.sqlite"), StoreDir::default(), OPTIONS)
}

pub(crate) fn path(name: &str) -> StorePath {
    let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
    StoreDir::default().make_path("test", &hash, &name.parse().unwrap())
}

fn paths(names: &[&str]) -> BTreeSet<StorePath> {
    names.iter().map(|name| path(name)).collect()
}

pub(crate) fn info(name: &str) -> PathInfo {
    PathInfo {
        path: path(name),
        nar_hash: Hash::of(HashAlgorithm::Sha256, name.as_bytes()),
        nar_size: 120,
        references: BTreeSet::new(),
        deriver: Some(path("x.drv")),
        registration_time: 1_700_000_000,
        ultimate: true,
        signatures: Vec::new(),
        content_address: None,
    }
}

pub(crate) fn record(text: &str) -> BuildRecord {
    BuildRecord {
        drv: path("x.drv"),
        started_millis: 1_700_000_000_123,
        wall_time: Duration::from_micros(5_000_001),
        user_time: Duration::from_millis(7),
        system_time: Duration::from_millis(8),
        peak_memory_bytes: u64::MAX,
        written_bytes: 4096,
        isolation: Arc::new(IsolationText { format: 1, isolated: true, text: text.to_owned() }),
    }
}

#[test]
fn gives_back_what_was_recorded_for_every_output() {
    let mut pair = Pair::new();
    pair.build(&[info("a"), info("b")], "{}");
    assert_eq!(pair.known("a"), Some(record("{}")));
    assert_eq!(pair.known("b"), Some(record("{}")));
    pair.register(&[info("c")]);
    assert_eq!(pair.known("c"), None, "it was not built here");
    assert_eq!((pair.count("Outputs"), pair.count("Builds")), (2, 1));
}

#[test]
fn what_many_builds_have_alike_is_kept_once_and_as_long_as_one_has_it() {
    let mut pair = Pair::new();
    pair.build(&[info("a")], "same");
    pair.build(&[info("b")], "same");
    pair.build(&[info("c")], "other");
    assert_eq!((pair.count("Builds"), pair.count("Isolations")), (3, 2));
    pair.invalidate(&["a", "c"]);
    let records = &mut pair.records;
    pair.db.transaction(|transaction| records.collect(&paths(&["a", "c"]), transaction)).unwrap();
    assert_eq!((pair.count("Outputs"), pair.count("Builds"), pair.count("Isolations")), (1, 1, 1));
    assert_eq!(pair.known("b"), Some(record("same")));
}

#[test]
fn a_record_of_an_earlier_life_is_not_believed() {
    let mut pair = Pair::new();
    pair.build(&[info("a")], "{}");
    pair.invalidate(&["a"]);
    assert_eq!(pair.known("a"), None);
    // The same in every respect, within the same second, but registered by somebody else.
    pair.register(&[info("a")]);
    assert_eq!(pair.known("a"), None);
    pair.invalidate(&["a"]);
    pair.build(&[info("a")], "again");
    assert_eq!(pair.known("a"), Some(record("again")));
    assert_eq!(pair.count("Builds"), 1, "the first went");
}

#[test]
fn a_record_whose_registration_was_never_committed_is_not_believed_and_goes() {
    let mut pair = Pair::new();
    let records = &mut pair.records;
    let killed = pair.db.transaction(|transaction| {
        transaction.register(&[info("a")])?;
        records.add(&[(&record("{}"), &[info("a")])], transaction)?;
        Err::<(), _>(Error::Newer { path: PathBuf::new(), found: 0, known: 0 })
    });
    assert!(killed.is_err());
    assert_eq!(pair.count("Outputs"), 1, "it was committed first");
    assert_eq!(pair.known("a"), None);
    // Somebody else makes it, and is given the number of the row that never came to be.
    let later = PathInfo { registration_time: 1_700_000_001, ..info("a") };
    pair.register(&[later]);
    assert_eq!(pair.known("a"), None);
    pair.invalidate(&["a"]);
    let other = PathInfo { nar_hash: Hash::of(HashAlgorithm::Sha256, b"other"), ..info("a") };
    pair.register(&[other]);
    assert_eq!(pair.known("a"), None);
}

#[test]
fn what_was_taken_away_without_a_word_is_forgotten_bit_by_bit() {
    let mut pair = Pair::new();
    let names: Vec<String> = (0..40).map(|number| format!("gone-{number}")).collect();
    for name in &names {
        pair.build(&[info(name)], "{}");
    }
    pair.invalidate(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for number in 0..400 {
        pair.build(&[info(&format!("new-{number}"))], "{}");
        let most = 40 + i64::from(number) + 1;
        assert!(pair.count("Outputs") <= most);
    }
    assert!(pair.count("Outputs") < 410, "{}", pair.count("Outputs"));
    assert_eq!(pair.known("new-7"), Some(record("{}")), "what is valid stays");
}

#[test]
fn a_record_that_was_changed_is_of_another_path() {
    let mut pair = Pair::new();
    for (number, change) in
        ["registration = 99", "hash = 'sha256:0'", "registrationTime = 0"].iter().enumerate()
    {
        let name = format!("path-{number}");
        pair.build(&[info(&name)], "{}");
        assert!(pair.known(&name).is_some());
        let sql = format!("update Outputs set {change} where path = ?1");
        pair.records.connection.execute(&sql, [StoreDir::default().print(&path(&name))]).unwrap();
        assert_eq!(pair.known(&name), None, "{change}");
    }
}

#[test]
fn a_later_version_is_neither_read_nor_written() {
    let mut pair = Pair::new();
    pair.records.connection.pragma_update(None, "user_version", 7).unwrap();
    let error = open(&pair.scratch).unwrap_err().to_string();
    assert!(error.contains("has version 7") && error.contains(&format!("up to {}", STEPS.len())), "{error}");
    // Nor by who had opened it before.
    let records = &mut pair.records;
    let error = pair.db.transaction(|transaction| {
        transaction.register(&[info("a")])?;
        records.add(&[(&record("{}"), &[info("a")])], transaction)
    });
    assert!(matches!(error, Err(Error::Newer { found: 7, .. })));
    assert!(!pair.db.is_valid(&path("a")).unwrap());
    pair.records.connection.pragma_update(None, "user_version", -1).unwrap();
    assert!(matches!(open(&pair.scratch), Err(Error::Newer { found: -1, .. })));
}

#[test]
fn every_step_leads_one_version_on() {
    let scratch = Scratch::new();
    let connection = connect(&scratch.join("store.sqlite")).unwrap();
    connection.execute_batch("begin; pragma user_version = 0; commit;").unwrap();
    drop(connection);
    let records = open(&scratch).unwrap();
    let version: i64 = records.connection.query_row("pragma user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, STEPS.len() as i64);
    drop(records);
    open(&scratch).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_an_error_that_names_it() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("store.sqlite"), "x".repeat(5000)).unwrap();
    let error = open(&scratch).unwrap_err().to_string();
    assert!(error.contains("store.sqlite"), "{error}");
}

#[test]
fn many_may_make_it_and_write_to_it_at_once() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let scratch = &scratch;
            scope.spawn(move || {
                let mut db = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), OPTIONS).unwrap();
                let mut records = open(scratch).unwrap();
                for number in 0..10 {
                    let infos = [info(&format!("path-{thread}-{number}"))];
                    db.transaction(|transaction| {
                        transaction.register(&infos)?;
                        records.add(&[(&record("{}"), &infos)], transaction)
                    })
                    .unwrap();
                }
            });
        }
    });
    let pair = Pair {
        db: Db::open(&scratch.join("db.sqlite"), StoreDir::default(), OPTIONS).unwrap(),
        records: open(&scratch).unwrap(),
        scratch,
    };
    assert_eq!(pair.records.of(&pair.db.all_valid().unwrap(), &pair.db).unwrap().len(), 60);
}

#[test]
fn a_database_of_an_earlier_version_is_brought_up_to_date() {
    let scratch = Scratch::new();
    let earlier = connect(&scratch.join("store.sqlite")).unwrap();
    earlier.execute_batch(STEPS[0]).unwrap();
    earlier.pragma_update(None, "user_version", 1).unwrap();
    drop(earlier);
    let db = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), OPTIONS).unwrap();
    let mut pair = Pair { records: open(&scratch).unwrap(), scratch, db };
    pair.build(&[info("a")], "{}");
    assert_eq!((pair.count("Builds"), pair.count("PastBuilds")), (1, 1));
}

#[test]
fn who_only_asks_leaves_an_earlier_version_as_it_is_and_hears_what_it_knows() {
    for version in 0..STEPS.len() {
        let scratch = Scratch::new();
        let file = scratch.join("store.sqlite");
        let earlier = connect(&file).unwrap();
        earlier.execute_batch(&format!("begin; pragma user_version = {version}; commit;")).unwrap();
        STEPS[..version].iter().for_each(|step| earlier.execute_batch(step).unwrap());
        drop(earlier);
        let db = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), OPTIONS).unwrap();
        let before = std::fs::read(&file).unwrap();
        for open in [Records::open_to_read, Records::open_untouched] {
            let mut records = open(&file, StoreDir::default()).unwrap();
            assert!(records.of(&paths(&["a"]), &db).unwrap().is_empty());
            assert_eq!(records.expected(&[&path("x.drv")]).unwrap(), [None]);
            assert_eq!(records.failures(9).unwrap().len(), 0);
            assert!(records.uses(&paths(&["a"])).unwrap().is_empty());
            records.note_uses(&paths(&["a"]), 7, &db).unwrap_err();
        }
        assert_eq!(std::fs::read(&file).unwrap(), before, "{version}");
    }
    let mut pair = Pair::new();
    pair.build(&[info("a")], "{}");
    pair.records.connection.pragma_update(None, "user_version", 1).unwrap();
    pair.records = Records::open_to_read(&pair.scratch.join("store.sqlite"), StoreDir::default()).unwrap();
    assert_eq!(pair.known("a"), Some(record("{}")));
}
