//! Reading the text of a derivation never panics, and reading what was printed gives the same derivation.

#![no_main]

use derivation::aterm;
use libfuzzer_sys::fuzz_target;
use store_path::StoreDir;

fuzz_target!(|text: &[u8]| {
    let store_dir = StoreDir::default();
    let name = "fuzz".parse().expect("it is a name");
    if let Ok(derivation) = aterm::parse(text, &store_dir, &name) {
        let printed = aterm::print(&derivation, &store_dir);
        let again = aterm::parse(&printed, &store_dir, &name).expect("what was printed can be read");
        assert_eq!(again, derivation);
    }
});
