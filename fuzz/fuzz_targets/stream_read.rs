//! Reading a stream of store paths never panics, and what was read and written is read as the same.

#![no_main]

use std::io::Read;

use binary_cache::stream::{Entry, Format, Reader};
use libfuzzer_sys::fuzz_target;
use store_path::{PathInfo, StoreDir};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::new(bytes, StoreDir::default()) else { return };
    let mut known: Vec<(PathInfo, Vec<u8>)> = Vec::new();
    while let Ok(Some(entry)) = reader.next() {
        match entry {
            Entry::Known(info) => {
                let mut archive = Vec::new();
                reader
                    .archive()
                    .take(info.nar_size)
                    .read_to_end(&mut archive)
                    .expect("a slice has no errors");
                if archive.len() as u64 == info.nar_size {
                    known.push((*info, archive));
                }
            }
            Entry::Present(_) => {}
            // Where the archive ends only its own reader knows.
            Entry::Archive => {
                let _ = nar::Reader::new(reader.archive()).next();
            }
        }
        let _ = reader.trailer();
    }
    let mut written = Format::Nario.start();
    for (info, archive) in &known {
        written.extend([&Format::Nario.before(info)[..], archive].concat());
    }
    written.extend(Format::Nario.end());
    let mut again = Reader::new(&written[..], StoreDir::default()).expect("it begins as one");
    for (info, archive) in &known {
        assert_eq!(again.next().expect("it was written"), Some(Entry::Known(Box::new(info.clone()))));
        let mut found = vec![0; archive.len()];
        again.archive().read_exact(&mut found).expect("it was written");
        assert_eq!(found, *archive);
    }
    assert_eq!(again.next().expect("it was written"), None);
});
