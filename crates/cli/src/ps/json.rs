//! Running builds as JSON.

use local_store::{Holder, Stage, Wait};
use serde_json::{Value, json};

use super::{Picture, Shown};
use crate::user_name;

/// Returns a list of all builds, the oldest first.
pub(super) fn picture(picture: &Picture<'_>) -> Value {
    picture.builds.iter().map(|shown| one(picture, shown)).collect()
}

fn one(picture: &Picture<'_>, Shown { build, usage }: &Shown) -> Value {
    let print = |path: &store_path::StorePath| picture.location.store_dir.print(path);
    let outputs = build.outputs.iter().map(|(name, path)| (name.clone(), Value::from(print(path))));
    let (state, process, phase, wait) = match &build.stage {
        Stage::Waiting(wait) => ("waiting", None, None, Some(waits_for(picture, wait))),
        Stage::Building { process, phase } => ("building", Some(*process), phase.clone(), None),
        Stage::Elsewhere { .. } => ("elsewhere", None, None, None),
        Stage::Fetching { .. } => ("fetching", None, None, None),
        Stage::Keeping => ("keeping", None, None, None),
    };
    json!({
        "id": build.id.to_string(),
        "drvPath": print(&build.drv),
        "outputs": outputs.collect::<serde_json::Map<_, _>>(),
        "state": state,
        "phase": phase,
        "waitsFor": wait,
        "startTimeMillis": build.since_millis,
        "process": process,
        "machine": machine(&build.stage),
        "program": program(&build.stage),
        "cpuMillis": usage.map(|usage| u64::try_from(usage.cpu_time.as_millis()).unwrap_or(u64::MAX)),
        "memoryBytes": usage.map(|usage| usage.memory_bytes),
        "processes": usage.map(|usage| usage.processes),
        "target": print(&build.target),
        "owner": {
            "process": build.owner.process,
            "uid": build.owner.user,
            "user": user_name::of(build.owner.user),
        },
        "log": build.log.as_ref().map(|path| path.to_string_lossy().into_owned()),
    })
}

fn machine(stage: &Stage) -> Option<&str> {
    if let Stage::Elsewhere { machine } = stage { Some(machine) } else { None }
}

fn program(stage: &Stage) -> Option<&str> {
    if let Stage::Fetching { program } = stage { Some(program) } else { None }
}

fn waits_for(picture: &Picture<'_>, wait: &Wait) -> Value {
    match wait {
        Wait::User => json!({ "kind": "user" }),
        Wait::Hook { program } => json!({ "kind": "hook", "program": program.to_string_lossy() }),
        Wait::Lock { file, holder } => json!({
            "kind": "lock",
            "file": picture.location.real_store.join(file).to_string_lossy(),
            "holder": holder.as_ref().map(of_holder),
        }),
    }
}

fn of_holder(holder: &Holder) -> Value {
    json!({
        "process": holder.process,
        "command": holder.command,
        "build": holder.build.as_ref().map(ToString::to_string),
        "startTimeMillis": holder.since_millis,
    })
}
