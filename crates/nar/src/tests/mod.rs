//! Archives against Nix's own, against generated trees, and against trees on disk.

mod disk;
mod golden;
mod grammar;
mod trees;

use crate::{Event, ReadError, Reader, Writer};

/// Reads an archive and writes it again; returns that, and what was left of the bytes.
fn rewrite(mut archive: &[u8]) -> Result<(Vec<u8>, &[u8]), ReadError> {
    let mut written = Vec::new();
    let mut reader = Reader::new(&mut archive);
    let mut writer = Writer::new(&mut written);
    while let Some(event) = reader.next()? {
        let result = match event {
            Event::Directory => writer.directory(),
            Event::Entry(name) => writer.entry(&name),
            Event::End => writer.end(),
            Event::Symlink(target) => writer.symlink(&target),
            Event::Regular { executable, size } => {
                let mut contents = Vec::new();
                if std::io::copy(&mut reader.contents(), &mut contents).is_err() {
                    // The next step says what is wrong.
                    continue;
                }
                writer.regular(executable, size, &mut &contents[..])
            }
        };
        result.expect("a vector takes everything");
    }
    writer.finish().expect("a vector takes everything");
    Ok((written, archive))
}
