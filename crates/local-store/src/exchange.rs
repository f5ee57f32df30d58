//! Paths on their way from one store to another, as streams of bytes (`binary_cache::stream`).
//!
//! What is sent was read and hashed on the way: a path that is not what was registered is never sent as if it were.
//!
//! What comes in is nobody's word for anything. It is unpacked in a scratch directory, made canonical, hashed there, and
//! held against what the stream says of it; only then is it moved to its place, under its lock, and registered. Paths are
//! taken in by batches, each with one lock, one sync and one transaction, so that many small ones cost little:
//!
//! ```text
//! stream ─► batch: small archives in memory, large ones unpacked on the way
//!             │  all processors: unpack, canonicalise, hash, check
//!             ▼
//!           temporary roots ─► locks ─► what refers to what ─► into place ─► sync, one commit ─► told
//! ```
//!
//! Whatever ends a stream too early, the paths before are in the store, and stay.

mod arrivals;
mod batch;
mod error;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod unpack;

pub use arrivals::{Arrival, Arrivals};
pub use error::{Place, ReceiveError};
pub use receive::Start;
