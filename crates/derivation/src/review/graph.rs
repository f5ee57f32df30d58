//! The rules, over all derivations of all files.

use std::borrow::Cow;
use std::collections::HashSet;
use std::error::Error;
use std::sync::{PoisonError, RwLock};

use store_path::{StoreDir, StorePath};

use super::part::{About, Found, Part, Shared, Verdict, most, remark};
use super::rounds::Rounds;
use super::spot::{At, Spot};
use super::{Remark, Source, Unread, Workers};
use crate::check::Settled;
use crate::closure::{Closure, Ground, Order, cycle, order, places};
use crate::model::Paths;
use crate::{ClosureError, Derivation};

/// For so many derivations that can be looked at at once another helper is worth its start.
const PER_HELPER: usize = 16;

/// So many derivations are looked through for what they need at a time.
const FEW: usize = 64;

/// Returns remarks, each with the file that it is about.
///
/// An input that cannot be had may be in a part that is `unread`, and then is not told of.
pub(super) fn remarks<'a, E: Error + 'static>(
    all: Vec<Box<Part<'a>>>,
    sources: &[Source<'_>],
    store_dir: &StoreDir,
    known: &mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
    unread: Unread,
    workers: &impl Workers,
) -> Vec<(usize, Remark)> {
    let mut given = Paths::with_capacity_and_hasher(all.len(), Default::default());
    for (index, part) in all.iter().enumerate() {
        if let Some(path) = &part.about.path {
            given.entry(path.clone()).or_insert(index);
        }
    }
    let Order { order, circular, is_input, depth } = order(&needed(&all, &given, workers));
    // A download is right or wrong by itself.
    let mut state = State { ground: Ground::new(store_dir, false), bad: unread.paths, late: HashSet::new() };
    let mut seen = Seen::default();
    for index in circular {
        let Part { about, derivation, .. } = &*all[index];
        let error: ClosureError<E> = cycle(about.path.as_ref(), &derivation.name, store_dir);
        let at = At::Part(about.path.clone(), Spot::Whole);
        seen.told.push((0, about.file, Remark::error(at, &error)));
        state.bad.extend(about.path.clone());
    }
    let mut waiting: Vec<_> = all.into_iter().map(Some).collect();
    let mut waves: Vec<Vec<Box<Part<'_>>>> = Vec::new();
    for (place, index) in order.into_iter().enumerate() {
        let mut part = waiting[index].take().expect("the order names each once");
        (part.about.place, part.is_input) = (place, is_input[index]);
        let depth = depth[index];
        if waves.len() <= depth {
            waves.resize_with(depth + 1, Vec::new);
        }
        waves[depth].push(part);
    }
    let odd = take_waves(waves, &mut state, &mut seen, (store_dir, sources), workers);
    let State { ground, bad, .. } = state;
    let mut closure = Closure::with(ground, known);
    if !odd.is_empty() {
        std::mem::take(&mut seen.last).into_iter().for_each(|settled| closure.put_by(settled));
    }
    let mut rest = Rest { closure, bad, seen, store_dir, sources, has_more_unread: unread.has_more };
    odd.into_iter().for_each(|part| rest.take(part));
    let mut told = rest.seen.told;
    told.sort_by_key(|(place, ..)| *place);
    told.into_iter().map(|(_, file, remark)| (file, remark)).collect()
}

/// Returns the places of what each needs. This is the first look at all of them from here, which takes its time.
fn needed(all: &[Box<Part<'_>>], given: &Paths<usize>, workers: &impl Workers) -> Vec<Box<[usize]>> {
    let of_all = |(number, parts): (usize, &[Box<Part<'_>>])| {
        (number, parts.iter().map(|part| places(&part.derivation, given)).collect::<Vec<_>>())
    };
    let rounds = Rounds::new(of_all);
    let mut found = Vec::new();
    workers.together(
        (all.len() / FEW).saturating_sub(1),
        || rounds.help(),
        || {
            let _end = rounds.lead();
            found = rounds.round(all.chunks(FEW).enumerate().collect());
        },
    );
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().flat_map(|(_, places)| places).collect()
}

/// What those are held against that are looked at at once.
struct State<'w> {
    ground: Ground<'w>,
    /// Those with an error, and what uses them: a consequence of what has been told.
    bad: HashSet<StorePath>,
    /// Those that wait until something has been asked for.
    late: HashSet<StorePath>,
}

/// What has been found.
#[derive(Default)]
struct Seen<'a> {
    /// Remarks, with the place of the derivation and its file.
    told: Vec<(usize, usize, Remark)>,
    /// Those that are right and no input of any other in the list.
    last: Vec<Settled<'a, Cow<'a, [u8]>>>,
}

/// Takes waves of derivations, of which none needs another one of its own wave or a later one. Returns those that
/// need something that is not in the list, or not right, in their order. A download does so, too, if it names a derivation
/// that does: that may turn out to be called otherwise.
fn take_waves<'a>(
    waves: Vec<Vec<Box<Part<'a>>>>,
    state: &mut State<'_>,
    seen: &mut Seen<'a>,
    (store_dir, sources): (&StoreDir, &[Source<'_>]),
    workers: &impl Workers,
) -> Vec<Box<Part<'a>>> {
    let mut odd = Vec::new();
    let state = RwLock::new(state);
    let rounds = Rounds::new(|part: Box<Part<'a>>| {
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        let State { ground, bad, late } = &**state;
        let shared = Shared { ground, bad, store_dir, sources };
        match shared.may_look(&part.derivation, late) {
            true => (part.about.place, Ok(shared.look(part))),
            false => (part.about.place, Err(part)),
        }
    });
    // Who has nothing to do would cost more than it helps.
    let most = waves.iter().map(Vec::len).max().unwrap_or(0) / PER_HELPER;
    workers.together(
        most,
        || rounds.help(),
        || {
            let _end = rounds.lead();
            for wave in waves {
                let mut looked = rounds.round(wave);
                looked.sort_by_key(|(place, _)| *place);
                let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
                for (_, one) in looked {
                    match one {
                        Ok(found) => {
                            let State { ground, bad, .. } = &mut **state;
                            take(found, ground, bad, seen);
                        }
                        Err(part) => {
                            state.late.extend(part.about.path.clone());
                            odd.push(part);
                        }
                    }
                }
            }
        },
    );
    odd.sort_by_key(|part| part.about.place);
    odd
}

