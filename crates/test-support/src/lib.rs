//! What tests of every crate share: fixtures, scratch directories, a seeded generator and a harness.
//!
//! A dev-dependency only, and one that stands on nothing of ours, so that the lowest crate can use it as
//! well as the highest. `cargo xtask test` runs the tests a second time as an ordinary user, who may be
//! unable to open the checkout; the places are therefore taken from the environment first
//! (`STORE_TEST_ROOT`, `STORE_TEST_SHARED`, `STORE_TEST_BIN`).
//!
//! ```
//! let mut random = test_support::Random::seeded(7);
//! let scratch = test_support::Scratch::new();
//! std::fs::write(scratch.join("noise"), random.bytes(64))?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod compiler;
pub mod crash;
mod fixtures;
mod harness;
mod places;
mod random;
mod scratch;

pub use compiler::{c_program, write_program};
pub use fixtures::{check, fixture, read};
pub use harness::{Trial, main_with_launcher};
pub use places::{project_root, shared, store_binary};
pub use random::Random;
pub use scratch::Scratch;
