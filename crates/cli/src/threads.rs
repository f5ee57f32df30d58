//! Work for all processors, which has ended when a call here returns.
#![expect(clippy::disallowed_methods, reason = "the one module of this crate with threads")]

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use derivation::Workers;

/// As many items are taken at once: starting a thread costs as much as reading some files.
const BATCH: usize = 16;

/// Does `work` on every item; the results come in the order of the items.
pub(crate) fn on_each<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let batches = Mutex::new(items.chunks(BATCH).enumerate());
    let all_done = Mutex::new(Vec::new());
    let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut done = Vec::new();
        while let Some((index, batch)) = next() {
            done.push((index, batch.iter().map(&work).collect::<Vec<R>>()));
        }
        all_done.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
    };
    // More than there are batches would have nothing to do.
    if items.len() <= BATCH {
        run()
    } else {
        Processors.together(run, run)
    }
    let mut done = all_done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// All processors.
pub(crate) struct Processors;

impl Workers for Processors {
    fn together(&self, help: impl Fn() + Sync, lead: impl FnOnce()) {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            // Where no more threads may be started, those that are there do it all.
            let helpers: Vec<_> = (1..processors)
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, &help).ok())
                .collect();
            lead();
            for helper in helpers {
                helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
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
