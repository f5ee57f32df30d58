//! Stepping into the sandbox of a derivation: its inputs are realised, it is not built.

#![expect(clippy::disallowed_methods, reason = "engine owns the threads")]

use std::collections::HashMap;
use std::thread;

use builder::{BuildFailure, Host, Inside, Sketch};
use derivation::{Checked, Derivation, Link, resolve};
use store_path::StorePath;

use crate::error::Error;
use crate::graph::Graph;
use crate::lookup;
use crate::read::read_derivation;
use crate::ready::has_to_be_resolved;
use crate::report::{Event, Failure, Report};
use crate::run::{Context, realise};
use crate::stop::StopWatch;
use crate::wanted::{Realised, Selection, Wanted};

/// What came of stepping into a sandbox.
#[derive(Debug)]
pub enum Entered<R> {
    /// The sandbox was there, and this is what whoever stepped in has brought back.
    Left(R),
    /// Its inputs could not all be had.
    NoInputs(Report),
    /// There was no sandbox to be had.
    NoSandbox(Failure),
}

/// Makes the inputs of `drv` valid and its sandbox, and calls `attend` while that is there.
///
/// An error means that nothing was tried. An input that fails is in the report of [`Entered::NoInputs`].
pub fn enter<R>(
    context: &Context<'_>,
    drv: &StorePath,
    on_event: &mut dyn FnMut(Event<'_>),
    attend: impl FnOnce(&Inside<'_>) -> R,
) -> Result<Entered<R>, Error> {
    // Its digest is in the name of the directory that becomes the store directory, which no collector may take.
    context.store.temp_root(drv)?;
    let derivation = read_derivation(context.store, drv)?;
    let inputs = inputs(&derivation);
    let report = realise(context, &inputs, on_event)?;
    if report.stopped || !report.failures.is_empty() {
        return Ok(Entered::NoInputs(report));
    }
    let (drv, derivation) = &to_build(context, drv, derivation, &report)?;
    context.store.temp_root(drv)?;
    let host = Host::look(context.settings, context.environment.clone())?;
    if report.built.is_empty() {
        host.shortfalls().for_each(|text| on_event(Event::Warning { drv, text: &text }));
    }
    let tell = &mut |message: builder::Message<'_>| match message {
        builder::Message::Warning(text) => on_event(Event::Warning { drv, text: &text }),
        builder::Message::Detail(detail) => on_event(Event::Detail { drv, detail: &detail }),
        // Visitors are not observed.
        builder::Message::Waiting(wait) => on_event(Event::Waiting { drv, wait: &wait }),
        builder::Message::WaitingToKeep(_)
        | builder::Message::Output(_)
        | builder::Message::Running { .. }
        | builder::Message::Explained(_)
        | builder::Message::Again(_)
        | builder::Message::Ran => {}
    };
    let builder = of_builder(context, &host);
    let entered = stoppable(context, || builder::enter(&builder, drv, derivation, tell, attend))?;
    Ok(match entered {
        Ok(left) => Entered::Left(left),
        Err(error) => Entered::NoSandbox(Failure {
            wanted_by: vec![drv.clone()],
            drv: drv.clone(),
            resolved: None,
            error,
            blocked: 0,
        }),
    })
}

/// Returns what would be built: the derivation, or what it resolves to with the inputs that were realised.
fn to_build(
    context: &Context<'_>,
    drv: &StorePath,
    derivation: Derivation,
    report: &Report,
) -> Result<(StorePath, Derivation), Error> {
    let read = &mut |input: &StorePath| read_derivation(context.store, input);
    if !has_to_be_resolved(&derivation, &mut |input| Ok::<_, Error>(is_stated(&read(input)?)))? {
        return Ok((drv.clone(), derivation));
    }
    // The report has everything that was asked for, in the order of the question; outputs come after the sources.
    let outputs = report.realised.iter().filter_map(|realised| match realised {
        Realised::Outputs { outputs, .. } => Some(outputs),
        Realised::Path(_) => None,
    });
    let paths: HashMap<Link, StorePath> = derivation
        .links()
        .into_iter()
        .zip(outputs)
        .filter_map(|(link, outputs)| Some((link.clone(), outputs.get(&link.output)?.clone())))
        .collect();
    let resolved = resolve(&derivation, context.store.store_dir(), &mut |link| paths.get(link).cloned());
    let resolved = resolved.map_err(|source| Error::Resolve { drv: drv.clone(), source })?;
    Ok((resolved.path().clone(), resolved.derivation().clone()))
}

/// Does something that ends, in vain, when the word to stop comes: while it waits for a user, or with the sandbox.
pub(crate) fn stoppable<R>(context: &Context<'_>, work: impl FnOnce() -> R) -> Result<R, Error> {
    let watch = context.stop.map(|stop| StopWatch::new(Some(stop), None)).transpose()?;
    thread::scope(|scope| {
        if let Some(watch) = &watch {
            let watch = || watch.watch(|| context.launcher.stop(), |_, _| {});
            thread::Builder::new().spawn_scoped(scope, watch).map_err(|source| Error::Threads { source })?;
        }
        // Also when the visitor panics: the scope waits for the watch.
        let _done = watch.as_ref().map(StopWatch::end_on_drop);
        Ok(work())
    })
}

fn is_stated(derivation: &Derivation) -> bool {
    derivation.unknown_outputs().next().is_none()
}

/// Works out the sandbox of a derivation and makes nothing. `known` reads derivations that it takes outputs of.
///
/// # Errors
/// The outer error is one of reading, the inner one says why it could not be built here.
pub fn sketch<E: From<Error>>(
    context: &Context<'_>,
    drv: &StorePath,
    derivation: &Derivation,
    known: &mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
) -> Result<Result<Sketch, BuildFailure>, E> {
    let host = Host::look(context.settings, context.environment.clone()).map_err(Error::from)?;
    let builder = of_builder(context, &host);
    if has_to_be_resolved(derivation, &mut |input| Ok::<_, E>(is_stated(&known(input)?)))? {
        let resolved = resolve_with(context, drv, derivation, known)?;
        let inputs = &resolved.derivation().input_srcs;
        return Ok(builder::sketch(&builder, resolved.path(), resolved.derivation(), inputs));
    }
    let mut inputs = derivation.input_srcs.clone();
    for (input, wanted) in &derivation.input_drvs {
        let made = known(input)?.outputs;
        let wanted = made.iter().filter(|(name, _)| wanted.outputs.contains(*name));
        inputs.extend(wanted.filter_map(|(_, output)| output.path().cloned()));
    }
    Ok(builder::sketch(&builder, drv, derivation, &inputs))
}

/// Resolves a derivation by what is known of its inputs before anything is built.
fn resolve_with<E: From<Error>>(
    context: &Context<'_>,
    drv: &StorePath,
    derivation: &Derivation,
    known: &mut dyn FnMut(&StorePath) -> Result<Derivation, E>,
) -> Result<Checked, E> {
    let mut graph = Graph::default();
    for input in derivation.input_drvs.keys() {
        graph.insert(input, known(input)?);
    }
    lookup::resolve_by(context.store, &mut graph, drv, derivation)?.ok_or_else(|| {
        let unknown = derivation.links().into_iter().find(|link| graph.path_of(link).is_none());
        let input = unknown.map_or_else(String::new, |link| link.to_string());
        E::from(Error::Unknown { drv: drv.clone(), input })
    })
}

fn inputs(derivation: &Derivation) -> Vec<Wanted> {
    let sources = derivation.input_srcs.iter().cloned().map(Wanted::Path);
    let outputs = derivation.links().into_iter().map(|link| {
        let outputs = Selection::from(link.output.clone());
        match link.file() {
            None => Wanted::Outputs { drv: link.drv, outputs },
            Some(file) => Wanted::Made { file, outputs },
        }
    });
    sources.chain(outputs).collect()
}

fn of_builder<'a>(context: &Context<'a>, host: &'a Host) -> builder::Context<'a> {
    let Context { store, launcher, settings, on_failure, .. } = *context;
    builder::Context { store, launcher, settings, host, on_failure }
}
