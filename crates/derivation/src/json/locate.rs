//! From the names of a field to its place in the text.
//!
//! The parser knows no places, so they are looked up afterwards, and only those that are asked for: in one walk
//! over the text, which skips what nobody asks for without making anything of it.

use std::collections::HashMap;

/// Where a field is: offsets in the text, of which a member of a list has the second only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where its name begins.
    pub(crate) name: usize,
    /// Where its value begins.
    pub(crate) value: usize,
    /// Where the same name is given once more in the same object.
    pub(crate) again: Option<usize>,
}

/// The fields that are looked for, as a tree of names.
#[derive(Debug)]
pub(crate) struct Locator {
    children: HashMap<(usize, String), usize>,
    /// By the numbers that `children` gives them; the first is the whole text.
    nodes: Vec<Option<Found>>,
}

impl Locator {
    pub(crate) fn new() -> Self {
        Self { children: HashMap::new(), nodes: vec![None] }
    }

    /// Looks for a field too, and for all that it is in.
    pub(crate) fn want(&mut self, names: &[String]) {
        let mut node = 0;
        for name in names {
            let next = self.nodes.len();
            node = *self.children.entry((node, name.clone())).or_insert(next);
            if node == next {
                self.nodes.push(None);
            }
        }
    }

    /// Goes through the text, as far as it is JSON.
    pub(crate) fn walk(&mut self, text: &[u8]) {
        let mut walk = Walk { text, at: 0, open: Vec::new(), name: None, next: Some(0) };
        while let Some(byte) = text.get(walk.at) {
            walk.step(self, *byte);
        }
    }

    /// Returns the place of a field that was looked for, if there is one.
    pub(crate) fn find(&self, names: &[String]) -> Option<Found> {
        let mut node = 0;
        for name in names {
            node = *self.children.get(&(node, name.clone()))?;
        }
        self.nodes[node]
    }
}

/// A position in the text.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// The objects and lists that are open.
    open: Vec<Open>,
    /// Where the name stood of the value that comes next.
    name: Option<usize>,
    /// Which value is looked for, if the next one is.
    next: Option<usize>,
}

struct Open {
    /// Which value that is looked for this is.
    node: Option<usize>,
    /// The place of the next member, if it is a list.
    index: Option<usize>,
    /// Whether a name comes next.
    wants_name: bool,
}

impl Walk<'_> {
    fn step(&mut self, locator: &mut Locator, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b':' => self.at += 1,
            b',' => self.comma(locator),
            b'}' | b']' => {
                self.open.pop();
                self.at += 1;
            }
            b'{' | b'[' => {
                let node = self.value(locator);
                self.open.push(Open { node, index: (byte == b'[').then_some(0), wants_name: byte == b'{' });
                self.at += 1;
                self.member(locator);
            }
            b'"' if self.open.last().is_some_and(|open| open.wants_name) => self.field(locator),
            b'"' => {
                self.value(locator);
                self.string();
            }
            _ => {
                self.value(locator);
                let rest = &self.text[self.at..];
                let length = rest.iter().position(|byte| b" \t\n\r,]}".contains(byte));
                self.at += length.unwrap_or(rest.len());
            }
        }
    }

    fn comma(&mut self, locator: &Locator) {
        self.at += 1;
        if let Some(open) = self.open.last_mut() {
            open.index = open.index.map(|index| index + 1);
            open.wants_name = open.index.is_none();
        }
        self.member(locator);
    }

    /// Finds out whether the member of a list that comes next is looked for.
    fn member(&mut self, locator: &Locator) {
        self.name = None;
        self.next = match self.open.last() {
            Some(Open { node: Some(node), index: Some(index), .. }) => {
                locator.children.get(&(*node, index.to_string())).copied()
            }
            _ => None,
        };
    }

    /// Goes over the name of a field, and finds out whether that is looked for.
    fn field(&mut self, locator: &Locator) {
        let start = self.at;
        self.string();
        self.name = Some(start);
        let Some(open) = self.open.last_mut() else { return };
        open.wants_name = false;
        self.next = open.node.and_then(|node| {
            let name = serde_json::from_slice::<String>(&self.text[start..self.at]).ok()?;
            locator.children.get(&(node, name)).copied()
        });
    }

    /// Notes where a value begins; returns which it is, if it is looked for.
    fn value(&mut self, locator: &mut Locator) -> Option<usize> {
        let name = self.name.take().unwrap_or(self.at);
        let node = self.next.take()?;
        match &mut locator.nodes[node] {
            Some(found) => {
                found.again.get_or_insert(name);
            }
            none => *none = Some(Found { name, value: self.at, again: None }),
        }
        Some(node)
    }

    /// Goes over a string.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.text.get(self.at) {
            self.at += match byte {
                b'\\' => 2.min(self.text.len() - self.at),
                b'"' => {
                    self.at += 1;
                    return;
                }
                _ => 1,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, names: &[&str]) -> Option<Found> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut locator = Locator::new();
        locator.want(&names);
        locator.walk(text.as_bytes());
        locator.find(&names)
    }

    #[test]
    fn fields_and_members_are_found() {
        let text = r#" {"a": [1, "]", {"b\"/": {}}], "c": null , "a": 7}"#;
        let at = |needle: &str| text.find(needle).unwrap();
        let place = |name, value| Some(Found { name, value, again: None });
        assert_eq!(find(text, &[]), place(1, 1));
        assert_eq!(find(text, &["a"]).unwrap().again, Some(text.rfind("\"a\"").unwrap()));
        assert_eq!(find(text, &["a", "0"]), place(at("1"), at("1")));
        assert_eq!(find(text, &["a", "1"]), place(at("\"]\""), at("\"]\"")));
        assert_eq!(find(text, &["a", "2", "b\"/"]), place(at("\"b"), at("{}")));
        assert_eq!(find(text, &["c"]), place(at("\"c\""), at("null")));
        assert_eq!(find(text, &["b"]), None);
    }

    #[test]
    fn what_is_no_json_ends_the_walk() {
        for text in ["", "{\"", "{\"a\\", "]]]}}}", "{\"a\":", "[[[", "\u{0}", "{,:,"] {
            assert_eq!(find(text, &["a", "b"]), None, "{text}");
        }
    }
}
