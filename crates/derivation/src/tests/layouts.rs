//! Where things are in a text that is as it would be printed, which is seen while it is read.

use std::borrow::Cow;

use store_path::{Name, StoreDir};

use crate::aterm::{Text, examine, skim};
use crate::{Derivation, Output};

/// Holds the layout that comes of reading a text against the one that comes of printing it, and returns whether there is
/// one. There is none where the text cannot be read.
pub(super) fn is_seen(text: &[u8], name: &Name) -> bool {
    is_seen_below(&StoreDir::default(), text, name)
}

fn is_seen_below(store_dir: &StoreDir, text: &[u8], name: &Name) -> bool {
    let read = examine::<Cow<'_, [u8]>>(text, store_dir, name);
    let skimmed = skim::<Cow<'_, [u8]>>(text, store_dir, name);
    let Ok((derivation, Some(layout))) = read else {
        assert!(skimmed.is_none(), "{}", String::from_utf8_lossy(text));
        return false;
    };
    assert_eq!(skimmed.is_some(), !is_filled_in(&derivation), "{}", String::from_utf8_lossy(text));
    if let Some(skimmed) = skimmed {
        assert_eq!(skimmed, (for_paths(&derivation), layout.clone()));
    }
    let held = |bytes: Cow<'_, [u8]>| bytes.into_owned();
    let derivation: Derivation = derivation.held(held);
    let printed = Text::of(&derivation, store_dir);
    assert_eq!(*printed.layout(), layout, "{}", String::from_utf8_lossy(text));
    let printed = printed.into_bytes();
    assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(text));
    true
}

/// Whether a path or the variable for one is not there yet.
fn is_filled_in(derivation: &Derivation<Cow<'_, [u8]>>) -> bool {
    derivation.outputs.iter().any(|(name, output)| match output {
        Output::Deferred => true,
        Output::Fixed { .. } => {
            derivation.env.get(name.as_str().as_bytes()).is_none_or(|value| value.is_empty())
        }
        _ => false,
    })
}

/// Leaves out what no path depends on but by way of the text.
fn for_paths<'a>(derivation: &Derivation<Cow<'a, [u8]>>) -> Derivation<Cow<'a, [u8]>> {
    let mut skimmed = derivation.clone();
    skimmed.args.clear();
    skimmed
        .env
        .retain(|name, _| derivation.outputs.keys().any(|output| output.as_str().as_bytes() == &**name));
    skimmed
}

/// One of everything that may be written otherwise than it is printed.
const PRINTED: &str = concat!(
    r#"DrvWithVersion("xp-dyn-drv",[("dev","/nix/store/0zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-x-dev","",""),"#,
    r#"("out","","r:sha256",""),("zip","","sha1","impure")],"#,
    r#"[("/nix/store/00000000000000000000000000000000-a.drv",(["dev","out"],[("out",["out"])])),"#,
    r#"("/nix/store/00000000000000000000000000000000-b.drv",["out"])],"#,
    r#"["/nix/store/00000000000000000000000000000000-c","/nix/store/00000000000000000000000000000000-d"],"#,
    r#""a\"\\system","builder",["\"\\\n\r\t",""],"#,
    r#"[("a",""),("dev","/nix/store/0zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-x-dev"),("out","\"\n"),("z","")])"#,
);

#[test]
fn it_is_seen_in_what_is_printed() {
    let name = "x".parse().unwrap();
    assert!(is_seen(PRINTED.as_bytes(), &name));
}

#[test]
fn it_is_not_seen_in_what_is_printed_otherwise() {
    let name = "x".parse().unwrap();
    for (printed, other) in [
        (r#""builder""#, r#""b\uilder""#),
        (r#""builder""#, "\"b\nuilder\""),
        (r#"a\"\\system"#, r"a\nsystem"),
        (r#"a\"\\system"#, r"a\system"),
        (r#"["dev","out"]"#, r#"["out","dev"]"#),
        (r#"-c","#, r#"-e","#),
        (r#"("a",""),"#, r#"("za",""),"#),
        (r#"("out",["out"])"#, ""),
        (r#"-b.drv",["out"]"#, r#"-b.drv",(["out"],[])"#),
        (r#""r:sha256""#, r#""r:SHA256""#),
        (r#""sha1","impure""#, r#""sha\1","impure""#),
    ] {
        assert!(PRINTED.contains(printed), "{printed}");
        let text = PRINTED.replace(printed, other);
        assert!(!is_seen(text.as_bytes(), &name), "{other}");
    }
    // A promise may be written in several ways.
    let promise = |hash: &str| {
        format!(
            r#"Derive([("out","/nix/store/dmqibsa8k1nv1pg0ni05a99kv8ml2pf1-x","sha256","{hash}")],[],[],"s","b",[],[])"#
        )
    };
    let digits = "0".repeat(64);
    let path = crate::aterm::parse(promise(&digits).as_bytes(), &StoreDir::default(), &name);
    let crate::aterm::Problem::FixedPath { stated, computed } = path.unwrap_err().problem else {
        panic!("the path is not the promise's")
    };
    let promise = |hash: &str| promise(hash).replace(&stated.to_string(), &computed.to_string());
    assert!(is_seen(promise(&digits).as_bytes(), &name));
    let other = "0".repeat(52);
    assert!(crate::aterm::parse(promise(&other).as_bytes(), &StoreDir::default(), &name).is_ok());
    assert!(!is_seen(promise(&other).as_bytes(), &name));
}

/// Paths are printed without escapes, which only the name of the store directory could need.
#[test]
fn it_is_not_seen_where_a_path_is_escaped() {
    let name = "x".parse().unwrap();
    for (dir, escaped) in [("/a\"b", r#"/a\"b"#), (r"/a\b", r"/a\\b"), ("/a\nb", r"/a\nb"), ("/ab", "/ab")] {
        let dir = StoreDir::new(dir).unwrap();
        let path = format!("{escaped}/00000000000000000000000000000000-x");
        for (output, drvs, srcs) in
            [(&*path, "", ""), ("", "(\"PATH.drv\",[\"out\"])", ""), ("", "", "\"PATH\"")]
        {
            let [drvs, srcs] = [drvs, srcs].map(|list| list.replace("PATH", &path));
            let text = format!(r#"Derive([("out","{output}","","")],[{drvs}],[{srcs}],"s","b",[],[])"#);
            assert!(crate::aterm::parse(text.as_bytes(), &dir, &name).is_ok());
            assert_eq!(is_seen_below(&dir, text.as_bytes(), &name), dir.as_str() == escaped, "{text}");
        }
    }
}

/// Whatever becomes of one byte, the layout is right or not seen.
#[test]
fn it_is_right_in_what_is_almost_printed() {
    let name = "x".parse().unwrap();
    for place in 0..PRINTED.len() {
        for byte in b"\n\t\\\"a0n[]()," {
            let mut text = PRINTED.as_bytes().to_vec();
            text[place] = *byte;
            is_seen(&text, &name);
            text.insert(place, b'\\');
            is_seen(&text, &name);
        }
    }
}
