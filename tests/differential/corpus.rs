//! Real derivations: Nix takes each under the path that it has, and both show the same of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use derivation::{Checked, aterm, check_closure};
use store_path::{StoreDir, StorePath};
use test_support::shared;

use super::rival::Rival;
use super::{compare_json, is_full, name, nothing_else};
use crate::scene::{Scene, say};

#[test]
fn both_show_the_same_of_real_derivations() {
    let scene = Scene::new();
    let Some(rival) = Rival::of(&scene) else { return };
    let archives: &[&str] = if is_full() { &["drvs-train", "drvs-large"] } else { &["drvs-train"] };
    let mut texts = BTreeMap::new();
    for archive in archives {
        let Some(directory) = unpack(&scene, archive) else { return };
        read(Path::new(&directory), &mut texts);
    }
    let checked = check(&texts);
    load(&rival, &checked);
    compare_json(&scene, &rival, &checked);
    say(&format!("compared with Nix: {} real derivations", checked.len()));
}

fn unpack(scene: &Scene, name: &str) -> Option<String> {
    let archive = shared(&format!("corpus/{name}.tar.zst"))?;
    let directory = crate::scene::text(scene.path(name));
    fs::create_dir(&directory).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--use-compress-program=zstd -d --long=27", "-C", &directory, "-xf"]).arg(archive);
    if !tar.output().is_ok_and(|output| output.status.success()) {
        say(&format!("skipped: no `tar` and `zstd` to unpack `{name}`"));
        return None;
    }
    Some(directory)
}

/// Reads all files below a directory that are derivations.
fn read(directory: &Path, texts: &mut BTreeMap<StorePath, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), texts);
        } else if name.ends_with(".drv") {
            texts.insert(name.parse().unwrap(), fs::read(entry.path()).unwrap());
        }
    }
}

fn check(texts: &BTreeMap<StorePath, Vec<u8>>) -> Vec<Checked> {
    let store_dir = StoreDir::default();
    let parse = |(path, text): (&StorePath, &Vec<u8>)| {
        (Some(path.clone()), aterm::parse(text, &store_dir, &name(path)).unwrap())
    };
    check_closure(texts.iter().map(parse).collect(), &store_dir, &mut nothing_else).unwrap()
}

/// Puts them into the store of Nix, and something in the place of each source, of which only the paths are known.
fn load(rival: &Rival, checked: &[Checked]) {
    let store_dir = StoreDir::default();
    let drvs: BTreeSet<&StorePath> = checked.iter().map(Checked::path).collect();
    let sources: BTreeSet<&StorePath> = checked
        .iter()
        .flat_map(|checked| &checked.derivation().input_srcs)
        .filter(|source| !drvs.contains(source))
        .collect();
    let sources = sources.into_iter().map(|path| (store_dir.print(path), b"source".to_vec(), Vec::new()));
    let checked = checked.iter().map(|checked| {
        let references = checked.derivation().references();
        let references = references.iter().map(|path| store_dir.print(path)).collect();
        (store_dir.print(checked.path()), checked.aterm().to_vec(), references)
    });
    rival.load(&sources.chain(checked).collect::<Vec<_>>());
}
