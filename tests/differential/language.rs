//! Random derivations, as an expression of the Nix language: every kind that Nix 2.8 knows, every attribute it acts on.

use std::iter;

use store_path::{Hash, HashAlgorithm};
use test_support::Random;

/// Expressions that follow from a seed.
pub(crate) struct Language {
    random: Random,
    /// The outputs of each derivation so far; those before are inputs of those after.
    made: Vec<Vec<String>>,
    text: Vec<u8>,
}

/// Attributes that mean something to Nix, with values that it takes.
const OPTIONS: &[(&str, &[&str])] = &[
    ("__impureHostDeps", &["[ \"/dev/null\" ]", "\"/bin/sh /dev/zero\""]),
    ("__noChroot", &["true", "false"]),
    ("__sandboxProfile", &["\"(allow default)\""]),
    ("__darwinAllowLocalNetworking", &["true"]),
    ("allowSubstitutes", &["false", "true", "\"\""]),
    ("preferLocalBuild", &["true", "1"]),
    ("requiredSystemFeatures", &["[ \"kvm\" \"big-parallel\" ]", "[ ]", "\"uid-range\""]),
    ("impureEnvVars", &["[ \"http_proxy\" \"NO_PROXY\" ]", "\"HOME\""]),
    ("passAsFile", &["[ \"a\" \"long text\" ]", "\"a b\"", "[ ]"]),
    ("exportReferencesGraph", &["[ \"graph\" SOURCE ]", "[ \"a\" SOURCE \"b.c\" INPUT ]"]),
    ("allowedReferences", &["[ ]", "[ \"out\" ]", "[ SOURCE ]"]),
    ("allowedRequisites", &["[ ]", "[ INPUT ]"]),
    ("disallowedReferences", &["[ SOURCE ]", "[ \"out\" ]"]),
    ("disallowedRequisites", &["[ INPUT ]", "[ ]"]),
];

/// The same for attributes that are given as JSON.
const STRUCTURED: &[(&str, &[&str])] = &[
    (
        "outputChecks",
        &[
            "{ out = { maxSize = 1024; maxClosureSize = 1048576; ignoreSelfRefs = true; }; }",
            "{ out = { allowedReferences = [ ]; disallowedRequisites = [ SOURCE \"out\" ]; }; dev = { }; }",
            "{ out.allowedRequisites = [ INPUT ]; out.disallowedReferences = [ ]; }",
        ],
    ),
    ("unsafeDiscardReferences", &["{ out = true; }", "{ out = false; dev = true; }"]),
    ("exportReferencesGraph", &["{ graph = [ SOURCE ]; }", "{ \"a b\" = [ INPUT SOURCE ]; }", "{ }"]),
    ("__ignoreNulls", &["true"]),
];

const OUTPUTS: &[&str] = &["out", "dev", "lib", "bin", "o.p", "doc-2", "X_1", "a+b", "q?", "eq=", "zz"];

const FIXED: [HashAlgorithm; 4] =
    [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha512];

