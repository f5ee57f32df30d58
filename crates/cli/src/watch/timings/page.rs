//! One page without anything outside it: text, style, script and data in one file.

use serde_json::Value;
use store_path::{Hash, HashAlgorithm};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Returns the page that shows `data`.
///
/// Names in it may be anybody's: as data they cannot end their element, the script shows them as text only, and no other
/// script would run.
pub(super) fn with(data: &Value) -> String {
    let data = data.to_string().replace('<', "\\u003c");
    let parts =
        [("@POLICY@", policy()), ("@STYLE@", STYLE.into()), ("@DATA@", data), ("@SCRIPT@", SCRIPT.into())];
    let mut page = String::new();
    let mut rest = PAGE;
    for (mark, text) in parts {
        let (before, after) = rest.split_once(mark).expect("the page has each mark, in this order");
        page.extend([before, &text]);
        rest = after;
    }
    page + rest
}

/// Nothing is fetched, and nothing is run but what is ours.
fn policy() -> String {
    let hash = |text: &str| Hash::of(HashAlgorithm::Sha256, text.as_bytes()).to_sri();
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_name_ends_the_data() {
        let page = with(&json!({ "name": "</script><script>alert(1)</script><!--@SCRIPT@" }));
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<!--@"), "{page}");
        assert!(page.contains(r#""\u003c/script>"#));
    }

    #[test]
    fn nothing_is_outside() {
        let page = with(&json!({}));
        for outside in ["http:", "https:", "src=", "@import", "url(", "innerHTML", "eval("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
