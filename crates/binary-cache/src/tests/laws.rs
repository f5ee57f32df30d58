//! What is printed is read as the same.

use proptest::prelude::*;
use serde_json::Value;
use store_path::{ContentAddress, Hash, HashAlgorithm, Method, PathInfo, StoreDir, StorePath};

use crate::NarInfo;
use crate::path_info::{Extent, Version, parse_all, print_all};

fn path() -> impl Strategy<Value = StorePath> {
    "[0-9a-df-np-sv-z]{2}[0-9]{30}-[a-c+_?=][a-c+._?=-]{0,3}".prop_map(|text| text.parse().unwrap())
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<u64>().prop_map(|seed| Hash::of(HashAlgorithm::Sha256, &seed.to_le_bytes()))
}

fn address() -> impl Strategy<Value = ContentAddress> {
    let method = prop_oneof![Just(Method::Flat), Just(Method::Nar), Just(Method::Text), Just(Method::Git)];
    (method, hash()).prop_map(|(method, hash)| ContentAddress { method, hash })
}

prop_compose! {
    fn info()(
        (path, nar_hash, nar_size) in (path(), hash(), 1_u64..),
        references in proptest::collection::btree_set(path(), 0..4),
        (deriver, content_address) in (proptest::option::of(path()), proptest::option::of(address())),
        signatures in proptest::collection::btree_set("[a-z]{1,3}:[A-Za-z0-9+/]{4}", 0..3),
        (registration_time, ultimate) in (any::<i64>(), any::<bool>()),
    ) -> PathInfo {
        let signatures = signatures.into_iter().collect();
        PathInfo { path, nar_hash, nar_size, references, deriver, registration_time, ultimate, signatures, content_address }
    }
}

prop_compose! {
    fn nar_info()(
        info in info(),
        (url, compression) in ("nar/[ -~]{0,9}", "[a-z0-9]{1,5}"),
        (file_hash, file_size) in (proptest::option::of(hash()), proptest::option::of(1_u64..)),
    ) -> NarInfo {
        NarInfo { info, url: Some(url), compression: Some(compression), file_hash, file_size }
    }
}

proptest! {
    #[test]
    fn a_file_is_read_as_it_was_printed(mut nar_info in nar_info()) {
        let store_dir = StoreDir::default();
        let text = nar_info.print(&store_dir).unwrap();
        // Such a file says nothing of one store.
        (nar_info.info.registration_time, nar_info.info.ultimate) = (0, false);
        prop_assert_eq!(NarInfo::parse(text.as_bytes(), &store_dir), Ok(nar_info));
    }

    #[test]
    fn json_is_read_as_it_was_printed(infos in proptest::collection::btree_map(path(), nar_info(), 0..3)) {
        let store_dir = StoreDir::default();
        let infos: Vec<NarInfo> = infos.into_iter().map(|(path, mut nar_info)| {
            nar_info.info.path = path;
            nar_info
        }).collect();
        for version in Version::ALL {
            let printed = print_all(&infos, version, Extent::Everything, &store_dir).unwrap();
            prop_assert_eq!(parse_all(&printed, &store_dir), Ok(infos.clone()));
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, lines in "((StorePath|URL|NarHash|NarSize|References|Sig|CA)?(: |:)?[ -~]{0,9}\n){0,6}") {
        let _ = NarInfo::parse(&bytes, &StoreDir::default());
        let _ = NarInfo::parse(lines.as_bytes(), &StoreDir::default());
    }
}

#[test]
fn every_shape_of_the_json_is_known() {
    let store_dir = StoreDir::default();
    let read = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        parse_all(&value, &store_dir)
            .map(|infos| infos.len())
            .map_err(|error| format!("{error}: {}", error.problem))
    };
    let base = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo";
    let info =
        r#""narHash":"sha256-FePFYIlMuycIXPZbWi7LGEiMmZSX9FMbaQenWBzm1Sc=","narSize":1,"references":[]"#;
    assert_eq!(read(&format!(r#"[{{"path":"/nix/store/{base}",{info},"valid":true}}]"#)), Ok(1));
    assert_eq!(read(&format!(r#"{{"path":"/nix/store/{base}",{info}}}"#)), Ok(1));
    assert_eq!(read(&format!(r#"{{"/nix/store/{base}":{{{info}}},"/nix/store/{base}-x":null}}"#)), Ok(1));
    assert_eq!(
        read(&format!(r#"{{"version":2,"storeDir":"/nix/store","info":{{"{base}":{{{info}}}}}}}"#)),
        Ok(1)
    );
    let wrong = [
        (format!("{{{info}}}"), "cannot read the field `path`: it is missing"),
        (
            format!(r#"{{"version":4,"info":{{"{base}":{{{info}}}}}}}"#),
            "cannot read the field `version`: there is no version 4 of this format, only 1, 2 and 3",
        ),
        (
            format!(r#"{{"storeDir":"/x","info":{{"{base}":{{{info}}}}}}}"#),
            "cannot read the field `storeDir`: it is `/x`, but this store's directory is `/nix/store`",
        ),
        (r#"[{"path":"x"}]"#.to_owned(), "cannot read the field `0.path`: cannot read the store path"),
        ("7".to_owned(), "cannot read the value: it should be an object"),
    ];
    for (text, expected) in wrong {
        assert_eq!(read(&text), Err(expected.to_owned()), "{text}");
    }
}
