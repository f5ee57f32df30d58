//! Names and hashes of things in the store. Floor 0, pure.
