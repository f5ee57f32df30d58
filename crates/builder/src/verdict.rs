//! Why a build failed, as the end of its log.
//!
//! A builder can print such lines as well. What was written down of a failure ([`LocalStore::last_failure`]) tells: its log
//! ends with exactly the verdict that follows from that.
//!
//! [`LocalStore::last_failure`]: local_store::LocalStore::last_failure

/// What each of its lines begins with.
pub const MARK: &str = "[store] ";

/// As much is told of why, which is less than what is written down of it, so that the one follows from the other.
const LONGEST: usize = 3 << 10;

/// Returns the lines, each with its end.
pub fn of(kind: &str, why: &str) -> String {
    let why = &why[..why.floor_char_boundary(LONGEST)];
    let mut verdict = String::new();
    for (number, line) in why.lines().enumerate() {
        let lead = if number == 0 { format!("{kind}: ") } else { String::new() };
        // It may name files as the builder has named them.
        let escape = |char: char| match char.is_control() {
            true => char.escape_default().to_string(),
            false => char.to_string(),
        };
        verdict += &format!("{MARK}{lead}{}\n", line.chars().map(escape).collect::<String>());
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_marked_and_steers_nothing() {
        let verdict = of("hash-mismatch", "it is another\n  got: \x1b[2J");
        assert_eq!(verdict, "[store] hash-mismatch: it is another\n[store]   got: \\u{1b}[2J\n");
        let long = "ä".repeat(4 << 10);
        assert_eq!(of("failed", &long), of("failed", &long[..4 << 10]));
    }
}
