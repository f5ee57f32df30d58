//! Builds described as data: reading, printing, hashing and checking them. Floor 1, pure.
