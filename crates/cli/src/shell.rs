//! Commands shown to the user, ready to be pasted into a shell.

/// Quotes a word if a shell would not take it as it is.
pub(crate) fn quote(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./+=:@%,".contains(char);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_quotes_gets_them() {
        assert_eq!(quote("/nix/store/0a-x?.drv"), "'/nix/store/0a-x?.drv'");
        assert_eq!(quote("/srv/store"), "/srv/store");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
