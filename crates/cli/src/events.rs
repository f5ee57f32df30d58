//! What happens in `store build`, as lines of JSON: which types of events there are, and how one is put together.
//!
//! `EVENTS.md` beside this crate's `src` is the page for those who read them.
#![expect(clippy::disallowed_methods, reason = "every event says when it was")]

use std::fmt::{self, Display, Formatter};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// The version of all of this. What exists keeps its meaning; types and fields may be added within a version.
pub(crate) const VERSION: u32 = 1;

/// Every type of event, with the fields it may have besides `type` and `timeMs`.
const TYPES: &[(&str, &[&str])] = &[
    ("begin", &["version", "program", "pid", "storeDir"]),
    ("planned", &["toBuild", "expectedMs", "estimateMs", "toFetch"]),
    ("found", &["output", "drvPath", "toBuild"]),
    ("resolved", &["drvPath", "resolvedPath"]),
    ("unchanged", &["drvPath", "resolvedPath"]),
    ("fetching", &["path", "program", "downloadBytes"]),
    ("fetch-log", &["path", "text"]),
    ("fetched", &["path", "durationMs"]),
    ("not-fetched", &["path", "message", "durationMs"]),
    ("substituted", &["drvPath", "outputs"]),
    ("fell-back", &["drvPath", "message", "toBuild"]),
    ("started", &["drvPath"]),
    ("waiting", &["drvPath", "for", "lock", "holder", "program"]),
    ("waited", &["drvPath"]),
    ("running", &["drvPath", "id", "pid"]),
    ("postponed", &["drvPath"]),
    ("elsewhere", &["drvPath", "machine"]),
    ("log", &["drvPath", "text", "base64"]),
    ("progress", &["drvPath", "message"]),
    ("warning", &["drvPath", "text"]),
    ("detail", &["drvPath", "level", "text"]),
    ("explained", &["drvPath", "findings", "lost"]),
    (
        "built",
        &[
            "drvPath",
            "outputs",
            "outputBytes",
            "meanwhile",
            "builtBy",
            "durationMs",
            "userMs",
            "systemMs",
            "peakMemoryBytes",
            "writtenBytes",
        ],
    ),
    ("again", &["drvPath", "number", "of", "varied"]),
    ("checked", &["drvPath", "durationMs", "userMs", "systemMs", "peakMemoryBytes", "writtenBytes"]),
    (
        "failed",
        &[
            "drvPath",
            "resolvedPath",
            "status",
            "exitCode",
            "signal",
            "limit",
            "phase",
            "message",
            "logTail",
            "divergence",
            "keptBuildDir",
            "wantedBy",
            "blocked",
            "durationMs",
        ],
    ),
    ("blocked", &["drvPath", "by"]),
    ("cancelled", &["drvPath", "durationMs"]),
    ("collected", &["paths", "freedBytes", "failed"]),
    ("not-collected", &["message"]),
    ("message", &["level", "text"]),
    (
        "end",
        &[
            "status",
            "built",
            "checked",
            "unchanged",
            "substituted",
            "failed",
            "cancelled",
            "blocked",
            "notStarted",
            "error",
        ],
    ),
];

/// One event. It is a type of [`TYPES`], and so are its fields.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    fields: Map<String, Value>,
}

impl Line {
    /// Begins an event of that type, which happens now.
    pub(crate) fn new(kind: &str) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut fields = Map::new();
        fields.insert("type".to_owned(), kind.into());
        fields.insert("timeMs".to_owned(), u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX).into());
        Self { fields }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        debug_assert!(self.may_have(field), "`{field}` of `{}` is not in the table", self.fields["type"]);
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// Adds a field where there is something to say.
    pub(crate) fn with_some(self, field: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    fn may_have(&self, field: &str) -> bool {
        TYPES.iter().any(|(kind, fields)| self.fields["type"] == *kind && fields.contains(&field))
    }
}

impl Display for Line {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(&self.fields).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../EVENTS.md");

    #[test]
    fn the_page_tells_of_every_event_and_field_and_of_no_other() {
        let mut sections = PAGE.split("\n### `");
        let before = sections.next().unwrap();
        assert!(before.contains(&format!("version {VERSION}")));
        let told: Vec<(&str, Vec<&str>)> = sections
            .map(|section| {
                let (kind, text) = section.split_once('`').unwrap();
                let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
                (kind, rows.map(|row| row.split_once('`').unwrap().0).collect())
            })
            .collect();
        let table: Vec<_> = TYPES.iter().map(|(kind, fields)| (*kind, fields.to_vec())).collect();
        assert_eq!(told, table);
    }

    #[test]
    fn an_event_is_one_line() {
        let line = Line::new("log").with("drvPath", "x").with("text", "a\nb\u{1b}").to_string();
        assert!(!line.contains(['\n', '\x1b']), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["type"], &read["text"]), (&"log".into(), &"a\nb\u{1b}".into()));
        assert!(read["timeMs"].as_u64().is_some_and(|millis| millis > 1_600_000_000_000));
    }
}
