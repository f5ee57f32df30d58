//! Reading JSON about paths and entries of the build trace never panics, and reading what was printed gives the same.

#![no_main]

use std::collections::BTreeMap;

use binary_cache::build_trace::Entry;
use binary_cache::path_info::{Extent, Version, parse_all, print_all};
use libfuzzer_sys::fuzz_target;
use store_path::StoreDir;

fuzz_target!(|text: &[u8]| {
    let Ok(value) = serde_json::from_slice(text) else { return };
    let store_dir = StoreDir::default();
    if let Ok(infos) = parse_all(&value, &store_dir) {
        // A list may name a path twice; what is printed may not.
        let infos: BTreeMap<_, _> = infos.into_iter().map(|info| (info.info.path.clone(), info)).collect();
        let infos: Vec<_> = infos.into_values().collect();
        for version in Version::ALL {
            // The newest has no place for signatures that name no key.
            let Ok(printed) = print_all(&infos, version, Extent::Everything, &store_dir) else { continue };
            assert_eq!(parse_all(&printed, &store_dir).as_ref(), Ok(&infos), "{version:?}");
        }
    }
    if let Ok(entry) = Entry::parse(&value)
        && let Ok(printed) = entry.print()
    {
        assert_eq!(Entry::parse(&printed).as_ref(), Ok(&entry));
        assert!(entry.fingerprint().starts_with('{'));
    }
});
