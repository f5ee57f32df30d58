//! The whole database, on a scratch file.
#![allow(clippy::disallowed_methods, reason = "tests touch the disk and start threads")]

mod opening;

use std::collections::{BTreeMap, BTreeSet};

use store_path::{Hash, HashAlgorithm, PathInfo, Realisation, StoreDir, StorePath};
use test_support::Scratch;

use crate::{Db, Error, Graph, Keep, Options, PathId, Tie};

fn open(scratch: &Scratch) -> Db {
    let options = Options { wal: true, synchronous: true };
    Db::open(&scratch.join("db.sqlite"), StoreDir::default(), options).unwrap()
}

fn path(name: &str) -> StorePath {
    let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
    StoreDir::default().make_path("test", &hash, &name.parse().unwrap())
}

fn info(name: &str, references: &[&str]) -> PathInfo {
    PathInfo {
        path: path(name),
        nar_hash: Hash::of(HashAlgorithm::Sha256, name.as_bytes()),
        nar_size: 120,
        references: references.iter().map(|name| path(name)).collect(),
        deriver: None,
        registration_time: 1_700_000_000,
        ultimate: false,
        signatures: Vec::new(),
        content_address: None,
    }
}

fn paths(names: &[&str]) -> BTreeSet<StorePath> {
    names.iter().map(|name| path(name)).collect()
}

fn register(db: &mut Db, infos: &[PathInfo]) -> Result<(), Error> {
    db.transaction(|transaction| transaction.register(infos))
}

/// a <- b <- c, c refers to itself; d stands alone.
fn sample(db: &mut Db) {
    let infos = [info("c", &["b", "c"]), info("b", &["a"]), info("a", &[]), info("d", &[])];
    register(db, &infos).unwrap();
}

#[test]
fn gives_back_what_was_registered() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let full = PathInfo {
        deriver: Some(path("x.drv")),
        ultimate: true,
        signatures: vec!["key-1:c2ln".into(), "key-2:c2ln".into()],
        content_address: Some(
            "fixed:r:sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa".parse().unwrap(),
        ),
        ..info("x", &["x"])
    };
    register(&mut db, &[full.clone(), info("plain", &["x"])]).unwrap();
    assert_eq!(db.path_info(&full.path).unwrap(), Some(full.clone()));
    assert_eq!(db.path_info(&path("plain")).unwrap(), Some(info("plain", &["x"])));
    assert_eq!(db.path_info(&path("absent")).unwrap(), None);
    assert_eq!(db.path_infos(&paths(&["x", "plain", "absent"])).unwrap().len(), 2);
    assert_eq!(db.path_from_digest(full.path.digest()).unwrap(), Some(full.path));
    assert_eq!(db.path_from_digest(path("absent").digest()).unwrap(), None);
}

#[test]
fn what_is_wrong_with_rows_is_told() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    for thorough in [false, true] {
        let checked = db.check(thorough).unwrap();
        assert_eq!((checked.problems.len(), checked.paths), (0, paths(&["a", "b", "c", "d"])));
    }
    let damage = "pragma foreign_keys = off; delete from ValidPaths where path like '%-a'; \
                  update ValidPaths set deriver = 'nowhere' where path like '%-d'; \
                  update ValidPaths set hash = 'none' where path like '%-b';";
    db.connection.execute_batch(damage).unwrap();
    let checked = db.check(true).unwrap();
    assert_eq!(checked.paths, paths(&["c"]));
    let told = checked.problems.join("\n");
    for text in ["of Refs refers to a row of ValidPaths", "bad path: `nowhere`", "bad hash: `none`"] {
        assert!(told.contains(text), "{told}");
    }
}

