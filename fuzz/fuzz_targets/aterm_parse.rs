//! Reading the text of a derivation never panics; it is read again as it was printed, and so is all JSON of it. A review
//! says of a text that it is written otherwise exactly if it is, and computes what follows from what would be printed.

#![no_main]

use std::io;
use std::sync::LazyLock;

use derivation::json::{self, Format};
use derivation::{
    Checked, Derivation, Finding, InputOutputs, Modulo, Output, Source, SourceForm, Workers, aterm, check,
    review,
};
use libfuzzer_sys::fuzz_target;
use store_path::{Hash, HashAlgorithm, Name, StoreDir, StorePath};

fuzz_target!(|text: &[u8]| {
    let store_dir = StoreDir::default();
    let name = "fuzz".parse().expect("it is a name");
    let Ok(derivation) = aterm::parse(text, &store_dir, &name) else { return };
    let printed = aterm::print(&derivation, &store_dir);
    let again = aterm::parse(&printed, &store_dir, &name).expect("what was printed can be read");
    assert_eq!(again, derivation);
    assert_eq!(aterm::print(&again, &store_dir), printed);
    assert_eq!(is_told(&reviewed(text)), printed != text);
    assert!(!is_told(&reviewed(&printed)));
    // The reader of JSON looks at the names of inputs, which here is left to `check`.
    if derivation.input_drvs.keys().all(StorePath::is_derivation) {
        through_json(&derivation, &printed, &store_dir);
    }
    settled(derivation);
});

fn through_json(derivation: &Derivation, text: &[u8], store_dir: &StoreDir) {
    let file: Name = "fuzz.drv".parse().expect("it is a name");
    let hash = Hash::of(HashAlgorithm::Sha256, text);
    let path = store_dir.text_path(&file, &hash, &derivation.references());
    for format in Format::ALL {
        // JSON cannot hold bytes that are not text.
        let Ok(printed) = json::print(format, store_dir, &[(path.clone(), derivation)]) else { continue };
        let again = json::parse(printed.as_bytes(), store_dir).expect("what was printed can be read");
        assert_eq!(again, [(Some(path.clone()), derivation.clone())], "{format:?}");
    }
}

/// Makes paths and inputs right, which no random text has, and holds what the printer and the reader see of it against
/// each other: output paths are made from the text without them, and with hashes for its inputs.
fn settled(mut derivation: Derivation) {
    for name in derivation.outputs.keys() {
        derivation.env.insert(name.as_str().into(), Vec::new());
    }
    let is_named_by_inputs = |output: &Output| matches!(output, Output::InputAddressed(_));
    for (_, output) in derivation.outputs.iter_mut().filter(|(_, output)| is_named_by_inputs(output)) {
        *output = Output::Deferred;
    }
    if !derivation.input_drvs.is_empty() {
        let outputs = ["out".parse().expect("it is a name")].into_iter().collect();
        let wanted = InputOutputs { outputs, ..InputOutputs::default() };
        derivation.input_drvs = [(INPUT.path().clone(), wanted)].into_iter().collect();
    }
    let mut modulo = Modulo::new(StoreDir::default());
    check(INPUT.derivation().clone(), &mut modulo).expect("it is right");
    let Ok(checked) = check(derivation, &mut modulo) else { return };
    let findings = reviewed_as(checked.aterm(), Some(checked.path().clone()));
    assert!(findings.iter().all(|finding| !finding.is_error), "{findings:?}");
    assert!(!is_told(&findings));
}

/// What stands in for all inputs.
static INPUT: LazyLock<Checked> = LazyLock::new(|| {
    let store_dir = StoreDir::default();
    let text = br#"Derive([("out","","","")],[],[],"s","b",[],[("out","")])"#;
    let derivation = aterm::parse(text, &store_dir, &"input".parse().expect("it is a name"));
    check(derivation.expect("it can be read"), &mut Modulo::new(store_dir)).expect("it is right")
});

fn reviewed(text: &[u8]) -> Vec<Finding> {
    reviewed_as(text, None)
}

fn reviewed_as(text: &[u8], path: Option<StorePath>) -> Vec<Finding> {
    let store_dir = StoreDir::default();
    let form = SourceForm::Aterm { name: "fuzz".parse().expect("it is a name"), path };
    let source = Source { text, form }.read(&store_dir);
    let mut known = |path: &StorePath| match path == INPUT.path() {
        true => Ok(INPUT.derivation().clone()),
        false => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    review(vec![source], &store_dir, &mut known, &Alone).swap_remove(0)
}

fn is_told(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.message.contains("not written as Nix writes it"))
}

struct Alone;

impl Workers for Alone {
    fn together(&self, _: usize, _: impl Fn() + Sync, lead: impl FnOnce()) {
        lead();
    }
}
