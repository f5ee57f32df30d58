//! What is written is read as the same; what is wrong is refused, where it stands.

use std::io::Read;

use proptest::prelude::*;
use store_path::{ContentAddress, Hash, HashAlgorithm, Method, PathInfo, StoreDir, StorePath};

use super::{Entry, Format, Reader, StreamError, Wrong};

/// Stands for an archive: the reader of a stream does not look into it.
const ARCHIVE: &[u8; 16] = b"not-an-archive-1";

fn path(name: &str) -> StorePath {
    let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
    StoreDir::default().make_path("test", &hash, &name.parse().unwrap())
}

fn info(name: &str, references: &[&str]) -> PathInfo {
    PathInfo {
        path: path(name),
        nar_hash: Hash::of(HashAlgorithm::Sha256, ARCHIVE),
        nar_size: ARCHIVE.len() as u64,
        references: references.iter().map(|name| path(name)).collect(),
        deriver: None,
        registration_time: 1_700_000_000,
        ultimate: false,
        signatures: Vec::new(),
        content_address: None,
    }
}

fn write(format: Format, infos: &[PathInfo]) -> Vec<u8> {
    let mut bytes = format.start();
    for info in infos {
        bytes.extend(format.before(info));
        bytes.extend(ARCHIVE);
        bytes.extend(format.after(info, &StoreDir::default()));
    }
    bytes.extend(format.end());
    bytes
}

/// Returns what of each path the stream says.
fn read(bytes: &[u8]) -> Result<Vec<PathInfo>, StreamError> {
    let mut reader = Reader::new(bytes, StoreDir::default())?;
    let mut infos = Vec::new();
    while let Some(entry) = reader.next()? {
        let known = match entry {
            Entry::Present(info) => {
                infos.push(*info);
                continue;
            }
            Entry::Known(info) => Some(*info),
            Entry::Archive => None,
        };
        let mut archive = Vec::new();
        reader.archive().take(ARCHIVE.len() as u64).read_to_end(&mut archive).unwrap();
        let trailer = reader.trailer()?;
        infos.push(match (known, trailer) {
            (Some(info), None) => info,
            (None, Some(trailer)) => PathInfo {
                path: trailer.path,
                references: trailer.references,
                deriver: trailer.deriver,
                ..info("x", &[])
            },
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(infos)
}

#[test]
fn nix_prints_the_same() {
    let after = Format::Nix.after(&info("x", &[]), &StoreDir::default());
    assert!(after.starts_with(b"NIXE\0\0\0\0\x2d\0\0\0\0\0\0\0/nix/store/"), "{after:?}");
    assert_eq!(write(Format::Nix, &[]), [0; 8]);
    assert_eq!(&write(Format::Nario, &[])[..8], b"NARIO2\0\0");
}

#[test]
fn a_path_comes_back_with_all_that_the_format_holds() {
    let full = PathInfo {
        deriver: Some(path("x.drv")),
        ultimate: true,
        signatures: vec!["a:1".to_owned(), "b:2".to_owned()],
        content_address: Some(ContentAddress {
            method: Method::Nar,
            hash: Hash::of(HashAlgorithm::Sha256, b"x"),
        }),
        ..info("x", &["x", "y"])
    };
    assert_eq!(
        read(&write(Format::Nario, std::slice::from_ref(&full))).unwrap(),
        std::slice::from_ref(&full)
    );
    let nixs = PathInfo { deriver: full.deriver.clone(), ..info("x", &["x", "y"]) };
    assert_eq!(read(&write(Format::Nix, &[full])).unwrap(), [nixs]);
}

#[test]
fn a_stream_goes_on_where_another_path_begins() {
    let (first, second) = (info("a", &[]), info("b", &["a"]));
    let whole = write(Format::Nario, &[first.clone(), second.clone()]);
    let begins = Format::Nario.start().len() + Format::Nario.before(&first).len() + ARCHIVE.len();
    let mut reader = Reader::continued(&whole[begins..], StoreDir::default(), begins as u64);
    assert_eq!(reader.next().unwrap(), Some(Entry::Known(Box::new(second))));
}

#[test]
fn signatures_of_long_ago_are_passed_over() {
    let mut bytes = write(Format::Nix, &[info("x", &[])]);
    bytes.truncate(bytes.len() - 16);
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"no\0\0\0\0\0\0");
    bytes.extend([0; 8]);
    assert_eq!(read(&bytes).unwrap(), [info("x", &[])]);
}

#[test]
fn what_is_left_out_is_named() {
    let mut bytes = write(Format::Nario, &[info("x", &[])]);
    bytes[8] = 3;
    bytes.drain(bytes.len() - 8 - ARCHIVE.len()..bytes.len() - 8);
    let mut reader = Reader::new(&bytes[..], StoreDir::default()).unwrap();
    assert_eq!(reader.next().unwrap(), Some(Entry::Present(Box::new(info("x", &[])))));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.next().unwrap(), None);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let refused = |bytes: &[u8]| read(bytes).expect_err("wrong");
    assert!(matches!(refused(b"PK\x03\x04....").wrong, Wrong::Number { .. }));
    assert!(matches!(refused(b"").wrong, Wrong::Truncated));
    let whole = write(Format::Nix, &[info("x", &["y"])]);
    for length in 0..whole.len() {
        let error = refused(&whole[..length]);
        assert!(matches!(error.wrong, Wrong::Truncated), "{length}: {error:?}");
        assert!(error.offset <= length as u64);
    }
    let at = |place: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[place] = byte;
        refused(&bytes)
    };
    let error = at(24, b'X');
    assert!(matches!(error.wrong, Wrong::Number { expected: "`NIXE` after the archive", .. }));
    assert_eq!(error.offset, 32);
    assert!(matches!(at(32 + 7, 1).wrong, Wrong::Length { .. }));
    assert!(matches!(at(40, b'x').wrong, Wrong::Path(_)));
    assert!(matches!(at(40, 0xff).wrong, Wrong::NotText { .. }));
    let padding = 40 + "/nix/store/".len() + path("x").to_string().len();
    assert!(matches!(at(padding, 1).wrong, Wrong::Padding { .. }));
    let mut compressed = write(Format::Nario, &[]);
    compressed[8] = 4;
    assert!(refused(&compressed).to_string().contains("at byte 16"));
    let signed = PathInfo { signatures: vec!["a b".to_owned()], ..info("x", &[]) };
    assert!(matches!(refused(&write(Format::Nario, &[signed])).wrong, Wrong::Signature { .. }));
}

