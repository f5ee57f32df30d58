//! What a word after `store build` means, as far as the word alone tells.

/// The outputs wanted of a derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Nothing was said, or `*`.
    All,
    /// Those named after `!` or `^`.
    Named(Vec<String>),
}

/// Splits `hello.drv!out,dev` or `hello.drv^out,dev` into the path and the outputs wanted of it.
pub(crate) fn split(word: &str) -> (&str, Selection) {
    match word.rsplit_once(['!', '^']) {
        Some((path, "*")) => (path, Selection::All),
        Some((path, outputs)) if !outputs.is_empty() && !outputs.contains('/') => {
            (path, Selection::Named(outputs.split(',').map(str::to_owned).collect()))
        }
        _ => (word, Selection::All),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stand_behind_either_mark() {
        let named = |names: &[&str]| Selection::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(split("a.drv"), ("a.drv", Selection::All));
        assert_eq!(split("a.drv!out"), ("a.drv", named(&["out"])));
        assert_eq!(split("a.drv^out,dev"), ("a.drv", named(&["out", "dev"])));
        assert_eq!(split("a.drv^*"), ("a.drv", Selection::All));
        assert_eq!(split("odd!dir/a.drv"), ("odd!dir/a.drv", Selection::All));
        assert_eq!(split("odd!"), ("odd!", Selection::All));
    }
}
