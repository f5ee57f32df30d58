//! Collecting what is wrong, on the way through a value.
//!
//! Nothing stops at the first problem: whoever reads something of many parts hands the outcome of each to a
//! [`Tally`], and has all their problems in the end. So there is one reader, for those who want to know what is
//! in a file and for those who want to know what is wrong with it.

use super::{JsonError, Place, Problem};

/// As many problems of one derivation are worth telling; a file may have millions.
const MOST: usize = 100;

/// Problems, each with the names that lead to it, innermost first: they are added on the way out.
///
/// Empty where another part has told already why this one cannot be read.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<(Problem, Vec<String>)>);

impl Wrong {
    /// Says that the places are in a field of what the caller reads.
    pub(super) fn inside(mut self, name: &str) -> Self {
        for (_, names) in &mut self.0 {
            names.push(name.to_owned());
        }
        self
    }

    /// Returns what is told of the derivation at `key`.
    pub(super) fn of(self, key: Option<&str>, is_wrapped: bool) -> Vec<JsonError> {
        let error = |(problem, mut names): (Problem, Vec<String>)| {
            names.reverse();
            let place = Place { is_wrapped, derivation: key.map(str::to_owned), field: names };
            JsonError::Field { place, problem }
        };
        self.0.into_iter().map(error).collect()
    }
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self(vec![(problem, Vec::new())])
    }
}

/// What went wrong so far with the parts of something.
#[derive(Debug, Default)]
pub(super) struct Tally {
    wrong: Wrong,
    has_failed: bool,
}

impl Tally {
    /// Keeps what is wrong, and returns what is not.
    pub(super) fn take<T>(&mut self, outcome: Result<T, Wrong>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.has_failed = true;
                let room = MOST.saturating_sub(self.wrong.0.len());
                self.wrong.0.extend(wrong.0.into_iter().take(room));
                None
            }
        }
    }

    /// Returns the whole, if nothing is wrong with a part.
    pub(super) fn finish<T>(self, whole: T) -> Result<T, Wrong> {
        if self.has_failed { Err(self.wrong) } else { Ok(whole) }
    }
}
