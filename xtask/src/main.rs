//! Chores that cargo cannot express.
fn main() {}
