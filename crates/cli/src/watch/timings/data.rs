//! What the page is made of, as JSON (its script reads it, and so may others).

use std::time::Duration;

use serde_json::{Map, Value, json};
use store_path::StoreDir;

use super::critical;
use super::goal::{Cause, Goal};
use super::record::Record;

/// The version of this form; a field is only ever added.
const VERSION: u32 = 1;

/// What is to be said of a run beside its goals.
pub(super) struct Header<'a> {
    /// When it began, in milliseconds since 1970.
    pub(super) began: u64,
    /// How long it took.
    pub(super) took: Duration,
    /// What became of it: `done`, `failed` or `interrupted`.
    pub(super) status: &'a str,
    pub(super) processors: usize,
    pub(super) store_dir: &'a StoreDir,
}

/// Returns all that the page shows.
pub(super) fn of(record: &Record, header: &Header<'_>) -> Value {
    json!({
        "version": VERSION,
        "program": concat!("store ", env!("CARGO_PKG_VERSION")),
        "startedAtMs": header.began,
        "durationMs": millis(header.took),
        "status": header.status,
        "slots": record.slots,
        "processors": header.processors,
        "goals": record.goals.iter().map(|goal| one(goal, header.store_dir)).collect::<Vec<_>>(),
        "criticalPath": critical::path(&record.goals),
        "samples": samples(record),
    })
}

/// Leaves out what is not known, or nothing.
fn one(goal: &Goal, store_dir: &StoreDir) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() && value != 0 && value != json!([]) && value != json!({}) {
            fields.insert(name.to_owned(), value);
        }
    };
    put("name", goal.name.as_str().into());
    put("kind", if goal.drv.is_some() { "build" } else { "find" }.into());
    put("drvPath", goal.drv.as_ref().map(|drv| store_dir.print(drv)).into());
    put("status", goal.state.word().into());
    put("inputs", goal.inputs.clone().into());
    put("waits", waits(goal));
    put("phases", phases(goal));
    put("cpuMs", millis(goal.cpu_time).into());
    put("peakMemoryBytes", goal.peak_memory_bytes.into());
    put("outputBytes", goal.output_bytes.into());
    put("machine", goal.machine.clone().into());
    put("message", goal.message.clone().into());
    put("logTail", goal.log_tail.clone().into());
    put("expectedMs", goal.expected.map(millis).into());
    // Nothing is told of times by leaving them out but that they are not known: these may be 0.
    let times = [
        ("knownMs", Some(goal.known)),
        ("readyMs", goal.ready),
        ("startedMs", goal.started),
        ("runningMs", goal.running),
        ("endedMs", goal.ended),
    ];
    for (name, time) in times {
        fields.extend(time.map(|time| (name.to_owned(), millis(time).into())));
    }
    fields.into()
}

fn waits(goal: &Goal) -> Value {
    let time = |cause: Cause| {
        let (_, time) = goal.waits.iter().find(|(other, _)| *other == cause)?;
        Some((cause.word().to_owned(), millis(*time).into())).filter(|(_, time)| *time != 0)
    };
    Value::Object(Cause::ALL.into_iter().filter_map(time).collect())
}

fn phases(goal: &Goal) -> Value {
    let phase = |(at, name): &(Duration, String)| json!({ "atMs": millis(*at), "name": name });
    goal.phases.iter().map(phase).collect()
}

/// As lists, since there are many.
fn samples(record: &Record) -> Value {
    let samples = &record.course.samples;
    json!({
        "atMs": samples.iter().map(|sample| millis(sample.at)).collect::<Vec<_>>(),
        "cpuMs": samples.iter().map(|sample| millis(sample.cpu_time)).collect::<Vec<_>>(),
        "memoryBytes": samples.iter().map(|sample| sample.memory_bytes).collect::<Vec<_>>(),
        "running": samples.iter().map(|sample| sample.running).collect::<Vec<_>>(),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
