//! What is known of two builds whose results are compared.

use super::Cause;

/// What was not the same for two builds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clues {
    /// Texts that stood for the same in both: what about, the first build's, the second one's.
    pub(crate) pairs: Vec<(Cause, Vec<u8>, Vec<u8>)>,
    /// When each was built, in seconds since 1970, as far as is known.
    pub(crate) times: [i64; 2],
    /// Whether the kernel told the second one that it is a 2.6.
    pub(crate) old_kernel: bool,
}

/// As far from when it was built, a number may be a time: clocks have been wrong by less, and builds take hours.
const NEAR_SECS: i64 = 2 * 24 * 60 * 60;

impl Clues {
    /// Whether two numbers of seconds may be when each was built.
    pub(super) fn are_times(&self, before: i64, now: i64) -> bool {
        let is_near = |time: i64, built: i64| time.abs_diff(built) <= NEAR_SECS as u64;
        is_near(before, self.times[0]) && is_near(now, self.times[1])
    }

    /// Returns what a text is about that one build had where the other had another one.
    pub(super) fn about(&self, before: &[u8], now: &[u8]) -> Option<Cause> {
        let pair = self.pairs.iter().find(|(_, from, to)| match from.is_empty() {
            true => before.is_empty() && now == to.as_slice(),
            false => before != now && replace_words(before, from, to) == now,
        });
        let is_kernel = || self.old_kernel && now.starts_with(b"2.6.") && !before.starts_with(b"2.6.");
        pair.map(|(cause, ..)| *cause).or_else(|| is_kernel().then_some(Cause::Kernel))
    }
}

/// Replaces a text wherever it is not part of a longer word.
fn replace_words(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let end = at + from.len();
        let is_apart = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_alphanumeric);
        let starts = at.checked_sub(1).map(|before| &text[before]);
        if text[at..].starts_with(from) && is_apart(starts) && is_apart(text.get(end)) {
            replaced.extend_from_slice(to);
            at = end;
        } else {
            replaced.push(text[at]);
            at += 1;
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_where_it_stands_by_itself() {
        assert_eq!(replace_words(b"2 of 12, -j2", b"2", b"7"), b"7 of 12, -j2");
        assert_eq!(replace_words(b"/build/x /builder", b"/build", b"/other"), b"/other/x /builder");
    }

    #[test]
    fn what_was_changed_on_purpose_is_recognised() {
        let clues = Clues {
            pairs: vec![
                (Cause::HostName, b"localhost".to_vec(), b"elsewhere".to_vec()),
                (Cause::Cores, b"2".to_vec(), b"3".to_vec()),
            ],
            times: [0, 0],
            old_kernel: true,
        };
        assert_eq!(clues.about(b"root@localhost", b"root@elsewhere"), Some(Cause::HostName));
        assert_eq!(clues.about(b"2", b"3"), Some(Cause::Cores));
        assert_eq!(clues.about(b"12", b"13"), None);
        assert_eq!(clues.about(b"6.1.0-13", b"2.6.61-13"), Some(Cause::Kernel));
    }
}
