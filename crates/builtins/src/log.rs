//! The log of the build: lines for people, and events for a program that shows progress.
//!
//! An event is a line `@nix {…}`, in the form in which Nix writes those: what follows a build shows them as it likes, and
//! whoever reads the log passes over them.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;

use serde_json::json;

use crate::error::chain;

/// Where a builder says what it does.
pub(crate) struct Log {
    out: Mutex<Box<dyn Write + Send>>,
}

/// Numbers that Nix has given to kinds of activities and of results.
const FILE_TRANSFER: u32 = 101;
const PROGRESS: u32 = 105;
/// The one activity that there can be in a builder.
const ACTIVITY: u32 = 1;

impl Log {
    pub(crate) fn to_stderr() -> Self {
        Self { out: Mutex::new(Box::new(io::stderr())) }
    }

    /// A line for people.
    pub(crate) fn line(&self, text: impl Display) {
        // One write each, so that nothing comes between; whoever does not listen any more misses nothing.
        let line = format!("{text}\n");
        if let Ok(mut out) = self.out.lock() {
            let _ = out.write_all(line.as_bytes());
        }
    }

    pub(crate) fn warning(&self, text: impl Display) {
        self.line(format_args!("warning: {text}"));
    }

    pub(crate) fn error(&self, error: &dyn std::error::Error) {
        self.line(format_args!("error: {}", chain(error)));
    }

    /// A transfer is under way.
    pub(crate) fn begin(&self, url: &str) {
        self.event(&json!({
            "action": "start", "id": ACTIVITY, "level": 3, "parent": 0, "type": FILE_TRANSFER,
            "text": format!("downloading '{url}'"), "fields": [url],
        }));
    }

    /// So much of it is there; `expected` is 0 where nobody knows.
    pub(crate) fn progress(&self, done: u64, expected: u64) {
        self.event(&json!({
            "action": "result", "id": ACTIVITY, "type": PROGRESS, "fields": [done, expected, 0, 0],
        }));
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.event(&json!({ "action": "stop", "id": ACTIVITY }));
    }

    fn event(&self, event: &serde_json::Value) {
        self.line(format_args!("@nix {event}"));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;

    /// What was said to a log in a test.
    #[derive(Clone, Default)]
    pub(crate) struct Said(Arc<Mutex<Vec<u8>>>);

    impl Said {
        pub(crate) fn log(&self) -> Log {
            Log { out: Mutex::new(Box::new(self.clone())) }
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_that_nix_could_have_written() {
        let said = Said::default();
        let log = said.log();
        log.begin("http://x/\"quoted\"");
        log.progress(5, 10);
        log.end();
        let lines: Vec<serde_json::Value> = said
            .text()
            .lines()
            .map(|line| serde_json::from_str(line.strip_prefix("@nix ").unwrap()).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["fields"][0], "http://x/\"quoted\"");
        assert_eq!(lines[1]["fields"], json!([5, 10, 0, 0]));
        assert_eq!(lines[2]["action"], "stop");
    }
}
