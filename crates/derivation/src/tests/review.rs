//! Everything that is wrong with a file, with its place.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fmt::Write as _;
use std::{fs, io};

use store_path::{StoreDir, StorePath};
use test_support::fixture;

use crate::{Derivation, Finding, Source, SourceForm, Workers, aterm, check_closure, json, review};

fn nothing(_: &StorePath) -> io::Result<Derivation> {
    Err(io::ErrorKind::NotFound.into())
}

/// Nobody helps.
pub(super) struct Alone;

impl Workers for Alone {
    fn together(&self, _most: usize, _help: impl Fn() + Sync, lead: impl FnOnce()) {
        lead();
    }
}

/// Some help, and do things in whatever order it happens.
struct Several;

impl Workers for Several {
    fn together(&self, _most: usize, help: impl Fn() + Sync, lead: impl FnOnce()) {
        std::thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(&help)));
            lead();
        });
    }
}

fn reviewed(sources: &[Source<'_>]) -> Vec<Vec<Finding>> {
    reviewed_with(sources, &nothing)
}

/// Asks for inputs from `known`.
pub(super) fn reviewed_with(
    sources: &[Source<'_>],
    known: &dyn Fn(&StorePath) -> io::Result<Derivation>,
) -> Vec<Vec<Finding>> {
    let store_dir = StoreDir::default();
    let read = || sources.iter().map(|source| source.clone().read(&store_dir)).collect();
    let mut known = |path: &StorePath| known(path);
    let found = review(read(), &store_dir, &mut known, &Alone);
    assert_eq!(review(read(), &store_dir, &mut known, &Several), found, "whoever does what");
    found
}

fn findings(text: &[u8], form: SourceForm) -> Vec<Finding> {
    reviewed(&[Source { text, form }]).remove(0)
}

fn listed(text: &[u8], form: SourceForm) -> String {
    let mut list = String::new();
    for Finding { is_error, line, column, pointer, message, .. } in findings(text, form) {
        let kind = if is_error { "error" } else { "warning" };
        writeln!(list, "{line}:{column}: {kind}: {message} [{}]", pointer.unwrap_or_default()).unwrap();
    }
    list
}

/// Each file of `fixtures/review` beside all that is to be said about it.
#[test]
fn findings_are_as_recorded() {
    let mut count = 0;
    for entry in fs::read_dir(fixture("review/")).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let form = match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => SourceForm::Json,
            Some("drv") => SourceForm::Aterm { name: "x".parse().unwrap(), path: None },
            _ => continue,
        };
        test_support::check(&format!("review/{stem}.txt"), listed(&fs::read(&file).unwrap(), form));
        count += 1;
    }
    assert!(count >= 5, "only {count} files");
}

/// What is read without complaint is checked without error, and the other way round.
#[test]
fn fixtures_are_right_or_wrong_for_both() {
    let store_dir = StoreDir::default();
    for entry in fs::read_dir(fixture("derivations/")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&file).unwrap();
        let is_right = json::parse(&text, &store_dir)
            .is_ok_and(|list| check_closure(list, &store_dir, &mut nothing).is_ok());
        let found = findings(&text, SourceForm::Json);
        assert_eq!(found.iter().all(|finding| !finding.is_error), is_right, "{}: {found:?}", file.display());
    }
}

