//! Files that mean harm: an error that names the file, in bounded memory, never a panic.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

use crate::scene::{Run, Scene, text};

/// As much address space as the program gets, in KiB: half of what the largest of these files would fill.
const MEMORY_KIB: usize = 512 << 10;

/// Runs the program with that much memory.
fn run(scene: &Scene, arguments: &[&str]) -> Run {
    let command = scene.command(arguments);
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", &format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(scene.path(".")).output().unwrap().into()
}

/// Reads a file in every way there is; it has to be refused, by its name and with that reason.
fn refused(scene: &Scene, file: &str, reason: &str) {
    for verb in [&["derivation", "show"][..], &["derivation", "add"], &["build", "--no-link"]] {
        let run = run(scene, &[verb, &[file]].concat());
        let start: String = run.stderr.chars().take(2000).collect();
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{verb:?} {file}: {start}");
        assert!(!run.stderr.contains("panicked"), "{verb:?} {file}: {start}");
        assert!(run.stderr.contains(file), "it is not said which file: {start}");
        assert!(run.stderr.contains(reason), "{verb:?} {file}: not for `{reason}`: {start}");
        assert!(run.stderr.len() < 10_000, "{verb:?} {file}: {} bytes are said about it", run.stderr.len());
    }
}

fn refused_text(name: &str, contents: &str, reason: &str) {
    let scene = Scene::new();
    let file = scene.write(name, contents);
    refused(&scene, &file, reason);
}

