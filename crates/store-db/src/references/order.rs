//! In which order paths are told.

use super::References;

impl References {
    /// Returns all places, what is referred to before what refers to it; otherwise in the order of names.
    ///
    /// It is the order of Nix, to which scripts hold that copy one path after the other.
    pub fn references_first(&self) -> Vec<usize> {
        let all: Vec<usize> = (0..self.paths.len()).collect();
        Orders { references: self, open: vec![true; self.paths.len()] }.walk(&all)
    }

    /// Returns what orders the references of one path after the other.
    pub fn orders(&self) -> Orders<'_> {
        Orders { references: self, open: vec![false; self.paths.len()] }
    }
}

/// Orders the references of one path after the other; each costs what those refer to, and nothing else.
#[derive(Debug)]
pub struct Orders<'a> {
    references: &'a References,
    /// What a walk may go to and has not gone to.
    open: Vec<bool>,
}

impl Orders<'_> {
    /// Returns what a path refers to, itself included if it does, each before what refers to it directly: the order in
    /// which Nix shows it in a tree.
    pub fn of(&mut self, place: usize) -> Vec<usize> {
        let among = self.references.of(place);
        among.iter().for_each(|other| self.open[*other] = true);
        self.walk(among)
    }

    /// Goes through what is open, in depth, and returns it in the order in which it is left.
    fn walk(&mut self, among: &[usize]) -> Vec<usize> {
        let mut order = Vec::with_capacity(among.len());
        // Graphs are deeper than a thread's stack.
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for start in among {
            if std::mem::take(&mut self.open[*start]) {
                stack.push((*start, 0));
            }
            while let Some((place, next)) = stack.last_mut() {
                let Some(other) = self.references.of(*place).get(*next) else {
                    order.push(*place);
                    stack.pop();
                    continue;
                };
                *next += 1;
                if std::mem::take(&mut self.open[*other]) {
                    stack.push((*other, 0));
                }
            }
        }
        order
    }
}