#[test]
fn hostile_json_is_refused_with_its_place() {
    let derivation = |field: &str| {
        format!(r#"{{"name":"x","system":"s","builder":"b","outputs":{{"out":{{}}}},{field}}}"#)
    };
    for (text, part) in [
        ("[".repeat(100_000), "invalid type: sequence"),
        (derivation(&format!(r#""env":{}"#, "[".repeat(100_000))), "recursion limit exceeded"),
        (derivation(r#""env":{"a":"\ud800"}"#), "hex escape"),
        (derivation(r#""env":{"a":"1","a":"2"}"#), "it is there twice, first at line 1"),
        (derivation(r#""name":"y""#), "it is there twice, first at line 1, column 2"),
        (derivation(r#""outputs2":{}"#), "there is no such field"),
        (
            r#"{"name":"x\u0000","system":"s","builder":"b","outputs":{"out":{}}}"#.to_owned(),
            "cannot read a name",
        ),
        (r#"{"name":"x","system":"s","builder":"b","outputs":{"..":{}}}"#.to_owned(), "cannot read a name"),
        (String::new(), "EOF"),
        ("{}".to_owned(), "there is no derivation in it"),
        (derivation(&format!(r#""args":[{}0]"#, "0,".repeat(1_000_000))), "more than 1000000 values"),
    ] {
        let list = listed(text.as_bytes(), SourceForm::Json);
        assert!(list.contains(part) && list.contains("error"), "{part}: {list}");
        assert!(json::parse(text.as_bytes(), &StoreDir::default()).is_err() || text == "{}", "{part}");
    }
}

/// A million wrong members are not a million problems.
#[test]
fn the_number_of_problems_is_bounded() {
    let args = "0,".repeat(500_000);
    let text = format!(r#"{{"name":"x","system":"s","builder":"b","outputs":{{}},"args":[{args}0]}}"#);
    assert_eq!(findings(text.as_bytes(), SourceForm::Json).len(), 100);
    let srcs = "\"/x\",".repeat(500_000);
    let text = format!(r#"Derive([("out","","","")],[],[{srcs}"/x"],"s","b",[],[])"#);
    let form = SourceForm::Aterm { name: "x".parse().unwrap(), path: None };
    assert_eq!(findings(text.as_bytes(), form).len(), 100);
}

/// Fifty thousand members, each of which would have to be told of and is filled in, take no more than their number, and the
/// first hundred stand for all.
#[test]
fn many_members_are_no_more_than_many() {
    const COUNT: usize = 50_000;
    let members = |member: &dyn Fn(usize) -> String| (0..COUNT).map(member).collect::<Vec<_>>().join(",");
    let form = || SourceForm::Aterm { name: "x".parse().unwrap(), path: None };
    let inputs = members(&|number| format!(r#"("/nix/store/{number:032}-i.drv",["out"])"#));
    let absent = format!(r#"Derive([("out","","","")],[{inputs}],[],"s","b",[],[("out","")])"#);
    let outputs = members(&|number| format!(r#"("a{number:06}","","","")"#));
    let variables = members(&|number| format!(r#"("b{number:06}","")"#));
    let open = format!(r#"Derive([{outputs}],[],[],"s","b",[],[{variables}])"#);
    for (text, section) in [(absent, inputs), (open, outputs)] {
        let found = findings(text.as_bytes(), form());
        let start = text.find(&section).unwrap() + 1;
        let length = section.len() / COUNT + 1;
        let expected: Vec<usize> = (0..=100).map(|number| start + number * length).collect();
        assert_eq!(found.iter().map(|finding| finding.offset).collect::<Vec<_>>(), expected);
        let is_last = |finding: &Finding| finding.message.starts_with("there is more");
        assert_eq!(found.iter().position(is_last), Some(100));
    }
}

/// Who uses what is wrong is told nothing; everybody else is.
#[test]
fn consequences_are_not_told() {
    let text = fs::read_to_string(fixture("derivations/diamond.json")).unwrap();
    let spoilt = text.replace("left", "lift");
    let found = findings(spoilt.as_bytes(), SourceForm::Json);
    let pointers: Vec<_> = found.iter().filter_map(|finding| finding.pointer.clone()).collect();
    assert!(
        !pointers.is_empty() && pointers.iter().all(|pointer| !pointer.contains("-top.drv")),
        "{found:?}"
    );
    assert!(findings(text.as_bytes(), SourceForm::Json).is_empty());
}

/// Whatever is in several circles is told of once.
#[test]
fn a_circle_is_told_once() {
    let derivation = |number: usize, inputs: &[usize]| {
        let path = |number: &usize| format!("/nix/store/{number:032}-x.drv");
        let inputs: Vec<String> =
            inputs.iter().map(|input| format!(r#""{}":["out"]"#, path(input))).collect();
        let inputs = inputs.join(",");
        format!(
            r#""{}":{{"name":"x","system":"s","builder":"b","outputs":{{"out":{{}}}},"inputDrvs":{{{inputs}}}}}"#,
            path(&number)
        )
    };
    for (hub, others) in [(vec![0], vec![]), (vec![1, 2, 3], vec![1, 2, 3])] {
        let others = others.iter().map(|number| derivation(*number, &[0]));
        let list: Vec<String> = std::iter::once(derivation(0, &hub)).chain(others).collect();
        let found = findings(format!("{{{}}}", list.join(",")).as_bytes(), SourceForm::Json);
        let [Finding { message, .. }] = &found[..] else { panic!("{found:?}") };
        assert!(message.contains("is an input of itself"), "{message}");
    }
}

/// Inputs are found in other files, and an input that is nowhere is told where it is named.
#[test]
fn files_are_checked_together() {
    let store_dir = StoreDir::default();
    let text = fs::read(fixture("derivations/chain.json")).unwrap();
    let mut sources: Vec<(StorePath, Vec<u8>)> = json::parse(&text, &store_dir)
        .unwrap()
        .into_iter()
        .map(|(path, derivation)| (path.unwrap(), aterm::print(&derivation, &store_dir)))
        .collect();
    let check = |sources: &[(StorePath, Vec<u8>)]| {
        let source = |(path, text)| {
            let name: &str = StorePath::name(path).as_str();
            let name = name.strip_suffix(".drv").unwrap().parse().unwrap();
            Source { text, form: SourceForm::Aterm { name, path: Some(path.clone()) } }
        };
        let sources: Vec<_> = sources.iter().map(|(path, text)| source((path, text.as_slice()))).collect();
        reviewed(&sources).concat()
    };
    assert_eq!(check(&sources), []);
    sources.retain(|(path, _)| !path.to_string().ends_with("link-2.drv"));
    let found = check(&sources);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("link-2.drv` is not at hand") && found[0].offset > 0, "{found:?}");
}

/// A path that is left out is found out first, whichever file it is in.
#[test]
fn an_input_may_be_named_by_a_path_that_its_file_leaves_out() {
    let store_dir = StoreDir::default();
    let input = r#"{"name":"input","system":"s","builder":"b","outputs":{"out":{}}}"#;
    let checked =
        check_closure(json::parse(input.as_bytes(), &store_dir).unwrap(), &store_dir, &mut nothing).unwrap();
    let path = store_dir.print(checked[0].path());
    let user = format!(
        r#"{{"name":"user","system":"s","builder":"b","outputs":{{"out":{{}}}},"inputDrvs":{{"{path}":["out"]}}}}"#
    );
    let json = |text| Source { text, form: SourceForm::Json };
    let (input, user) = (json(input.as_bytes()), json(user.as_bytes()));
    for sources in [[input.clone(), user.clone()], [user.clone(), input]] {
        let found = reviewed(&sources).concat();
        assert!(found.iter().all(|finding| !finding.is_error), "{found:?}");
    }
    assert!(reviewed(&[user]).concat().iter().any(|finding| finding.message.contains("not at hand")));
}
