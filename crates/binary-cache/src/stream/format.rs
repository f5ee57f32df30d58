//! What stands around the archives.

use store_path::{PathInfo, StoreDir, StorePath};

/// Follows each archive in the first format.
pub(super) const NIXE: u64 = 0x4558_494e;

/// Begins the second format: `NARIO2`.
pub(super) const NARIO2: u64 = 0x324f_4952_414e;

/// What may follow when a path ends.
pub(super) const END: u64 = 0;
pub(super) const PATH: u64 = 1;
pub(super) const DIFFERENCE: u64 = 2;
pub(super) const PRESENT: u64 = 3;
pub(super) const COMPRESSED: u64 = 4;

/// A format of streams; see [the module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// That of `nix-store --export`, or version 1.
    Nix,
    /// That of `nix nario export --format 2` in Determinate Nix.
    Nario,
}

impl Format {
    /// Returns what comes before the first path.
    pub fn start(self) -> Vec<u8> {
        match self {
            Self::Nix => Vec::new(),
            Self::Nario => NARIO2.to_le_bytes().into(),
        }
    }

    /// Returns what comes before the archive of a path.
    pub fn before(self, info: &PathInfo) -> Vec<u8> {
        let mut bytes = Vec::new();
        number(PATH, &mut bytes);
        if self == Self::Nix {
            return bytes;
        }
        string(&info.path.to_string(), &mut bytes);
        string(&printed(info.deriver.as_ref()), &mut bytes);
        string(&info.nar_hash.to_base16(), &mut bytes);
        strings(info.references.iter().map(ToString::to_string), &mut bytes);
        number(info.registration_time.cast_unsigned(), &mut bytes);
        number(info.nar_size, &mut bytes);
        number(u64::from(info.ultimate), &mut bytes);
        strings(info.signatures.iter().cloned(), &mut bytes);
        string(&printed(info.content_address.as_ref()), &mut bytes);
        bytes
    }

    /// Returns what comes after the archive of a path.
    pub fn after(self, info: &PathInfo, store_dir: &StoreDir) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self == Self::Nix {
            number(NIXE, &mut bytes);
            string(&store_dir.print(&info.path), &mut bytes);
            strings(info.references.iter().map(|path| store_dir.print(path)), &mut bytes);
            let full = |path: &StorePath| store_dir.print(path);
            string(&info.deriver.as_ref().map(full).unwrap_or_default(), &mut bytes);
            number(0, &mut bytes);
        }
        bytes
    }

    /// Returns what comes after the last path.
    pub fn end(self) -> Vec<u8> {
        END.to_le_bytes().into()
    }
}

fn printed(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

pub(super) fn number(number: u64, bytes: &mut Vec<u8>) {
    bytes.extend(number.to_le_bytes());
}

pub(super) fn string(text: &str, bytes: &mut Vec<u8>) {
    number(text.len() as u64, bytes);
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// Everything before has a length that is a multiple of eight, so the padding comes out right.
fn strings(texts: impl ExactSizeIterator<Item = String>, bytes: &mut Vec<u8>) {
    number(texts.len() as u64, bytes);
    texts.for_each(|text| string(&text, bytes));
}
