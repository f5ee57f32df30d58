//! Reading the text of a derivation never panics; it is read again as it was printed, and so is all JSON of it.

#![no_main]

use derivation::json::{self, Format};
use derivation::{Derivation, aterm};
use libfuzzer_sys::fuzz_target;
use store_path::{Hash, HashAlgorithm, Name, StoreDir, StorePath};

fuzz_target!(|text: &[u8]| {
    let store_dir = StoreDir::default();
    let name = "fuzz".parse().expect("it is a name");
    if let Ok(derivation) = aterm::parse(text, &store_dir, &name) {
        let printed = aterm::print(&derivation, &store_dir);
        let again = aterm::parse(&printed, &store_dir, &name).expect("what was printed can be read");
        assert_eq!(again, derivation);
        assert_eq!(aterm::print(&again, &store_dir), printed);
        // The reader of JSON looks at the names of inputs, which here is left to `check`.
        if derivation.input_drvs.keys().all(StorePath::is_derivation) {
            through_json(&derivation, &printed, &store_dir);
        }
    }
});

fn through_json(derivation: &Derivation, text: &[u8], store_dir: &StoreDir) {
    let file: Name = "fuzz.drv".parse().expect("it is a name");
    let hash = Hash::of(HashAlgorithm::Sha256, text);
    let path = store_dir.text_path(&file, &hash, &derivation.references());
    for format in Format::ALL {
        // JSON cannot hold bytes that are not text.
        let Ok(printed) = json::print(format, store_dir, &[(path.clone(), derivation)]) else { continue };
        let again = json::parse(printed.as_bytes(), store_dir).expect("what was printed can be read");
        assert_eq!(again, [(Some(path.clone()), derivation.clone())], "{format:?}");
    }
}
