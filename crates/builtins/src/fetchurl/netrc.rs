//! Names and passwords by host, in the old format of a `netrc` file.

/// Returns name and password for a host, or those for every host without an entry of its own.
pub(crate) fn login(netrc: &[u8], host: &str) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(netrc);
    let mut words = words(&text).into_iter().peekable();
    let mut fallback = None;
    while let Some(word) = words.next() {
        let is_wanted = match word.as_str() {
            "machine" => words.next().is_some_and(|name| name.eq_ignore_ascii_case(host)),
            "default" => false,
            _ => continue,
        };
        let (mut name, mut password) = (None, None);
        while let Some(key) = words.next_if(|word| !matches!(word.as_str(), "machine" | "default")) {
            match key.as_str() {
                "login" => name = words.next(),
                "password" => password = words.next(),
                "account" => drop(words.next()),
                _ => {}
            }
        }
        let found = (name.unwrap_or_default(), password.unwrap_or_default());
        match word.as_str() {
            "default" => fallback = Some(found),
            _ if is_wanted => return Some(found),
            _ => {}
        }
    }
    fallback
}

/// The words, without comments and macros; a word in quotes may hold spaces.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_macro = false;
    for line in text.lines() {
        // A macro ends with an empty line.
        is_macro &= !line.trim().is_empty();
        if is_macro || line.trim_start().starts_with('#') {
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let (word, after) = word(rest);
            if word == "macdef" {
                is_macro = true;
                break;
            }
            words.push(word);
            rest = after.trim_start();
        }
    }
    words
}

fn word(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut word, mut chars) = (String::new(), quoted.chars());
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => word.extend(chars.next()),
            char => word.push(char),
        }
    }
    (word, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# machine commented login no password no\n\
        machine one login me password secret\n\
        machine two\n  login \"you there\"\n  password \"quo\\\"te\"\n\
        macdef init\nmachine three login macro password macro\n\n\
        default login any password body\n\
        machine four password p account a";

    #[test]
    fn each_host_has_its_login() {
        let login = |host| login(FILE, host).unwrap();
        let pair = |name: &str, password: &str| (name.to_owned(), password.to_owned());
        assert_eq!(login("one"), pair("me", "secret"));
        assert_eq!(login("TWO"), pair("you there", "quo\"te"));
        assert_eq!(login("three"), pair("any", "body"));
        assert_eq!(login("four"), pair("", "p"));
        assert_eq!(super::login(b"machine one login me password secret", "two"), None);
        assert_eq!(super::login(b"machine", "two"), None);
    }
}
