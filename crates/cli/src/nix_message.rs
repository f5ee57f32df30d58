//! What builders say for programs that show progress: lines `@nix {…}` in their logs.
//!
//! Anybody can print such a line, so it is read strictly and believed in as far as it is about its own build: what
//! comes out are a few short texts and numbers.

use serde_json::Value;

/// A line that is longer is text.
const LONGEST_LINE: usize = 64 * 1024;

/// As many characters of a text are kept; no line of a terminal shows more.
const LONGEST_TEXT: usize = 400;

/// The number that Nix has given to results that tell how far something is.
const PROGRESS: u64 = 105;
/// And to those that tell a phase, for what runs inside of a build.
const SET_PHASE: u64 = 104;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NixMessage {
    /// The build has come to a phase.
    Phase(String),
    /// Something has begun.
    Start {
        /// By which it is known until it stops.
        id: u64,
        /// What it is.
        text: String,
    },
    /// So much of something is done.
    Progress {
        /// What.
        id: u64,
        /// How much, in bytes or in pieces.
        done: u64,
        /// Of how much; 0 if nobody knows.
        expected: u64,
    },
    /// Something has ended.
    Stop {
        /// What.
        id: u64,
    },
    /// A line of text for people.
    Text(String),
    /// A message that says nothing that is shown.
    Other,
}

/// Returns the whole of a message, whatever it says; `None` if the line is text.
pub(crate) fn whole(line: &[u8]) -> Option<Value> {
    let json = line.strip_prefix(b"@nix ").filter(|json| json.len() <= LONGEST_LINE)?;
    let message: Value = serde_json::from_slice(json).ok()?;
    message.is_object().then_some(message)
}

/// Reads a line of a log; `None` if it is text.
pub(crate) fn parse(line: &[u8]) -> Option<NixMessage> {
    let message = whole(line)?;
    let text = |key| message.get(key).and_then(Value::as_str).map(short);
    let number = |key| message.get(key).and_then(Value::as_u64);
    Some(match message.get("action")?.as_str()? {
        "setPhase" => NixMessage::Phase(text("phase")?),
        "start" => NixMessage::Start { id: number("id")?, text: text("text")? },
        "stop" => NixMessage::Stop { id: number("id")? },
        "msg" => NixMessage::Text(text("msg")?),
        "result" => result(number("id")?, number("type")?, message.get("fields")?.as_array()?)?,
        _ => NixMessage::Other,
    })
}

fn result(id: u64, kind: u64, fields: &[Value]) -> Option<NixMessage> {
    Some(match kind {
        PROGRESS => {
            let number = |place: usize| fields.get(place).and_then(Value::as_u64);
            NixMessage::Progress { id, done: number(0)?, expected: number(1)? }
        }
        SET_PHASE => NixMessage::Phase(short(fields.first()?.as_str()?)),
        _ => NixMessage::Other,
    })
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<NixMessage> {
        parse(format!("@nix {json}").as_bytes())
    }

    #[test]
    fn phases_and_activities_are_understood() {
        let phase = NixMessage::Phase("buildPhase".into());
        assert_eq!(read(r#"{"action":"setPhase","phase":"buildPhase"}"#), Some(phase.clone()));
        assert_eq!(read(r#"{"action":"result","id":1,"type":104,"fields":["buildPhase"]}"#), Some(phase));
        let start = r#"{"action":"start","id":7,"level":3,"parent":0,"type":101,"text":"downloading 'x'","fields":["x"]}"#;
        assert_eq!(read(start), Some(NixMessage::Start { id: 7, text: "downloading 'x'".into() }));
        assert_eq!(
            read(r#"{"action":"result","id":7,"type":105,"fields":[10,20,0,0]}"#),
            Some(NixMessage::Progress { id: 7, done: 10, expected: 20 })
        );
        assert_eq!(read(r#"{"action":"stop","id":7}"#), Some(NixMessage::Stop { id: 7 }));
        assert_eq!(
            read(r#"{"action":"msg","level":1,"msg":"careful"}"#),
            Some(NixMessage::Text("careful".into()))
        );
        assert_eq!(
            read(r#"{"action":"result","id":7,"type":101,"fields":["a line"]}"#),
            Some(NixMessage::Other)
        );
        assert_eq!(read(r#"{"action":"somethingNew"}"#), Some(NixMessage::Other));
    }

    #[test]
    fn what_is_not_one_is_text() {
        for json in [
            "{",
            "{}",
            "[]",
            "1",
            r#"{"action":1}"#,
            r#"{"action":"setPhase"}"#,
            r#"{"action":"setPhase","phase":3}"#,
            r#"{"action":"stop","id":-1}"#,
            r#"{"action":"result","id":1,"type":105,"fields":["many"]}"#,
            r#"{"action":"setPhase","phase":"x"} and more"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert_eq!(parse(b" @nix {\"action\":\"stop\",\"id\":1}"), None);
        assert_eq!(parse(b"@nix\xff"), None);
        assert_eq!(read(&"[".repeat(60_000)), None);
        assert_eq!(read(&format!(r#"{{"action":"stop","id":1,"x":"{}"}}"#, "x".repeat(LONGEST_LINE))), None);
    }

    #[test]
    fn the_whole_of_one_is_an_object() {
        assert_eq!(whole(br#"@nix {"unheard":"of"}"#).unwrap()["unheard"], "of");
        for text in ["@nix [1]", "@nix {", "{}", &format!("@nix {{\"a\":{}", "[".repeat(60_000))] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let phase = "x".repeat(2 * LONGEST_TEXT);
        let Some(NixMessage::Phase(kept)) = read(&format!(r#"{{"action":"setPhase","phase":"{phase}"}}"#))
        else {
            panic!("it is a phase");
        };
        assert_eq!(kept.len(), LONGEST_TEXT);
    }
}
