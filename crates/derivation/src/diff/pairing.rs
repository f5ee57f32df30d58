//! Which input of one derivation stands in the place of which input of another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use store_path::{StorePath, without_version};

use super::rewriter::runs;
use crate::{Derivation, InputOutputs};

/// An input that only one of the two has under this path.
pub(super) struct Item {
    pub(super) path: StorePath,
    /// What is wanted of it; nothing for a source.
    pub(super) wanted: Option<InputOutputs>,
    /// The texts that mention it, and the place of the first mention among all of the derivation's.
    uses: BTreeSet<Vec<u8>>,
    first_use: usize,
}

/// What was found for two lists of items.
pub(super) struct Pairing {
    pub(super) pairs: Vec<(Item, Item)>,
    pub(super) left: Vec<Item>,
    pub(super) right: Vec<Item>,
}

impl Item {
    /// Makes items of `inputs`, each with the digests by which it is mentioned.
    pub(super) fn all(
        derivation: &Derivation,
        inputs: Vec<(StorePath, Option<InputOutputs>, Vec<Vec<u8>>)>,
    ) -> Vec<Self> {
        let mut items = Vec::with_capacity(inputs.len());
        let mut by_digest = HashMap::new();
        for (place, (path, wanted, digests)) in inputs.into_iter().enumerate() {
            by_digest.extend(digests.into_iter().map(|digest| (digest, place)));
            items.push(Self { path, wanted, uses: BTreeSet::new(), first_use: usize::MAX });
        }
        let mut mentions = 0;
        for (label, text) in texts(derivation) {
            for (_, run) in runs(text) {
                let Some(place) = by_digest.get(run) else { continue };
                let item: &mut Self = &mut items[*place];
                item.uses.insert(label.to_vec());
                item.first_use = item.first_use.min(mentions);
                mentions += 1;
            }
        }
        items
    }

    fn name(&self) -> &str {
        let name = self.path.name().as_str();
        name.strip_suffix(".drv").unwrap_or(name)
    }
}

/// Returns every text of a derivation that may mention an input, with a label that its counterpart has, too.
fn texts(derivation: &Derivation) -> impl Iterator<Item = (&[u8], &[u8])> {
    let arguments = derivation.args.iter().map(|argument| (&b"="[..], &**argument));
    let variables = derivation.env.iter().map(|(name, value)| (&**name, &**value));
    std::iter::once((&b"="[..], &*derivation.builder)).chain(arguments).chain(variables)
}

/// Pairs items of the same name; then those whose names differ in numbers only; then those that are called the same
/// up to the version. Of several with one name, those go together that are used in the same places, in their order.
pub(super) fn pair(left: Vec<Item>, right: Vec<Item>) -> Pairing {
    let mut found = Pairing { pairs: Vec::new(), left, right };
    let exact: fn(&Item) -> String = |item| item.name().to_owned();
    let rounds = [exact, |item| without_numbers(item.name()), |item| without_version(item.name()).to_owned()];
    for key in rounds {
        let mut groups: BTreeMap<String, (Vec<Item>, Vec<Item>)> = BTreeMap::new();
        for item in found.left.drain(..) {
            groups.entry(key(&item)).or_default().0.push(item);
        }
        for item in found.right.drain(..) {
            groups.entry(key(&item)).or_default().1.push(item);
        }
        for (left, right) in groups.into_values() {
            pair_group(left, right, &mut found);
        }
    }
    found
}

fn pair_group(left: Vec<Item>, right: Vec<Item>, found: &mut Pairing) {
    if left.is_empty() || right.is_empty() {
        found.left.extend(left);
        found.right.extend(right);
        return;
    }
    // First those with the same uses, then whoever is left.
    let mut waiting: BTreeMap<BTreeSet<Vec<u8>>, Vec<Item>> = BTreeMap::new();
    // The first one last, as they are taken from there.
    for item in in_order(right).into_iter().rev() {
        waiting.entry(item.uses.clone()).or_default().push(item);
    }
    let mut rest = Vec::new();
    for item in in_order(left) {
        match waiting.get_mut(&item.uses).and_then(Vec::pop) {
            Some(other) => found.pairs.push((item, other)),
            None => rest.push(item),
        }
    }
    let mut others = in_order(waiting.into_values().flatten().collect()).into_iter();
    for item in rest {
        match others.next() {
            Some(other) => found.pairs.push((item, other)),
            None => found.left.push(item),
        }
    }
    found.right.extend(others);
}

fn in_order(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by(|a, b| (a.first_use, &a.path).cmp(&(b.first_use, &b.path)));
    items
}

/// `python3.11-foo-1.0` and `python3.12-foo-1.1` are both `python#-foo-#`.
fn without_numbers(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '0'..='9' | '.' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_their_versions() {
        assert_eq!(without_numbers("python3.11-foo-1.0"), without_numbers("python3.12-foo-1.10"));
        assert_ne!(without_numbers("glib-2.1"), without_numbers("glibc-2.1"));
    }
}
