//! Work for all processors, which has ended when a call here returns.
#![expect(clippy::disallowed_methods, reason = "the one module of this crate with threads")]

use std::hint::black_box;
use std::num::NonZero;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use derivation::Workers;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

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
            make_room();
            done.push((index, batch.iter().map(&work).collect::<Vec<R>>()));
        }
        all_done.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
    };
    // More than there are batches would have nothing to do.
    Processors.together(items.len().div_ceil(BATCH).saturating_sub(1), run, run);
    let mut done = all_done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// For any thread but the first the C library makes room page by page, each time by a call that the other threads wait for.
/// What it has made room for it keeps, as long as that is less than it would give back to the system.
fn make_room() {
    const ROOM: usize = 120 << 10;
    drop(black_box(Vec::<u8>::with_capacity(ROOM)));
}

/// All processors.
pub(crate) struct Processors;

impl Workers for Processors {
    fn together(&self, most: usize, help: impl Fn() + Sync, lead: impl FnOnce()) {
        if most == 0 {
            return lead();
        }
        // To be asked for once: the quotas of control groups are read from files.
        static PROCESSORS: OnceLock<usize> = OnceLock::new();
        let processors = *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get));
        let here = sched_getcpu().ok();
        let help = &help;
        thread::scope(|scope| {
            // Where no more threads may be started, those that are there do it all.
            let helpers: Vec<_> = (1..processors.min(most.saturating_add(1)))
                .map_while(|number| {
                    let help_elsewhere = move || {
                        leave(here, number);
                        help();
                    };
                    thread::Builder::new().spawn_scoped(scope, help_elsewhere).ok()
                })
                .collect();
            lead();
            for helper in helpers {
                helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
}

/// Has this thread go to another processor than `here`, a different one for each number. The kernel may leave a new thread
/// where it was started until its next tick, after 4 milliseconds: by then, most of this is done.
fn leave(here: Option<usize>, number: usize) {
    let this = Pid::from_raw(0);
    let Ok(all) = sched_getaffinity(this) else { return };
    let mut others = (0..CpuSet::count())
        .filter(|processor| Some(*processor) != here && all.is_set(*processor).unwrap_or(false));
    let mut one = CpuSet::new();
    if others.nth(number - 1).is_some_and(|other| one.set(other).is_ok()) {
        // From there it may go wherever it could before.
        let _ = sched_setaffinity(this, &one).and_then(|()| sched_setaffinity(this, &all));
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
