//! What `store build` prints in the end: the paths of everything that was asked for, in the order of the question.

use anyhow::Result;
use engine::Realised;
use local_store::LocalStore;
use serde_json::{Map, Value, json};
use store_path::StorePath;

use crate::session::Session;

/// Prints the results of a build; for a store elsewhere stderr adds where the files lie.
pub(crate) fn print(
    session: &mut Session,
    store: &LocalStore,
    realised: &[Realised],
    real_path: bool,
) -> Result<()> {
    if session.json() {
        let list: Value = realised.iter().map(|realised| to_json(store, realised)).collect();
        return Ok(session.results().json(&list)?);
    }
    for (_, path) in realised.iter().flat_map(outputs) {
        let (logical, real) = (store.store_dir().print(path), store.real_path(path));
        if real_path {
            session.results().line(real.display())?;
        } else {
            session.results().line(&logical)?;
            if store.location().is_relocated() {
                session.messages().note(format_args!("{logical} lies in {}", real.display()));
            }
        }
    }
    Ok(())
}

/// Returns the paths of one result, each with the name of the output; a plain path counts as `out`.
pub(crate) fn outputs(realised: &Realised) -> Vec<(&str, &StorePath)> {
    match realised {
        Realised::Outputs { outputs, .. } => {
            outputs.iter().map(|(name, path)| (name.as_str(), path)).collect()
        }
        Realised::Path(path) => vec![("out", path)],
    }
}

fn to_json(store: &LocalStore, realised: &Realised) -> Value {
    let full = |path: &StorePath| store.store_dir().print(path);
    let real = |path: &StorePath| store.real_path(path).to_string_lossy().into_owned();
    match realised {
        Realised::Path(path) => json!({ "path": full(path), "realPath": real(path) }),
        Realised::Outputs { drv, outputs } => {
            let map = |show: &dyn Fn(&StorePath) -> String| {
                outputs
                    .iter()
                    .map(|(name, path)| (name.to_string(), show(path).into()))
                    .collect::<Map<_, Value>>()
            };
            json!({ "drvPath": full(drv), "outputs": map(&full), "realOutputs": map(&real) })
        }
    }
}
