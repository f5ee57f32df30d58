//! No name, path, hash or content address panics, and each is read as it was printed.

#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use store_path::{ContentAddress, Digest, Hash, HashAlgorithm, Name, StoreDir, StorePath};

fuzz_target!(|text: &str| {
    is_printed_as_read::<Name>(text);
    is_printed_as_read::<Digest>(text);
    is_printed_as_read::<StorePath>(text);
    below_a_store_dir(text);
    hash(text, None);
    hash(text, Some(HashAlgorithm::Md5));
    hash(text, Some(HashAlgorithm::Sha256));
    if let Ok(address) = text.parse::<ContentAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
});

/// For what has one spelling only.
fn is_printed_as_read<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// The first line is the directory, the rest a path.
fn below_a_store_dir(text: &str) {
    let (directory, path) = text.split_once('\n').unwrap_or(("/nix/store", text));
    let Ok(store_dir) = StoreDir::new(directory) else { return };
    assert_eq!(store_dir.as_str(), directory);
    if let Ok((child, rest)) = store_dir.split(path.as_bytes()) {
        assert_eq!([store_dir.print(&child).as_bytes(), rest].concat(), path.as_bytes());
        assert_eq!(store_dir.parse(path).is_ok(), rest.is_empty());
    }
}

fn hash(text: &str, wanted: Option<HashAlgorithm>) {
    let Ok(hash) = Hash::parse(text, wanted) else { return };
    assert!(wanted.is_none_or(|wanted| wanted == hash.algorithm()));
    for printed in [hash.prefixed_base16(), hash.prefixed_nix32(), hash.to_sri()] {
        assert_eq!(Hash::parse(&printed, wanted), Ok(hash));
    }
    for digits in [hash.to_base16(), hash.to_nix32(), hash.to_base64()] {
        assert_eq!(Hash::parse(&digits, Some(hash.algorithm())), Ok(hash));
    }
}