prop_compose! {
    fn some_info()(
        name in "[a-z]{1,9}",
        references in proptest::collection::btree_set("[a-z]{1,9}", 0..4),
        deriver in proptest::option::of("[a-z]{1,9}"),
        time in 0..i64::MAX,
        ultimate: bool,
        signatures in proptest::collection::btree_set("[a-z]{1,9}:[a-zA-Z0-9+/=]{0,20}", 0..3),
    ) -> PathInfo {
        PathInfo {
            references: references.iter().map(|name| path(name)).collect(),
            deriver: deriver.map(|name| path(&name)),
            registration_time: time,
            ultimate,
            signatures: signatures.into_iter().collect(),
            ..info(&name, &[])
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(infos in proptest::collection::vec(some_info(), 0..4)) {
        prop_assert_eq!(read(&write(Format::Nario, &infos)).unwrap(), infos.clone());
        let of_nix = |found: &PathInfo| PathInfo {
            references: found.references.clone(),
            deriver: found.deriver.clone(),
            path: found.path.clone(),
            ..info("x", &[])
        };
        let nixs: Vec<PathInfo> = infos.iter().map(of_nix).collect();
        prop_assert_eq!(read(&write(Format::Nix, &infos)).unwrap(), nixs);
    }

    #[test]
    fn nothing_panics(bytes: Vec<u8>, nario: bool) {
        let bytes = if nario { [Format::Nario.start(), bytes].concat() } else { bytes };
        if let Ok(mut reader) = Reader::new(&bytes[..], StoreDir::default()) {
            while let Ok(Some(_)) = reader.next() {
                let _ = reader.trailer();
            }
        }
    }
}
