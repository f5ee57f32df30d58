//! Reading what a database is loaded from never panics, and what was read and printed is read as the same.

#![no_main]

use binary_cache::registration::{Registrations, print};
use libfuzzer_sys::fuzz_target;
use store_path::{PathInfo, StoreDir};

fuzz_target!(|text: &[u8]| {
    let _ = Registrations::new(text, StoreDir::default(), false).next();
    let mut reader = Registrations::new(text, StoreDir::default(), true);
    while let Ok(Some(read)) = reader.next() {
        let (nar_hash, nar_size) = read.archive.expect("it was asked for");
        let info = PathInfo {
            path: read.path.clone(),
            nar_hash,
            nar_size,
            references: read.references.clone(),
            deriver: read.deriver.clone(),
            registration_time: 0,
            ultimate: false,
            signatures: Vec::new(),
            content_address: None,
        };
        let printed = print(&info, &StoreDir::default());
        let mut again = Registrations::new(printed.as_bytes(), StoreDir::default(), true);
        let again = again.next().expect("it was printed").expect("it is one");
        assert_eq!((again.path, again.archive), (read.path, read.archive));
        assert_eq!((again.deriver, again.references), (read.deriver, read.references));
    }
});
