//! What was proven about the sandboxes of this machine, so that it need not be proven for each call.
#![expect(clippy::disallowed_methods, reason = "a proof is remembered on disk")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::store::LocalStore;

/// Longer than any digest.
const LONGEST: u64 = 256;

impl LocalStore {
    /// Whether the last proof that was remembered is this one. What cannot be read is none.
    pub fn is_proven(&self, digest: &str) -> bool {
        let mut text = String::new();
        let read = File::open(self.proof()).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
        read.is_ok() && text == digest
    }

    /// Remembers a proof in place of the last one. Where that is not possible, there will be a proof each time.
    pub fn remember_proof(&self, digest: &str) {
        let aside = |unique: &str| self.proof().with_extension(unique);
        let write = |path: &Path| -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(digest.as_bytes())
        };
        // Nothing is synced: what a power cut leaves is about another boot.
        if let Ok((aside, ())) = self.with_unique(aside, write)
            && fs::rename(&aside, self.proof()).is_err()
        {
            let _ = fs::remove_file(&aside);
        }
    }

    fn proof(&self) -> PathBuf {
        self.location().state_dir.join("sandbox-proof")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch_store;

    #[test]
    fn only_the_last_proof_counts() {
        let (_scratch, store) = scratch_store();
        assert!(!store.is_proven("one"));
        store.remember_proof("one");
        assert!(store.is_proven("one") && !store.is_proven("two") && !store.is_proven(""));
        store.remember_proof("two");
        assert!(store.is_proven("two") && !store.is_proven("one"));
        fs::write(store.proof(), "two and more").unwrap();
        assert!(!store.is_proven("two"));
        let entries = fs::read_dir(&store.location().state_dir).unwrap().flatten();
        let proofs = entries.filter(|entry| entry.file_name().to_string_lossy().contains("proof"));
        assert_eq!(proofs.count(), 1);
    }

    #[test]
    fn what_cannot_be_remembered_is_proven_again() {
        let (_scratch, store) = scratch_store();
        fs::create_dir(store.proof()).unwrap();
        store.remember_proof("one");
        assert!(!store.is_proven("one"));
    }
}
