//! The reader never panics, and takes no archive that the writer would have written in another way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nar::{Event, ReadError, Reader, WriteError, Writer};

fuzz_target!(|archive: &[u8]| {
    let mut rest = archive;
    if let Ok(written) = rewrite(Reader::new(&mut rest)) {
        assert_eq!(written, archive[..archive.len() - rest.len()]);
    }
});

fn rewrite(mut reader: Reader<&mut &[u8]>) -> Result<Vec<u8>, ReadError> {
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut written);
    while let Some(event) = reader.next()? {
        match event {
            Event::Directory => writer.directory(),
            Event::Entry(name) => writer.entry(&name),
            Event::End => writer.end(),
            Event::Symlink(target) => writer.symlink(&target),
            Event::Regular { executable, size } => {
                match writer.regular(executable, size, &mut reader.contents()) {
                    // The next step tells what is wrong.
                    Err(WriteError::Contents { .. }) => Ok(()),
                    result => result,
                }
            }
        }
        .expect("a vector takes every byte");
    }
    writer.finish().expect("a vector takes every byte");
    Ok(written)
}
