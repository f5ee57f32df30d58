//! The archive format of Nix: dump and restore of one tree. Floor 0.
