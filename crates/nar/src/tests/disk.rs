//! What dumping and restoring do to a disk, and what they refuse there.

#![allow(clippy::disallowed_methods, reason = "tests touch the disk")]

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::{DumpError, RestoreError, Writer, dump, restore};
use nix::sys::stat::Mode;
use test_support::{Random, Scratch};

fn dumped(path: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    dump(path, &mut archive).unwrap();
    archive
}

fn refused(path: &Path) -> DumpError {
    dump(path, &mut io::sink()).expect_err("a bad tree")
}

fn text_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", text_of(source)),
        None => error.to_string(),
    }
}

#[test]
fn only_the_owner_decides_what_is_executable() {
    let scratch = Scratch::new();
    let file = scratch.join("file");
    File::create(&file).unwrap();
    let archive_with_mode = |mode| {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        dumped(&file)
    };
    let plain = archive_with_mode(0o644);
    assert_eq!(archive_with_mode(0o444), plain);
    assert_eq!(archive_with_mode(0o455), plain);
    let executable = archive_with_mode(0o755);
    assert_ne!(executable, plain);
    assert_eq!(archive_with_mode(0o500), executable);
}

#[test]
fn roots_may_be_files_and_dangling_symlinks() {
    let scratch = Scratch::new();
    let link = scratch.join("link");
    symlink("/nowhere", &link).unwrap();
    let mut expected = Vec::new();
    let mut writer = Writer::new(&mut expected);
    writer.symlink(b"/nowhere").unwrap();
    writer.finish().unwrap();
    assert_eq!(dumped(&link), expected);

    restore(&mut &expected[..], &scratch.join("copy")).unwrap();
    assert_eq!(fs::read_link(scratch.join("copy")).unwrap(), Path::new("/nowhere"));
}

#[test]
fn files_longer_than_the_buffer_come_back() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("tree")).unwrap();
    let buffer = crate::tokens::BUFFER_LEN;
    for length in [buffer - 200, buffer - 1, buffer, buffer + 1, 3 * buffer + 5] {
        let contents = Random::seeded(length as u64).bytes(length);
        fs::write(scratch.join(format!("tree/{length}")), contents).unwrap();
    }
    let archive = dumped(&scratch.join("tree"));
    restore(&mut &archive[..], &scratch.join("copy")).unwrap();
    assert_eq!(dumped(&scratch.join("copy")), archive);
    let longest = format!("{}", 3 * buffer + 5);
    assert!(
        fs::read(scratch.join("tree").join(&longest)).unwrap()
            == fs::read(scratch.join("copy").join(&longest)).unwrap()
    );
}

#[test]
fn other_kinds_of_file_are_refused_by_name() {
    let scratch = Scratch::new();
    let directory = scratch.join("tree/below");
    fs::create_dir_all(&directory).unwrap();

    let pipe = directory.join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let expected = format!("`{}` is a named pipe, which no archive can hold", pipe.display());
    assert_eq!(refused(&scratch.join("tree")).to_string(), expected);
    assert_eq!(refused(&pipe).to_string(), expected);
    fs::remove_file(pipe).unwrap();

    let socket = directory.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(refused(&scratch.join("tree")).to_string().contains("below/socket` is a socket"));
    assert!(refused(Path::new("/dev/null")).to_string().contains("character device"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let scratch = Scratch::new();
    let missing = scratch.join("missing");
    let text = text_of(&refused(&missing));
    assert!(text.starts_with(&format!("cannot look at `{}`: No such file", missing.display())), "{text}");
    assert!(matches!(refused(Path::new("a\0b")), DumpError::File { .. }));
}

/// Writes to a file of the tree as soon as the first bytes arrive.
struct Meddler<'path>(&'path Path);

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        File::options().append(true).open(self.0)?.write_all(b"more")?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_grows_meanwhile_is_an_error() {
    let scratch = Scratch::new();
    let file = scratch.join("file");
    let buffer = crate::tokens::BUFFER_LEN;
    for length in [buffer, buffer + 1, 2 * buffer - 1, 2 * buffer, 3 * buffer + 1] {
        fs::write(&file, vec![7; length]).unwrap();
        let error = dump(&file, &mut Meddler(&file)).expect_err("it grew");
        let expected = format!("the size of `{}` changed while it was read", file.display());
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_sink_that_refuses_is_told_apart() {
    let full = &mut [0_u8; 10][..];
    let scratch = Scratch::new();
    let error = dump(scratch.path(), &mut { full }).expect_err("ten bytes are no archive");
    assert!(matches!(error, DumpError::Sink { .. }));
}

#[test]
fn deep_trees_can_be_dumped_but_not_restored() {
    let scratch = Scratch::new();
    let mut path = scratch.join("tree");
    fs::create_dir(&path).unwrap();
    for _ in 0..300 {
        path.push("d");
        fs::create_dir(&path).unwrap();
    }
    let archive = dumped(&scratch.join("tree"));
    let error = restore(&mut &archive[..], &scratch.join("copy")).expect_err("too deep");
    assert!(text_of(&error).ends_with("directories are nested deeper than 64 levels"));
}

#[test]
fn restoring_replaces_nothing() {
    let scratch = Scratch::new();
    let (tree, there) = (scratch.join("tree"), scratch.join("there"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&there).unwrap();
    fs::write(there.join("old"), "old").unwrap();
    symlink(&there, scratch.join("link")).unwrap();
    for path in [&there, &scratch.join("link")] {
        let error = restore(&mut &dumped(&tree)[..], path).expect_err("it is there");
        let expected = format!("cannot create the directory `{}`: File exists", path.display());
        assert!(text_of(&error).starts_with(&expected), "{error:?}");
    }
    let file = scratch.join("file");
    fs::write(&file, "new").unwrap();
    restore(&mut &dumped(&file)[..], &there.join("old")).expect_err("it is there");
    restore(&mut &dumped(&file)[..], &scratch.join("link")).expect_err("it is there");
    assert_eq!(fs::read(there.join("old")).unwrap(), b"old");
}

#[test]
fn a_bad_archive_names_where_it_was_to_be() {
    let scratch = Scratch::new();
    let path = scratch.join("tree");
    let archive = dumped(scratch.path());
    let error = restore(&mut &archive[..archive.len() - 8], &path).expect_err("it is cut short");
    assert!(matches!(&error, RestoreError::Archive { .. }));
    let expected =
        format!("cannot restore `{}`: cannot read the archive at byte 88: it ends too early", path.display());
    assert_eq!(text_of(&error), expected);
}
