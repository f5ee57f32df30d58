//! Reading what a cache says of a path never panics, and reading what was printed gives the same.

#![no_main]

use binary_cache::{NarInfo, fingerprint, is_content_addressed};
use libfuzzer_sys::fuzz_target;
use store_path::StoreDir;

fuzz_target!(|text: &[u8]| {
    let store_dir = StoreDir::default();
    let Ok(nar_info) = NarInfo::parse(text, &store_dir) else { return };
    let printed = nar_info.print(&store_dir).expect("what was read has all lines");
    assert_eq!(NarInfo::parse(printed.as_bytes(), &store_dir).as_ref(), Ok(&nar_info));
    let _ = is_content_addressed(&nar_info.info, &store_dir);
    assert!(fingerprint(&nar_info.info, &store_dir).starts_with("1;/nix/store/"));
});
