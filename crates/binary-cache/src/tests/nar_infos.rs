//! The files of caches: those that are right come back the same, and others are refused with the line.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use store_path::StoreDir;
use test_support::{check, fixture};

use crate::{NarInfo, Unprintable};

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "narinfo"));
    files.sort();
    files
}

fn parse(text: impl AsRef<[u8]>) -> NarInfo {
    NarInfo::parse(text.as_ref(), &StoreDir::default()).unwrap()
}

#[test]
fn good_files_come_back_the_same() {
    let files = files("binary-cache/good/");
    assert_eq!(files.len(), 3);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let printed = parse(&text).print(&StoreDir::default()).unwrap();
        // What a cache adds is passed over, and what is not said is filled in.
        let known = |line: &&str| !line.starts_with("X-") && !line.contains("unknown-deriver");
        let expected: String = text.lines().filter(known).map(|line| format!("{line}\n")).collect();
        let expected = match file.file_stem().unwrap().to_str() {
            Some("old") => expected.replace("\nNarHash", "\nCompression: bzip2\nNarHash"),
            _ => expected,
        };
        assert_eq!(printed, expected, "{}", file.display());
        assert_eq!(parse(&printed), parse(&text));
    }
}

#[test]
fn bad_files_are_refused_with_the_reason() {
    let files = files("binary-cache/bad/");
    assert_eq!(files.len(), 13);
    let mut refusals = String::new();
    for file in files {
        let error = NarInfo::parse(&fs::read(&file).unwrap(), &StoreDir::default()).expect_err("it is bad");
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        writeln!(refusals, "{}: {text}", file.file_stem().unwrap().to_string_lossy()).unwrap();
    }
    check("binary-cache/bad/refusals.txt", refusals);
}

#[test]
fn nothing_is_printed_that_would_be_read_otherwise() {
    let store_dir = StoreDir::default();
    let mut nar_info = parse(fs::read(fixture("binary-cache/good/signed.narinfo")).unwrap());
    nar_info.info.signatures.push("a:b\nDeriver: x".to_owned());
    assert_eq!(nar_info.print(&store_dir), Err(Unprintable::Lines { field: "Sig" }));
    nar_info.url = None;
    assert_eq!(nar_info.print(&store_dir), Err(Unprintable::Missing { field: "URL" }));
    nar_info.url = Some("nar/x".to_owned());
    nar_info.info.nar_size = 0;
    assert_eq!(nar_info.print(&store_dir), Err(Unprintable::Missing { field: "NarSize" }));
}
