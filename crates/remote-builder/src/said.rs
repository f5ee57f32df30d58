//! What a line on a hook's standard error says.

use serde_json::Value;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An answer to a request.
    Reply(String),
    /// A line of the builder's log.
    Log(String),
    /// The builder has come to another phase.
    Phase(String),
    /// Something that went wrong.
    Error(String),
    /// Something that people should know.
    Warning(String),
    /// Something that people may want to know.
    Detail(String),
    /// A line that is no message, as programs print that a hook runs.
    Plain(String),
    /// Nothing that matters here.
    Nothing,
}

/// Levels of messages: error, warning, and from there on less and less important.
const ERROR: u64 = 0;
const WARNING: u64 = 1;

/// Kinds of results.
const BUILD_LOG_LINE: u64 = 101;
const SET_PHASE: u64 = 104;
const POST_BUILD_LOG_LINE: u64 = 107;

impl Said {
    pub(crate) fn read(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line);
        if let Some(reply) = line.strip_prefix("# ") {
            return Self::Reply(reply.to_owned());
        }
        match line.strip_prefix("@nix ").map(serde_json::from_str::<Value>) {
            Some(Ok(event)) => Self::event(&event),
            Some(Err(_)) | None if line.trim().is_empty() => Self::Nothing,
            Some(Err(_)) | None => Self::Plain(line.into_owned()),
        }
    }

    /// What may say why something went wrong.
    pub(crate) fn complaint(&self) -> Option<&str> {
        match self {
            Self::Error(text) | Self::Warning(text) | Self::Plain(text) => Some(text),
            _ => None,
        }
    }

    fn event(event: &Value) -> Self {
        let text = |field: &str| event[field].as_str().map(without_colour).unwrap_or_default();
        match event["action"].as_str() {
            Some("msg") => {
                let text = if event["raw_msg"].is_string() { text("raw_msg") } else { text("msg") };
                match event["level"].as_u64() {
                    Some(ERROR) => Self::Error(text),
                    // Nix says of warnings what they are in their text, too.
                    Some(WARNING) => Self::Warning(text.trim_start_matches("warning: ").to_owned()),
                    _ => Self::Detail(text),
                }
            }
            Some("start") if !text("text").is_empty() => Self::Detail(text("text")),
            Some("setPhase") => Self::Phase(text("phase")),
            Some("result") => {
                let first = event["fields"][0].as_str().map(str::to_owned);
                match (event["type"].as_u64(), first) {
                    (Some(BUILD_LOG_LINE | POST_BUILD_LOG_LINE), Some(line)) => Self::Log(line),
                    (Some(SET_PHASE), Some(phase)) => Self::Phase(phase),
                    _ => Self::Nothing,
                }
            }
            _ => Self::Nothing,
        }
    }
}

/// Messages have colours, whoever reads them.
fn without_colour(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|one: char| !('\x40'..='\x7e').contains(&one));
        let mut left = rest.chars();
        left.next();
        rest = left.as_str();
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_known() {
        let text = |text: &str| text.to_owned();
        for (line, said) in [
            ("# decline", Said::Reply(text("decline"))),
            ("ssh: no route", Said::Plain(text("ssh: no route"))),
            ("@nix {", Said::Plain(text("@nix {"))),
            ("", Said::Nothing),
            (
                r#"@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m bad","raw_msg":"bad"}"#,
                Said::Error(text("bad")),
            ),
            (
                r#"@nix {"action":"msg","level":1,"msg":"\u001b[35;1mwarning:\u001b[0m x"}"#,
                Said::Warning(text("x")),
            ),
            (r#"@nix {"action":"msg","level":5,"msg":"x"}"#, Said::Detail(text("x"))),
            (
                r#"@nix {"action":"start","id":1,"level":4,"text":"copying","type":0}"#,
                Said::Detail(text("copying")),
            ),
            (r#"@nix {"action":"start","id":1,"level":4,"text":"","type":0}"#, Said::Nothing),
            (r#"@nix {"action":"stop","id":1}"#, Said::Nothing),
            (r#"@nix {"action":"result","id":1,"type":101,"fields":["a # b"]}"#, Said::Log(text("a # b"))),
            (
                r#"@nix {"action":"result","id":1,"type":104,"fields":["unpack"]}"#,
                Said::Phase(text("unpack")),
            ),
            (r#"@nix {"action":"result","id":1,"type":105,"fields":[1,2,3,4]}"#, Said::Nothing),
        ] {
            assert_eq!(Said::read(line.as_bytes()), said, "{line}");
        }
    }
}
