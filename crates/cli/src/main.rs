//! The `store` command. Floor 5.
fn main() {}
