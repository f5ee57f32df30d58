//! Keys, and what they sign.

use std::fs;

use store_path::{Hash, StoreDir};
use test_support::fixture;

use crate::build_trace::Entry;
use crate::{KeyError, NarInfo, PublicKey, SecretKey, fingerprint, is_content_addressed};

#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
fn nar_info(name: &str) -> NarInfo {
    let text = fs::read(fixture(&format!("binary-cache/good/{name}.narinfo"))).unwrap();
    NarInfo::parse(&text, &StoreDir::default()).unwrap()
}

/// A path that anyone can ask the public cache about, with its signature.
const CACHE_NIXOS_ORG: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

fn secret() -> SecretKey {
    // The first test vector of RFC 8032: 32 bytes of secret, 32 of the public key.
    let text =
        "rfc-1:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
    text.parse().unwrap()
}

#[test]
fn a_key_that_is_made_is_read_again() {
    let key = SecretKey::from_seed("k-1", &[7; 32]).unwrap();
    let again: SecretKey = key.reveal().parse().unwrap();
    assert_eq!(again.sign("text"), key.sign("text"));
    assert!(key.public().has_signed("text", &again.sign("text")));
    assert_eq!(format!("{key:?}"), "SecretKey { name: \"k-1\", .. }");
    for name in ["", "a:b", "a b", "a\n"] {
        assert!(matches!(SecretKey::from_seed(name, &[7; 32]), Err(KeyError::Name { .. })), "{name:?}");
    }
}

#[test]
fn signs_as_the_standard_says() {
    let expected = concat!(
        "rfc-1:5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVf",
        "uIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==",
    );
    let signature = secret().sign("");
    assert_eq!(signature, expected);
    let public = secret().public();
    assert!(public.has_signed("", &signature));
    assert!(!public.has_signed("x", &signature));
    assert!(!public.has_signed("", &signature.replace("rfc-1", "rfc-2")), "another key's name");
    assert_eq!(public.name(), "rfc-1");
    assert_eq!(public.to_string(), "rfc-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    assert_eq!(public.to_string().parse(), Ok(public));
}

#[test]
fn what_is_changed_is_not_signed() {
    let store_dir = StoreDir::default();
    let mut signed = nar_info("signed");
    let text = fingerprint(&signed.info, &store_dir);
    assert_eq!(
        text,
        "1;/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-tool-1.0;\
        sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa;120;\
        /nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-tool-1.0,/nix/store/q790zdjk75hm2cn42nh77pqw4gbv1b88-hello.txt"
    );
    let public = secret().public();
    let holds = |nar_info: &NarInfo| {
        let text = fingerprint(&nar_info.info, &store_dir);
        nar_info.info.signatures.iter().any(|signature| public.has_signed(&text, signature))
    };
    assert!(holds(&signed));
    signed.info.nar_size += 1;
    assert!(!holds(&signed));
    assert!(!CACHE_NIXOS_ORG.parse::<PublicKey>().unwrap().has_signed(&text, &secret().sign(&text)));
}

#[test]
fn an_entry_of_the_build_trace_is_signed_without_its_signatures() {
    let text = r#"{"key":{"drvPath":"g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar.drv","outputName":"foo"},
        "value":{"outPath":"g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo","signatures":["x:eA=="]}}"#;
    let entry = Entry::parse(&serde_json::from_str(text).unwrap()).unwrap();
    let signature = secret().sign(&entry.fingerprint());
    assert!(secret().public().has_signed(&entry.fingerprint(), &signature));
    assert_eq!(entry.signatures(), ["x:eA=="]);
}

#[test]
fn paths_that_follow_from_their_contents_are_known() {
    let store_dir = StoreDir::default();
    let mut addressed = nar_info("content-addressed").info;
    assert!(is_content_addressed(&addressed, &store_dir));
    assert!(!is_content_addressed(&nar_info("signed").info, &store_dir));
    // Self references are of the tree, not of a text or a download.
    let itself = addressed.path.clone();
    addressed.references.insert(itself);
    assert!(!is_content_addressed(&addressed, &store_dir));
    addressed.references.clear();
    let address = addressed.content_address.as_mut().unwrap();
    address.hash = Hash::of(store_path::HashAlgorithm::Sha256, b"other");
    assert!(!is_content_addressed(&addressed, &store_dir));
}

#[test]
fn what_is_no_key_is_refused_without_being_shown() {
    let refused = |text: &str| text.parse::<SecretKey>().map(drop).unwrap_err();
    assert_eq!(refused("secretsecret"), KeyError::Form);
    assert_eq!(refused(":AAAA"), KeyError::Form);
    assert_eq!(refused("x:AAAA"), KeyError::Bytes { name: "x".to_owned(), expected: 64 });
    assert_eq!("x:!".parse::<PublicKey>(), Err(KeyError::Bytes { name: "x".to_owned(), expected: 32 }));
    // The second half is not the public key of the first.
    let zeros = format!("x:{}==", "A".repeat(86));
    assert_eq!(refused(&zeros), KeyError::Invalid { name: "x".to_owned() });
    assert!(!refused(&zeros).to_string().contains("AAAA"));
}
