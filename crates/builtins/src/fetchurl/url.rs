//! URLs as text: taken apart, put together, and shown without a password.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Returns a URL as it may be shown: without name and password.
pub(crate) fn shown(url: &str) -> String {
    let (head, tail) = split_authority(url);
    match tail.split_once(['/', '?', '#']).map_or(tail, |(authority, _)| authority).rsplit_once('@') {
        Some((login, _)) => format!("{head}{}", &tail[login.len() + 1..]),
        None => url.to_owned(),
    }
}

/// Splits a URL behind `//`; without one, all is tail.
fn split_authority(url: &str) -> (&str, &str) {
    url.find("://").map_or(("", url), |at| url.split_at(at + 3))
}

/// Takes a name and a password, decoded, out of a URL that is asked by HTTP.
pub(crate) fn take_login(url: &str) -> (String, Option<(String, String)>) {
    let bare = shown(url);
    if bare.len() == url.len() {
        return (bare, None);
    }
    let (_, tail) = split_authority(url);
    let login = &tail[..url.len() - bare.len() - 1];
    let (name, password) = login.split_once(':').unwrap_or((login, ""));
    let text = |part: &str| String::from_utf8_lossy(&decoded(part)).into_owned();
    (bare, Some((text(name), text(password))))
}

/// The path that a `file:` URL names; `None` if it is none. A host other than this one is an error.
pub(crate) fn file_path(url: &str) -> Option<Result<PathBuf, String>> {
    let rest = strip_scheme(url, "file")?;
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !matches!(host, "" | "localhost") {
                return Some(Err(format!("it names a file of the host `{host}`")));
            }
            path
        }
    };
    if !path.starts_with('/') {
        return Some(Err("it does not name a file by an absolute path".to_owned()));
    }
    Some(Ok(PathBuf::from(std::ffi::OsString::from_vec(decoded(path)))))
}

fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = url.split_once(':')?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether it is asked by HTTP.
pub(crate) fn is_http(url: &str) -> bool {
    ["http", "https"]
        .iter()
        .any(|scheme| strip_scheme(url, scheme).is_some_and(|rest| rest.starts_with("//")))
}

/// Returns a URL as it goes on the wire: no fragment, and nothing but what a URL may be made of.
pub(crate) fn escaped(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let escape = |byte: u8| match byte {
        b'!'..=b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    url.bytes().map(escape).collect()
}

fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut decoded) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        let digits = bytes.as_slice_of_two();
        match (byte, digits) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                bytes.nth(1);
            }
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

/// Looks ahead for two digits of base 16.
trait Ahead {
    fn as_slice_of_two(&self) -> Option<u8>;
}

impl Ahead for std::str::Bytes<'_> {
    fn as_slice_of_two(&self) -> Option<u8> {
        let mut ahead = self.clone();
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(ahead.next()?)?, digit(ahead.next()?)?);
        u8::try_from(high * 16 + low).ok()
    }
}

/// Where a redirect that `base` answered leads.
pub(crate) fn join(base: &str, to: &str) -> String {
    if is_absolute(to) {
        return to.to_owned();
    }
    let base = base.split('#').next().unwrap_or_default();
    let (scheme, rest) = split_authority(base);
    if to.starts_with("//") {
        return format!("{}{to}", &scheme[..scheme.len().saturating_sub(2)]);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let path = rest.split('?').next().unwrap_or_default();
    let path = match to.chars().next() {
        None | Some('#') => rest.to_owned(),
        Some('/') => without_dots(to),
        Some('?') => format!("{}{to}", if path.is_empty() { "/" } else { path }),
        Some(_) => without_dots(&format!("{}/{to}", path.rsplit_once('/').map_or("", |(above, _)| above))),
    };
    format!("{scheme}{authority}{path}")
}

/// Whether it begins with a scheme.
fn is_absolute(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

fn without_dots(path: &str) -> String {
    let end = path.find('?').unwrap_or(path.len());
    let (path, query) = path.split_at(end);
    let mut names: Vec<&str> = Vec::new();
    let is_directory = path.ends_with(['/']) || path.ends_with("/.") || path.ends_with("/..");
    for name in path.split('/').skip(1) {
        match name {
            "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    if is_directory && names.last().is_some_and(|last| !last.is_empty()) {
        names.push("");
    }
    format!("/{}{query}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(shown("https://user:pass@host/a@b"), "https://host/a@b");
        assert_eq!(shown("https://host/a@b"), "https://host/a@b");
        let (bare, login) = take_login("http://me:p%40ss@host:80/x");
        assert_eq!((bare.as_str(), login), ("http://host:80/x", Some(("me".to_owned(), "p@ss".to_owned()))));
        assert_eq!(take_login("http://host/x").1, None);
    }

    #[test]
    fn a_file_has_an_absolute_path_on_this_host() {
        let path = |url: &str| file_path(url).map(|path| path.map(|path| path.to_str().unwrap().to_owned()));
        assert_eq!(path("file:///a%20b"), Some(Ok("/a b".to_owned())));
        assert_eq!(path("FILE://localhost/a%zz"), Some(Ok("/a%zz".to_owned())));
        assert_eq!(path("file:/a"), Some(Ok("/a".to_owned())));
        assert!(matches!(path("file://other/a"), Some(Err(_))));
        assert!(matches!(path("file:a"), Some(Err(_))));
        assert_eq!(path("http://x/file:"), None);
    }

    #[test]
    fn a_redirect_leads_on_from_where_it_was_answered() {
        let base = "http://host:8/a/b?q#f";
        for (to, url) in [
            ("https://other/x", "https://other/x"),
            ("//other/x", "http://other/x"),
            ("/x/./y/../z?r", "http://host:8/x/z?r"),
            ("x", "http://host:8/a/x"),
            ("../x", "http://host:8/x"),
            ("../../../x/", "http://host:8/x/"),
            ("?r", "http://host:8/a/b?r"),
            ("file:/etc/passwd", "file:/etc/passwd"),
        ] {
            assert_eq!(join(base, to), url, "{to}");
        }
        assert_eq!(join("http://host", "x"), "http://host/x");
    }

    #[test]
    fn what_no_url_is_made_of_is_escaped() {
        assert_eq!(escaped("http://x/a b\u{e9}#f"), "http://x/a%20b%C3%A9");
    }
}
