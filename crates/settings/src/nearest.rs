//! The name that was probably meant.

/// Returns the candidate with the fewest edits from `name`, if it is a likely slip: at most a third of the name.
pub(crate) fn nearest(name: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let letters = name.chars().count();
    let limit = (letters / 3).max(1);
    // What is that much longer or shorter takes more edits than that. A line of any length may come in here.
    let ranked = candidates
        .filter(|candidate| candidate.chars().count().abs_diff(letters) <= limit)
        .map(|candidate| (distance(name, candidate), candidate));
    // `min_by_key` keeps the first of equals, so the answer does not depend on anything but the table.
    ranked
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, _)| *edits <= limit)
        .map(|(_, candidate)| candidate)
}

/// Returns how many letters must be put in, taken out or changed to turn `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
