//! Reading JSON never panics, and reading what was printed gives the same derivation.

#![no_main]

use derivation::json::{self, Format};
use derivation::{Derivation, aterm};
use libfuzzer_sys::fuzz_target;
use store_path::{Hash, HashAlgorithm, StoreDir, StorePath};

fuzz_target!(|text: &[u8]| {
    let store_dir = StoreDir::default();
    for (_, derivation) in json::parse(text, &store_dir).unwrap_or_default() {
        // Its name may be too long for `.drv`.
        let Some(path) = path_of(&derivation, &store_dir) else { continue };
        for format in Format::ALL {
            // JSON cannot hold bytes that are not text.
            let Ok(printed) = json::print(format, &store_dir, &[(path.clone(), &derivation)]) else {
                continue;
            };
            let again = json::parse(printed.as_bytes(), &store_dir).expect("what was printed can be read");
            assert_eq!(again, [(Some(path.clone()), derivation.clone())], "{format:?}");
        }
    }
});

fn path_of(derivation: &Derivation, store_dir: &StoreDir) -> Option<StorePath> {
    let name = format!("{}.drv", derivation.name).parse().ok()?;
    let hash = Hash::of(HashAlgorithm::Sha256, &aterm::print(derivation, store_dir));
    Some(store_dir.text_path(&name, &hash, &derivation.references()))
}