fn take<'a>(found: Found<'a>, ground: &mut Ground<'_>, bad: &mut HashSet<StorePath>, seen: &mut Seen<'a>) {
    let Found { about: About { place, file, path }, remarks, verdict } = found;
    match verdict {
        Verdict::Input(computed, known) => {
            ground.call(path.as_ref(), &computed);
            ground.modulo.learn(&computed, known);
        }
        Verdict::Last(settled) => {
            ground.call(path.as_ref(), &settled.path);
            seen.last.push(*settled);
        }
        Verdict::Bad => bad.extend(path),
    }
    seen.told.extend(remarks.into_iter().map(|remark| (place, file, remark)));
}

/// Those for which something has to be asked for first, one after the other.
struct Rest<'w, 'a, E> {
    closure: Closure<'w, 'a, Cow<'a, [u8]>, E>,
    bad: HashSet<StorePath>,
    seen: Seen<'a>,
    store_dir: &'w StoreDir,
    sources: &'w [Source<'w>],
    has_more_unread: bool,
}

impl<'a, E: Error + 'static> Rest<'_, 'a, E> {
    fn take(&mut self, part: Box<Part<'a>>) {
        let problems = match self.shared().is_consequence(&part.derivation) {
            true => Vec::new(),
            false => self.closure.load_missing(part.about.path.as_ref(), &part.derivation),
        };
        let found = if problems.is_empty() {
            self.shared().look(part)
        } else {
            let is_told = |error: &&ClosureError<E>| {
                !self.has_more_unread || !matches!(error, ClosureError::Input { .. })
            };
            let remark = |error| remark(part.about.path.as_ref(), error, self.store_dir);
            let remarks = most(problems.iter().filter(is_told).map(remark));
            self.shared().bad(part.about, remarks)
        };
        take(found, &mut self.closure.ground, &mut self.bad, &mut self.seen);
        std::mem::take(&mut self.seen.last).into_iter().for_each(|settled| self.closure.put_by(settled));
    }

    fn shared(&self) -> Shared<'_> {
        Shared {
            ground: &self.closure.ground,
            bad: &self.bad,
            store_dir: self.store_dir,
            sources: self.sources,
        }
    }
}