impl Language {
    /// Starts the expressions that belong to `seed`.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { random: Random::seeded(seed), made: Vec::new(), text: Vec::new() }
    }

    /// Returns an expression for a list of at least `count` paths of derivations, which may need each other.
    ///
    /// Beside it there have to be a file `file` and a directory `tree`.
    pub(crate) fn expression(&mut self, count: usize) -> Vec<u8> {
        self.made.clear();
        self.text = b"let\n".to_vec();
        while self.made.len() < count {
            if self.one_in(12) { self.collision() } else { self.any() }
        }
        let names: Vec<String> = (0..self.made.len()).map(|index| format!("d{index}")).collect();
        self.write(&format!("in map (d: d.drvPath) [ {} ]\n", names.join(" ")));
        std::mem::take(&mut self.text)
    }

    fn any(&mut self) {
        match self.random.below(10) {
            0 | 1 => {
                let (promise, name) = (self.promise(), self.name());
                self.derivation(&name, &promise, &["out".into()], true);
            }
            2 | 3 => self.unpromised("__contentAddressed", &["flat", "recursive"], &FIXED),
            4 => self.unpromised("__impure", &["recursive"], &[HashAlgorithm::Sha256]),
            _ => {
                let (name, outputs) = (self.name(), self.outputs());
                self.derivation(&name, "", &outputs, true);
            }
        }
    }

    fn unpromised(&mut self, kind: &str, modes: &[&str], algorithms: &[HashAlgorithm]) {
        let (mode, algorithm) = (self.one_of(modes), self.one_of(algorithms));
        let attributes =
            format!("{kind} = true; outputHashMode = \"{mode}\"; outputHashAlgo = \"{algorithm}\"; ");
        let (name, outputs) = (self.name(), self.outputs());
        self.derivation(&name, &attributes, &outputs, true);
    }

    /// Two ways to keep one promise, two equal derivations that use one each, and one that uses both of those.
    fn collision(&mut self) {
        let (name, promise) = (self.name(), self.promise());
        let first = self.made.len();
        for _ in 0..2 {
            self.derivation(&name, &promise, &["out".into()], true);
        }
        let outputs = ["out", "dev", "lib"].map(str::to_owned);
        for way in [first, first + 1] {
            self.derivation("between", &format!("way = d{way}; "), &outputs, false);
        }
        let (one, other) = (self.one_of(&["out", "dev", "lib"]), self.one_of(&["out", "dev", "lib"]));
        let uses = format!("uses = [ d{}.{one} d{}.{other} ]; ", first + 2, first + 3);
        self.derivation("user", &uses, &["out".into()], true);
    }

    /// Writes one derivation; unless `is_random`, with nothing in it but what was said.
    fn derivation(&mut self, name: &str, attributes: &str, outputs: &[String], is_random: bool) {
        let index = self.made.len();
        let structured = is_random && self.one_in(5);
        self.write(&format!("d{index} = derivation {{ name = \"{name}\"; {attributes}"));
        self.say_outputs(outputs);
        let program =
            if is_random { self.program(structured) } else { b"system = \"s\"; builder = \"/b\"; ".to_vec() };
        self.text.extend(program);
        if structured {
            self.write("__structuredAttrs = true; ");
        }
        if is_random {
            self.attributes(structured);
        }
        self.write("};\n");
        self.made.push(outputs.to_vec());
    }

    fn say_outputs(&mut self, outputs: &[String]) {
        if outputs != ["out"] || self.one_in(4) {
            let quoted: Vec<String> = outputs.iter().map(|output| format!("{output:?}")).collect();
            self.write(&format!("outputs = [ {} ]; ", quoted.join(" ")));
        }
    }

    fn program(&mut self, is_text: bool) -> Vec<u8> {
        let system =
            self.one_of(&["x86_64-linux", "builtin", "aarch64-darwin", "odd system (1)", "i686-linux"]);
        let mut program = format!("system = \"{system}\"; builder = \"/\" + ").into_bytes();
        program.extend(self.string(is_text));
        if !self.one_in(4) {
            program.extend(b"; args = [ ");
            for _ in 0..self.random.below(5) {
                program.extend(self.string(false));
                program.push(b' ');
            }
            program.extend(b"]");
        }
        program.extend(b"; ");
        program
    }

    fn attributes(&mut self, structured: bool) {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for _ in 0..self.random.below(6) {
            let name = self.variable(structured);
            if !seen.contains(&name) {
                self.text.extend([&quoted(&name)[..], b" = "].concat());
                let value = if structured { self.json(3) } else { self.value() };
                self.text.extend(value);
                self.write("; ");
                seen.push(name);
            }
        }
        let table = if structured { STRUCTURED } else { OPTIONS };
        let mut rows: Vec<_> = table.iter().collect();
        for _ in 0..self.random.below(4).min(rows.len()) {
            let (name, values) = rows.swap_remove(self.random.below(rows.len()));
            let value = self.one_of(values);
            let (source, input) = (self.source(), self.input());
            let value = value.replace("SOURCE", &source).replace("INPUT", &input);
            self.write(&format!("{name} = {value}; "));
        }
    }

    /// A name that means nothing to Nix.
    fn variable(&mut self, is_text: bool) -> Vec<u8> {
        match self.random.below(4) {
            0 => self.bytes(is_text, 9).into_iter().chain(*b"~").collect(),
            1 => self
                .one_of(&["dev", "lib", "PATH", "HOME", "a", "b", "long text", "", "..", "/etc/x", "A=B"])
                .into(),
            _ => self.name().into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let plain = ["true", "false", "null", "0", "(-7)", "9223372036854775807", "1.5", "[ ]", "\"\""];
        match self.random.below(12) {
            0..=2 => self.one_of(&plain).into(),
            3 => {
                let items: Vec<Vec<u8>> = (0..self.random.below(4)).map(|_| self.string(false)).collect();
                [&b"[ "[..], &items.join(&b' '), b" [ true null ] ]"].concat()
            }
            4 => self.source().into_bytes(),
            5 => self.input().into_bytes(),
            // Now and then one that is longer than any buffer.
            6 if self.one_in(8) => {
                let part = self.bytes(false, 60);
                quoted(&part.repeat(3000))
            }
            _ => self.string(false),
        }
    }

    fn json(&mut self, depth: usize) -> Vec<u8> {
        let plain = [
            "true",
            "false",
            "null",
            "0",
            "(-7)",
            "9223372036854775807",
            "1.5",
            "0.1",
            "1.0e30",
            "[ ]",
            "{ }",
        ];
        match self.random.below(8) {
            0..=2 => self.one_of(&plain).into(),
            3 if depth > 0 => {
                let items: Vec<Vec<u8>> = (0..self.random.below(4)).map(|_| self.json(depth - 1)).collect();
                [&b"[ "[..], &items.join(&b' '), b" ]"].concat()
            }
            4 if depth > 0 => {
                let fields: Vec<Vec<u8>> = (0..self.random.below(4))
                    .map(|index| {
                        let name = [self.bytes(true, 6), index.to_string().into()].concat();
                        [quoted(&name), b" = ".into(), self.json(depth - 1), b"; ".into()].concat()
                    })
                    .collect();
                [&b"{ "[..], &fields.concat(), b"}"].concat()
            }
            5 => self.source().into_bytes(),
            _ => self.string(true),
        }
    }

    /// A string, with references in it.
    fn string(&mut self, is_text: bool) -> Vec<u8> {
        let mut string = b"\"".to_vec();
        for _ in 0..self.random.below(4) {
            let length = self.random.below(20);
            string.extend(escaped(&self.bytes(is_text, length)));
            if self.one_in(2) {
                let reference = match self.random.below(4) {
                    0 => self.source(),
                    1 => format!("builtins.placeholder {:?}", self.one_of(OUTPUTS)),
                    _ => self.input(),
                };
                string.extend(format!("${{{reference}}}").into_bytes());
            }
        }
        string.push(b'"');
        string
    }

    fn source(&mut self) -> String {
        match self.random.below(3) {
            0 => "(builtins.toFile \"text\" \"some text\")".into(),
            1 => "./file".into(),
            _ => "\"${./tree}/below\"".into(),
        }
    }

    /// An output of a derivation before this one; or its file, and maybe all that this needs.
    fn input(&mut self) -> String {
        // Not too far before, or the graphs are flat.
        let Some(far) = self.made.len().checked_sub(1) else { return self.source() };
        let index = far - self.random.below(far.min(30) + 1);
        match self.random.below(40) {
            0 => format!("d{index}.drvPath"),
            1..4 => format!("(builtins.unsafeDiscardOutputDependency d{index}.drvPath)"),
            _ => {
                let outputs = self.made[index].clone();
                format!("d{index}.{:?}", outputs[self.random.below(outputs.len())])
            }
        }
    }

    fn promise(&mut self) -> String {
        let algorithm = self.one_of(&FIXED);
        let hash = Hash::of(algorithm, &self.random.bytes(8));
        let digits = match self.random.below(3) {
            0 => hash.to_base16(),
            1 => hash.to_nix32(),
            _ => hash.to_base64(),
        };
        let (digits, algorithm) = match self.random.below(3) {
            0 => (hash.to_sri(), String::new()),
            _ => (digits, algorithm.to_string()),
        };
        let mode = self.one_of(&["", "outputHashMode = \"flat\"; ", "outputHashMode = \"recursive\"; "]);
        let algorithm =
            if algorithm.is_empty() { algorithm } else { format!("outputHashAlgo = \"{algorithm}\"; ") };
        format!("outputHash = \"{digits}\"; {algorithm}{mode}")
    }

    fn name(&mut self) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCXYZ0123456789+-._?=";
        let length = if self.one_in(30) { 190 } else { self.random.below(12) };
        let rest = (0..length).map(|_| char::from(LETTERS[self.random.below(LETTERS.len())]));
        iter::once('n').chain(rest).collect()
    }

    fn outputs(&mut self) -> Vec<String> {
        if !self.one_in(3) {
            return vec!["out".into()];
        }
        let mut left = OUTPUTS.to_vec();
        (0..=self.random.below(4))
            .map(|_| left.swap_remove(self.random.below(left.len())).to_owned())
            .collect()
    }

    /// Bytes of every kind that the language can write, or text.
    fn bytes(&mut self, is_text: bool, length: usize) -> Vec<u8> {
        const TEXTS: &[&str] =
            &["a", "Z", " ", "\n", "\r", "\t", "\"", "\\", "$", "{", "é", "😀", "\u{7f}", "\u{1}", "'", "/"];
        let text = |random: &mut Random| TEXTS[random.below(TEXTS.len())].as_bytes().to_vec();
        let any_byte = !is_text && self.one_in(4);
        (0..length)
            .flat_map(
                |_| if any_byte { vec![1 + self.random.below(255) as u8] } else { text(&mut self.random) },
            )
            .collect()
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.random.below(number) == 0
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.random.below(items.len())]
    }

    fn write(&mut self, text: &str) {
        self.text.extend(text.as_bytes());
    }
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    [&b"\""[..], &escaped(bytes), b"\""].concat()
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'"' | b'\\' | b'$' => vec![b'\\', *byte],
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\t' => b"\\t".to_vec(),
        _ => vec![*byte],
    };
    bytes.iter().flat_map(escape).collect()
}
