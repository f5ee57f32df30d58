//! What a running build says of itself.

use crate::nix_message::{self, NixMessage};
use crate::size;

/// As many things that go on in one build are followed.
const MOST: usize = 16;

/// What a build says of itself. Nothing in it is true but that the build has said it.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    phase: Option<String>,
    /// What goes on, the latest last.
    doing: Vec<Doing>,
}

#[derive(Clone, Debug)]
struct Doing {
    id: u64,
    text: String,
    progress: Option<(u64, u64)>,
}

impl Activity {
    /// Learns from a line of its log.
    pub(super) fn hear(&mut self, line: &[u8]) {
        match nix_message::parse(line) {
            Some(NixMessage::Phase(phase)) => self.phase = Some(phase),
            Some(NixMessage::Start { id, text }) if self.doing.len() < MOST => {
                self.doing.push(Doing { id, text, progress: None });
            }
            Some(NixMessage::Progress { id, done, expected }) => {
                let known = self.doing.iter_mut().find(|doing| doing.id == id);
                known.into_iter().for_each(|doing| doing.progress = Some((done, expected)));
            }
            Some(NixMessage::Stop { id }) => self.doing.retain(|doing| doing.id != id),
            Some(NixMessage::Start { .. } | NixMessage::Text(_) | NixMessage::Other) | None => {}
        }
    }

    /// Returns what it does at the moment, with how far it is if it says so.
    pub(super) fn text(&self) -> Option<String> {
        match self.doing.last() {
            None => self.phase.clone(),
            Some(Doing { text, progress: None, .. }) => Some(text.clone()),
            Some(Doing { text, progress: Some((done, expected)), .. }) => {
                Some(format!("{} {text}", far(*done, *expected)))
            }
        }
    }

    /// Returns the phase.
    pub(super) fn phase(&self) -> Option<&str> {
        self.phase.as_deref()
    }
}

fn far(done: u64, expected: u64) -> String {
    match expected {
        0 => size::show(done),
        _ => {
            let percent = u128::from(done.min(expected)) * 100 / u128::from(expected);
            format!("{percent}% of {}", size::show(expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Option<String> {
        let mut activity = Activity::default();
        lines.iter().for_each(|line| activity.hear(format!("@nix {line}").as_bytes()));
        activity.text()
    }

    const START: &str = r#"{"action":"start","id":1,"text":"downloading 'x'","type":101}"#;
    const PHASE: &str = r#"{"action":"setPhase","phase":"unpackPhase"}"#;

    #[test]
    fn the_latest_activity_hides_the_phase_until_it_stops() {
        let half = r#"{"action":"result","id":1,"type":105,"fields":[524288,1048576,0,0]}"#;
        let open = r#"{"action":"result","id":1,"type":105,"fields":[2048,0,0,0]}"#;
        assert_eq!(after(&[PHASE]).as_deref(), Some("unpackPhase"));
        assert_eq!(after(&[PHASE, START]).as_deref(), Some("downloading 'x'"));
        assert_eq!(after(&[START, half]).as_deref(), Some("50% of 1.0 MiB downloading 'x'"));
        assert_eq!(after(&[START, open]).as_deref(), Some("2.0 KiB downloading 'x'"));
        assert_eq!(after(&[PHASE, START, r#"{"action":"stop","id":1}"#]).as_deref(), Some("unpackPhase"));
    }

    #[test]
    fn what_never_stops_does_not_pile_up() {
        let mut activity = Activity::default();
        for id in 0..10_000 {
            activity.hear(format!(r#"@nix {{"action":"start","id":{id},"text":"{id}"}}"#).as_bytes());
        }
        assert_eq!(activity.doing.len(), MOST);
    }

    #[test]
    fn numbers_that_make_no_sense_do_no_harm() {
        let odd = format!(r#"{{"action":"result","id":1,"type":105,"fields":[{},1]}}"#, u64::MAX);
        assert_eq!(after(&[START, &odd]).as_deref(), Some("100% of 1 B downloading 'x'"));
    }
}