#[test]
fn follows_references_both_ways() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    assert_eq!(db.valid_among(&paths(&["a", "c", "z"])).unwrap(), paths(&["a", "c"]));
    assert!(db.is_valid(&path("d")).unwrap() && !db.is_valid(&path("z")).unwrap());
    assert_eq!(db.references(&path("c")).unwrap(), paths(&["b", "c"]));
    assert_eq!(db.referrers(&path("a")).unwrap(), paths(&["b"]));
    assert_eq!(db.closure(&paths(&["c"])).unwrap(), paths(&["a", "b", "c"]));
    assert_eq!(db.referrers_closure(&paths(&["a", "d"])).unwrap(), paths(&["a", "b", "c", "d"]));
    assert_eq!(db.all_valid().unwrap(), paths(&["a", "b", "c", "d"]));
}

#[test]
fn nothing_refers_to_what_is_not_valid() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let error = register(&mut db, &[info("b", &["a"])]).unwrap_err();
    assert!(matches!(error, Error::InvalidReference { reference, .. } if reference == path("a")));
    assert!(!db.is_valid(&path("b")).unwrap(), "a failed transaction leaves nothing");
    sample(&mut db);
    let forget = |db: &mut Db, names: &[&str]| -> Result<(), Error> {
        db.transaction(|transaction| transaction.invalidate(&paths(names)))
    };
    let error = forget(&mut db, &["a", "c"]).unwrap_err();
    assert!(matches!(error, Error::Referred { referrer, .. } if referrer == path("b")));
    assert_eq!(db.all_valid().unwrap().len(), 4, "all or none");
    forget(&mut db, &["a", "b", "c", "absent"]).unwrap();
    assert_eq!(db.all_valid().unwrap(), paths(&["d"]));
}

#[test]
fn a_failed_attempt_leaves_the_others() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let result: Result<(), Error> = db.transaction(|transaction| {
        transaction.attempt(|transaction| transaction.register(&[info("a", &[])]))?;
        let failed = transaction.attempt(|transaction| transaction.register(&[info("b", &["absent"])]));
        assert!(failed.is_err());
        // `b` was inserted and undone: its row must not be remembered.
        let failed = transaction.attempt(|transaction| transaction.register(&[info("c", &["b"])]));
        assert!(failed.is_err());
        transaction.attempt(|transaction| transaction.register(&[info("d", &["a"])]))
    });
    result.unwrap();
    assert_eq!(db.all_valid().unwrap(), paths(&["a", "d"]));
}

#[test]
fn registering_again_keeps_the_first_time() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    let later = PathInfo { registration_time: 1_800_000_000, ultimate: true, ..info("b", &["d"]) };
    register(&mut db, &[later]).unwrap();
    let found = db.path_info(&path("b")).unwrap().unwrap();
    assert_eq!((found.registration_time, found.ultimate), (1_700_000_000, true));
    assert_eq!(found.references, paths(&["a", "d"]));
}

#[test]
fn derivations_know_their_outputs() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let outputs: BTreeMap<String, StorePath> =
        [("out", "x"), ("dev", "x-dev")].map(|(name, output)| (name.into(), path(output))).into();
    let result: Result<(), Error> = db.transaction(|transaction| {
        transaction.register(&[info("x.drv", &[])])?;
        transaction.add_outputs(&path("x.drv"), &outputs)
    });
    result.unwrap();
    assert_eq!(db.outputs_of(&path("x.drv")).unwrap(), outputs);
    assert_eq!(db.derivers(&path("x-dev")).unwrap(), paths(&["x.drv"]));
}

#[test]
fn the_schema_is_that_of_nix() {
    let scratch = Scratch::new();
    let db = open(&scratch);
    let sql = "select sql || ';' || char(10) from sqlite_schema where sql is not null order by rowid";
    let mut query = db.connection.prepare(sql).unwrap();
    let statements: Result<String, _> = query.query_map([], |row| row.get::<_, String>(0)).unwrap().collect();
    test_support::check("databases/schema-10-nix-2.8.0.sql", statements.unwrap());
}

