//! Repairing what a verification has found, for `store verify --repair` and `store build --repair`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use engine::{Context, Repairs, Source, Unrepaired};
use local_store::{Damage, LocalStore, Mend, Mended, Report};
use sandbox::Launcher;
use store_path::StorePath;

use crate::build_failure::LogCommand;
use crate::interrupt::Interrupt;
use crate::session::Session;
use crate::watch::Watch;

/// What became of what was found.
pub(crate) struct Repaired {
    mended: Mended,
    repairs: Repairs,
}

/// Repairs what can be; that is taken out of the report.
pub(crate) fn repair(
    session: &Session,
    store: &LocalStore,
    launcher: &Launcher,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Result<Repaired> {
    let mended = store.mend(report)?;
    let lacks_contents = |damage: &Damage| {
        matches!(damage, Damage::Missing | Damage::Unreadable { .. } | Damage::Changed { .. })
    };
    let damaged = report.damaged.iter().filter(|(_, damage)| lacks_contents(damage));
    let damaged: BTreeSet<StorePath> = damaged.map(|(path, _)| path.clone()).collect();
    if damaged.is_empty() {
        return Ok(Repaired { mended, repairs: Repairs::default() });
    }
    let log_command = LogCommand::of(session, store);
    let mut watch = Watch::new(session.messages(), store.location(), log_command, false);
    let context = Context {
        store,
        launcher,
        settings: session.settings(),
        environment: session.variables(),
        stop: Some(interrupt.descriptor()),
        on_failure: None,
        first: 0,
        tick: None,
    };
    let repairs = engine::repair(&context, &damaged, &mut |event| watch.on_event(&event))?;
    repairs.warnings.iter().for_each(|text| session.messages().warn(text));
    report.damaged.retain(|(path, _)| !repairs.repaired.contains_key(path));
    report.stopped |= repairs.stopped;
    Ok(Repaired { mended, repairs })
}

impl Repaired {
    /// Says for each path what was done about it.
    pub(crate) fn told(&self, store: &LocalStore) -> BTreeMap<StorePath, String> {
        let print = |path: &StorePath| store.store_dir().print(path);
        let mended =
            self.mended.paths.iter().map(|(path, mend)| (path.clone(), about_mend(*mend).to_owned()));
        let repaired = self.repairs.repaired.iter().map(|(path, source)| {
            let text = match source {
                Source::Fetched(program) => format!("repaired: fetched by `{}`", program.display()),
                Source::Built(drv) => format!("repaired: `{}` was built again", print(drv)),
            };
            (path.clone(), text)
        });
        mended.chain(repaired).collect()
    }

    /// Returns the links that were removed.
    pub(crate) fn links(&self) -> impl Iterator<Item = &str> {
        self.mended.links.iter().map(|link| link.name.as_str())
    }

    /// Returns why a path could not be repaired, if that was tried.
    pub(crate) fn why_not(&self, path: &StorePath) -> Option<&Unrepaired> {
        self.repairs.unrepaired.get(path)
    }

    /// Returns what to do about what is left.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let no_source =
            |why: &Unrepaired| matches!(why, Unrepaired::NoSource | Unrepaired::NotFetched { .. });
        self.repairs.unrepaired.values().any(no_source).then_some(
            "what was added cannot be made again here: a program that has it can be named (setting \
             `external-substituters`); or, if nothing refers to it, `store delete` it and add it again",
        )
    }
}

fn about_mend(mend: Mend) -> &'static str {
    match mend {
        Mend::Metadata => "repaired: mode, time and owner are as they should be",
        Mend::Size => "repaired: the size in the database",
        Mend::Forgotten => "not valid any more, as nothing refers to it",
    }
}
