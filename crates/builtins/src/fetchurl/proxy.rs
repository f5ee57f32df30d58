//! Which proxy a URL is asked by: the caller's variables, in both spellings.

use std::collections::BTreeMap;

/// Returns the URL of the proxy for a scheme and a host.
pub(crate) fn of<'a>(variables: &'a BTreeMap<String, String>, scheme: &str, host: &str) -> Option<&'a str> {
    let get = |name: &str| {
        let value = variables.get(name).or_else(|| variables.get(&name.to_ascii_uppercase()));
        value.map(String::as_str).filter(|value| !value.is_empty())
    };
    if get("no_proxy").is_some_and(|list| is_listed(list, host)) {
        return None;
    }
    get(&format!("{scheme}_proxy")).or_else(|| get("all_proxy"))
}

/// A host is listed by itself, or by a domain that it is in.
fn is_listed(list: &str, host: &str) -> bool {
    let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
    let host = bare(host);
    list.split([',', ' ']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = bare(entry.trim_start_matches("*.").trim_start_matches('.'));
        entry == "*"
            || host.strip_suffix(&entry).is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_for_a_scheme_and_not_for_what_is_listed() {
        let variables: BTreeMap<String, String> = [
            ("http_proxy", "http://one"),
            ("HTTP_PROXY", "http://two"),
            ("ALL_PROXY", "socks5://all"),
            ("no_proxy", "localhost, .example.org,*.example.net,::1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(of(&variables, "http", "host"), Some("http://one"));
        assert_eq!(of(&variables, "https", "host"), Some("socks5://all"));
        for host in ["LOCALHOST", "example.org", "www.example.org", "a.example.net", "[::1]"] {
            assert_eq!(of(&variables, "http", host), None, "{host}");
        }
        assert_eq!(of(&variables, "http", "badexample.org"), Some("http://one"));
        assert_eq!(of(&BTreeMap::new(), "http", "host"), None);
        let all = [("no_proxy", "*"), ("http_proxy", "http://one")];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(of(&all, "http", "host"), None);
    }
}
