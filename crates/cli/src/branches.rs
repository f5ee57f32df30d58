//! What stands before the lines of a tree.

/// Returns what stands before a line, given for each level whether something follows below; `end` is what it ends with.
///
/// Of more levels than `most`, the line begins with the number of those that are left out: graphs are deeper than a line is
/// long, and all lines together would grow with the square of that.
pub(crate) fn prefix(levels: &[bool], most: usize, end: char) -> String {
    let Some((last, above)) = levels.split_last() else { return String::new() };
    let left_out = above.len().saturating_sub(most);
    let mut text = if left_out > 0 { format!("{left_out} … ") } else { String::new() };
    text.push_str(&margin(&above[left_out..]));
    text.push_str(if *last { "├──" } else { "└──" });
    text.push(end);
    text
}

/// Returns what stands before what belongs to a line, given for each level whether something follows below.
pub(crate) fn margin(levels: &[bool]) -> String {
    levels.iter().map(|follows| if *follows { "│   " } else { "    " }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_stay_short() {
        assert_eq!(prefix(&[], 24, ' '), "");
        assert_eq!(prefix(&[true, false, true], 24, ' '), "│       ├── ");
        assert_eq!(prefix(&[true, false, true], 200, '─'), "│       ├───");
        assert_eq!(prefix(&[false], 24, ' '), "└── ");
        for most in [24, 200] {
            let deep = prefix(&[true; 70_000], most, ' ');
            assert!(deep.starts_with(&format!("{} … │", 69_999 - most)), "{deep}");
            assert_eq!(deep.chars().filter(|char| *char == '│').count(), most);
        }
    }
}
