//! Work for all processors, which has ended when a call here returns.
#![expect(clippy::disallowed_methods, reason = "the one module of this crate with threads")]

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// As many items are taken at once: starting a thread costs as much as reading some files.
const BATCH: usize = 16;

/// Does `work` on every item; the results come in the order of the items.
pub(crate) fn on_each<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let batches = Mutex::new(items.chunks(BATCH).enumerate());
    let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut done = Vec::new();
        while let Some((index, batch)) = next() {
            done.push((index, batch.iter().map(&work).collect::<Vec<R>>()));
        }
        done
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut done = thread::scope(|scope| {
        // Where no more threads may be started, those that are there do it all.
        let others: Vec<_> = (1..processors.min(items.len().div_ceil(BATCH)))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, run).ok())
            .collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_come_in_the_order_of_the_items() {
        for count in [0, 1, BATCH, 10 * BATCH + 1] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(on_each(&items, |item| item + 1), (1..=count).collect::<Vec<_>>());
        }
    }
}
