//! Generated trees, there and back.

use std::collections::BTreeMap;

use super::rewrite;
use crate::{Writer, dump, restore};
use proptest::prelude::*;
use test_support::Scratch;

#[derive(Clone, Debug)]
enum Tree {
    Regular { executable: bool, contents: Vec<u8> },
    Symlink(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, Tree>),
}

/// Any bytes but zero and the slash, which no name may have; nor may it be `.` or `..`.
fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![1..=0x2du8, 0x30..=0xffu8], 1..12)
}

fn trees() -> impl Strategy<Value = Tree> {
    let contents = proptest::collection::vec(any::<u8>(), 0..50);
    let leaf = prop_oneof![
        (any::<bool>(), contents).prop_map(|(executable, contents)| Tree::Regular { executable, contents }),
        proptest::collection::vec(1..=0xffu8, 1..40).prop_map(Tree::Symlink),
    ];
    leaf.prop_recursive(4, 30, 6, |tree| {
        proptest::collection::btree_map(name(), tree, 0..6).prop_map(Tree::Directory)
    })
}

fn write(tree: &Tree, writer: &mut Writer<&mut Vec<u8>>) {
    match tree {
        Tree::Regular { executable, contents } => {
            writer.regular(*executable, contents.len() as u64, &mut &contents[..]).unwrap();
        }
        Tree::Symlink(target) => writer.symlink(target).unwrap(),
        Tree::Directory(entries) => {
            writer.directory().unwrap();
            for (name, tree) in entries {
                writer.entry(name).unwrap();
                write(tree, writer);
            }
            writer.end().unwrap();
        }
    }
}

fn archive_of(tree: &Tree) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut writer = Writer::new(&mut archive);
    write(tree, &mut writer);
    let length = writer.finish().unwrap();
    assert_eq!(archive.len() as u64, length);
    archive
}

proptest! {
    #[test]
    fn events_give_the_same_archive(tree in trees()) {
        let archive = archive_of(&tree);
        prop_assert_eq!(rewrite(&archive).unwrap(), (archive.clone(), &b""[..]));
    }

    #[test]
    fn disks_give_the_same_archive(tree in trees()) {
        let archive = archive_of(&tree);
        let scratch = Scratch::new();
        let path = scratch.join("tree");
        restore(&mut &archive[..], &path).unwrap();
        let mut dumped = Vec::new();
        dump(&path, &mut dumped).unwrap();
        prop_assert_eq!(dumped, archive);
    }

    /// One tree has one archive: whatever is read is written in the same way.
    #[test]
    fn a_changed_archive_is_refused_or_means_another_tree(
        tree in trees(),
        place in any::<proptest::sample::Index>(),
        byte: u8,
    ) {
        let mut archive = archive_of(&tree);
        let place = place.index(archive.len());
        archive[place] = byte;
        if let Ok((rewritten, rest)) = rewrite(&archive) {
            prop_assert_eq!(&rewritten[..], &archive[..archive.len() - rest.len()]);
        }
    }

    #[test]
    fn a_shortened_archive_is_refused(tree in trees(), place in any::<proptest::sample::Index>()) {
        let archive = archive_of(&tree);
        prop_assert!(rewrite(&archive[..place.index(archive.len())]).is_err());
    }
}
