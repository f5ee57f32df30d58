//! A store on disk: add, register, roots, verify. Floor 2.
