//! Many store paths as one stream of bytes: what `export` writes and `import` reads.
//!
//! There are two formats. All numbers are 64 bits, little endian; a string is its length, its bytes, and zeros up to a
//! multiple of eight, as in archives.
//!
//! [`Format::Nix`] is what `nix-store --export` has always written. What is known of a path comes after its archive, and
//! no hash or signature is there at all:
//!
//! ```text
//! { 1, archive, 0x4558494e, path, count, { reference }, deriver or "", 0 }, 0
//! ```
//!
//! Instead of the last 0 of a path there may be 1 and a string, a signature of long ago, which nobody checks.
//!
//! [`Format::Nario`] is the second version of Determinate Nix. What is known comes first, with signatures and content
//! address, so a reader knows at once whether it wants the archive, and how long that is. Paths are base names:
//!
//! ```text
//! 0x324f4952414e ("NARIO2"),
//! { 1, path, deriver or "", SHA-256 in base 16, count, { reference }, time, size, ultimate,
//!      count, { signature }, content address or "", archive of that size }, 0
//! ```
//!
//! In place of the 1 there may be 3: the path is left out, as the reader has it already. Other numbers (2: a binary
//! difference, 4: a compressed archive) are known, and refused by name.
//!
//! In both, references come before what refers to them, and archives are in the one form that the crate `nar` reads:
//! without a length in the first format, so only who reads them knows where they end.

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod wire;

pub use format::Format;
pub use reader::{Archive, Entry, Reader, Trailer};
pub use wire::{StreamError, Wrong};
