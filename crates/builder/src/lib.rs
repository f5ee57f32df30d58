//! Builds one derivation. Floor 3.
