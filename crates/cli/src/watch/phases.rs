//! How far each build has come, by what its builder says of it.

use std::collections::HashMap;

use engine::Event;
use store_path::StorePath;

use crate::nix_message::{self, NixMessage};

/// As many characters of a name are remembered: it is a builder's word.
const LONGEST: usize = 60;

/// What Nixpkgs prints before each phase, also for a terminal.
const HEADING: &[u8] = b"Running phase: ";

/// The last phase that each running build has named.
#[derive(Debug, Default)]
pub(crate) struct Phases(HashMap<StorePath, String>);

impl Phases {
    /// Takes in one event.
    pub(crate) fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Log { drv, line } => {
                if let Some(phase) = named(line) {
                    self.0.insert((*drv).clone(), phase);
                }
            }
            Event::Built { drv, .. } | Event::Cancelled { drv, .. } => drop(self.0.remove(drv)),
            _ => {}
        }
    }

    /// Returns the phase in which a build has ended.
    pub(crate) fn last(&mut self, drv: &StorePath) -> Option<String> {
        self.0.remove(drv)
    }
}

/// Returns the phase that a line names.
pub(super) fn named(line: &[u8]) -> Option<String> {
    let phase = match line.strip_prefix(HEADING) {
        Some(phase) => String::from_utf8_lossy(phase.trim_ascii()).into_owned(),
        None => match nix_message::parse(line)? {
            NixMessage::Phase(phase) => phase,
            _ => return None,
        },
    };
    // On one line whatever it is: what follows would look like something that `store` says.
    Some(phase.chars().filter(|char| !char.is_control()).take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_on_one_line() {
        let line = br#"@nix {"action":"setPhase","phase":"x\nstore: all is well\u001b[2J"}"#;
        assert_eq!(named(line).as_deref(), Some("xstore: all is well[2J"));
        assert_eq!(named(b"Running phase: a\rb").as_deref(), Some("ab"));
    }

    #[test]
    fn the_last_phase_counts_however_it_is_told() {
        let drv: StorePath = "00000000000000000000000000000000-a.drv".parse().unwrap();
        let mut phases = Phases::default();
        let lines = [
            &b"@nix { \"action\": \"setPhase\", \"phase\": \"unpackPhase\" }"[..],
            b"Running phase: buildPhase",
            b"@nix { \"action\": \"stop\", \"phase\": \"none\" }",
            b"@nix {",
            b"checkPhase",
        ];
        lines.iter().for_each(|line| phases.on_event(&Event::Log { drv: &drv, line }));
        assert_eq!(phases.last(&drv).as_deref(), Some("buildPhase"));
        phases.on_event(&Event::Log {
            drv: &drv,
            line: format!("Running phase: {}", "x".repeat(999)).as_bytes(),
        });
        assert_eq!(phases.last(&drv).map(|phase| phase.len()), Some(LONGEST));
        assert_eq!(phases.last(&drv), None);
    }
}