#[test]
fn a_bad_row_is_named() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    db.connection.execute("update ValidPaths set hash = 'sha256:zz' where path like '%-a'", []).unwrap();
    let error = db.path_info(&path("a")).unwrap_err().to_string();
    assert!(error.contains("bad hash: `sha256:zz`"), "{error}");
    db.connection.execute("update ValidPaths set path = '/elsewhere' where path like '%-d'", []).unwrap();
    let error = db.all_valid().unwrap_err().to_string();
    assert!(error.contains("bad path: `/elsewhere`"), "{error}");
}

#[test]
fn what_is_no_database_is_refused() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("db.sqlite"), [b'x'; 4096]).unwrap();
    let options = Options { wal: true, synchronous: true };
    let error = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), options).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }));
    assert!(Db::open(&scratch.join("absent/db.sqlite"), StoreDir::default(), options).is_err());
}

#[test]
fn connections_wait_for_each_other() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let scratch = &scratch;
            scope.spawn(move || {
                for round in 0..20 {
                    // Opened anew each time: the first makes the tables, the last folds the journal back.
                    let mut db = open(scratch);
                    let name = format!("p{thread}-{round}");
                    register(&mut db, &[info(&name, &[])]).unwrap();
                    assert!(db.is_valid(&path(&name)).unwrap());
                }
            });
        }
    });
    assert_eq!(open(&scratch).all_valid().unwrap().len(), 160);
}

#[test]
fn the_journal_stays_while_others_use_it() {
    let scratch = Scratch::new();
    let first = open(&scratch);
    let options = Options { wal: false, synchronous: false };
    let second = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), options).unwrap();
    let journal = |db: &Db| db.connection.query_row("pragma journal_mode", [], |row| row.get::<_, String>(0));
    assert_eq!(journal(&second).unwrap(), "wal");
    drop((first, second));
    let alone = Db::open(&scratch.join("db.sqlite"), StoreDir::default(), options).unwrap();
    assert_eq!(journal(&alone).unwrap(), "truncate");
}

#[test]
fn a_full_disk_is_told_as_one() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    // As large as it is allowed to be is what a full disk makes of it.
    db.connection.pragma_update(None, "max_page_count", 1).unwrap();
    let infos: Vec<PathInfo> = (0..1000).map(|number| info(&format!("x{number}"), &[])).collect();
    let error = register(&mut db, &infos).unwrap_err();
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull), "{error:?}");
}

fn realisation(drv: &str, output: &str, made: &str) -> Realisation {
    Realisation { drv: path(drv), output: output.to_owned(), path: path(made), signatures: Vec::new() }
}

#[test]
fn outputs_are_known_as_long_as_they_are_valid() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    let tables = |db: &Db| -> i64 {
        let sql = "select count(*) from sqlite_schema where name like '%BuildTrace%'";
        db.connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let all = paths(&["x.drv", "y.drv", "z.drv"]);
    db.transaction(|transaction| transaction.add_realisations(&[])).unwrap();
    assert_eq!((tables(&db), db.realisations(&all).unwrap()), (0, Vec::new()), "made when it is needed");
    let mut known = vec![
        realisation("x.drv", "dev", "a"),
        realisation("x.drv", "out", "d"),
        // Another derivation may make the same.
        realisation("y.drv", "out", "d"),
    ];
    known.sort();
    db.transaction(|transaction| transaction.add_realisations(&known)).unwrap();
    assert_eq!((tables(&db), db.realisations(&all).unwrap()), (2, known.clone()));
    assert_eq!(db.realisations(&paths(&["y.drv"])).unwrap(), [realisation("y.drv", "out", "d")]);
    // Gone with the path, here; and not told when Nix's collector has left the row.
    db.transaction(|transaction| transaction.invalidate(&paths(&["d"]))).unwrap();
    let rows: i64 =
        db.connection.query_row("select count(*) from BuildTraceV3", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    let row =
        "insert into BuildTraceV3 (drvPath, outputName, outputPath) values (?1, 'out', '/nix/store/' || ?2)";
    db.connection.execute(row, [path("z.drv").to_string(), path("d").to_string()]).unwrap();
    assert_eq!(db.realisations(&all).unwrap(), [realisation("x.drv", "dev", "a")]);
    // Such a row is in nobody's way.
    db.transaction(|transaction| transaction.add_realisations(&[realisation("z.drv", "out", "b")])).unwrap();
    assert_eq!(db.realisations(&paths(&["z.drv"])).unwrap(), [realisation("z.drv", "out", "b")]);
}

#[test]
fn an_output_is_one_valid_path_and_gathers_signatures() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    let signed = |signatures: &[&str]| Realisation {
        signatures: signatures.iter().map(ToString::to_string).collect(),
        ..realisation("x.drv", "out", "a")
    };
    db.transaction(|transaction| transaction.add_realisations(&[signed(&["k:b"])])).unwrap();
    db.transaction(|transaction| transaction.add_realisations(&[signed(&["k:a", "k:b"])])).unwrap();
    assert_eq!(db.realisations(&paths(&["x.drv"])).unwrap(), [signed(&["k:a", "k:b"])]);
    let other = db
        .transaction(|transaction| transaction.add_realisations(&[realisation("x.drv", "out", "d")]))
        .unwrap_err();
    assert!(matches!(&other, Error::Realised { present, .. } if *present == path("a")), "{other}");
    assert_eq!(db.realisations(&paths(&["x.drv"])).unwrap(), [signed(&["k:a", "k:b"])]);
}

