//! Signatures as texts.

/// Splits `<key name>:<base 64>`; old files have others, which name no key.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(name, _)| !name.is_empty())
}
