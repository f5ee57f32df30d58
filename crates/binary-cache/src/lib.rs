//! What is known of store paths, as texts that stores and caches exchange, and signatures over it.
//!
//! Floor 1, pure: bytes in, values out. Nothing here asks a cache, or knows what is in a store. The streams in which
//! stores exchange paths ([`stream`]) are here, too, but for the archives in them: those are the crate `nar`'s.
//!
//! ```
//! use binary_cache::{NarInfo, PublicKey, SecretKey, is_content_addressed};
//! use store_path::StoreDir;
//!
//! // The file that a cache has for each path.
//! let text = b"StorePath: /nix/store/xfp2hphvk98rkk9ywlqpp587rjdcgnc2-hello.txt\n\
//!     URL: nar/hello.nar\nCompression: none\n\
//!     NarHash: sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa\nNarSize: 120\nReferences: \n\
//!     CA: fixed:r:sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa\n";
//! let store_dir = StoreDir::default();
//! let nar_info = NarInfo::parse(text, &store_dir)?;
//! assert_eq!(nar_info.print(&store_dir)?.as_bytes(), text);
//!
//! // Its path follows from its contents, so nobody has to be believed; others need a signature.
//! assert!(is_content_addressed(&nar_info.info, &store_dir));
//! let key = "k-1:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
//! let key: SecretKey = key.parse()?;
//! let fingerprint = binary_cache::fingerprint(&nar_info.info, &store_dir);
//! let signature = key.sign(&fingerprint);
//! let public: PublicKey = key.public().to_string().parse()?;
//! assert!(public.has_signed(&fingerprint, &signature));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod build_trace;
mod fields;
mod fingerprint;
mod keys;
mod nar_info;
pub mod path_info;
pub mod registration;
mod signature;
pub mod stream;
#[cfg(test)]
mod tests;

pub use fields::{JsonError, Problem};
pub use fingerprint::{fingerprint, is_content_addressed};
pub use keys::{KeyError, PublicKey, SecretKey};
pub use nar_info::{NarInfo, NarInfoError, Unprintable};