fn names(graph: &Graph, ids: impl IntoIterator<Item = PathId>) -> Vec<String> {
    ids.into_iter().map(|id| graph.path(id).name().to_string()).collect()
}

fn alive(graph: &Graph, roots: &[&str]) -> Vec<String> {
    let mut marks = graph.no_marks();
    roots.iter().for_each(|root| graph.mark(graph.find(&path(root)).unwrap(), &mut marks));
    names(graph, graph.paths().filter(|id| marks.has(*id)))
}

#[test]
fn a_graph_knows_what_is_alive_and_what_goes_first() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    let graph = db.graph(Keep::default()).unwrap();
    assert_eq!(alive(&graph, &["b"]), ["b", "a"]);
    assert_eq!(alive(&graph, &["c", "d"]), ["c", "b", "a", "d"]);
    assert_eq!(names(&graph, graph.unmarked(&graph.no_marks())), ["c", "b", "a", "d"]);
    assert_eq!(graph.find(&path("absent")), None);
    let other: StorePath = format!("{}-x", path("a").digest()).parse().unwrap();
    assert_eq!((graph.find(&other), graph.with_digest(other.digest()).count()), (None, 1));
    assert_eq!(graph.size(graph.find(&path("a")).unwrap()), 120);
}

#[test]
fn derivations_and_outputs_keep_each_other_if_that_is_wanted() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let built = PathInfo { deriver: Some(path("x.drv")), ..info("out", &[]) };
    let stray = PathInfo { deriver: Some(path("gone.drv")), ..info("stray", &[]) };
    register(&mut db, &[info("x.drv", &["a"]), info("a", &[]), built, stray]).unwrap();
    let outputs = BTreeMap::from([("out".to_owned(), path("out")), ("dev".to_owned(), path("dev"))]);
    db.transaction(|transaction| transaction.add_outputs(&path("x.drv"), &outputs)).unwrap();
    let alive =
        |outputs, derivations, root| alive(&db.graph(Keep { outputs, derivations }).unwrap(), &[root]);
    assert_eq!(alive(false, false, "out"), ["out"]);
    assert_eq!(alive(false, true, "out"), ["x.drv", "a", "out"]);
    assert_eq!(alive(true, false, "x.drv"), ["x.drv", "a", "out"]);
    assert_eq!(alive(false, true, "x.drv"), ["x.drv", "a"]);
    assert_eq!(alive(true, true, "stray"), ["stray"]);
}

