//! Files to work on: the same in every run.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

const GIB: usize = 1 << 30;

/// Makes a file of 1 GiB of hex digits, unless it is there.
///
/// Hex is the hard case of a reference scan: half of its digits could belong to a store path.
pub(super) fn hex_file(scratch: &Path) -> Result<PathBuf> {
    let path = scratch.join("hex");
    if !path.exists() {
        let mut file = File::create(&path)?;
        let (mut state, mut block) = (1_u64, Vec::with_capacity(1 << 20));
        for _ in 0..GIB >> 20 {
            block.clear();
            while block.len() < 1 << 20 {
                // The multiplier of Knuth's MMIX generator; its upper half is random enough for digits.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                write!(block, "{:08x}", state >> 32)?;
            }
            file.write_all(&block)?;
        }
        file.sync_all()?;
    }
    Ok(path)
}

/// Makes a directory of 20,000 small files in 200 directories, unless it is there.
pub(super) fn small_files(scratch: &Path) -> Result<PathBuf> {
    let tree = scratch.join("small");
    if !tree.exists() {
        for directory in 0..200 {
            let directory = tree.join(format!("directory-{directory}"));
            fs::create_dir_all(&directory)?;
            for file in 0..100 {
                fs::write(directory.join(format!("file-{file}")), "0123456789abcdef".repeat(file))?;
            }
        }
    }
    Ok(tree)
}
