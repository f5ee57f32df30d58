//! What paths refer to, as a tree of lines: those of `nix-store --query --tree`.

use std::io;

use local_store::{Orders, References};
use store_path::StoreDir;

use crate::branches::prefix;
use crate::results::Results;

/// Of so many levels each has its place in a line. Nix has that of all.
const MOST_LEVELS: usize = 200;

/// Prints each path with what it refers to below it. Where one is met again, dots stand for that.
pub(super) fn print(
    results: &mut Results,
    store_dir: &StoreDir,
    graph: &References,
    roots: &[usize],
) -> io::Result<()> {
    let shown = vec![false; graph.paths().len()];
    let mut tree = Tree { results, store_dir, graph, orders: graph.orders(), shown };
    roots.iter().try_for_each(|root| tree.print(*root))
}

struct Tree<'a> {
    results: &'a mut Results,
    store_dir: &'a StoreDir,
    graph: &'a References,
    orders: Orders<'a>,
    /// Whether each path was shown with what is below it.
    shown: Vec<bool>,
}

impl Tree<'_> {
    /// Prints one tree. The walk has a stack of its own: graphs are deeper than a thread's stack.
    fn print(&mut self, root: usize) -> io::Result<()> {
        // The references that are still to be shown, for each level; the next one last.
        let mut stack: Vec<Vec<usize>> = Vec::new();
        // For each level, whether something follows below.
        let mut lines: Vec<bool> = Vec::new();
        stack.extend(self.node(&lines, root)?);
        while let Some(left) = stack.last_mut() {
            let Some(place) = left.pop() else {
                stack.pop();
                lines.pop();
                continue;
            };
            lines.push(!left.is_empty());
            match self.node(&lines, place)? {
                Some(below) => stack.push(below),
                None => drop(lines.pop()),
            }
        }
        Ok(())
    }

    /// Prints the line of a path; returns what is to follow below, the first one last, unless it was shown before.
    fn node(&mut self, lines: &[bool], place: usize) -> io::Result<Option<Vec<usize>>> {
        let was_shown = std::mem::replace(&mut self.shown[place], true);
        let (dir, path) = (self.store_dir.as_str(), &self.graph.paths()[place]);
        let note = if was_shown { " [...]" } else { "" };
        self.results.line(format_args!("{}{dir}/{path}{note}", prefix(lines, MOST_LEVELS, '─')))?;
        Ok((!was_shown).then(|| self.orders.of(place).into_iter().rev().collect()))
    }
}
