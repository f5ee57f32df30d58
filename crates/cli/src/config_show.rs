//! `store config show`

use anyhow::Result;
use serde_json::{Map, Value, json};
use settings::{Described, Origin};

use crate::config;
use crate::exit::Exit;
use crate::session::Session;

/// Shows every setting with its value, in the form of a configuration file.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store config show\n  store config show sandbox-paths\n  \
                        store -v config show    # what each setting is for")]
pub(crate) struct Args {
    /// Shows the value of this setting only.
    name: Option<String>,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let entries: Vec<Described> = match &args.name {
        Some(name) => {
            let entry = settings::entry(session.settings(), name, &Origin::flag("config show"));
            vec![entry.map_err(config::misuse)?]
        }
        None => settings::entries(session.settings()).collect(),
    };
    if session.json() {
        let object: Map<String, Value> = entries.iter().map(to_json).collect();
        session.results().json(&object.into())?;
        return Ok(Exit::Success);
    }
    if let (Some(_), [entry]) = (&args.name, &entries[..]) {
        session.results().line(&entry.value)?;
        return Ok(Exit::Success);
    }
    for entry in &entries {
        if session.verbose() {
            session.results().line(comment(entry))?;
        }
        session.results().line(format!("{} = {}", entry.key, entry.value).trim_end())?;
    }
    Ok(Exit::Success)
}

fn to_json(entry: &Described) -> (String, Value) {
    let value = json!({
        "value": entry.value,
        "default": entry.default,
        "type": entry.kind,
        "aliases": entry.aliases,
        "description": entry.help,
    });
    (entry.key.to_owned(), value)
}

/// Explains a setting in comment lines, so that the whole output stays a configuration file.
fn comment(entry: &Described) -> String {
    let aliases = match entry.aliases {
        [] => String::new(),
        aliases => format!("; also called {}", aliases.join(", ")),
    };
    let default = if entry.default.is_empty() { "empty" } else { &entry.default };
    format!("\n# {}\n# {}; default: {default}{aliases}", entry.help, entry.kind)
}