#[test]
fn what_keeps_a_path_is_what_a_collector_counts() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let built = |name: &str, references: &[&str], drv: &str| PathInfo {
        deriver: Some(path(drv)),
        ..info(name, references)
    };
    let infos = [
        info("source", &[]),
        info("x.drv", &["source"]),
        info("y.drv", &["x.drv"]),
        built("x", &["x"], "x.drv"),
        // Nothing but its row says what a floating output was built by.
        built("floating", &[], "x.drv"),
        built("y", &["x"], "y.drv"),
        built("stray", &[], "gone.drv"),
        // Its deriver is no derivation.
        built("odd", &[], "source"),
    ];
    register(&mut db, &infos).unwrap();
    for name in ["x", "y"] {
        let outputs = BTreeMap::from([("out".to_owned(), path(name))]);
        let drv = path(&format!("{name}.drv"));
        db.transaction(|transaction| transaction.add_outputs(&drv, &outputs)).unwrap();
    }
    let names = ["source", "x.drv", "y.drv", "x", "floating", "y", "stray", "odd"];
    for (outputs, derivations) in [(false, false), (false, true), (true, false), (true, true)] {
        let keep = Keep { outputs, derivations };
        let graph = db.graph(keep).unwrap();
        for asked in names {
            let keepers = db.keepers(&paths(&[asked]), keep).unwrap();
            let found: Vec<_> =
                names.iter().filter(|name| keepers.references().place(&path(name)).is_some()).collect();
            let keeps = |name: &&&str| alive(&graph, &[**name]).contains(&asked.to_owned());
            assert_eq!(found, names.iter().filter(keeps).collect::<Vec<_>>(), "{asked} {keep:?}");
        }
    }
    let keepers = db.keepers(&paths(&["x.drv"]), Keep { outputs: true, derivations: true }).unwrap();
    let place = |name| keepers.references().place(&path(name)).unwrap();
    assert_eq!(keepers.kept_by(place("floating")).collect::<Vec<_>>(), [(place("x.drv"), Tie::Derivation)]);
    let of_y: BTreeSet<_> = keepers.kept_by(place("y.drv")).collect();
    assert_eq!(of_y, [(place("x.drv"), Tie::Reference), (place("y"), Tie::Output)].into());
    assert!(keepers.kept_by(place("x")).any(|kept| kept == (place("x"), Tie::Reference)));
    assert!(db.keepers(&paths(&["absent"]), Keep::default()).unwrap().references().paths().is_empty());
}

#[test]
fn what_is_referred_to_meanwhile_is_not_forgotten() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    sample(&mut db);
    let graph = db.graph(Keep::default()).unwrap();
    let dead = graph.unmarked(&graph.no_marks());
    register(&mut db, &[info("new", &["b"])]).unwrap();
    // This one went and came back: another row.
    db.transaction(|transaction| transaction.invalidate(&paths(&["d"]))).unwrap();
    register(&mut db, &[info("d", &[])]).unwrap();
    let kept = db.transaction(|transaction| transaction.forget(&graph, &dead)).unwrap();
    assert_eq!(names(&graph, kept), ["b", "a", "d"]);
    assert_eq!(db.all_valid().unwrap(), paths(&["a", "b", "d", "new"]));
    assert_eq!(db.references(&path("b")).unwrap(), paths(&["a"]));
}

#[test]
fn a_deep_graph_needs_no_deep_stack() {
    let scratch = Scratch::new();
    let mut db = open(&scratch);
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut infos = vec![info("0", &[])];
    infos.extend(numbers.windows(2).map(|pair| info(&pair[1], &[&pair[0]])));
    register(&mut db, &infos).unwrap();
    let graph = db.graph(Keep::default()).unwrap();
    let order = graph.unmarked(&graph.no_marks());
    assert_eq!(names(&graph, order.iter().copied().take(2)), ["19999", "19998"]);
    assert_eq!(alive(&graph, &["19999"]).len(), 20_000);
    db.transaction(|transaction| transaction.forget(&graph, &order)).unwrap();
    assert!(db.all_valid().unwrap().is_empty());
}