/// A derivation with one field replaced, or one more.
fn with(field: &str) -> String {
    let fields = [
        (r#""name""#, r#""name": "x""#),
        (r#""system""#, r#""system": "x86_64-linux""#),
        (r#""builder""#, r#""builder": "/bin/sh""#),
        (r#""outputs""#, r#""outputs": { "out": {} }"#),
        (r#""env""#, r#""env": {}"#),
    ];
    let others = fields.iter().filter(|(name, _)| !field.starts_with(name)).map(|(_, field)| *field);
    format!("{{ {field}, {} }}", others.collect::<Vec<_>>().join(", "))
}

#[test]
fn the_derivation_is_right_where_nothing_was_changed() {
    let scene = Scene::new();
    let file = scene.write("x.json", with(r#""args": []"#));
    let run = run(&scene, &["derivation", "add", &file]);
    assert_eq!(run.code, Some(0), "the limit of memory lets it run: {}", run.stderr);
}

#[test]
fn a_gibibyte() {
    let scene = Scene::new();
    let heads = [
        ("zeros.json", ""),
        ("object.json", "{"),
        ("string.json", r#"{ "name": "x", "env": { "a": ""#),
        ("zeros.drv", ""),
        ("list.drv", "Derive(["),
        ("string.drv", r#"Derive([("out","/nix/store/"#),
    ];
    for (name, head) in heads {
        let file = scene.path(name);
        let mut open = File::create(&file).unwrap();
        open.write_all(head.as_bytes()).unwrap();
        // With a hole in it, it takes no room.
        open.seek(SeekFrom::Start((1 << 30) - 1)).unwrap();
        open.write_all(b"}").unwrap();
        refused(&scene, &text(&file), "");
    }
}

#[test]
fn deep_nesting() {
    let times = |text: &str| text.repeat(100_000);
    refused_text("a.json", &times("["), "");
    refused_text("b.json", &times("{\"a\":"), "");
    refused_text("c.json", &times("{\"derivations\":"), "");
    refused_text("d.json", &with(&format!("\"env\": {}", times("{\"a\":"))), "");
    refused_text("e.json", &with(&format!("\"args\": {}", times("["))), "");
    refused_text("f.json", &with(&format!("\"structuredAttrs\": {}{}", times("{\"a\":["), times("]}"))), "");
    let dynamic = times("{\"outputs\":[\"out\"],\"dynamicOutputs\":{\"out\":");
    let drv = "00000000000000000000000000000000-x.drv";
    refused_text("g.json", &with(&format!("\"inputDrvs\": {{\"/nix/store/{drv}\":{dynamic}")), "");
    refused_text("h.drv", &times("Derive("), "");
    refused_text("i.drv", &format!("Derive({}", times("[")), "");
    let dynamic = times("([],[(\"out\",");
    refused_text("j.drv", &format!("DrvWithVersion(\"xp-dyn-drv\",[],[(\"/nix/store/{drv}\",{dynamic}"), "");
}

#[test]
fn what_is_there_twice() {
    refused_text("a.json", &with(r#""builder": "/bin/sh", "builder": "/bin/other""#), "");
    refused_text("b.json", &with(r#""env": { "a": "1", "a": "2" }"#), "");
    refused_text("c.json", &with(r#""outputs": { "out": {}, "out": {} }"#), "");
    let one = with(r#""args": []"#);
    let path = "/nix/store/00000000000000000000000000000000-x.drv";
    refused_text("d.json", &format!("{{ \"{path}\": {one}, \"{path}\": {one} }}"), "");
}

#[test]
fn text_that_is_none() {
    refused_text("a.json", &with(r#""env": { "a": "\ud800" }"#), "");
    refused_text("b.json", &with(r#""env": { "\udc00": "a" }"#), "");
    refused_text("c.json", &with(r#""builder": "\ud83d\ud83d""#), "");
    let scene = Scene::new();
    let mut bytes = with(r#""builder": "/bin/?""#).into_bytes();
    let place = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[place] = 0xff;
    refused(&scene, &scene.write("d.json", &bytes), "");
}

#[test]
fn names_that_lead_elsewhere() {
    for (name, bad) in [
        ("nul", "a\\u0000b"),
        ("up", ".."),
        ("self", "."),
        ("path", "a/b"),
        ("out", "../../etc/x"),
        ("none", ""),
    ] {
        refused_text(&format!("name-{name}.json"), &with(&format!(r#""name": "{bad}""#)), "name");
        refused_text(
            &format!("output-{name}.json"),
            &with(&format!(r#""outputs": {{ "{bad}": {{}} }}"#)),
            "output",
        );
    }
    let long = "a".repeat(100_000);
    refused_text("long.json", &with(&format!(r#""name": "{long}""#)), "name");
    for path in ["/nix/store/../../etc/passwd", "/etc/passwd", "/nix/store", "/nix/store/x", "\\u0000"] {
        refused_text("source.json", &with(&format!(r#""inputSrcs": ["{path}"]"#)), "");
        refused_text("input.json", &with(&format!(r#""inputDrvs": {{ "{path}": ["out"] }}"#)), "");
        refused_text("output.json", &with(&format!(r#""outputs": {{ "out": {{ "path": "{path}" }} }}"#)), "");
    }
}

/// Builds with variables whose names or values are paths, in every attribute that makes a file of one.
#[test]
fn variables_whose_names_are_paths() {
    let scene = Scene::new();
    let target = text(scene.path("written"));
    for bad in [target.as_str(), "../../../written", "..", "a/b", "a=b", "a\\u0000b", ""] {
        let script = r#""args": ["-c", "echo x > $out"]"#;
        let environments = [
            format!(r#""{bad}": "x""#),
            format!(r#""passAsFile": "{bad}", "{bad}": "x""#),
            format!(r#""exportReferencesGraph": "{bad} /nix/store/00000000000000000000000000000000-x""#),
            format!(r#""a": "{bad}""#),
            format!(r#""__json": "{{\"{}\": \"x\"}}""#, bad.replace('\\', "\\\\")),
        ];
        for environment in environments {
            let file = scene.write(
                "variables.json",
                with(&format!(r#"{script}, "env": {{ {environment} }}"#)).replace(r#", "env": {}"#, ""),
            );
            let run = scene.run(&["build", "--no-link", "--quiet", &file]);
            assert!(matches!(run.code, Some(0 | 1 | 100)), "{environment}: {:?} {}", run.code, run.stderr);
            assert!(!run.stderr.contains("panicked"), "{environment}: {}", run.stderr);
            assert!(!fs::exists(&target).unwrap(), "{environment}");
        }
    }
}
