//! The database of a store: every line of SQL there is. Floor 1.
