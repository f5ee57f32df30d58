//! `external-builders`: programs that run the builders of some systems, as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ValueError;
use crate::value::{Value, absolute};

/// The programs that run the builders of some systems, the first one that fits being used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalBuilders(Vec<ExternalBuilder>);

/// A program that runs builders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalBuilder {
    /// The systems whose builders it runs.
    pub systems: Vec<String>,
    /// The program, an absolute path.
    pub program: String,
    /// Its first arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

impl ExternalBuilders {
    /// Returns the program for a system.
    pub fn of(&self, system: &[u8]) -> Option<&ExternalBuilder> {
        let runs = |one: &&ExternalBuilder| one.systems.iter().any(|known| known.as_bytes() == system);
        self.0.iter().find(runs)
    }
}

impl fmt::Display for ExternalBuilders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl Value for ExternalBuilders {
    fn kind(&self) -> &'static str {
        "JSON"
    }

    fn set(&mut self, text: &str) -> Result<(), ValueError> {
        let text = if text.trim().is_empty() { "[]" } else { text };
        let builders: Vec<ExternalBuilder> = serde_json::from_str(text)
            .map_err(|error| ValueError::ExternalBuilders { problem: error.to_string() })?;
        builders.iter().try_for_each(|one| absolute(&one.program).map(drop))?;
        self.0 = builders;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_set() {
        let mut builders = ExternalBuilders::default();
        assert_eq!(builders.show(), "[]");
        let text = r#"[{"systems":["a-linux","b-linux"],"program":"/bin/vm","args":["-x"]}]"#;
        builders.set(text).unwrap();
        assert_eq!(builders.show(), text);
        assert_eq!(builders.of(b"b-linux").unwrap().program, "/bin/vm");
        assert_eq!(builders.of(b"c-linux"), None);
        for wrong in
            ["{}", "[1]", r#"[{"systems":[],"program":"vm"}]"#, r#"[{"systems":[],"program":"/vm","x":1}]"#]
        {
            builders.set(wrong).unwrap_err();
        }
        assert_eq!(builders.show(), text, "after an error it is as before");
        builders.set("").unwrap();
        assert_eq!(builders.show(), "[]");
    }
}
