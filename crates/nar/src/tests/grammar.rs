//! What the reader refuses, and where.

use super::rewrite;
use crate::{Event, Problem, ReadError, Reader, WriteError, Writer};

fn string(bytes: &[u8]) -> Vec<u8> {
    let padding = vec![0; bytes.len().next_multiple_of(8) - bytes.len()];
    [&(bytes.len() as u64).to_le_bytes(), bytes, &padding].concat()
}

fn archive(strings: &[&str]) -> Vec<u8> {
    strings.iter().flat_map(|text| string(text.as_bytes())).collect()
}

fn refused(strings: &[&str]) -> ReadError {
    rewrite(&archive(strings)).expect_err("a bad archive")
}

/// A node below that many directories.
fn nested(directories: usize) -> Vec<u8> {
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut written);
    for _ in 0..directories {
        writer.directory().unwrap();
        writer.entry(b"d").unwrap();
    }
    writer.symlink(b"target").unwrap();
    (0..directories).for_each(|_| writer.end().unwrap());
    writer.finish().unwrap();
    written
}

#[test]
fn the_place_of_a_problem_is_told() {
    let error = refused(&["nix-archive-1", "(", "type", "fifo", ")"]);
    // 24 bytes for the magic, 16 for each string since.
    assert_eq!(error.offset, 24 + 3 * 16);
    assert_eq!(error.to_string(), "cannot read the archive at byte 72");
    assert_eq!(error.problem.to_string(), "expected `regular`, `symlink` or `directory`, found `fifo`");
}

#[test]
fn other_magic_is_refused() {
    assert!(matches!(refused(&["nix-archive-2", "("]).problem, Problem::Token { .. }));
    assert!(matches!(refused(&["#!/bin/sh"]).problem, Problem::Token { .. }));
    assert!(matches!(rewrite(b"#!/bin/sh -e\necho").unwrap_err().problem, Problem::Length { .. }));
    assert!(matches!(rewrite(b"").unwrap_err().problem, Problem::Truncated));
}

#[test]
fn marker_of_executables_is_empty() {
    let error = refused(&["nix-archive-1", "(", "type", "regular", "executable", "yes", "contents", "", ")"]);
    assert!(matches!(error.problem, Problem::Token { .. }));
}

#[test]
fn targets_are_those_a_kernel_takes() {
    let symlink = |target: &str| {
        rewrite(&archive(&["nix-archive-1", "(", "type", "symlink", "target", target, ")"])).map(drop)
    };
    symlink("x").unwrap();
    symlink(&"x".repeat(4095)).unwrap();
    assert!(matches!(symlink("").unwrap_err().problem, Problem::Target { .. }));
    assert!(matches!(symlink("a\0b").unwrap_err().problem, Problem::Target { .. }));
    assert!(matches!(symlink(&"x".repeat(4096)).unwrap_err().problem, Problem::Length { length: 4096, .. }));
}

#[test]
fn names_are_those_a_kernel_takes() {
    let entry = |name: &str| {
        let entry = ["entry", "(", "name", name, "node", "(", "type", "symlink", "target", "x", ")", ")"];
        rewrite(&archive(&[&["nix-archive-1", "(", "type", "directory"][..], &entry, &[")"]].concat()))
            .map(drop)
    };
    entry(&"x".repeat(255)).unwrap();
    assert!(matches!(entry(&"x".repeat(256)).unwrap_err().problem, Problem::Length { length: 256, .. }));
    assert!(matches!(entry("a/b").unwrap_err().problem, Problem::Name { .. }));
}

#[test]
fn entries_are_sorted_by_bytes() {
    let directory = |names: [&[u8]; 2]| {
        let mut written = Vec::new();
        let mut writer = Writer::new(&mut written);
        writer.directory().unwrap();
        for name in names {
            writer.entry(name).unwrap();
            writer.symlink(b"x").unwrap();
        }
        writer.end().unwrap();
        writer.finish().unwrap();
        rewrite(&written).map(drop)
    };
    directory([b"B", b"a"]).unwrap();
    directory([b"a", b"a\xff"]).unwrap();
    directory([b"z", b"\x80"]).unwrap();
    let error = directory([b"b", b"a"]).unwrap_err().problem;
    assert_eq!(error.to_string(), "the entry `a` does not sort after `b`");
    assert!(matches!(directory([b"a", b"a"]).unwrap_err().problem, Problem::Order { .. }));
}

#[test]
fn depth_is_bounded() {
    rewrite(&nested(63)).unwrap();
    let error = rewrite(&nested(64)).unwrap_err().problem;
    assert_eq!(error.to_string(), "directories are nested deeper than 64 levels");
}

#[test]
fn a_huge_length_takes_no_memory() {
    let mut bytes = archive(&["nix-archive-1", "(", "type", "regular", "contents"]);
    bytes.extend(u64::MAX.to_le_bytes());
    assert!(matches!(rewrite(&bytes).unwrap_err().problem, Problem::Truncated));
    let mut reader = Reader::new(&bytes[..]);
    assert_eq!(reader.next().unwrap(), Some(Event::Regular { executable: false, size: u64::MAX }));
    assert!(matches!(reader.next().unwrap_err().problem, Problem::Truncated));
}

#[test]
fn contents_may_be_skipped_or_read_in_part() {
    let bytes = archive(&["nix-archive-1", "(", "type", "regular", "contents", "0123456789", ")"]);
    for count in 0..=10 {
        let mut reader = Reader::new(&bytes[..]);
        reader.next().unwrap();
        let mut part = vec![0; count];
        std::io::Read::read_exact(&mut reader.contents(), &mut part).unwrap();
        assert_eq!(part, &b"0123456789"[..count]);
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.next().unwrap(), None);
    }
}

#[test]
fn contents_of_another_size_are_refused() {
    let regular = |size| Writer::new(std::io::sink()).regular(false, size, &mut &b"12345"[..]);
    regular(5).unwrap();
    assert!(matches!(regular(4), Err(WriteError::Size { expected: 4 })));
    assert!(matches!(regular(6), Err(WriteError::Size { expected: 6 })));
    assert!(matches!(regular(u64::MAX), Err(WriteError::Size { .. })));
}
